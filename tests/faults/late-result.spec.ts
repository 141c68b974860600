/**
 * Postgres is away, or of no use, when a trainer has finished. The numbers are rows of the table in
 * docs/reliability.md.
 */
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { administer, outOfConnections, readOnly } from '../support/own-postgres.js';
import { ownPostgres, type OwnServer } from '../support/own-services.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { expectKeptPromises, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let postgres: OwnServer;
let stack: Stack;
let way: Proxy & { url: string };

beforeAll(async () => {
  postgres = await ownPostgres();
  // Nobody takes a run whose lease has expired from its worker: that it comes back in time is the case of these tests.
  stack = await startStack({ environment: { DATABASE_URL: postgres.url, LOOM_RECONCILE_MS: '3600000' } });
  await prepareStripes(stack);
}, 120_000);
beforeEach(async () => {
  way = await startProxy(postgres.url);
});
afterEach(async () => {
  await stack?.clear();
  await way?.close();
});
afterAll(async () => {
  await stack?.stop();
  await postgres?.stop();
});

/** Waits until the run's lease has been over for most of its length. */
const leaseIsOver = (id: string) =>
  eventually(
    async () => {
      const [run] = await administer(
        postgres,
        async (admin) =>
          (
            await admin.query<{ over: boolean | null; status: string }>(
              "SELECT lease_until < now() - interval '1 second' AS over, status::text FROM run WHERE id = $1",
              [id],
            )
          ).rows,
        'loom',
      );
      if (!run!.over) throw new Error(`expected the lease of a ${run!.status} run to be over`);
    },
    { timeoutMs: 20_000 },
  );

test('#37 Postgres away from when a result is recorded until the lease is over: it is recorded then', async () => {
  stack.startWorker({ DATABASE_URL: way.url });
  const id = await stack.submit(MEDIUM);
  await stack.runsAt(id, 5);
  const cut = Promise.withResolvers<void>();
  way.when('succeeded', () => {
    way.cut();
    cut.resolve();
  });
  await cut.promise;
  await leaseIsOver(id);
  way.heal();
  await stack.ended(id);
  const run = await stack.client.run(id);
  expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['succeeded']);
  await expectKeptPromises(stack, [id]);
}, 90_000);

/** A worker whose trainer has trained the run and keeps its last word until `say` is called. */
async function finishesLate(id: string, more: Record<string, string> = {}) {
  const lastWord = path.join(stack.dir, `last-word-${id}`);
  const worker = stack.startWorker({
    DATABASE_URL: way.url,
    LOOM_TRAINER: fileURLToPath(new URL('../support/waiting-trainer.mjs', import.meta.url)),
    TEST_LAST_WORD: lastWord,
    ...more,
  });
  await eventually(
    async () => {
      const { items: lines } = await stack.client.logs(id);
      expect(lines.map(({ message }) => message)).toContain('the last word is kept back');
    },
    { timeoutMs: 40_000 },
  );
  return { worker, say: () => writeFile(lastWord, '') };
}

test('#37 the same from just before the last word of the trainer: what it said last is recorded too', async () => {
  const id = await stack.submit({ ...SHORT, seed: 37 });
  const { say } = await finishesLate(id);
  way.cut();
  await say();
  await leaseIsOver(id);
  way.heal();
  await stack.ended(id);
  const run = await stack.client.run(id);
  expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['succeeded']);
  expect(run.metrics).toMatchObject({ 'test/late': 1 });
}, 90_000);

test('#37 a worker that is told to end meanwhile waits no longer than the grace period and a lease', async () => {
  const id = await stack.submit({ ...SHORT, seed: 38 });
  const { worker, say } = await finishesLate(id, { LOOM_CANCEL_GRACE_MS: '1000' });
  way.cut();
  await say();
  await leaseIsOver(id);
  const asked = performance.now();
  await worker.kill('SIGTERM');
  expect(worker.child.exitCode).toBe(0);
  expect(performance.now() - asked).toBeLessThan(15_000);
}, 90_000);

test.each([
  ['#56 Postgres is read-only', readOnly],
  ['#57 Postgres is out of connections', outOfConnections],
])(
  '%s from just before the last word of a trainer until the lease is over: its result is recorded once',
  async (_, hindrance) => {
    const id = await stack.submit({ ...SHORT, seed: 39 });
    const { say } = await finishesLate(id);
    const { begin, end } = hindrance(postgres);
    await begin();
    try {
      await say();
      await leaseIsOver(id);
    } finally {
      await end();
    }
    await eventually(async () => expect(await stack.client.ready()).toBe(true), { timeoutMs: 30_000 });
    await stack.ended(id);
    const run = await stack.client.run(id);
    expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['succeeded']);
    expect(run.metrics).toMatchObject({ 'test/late': 1 });
    await expectKeptPromises(stack, [id]);
  },
  90_000,
);
