#!/usr/bin/env node
import { ApiError, LoomClient, sampleText, UnreachableError, type Artifact, type Estimation, type Run, type RunAction, type RunFilter } from '#libs/contracts';
import { LocalServiceError } from '#libs/platform';
import { Command, CommanderError } from 'commander';
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { fetchCifar10 } from './cifar10.js';
import { demo } from './demo.js';
import { SubmissionFile, UsageError } from './document.js';
import { download } from './download.js';
import { age, bytes, ProgressBoard, resultsText, runsText, setColour, statusText, table } from './render.js';
import { readState, runningPid, Stack, StackError, stopStack } from './stack.js';

/** What scripts can tell apart. */
const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3 } as const;
const DEFAULT_DIR = '.loom';
const EXPORT_FORMATS = ['tfjs', 'safetensors', 'onnx'] as const;

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second does not wait for checkpoints: processes end with this one.
    if (interrupted.signal.aborted) process.exit(130);
    interrupted.abort(new Error('interrupted'));
  });
}

if (process.env['NO_COLOR']) setColour(false);
const out = process.stdout;
const say = (text: string): void => { out.write(`${text}\n`); };

const program = new Command('loom')
  .description('Trains representations: queues contrastive pretraining, label-fraction finetuning and autoencoders, and says which views need the fewest labels.')
  .option('--url <url>', 'address of the API (default: LOOM_URL, else what `loom up` started here)')
  .option('--dir <dir>', 'folder of a local stack', DEFAULT_DIR)
  .option('--json', 'print JSON')
  .showSuggestionAfterError()
  .exitOverride();

interface Global { url?: string; dir: string; json?: boolean }
const settings = (): Global => program.opts<Global>();

async function client(): Promise<LoomClient> {
  const { url, dir } = settings();
  const address = url ?? process.env['LOOM_URL'] ?? (await readState(dir))?.url;
  if (!address) throw new UsageError('expected an address: start a stack here with `loom up`, or give --url or LOOM_URL');
  return new LoomClient({ url: address });
}

/** Prints a value as JSON where that was asked for, else as text. */
function show(value: unknown, text: () => string): void {
  if (settings().json) say(JSON.stringify(value, null, 2));
  else out.write(text());
}

const positive = (text: string): number => {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0) throw new UsageError(`expected a whole number, got ${text}`);
  return value;
};

program.command('up')
  .description('bring up Postgres, Redis, the API and workers on this machine, and keep them until Ctrl-C')
  .option('--port <port>', 'port of the API (default: the one of last time, 3000 or a free one)', positive)
  .option('--host <host>', 'address to listen on', '127.0.0.1')
  .option('--workers <n>', 'worker processes', positive, 1)
  .option('--data-root <folder>', 'the only folder that datasets are prepared from')
  .action(async ({ port, host, workers, dataRoot }: { port?: number; host: string; workers: number; dataRoot?: string }) => {
    const stack = await Stack.start({
      dir: settings().dir, port, host, workers, dataRoot, environment: process.env, signal: interrupted.signal, log: say,
      databaseUrl: process.env['DATABASE_URL'], redisUrl: process.env['REDIS_URL'],
    });
    try {
      say(`Latent Loom is up at ${stack.url} (data root ${stack.state.dataRoot}); Ctrl-C ends it`);
      await Promise.race([stack.failure, new Promise<void>((resolve) => interrupted.signal.addEventListener('abort', () => resolve(), { once: true }))]);
      say('stopping');
    } finally {
      await stack.stop();
    }
  });

program.command('down').description('end the stack of this folder').action(async () => {
  say(await stopStack(settings().dir) ? 'stopped' : 'nothing was running');
});

