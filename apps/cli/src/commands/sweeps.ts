/** Sweeps: listed, and each with its table, or changed. */
import type { Command } from 'commander';
import { createWriteStream } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as WebReadableStream } from 'node:stream/web';
import { UsageError } from '../document.js';
import { positive } from '../options.js';
import { client, out, say, show } from '../program.js';
import { age, resultsText, table } from '../render.js';

interface SweepOptions {
  pause?: boolean;
  resume?: boolean;
  cancel?: boolean;
  retry?: boolean;
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
    .description('which combination needs the fewest labels; or pause, resume, cancel, retry, clone or change a sweep')
    .option('--pause', 'start no other trial, pause its runs')
    .option('--resume', 'go on where it was paused')
    .option('--cancel', 'cancel its runs')
    .option('--retry', 'queue again exactly what failed')
    .option('--clone <name>', 'submit it again under another name')
    .option(
      '--export <file>',
      'its trials as .csv, .json or .parquet, or all its runs with their curves for MLflow as .tar',
    )
    .option('--parallel-trials <n>', 'how many trials may be under way', positive)
    .option('--run-cap <n>', 'how many trials there may be', positive)
    .option('--gpu-seconds <n>', 'of its budget', positive)
    .option('--wall-seconds <n>', 'of its budget', positive)
    .action(
      async (
        id: string,
        {
          pause,
          resume,
          cancel,
          retry,
          clone,
          export: file,
          parallelTrials,
          runCap,
          gpuSeconds,
          wallSeconds,
        }: SweepOptions,
      ) => {
        const api = await client();
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
        if (clone !== undefined) {
          const { sweep } = await api.cloneSweep(id, { name: clone });
          show(sweep, () => `submitted sweep ${sweep.id}: ${sweep.plan.summary}\n`);
          return;
        }
        if (file !== undefined) {
          const what = (
            {
              '.csv': 'trials.csv',
              '.json': 'trials.json',
              '.parquet': 'trials.parquet',
              '.tar': 'mlflow.tar',
            } as const
          )[path.extname(file)];
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
          return;
        }
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
      },
    );
}

export function addSweeps(program: Command): void {
  program
    .command('sweeps')
    .description('list sweeps, the newest first')
    .action(async () => {
      const page = await (await client()).sweeps();
      show(page, () =>
        table(
          ['id', 'name', 'status', 'age'],
          page.items.map((sweep) => [sweep.id, sweep.name, sweep.status, age(sweep.createdAt)]),
          out,
        ),
      );
    });
}
