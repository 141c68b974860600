/** Races and refusals: requests, states and streams. The numbers are rows of the table in docs/reliability.md. */
import { ClaimRefusedError, Database, Runs } from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { preload } from '../support/processes.js';
import { consumerOf, openQueue } from '../support/queue.js';
import { expectKeptPromises, LONG, prepareStripes, SHORT, small } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
let database: Database;
let platform: Runs;

beforeAll(async () => {
  stack = await startStack();
  database = new Database(stack.database.url);
  platform = new Runs(database, { dataRoot: stack.dataRoot, leaseMs: 60_000 });
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(async () => {
  await database?.close();
  await stack?.stop();
});

const claimed = async (id: string) => {
  const claim = await platform.claims.claim({ runId: id, attempt: 1 }, 'by-hand');
  if (!claim) throw new Error('expected a claim');
  await platform.recorder.begin(claim, null, 1);
  return claim;
};

test('#13 transactions that lock each other out are repeated, and one that never gets through is told so', async () => {
  await database.prisma.$executeRaw`CREATE TABLE IF NOT EXISTS duel (id int PRIMARY KEY, n int)`;
  await database.prisma.$executeRaw`INSERT INTO duel VALUES (1, 0), (2, 0) ON CONFLICT DO NOTHING`;
  const bump = (first: number, second: number) =>
    database.transaction(async (tx) => {
      await tx.$executeRaw`UPDATE duel SET n = n + 1 WHERE id = ${first}`;
      await tx.$executeRaw`UPDATE duel SET n = n + 1 WHERE id = ${second}`;
    });
  const results = await Promise.allSettled(Array.from({ length: 6 }, (_, i) => (i % 2 ? bump(1, 2) : bump(2, 1))));
  const done = results.filter(({ status }) => status === 'fulfilled').length;
  const rows = await database.prisma.$queryRaw<{ n: number }[]>`SELECT n FROM duel`;
  // Each that says it is done has been done once.
  expect(rows.map(({ n }) => n)).toEqual([done, done]);
  expect(done).toBeGreaterThanOrEqual(4);
  let tries = 0;
  await expect(
    database.transaction(async (tx) => {
      tries++;
      await tx.$executeRawUnsafe(`DO $$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $$`);
    }),
  ).rejects.toThrow('again');
  expect(tries).toBe(5);
});

test('#18 twenty submits with one key at one moment make one run', async () => {
  const key = randomUUID();
  const submits = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const response = await fetch(`${stack.client.url}/v1/runs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': key },
        body: JSON.stringify({ spec: { ...SHORT, seed: 18 }, onDuplicate: 'replicate' }),
      });
      return { status: response.status, id: ((await response.json()) as { id: string }).id };
    }),
  );
  expect(submits.map(({ status }) => status).sort()).toEqual([...Array.from({ length: 19 }, () => 200), 201]);
  expect(new Set(submits.map(({ id }) => id)).size).toBe(1);
});

test(
  '#25 a cancel and a success at one moment, 200 times: one end each, and never a success after a cancel was ' +
    'acknowledged',
  async () => {
    const ids = await Promise.all(
      Array.from({ length: 200 }, (_, seed) => stack.submit({ ...SHORT, seed: 2500 + seed })),
    );
    for (let i = 0; i < ids.length; i += 20) {
      await Promise.all(
        ids.slice(i, i + 20).map(async (id) => {
          const claim = await claimed(id);
          const [cancel, success] = await Promise.allSettled([
            delay(Math.random() * 10).then(() => stack.client.cancelRun(id)),
            delay(Math.random() * 10).then(() => platform.leases.succeed(claim, { metrics: {} })),
          ]);
          const run = await stack.client.run(id);
          expect(success.status).toBe('fulfilled');
          expect(run.status).toBe((success as PromiseFulfilledResult<string>).value);
          expect(run.status).toBe(cancel.status === 'fulfilled' ? 'cancelled' : 'succeeded');
          if (cancel.status === 'rejected') expect(cancel.reason).toMatchObject({ status: 409 });
        }),
      );
    }
    await expectKeptPromises(stack, ids);
  },
  120_000,
);

test('#29 a stream whose client does not read is closed, and the API does not grow by it', async () => {
  const id = await stack.submit({ ...LONG, seed: 29 });
  const claim = await claimed(id);
  const { port, hostname } = new URL(stack.client.url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => undefined);
  socket.write(`GET /v1/runs/${id}/stream HTTP/1.1\r\nhost: ${hostname}:${port}\r\naccept: text/event-stream\r\n\r\n`);
  socket.pause();
  const resident = async () =>
    Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${stack.api.pid}/status`, 'utf8'))![1]) / 1024;
  const before = await resident();
  const line = 'x'.repeat(8000);
  for (let round = 0; round < 30; round++)
    await platform.recorder.record(claim, {
      lines: Array.from({ length: 100 }, () => ({ level: 'info' as const, message: line })),
    });
  await eventually(() => expect(stack.api.output()).toContain('its client does not read'), { timeoutMs: 30_000 });
  expect((await resident()) - before).toBeLessThan(150);
  socket.destroy();
  await platform.leases.release(claim);
});