program.command('status').description('what runs, waits and works').action(async () => {
  const { dir } = settings();
  const state = await readState(dir);
  const api = await client();
  const [ready, workers, recent] = [await api.ready(), await api.workers(), await api.runs({ limit: 10 })];
  show({ url: api.url, pid: runningPid(dir) ?? null, ready, workers, runs: recent.items, startedAt: state?.startedAt }, () =>
    `${api.url} ${ready ? 'is ready' : 'is not ready'}; ${workers.filter(({ alive }) => alive).length} workers\n${runsText(recent.items, out)}`);
});

program.command('submit <file>').description('submit a run or a sweep from a YAML or JSON file').option('--watch', 'follow it to its end')
  .action(async (file: string, { watch }: { watch?: boolean }) => {
    const document = await SubmissionFile.read(file);
    const api = await client();
    const { submission } = document;
    try {
      if (submission.type === 'run') {
        const { run, created } = await api.submitRun(submission.request);
        show(run, () => `${created ? 'submitted' : 'reused'} run ${run.id} (${run.status})\n`);
        if (watch) process.exitCode = await follow(api, [run]);
      } else {
        const { sweep } = await api.submitSweep(submission.request);
        show(sweep, () => `submitted sweep ${sweep.id}: ${sweep.plan.summary}\n`);
        if (watch) {
          process.exitCode = await followSweep(api, sweep.id);
          out.write(resultsText(await api.sweepResults(sweep.id), out));
        }
      }
    } catch (error) {
      throw error instanceof ApiError ? new UsageError(document.explain(error.problem)) : error;
    }
  });

program.command('plan <file>').description('what submitting this file would start, and what it would reuse').action(async (file: string) => {
  const document = await SubmissionFile.read(file);
  const api = await client();
  const { submission } = document;
  try {
    const plan = submission.type === 'run' ? await api.planRun(submission.request) : await api.planSweep(submission.request);
    show(plan, () => `${plan.summary}\n${estimateText(plan.estimate)}`);
  } catch (error) {
    throw error instanceof ApiError ? new UsageError(document.explain(error.problem)) : error;
  }
});

