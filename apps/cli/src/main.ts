#!/usr/bin/env node
import {
  ApiError,
  bytes,
  diffSpecs,
  LoomClient,
  Name,
  RUN_KINDS,
  RunStatus,
  sampleText,
  UnreachableError,
  type Artifact,
  type Estimation,
  type LogLine,
  type MemoryFit,
  type Run,
  type RunAction,
  type RunFilter,
  type Worker,
} from '#libs/contracts';
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import { createWriteStream } from 'node:fs';
import { rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as WebReadableStream } from 'node:stream/web';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { completionScript, SHELLS, type Shell } from './completion.js';
import { SubmissionFile, UsageError } from './document.js';
import { download } from './download.js';
import { addExamples } from './examples.js';
import { followed, following, FOLLOW_RETRIES, type FollowOptions } from './follow.js';
import {
  age,
  comparisonText,
  curvesText,
  reproductionText,
  resultsText,
  runsText,
  setColour,
  statusText,
  table,
  waitText,
  type Comparison,
} from './render.js';
import { judge, lineage, resubmit, shellScript } from './reproduce.js';
import { readSettings } from './settings.js';
import { didYouMean } from './spelling.js';
import { runningPid, StackError, stopStack } from './stack-lock.js';
import { readState } from './stack-state.js';
import { Stack } from './stack.js';
import { starterSweep } from './starter.js';

/** What scripts can tell apart. */
const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, interrupted: 130 } as const;
const DEFAULT_DIR = '.loom';
const EXPORT_FORMATS = ['tfjs', 'safetensors', 'onnx'] as const;
const LARGEST_PAGE = 500;
const MOST_COMPARED = 20;
const CURVE_POINTS = 200;
/** A Ctrl-C reaches the whole group, and programs that started this one pass it on: that is one and the same. */
const ONE_SIGNAL_MS = 500;
/**
 * How long a command may take to end after Ctrl-C: to say what goes on, or to cancel it. What holds a stack takes as
 * long as it takes.
 */
const FAREWELL_MS = 300;
const CANCELLING_MS = 10_000;

const interrupted = new AbortController();
let interruptedAt = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second does not wait for checkpoints: processes end with this one.
    if (interrupted.signal.aborted && performance.now() - interruptedAt > ONE_SIGNAL_MS) process.exit(EXIT.interrupted);
    if (!interrupted.signal.aborted) interruptedAt = performance.now();
    interrupted.abort(new Error('interrupted'));
  });
}

/** Rejects where a command goes on for too long after Ctrl-C, such as one that waits for an answer. */
const tooLong = (command: Command): Promise<never> =>
  new Promise((_, reject) => {
    if (command.name() === 'up' || command.name() === 'demo') return;
    interrupted.signal.addEventListener(
      'abort',
      () =>
        setTimeout(
          () => reject(interrupted.signal.reason as Error),
          command.opts()['cancelOnInterrupt'] ? CANCELLING_MS : FAREWELL_MS,
        ),
      { once: true },
    );
  });

if (process.env['NO_COLOR']) setColour(false);
const out = process.stdout;
// A reader such as `head` that has enough is no error.
out.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  else throw error;
});
const say = (text: string): void => {
  out.write(`${text}\n`);
};

export const program = new Command('loom')
  .description(
    'Trains representations: queues contrastive pretraining, label-fraction finetuning and autoencoders, and says ' +
      'which views need the fewest labels.',
  )
  .option(
    '--url <url>',
    'address of the API (default: LOOM_URL, the configuration file, else what `loom up` started here)',
  )
  .option('--key <key>', 'what a proxy in front of the API asks for (default: LOOM_KEY, the configuration file)')
  .option(
    '--timeout <seconds>',
    'how long the API may be silent (default: LOOM_TIMEOUT, the configuration file, 30)',
    (text) => {
      if (!(Number(text) > 0)) throw new InvalidArgumentError('expected seconds, above 0');
      return Number(text);
    },
  )
  .option('--dir <dir>', 'folder of a local stack', DEFAULT_DIR)
  .option('--json', 'print JSON, errors too')
  .showSuggestionAfterError()
  .exitOverride()
  // What is wrong with the words themselves is told before anything could ask for JSON.
  .configureOutput({
    outputError: (text, write) => {
      write(
        process.argv.includes('--json')
          ? `${JSON.stringify({ error: { exitCode: EXIT.usage, message: text.trim().replace(/^error: /, '') } })}\n`
          : text.replace(/^error: /, 'loom: '),
      );
    },
  });

