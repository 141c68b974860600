/** Dataset versions. */
import { sampleText, type DataFolder } from '#libs/contracts';
import type { Command } from 'commander';
import path from 'node:path';
import { belowRoot, dataRootHere } from '../data-root.js';
import { specOf, withDatasetOptions, type DatasetOptions } from '../dataset-options.js';
import { summaryText } from '../dataset-summary.js';
import { UsageError } from '../usage-error.js';
import { follow } from '../outcome.js';
import { client, out, say, settings, show } from '../program.js';
import { age, table } from '../render.js';

export function addDatasets(program: Command): void {
  const datasets = program.command('datasets').description('dataset versions');
  datasets
    .command('list')
    .alias('ls')
    .description('list them')
    .action(async () => {
      const page = await (await client()).datasets({ limit: 500 });
      show(page, () =>
        table(
          ['name', 'digest', 'samples', 'classes', 'size', 'age'],
          page.items.map(({ name, digest, manifest, createdAt }) => [
            name,
            digest.slice(0, 12),
            String(Object.values(manifest.splits).reduce((sum, split) => sum + (split?.count ?? 0), 0)),
            String(manifest.classes.length),
            sampleText(manifest.sample),
            age(createdAt),
          ]),
          out,
        ),
      );
    });
  datasets
    .command('browse [path]')
    .description('what lies in a folder below the data root, and what kinds of files')
    .action(async (given: string | undefined) => {
      const folder = await (await client()).dataRoot(given);
      show(folder, () => folderText(folder));
    });
  datasets
    .command('delete <version>')
    .alias('rm')
    .description('delete a version, `name@digest`, that no run is of')
    .action(async (version: string) => {
      await (await client()).deleteDataset(version);
      show({ deleted: version }, () => `${version} deleted\n`);
    });
  withDatasetOptions(
    datasets
      .command('add <name> [path]')
      .description(
        'prepare the images or sounds of a folder or archive below the data root; `add cifar10` alone fetches them',
      ),
  ).action(async (name: string, given: string | undefined, options: DatasetOptions) => {
    const spec = specOf(options);
    const api = await client();
    const dataRoot = await dataRootHere();
    const source = given ?? (await fetched(name, dataRoot));
    const { run } = await api.submitRun({
      spec: { kind: 'prepare-dataset', name, path: await belowRoot(source, dataRoot), ...spec },
    });
    process.exitCode = await follow(api, [run]);
    const { result } = await api.run(run.id);
    if (result?.summary && !settings().json) out.write(summaryText(result.summary, out));
  });
}

function folderText({ path: shown, entries, more, found }: DataFolder): string {
  const counts = [
    `${found.images} images`,
    `${found.sounds} sounds`,
    `${found.others} others`,
    ...(found.masks ? ['masks beside their images: --masks says which classes they have'] : []),
  ];
  return (
    table(
      [shown || 'data root', 'bytes'],
      entries.map(({ name, kind, sizeBytes }) => [kind === 'folder' ? `${name}/` : name, String(sizeBytes ?? '')]),
      out,
    ) + `${more ? 'and more; ' : ''}${found.all ? '' : 'at least '}${counts.join(', ')}\n`
  );
}

/** The one dataset that is fetched by its name. @throws UsageError for any other. */
async function fetched(name: string, dataRoot: string | undefined): Promise<string> {
  if (name !== 'cifar10' || !dataRoot)
    throw new UsageError(
      'expected a path; only cifar10 is fetched without one, into the data root of a stack of `loom up`',
    );
  const { fetchCifar10 } = await import('../cifar10.js');
  const target = path.join(dataRoot, 'cifar10');
  await fetchCifar10(target, undefined, say);
  return target;
}
