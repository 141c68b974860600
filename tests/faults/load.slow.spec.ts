/**
 * What only shows at size, so that these take minutes: `npm run faults` runs them, `npm test` does not. The numbers are
 * rows of the table in docs/reliability.md.
 */
import { Database, Runs } from '#libs/platform';
import { Redis } from 'ioredis';
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, onTestFinished, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { ownRedis, type OwnServer } from '../support/own-services.js';
import { preload } from '../support/processes.js';
import { expectKeptPromises, LONG, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { PRODUCTION, startStack, type ApiProcess, type Stack } from '../support/stack.js';

let redis: OwnServer;
let stack: Stack;
let sql: pg.Client;
let direct: Redis;
/** With the default window, as `stack.api` has it. */
let narrow: ApiProcess;

beforeAll(async () => {
  redis = await ownRedis({ durable: true });
  stack = await startStack({ environment: { REDIS_URL: redis.url, ...PRODUCTION } });
  narrow = stack.api;
  await prepareStripes(stack);
  sql = new pg.Client({ connectionString: stack.database.url });
  await sql.connect();
  direct = new Redis(redis.url);
}, 120_000);
afterEach(() => stack?.killWorkers());
afterAll(async () => {
  direct?.disconnect();
  await sql?.end();
  await stack?.stop();
  await redis?.stop();
});

const quantile = (values: readonly number[], q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(q * values.length))]!;
async function timed(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}
/** Milliseconds of each of so many calls, one after the other. */
async function timesOf(count: number, work: (i: number) => Promise<unknown>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) times.push(await timed(() => work(i)));
  return times;
}
/**
 * How many times as long something takes beside a load as without it, at the quantiles 50 and 95 %: both measured in
 * one run, so that it says the same on a fast machine and on a slow one.
 */
const slowdown = (beside: readonly number[], without: readonly number[]) => ({
  p50: quantile(beside, 0.5) / quantile(without, 0.5),
  p95: quantile(beside, 0.95) / quantile(without, 0.95),
});
const inWords = (beside: readonly number[], without: readonly number[]): string => {
  const { p50, p95 } = slowdown(beside, without);
  const at = (q: number) => `${quantile(beside, q).toFixed(0)} ms, without ${quantile(without, q).toFixed(0)}`;
  return `p50 ${at(0.5)} (${p50.toFixed(1)} times), p95 ${at(0.95)} (${p95.toFixed(1)} times)`;
};

test(
  '#30 a run that says 10,000 metrics a second: others are read as before, its own are bounded, ' +
    'none is there twice',
  async ({ annotate }) => {
    stack.startWorker({
      NODE_OPTIONS: preload('flood.mjs'),
      TEST_FLOOD: '600',
      TEST_FLOOD_SEED: '301',
      LOOM_SLOTS: '2',
    });
    const earlier = await stack.submit({ ...MEDIUM, seed: 299 });
    await stack.ended(earlier);
    const read = () => stack.client.metrics(earlier, { key: ['train/loss'] });
    const without = await timesOf(100, read);
    const quiet = await stack.submit({ ...MEDIUM, seed: 300 });
    const loud = await stack.submit({ ...LONG, seed: 301 });
    await stack.runsAt(loud, 50);
    const count = async () =>
      Number((await sql.query<{ n: string }>('SELECT count(*) AS n FROM metric WHERE run_id = $1', [loud])).rows[0]!.n);
    const [from, at] = [await count(), performance.now()];
    const reads = await timesOf(100, read);
    const rate = ((await count()) - from) / ((performance.now() - at) / 1000);
    await annotate(
      `${rate.toFixed(0)} metrics a second written; reads of another run beside it ${inWords(reads, without)}`,
    );
    expect(slowdown(reads, without).p50).toBeLessThan(4);
    await stack.ended(quiet);
    await stack.client.cancelRun(loud);
    await stack.ended(loud, 'cancelled');
    await expectKeptPromises(stack, [quiet, loud]);
  },
  180_000,
);

/** Queues so many runs by hand, copies of one that waits. */
async function queueMany(template: string, count: number, priority: number): Promise<void> {
  await sql.query(
    `
    WITH copies AS (
      INSERT INTO run (id, name, kind, status, digest, spec, tags, priority, dataset_digest)
      SELECT gen_random_uuid(), 'many', kind, 'queued', digest, spec, '{many}', $3, dataset_digest
      FROM run, generate_series(1, $2)
      WHERE id = $1
      RETURNING id)
    INSERT INTO outbox (run_id, attempt, urgency)
    SELECT id, 1, 100 - $3
    FROM copies`,
    [template, count, priority],
  );
  await sql.query(`NOTIFY outbox`);
}
const inRedis = () => direct.llen(`bull:${stack.environment['LOOM_QUEUE']!}:wait`);