interface Global {
  url?: string;
  key?: string;
  timeout?: number;
  dir: string;
  json?: boolean;
}
const settings = (): Global => program.opts<Global>();

async function client(): Promise<LoomClient> {
  const { url, key, timeoutMs } = await readSettings(settings(), process.env);
  return new LoomClient({ url, key, timeoutMs });
}

/** Prints a value as JSON where that was asked for, else as text. */
function show(value: unknown, text: () => string): void {
  if (settings().json) say(JSON.stringify(value, null, 2));
  else out.write(text());
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new InvalidArgumentError('expected a whole number');
  return value;
};

/** An option that takes some of these words, separated by commas. */
function words(flags: string, description: string, known: readonly string[]): Option {
  const option = new Option(flags, `${description}, separated by commas`).argParser((text) => {
    for (const word of text.split(','))
      if (!known.includes(word))
        throw new InvalidArgumentError(`${word || 'nothing'} is none of them${didYouMean(word, known)}`);
    return text;
  });
  option.argChoices = [...known];
  return option;
}

program.commandsGroup('This machine:');
program
  .command('up')
  .description('bring up Postgres, Redis, the API and workers on this machine, and keep them until Ctrl-C')
  .option('--port <port>', 'port of the API (default: the one of last time, 3000 or a free one)', positive)
  .option('--host <host>', 'address to listen on', '127.0.0.1')
  .option('--workers <n>', 'worker processes', positive, 1)
  .option('--data-root <folder>', 'the only folder that datasets are prepared from')
  .action(
    async ({ port, host, workers, dataRoot }: { port?: number; host: string; workers: number; dataRoot?: string }) => {
      const stack = await Stack.start({
        dir: settings().dir,
        port,
        host,
        workers,
        dataRoot,
        environment: process.env,
        signal: interrupted.signal,
        log: say,
        databaseUrl: process.env['DATABASE_URL'],
        redisUrl: process.env['REDIS_URL'],
      });
      try {
        say(`Latent Loom is up at ${stack.url} (data root ${stack.state.dataRoot}); Ctrl-C ends it`);
        await Promise.race([
          stack.failure,
          new Promise<void>((resolve) => interrupted.signal.addEventListener('abort', () => resolve(), { once: true })),
        ]);
        say('stopping');
      } finally {
        await stack.stop();
      }
    },
  );

program
  .command('down')
  .description('end the stack of this folder')
  .action(async () => {
    const stopped = await stopStack(settings().dir);
    show({ stopped }, () => (stopped ? 'stopped\n' : 'nothing was running\n'));
  });

program.commandsGroup('Runs and sweeps:');
program
  .command('status')
  .description('what runs, waits and works')
  .action(async () => {
    const { dir } = settings();
    const state = await readState(dir);
    const api = await client();
    const [workers, counts, recent] = [await api.workers(), await api.runCounts(), await api.runs({ limit: 10 })];
    const ready = await api.ready();
    const counted = Object.entries(counts)
      .map(([status, count]) => `${count} ${status}`)
      .join(', ');
    show(
      {
        url: api.url,
        pid: runningPid(dir) ?? null,
        ready,
        workers,
        counts,
        runs: recent.items,
        startedAt: state?.startedAt,
      },
      () =>
        `${api.url} ${ready ? 'is ready' : 'is not ready'}; workers: ` +
        `${workers.filter(({ alive }) => alive).length}; runs: ` +
        `${counted || 'none'}\n${runsText(recent.items, out)}`,
    );
  });

