/**
 * Row 35: random faults over a fleet while runs come in, and a checker over what was recorded. `npm run soak --
 * --minutes 10 --seed N` is the long form; the seed says which faults come when and on whom.
 */
import type { LoomClient, RunSpec } from '#libs/contracts';
import { Random } from '#libs/data';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { eventually } from '../support/eventually.js';
import { overdue, readHistory, readWorkers, violations } from '../support/history.js';
import { ownPostgres, ownRedis, type OwnServer } from '../support/own-services.js';
import { ownStore, type OwnStore } from '../support/own-store.js';
import { isRunning, type Started } from '../support/processes.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { prepareStripes, pretraining, small } from '../support/small-runs.js';
import { canContain, CONTAINED, CONTAINER, faultsOf } from '../support/soak-faults.js';
import { startStack, type ApiProcess, type Stack } from '../support/stack.js';

const MINUTES = Number(process.env['SOAK_MINUTES'] ?? 1);
const SEED = Number(process.env['SOAK_SEED'] ?? 1);
const RUNS = Math.round(20 * MINUTES);
/** While so many wait none is submitted: a machine that is slower than their clock would never work them off. */
const MOST_WAITING = 30;
const WORKERS = 3;
const APIS = 2;
/** A run that could start may wait for so long: for a worker to start, and for some faults in a row. */
const LONGEST_WAIT_MS = 30_000;

type Way = Proxy & { url: string };
let postgres: OwnServer;
let redis: OwnServer;
let store: OwnStore;
let stack: Stack;
const ways: { postgres: Way; redis: Way }[] = [];

beforeAll(async () => {
  [postgres, redis, store] = await Promise.all([ownPostgres(), ownRedis({ durable: true }), ownStore()]);
  stack = await startStack({
    environment: {
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      LOOM_ARTIFACTS_DIR: store.dir,
      LOOM_CHECKPOINT_SECONDS: '0.3',
      LOOM_NETWORK_TIMEOUT_MS: '2000',
      LOOM_HUNG_MS: '5000',
      LOOM_CANCEL_GRACE_MS: '3000',
      LOOM_LEASE_MS: '2500',
      LOOM_HEARTBEAT_MS: '300',
    },
  });
  await prepareStripes(stack);
  for (let i = 0; i < WORKERS; i++)
    ways.push({ postgres: await startProxy(postgres.url), redis: await startProxy(redis.url) });
}, 120_000);
afterAll(async () => {
  await stack?.stop();
  await Promise.all(ways.flatMap((way) => [way.postgres.close(), way.redis.close()]));
  await Promise.all([postgres?.stop(), redis?.stop(), store?.remove()]);
});

const alive = ({ child }: Started) => child.exitCode === null && child.signalCode === null;

