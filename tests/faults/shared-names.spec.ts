/**
 * Workers and APIs that know less of each other than they may think: one host name for several, clocks that differ. The
 * numbers are rows of the table in docs/reliability.md.
 */
import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { preload } from '../support/processes.js';
import { checkpointAt, expectKeptPromises, LONG, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.3' } });
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(() => stack?.stop());

/** As a container has it: process ids of its own, so that several have the same. */
const CONTAINER = ['unshare', '--pid', '--fork', '--mount-proc', '--kill-child'];

test('#46 workers of one host name and one process id: what one removes is never the other’s', async (context) => {
  const allowed = await promisify(execFile)(CONTAINER[0]!, [...CONTAINER.slice(1), 'true']).then(
    () => true,
    () => false,
  );
  if (!allowed) context.skip('process ids of its own could not be given to a worker: this needs root');
  stack.startWorker({ LOOM_WORKER_NAME: 'first' }, CONTAINER);
  const id = await stack.submit(LONG);
  await checkpointAt(stack.client, id);
  stack.startWorker({ LOOM_WORKER_NAME: 'second' }, CONTAINER);
  const second = await eventually(
    async () => {
      const found = (await stack.client.workers()).find((worker) => worker.id.startsWith('second'));
      if (found?.state !== 'running') throw new Error('expected the second worker to run');
      return found;
    },
    { timeoutMs: 40_000 },
  );
  expect(new Set((await stack.client.workers()).filter(({ alive }) => alive).map(({ pid }) => pid)).size).toBe(1);
  await stack.client.drainWorker(second.id);
  await eventually(
    async () => expect((await stack.client.workers()).find((each) => each.id === second.id)?.state).toBe('stopped'),
    { timeoutMs: 30_000 },
  );
  const { step } = await stack.client.run(id);
  await checkpointAt(stack.client, id, step + 50);
  expect(await stack.client.run(id)).toMatchObject({ status: 'running', attempt: 1 });
  await stack.client.cancelRun(id);
  await stack.ended(id, 'cancelled');
  await expectKeptPromises(stack, [id]);
}, 120_000);

test('#46 the work folder of a worker that was killed is removed by the next', async () => {
  const first = stack.startWorker();
  const id = await stack.submit({ ...LONG, seed: 1 });
  await checkpointAt(stack.client, id);
  const work = path.join(stack.environment['LOOM_ARTIFACTS_DIR']!, 'work');
  const names = await readdir(work);
  await first.kill('SIGKILL');
  stack.startWorker();
  await stack.goesOnAs(id, 2);
  expect((await readdir(work)).filter((name) => names.includes(name))).toEqual([]);
  await stack.client.cancelRun(id);
  await stack.ended(id, 'cancelled');
}, 120_000);

test('#47 runs start in the order in which they came, whatever the clocks of the APIs that took them say', async () => {
  const ahead = await stack.startApi({ TEST_CLOCK_SHIFT_MS: '3600000', NODE_OPTIONS: preload('skewed-clock.mjs') });
  const ids: string[] = [];
  for (let seed = 10; seed < 16; seed++) {
    const { client } = seed % 2 ? stack : ahead;
    ids.push((await client.submitRun({ spec: { ...SHORT, seed }, onDuplicate: 'replicate' })).run.id);
  }
  const places = await Promise.all(ids.map(async (id) => (await stack.client.run(id)).jobsAhead));
  stack.startWorker();
  const starts = await Promise.all(ids.map(async (id) => Date.parse((await stack.ended(id)).startedAt!)));
  await ahead.kill('SIGTERM');
  expect(starts).toEqual(starts.toSorted((a, b) => a - b));
  expect(places).toEqual(places.toSorted((a, b) => a! - b!));
}, 120_000);