const FOLLOWING = 'cancel what is followed on Ctrl-C, which otherwise goes on';
program
  .command('submit <file>')
  .description('submit a run or a sweep from a YAML or JSON file; - is standard input')
  .option('--watch', 'follow it to its end')
  .option('--cancel-on-interrupt', FOLLOWING)
  .option('-q, --quiet', 'print only its id')
  .option('--project <name>', 'whose share of the workers it takes')
  .action(
    async (
      file: string,
      {
        watch,
        quiet,
        cancelOnInterrupt,
        project,
      }: { watch?: boolean; quiet?: boolean; cancelOnInterrupt?: boolean; project?: string },
    ) => {
      const document = await SubmissionFile.read(file);
      const api = await client();
      const { submission } = document;
      if (project !== undefined) submission.request.project = project;
      const told = (value: { id: string }, text: string) => {
        if (quiet) say(value.id);
        else if (!watch || !settings().json) show(value, () => `${text}\n`);
      };
      const refused = (error: unknown): never => {
        throw error instanceof ApiError ? new UsageError(document.explain(error.problem)) : error;
      };
      if (submission.type === 'run') {
        const { run, created } = await api.submitRun(submission.request).catch(refused);
        told(run, `${created ? 'submitted' : 'reused'} run ${run.id} (${run.status})`);
        if (watch) process.exitCode = await follow(api, [run], { cancelOnInterrupt });
      } else {
        const { sweep } = await api.submitSweep(submission.request).catch(refused);
        told(sweep, `submitted sweep ${sweep.id}: ${sweep.plan.summary}`);
        if (watch) process.exitCode = await followSweep(api, sweep.id, { cancelOnInterrupt });
      }
    },
  );

program
  .command('plan <file>')
  .description('what submitting this file would start, and what it would reuse')
  .action(async (file: string) => {
    const document = await SubmissionFile.read(file);
    const api = await client();
    const { submission } = document;
    try {
      const plan =
        submission.type === 'run' ? await api.planRun(submission.request) : await api.planSweep(submission.request);
      show(plan, () => `${plan.summary}\n${estimateText(plan.estimate)}${memoryText(plan.memory)}`);
    } catch (error) {
      throw error instanceof ApiError ? new UsageError(document.explain(error.problem)) : error;
    }
  });

function memoryText(memory: MemoryFit | undefined): string {
  if (!memory || memory.neededMiB === null) return '';
  const which = memory.trials.length
    ? ` (trials ${memory.trials.slice(0, 10).join(', ')}${memory.trials.length > 10 ? ', …' : ''})`
    : '';
  return (
    `memory: up to ${memory.neededMiB} ` +
    `MiB${memory.on === null ? ', and no worker is there that could take it' : memory.fits ? `, fits ${memory.on}` : `${which}, which does not fit ${memory.on}`}\n`
  );
}

function estimateText(estimate: Estimation | undefined): string {
  if (!estimate) return '';
  const time = (seconds: number) =>
    seconds < 120
      ? `${seconds.toFixed(0)} s`
      : seconds < 7200
        ? `${(seconds / 60).toFixed(0)} min`
        : `${(seconds / 3600).toFixed(1)} h`;
  const unknown = Object.entries(estimate.unknown)
    .map(([kind, count]) => `${count} ${kind}`)
    .join(', ');
  const known = Object.entries(estimate.basis)
    .map(([kind, { runs, seconds }]) => `${kind} ${time(seconds)}, as ${runs} before`)
    .join('; ');
  return `${known ? `about ${time(estimate.gpuSeconds)} of workers ` + `(${known})${estimate.wallSeconds === null ? '' : `, ${time(estimate.wallSeconds)} on ${estimate.slots} ${estimate.slots === 1 ? 'slot' : 'slots'}`}\n` : ''}${unknown ? `not known yet, none has succeeded: ${unknown}\n` : ''}`;
}

program
  .command('why <id> [against]')
  .description("why a run is, or is not, another's result: field by field")
  .action(async (id: string, against?: string) => {
    const why = await (await client()).why(id, against);
    show(
      why,
      () =>
        `${why.against ?? 'nothing'}: ${why.reason}\n${
          why.differences.length
            ? table(
                ['field', 'here', 'there'],
                why.differences.map(({ field, here, there }) => [field, JSON.stringify(here), JSON.stringify(there)]),
                out,
              )
            : ''
        }`,
    );
  });

interface Filter {
  status?: string;
  kind?: string;
  tag?: string;
  sweep?: string;
  name?: string;
  project?: string;
  where?: string;
}
const filtered = (command: Command): Command =>
  command
    .addOption(words('--status <status>', 'only these', RunStatus.options))
    .addOption(words('--kind <kind>', 'only these', RUN_KINDS))
    .option('--tag <tag>', 'only runs with this tag')
    .option('--sweep <id>', 'only runs of this sweep')
    .option('--name <text>', 'only runs whose name holds it')
    .option('--project <name>', 'only runs of this project')
    .option('--where <conditions>', 'by last values of metrics, such as eval/knn>0.5, separated by commas');