function estimateText(estimate: Estimation | undefined): string {
  if (!estimate) return '';
  const time = (seconds: number) => (seconds < 120 ? `${seconds.toFixed(0)} s` : seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`);
  const unknown = Object.entries(estimate.unknown).map(([kind, count]) => `${count} ${kind}`).join(', ');
  const known = Object.entries(estimate.basis).map(([kind, { runs, seconds }]) => `${kind} ${time(seconds)}, as ${runs} before`).join('; ');
  return `${known ? `about ${time(estimate.gpuSeconds)} of workers (${known})${estimate.wallSeconds === null ? '' : `, ${time(estimate.wallSeconds)} on ${estimate.slots} ${estimate.slots === 1 ? 'slot' : 'slots'}`}\n` : ''}${unknown ? `not known yet, none has succeeded: ${unknown}\n` : ''}`;
}

program.command('why <id> [against]').description('why a run is, or is not, another\'s result: field by field').action(async (id: string, against?: string) => {
  const why = await (await client()).why(id, against);
  show(why, () => `${why.against ?? 'nothing'}: ${why.reason}\n${why.differences.length ? table(['field', 'here', 'there'], why.differences.map(({ field, here, there }) => [field, JSON.stringify(here), JSON.stringify(there)]), out) : ''}`);
});

interface Filter { status?: string; kind?: string; tag?: string; sweep?: string; name?: string; where?: string }
const filtered = (command: Command): Command => command
  .option('--status <status>', 'only these, separated by commas').option('--kind <kind>', 'only these, separated by commas').option('--tag <tag>').option('--sweep <id>').option('--name <text>', 'only runs whose name holds it').option('--where <conditions>', 'by last values of metrics, such as eval/knn>0.5, separated by commas');
const filterOf = ({ status, kind, tag, sweep, name, where }: Filter): z.input<typeof RunFilter> =>
  ({ ...(status && { status }), ...(kind && { kind }), ...(tag && { tag }), ...(sweep && { sweep }), ...(name && { name }), ...(where && { where }) });

filtered(program.command('runs').description('list runs, the newest first')).option('--limit <n>', 'at most so many', positive, 30).option('--sort <field>', 'createdAt, finishedAt, name, duration, metric:KEY …, with a leading - for the largest first', '-createdAt')
  .action(async ({ limit, sort, ...options }: Filter & { limit: number; sort: string }) => {
    const page = await (await client()).runs({ limit, sort, ...filterOf(options) } as never);
    show(page, () => runsText(page.items, out));
  });

program.command('run <id>').description('a run, its attempts and results').action(async (id: string) => {
  const run = await (await client()).run(id);
  show(run, () => [
    `${run.kind} ${run.id}`, `status    ${statusText(run.status, out)}${run.statusDetail ? `: ${run.statusDetail}` : ''}`, `steps     ${run.step}${run.totalSteps ? ` of ${run.totalSteps}` : ''}`,
    `digest    ${run.digest}`, ...Object.entries(run.result?.metrics ?? {}).map(([key, value]) => `${key.padEnd(28)} ${value}`), '',
    table(['attempt', 'worker', 'started', 'from step', 'outcome'], run.attempts.map((each) => [String(each.attempt), each.workerId, age(each.startedAt), String(each.resumedFromStep), each.outcome ?? '–']), out),
  ].join('\n'));
});

program.command('watch <id...>').description('follow runs to their end').action(async (ids: string[]) => {
  const api = await client();
  process.exitCode = await follow(api, await Promise.all(ids.map((id) => api.run(id))));
});

program.command('logs <id>').description('log lines of a run').action(async (id: string) => {
  const api = await client();
  for (let cursor: string | undefined; ;) {
    const page = await api.logs(id, { limit: 500, ...(cursor && { cursor }) });
    for (const line of page.items) say(settings().json ? JSON.stringify(line) : `${line.at} ${line.level} ${line.message}`);
    if (!page.nextCursor) return;
    cursor = page.nextCursor;
  }
});

interface SweepOptions { pause?: boolean; resume?: boolean; cancel?: boolean; retry?: boolean; clone?: string; parallelTrials?: number; runCap?: number; gpuSeconds?: number; wallSeconds?: number }
program.command('sweep <id>').description('which combination needs the fewest labels; or pause, resume, cancel, retry, clone or change a sweep')
  .option('--pause', 'start no other trial, pause its runs').option('--resume', 'go on where it was paused').option('--cancel', 'cancel its runs').option('--retry', 'queue again exactly what failed').option('--clone <name>', 'submit it again under another name')
  .option('--parallel-trials <n>', 'how many trials may be under way', positive).option('--run-cap <n>', 'how many trials there may be', positive).option('--gpu-seconds <n>', 'of its budget', positive).option('--wall-seconds <n>', 'of its budget', positive)
  .action(async (id: string, { pause, resume, cancel, retry, clone, parallelTrials, runCap, gpuSeconds, wallSeconds }: SweepOptions) => {
  const api = await client();
  const budget = (gpuSeconds ?? wallSeconds) !== undefined && { ...gpuSeconds !== undefined && { gpu_seconds: gpuSeconds }, ...wallSeconds !== undefined && { wall_seconds: wallSeconds } };
  const changes = { ...parallelTrials !== undefined && { parallel_trials: parallelTrials }, ...runCap !== undefined && { run_cap: runCap }, ...budget && { budget } };
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
  const [sweep, results] = [await api.sweep(id), await api.sweepResults(id)];
  const counted = (counts: Record<string, number>) => Object.entries(counts).map(([status, count]) => `${count} ${status}`).join(', ');
  show({ ...sweep, results }, () => `${sweep.name} is ${sweep.status}${sweep.haltReason ? ` (${sweep.haltReason})` : ''}: trials ${counted(sweep.trialCounts)}; runs ${counted(sweep.runCounts)}; ${sweep.gpuSeconds.toFixed(0)} s of workers\n${resultsText(results, out)}`);
});

program.command('sweeps').description('list sweeps, the newest first').action(async () => {
  const page = await (await client()).sweeps();
  show(page, () => table(['id', 'name', 'status', 'age'], page.items.map((sweep) => [sweep.id, sweep.name, sweep.status, age(sweep.createdAt)]), out));
});

const ACTIONS = {
  cancel: ['cancel runs', (api: LoomClient, id: string) => api.cancelRun(id)],
  pause: ['stop runs at a checkpoint until they are resumed', (api: LoomClient, id: string) => api.pauseRun(id)],
  resume: ['queue paused runs, which go on from their checkpoints', (api: LoomClient, id: string) => api.resumeRun(id)],
  retry: ['queue runs again that failed or were cancelled', (api: LoomClient, id: string) => api.retryRun(id)],
} as const satisfies Record<RunAction, [string, (api: LoomClient, id: string) => Promise<Run>]>;
for (const [action, [description, act]] of Object.entries(ACTIONS) as [RunAction, (typeof ACTIONS)[RunAction]][]) {
  filtered(program.command(`${action} [id...]`).description(`${description}: those named, or those that a filter names`))
    .option('--all', 'all runs').option('--dry-run', 'only count what a filter names')
    .action(async (ids: string[], { all = false, dryRun = false, ...options }: Filter & { all?: boolean; dryRun?: boolean }) => {
      const filter = filterOf(options);
      const chosen = Number(ids.length > 0) + Number(Object.keys(filter).length > 0) + Number(all);
      if (chosen !== 1 || (dryRun && ids.length > 0)) throw new UsageError(`expected ids, or a filter such as --status or --tag, or --all: one of the three${dryRun ? ', and no ids with --dry-run' : ''}`);
      const api = await client();
      if (ids.length > 0) for (const id of ids) say(`${id} ${(await act(api, id)).status}`);
      else {
        const result = await api.bulkRuns({ action, filter }, { validateOnly: dryRun });
        const skipped = Object.entries(result.skipped).map(([reason, count]) => `${count} ${reason}`).join(', ');
        show(result, () => `${action} ${dryRun ? 'would change' : 'changed'} ${result.done} ${result.done === 1 ? 'run' : 'runs'}${skipped ? `; left as they are: ${skipped}` : ''}\n`);
      }
    });
}

filtered(program.command('tag [id...]').description('give tags to runs, or take them away: those named, or those that a filter names'))
  .option('--add <tags>', 'separated by commas').option('--remove <tags>', 'separated by commas').option('--all', 'all runs').option('--dry-run', 'only count them')
  .action(async (ids: string[], { add, remove, all = false, dryRun = false, ...options }: Filter & { add?: string; remove?: string; all?: boolean; dryRun?: boolean }) => {
    const filter = filterOf(options);
    if (Number(ids.length > 0) + Number(Object.keys(filter).length > 0) + Number(all) !== 1) throw new UsageError('expected ids, or a filter such as --status or --where, or --all: one of the three');
    if (add === undefined && remove === undefined) throw new UsageError('expected --add or --remove with tags');
    const names = (text = '') => text.split(',').map((each) => each.trim()).filter(Boolean);
    const result = await (await client()).bulkRuns({ action: 'tag', filter: ids.length > 0 ? { id: ids } : filter, tags: { add: names(add), remove: names(remove) } }, { validateOnly: dryRun });
    const skipped = Object.entries(result.skipped).map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`).join(', ');
    show(result, () => `${dryRun ? 'would tag' : 'tagged'} ${result.done} ${result.done === 1 ? 'run' : 'runs'}${skipped ? `; left as they are: ${skipped}` : ''}\n`);
  });

