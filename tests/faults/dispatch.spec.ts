/**
 * Faults of what Redis is for: its queue, the way from there to workers, and those who dispatch. The numbers are rows
 * of the table in docs/reliability.md.
 */
import { expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { stackOnOwnRedis } from '../support/own-redis.js';
import { LONG, MEDIUM, SHORT } from '../support/small-runs.js';

const on = stackOnOwnRedis();

test(
  '#7 FLUSHALL with runs that wait and two that train: the queue is rebuilt with its priorities, those that train ' +
    'are not disturbed',
  async () => {
    on.stack.startWorker({ LOOM_SLOTS: '2' });
    const active = await Promise.all([11, 12].map((seed) => on.stack.submit({ ...MEDIUM, seed })));
    await Promise.all(active.map((id) => on.stack.runsAt(id, 2)));
    const waiting = await Promise.all(
      Array.from({ length: 7 }, (_, seed) =>
        on.stack.submit({ ...SHORT, epochs: 1, seed: 100 + seed }, { priority: 10 }),
      ),
    );
    const urgent = await on.stack.submit({ ...SHORT, epochs: 1, seed: 107 }, { priority: 90 });
    const queued = () => on.direct.llen(`bull:${on.stack.environment['LOOM_QUEUE']!}:wait`);
    // The others wait in Postgres: for two slots Redis holds a short window.
    await eventually(async () => expect(await queued()).toBeGreaterThan(0));
    expect(await queued()).toBeLessThan(5);
    await on.direct.flushall();
    const begun = performance.now();
    // Messages count as lost when they are five seconds old.
    await eventually(async () => expect(await queued()).toBeGreaterThan(0), { timeoutMs: 30_000 });
    expect(performance.now() - begun).toBeLessThan(30_000);
    await Promise.all([...active, ...waiting, urgent].map((id) => on.stack.ended(id)));
    for (const id of active) expect((await on.stack.client.run(id)).attempts).toHaveLength(1);
    const startOf = async (id: string) => Date.parse((await on.stack.client.run(id)).startedAt!);
    const urgentStart = await startOf(urgent);
    // Submitted last, it goes before all that were not in the window already.
    expect((await Promise.all(waiting.map(startOf))).filter((start) => start < urgentStart).length).toBeLessThan(5);
    await on.proves(...active, ...waiting, urgent);
  },
  120_000,
);

test(
  '#26 a worker that is cut off from Redis keeps its run, whose lease is in Postgres, and takes others when it is ' +
    'back',
  async () => {
    on.stack.startWorker();
    const active = await on.stack.submit({ ...MEDIUM, seed: 61 });
    await on.stack.runsAt(active, 5);
    on.redis.proxy.blackhole();
    const waiting = await on.submitsQuickly(62);
    expect((await on.stack.ended(active)).attempt).toBe(1);
    on.redis.proxy.heal();
    await on.isReady();
    await on.stack.ended(waiting);
    await on.proves(active, waiting);
  },
);

// The last of this file: the stack's own API may be the one that is killed.
test(
  '#33 two APIs: each attempt is put into Redis once, and when the leader is killed the other takes ' +
    'over in seconds',
  async () => {
    // As many as there are may be in Redis, though nobody takes them.
    const wide = { LOOM_WINDOW: '1000' };
    const [first, second] = [await on.stack.startApi(wide), await on.stack.startApi(wide)];
    await on.stack.api.kill('SIGTERM');
    const added = async () =>
      (await on.direct.xrange(`bull:${on.stack.environment['LOOM_QUEUE']!}:events`, '-', '+'))
        .filter(([, fields]) => fields.includes('added'))
        .map(([, fields]) => fields[fields.indexOf('jobId') + 1]);
    await on.direct.del(`bull:${on.stack.environment['LOOM_QUEUE']!}:events`);
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
    on.stack.startWorker({ LOOM_SLOTS: '2' });
    await eventually(async () => expect((await other.client.run(last)).status).toBe('running'), { timeoutMs: 80_000 });
    await other.client.cancelRun(last);
    await Promise.all(ids.map((id) => other.client.follow(id, {}, { signal: AbortSignal.timeout(60_000) })));
    await on.proves(...ids);
  },
  120_000,
);
