/** Files of runs: fetched, made for other programs, and removed where nothing names them. */
import { bytes, type Artifact, type LoomClient } from '#libs/contracts';
import { Option, type Command } from 'commander';
import { createHash } from 'node:crypto';
import { createReadStream, openAsBlob } from 'node:fs';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { UsageError } from '../usage-error.js';
import { download } from '../download.js';
import { EXIT } from '../exit-codes.js';
import { followed } from '../follow.js';
import { interrupted } from '../interrupt.js';
import { words } from '../options.js';
import { followOptions } from '../outcome.js';
import { client, out, say, settings, show } from '../program.js';
import { runId } from '../references.js';
import { table } from '../render.js';

const EXPORT_FORMATS = ['tfjs', 'safetensors', 'onnx'] as const;

interface ArtifactsOptions {
  download?: string;
  add?: string[];
  mime?: string;
}

/** Adds files of this machine to a run, each under its own name. */
async function addFiles(api: LoomClient, id: string, files: readonly string[], mime?: string): Promise<void> {
  const added: Artifact[] = [];
  for (const file of files) {
    const found = await stat(file).catch(() => undefined);
    if (!found?.isFile()) throw new UsageError(`expected a file, got ${file}: there is none`);
    const sha256 = createHash('sha256');
    for await (const piece of createReadStream(file)) sha256.update(piece as Buffer);
    const options = { sha256: sha256.digest('hex'), ...(mime !== undefined && { mime }) };
    added.push(await api.addArtifact(id, path.basename(file), await openAsBlob(file), options));
  }
  show(added, () => added.map((file) => `added ${file.name} (${bytes(file.sizeBytes)}, ${file.sha256})\n`).join(''));
}

export function addArtifacts(program: Command): void {
  program
    .command('artifacts <id>')
    .description('files of a run')
    .option('--download <folder>', 'fetch them all, each checked by its sha256')
    .option('--add <files...>', 'add these files to the run')
    .addOption(new Option('--mime <type>', 'media type of what is added').conflicts('download'))
    .action(async (run: string, { download: folder, add, mime }: ArtifactsOptions) => {
      const api = await client();
      const id = await runId(api, run);
      if (add) return addFiles(api, id, add, mime);
      const files: Artifact[] = [];
      for await (const file of api.eachArtifact(id)) files.push(file);
      if (folder === undefined)
        return show(files, () =>
          table(
            ['name', 'kind', 'size', 'sha256'],
            files.map((file) => [file.name, file.kind, bytes(file.sizeBytes), file.sha256]),
            out,
          ),
        );
      const fetched: { path: string; sizeBytes: number; sha256: string }[] = [];
      for (const file of files) {
        fetched.push({
          path: await download(api, file, folder, interrupted.signal),
          sizeBytes: file.sizeBytes,
          sha256: file.sha256,
        });
        if (!settings().json) say(fetched.at(-1)!.path);
      }
      if (settings().json) show(fetched, () => '');
    });
}

export function addExport(program: Command): void {
  program
    .command('export <run>')
    .description('write the networks of a run as files for other programs')
    .addOption(words('--format <formats>', 'which', EXPORT_FORMATS).default(EXPORT_FORMATS.join(',')))
    .option('--out <folder>', 'where to (default: <run>-export)')
    .action(async (from: string, { format, out: folder = `${from}-export` }: { format: string; out?: string }) => {
      const asked = format.split(',');
      const api = await client();
      // In a fixed order: the spec is equal to that of an earlier export of these formats, whose run is reused.
      const { run } = await api.submitRun({
        spec: {
          kind: 'export',
          from: await runId(api, from),
          formats: EXPORT_FORMATS.filter((each) => asked.includes(each)),
        },
      });
      const [ended] = await followed(api, [run], followOptions());
      if (ended!.status !== 'succeeded') {
        process.exitCode = EXIT.failed;
        return show(
          ended,
          () => `the export ended as ${ended!.status}${ended!.statusDetail ? `: ${ended!.statusDetail}` : ''}\n`,
        );
      }
      const files: { path: string; sizeBytes: number; sha256: string }[] = [];
      for await (const file of api.eachArtifact(run.id))
        if (file.kind === 'export')
          files.push({
            path: await download(api, file, folder, interrupted.signal),
            sizeBytes: file.sizeBytes,
            sha256: file.sha256,
          });
      show({ run: ended, files }, () =>
        table(
          ['file', 'size', 'sha256'],
          files.map((file) => [file.path, bytes(file.sizeBytes), file.sha256]),
          out,
        ),
      );
    });
}

export function addCollect(program: Command): void {
  program
    .command('gc')
    .description('remove stored files that no artifact and no dataset names any more')
    .option('--dry-run', 'only count them')
    .action(async ({ dryRun = false }: { dryRun?: boolean }) => {
      const result = await (await client()).collectArtifacts({ dryRun });
      const amount = ({ files, bytes: size }: { files: number; bytes: number }) => `${files} (${bytes(size)})`;
      show(
        result,
        () =>
          `${dryRun ? 'would remove' : 'removed'} orphans: ${amount(result.orphans)}, ` +
          `leftovers: ${amount(result.leftovers)}; kept: ${amount(result.kept)}\n`,
      );
    });
}