program.command('artifacts <id>').description('files of a run').option('--download <folder>', 'fetch them all, each checked by its sha256')
  .action(async (id: string, { download: folder }: { download?: string }) => {
    const api = await client();
    const files: Artifact[] = [];
    for await (const file of api.eachArtifact(id)) files.push(file);
    if (folder === undefined) return show(files, () => table(['name', 'kind', 'size', 'sha256'], files.map((file) => [file.name, file.kind, bytes(file.sizeBytes), file.sha256]), out));
    for (const file of files) say(await download(api, file, folder));
  });

program.command('export <run>').description('write the networks of a run as files for other programs')
  .option('--format <formats>', 'which, separated by commas', EXPORT_FORMATS.join(',')).option('--out <folder>', 'where to (default: <run>-export)')
  .action(async (from: string, { format, out: folder = `${from}-export` }: { format: string; out?: string }) => {
    const asked = format.split(',').map((each) => each.trim());
    const unknown = asked.find((each) => !EXPORT_FORMATS.includes(each as never));
    if (unknown !== undefined) throw new UsageError(`expected formats among ${EXPORT_FORMATS.join(', ')}, got ${unknown || 'none'}`);
    const api = await client();
    // In one order always: an export that was asked for before is found again.
    const { run } = await api.submitRun({ spec: { kind: 'export', from, formats: EXPORT_FORMATS.filter((each) => asked.includes(each)) } });
    const [ended] = await followed(api, [run]);
    if (ended!.status !== 'succeeded') {
      process.exitCode = EXIT.failed;
      return show(ended, () => `the export ended as ${ended!.status}${ended!.statusDetail ? `: ${ended!.statusDetail}` : ''}\n`);
    }
    const files: { path: string; sizeBytes: number; sha256: string }[] = [];
    for await (const file of api.eachArtifact(run.id)) if (file.kind === 'export') files.push({ path: await download(api, file, folder), sizeBytes: file.sizeBytes, sha256: file.sha256 });
    show({ run: ended, files }, () => table(['file', 'size', 'sha256'], files.map((file) => [file.path, bytes(file.sizeBytes), file.sha256]), out));
  });