const filterOf = ({ status, kind, tag, sweep, name, project, where }: Filter): z.input<typeof RunFilter> => ({
  ...(status && { status }),
  ...(kind && { kind }),
  ...(tag && { tag }),
  ...(sweep && { sweep }),
  ...(name && { name }),
  ...(project && { project }),
  ...(where && { where }),
});

filtered(program.command('runs').description('list runs, the newest first'))
  .option('--limit <n>', 'at most so many', positive, 30)
  .option(
    '--sort <field>',
    'createdAt, finishedAt, name, duration, metric:KEY …, with a leading - for the largest first',
    '-createdAt',
  )
  .action(async ({ limit, sort, ...options }: Filter & { limit: number; sort: string }) => {
    const items: Run[] = [];
    if (limit > 0)
      for await (const run of (await client()).eachRun({
        sort,
        ...filterOf(options),
        limit: Math.min(limit, LARGEST_PAGE),
      } as never))
        if (items.push(run) === limit) break;
    show({ items }, () => runsText(items, out));
  });

program
  .command('run <id>')
  .description('a run, its curves, attempts and results')
  .action(async (id: string) => {
    const api = await client();
    const [run, curves] = [await api.run(id), await api.metrics(id, { points: CURVE_POINTS })];
    show({ ...run, curves }, () =>
      [
        `${run.kind} ${run.id}${run.name === null ? '' : ` (${run.name})`}`,
        `status    ${statusText(run.status, out)}${run.statusDetail ? `: ${run.statusDetail}` : ''}`,
        ...(run.waitsFor ? [`waits for ${waitText(run)}`] : []),
        `project   ${run.project}`,
        `steps     ${run.step}${run.totalSteps ? ` of ${run.totalSteps}` : ''}`,
        `digest    ${run.digest}`,
        ...(run.parents.length ? [`made from ${run.parents.join(', ')}`] : []),
        ...Object.entries(run.result?.metrics ?? {}).map(([key, value]) => `${key.padEnd(28)} ${value}`),
        '',
        ...(curves.some(({ points }) => points.length > 1) ? [curvesText(curves, out)] : []),
        table(
          ['attempt', 'worker', 'started', 'from step', 'outcome'],
          run.attempts.map((each) => [
            String(each.attempt),
            each.workerId,
            age(each.startedAt),
            String(each.resumedFromStep),
            each.outcome ?? '–',
          ]),
          out,
        ),
      ].join('\n'),
    );
  });

program
  .command('watch <id...>')
  .description('follow runs, or a sweep, to their end')
  .option('--cancel-on-interrupt', FOLLOWING)
  .action(async (ids: string[], { cancelOnInterrupt }: { cancelOnInterrupt?: boolean }) => {
    const api = await client();
    const runs: Run[] = [];
    for (const id of ids) {
      const found = await api.run(id).catch((error: unknown) => {
        if (ids.length === 1 && isMissing(error)) return error;
        throw error;
      });
      if (!isMissing(found)) runs.push(found);
      else if (
        await api.sweep(id).then(
          () => true,
          () => false,
        )
      )
        return void (process.exitCode = await followSweep(api, id, { cancelOnInterrupt }));
      else throw found;
    }
    process.exitCode = await follow(api, runs, { cancelOnInterrupt });
  });

const isMissing = (error: unknown): error is ApiError => error instanceof ApiError && error.status === 404;

program
  .command('logs <id>')
  .description('log lines of a run')
  .option('-f, --follow', 'also those that are still to come')
  .action(async (id: string, { follow: goesOn }: { follow?: boolean }) => {
    const api = await client();
    const line = (each: LogLine) =>
      say(settings().json ? JSON.stringify(each) : `${each.at} ${each.level} ${each.message}`);
    if (goesOn)
      return void (await api.follow(
        id,
        { onLog: line, onLost: (error) => process.stderr.write(`loom: ${error.message}: trying again\n`) },
        { signal: interrupted.signal, retries: FOLLOW_RETRIES },
      ));
    for (let cursor: string | undefined; ;) {
      const page = await api.logs(id, { limit: 500, ...(cursor && { cursor }) });
      page.items.forEach(line);
      if (!page.nextCursor) return;
      cursor = page.nextCursor;
    }
  });

