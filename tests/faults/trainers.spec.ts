/** Trainers that misbehave: on purpose, or broken. The numbers are rows of the table in docs/reliability.md. */
import { readFile, writeFile } from 'node:fs/promises';
import { execFile } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { isRunning, type Started } from '../support/processes.js';
import { expectKeptPromises, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';
import { piped } from '../support/terminal.js';

/** What a terminal obeys. */
const ESCAPE = new RegExp(String.raw`[\u001b\u0007\u009b]`);
let stack: Stack;
let child: string;
let stores: string;
/** Seeds of runs by the way in which their trainer breaks. */
const SEED = {
  null: 1,
  garbage: 2,
  stopped: 3,
  fifo: 4,
  nan: 5,
  child: 6,
  surrogate: 7,
  waits: 8,
  ends: 9,
  stores: 10,
};

beforeAll(async () => {
  stack = await startStack();
  [child, stores] = [path.join(stack.dir, 'child'), path.join(stack.dir, 'stores')];
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(() => stack?.stop());

const startWorker = (more: Record<string, string> = {}, through: readonly string[] = []): Started =>
  stack.startWorker(
    {
      LOOM_TRAINER: fileURLToPath(new URL('../support/broken-trainer.mjs', import.meta.url)),
      TEST_BREAKS: JSON.stringify(Object.fromEntries(Object.entries(SEED).map(([way, seed]) => [seed, way]))),
      TEST_CHILD: child,
      TEST_STORES: stores,
      ...more,
    },
    through,
  );
const submit = (way: keyof typeof SEED) => stack.submit({ ...SHORT, seed: SEED[way] });

test.each(['null', 'garbage', 'stopped', 'fifo'] as const)(
  '#44 a trainer that says %s: its attempt fails as worker_crash, and is repeated twice; the worker and the run ' +
    'beside it go on',
  async (way) => {
    const worker = startWorker({ LOOM_SLOTS: '2' });
    const beside = await submit('waits');
    await stack.reaches(beside, 'running');
    const id = await submit(way);
    const run = await stack.ended(id, 'failed');
    expect(run).toMatchObject({ attempt: 3, statusReason: 'worker_crash' });
    expect(await isRunning(worker.pid)).toBe(true);
    await stack.ended(await submit('ends'));
    expect(await stack.client.run(beside)).toMatchObject({ status: 'running', attempt: 1 });
    await expectKeptPromises(stack, [id]);
  },
  60_000,
);

test('#44 a result with what is no number: what is one is recorded, and lists that hold it are answered', async () => {
  startWorker();
  const id = await submit('nan');
  await stack.ended(id);
  const { items } = await stack.client.runs({ limit: 5 });
  expect(items.find((run) => run.id === id)?.result?.metrics).toEqual({ 'test/accuracy': 0.5 });
});

test('#44 what a trainer has started ends with it', async () => {
  startWorker();
  await stack.ended(await submit('child'));
  const pid = Number(await readFile(child, 'utf8'));
  await eventually(async () => expect(await isRunning(pid)).toBe(false));
});

test('#44 a worker without descriptors gives its run back, takes nothing and goes on when it has some', async () => {
  const worker = startWorker();
  await eventually(() => expect(worker.output()).toContain('worker ready'), { timeoutMs: 40_000 });
  const run = promisify(execFile);
  const descriptors = async (soft: string) => run('prlimit', ['--pid', String(worker.pid), `--nofile=${soft}:`]);
  const { stdout } = await run('prlimit', [
    '--pid',
    String(worker.pid),
    '--nofile',
    '--raw',
    '--noheadings',
    '-o',
    'SOFT',
  ]);
  const busy = await submit('stores');
  await stack.runsAt(busy, 1);
  await descriptors('30');
  // Has its trainer hand over a file, which the worker has to open.
  await writeFile(stores, '');
  await stack.reaches(busy, 'queued');
  const id = await submit('ends');
  await eventually(async () => expect((await stack.client.workers())[0]!.impairment).not.toBeNull(), {
    timeoutMs: 30_000,
  });
  expect(await isRunning(worker.pid)).toBe(true);
  await descriptors(stdout.trim());
  const outcomes = async (of: string) => (await stack.client.run(of)).attempts.map(({ outcome }) => outcome);
  await stack.ended(busy);
  expect(await outcomes(busy)).toEqual(['preempted', 'succeeded']);
  await stack.ended(id);
  expect(await outcomes(id)).toEqual(['succeeded']);
}, 90_000);

test('#45 last words and log lines with half of a surrogate pair are recorded', async () => {
  startWorker();
  const id = await submit('surrogate');
  const run = await stack.ended(id, 'failed');
  expect(run).toMatchObject({
    attempt: 1,
    statusReason: 'invalid_data',
    statusDetail: 'last words with a \ufffd half',
  });
  const { items } = await stack.client.logs(id);
  expect(items.map(({ message }) => message)).toContain('a lone \ufffd half, and a ');
  for (const args of [
    ['logs', id],
    ['--json', 'logs', id],
  ]) {
    const { stdout } = await piped(args, { cwd: stack.dir, env: { LOOM_URL: stack.client.url } }).ended;
    expect(stdout).toContain('owned');
    expect(stdout).not.toMatch(ESCAPE);
  }
});

test('#43 kill -9 of a trainer while the kernel kills others for memory: no oom, and repeated', async (context) => {
  const counts = path.join(stack.dir, 'vmstat');
  const counted = async (kills: number) => writeFile(counts, `nr_free_pages 1\noom_kill ${kills}\n`);
  await counted(0);
  const namespace = ['unshare', '-m', 'sh', '-c', `mount --bind ${counts} /proc/vmstat && exec "$@"`, 'sh'];
  const allowed = await promisify(execFile)(namespace[0]!, [...namespace.slice(1), 'true']).then(
    () => true,
    () => false,
  );
  if (!allowed) context.skip('what the kernel counts could not be made up: this needs root');
  startWorker({}, namespace);
  const id = await submit('waits');
  await stack.reaches(id, 'running');
  const trainer = await eventually(async () => {
    const pid = (await stack.client.run(id)).attempts.at(-1)?.trainerPid;
    if (!pid) throw new Error('expected the trainer to have begun');
    return pid;
  });
  await counted(5);
  process.kill(trainer, 'SIGKILL');
  await eventually(async () => expect((await stack.client.run(id)).attempt).toBe(2), { timeoutMs: 30_000 });
  expect((await stack.client.run(id)).attempts[0]).toMatchObject({ outcome: 'failed', reason: 'worker_crash' });
});