const datasets = program.command('datasets').description('dataset versions');
datasets.command('ls').description('list them').action(async () => {
  const page = await (await client()).datasets({ limit: 500 });
  show(page, () => table(['name', 'digest', 'images', 'classes', 'size', 'age'], page.items.map(({ name, digest, manifest, createdAt }) =>
    [name, digest.slice(0, 12), String(Object.values(manifest.splits).reduce((sum, split) => sum + (split?.count ?? 0), 0)), String(manifest.classes.length), sampleText(manifest.sample), age(createdAt)]), out));
});
datasets.command('add <name> [path]').description('prepare the images of a folder or archive below the data root; `add cifar10` alone fetches them').option('--image-size <pixels>', 'side of the square they are resized to', positive, 32)
  .action(async (name: string, given: string | undefined, { imageSize }: { imageSize: number }) => {
    const api = await client();
    const { dataRoot } = await readState(settings().dir) ?? {};
    if (given === undefined) {
      if (name !== 'cifar10' || !dataRoot) throw new UsageError('expected a path; only cifar10 is fetched without one, into the data root of a stack of `loom up`');
      await fetchCifar10(path.join(dataRoot, 'cifar10'), undefined, say);
    }
    const source = given ?? path.join(dataRoot!, 'cifar10');
    // A path as it is typed here, where it lies in the stack's data root; else as the API shall read it.
    const absolute = path.resolve(source);
    const below = dataRoot && absolute.startsWith(dataRoot + path.sep) && await stat(absolute).then(() => true, () => false) ? path.relative(dataRoot, absolute) : source;
    const { run } = await api.submitRun({ spec: { kind: 'prepare-dataset', name, path: below, imageSize } });
    process.exitCode = await follow(api, [run]);
  });

program.command('workers').description('workers and their heartbeats').action(async () => {
  const workers = await (await client()).workers();
  show(workers, () => table(['id', 'state', 'slots', 'alive', 'heartbeat', 'labels', 'GPUs'], workers.map((worker) => [
    worker.id, worker.state, String(worker.slots), worker.alive ? 'yes' : 'no', age(worker.heartbeatAt),
    Object.entries(worker.labels).map((label) => label.join('=')).join(',') || '–', worker.gpus.map(({ name }) => name).join(', ') || '–',
  ]), out));
});

