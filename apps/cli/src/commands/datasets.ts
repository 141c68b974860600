/** Dataset versions. */
import { sampleText } from '#libs/contracts';
import type { Command } from 'commander';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '../document.js';
import { positive } from '../options.js';
import { follow } from '../outcome.js';
import { client, out, say, settings, show } from '../program.js';
import { age, table } from '../render.js';
import { readState } from '../stack-state.js';

export function addDatasets(program: Command): void {
  const datasets = program.command('datasets').description('dataset versions');
  datasets
    .command('ls')
    .description('list them')
    .action(async () => {
      const page = await (await client()).datasets({ limit: 500 });
      show(page, () =>
        table(
          ['name', 'digest', 'images', 'classes', 'size', 'age'],
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
    .command('add <name> [path]')
    .description('prepare the images of a folder or archive below the data root; `add cifar10` alone fetches them')
    .option('--image-size <pixels>', 'side of the square they are resized to', positive, 32)
    .action(async (name: string, given: string | undefined, { imageSize }: { imageSize: number }) => {
      const api = await client();
      const { dataRoot } = (await readState(settings().dir)) ?? {};
      if (given === undefined) {
        if (name !== 'cifar10' || !dataRoot)
          throw new UsageError(
            'expected a path; only cifar10 is fetched without one, into the data root of a stack of `loom up`',
          );
        const { fetchCifar10 } = await import('../cifar10.js');
        await fetchCifar10(path.join(dataRoot, 'cifar10'), undefined, say);
      }
      const source = given ?? path.join(dataRoot!, 'cifar10');
      // A path as it is typed here, where it lies in the stack's data root; else as the API shall read it.
      const absolute = path.resolve(source);
      const below =
        dataRoot &&
        absolute.startsWith(dataRoot + path.sep) &&
        (await stat(absolute).then(
          () => true,
          () => false,
        ))
          ? path.relative(dataRoot, absolute)
          : source;
      const { run } = await api.submitRun({ spec: { kind: 'prepare-dataset', name, path: below, imageSize } });
      process.exitCode = await follow(api, [run]);
    });
}