test('#7 FLUSHALL with 10,000 queued runs in Redis: all are dispatched again within 30 seconds', async ({
  annotate,
}) => {
  // A window as wide as this is nobody's default.
  const wide = await stack.startApi({ LOOM_WINDOW: '100000' });
  await stack.api.kill('SIGTERM');
  const template = (await wide.client.submitRun({ spec: { ...SHORT, seed: 70 }, priority: 0 })).run.id;
  await queueMany(template, 9999, 0);
  await eventually(async () => expect(await inRedis()).toBe(10_000), { timeoutMs: 60_000 });
  // A message counts as lost when it is five seconds old.
  const oldest = async () =>
    Number(
      (await sql.query<{ s: string }>('SELECT extract(epoch FROM now() - max(dispatched_at)) AS s FROM outbox'))
        .rows[0]!.s,
    );
  await eventually(async () => expect(await oldest()).toBeGreaterThan(5));
  await direct.flushall();
  const seconds =
    (await timed(() => eventually(async () => expect(await inRedis()).toBe(10_000), { timeoutMs: 90_000 }))) / 1000;
  await annotate(`10,000 runs were back in Redis ${seconds.toFixed(1)} s after FLUSHALL`);
  expect(seconds).toBeLessThan(30);
  // At the address that the stack's client knows.
  narrow = await stack.startApi({ LOOM_PORT: new URL(stack.client.url).port });
  await wide.kill('SIGTERM');
  await direct.flushall();
  await sql.query('UPDATE outbox SET dispatched_at = NULL');
}, 240_000);