program.command('drain <worker...>').description('have workers hand back their runs at a checkpoint, and end').action(async (ids: string[]) => {
  const api = await client();
  for (const id of ids) say(`${id} ${(await api.drainWorker(id)).state}`);
});

program.command('gc').description('remove stored files that no artifact and no dataset names any more').option('--dry-run', 'only count them').action(async ({ dryRun = false }: { dryRun?: boolean }) => {
  const result = await (await client()).collectArtifacts({ dryRun });
  const amount = ({ files, bytes: size }: { files: number; bytes: number }) => `${files} (${bytes(size)})`;
  show(result, () => `${dryRun ? 'would remove' : 'removed'} orphans: ${amount(result.orphans)}, leftovers: ${amount(result.leftovers)}; kept: ${amount(result.kept)}\n`);
});

program.command('demo').description('the main job on real images, from an empty machine to a result table')
  .option('--dataset <path>', 'a folder of class folders, or a tar or tar.gz of one (default: MNIST digits)').option('--quick', 'a smaller one, in under 90 seconds').option('--out <file>', 'write the results as JSON').option('--stay', 'keep everything up afterwards').option('--sweep', 'six augmentations in all pairs: the composition matrix as a heat map')
  .action(async ({ dataset, quick = false, out: file, stay = false, sweep: pairs = false }: { dataset?: string; quick?: boolean; out?: string; stay?: boolean; sweep?: boolean }) => {
    const succeeded = await demo({ dataset, quick, pairs, stay, out: file, dir: settings().dir, environment: process.env, output: out, signal: interrupted.signal });
    process.exitCode = succeeded ? EXIT.ok : EXIT.failed;
  });

/** Follows runs to their end. */
async function followed(api: LoomClient, runs: readonly Run[]): Promise<Run[]> {
  const board = new ProgressBoard(settings().json ? { write: () => true } : out);
  const ended = await Promise.all(runs.map(async (run) => {
    board.add(run, run.name ?? run.kind);
    return api.follow(run.id, { onRun: (news) => board.update(news), onMetrics: (points) => board.metrics(run.id, points) }, { signal: interrupted.signal });
  }));
  board.end();
  return ended;
}

/** Follows the runs of a sweep, also those that it starts later. */
async function followSweep(api: LoomClient, id: string): Promise<number> {
  const seen = new Set<string>();
  for (let code: number = EXIT.ok; ;) {
    const runs: Run[] = [];
    for await (const run of api.eachRun({ sweep: id })) if (!seen.has(run.id)) runs.push(run);
    for (const run of runs) seen.add(run.id);
    if (runs.length > 0) code = Math.max(code, await follow(api, runs.reverse()));
    const { status } = await api.sweep(id);
    if (status !== 'running') return status === 'succeeded' ? code : EXIT.failed;
    if (runs.length === 0) await delay(1000, undefined, { signal: interrupted.signal });
  }
}

/** The same, and says how they ended. The exit code says whether all succeeded, or were stopped early. */
async function follow(api: LoomClient, runs: readonly Run[]): Promise<number> {
  const ended = await followed(api, runs);
  if (settings().json) say(JSON.stringify(ended, null, 2));
  return ended.every(({ status }) => status === 'succeeded' || status === 'early_stopped') ? EXIT.ok : EXIT.failed;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else if (interrupted.signal.aborted) process.exitCode = 130;
  else {
    process.stderr.write(`loom: ${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = error instanceof UsageError ? EXIT.usage
      : error instanceof ApiError ? (error.problem.status < 500 ? EXIT.usage : EXIT.failed)
        : error instanceof UnreachableError || error instanceof StackError || error instanceof LocalServiceError ? EXIT.unreachable : EXIT.failed;
  }
}
process.exit();
