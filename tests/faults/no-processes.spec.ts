/** Workers and trainers that can start no more processes or threads. The numbers are rows of docs/reliability.md. */
import { parquetWriteBuffer } from 'hyparquet-writer';
import { chmod, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import {
  childrenOf,
  LIMITABLE,
  LONG_ENVIRONMENT,
  noMoreProcesses,
  noRoomForEnvironment,
} from '../support/process-limit.js';
import { isRunning, type Started } from '../support/processes.js';
import { expectKeptPromises, prepareStripes, SHORT } from '../support/small-runs.js';
import { colour } from '../support/sources.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
/** Seeds of runs by what the trainer of tests/support/broken-trainer.mjs does. */
const SEED = { waits: 1, ends: 2 };

beforeAll(async () => {
  stack = await startStack();
  // TensorFlow asks by access(2), which knows nobody's rights but those of the user.
  await chmod(stack.dir, 0o711);
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(() => stack?.stop());

/** A worker of so many slots that takes runs, with its trainers. */
async function startWorker(slots: number, more: Record<string, string> = {}): Promise<[Started, number[]]> {
  // Trainers need the right to open all files, which they would not have in namespaces of their own.
  const worker = stack.startWorker({ LOOM_SLOTS: String(slots), LOOM_TRAINER_UID: 'none', ...more }, LIMITABLE);
  await eventually(() => expect(worker.output()).toContain('worker ready'), { timeoutMs: 40_000 });
  const trainers = await childrenOf(worker.pid);
  expect(trainers).toHaveLength(slots);
  return [worker, trainers];
}
const scripted = {
  LOOM_TRAINER: fileURLToPath(new URL('../support/broken-trainer.mjs', import.meta.url)),
  TEST_BREAKS: JSON.stringify({ [SEED.waits]: 'waits', [SEED.ends]: 'ends' }),
};
const submit = (way: keyof typeof SEED) => stack.submit({ ...SHORT, seed: SEED[way] });
/** How the attempts of a run have ended. */
async function expectOutcomes(id: string, ...expected: string[]): Promise<void> {
  const { attempts } = await stack.client.run(id);
  const details = attempts.map(({ detail }) => detail).join('\n');
  expect(
    attempts.map(({ outcome }) => outcome),
    details,
  ).toEqual(expected);
}
const isImpaired = (why = 'EAGAIN') =>
  eventually(
    async () => {
      const worker = (await stack.client.workers()).find(({ alive, state }) => alive && state === 'running');
      expect(worker?.impairment ?? '').toContain(why);
    },
    { timeoutMs: 30_000 },
  );

test('#60 a worker that can start no trainer takes nothing, says so, and takes up again by itself', async () => {
  const [worker] = await startWorker(2, scripted);
  const busy = await submit('waits');
  await stack.reaches(busy, 'running');
  const mend = await noMoreProcesses(worker.pid);
  await stack.client.cancelRun(busy);
  await stack.ended(busy, 'cancelled');
  await isImpaired();
  // The other slot has a trainer that was loaded before.
  const id = await submit('ends');
  expect(await isRunning(worker.pid)).toBe(true);
  await mend();
  await stack.ended(id);
  await expectOutcomes(id, 'succeeded');
}, 90_000);

/** How starting a process fails: what Node emits, and what it throws (ENOMEM too, which nobody can bring about). */
const REFUSALS = {
  EAGAIN: { refuse: noMoreProcesses, environment: {} },
  E2BIG: { refuse: noRoomForEnvironment, environment: LONG_ENVIRONMENT },
};

test.each(Object.entries(REFUSALS))(
  '#60 what a worker had taken that can start no trainer for it goes back uncharged (%s)',
  async (code, { refuse, environment }) => {
    const [worker, [trainer]] = await startWorker(1, { ...scripted, ...environment });
    const mend = await refuse(worker.pid);
    process.kill(trainer!, 'SIGKILL');
    await eventually(async () => expect(await isRunning(trainer!)).toBe(false));
    const id = await submit('ends');
    await isImpaired(code);
    await mend();
    await stack.ended(id);
    await expectOutcomes(id, 'preempted', 'succeeded');
    await expectKeptPromises(stack, [id]);
  },
  90_000,
);

test('#60 a run whose trainer says that it can start no thread goes back uncharged', async () => {
  const pictures = await Promise.all([10, 90, 170, 250].map((red) => colour(red, 0, 0).png().toBuffer()));
  const table = parquetWriteBuffer({
    columnData: [
      { name: 'picture', data: pictures.map((bytes) => new Uint8Array(bytes)), type: 'BYTE_ARRAY' },
      { name: 'label', data: ['x', 'y', 'x', 'y'], type: 'STRING' },
    ],
  });
  await writeFile(path.join(stack.dataRoot, 'reds.parquet'), Buffer.from(table));
  const [, [trainer]] = await startWorker(1);
  await noMoreProcesses(trainer!);
  const id = await stack.submit({
    kind: 'prepare-dataset',
    name: 'reds',
    path: 'reds.parquet',
    imageSize: 16,
    columns: { sample: 'picture', label: 'label' },
  });
  await stack.ended(id);
  await expectOutcomes(id, 'preempted', 'succeeded');
}, 90_000);