test(
  '#7 and #31 with 50,000 queued runs, most of them in Postgres: FLUSHALL costs those that were in Redis a moment; ' +
    'a submit, and a list that says where each stands, take at most a few times as long as beside a hundred, and the ' +
    'API stays small',
  async ({ annotate }) => {
    const { client } = narrow;
    const resident = async () =>
      Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${narrow.pid}/status`, 'utf8'))![1]) / 1024;
    const before = await resident();
    const submitted = (seed: number) =>
      client.submitRun({ spec: { ...SHORT, seed }, onDuplicate: 'replicate', priority: 50 });
    const listed = () => client.runs({ status: ['queued'], limit: 50 });
    // What other tests have left in the line.
    await sql.query(`DELETE FROM outbox`);
    await sql.query(`UPDATE run SET status = 'cancelled', finished_at = now() WHERE status IN ('queued', 'retrying')`);
    const template = (await client.submitRun({ spec: { ...SHORT, seed: 71 }, priority: 0 })).run.id;
    await queueMany(template, 99, 0);
    const without = {
      submits: await timesOf(200, (i) => submitted(2900 + i)),
      lists: await timesOf(100, listed),
    };
    await queueMany(template, 50_000, 0);
    stack.startWorker({ LOOM_SLOTS: '2' });
    await eventually(
      async () =>
        expect((await client.workers()).filter(({ state, alive }) => state === 'running' && alive)).toHaveLength(1),
      { timeoutMs: 60_000 },
    );
    await eventually(async () => expect((await client.runs({ status: ['running'] })).items.length).toBe(2), {
      timeoutMs: 60_000,
    });
    expect(await inRedis()).toBeLessThan(20);
    await direct.flushall();
    const succeeded = async () => (await client.runCounts({ status: ['succeeded'] })).succeeded ?? 0;
    const had = await succeeded();
    const seconds =
      (await timed(() =>
        eventually(async () => expect(await succeeded()).toBeGreaterThan(had + 4), { timeoutMs: 90_000 }),
      )) / 1000;
    await annotate(`five more had succeeded ${seconds.toFixed(1)} s after FLUSHALL`);
    await stack.killWorkers();

    // As Postgres does by itself, sooner or later.
    await sql.query('ANALYZE');
    const submits = await timesOf(200, (i) => submitted(3100 + i));
    const lists = await timesOf(100, listed);
    const grown = (await resident()) - before;
    await annotate(
      `beside 50,000 queued runs a submit ${inWords(submits, without.submits)}; a list of 50 ` +
        `${inWords(lists, without.lists)}; the API grew by ${grown.toFixed(0)} MiB`,
    );
    for (const { p50, p95 } of [slowdown(submits, without.submits), slowdown(lists, without.lists)]) {
      expect(p50).toBeLessThan(3);
      expect(p95).toBeLessThan(5);
    }
    expect(grown).toBeLessThan(250);
  },
  300_000,
);

/** What the busy run says in one write, and the ms to the next: where that is measured, and where it is not. */
const STEPS_AT_ONCE = 5;
const PAUSE = { measured: 100, else: 20 };

test(
  '#36 200 clients follow one busy run: each hears every value once, Postgres is asked as often as for one, the API ' +
    'stays as large as it was and takes submits in a few times as long as beside one',
  async ({ annotate }) => {
    // Its worker is played: a run that says much at a steady pace, whatever the machine is doing.
    const database = new Database(stack.database.url);
    const platform = new Runs(database, { dataRoot: stack.dataRoot, leaseMs: 600_000 });
    const id = await stack.submit({ ...LONG, seed: 3200 });
    const token = await platform.claims.claim({ runId: id, attempt: 1 }, 'played');
    await platform.recorder.begin(token!, null, process.pid);
    let said = 0;
    let pause = PAUSE.measured;
    const stop = new AbortController();
    const work = (async () => {
      while (!stop.signal.aborted) {
        await platform.recorder.record(token!, {
          step: { step: said + STEPS_AT_ONCE, totalSteps: 1_000_000 },
          points: Array.from({ length: 10 * STEPS_AT_ONCE }, (_, i) => ({
            key: i % 10 ? `played/${i % 10}` : 'train/loss',
            step: said + 1 + Math.floor(i / 10),
            value: i,
          })),
          lines: [{ level: 'info', message: `step ${said}` }],
        });
        said += STEPS_AT_ONCE;
        await delay(pause);
      }
    })();
    onTestFinished(async () => {
      stop.abort();
      await work.catch(() => undefined);
      await database.close();
    });
    const resident = async () =>
      Number(/^VmRSS:\s+(\d+)/m.exec(await readFile(`/proc/${narrow.pid}/status`, 'utf8'))![1]) / 1024;
    const transactions = async () =>
      Number(
        (
          await sql.query<{ n: string }>(
            'SELECT xact_commit + xact_rollback AS n FROM pg_stat_database WHERE datname = current_database()',
          )
        ).rows[0]!.n,
      );
    const heard: number[][] = [];
    const endings: Promise<unknown>[] = [];
    const join = (count: number) => {
      for (let i = 0; i < count; i++) {
        const steps: number[] = [];
        heard.push(steps);
        endings.push(
          stack.client.follow(id, {
            onMetrics: (points) => {
              for (const { key, step } of points) if (key === 'train/loss') steps.push(step);
            },
          }),
        );
      }
    };
    /** Until all have heard of so many more steps. */
    const goOn = async (steps: number) => {
      const goal = said + steps;
      await eventually(
        () => {
          if (heard.some((each) => (each.at(-1) ?? 0) < goal))
            throw new Error(
              `expected all to have heard of step ${goal}, the slowest has of ` +
                `${Math.min(...heard.map((each) => each.at(-1) ?? 0))}`,
            );
        },
        { timeoutMs: 120_000 },
      );
    };
    const perSecond = async (steps: number) => {
      const [from, at] = [await transactions(), performance.now()];
      await goOn(steps);
      return ((await transactions()) - from) / ((performance.now() - at) / 1000);
    };
    const submit = (seed: number) => stack.submit({ ...SHORT, seed }, { priority: 0 });
    join(1);
    await goOn(100);
    const alone = await perSecond(400);
    const without = await timesOf(100, (i) => submit(3500 + i));
    join(199);
    await goOn(200);
    const [before, together] = [await resident(), await perSecond(400)];
    const submits = await timesOf(100, (i) => submit(3300 + i));
    pause = PAUSE.else;
    await goOn(2000);
    // The least of some: a collection of garbage may be due at any one moment.
    const sizes: number[] = [];
    for (let i = 0; i < 4; i++) {
      await goOn(100);
      sizes.push(await resident());
    }
    const grown = Math.min(...sizes) - before;
    await annotate(
      `transactions a second with 1 client ${alone.toFixed(0)}, with 200 ${together.toFixed(0)}; submits beside ` +
        `them ${inWords(submits, without)}; the API grew by ` +
        `${grown.toFixed(0)} MiB from ${before.toFixed(0)}`,
    );
    stop.abort();
    await work;
    await platform.leases.succeed(token!, { metrics: {} });
    await Promise.all(endings);
    const { rows } = await sql.query<{ step: number }>(
      `SELECT step FROM metric WHERE run_id = $1 AND key = 'train/loss' ORDER BY step`,
      [id],
    );
    const all = rows.map(({ step }) => step);
    expect(heard).toHaveLength(200);
    for (const steps of heard) expect(steps).toEqual(all);
    expect(together).toBeLessThan(1.5 * alone + 10);
    expect(grown).toBeLessThan(60);
    expect(slowdown(submits, without).p50).toBeLessThan(3);
  },
  400_000,
);
