/** Faults of Redis and of the way to it. The numbers are rows of the table in docs/reliability.md. */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { stackOnOwnRedis } from '../support/own-redis.js';
import { MEDIUM, SHORT } from '../support/small-runs.js';

const on = stackOnOwnRedis();

test('#6 kill -9 of Redis with an append-only file: submits are accepted all along, all runs end once', async () => {
  on.stack.startWorker();
  const active = await on.stack.submit(MEDIUM);
  await on.stack.runsAt(active, 5);
  const ids = [await on.submitsQuickly(1)];
  await on.redis.kill('SIGKILL');
  for (const seed of [2, 3]) ids.push(await on.submitsQuickly(seed));
  await on.redis.start();
  ids.push(await on.submitsQuickly(4));
  await Promise.all([active, ...ids].map((id) => on.stack.ended(id)));
  expect((await on.stack.client.run(active)).attempts).toHaveLength(1);
  await on.proves(active, ...ids);
});

test(
  '#8 a frozen Redis: submits take under half a second, the API answers, and afterwards all runs ' +
    'are finished once',
  async () => {
    on.stack.startWorker();
    const active = await on.stack.submit({ ...MEDIUM, seed: 21 });
    await on.stack.runsAt(active, 5);
    await on.redis.signal('SIGSTOP');
    const ids: string[] = [];
    try {
      for (let seed = 30; seed < 36; seed++) ids.push(await on.submitsQuickly(seed));
      expect((await on.stack.client.runs({ limit: 5 })).items).toHaveLength(5);
      expect((await fetch(`${on.stack.client.url}/healthz`)).status).toBe(200);
      expect((await fetch(`${on.stack.client.url}/readyz`)).status).toBe(503);
      // The run that trains has no need of Redis.
      await on.stack.ended(active);
    } finally {
      await on.redis.signal('SIGCONT');
    }
    await Promise.all(ids.map((id) => on.stack.ended(id)));
    await on.proves(active, ...ids);
  },
);

test(
  '#9 an API that starts without Redis: it is up and not ready, says what is missing, and accepts runs that go once ' +
    'Redis is back',
  async () => {
    on.redis.proxy.cut();
    const api = await on.stack.startApi({}, [], { waits: false });
    try {
      await eventually(async () => expect((await fetch(`${api.client.url}/healthz`)).status).toBe(200), {
        timeoutMs: 30_000,
      });
      const readiness = await fetch(`${api.client.url}/readyz`);
      expect([readiness.status, await readiness.json()]).toEqual([503, { postgres: true, redis: false }]);
      const { run } = await api.client.submitRun({ spec: { ...SHORT, seed: 41 } });
      on.redis.proxy.heal();
      on.stack.startWorker();
      await on.stack.ended(run.id);
      await on.proves(run.id);
    } finally {
      on.redis.proxy.heal();
      await api.kill('SIGTERM');
    }
  },
);

test(
  '#10 a Redis that is full: submits are accepted, a gauge shows how long dispatch has waited, and with room again ' +
    'they go',
  async () => {
    await on.direct.config('SET', 'maxmemory', '1');
    const id = await on.submitsQuickly(51);
    const waited = async () =>
      Number(
        /^loom_dispatch_wait_seconds (\S+)$/m.exec(await (await fetch(`${on.stack.client.url}/metrics`)).text())?.[1],
      );
    await eventually(async () => expect(await waited()).toBeGreaterThan(2));
    await on.direct.config('SET', 'maxmemory', '0');
    on.stack.startWorker();
    await on.stack.ended(id);
    expect(await waited()).toBe(0);
    await on.proves(id);
  },
);

test(
  '#28 a way to Redis that swallows everything: it is given up within the limit, and what waits ' + 'goes on',
  async () => {
    on.stack.startWorker();
    on.redis.proxy.blackhole();
    const id = await on.submitsQuickly(71);
    const begun = performance.now();
    // A read of the worker that was under way may take its ten seconds.
    on.redis.proxy.heal();
    await on.stack.ended(id);
    expect(performance.now() - begun).toBeLessThan(30_000);
    await on.proves(id);
  },
);
