/**
 * Faults of Redis, of the way to it, and of those who dispatch. The numbers are rows of the table in
 * docs/reliability.md.
 */
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ownRedis, type OwnServer } from '../support/own-services.js';
import { expectKeptPromises, LONG, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let redis: OwnServer;
let stack: Stack;
let direct: Redis;

beforeAll(async () => {
  redis = await ownRedis({ durable: true });
  // A connection that hangs costs a second and a half here, and twenty in production.
  stack = await startStack({
    environment: { REDIS_URL: redis.url, LOOM_CHECKPOINT_SECONDS: '0.4', LOOM_NETWORK_TIMEOUT_MS: '1500' },
  });
  await prepareStripes(stack);
}, 90_000);
beforeEach(() => {
  direct = new Redis(redis.url, { retryStrategy: () => 50 });
  direct.on('error', () => undefined);
});
afterEach(async () => {
  direct.disconnect();
  await stack?.clear();
});
afterAll(async () => {
  await stack?.stop();
  await redis?.stop();
});

const proves = (...ids: string[]) => expectKeptPromises(stack, ids);
const isReady = () =>
  eventually(
    async () => {
      if (!(await stack.client.ready())) throw new Error('expected the API to be ready');
    },
    { timeoutMs: 30_000 },
  );
/** Of a submit that waits for nobody, on a machine that has much else to do. */
const SOON_MS = 3000;
/** Submits a run and expects an answer soon, whether or not Redis is there. */
async function submitsQuickly(seed: number): Promise<string> {
  const begun = performance.now();
  const id = await stack.submit({ ...SHORT, seed });
  expect(performance.now() - begun).toBeLessThan(SOON_MS);
  return id;
}

test('#6 kill -9 of Redis with an append-only file: submits are accepted all along, all runs end once', async () => {
  stack.startWorker();
  const active = await stack.submit(MEDIUM);
  await stack.runsAt(active, 5);
  const ids = [await submitsQuickly(1)];
  await redis.kill('SIGKILL');
  for (const seed of [2, 3]) ids.push(await submitsQuickly(seed));
  await redis.start();
  ids.push(await submitsQuickly(4));
  await Promise.all([active, ...ids].map((id) => stack.ended(id)));
  expect((await stack.client.run(active)).attempts).toHaveLength(1);
  await proves(active, ...ids);
});

test(
  '#7 FLUSHALL with runs that wait and two that train: the queue is rebuilt with its priorities, those that train ' +
    'are not disturbed',
  async () => {
    stack.startWorker({ LOOM_SLOTS: '2' });
    const active = await Promise.all([11, 12].map((seed) => stack.submit({ ...MEDIUM, seed })));
    await Promise.all(active.map((id) => stack.runsAt(id, 2)));
    const waiting = await Promise.all(
      Array.from({ length: 7 }, (_, seed) => stack.submit({ ...SHORT, epochs: 1, seed: 100 + seed }, { priority: 10 })),
    );
    const urgent = await stack.submit({ ...SHORT, epochs: 1, seed: 107 }, { priority: 90 });
    const queued = () => direct.llen(`bull:${stack.environment['LOOM_QUEUE']!}:wait`);
    // The others wait in Postgres: for two slots Redis holds a short window.
    await eventually(async () => expect(await queued()).toBeGreaterThan(0));
    expect(await queued()).toBeLessThan(5);
    await direct.flushall();
    const begun = performance.now();
    // Messages count as lost when they are five seconds old.
    await eventually(async () => expect(await queued()).toBeGreaterThan(0), { timeoutMs: 30_000 });
    expect(performance.now() - begun).toBeLessThan(30_000);
    await Promise.all([...active, ...waiting, urgent].map((id) => stack.ended(id)));
    for (const id of active) expect((await stack.client.run(id)).attempts).toHaveLength(1);
    const startOf = async (id: string) => Date.parse((await stack.client.run(id)).startedAt!);
    const urgentStart = await startOf(urgent);
    // Submitted last, it goes before all that were not in the window already.
    expect((await Promise.all(waiting.map(startOf))).filter((start) => start < urgentStart).length).toBeLessThan(5);
    await proves(...active, ...waiting, urgent);
  },
  120_000,
);

test(
  '#8 a frozen Redis: submits take under half a second, the API answers, and afterwards all runs ' +
    'are finished once',
  async () => {
    stack.startWorker();
    const active = await stack.submit({ ...MEDIUM, seed: 21 });
    await stack.runsAt(active, 5);
    await redis.signal('SIGSTOP');
    const ids: string[] = [];
    try {
      for (let seed = 30; seed < 36; seed++) ids.push(await submitsQuickly(seed));
      expect((await stack.client.runs({ limit: 5 })).items).toHaveLength(5);
      expect((await fetch(`${stack.client.url}/healthz`)).status).toBe(200);
      expect((await fetch(`${stack.client.url}/readyz`)).status).toBe(503);
      // The run that trains has no need of Redis.
      await stack.ended(active);
    } finally {
      await redis.signal('SIGCONT');
    }
    await Promise.all(ids.map((id) => stack.ended(id)));
    await proves(active, ...ids);
  },
);

test(
  '#9 an API that starts without Redis: it is up and not ready, says what is missing, and accepts runs that go once ' +
    'Redis is back',
  async () => {
    redis.proxy.cut();
    const api = await stack.startApi({}, [], { waits: false });
    try {
      await eventually(async () => expect((await fetch(`${api.client.url}/healthz`)).status).toBe(200), {
        timeoutMs: 30_000,
      });
      const readiness = await fetch(`${api.client.url}/readyz`);
      expect([readiness.status, await readiness.json()]).toEqual([503, { postgres: true, redis: false }]);
      const { run } = await api.client.submitRun({ spec: { ...SHORT, seed: 41 } });
      redis.proxy.heal();
      stack.startWorker();
      await stack.ended(run.id);
      await proves(run.id);
    } finally {
      redis.proxy.heal();
      await api.kill('SIGTERM');
    }
  },
);

test(
  '#10 a Redis that is full: submits are accepted, a gauge shows how long dispatch has waited, and with room again ' +
    'they go',
  async () => {
    await direct.config('SET', 'maxmemory', '1');
    const id = await submitsQuickly(51);
    const waited = async () =>
      Number(
        /^loom_dispatch_wait_seconds (\S+)$/m.exec(await (await fetch(`${stack.client.url}/metrics`)).text())?.[1],
      );
    await eventually(async () => expect(await waited()).toBeGreaterThan(2));
    await direct.config('SET', 'maxmemory', '0');
    stack.startWorker();
    await stack.ended(id);
    expect(await waited()).toBe(0);
    await proves(id);
  },
);

test(
  '#26 a worker that is cut off from Redis keeps its run, whose lease is in Postgres, and takes others when it is ' +
    'back',
  async () => {
    stack.startWorker();
    const active = await stack.submit({ ...MEDIUM, seed: 61 });
    await stack.runsAt(active, 5);
    redis.proxy.blackhole();
    const waiting = await submitsQuickly(62);
    expect((await stack.ended(active)).attempt).toBe(1);
    redis.proxy.heal();
    await isReady();
    await stack.ended(waiting);
    await proves(active, waiting);
  },
);

test(
  '#28 a way to Redis that swallows everything: it is given up within the limit, and what waits ' + 'goes on',
  async () => {
    stack.startWorker();
    redis.proxy.blackhole();
    const id = await submitsQuickly(71);
    const begun = performance.now();
    // A read of the worker that was under way may take its ten seconds.
    redis.proxy.heal();
    await stack.ended(id);
    expect(performance.now() - begun).toBeLessThan(30_000);
    await proves(id);
  },
);

// The last of this file: the stack's own API may be the one that is killed.
test(
  '#33 two APIs: each attempt is put into Redis once, and when the leader is killed the other takes ' +
    'over in seconds',
  async () => {
    // As many as there are may be in Redis, though nobody takes them.
    const wide = { LOOM_WINDOW: '1000' };
    const [first, second] = [await stack.startApi(wide), await stack.startApi(wide)];
    await stack.api.kill('SIGTERM');
    const added = async () =>
      (await direct.xrange(`bull:${stack.environment['LOOM_QUEUE']!}:events`, '-', '+'))
        .filter(([, fields]) => fields.includes('added'))
        .map(([, fields]) => fields[fields.indexOf('jobId') + 1]);
    await direct.del(`bull:${stack.environment['LOOM_QUEUE']!}:events`);
    const clients = [first.client, second.client];
    const ids = await Promise.all(
      Array.from(
        { length: 8 },
        async (_, seed) =>
          (await clients[seed % 2]!.submitRun({ spec: { ...SHORT, epochs: 1, seed: 200 + seed } })).run.id,
      ),
    );
    await eventually(async () => expect(new Set(await added()).size).toBe(8));
    expect(await added()).toHaveLength(8);

    const leads = async (url: string) => /^loom_leader 1$/m.test(await (await fetch(`${url}/metrics`)).text());
    const [leader, other] = (await leads(first.client.url)) ? [first, second] : [second, first];
    await leader.kill('SIGKILL');
    const begun = performance.now();
    await eventually(async () => expect(await leads(other.client.url)).toBe(true));
    expect(performance.now() - begun).toBeLessThan(10_000);
    const last = (await other.client.submitRun({ spec: { ...LONG, seed: 300 } })).run.id;
    stack.startWorker({ LOOM_SLOTS: '2' });
    await eventually(async () => expect((await other.client.run(last)).status).toBe('running'), { timeoutMs: 80_000 });
    await other.client.cancelRun(last);
    await Promise.all(ids.map((id) => other.client.follow(id, {}, { signal: AbortSignal.timeout(60_000) })));
    await proves(...ids);
  },
  120_000,
);
