/** Sweeps: listed, and each with its table, or changed. */
import { shortNumber, SweepStatus, TrialStatus, type LoomClient } from '#libs/contracts';
import type { Command } from 'commander';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as WebReadableStream } from 'node:stream/web';
import { UsageError } from '../usage-error.js';
import { archivedOption, positive, words, type Filter } from '../options.js';
import { client, out, say, show } from '../program.js';
import { sweepId } from '../references.js';
import { age, resultsText, table } from '../render.js';

interface SweepOptions {
  pause?: boolean;
  resume?: boolean;
  cancel?: boolean;
  retry?: boolean;
  delete?: boolean;
  archive?: boolean;
  unarchive?: boolean;
  withRuns?: boolean;
  clone?: string;
  export?: string;
  parallelTrials?: number;
  runCap?: number;
  gpuSeconds?: number;
  wallSeconds?: number;
}

export function addSweep(program: Command): void {
  program
    .command('sweep <id>')
    .description(
      'which combination needs the fewest labels; or pause, resume, cancel, retry, clone, change, archive or delete ' +
        'a sweep',
    )
    .option('--pause', 'start no other trial, pause its runs')
    .option('--resume', 'go on where it was paused')
    .option('--cancel', 'cancel its runs')
    .option('--retry', 'queue again exactly what failed')
    .option('--delete', 'delete it when it has come to its end; its runs stay')
    .option('--archive', 'leave it out of lists when it has come to its end')
    .option('--unarchive', 'have it in lists again')
    .option(
      '--with-runs',
      'with --delete: those of its own runs too that nothing else needs; with --archive those that nothing else has, ' +
        'with --unarchive all',
    )
    .option('--clone <name>', 'submit it again under another name')
    .option(
      '--export <file>',
      'its trials as .csv, .json or .parquet, or all its runs with their curves for MLflow as .tar',
    )
    .option('--parallel-trials <n>', 'how many trials may be under way', positive)
    .option('--run-cap <n>', 'how many trials there may be', positive)
    .option('--gpu-seconds <n>', 'of its budget', positive)
    .option('--wall-seconds <n>', 'of its budget', positive)
    .action(async (given: string, options: SweepOptions) => {
      if (options.withRuns && !(options.delete || options.archive || options.unarchive))
        throw new UsageError('expected --with-runs together with --delete, --archive or --unarchive');
      if (options.archive && options.unarchive) throw new UsageError('expected --archive or --unarchive, got both');
      const api = await client();
      const id = await sweepId(api, given);
      if (options.delete) {
        const gone = await api.deleteSweep(id, { runs: options.withRuns ?? false });
        show(
          gone,
          () => `deleted sweep ${id} and ${gone.deleted} runs; ${gone.kept} of its own are needed elsewhere\n`,
        );
        return;
      }
      if (options.archive || options.unarchive) {
        const own = { runs: options.withRuns ?? false };
        const { runs } = await (options.archive ? api.archiveSweep(id, own) : api.unarchiveSweep(id, own));
        show({ id, runs }, () => `${options.archive ? 'archived' : 'unarchived'} sweep ${id} and ${runs} runs\n`);
        return;
      }
      await change(api, id, options);
      if (options.clone !== undefined) {
        const { sweep } = await api.cloneSweep(id, { name: options.clone });
        show(sweep, () => `submitted sweep ${sweep.id}: ${sweep.plan.summary}\n`);
      } else if (options.export !== undefined) await writeExport(api, id, options.export);
      else await showSweep(api, id);
    });
}

/** Changes a sweep's limits, then pauses, resumes, cancels or retries it, as asked. */
async function change(
  api: LoomClient,
  id: string,
  { pause, resume, cancel, retry, parallelTrials, runCap, gpuSeconds, wallSeconds }: SweepOptions,
): Promise<void> {
  const budget = (gpuSeconds ?? wallSeconds) !== undefined && {
    ...(gpuSeconds !== undefined && { gpu_seconds: gpuSeconds }),
    ...(wallSeconds !== undefined && { wall_seconds: wallSeconds }),
  };
  const changes = {
    ...(parallelTrials !== undefined && { parallel_trials: parallelTrials }),
    ...(runCap !== undefined && { run_cap: runCap }),
    ...(budget && { budget }),
  };
  if (Object.keys(changes).length) await api.changeSweep(id, changes);
  if (pause) await api.pauseSweep(id);
  if (resume) await api.resumeSweep(id);
  if (cancel) await api.cancelSweep(id);
  if (retry) await api.retrySweep(id);
}