test(
  `#35 random faults for ${MINUTES} minutes over ${WORKERS} workers and ${APIS} APIs, seed ${SEED}: every promise ` +
    'is kept',
  async ({ annotate }) => {
    const chance = Random.seeded(SEED, 'faults');
    const below = (count: number) => Math.floor(chance.uniform(0, count));
    const pick = <T>(items: readonly T[]): T => items[below(items.length)]!;
    const fleet: Started[] = [];
    const apis: ApiProcess[] = [stack.api];
    /** All of one name, as where a host name says nothing. */
    const workerAt = (place: number, more: Record<string, string> = {}, through: readonly string[] = []) =>
      stack.startWorker(
        {
          DATABASE_URL: ways[place]!.postgres.url,
          REDIS_URL: ways[place]!.redis.url,
          LOOM_WORKER_NAME: 'soak',
          ...more,
        },
        through,
      );
    const contains = await canContain();
    const contained = new Set<Started>();
    const startContained = (place: number): Started => {
      // Of the others one at least has trainers that can be killed from here.
      const others = fleet.filter((worker, at) => at !== place && contained.has(worker));
      if (!contains || others.length > 1) return workerAt(place);
      const worker = workerAt(place, { LOOM_WORKER_LABELS: `${CONTAINED}=yes` }, CONTAINER);
      contained.add(worker);
      return worker;
    };
    for (let place = 0; place < WORKERS; place++) fleet.push(workerAt(place));
    while (apis.length < APIS) apis.push(await stack.startApi());
    const anyApi = (): LoomClient => pick(apis).client;

    const accepted: string[] = [];
    const pids = new Set<number>();
    /**
     * Asks until an API has accepted it, with one key: what happened to an answer that was lost is known afterwards.
     */
    async function submit(spec: z.input<typeof RunSpec>): Promise<string> {
      const key = randomUUID();
      return eventually(
        async () => {
          const { run } = await anyApi().submitRun({ spec, onDuplicate: 'replicate' }, key);
          accepted.push(run.id);
          return run.id;
        },
        { timeoutMs: 60_000, intervalMs: 200 },
      );
    }
    const waiting = async (): Promise<number> => {
      const counts = await anyApi()
        .runCounts()
        .catch(() => undefined);
      return (counts?.pending ?? 0) + (counts?.queued ?? 0) + (counts?.retrying ?? 0);
    };
    let submitted = 0;
    const begun = performance.now();
    const until = begun + MINUTES * 60_000;
    // By the clock: where a machine is slow to answer, the next submit is not put off by that too.
    let due = begun;
    async function submitAll(): Promise<void> {
      while (submitted < RUNS && performance.now() < until) {
        if ((await waiting()) >= MOST_WAITING) {
          await delay(500);
          continue;
        }
        const parent = await submit({ ...pretraining(1 + below(6)), seed: 10_000 + submitted });
        if (submitted % 4 === 0)
          await submit({
            kind: 'finetune',
            dataset: 'stripes',
            from: parent,
            labelFraction: 0.25,
            batchSize: 16,
            steps: 20,
            evalSplit: 'test',
          });
        if (submitted % 5 === 0)
          await submit({ kind: 'evaluate', dataset: 'stripes', from: parent, knn: small.knn, evalSplit: 'test' });
        submitted++;
        due += (chance.uniform(0.5, 1.5) * MINUTES * 60_000) / RUNS;
        await delay(Math.max(0, due - performance.now()));
      }
    }

    const direct = new Redis(redis.url, { retryStrategy: () => 100, maxRetriesPerRequest: 1 });
    direct.on('error', () => undefined);
    const queue = new Queue(stack.environment['LOOM_QUEUE']!, { connection: direct });
    queue.on('error', () => undefined);
    const faults = faultsOf({
      postgres,
      redis,
      store,
      ways,
      fleet,
      apis,
      accepted,
      direct,
      queue,
      startContained,
      pick,
      span: () => chance.uniform(500, 4000),
    });
    const counts: Record<string, number> = {};
    let missed = 0;
    async function breakThings(): Promise<void> {
      while (performance.now() < until) {
        const name = pick(Object.keys(faults));
        counts[name] = (counts[name] ?? 0) + 1;
        await faults[name]!().catch(() => missed++);
        for (const { pid } of fleet) pids.add(pid);
        for (const [place, worker] of fleet.entries()) if (!alive(worker)) fleet[place] = workerAt(place);
        for (const [place, api] of apis.entries())
          if (!alive(api)) apis[place] = await stack.startApi({}, [], { waits: false });
        await delay(chance.uniform(500, 3000));
      }
    }
    await Promise.all([submitAll(), breakThings()]);

    const sql = new pg.Client({ connectionString: postgres.url });
    sql.on('error', () => undefined);
    await eventually(() => sql.connect(), { timeoutMs: 20_000 });
    await eventually(
      async () => {
        const { rows } = await sql.query<{ id: string; status: string }>(
          `SELECT id, status FROM run WHERE status NOT IN ('succeeded', 'failed', 'cancelled', 'upstream_failed')`,
        );
        // A resume that was lost with its API has left a run as it was.
        for (const { id, status } of rows)
          if (status === 'paused')
            await anyApi()
              .resumeRun(id)
              .catch(() => undefined);
        if (rows.length)
          throw new Error(
            `expected all runs to end, ${rows.length} have not: ` +
              `${JSON.stringify(rows.slice(0, 5))}\n${fleet.map((worker) => worker.output().slice(-2000)).join('\n')}`,
          );
      },
      { timeoutMs: 300_000, intervalMs: 500 },
    );
    const histories = await readHistory(postgres.url, stack.environment['LOOM_ARTIFACTS_DIR']!);
    const workers = await readWorkers(postgres.url);
    const trainers = await sql.query<{ pid: number; foreign: boolean }>(
      'SELECT trainer_pid AS pid, coalesce(labels ? $1, false) AS foreign FROM attempt LEFT JOIN worker ON ' +
        'worker.id = worker_id WHERE trainer_pid IS NOT NULL',
      [CONTAINED],
    );
    await sql.end();
    await queue.close();
    direct.disconnect();
    for (const { pid } of fleet) pids.add(pid);
    // What stands for a container passes no signal on.
    for (const worker of fleet) await worker.kill(contained.has(worker) ? 'SIGKILL' : 'SIGTERM');
    for (const { pid, foreign } of trainers.rows) if (!foreign) pids.add(pid);
    await eventually(async () => {
      const left = (await Promise.all([...pids].map(async (pid) => ((await isRunning(pid)) ? pid : undefined)))).filter(
        (pid) => pid !== undefined,
      );
      expect(left).toEqual([]);
    });
    const statuses = Map.groupBy(histories, ({ status }) => status);
    const outcomes = [...statuses].map(([status, all]) => `${all.length} ${status}`);
    const happened = Object.entries(counts).map(([name, count]) => `${count} × ${name}`);
    await annotate(
      `${accepted.length} runs accepted, ${outcomes.join(', ')}, ${trainers.rows.length} attempts; faults: ` +
        `${happened.join(', ')}; ${missed} of them could not be done`,
    );
    expect(violations(histories, accepted)).toEqual([]);
    expect(overdue(histories, workers, LONGEST_WAIT_MS)).toEqual([]);
    // A soak in which nothing gets done, or nothing goes wrong, shows nothing.
    expect(statuses.get('succeeded')?.length ?? 0).toBeGreaterThan(accepted.length / 2);
    expect(trainers.rows.length).toBeGreaterThan(accepted.length);
  },
  // After it, what runs has five minutes to end, and says itself what has not.
  MINUTES * 60_000 + 600_000,
);