test(
  '#32 a parent that fails: what waits for it never starts and says why; a retry of the parent arms ' + 'it again',
  async () => {
    stack.startWorker({ NODE_OPTIONS: preload('poison.mjs'), TEST_POISON: '3232' });
    const parent = await stack.submit({ ...SHORT, seed: 3232 });
    const child = await stack.submit({
      kind: 'finetune',
      dataset: 'stripes',
      from: parent,
      labelFraction: 0.25,
      batchSize: 16,
      steps: 5,
      evalSplit: 'test',
    });
    const grandchild = await stack
      .submit({ kind: 'evaluate', dataset: 'stripes', from: child, knn: small.knn, evalSplit: 'test' })
      .catch(() => undefined);
    const waiting = [child, ...(grandchild ? [grandchild] : [])];
    await stack.ended(parent, 'failed');
    for (const id of waiting) {
      const run = await stack.client.run(id);
      expect(run).toMatchObject({ status: 'upstream_failed', statusReason: 'parent_failed', attempt: 0 });
      expect(run.statusDetail).toContain(parent);
    }
    await stack.killWorkers();
    stack.startWorker();
    await stack.client.retryRun(parent);
    for (const id of [parent, ...waiting]) await stack.ended(id);
    await expectKeptPromises(stack, [parent, ...waiting]);
  },
  90_000,
);

test(
  '#34 a database of another version: a worker that starts says what to do and ends, one that runs takes nothing ' +
    'more and leaves, and the right version takes over',
  async () => {
    const old = stack.startWorker();
    const before = await stack.submit({ ...LONG, seed: 341 });
    await stack.runsAt(before, 1);
    await database.prisma.$executeRaw`
      INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at)
      VALUES ('future', '', '99990101000000_future', now())`;
    try {
      const late = stack.startWorker();
      await eventually(() => expect(late.child.exitCode).toBe(1), { timeoutMs: 30_000 });
      expect(late.output()).toContain('update this worker');
      // The one that runs goes on with what it has, and then takes nothing.
      const waiting = await stack.submit({ ...SHORT, seed: 342 });
      await stack.client.cancelRun(before);
      await stack.ended(before, 'cancelled');
      await eventually(() => expect(old.child.exitCode).toBe(0), { timeoutMs: 30_000 });
      expect(old.output()).toContain('is of another version than the database');
      expect((await stack.client.run(waiting)).attempt).toBe(0);
      await database.prisma.$executeRaw`DELETE FROM _prisma_migrations WHERE id = 'future'`;
      stack.startWorker();
      await stack.ended(waiting);
    } finally {
      await database.prisma.$executeRaw`DELETE FROM _prisma_migrations WHERE id = 'future'`;
    }
  },
  120_000,
);