const EXPORTS: Record<string, 'trials.csv' | 'trials.json' | 'trials.parquet' | 'mlflow.tar'> = {
  '.csv': 'trials.csv',
  '.json': 'trials.json',
  '.parquet': 'trials.parquet',
  '.tar': 'mlflow.tar',
};

/** The file is there whole or not at all. */
async function writeExport(api: LoomClient, id: string, file: string): Promise<void> {
  const what = EXPORTS[path.extname(file)];
  if (!what) throw new UsageError(`expected a file that ends with .csv, .json, .parquet or .tar, got ${file}`);
  const draft = `${file}.${process.pid}.part`;
  await pipeline(
    Readable.fromWeb((await api.exportSweep(id, what)) as WebReadableStream),
    createWriteStream(draft),
  ).catch(async (error: unknown) => {
    await rm(draft, { force: true });
    throw error;
  });
  await rename(draft, file);
  say(file);
}

async function showSweep(api: LoomClient, id: string): Promise<void> {
  const [sweep, results] = [await api.sweep(id), await api.sweepResults(id)];
  const counted = (counts: Record<string, number>) =>
    Object.entries(counts)
      .map(([status, count]) => `${count} ${status}`)
      .join(', ');
  show(
    { ...sweep, results },
    () =>
      `${sweep.name} is ${sweep.status}${sweep.haltReason ? ` (${sweep.haltReason})` : ''}: ` +
      `trials ${counted(sweep.trialCounts)}; runs ${counted(sweep.runCounts)}; ` +
      `${sweep.gpuSeconds.toFixed(0)} s of workers\n${resultsText(results, out)}`,
  );
}

const LARGEST_PAGE = 500;

/** At most so many of what comes, in pages. */
async function first<Item>(most: number, pages: (limit: number) => AsyncGenerator<Item>): Promise<Item[]> {
  const items: Item[] = [];
  if (most > 0) for await (const item of pages(Math.min(most, LARGEST_PAGE))) if (items.push(item) === most) break;
  return items;
}

type ListOptions = Pick<Filter, 'archived' | 'status' | 'tag' | 'name' | 'project' | 'where'> & {
  limit: number;
  sort: string;
};

export function addSweeps(program: Command): void {
  program
    .command('sweeps')
    .description('list sweeps, the newest first')
    .addOption(words('--status <status>', 'only these', SweepStatus.options))
    .option('--tag <tag>', 'only sweeps with this tag')
    .option('--name <text>', 'only sweeps whose name holds it')
    .option('--project <name>', 'only sweeps of this project')
    .addOption(archivedOption())
    .option('--where <conditions>', 'that have a trial with such last values, such as eval/knn>0.5')
    .option('--limit <n>', 'at most so many', positive, 50)
    .option('--sort <field>', 'createdAt, name or metric:KEY, with a leading - for the largest first', '-createdAt')
    .action(async ({ limit, ...query }: ListOptions) => {
      const api = await client();
      const items = await first(limit, (size) => api.eachSweep({ ...query, limit: size } as never));
      show({ items }, () =>
        table(
          ['id', 'name', 'status', 'age'],
          items.map((sweep) => [sweep.id, sweep.name, sweep.status, age(sweep.createdAt)]),
          out,
        ),
      );
    });
}

export function addTrials(program: Command): void {
  program
    .command('trials <sweep>')
    .description('list trials of a sweep with their parameters')
    .addOption(words('--status <status>', 'only these', TrialStatus.options))
    .option('--where <conditions>', 'by last values of metrics of their runs, such as eval/knn>0.5')
    .option('--limit <n>', 'at most so many', positive, 30)
    .option('--sort <field>', 'index or metric:KEY, with a leading - for the largest first', 'index')
    .action(async (given: string, { limit, ...query }: ListOptions) => {
      const api = await client();
      const id = await sweepId(api, given);
      const items = await first(limit, (size) => api.eachTrial(id, { ...query, limit: size } as never));
      const metric = /^-?metric:(.+)$/.exec(query.sort)?.[1];
      show({ items }, () =>
        table(
          ['trial', 'status', ...(metric === undefined ? [] : [metric]), 'parameters', 'runs'],
          items.map((trial) => [
            String(trial.index),
            trial.status,
            ...(metric === undefined ? [] : [trial.value === null ? '–' : shortNumber(trial.value)]),
            Object.entries(trial.parameters)
              .map(([name, value]) => `${name}=${JSON.stringify(value)}`)
              .join(' '),
            trial.runs.map(({ runId }) => runId).join(' '),
          ]),
          out,
        ),
      );
    });
}
