/**
 * Redis has lost a part of what it held: by a failover to a replica that lagged behind, by an eviction. The numbers are
 * rows of the table in docs/reliability.md.
 */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ownRedis, type OwnServer } from '../support/own-services.js';
import { expectKeptPromises, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let redis: OwnServer;
let stack: Stack;
let direct: Redis;

beforeAll(async () => {
  redis = await ownRedis({ durable: true });
  stack = await startStack({ environment: { REDIS_URL: redis.url, LOOM_WINDOW: '20' } });
  direct = new Redis(redis.url);
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(async () => {
  direct?.disconnect();
  await stack?.stop();
  await redis?.stop();
});

const key = (name: string) => `bull:${stack.environment['LOOM_QUEUE']!}:${name}`;
const waitInRedis = (count: number) =>
  eventually(async () => expect(await direct.llen(key('wait'))).toBe(count), { timeoutMs: 30_000 });

test('#40 the lists of jobs are lost and their data are there: the runs are put back, each runs once', async () => {
  stack.startWorker();
  const active = await stack.submit(MEDIUM);
  await stack.runsAt(active, 5);
  const waiting = [await stack.submit({ ...SHORT, seed: 1 }), await stack.submit({ ...SHORT, seed: 2 })];
  await waitInRedis(2);
  await direct.del(key('wait'), key('active'), key('marker'));
  for (const id of waiting) expect(await direct.exists(key(`run_${id}_a1`))).toBe(1);
  for (const id of [active, ...waiting]) expect((await stack.ended(id)).attempt).toBe(1);
  await expectKeptPromises(stack, [active, ...waiting]);
}, 120_000);

test('#40 the data of jobs are lost and the lists are there: the same', async () => {
  const ids = [await stack.submit({ ...SHORT, seed: 3 }), await stack.submit({ ...SHORT, seed: 4 })];
  await waitInRedis(2);
  await direct.del(...ids.map((id) => key(`run_${id}_a1`)));
  stack.startWorker();
  for (const id of ids) expect((await stack.ended(id)).attempt).toBe(1);
  await expectKeptPromises(stack, ids);
}, 120_000);

test('#40 while a run that a worker could take is in no list, a gauge shows how long', async () => {
  // A leader that does not reconcile, so that nobody puts it back meanwhile.
  await stack.api.kill('SIGTERM');
  const slow = await stack.startApi({ LOOM_RECONCILE_MS: '3600000' });
  const worker = stack.startWorker();
  await eventually(() => expect(worker.output()).toContain('worker ready'), { timeoutMs: 40_000 });
  process.kill(worker.pid, 'SIGSTOP');
  const { run } = await slow.client.submitRun({ spec: { ...SHORT, seed: 5 }, onDuplicate: 'replicate' });
  await eventually(async () => expect(await direct.exists(key(`run_${run.id}_a1`))).toBe(1));
  await direct.del(key('wait'), key('active'), key('marker'));
  process.kill(worker.pid, 'SIGCONT');
  const waits = async (): Promise<number> => {
    const text = await (await fetch(`${slow.client.url}/metrics`)).text();
    return Number(/^loom_start_wait_seconds (\S+)$/m.exec(text)?.[1]);
  };
  await eventually(async () => expect(await waits()).toBeGreaterThan(2));
  await slow.kill('SIGTERM');
  const api = await stack.startApi();
  expect((await api.client.follow(run.id, {}, { signal: AbortSignal.timeout(40_000) })).status).toBe('succeeded');
}, 120_000);
