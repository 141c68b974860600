/**
 * Postgres that answers and does nothing, and Redis that answers and refuses. The numbers are rows of the table in
 * docs/reliability.md.
 */
import { Redis } from 'ioredis';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ownRedis, type OwnServer } from '../support/own-services.js';
import { checkpointAt, expectKeptPromises, LONG, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let redis: OwnServer;
let stack: Stack;

beforeAll(async () => {
  redis = await ownRedis({ durable: false });
  // A statement that waits for a lock is given up after a second here, and after twenty in production.
  stack = await startStack({
    environment: { REDIS_URL: redis.url, LOOM_CHECKPOINT_SECONDS: '0.3', LOOM_NETWORK_TIMEOUT_MS: '1000' },
  });
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(async () => {
  await stack?.stop();
  await redis?.stop();
});

test.each(['metric', 'artifact'])(
  '#48 the table %s is locked for several times as long as a lease and as a trainer may be silent: the run is ' +
    'neither failed nor charged',
  async (table) => {
    const worker = stack.startWorker({ LOOM_HUNG_MS: '4000' });
    const id = await stack.submit(LONG);
    await checkpointAt(stack.client, id);
    const admin = new pg.Client({ connectionString: stack.database.url });
    await admin.connect();
    await admin.query(`BEGIN; LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
    const begun = performance.now();
    try {
      // Some of what it has tried was given up.
      await eventually(
        () => {
          if (performance.now() - begun < 9000 || !worker.output().includes('it is repeated'))
            throw new Error('the lock has not been held for long enough');
        },
        { timeoutMs: 30_000 },
      );
    } finally {
      await admin.query('ROLLBACK');
      await admin.end();
    }
    const { step } = await stack.client.run(id);
    await stack.runsAt(id, step + 50);
    const run = await stack.client.run(id);
    expect(run.attempts.map(({ outcome }) => outcome).filter((outcome) => outcome !== null)).toEqual([]);
    await stack.client.cancelRun(id);
    await stack.ended(id, 'cancelled');
    await expectKeptPromises(stack, [id]);
  },
  120_000,
);

test('#48 the table metric is locked when a run begins: it waits until it can, and was not hung', async () => {
  const worker = stack.startWorker({ LOOM_HUNG_MS: '4000' });
  await eventually(() => expect(worker.output()).toContain('worker ready'), { timeoutMs: 40_000 });
  const admin = new pg.Client({ connectionString: stack.database.url });
  await admin.connect();
  await admin.query('BEGIN; LOCK TABLE metric IN ACCESS EXCLUSIVE MODE');
  const id = await stack.submit({ ...SHORT, seed: 48 });
  try {
    await stack.reaches(id, 'running');
    const begun = performance.now();
    await eventually(
      () => {
        if (performance.now() - begun < 9000) throw new Error('the lock has not been held for long enough');
      },
      { timeoutMs: 30_000 },
    );
    expect(worker.output()).toContain('it is repeated');
  } finally {
    await admin.query('ROLLBACK');
    await admin.end();
  }
  await stack.ended(id);
  expect((await stack.client.run(id)).attempts.map(({ outcome }) => outcome)).toEqual(['succeeded']);
  await expectKeptPromises(stack, [id]);
}, 120_000);

test('#49 Redis refuses every write: a worker and an API say so once and count it, and go on afterwards', async () => {
  const worker = stack.startWorker();
  let written = 0;
  for (const { child } of [worker, stack.api])
    child.stdout!.on('data', (piece: Buffer) => {
      written += piece.length;
    });
  await eventually(() => expect(worker.output()).toContain('worker ready'), { timeoutMs: 40_000 });
  const direct = new Redis(redis.url);
  await direct.config('SET', 'min-replicas-to-write', '1');
  const id = await stack.submit({ ...SHORT, seed: 49 });
  // The same fault, said again with how often it came.
  await eventually(() => expect(worker.output() + stack.api.output()).toMatch(/"repeated":\d+/), {
    timeoutMs: 40_000,
  });
  expect(written).toBeLessThan(200_000);
  await direct.config('SET', 'min-replicas-to-write', '0');
  direct.disconnect();
  await stack.ended(id);
}, 120_000);