program
  .command('compare <run...>')
  .description('metrics, curves and specs of runs side by side')
  .option('--every-field', 'also fields of the specs that are equal')
  .action(async (ids: string[], { everyField = false }: { everyField?: boolean }) => {
    if (ids.length < 2 || ids.length > MOST_COMPARED || new Set(ids).size < ids.length)
      throw new UsageError(`expected 2 to ${MOST_COMPARED} different runs, got ${ids.join(', ')}`);
    const api = await client();
    const runs = await Promise.all(ids.map((id) => api.run(id)));
    const series = await Promise.all(
      ids.map(
        async (id) =>
          new Map((await api.metrics(id, { points: CURVE_POINTS })).map(({ key, points }) => [key, points])),
      ),
    );
    // A run that has not ended has no result yet: its last points stand for it.
    const last = runs.map(
      ({ result }, i) =>
        result?.metrics ?? Object.fromEntries([...series[i]!].map(([key, points]) => [key, points.at(-1)!.value])),
    );
    const curved = [
      ...new Set(series.flatMap((curves) => [...curves].flatMap(([key, points]) => (points.length > 1 ? [key] : [])))),
    ].sort();
    const comparison: Comparison = {
      runs,
      spec: diffSpecs(runs.map(({ spec }) => spec)),
      metrics: Object.fromEntries(
        [...new Set(last.flatMap((metrics) => Object.keys(metrics)))]
          .sort()
          .map((key) => [key, last.map((metrics) => metrics[key] ?? null)]),
      ),
      curves: Object.fromEntries(curved.map((key) => [key, series.map((curves) => curves.get(key) ?? null)])),
    };
    show(comparison, () => comparisonText(comparison, out, everyField));
  });

program
  .command('reproduce <run>')
  .description('train a run and all that it was made from once more, as they were, and compare every last metric')
  .option(
    '--tolerance <number>',
    'how far a metric may be off: that much, or that part of a value beyond ±1',
    (text) => {
      if (!(Number(text) >= 0)) throw new InvalidArgumentError('expected a number from 0');
      return Number(text);
    },
    0.02,
  )
  .option('--print', 'print the commands that would do it, and do nothing')
  .option('--cancel-on-interrupt', FOLLOWING)
  .action(
    async (
      id: string,
      { tolerance, print, cancelOnInterrupt }: { tolerance: number; print?: boolean; cancelOnInterrupt?: boolean },
    ) => {
      const api = await client();
      const runs = await lineage(api, id);
      if (print)
        return show(
          runs.map(({ id: original, kind, digest, spec }) => ({ original, kind, digest, spec })),
          () => shellScript(runs),
        );
      const ended = await following(api, [], followOptions({ cancelOnInterrupt }), async (add) => {
        const ends = new Map<string, Promise<Run>>();
        await resubmit(
          api,
          runs,
          (run) => {
            ends.set(run.id, add(run));
          },
          (each) => ends.get(each)!,
        );
        return Promise.all(ends.values());
      });
      const verdicts = runs.map((run, i) => judge(run, ended[i]!, tolerance));
      const reproduced = verdicts.every(({ within }) => within);
      process.exitCode = reproduced ? EXIT.ok : EXIT.failed;
      show({ reproduced, tolerance, runs: verdicts }, () => reproductionText(verdicts, tolerance, out));
    },
  );

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
          { '.csv': 'trials.csv', '.json': 'trials.json', '.parquet': 'trials.parquet', '.tar': 'mlflow.tar' } as const
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
          `${sweep.name} is ${sweep.status}${sweep.haltReason ? ` (${sweep.haltReason})` : ''}: trials ` +
          `${counted(sweep.trialCounts)}; runs ${counted(sweep.runCounts)}; ${sweep.gpuSeconds.toFixed(0)} s of ` +
          `workers\n${resultsText(results, out)}`,
      );
    },
  );

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