// The last of this file: the stack's own API may be the one that is killed.
test(
  '#31 two projects share a fleet: a flood of one leaves half of the starts to the other, weights are kept, and a ' +
    'quota is never exceeded, across two APIs and a change of the leader',
  async ({ annotate }) => {
    const second = await stack.startApi();
    const leads = async (url: string) => /^loom_leader 1$/m.test(await (await fetch(`${url}/metrics`)).text());
    await stack.client.putProject('flood', {});
    await stack.client.putProject('team', {});
    await stack.client.putProject('small', { maxRunning: 1 });
    // The workers are played: what is asked is who starts when, not what they learn.
    const connection = {
      redisUrl: stack.environment['REDIS_URL']!,
      queueName: stack.environment['LOOM_QUEUE']!,
      networkTimeoutMs: 20_000,
    };
    const queue = openQueue(connection);
    const SLOTS = 4;
    await platform.workers.registerWorker({ id: 'played', host: 'h', pid: 1, slots: SLOTS, versions: {} });
    await platform.workers.setWorkerState('played', 'running');
    const alive = setInterval(() => {
      void platform.leases.heartbeat('played', []).catch(() => undefined);
    }, 200);
    let most = 0;
    const consumer = consumerOf(connection, SLOTS, async (job) => {
      const claim = await platform.claims.claim(job, 'played').catch((error: unknown) => {
        if (error instanceof ClaimRefusedError) return undefined;
        throw error;
      });
      if (!claim) return;
      const [{ small: count } = { small: 0 }] = await database.prisma.$queryRaw<
        { small: number }[]
      >`SELECT count(*)::int AS small FROM run WHERE project = 'small' AND status = 'running'`;
      most = Math.max(most, count);
      await delay(20 + Math.random() * 20);
      await platform.leases.succeed(claim, { metrics: {} });
    });
    const submitMany = (project: string, from: number, count: number) =>
      Promise.all(
        Array.from({ length: count }, (_, i) =>
          (i % 2 ? stack.client : second.client).submitRun({ project, spec: { ...SHORT, seed: from + i } }),
        ),
      );
    const startsSince = async (since: Date) =>
      await database.prisma.run.findMany({
        where: { startedAt: { gte: since }, project: { in: ['flood', 'team', 'small'] } },
        orderBy: { startedAt: 'asc' },
        select: { project: true, startedAt: true },
      });
    const waiting = async (project: string) =>
      (await stack.client.projects()).find(({ name }) => name === project)!.waiting;
    try {
      await submitMany('flood', 31_000, 300);
      await submitMany('small', 32_000, 12);
      void consumer.run();
      await eventually(async () => expect(await waiting('flood')).toBeLessThan(280), { timeoutMs: 30_000 });
      const came = new Date();
      await submitMany('team', 33_000, 30);
      // The leader dies in the middle of it.
      const [leader, other] = (await leads(stack.client.url)) ? [stack.api, second] : [second, stack.api];
      await leader.kill('SIGKILL');
      const { client } = other;
      await eventually(
        async () => expect((await client.projects()).find(({ name }) => name === 'team')!.waiting).toBe(0),
        { timeoutMs: 60_000 },
      );
      const starts = (await startsSince(came))
        .filter(({ project }) => project !== 'small')
        .map(({ project }) => project);
      const from = starts.indexOf('team');
      const span = starts.slice(from, starts.lastIndexOf('team') + 1);
      await annotate(
        `a run of the second project started after ${from} of the first; then ` +
          `${span.filter((each) => each === 'team').length} of ${span.length} starts were its own`,
      );
      expect(from).toBeLessThan(40);
      expect(span.filter((each) => each === 'team').length / span.length).toBeGreaterThan(0.4);

      await client.putProject('team', { weight: 3 });
      // Nothing starts until all of them wait: a share is one of those who do.
      await consumer.pause();
      await Promise.all(
        Array.from({ length: 60 }, (_, i) =>
          client.submitRun({ project: 'team', spec: { ...SHORT, seed: 34_000 + i } }),
        ),
      );
      const again = new Date();
      void consumer.resume();
      await eventually(
        async () => expect((await client.projects()).find(({ name }) => name === 'team')!.waiting).toBe(0),
        { timeoutMs: 60_000 },
      );
      const weighted = (await startsSince(again))
        .filter(({ project }) => project !== 'small')
        .map(({ project }) => project);
      const share = weighted.slice(weighted.indexOf('team') + 10, weighted.lastIndexOf('team') - 10);
      const part = share.filter((each) => each === 'team').length / share.length;
      await annotate(`with weights 3 : 1 its part was ${part.toFixed(2)}`);
      expect(part).toBeGreaterThan(0.62);
      expect(part).toBeLessThan(0.88);
      expect(most).toBe(1);
      await eventually(
        async () => expect((await client.projects()).find(({ name }) => name === 'small')!.waiting).toBe(0),
        { timeoutMs: 60_000 },
      );
      expect(most).toBe(1);
    } finally {
      clearInterval(alive);
      await consumer.close();
      await queue.close();
      await platform.workers.setWorkerState('played', 'stopped');
    }
  },
  240_000,
);
