/**
 * Faults at production's pace: these mostly wait, for a minute each. `npm run faults` runs them, `npm test` does not.
 * The numbers are rows of the table in docs/reliability.md.
 */
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { writeImageFolder } from '../support/images.js';
import { checkpointAt, expectKeptPromises, LONG, prepareStripes } from '../support/small-runs.js';
import { PRODUCTION, startStack, type Stack } from '../support/stack.js';

let stack: Stack;
let sql: pg.Client;

beforeAll(async () => {
  stack = await startStack({ environment: PRODUCTION });
  await prepareStripes(stack);
  sql = new pg.Client({ connectionString: stack.database.url });
  await sql.connect();
}, 120_000);
afterEach(() => stack?.killWorkers());
afterAll(async () => {
  await sql?.end();
  await stack?.stop();
});

test("#1 at production's pace: from the death of a worker to its run going on, under 90 seconds", async ({
  annotate,
}) => {
  const first = stack.startWorker();
  const id = await stack.submit({ ...LONG, seed: 1 });
  await stack.runsAt(id, 10);
  await checkpointAt(stack.client, id);
  stack.startWorker();
  await eventually(
    async () => expect((await stack.client.workers()).filter(({ state }) => state === 'running')).toHaveLength(2),
    { timeoutMs: 60_000 },
  );
  const killed = performance.now();
  await first.kill('SIGKILL');
  await stack.goesOnAs(id, 2, 120_000);
  const seconds = (performance.now() - killed) / 1000;
  await annotate(`${seconds.toFixed(1)} s from kill -9 to the first step of the next attempt`);
  expect(seconds).toBeLessThan(90);
  await stack.client.cancelRun(id);
  await stack.ended(id, 'cancelled');
  await expectKeptPromises(stack, [id]);
}, 240_000);

// A step of the largest network on one thread is a native call of many seconds, in which the trainer answers nobody.
test('#5 a native call of more than ten seconds: heartbeats go on, nothing is started twice', async ({ annotate }) => {
  await writeImageFolder(path.join(stack.dataRoot, 'large'), { classes: 2, perClass: 200, size: 32 });
  const worker = stack.startWorker({ LOOM_HEARTBEAT_MS: '1000', LOOM_LEASE_MS: '3000' });
  await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'large', path: 'large', imageSize: 32 }));
  const id = await stack.submit({
    kind: 'pretrain',
    dataset: 'large',
    batchSize: 256,
    epochs: 1,
    encoder: { name: 'resnet18' },
    evalSplit: 'test',
    knn: { k: 5 },
    probe: { maxIterations: 1 },
  });
  await stack.reaches(id, 'running');
  let longest = 0;
  const began = performance.now();
  await eventually(
    async () => {
      const { rows } = await sql.query<{ gap: number }>(
        'SELECT extract(epoch FROM now() - heartbeat_at)::float8 AS gap FROM worker WHERE pid = $1',
        [worker.pid],
      );
      longest = Math.max(longest, rows[0]!.gap);
      if ((await stack.client.run(id)).status !== 'succeeded')
        throw new Error(`expected the step to end: ${stack.explain(await stack.client.run(id))}`);
    },
    { timeoutMs: 240_000, intervalMs: 100 },
  );
  await annotate(
    `one step in ${((performance.now() - began) / 1000).toFixed(1)} s, longest time without a heartbeat ` +
      `${longest.toFixed(2)} s`,
  );
  expect(performance.now() - began).toBeGreaterThan(10_000);
  expect(longest).toBeLessThan(2);
  expect((await stack.client.run(id)).attempts).toHaveLength(1);
  await expectKeptPromises(stack, [id]);
}, 300_000);