const ACTIONS = {
  cancel: ['cancel runs', (api: LoomClient, id: string) => api.cancelRun(id)],
  pause: ['stop runs at a checkpoint until they are resumed', (api: LoomClient, id: string) => api.pauseRun(id)],
  resume: ['queue paused runs, which go on from their checkpoints', (api: LoomClient, id: string) => api.resumeRun(id)],
  retry: ['queue runs again that failed or were cancelled', (api: LoomClient, id: string) => api.retryRun(id)],
} as const satisfies Record<RunAction, [string, (api: LoomClient, id: string) => Promise<Run>]>;
for (const [action, [description, act]] of Object.entries(ACTIONS) as [RunAction, (typeof ACTIONS)[RunAction]][]) {
  filtered(
    program.command(`${action} [id...]`).description(`${description}: those named, or those that a filter names`),
  )
    .option('--all', 'all runs')
    .option('--dry-run', 'only count what a filter names')
    .action(
      async (
        ids: string[],
        { all = false, dryRun = false, ...options }: Filter & { all?: boolean; dryRun?: boolean },
      ) => {
        const filter = filterOf(options);
        const chosen = Number(ids.length > 0) + Number(Object.keys(filter).length > 0) + Number(all);
        if (chosen !== 1 || (dryRun && ids.length > 0))
          throw new UsageError(
            'expected ids, or a filter such as --status or --tag, or --all: one of the ' +
              `three${dryRun ? ', and no ids with --dry-run' : ''}`,
          );
        const api = await client();
        if (ids.length > 0) {
          const changed: Run[] = [];
          for (const id of ids) {
            const run = await act(api, id);
            changed.push(run);
            if (!settings().json) say(`${id} ${run.status}`);
          }
          if (settings().json) show(changed, () => '');
        } else {
          const result = await api.bulkRuns({ action, filter }, { validateOnly: dryRun });
          const skipped = Object.entries(result.skipped)
            .map(([reason, count]) => `${count} ${reason}`)
            .join(', ');
          show(
            result,
            () =>
              `${action} ${dryRun ? 'would change' : 'changed'} ${result.done} ` +
              `${result.done === 1 ? 'run' : 'runs'}${skipped ? `; left as they are: ${skipped}` : ''}\n`,
          );
        }
      },
    );
}

filtered(
  program
    .command('tag [id...]')
    .description('give tags to runs, or take them away: those named, or those that a filter names'),
)
  .option('--add <tags>', 'those to give, separated by commas')
  .option('--remove <tags>', 'those to take away, separated by commas')
  .option('--all', 'all runs')
  .option('--dry-run', 'only count them')
  .action(
    async (
      ids: string[],
      {
        add,
        remove,
        all = false,
        dryRun = false,
        ...options
      }: Filter & { add?: string; remove?: string; all?: boolean; dryRun?: boolean },
    ) => {
      const filter = filterOf(options);
      if (Number(ids.length > 0) + Number(Object.keys(filter).length > 0) + Number(all) !== 1)
        throw new UsageError('expected ids, or a filter such as --status or --where, or --all: one of the three');
      if (add === undefined && remove === undefined) throw new UsageError('expected --add or --remove with tags');
      const names = (text = '') =>
        text
          .split(',')
          .map((each) => each.trim())
          .filter(Boolean);
      const result = await (
        await client()
      ).bulkRuns(
        {
          action: 'tag',
          filter: ids.length > 0 ? { id: ids } : filter,
          tags: { add: names(add), remove: names(remove) },
        },
        { validateOnly: dryRun },
      );
      const skipped = Object.entries(result.skipped)
        .map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`)
        .join(', ');
      show(
        result,
        () =>
          `${dryRun ? 'would tag' : 'tagged'} ${result.done} ` +
          `${result.done === 1 ? 'run' : 'runs'}${skipped ? `; left as they are: ${skipped}` : ''}\n`,
      );
    },
  );

program
  .command('artifacts <id>')
  .description('files of a run')
  .option('--download <folder>', 'fetch them all, each checked by its sha256')
  .action(async (id: string, { download: folder }: { download?: string }) => {
    const api = await client();
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

program
  .command('export <run>')
  .description('write the networks of a run as files for other programs')
  .addOption(words('--format <formats>', 'which', EXPORT_FORMATS).default(EXPORT_FORMATS.join(',')))
  .option('--out <folder>', 'where to (default: <run>-export)')
  .action(async (from: string, { format, out: folder = `${from}-export` }: { format: string; out?: string }) => {
    const asked = format.split(',');
    const api = await client();
    // In one order always: an export that was asked for before is found again.
    const { run } = await api.submitRun({
      spec: { kind: 'export', from, formats: EXPORT_FORMATS.filter((each) => asked.includes(each)) },
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

program.commandsGroup('Datasets and workers:');
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
      const { fetchCifar10 } = await import('./cifar10.js');
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

program
  .command('workers')
  .description('workers and their heartbeats')
  .action(async () => {
    const workers = await (await client()).workers();
    show(workers, () =>
      table(
        ['id', 'state', 'slots', 'alive', 'heartbeat', 'labels', 'GPUs'],
        workers.map((worker) => [
          worker.id,
          worker.state,
          String(worker.slots),
          worker.alive ? 'yes' : 'no',
          age(worker.heartbeatAt),
          Object.entries(worker.labels)
            .map((label) => label.join('='))
            .join(',') || '–',
          worker.gpus.map(({ name }) => name).join(', ') || '–',
        ]),
        out,
      ),
    );
  });

const projects = program
  .command('projects')
  .description('who shares the workers: weights, quotas, and what they use')
  .action(async () => {
    const list = await (await client()).projects();
    show(list, () =>
      table(
        ['name', 'weight', 'running', 'of at most', 'waiting', 'GPU-seconds', 'of at most'],
        list.map((project) => [
          project.name,
          String(project.weight),
          String(project.running),
          project.maxRunning === null ? '–' : String(project.maxRunning),
          String(project.waiting),
          project.gpuSecondsUsed.toFixed(0),
          project.gpuSeconds === null ? '–' : String(project.gpuSeconds),
        ]),
        out,
      ),
    );
  });
const quota = (text: string): number | null => (text === 'none' ? null : positive(text));
projects
  .command('set <name>')
  .description('make a project, or change its weight and quotas')
  .option('--weight <n>', 'its share of starts and slots, beside that of others', Number)
  .option('--max-running <n>', 'how many of its runs may be under way (none: any number)', quota)
  .option('--gpu-seconds <n>', 'what its runs may use altogether (none: any amount)', quota)
  .action(
    async (
      name: string,
      { weight, maxRunning, gpuSeconds }: { weight?: number; maxRunning?: number | null; gpuSeconds?: number | null },
    ) => {
      const project = await (
        await client()
      ).putProject(name, {
        ...(weight !== undefined && { weight }),
        ...(maxRunning !== undefined && { maxRunning }),
        ...(gpuSeconds !== undefined && { gpuSeconds }),
      });
      show(
        project,
        () =>
          `project ${project.name}: weight ${project.weight}, at most ${project.maxRunning ?? 'any number of'} ` +
          `runs and ${project.gpuSeconds ?? 'any amount of'} GPU-seconds\n`,
      );
    },
  );

program
  .command('drain <worker...>')
  .description('have workers hand back their runs at a checkpoint, and end')
  .action(async (ids: string[]) => {
    const api = await client();
    const drained: Worker[] = [];
    for (const id of ids) drained.push(await api.drainWorker(id));
    show(drained, () => drained.map(({ id, state }) => `${id} ${state}\n`).join(''));
  });

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
        `${dryRun ? 'would remove' : 'removed'} orphans: ${amount(result.orphans)}, leftovers: ` +
        `${amount(result.leftovers)}; kept: ${amount(result.kept)}\n`,
    );
  });

program.commandsGroup('To begin with:');
program
  .command('demo')
  .description('the main job on real images, from an empty machine to a result table')
  .option('--dataset <path>', 'a folder of class folders, or a tar or tar.gz of one (default: MNIST digits)')
  .option('--quick', 'a smaller one, in under 90 seconds')
  .option('--out <file>', 'write the results as JSON')
  .option('--stay', 'keep everything up afterwards')
  .option('--sweep', 'six augmentations in all pairs: the composition matrix as a heat map')
  .action(
    async ({
      dataset,
      quick = false,
      out: file,
      stay = false,
      sweep: pairs = false,
    }: {
      dataset?: string;
      quick?: boolean;
      out?: string;
      stay?: boolean;
      sweep?: boolean;
    }) => {
      const { demo } = await import('./demo.js');
      const succeeded = await demo({
        dataset,
        quick,
        pairs,
        stay,
        out: file,
        dir: settings().dir,
        environment: process.env,
        output: out,
        signal: interrupted.signal,
      });
      process.exitCode = succeeded ? EXIT.ok : EXIT.failed;
    },
  );

program
  .command('init [file]')
  .description('write a commented sweep to start from')
  .addOption(
    new Option('--dataset <name>', 'what it trains on').default('cifar10').argParser((text) => {
      if (!Name.safeParse(text.split('@')[0]).success)
        throw new InvalidArgumentError('expected the name of a dataset, such as cifar10');
      return text;
    }),
  )
  .option('--force', 'also over a file that is there')
  .action(async (file: string = 'sweep.yaml', { dataset, force }: { dataset: string; force?: boolean }) => {
    if (file === '-') return void out.write(starterSweep(dataset));
    await writeFile(file, starterSweep(dataset), { flag: force ? 'w' : 'wx' }).catch((error: NodeJS.ErrnoException) => {
      throw new UsageError(
        error.code === 'EEXIST'
          ? `expected no file at ${file}, there is one: choose another name, or --force`
          : `expected to be able to write ${file}: ${error.message}`,
      );
    });
    show({ file, dataset }, () => `wrote ${file}, a sweep of ${dataset}: read it, then \`loom plan ${file}\`\n`);
  });

program
  .command('completion')
  .addArgument(new Argument('<shell>', 'which shell').choices(SHELLS))
  .description('print a script with which a shell completes commands, options and their values')
  .action((shell: Shell) => {
    out.write(completionScript(program, shell));
  });

interface Watching {
  cancelOnInterrupt?: boolean | undefined;
}
const followOptions = ({ cancelOnInterrupt }: Watching = {}, sweep?: string): FollowOptions => ({
  output: settings().json ? { write: () => true } : out,
  signal: interrupted.signal,
  sweep,
  cancelOnInterrupt,
  say: (line) => {
    process.stderr.write(`loom: ${line}\n`);
  },
});

const succeeded = ({ status }: Run): boolean => status === 'succeeded' || status === 'early_stopped';

/** Follows the runs of a sweep, also those that it starts later, and prints what it found. */
async function followSweep(api: LoomClient, id: string, watching: Watching = {}): Promise<number> {
  const seen = new Set<string>();
  let code: number = EXIT.ok;
  for (let status = 'running'; status === 'running';) {
    const runs: Run[] = [];
    for await (const run of api.eachRun({ sweep: id })) if (!seen.has(run.id)) runs.push(run);
    for (const run of runs) seen.add(run.id);
    if (runs.length > 0 && !(await followed(api, runs.reverse(), followOptions(watching, id))).every(succeeded))
      code = EXIT.failed;
    ({ status } = await api.sweep(id));
    if (status !== 'running') code = status === 'succeeded' ? code : EXIT.failed;
    else if (runs.length === 0) await delay(1000, undefined, { signal: interrupted.signal });
  }
  const [sweep, results] = [await api.sweep(id), await api.sweepResults(id)];
  show({ ...sweep, results }, () => resultsText(results, out));
  return code;
}

/** Follows runs and says how they ended. The exit code says whether all succeeded, or were stopped early. */
async function follow(api: LoomClient, runs: readonly Run[], watching: Watching = {}): Promise<number> {
  const ended = await followed(api, runs, followOptions(watching));
  if (settings().json) say(JSON.stringify(ended, null, 2));
  return ended.every(succeeded) ? EXIT.ok : EXIT.failed;
}

addExamples(program);

const exitCodeOf = (error: unknown): number =>
  error instanceof UsageError
    ? EXIT.usage
    : error instanceof ApiError
      ? error.status < 500
        ? EXIT.usage
        : EXIT.failed
      : error instanceof UnreachableError || error instanceof StackError
        ? EXIT.unreachable
        : EXIT.failed;

if (import.meta.main) {
  try {
    let begun = (_: Command): void => undefined;
    const running = new Promise<Command>((resolve) => {
      begun = resolve;
    });
    program.hook('preAction', (_, action) => begun(action));
    await Promise.race([program.parseAsync(), running.then(tooLong)]);
  } catch (error) {
    if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    else if (interrupted.signal.aborted) process.exitCode = EXIT.interrupted;
    else {
      const message = error instanceof Error ? error.message : String(error);
      process.exitCode = exitCodeOf(error);
      process.stderr.write(
        settings().json
          ? `${JSON.stringify({ error: { exitCode: process.exitCode, message, ...(error instanceof ApiError && { problem: error.problem }) } })}\n`
          : `loom: ${message}\n`,
      );
    }
  }
  process.exit();
}
