/**
 * What a worker writes is done once, though the answer to it is lost and it is written again; and two transactions that
 * overlap see of each other what they have to.
 */
import { SubmitRun, type RunStatus } from '#libs/contracts';
import { Database, isUnavailable, LeaseLostError, RunQueries, Runs, type Token } from '#libs/platform';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { freshDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { startProxy } from '../support/proxy.js';
import { knowShapes, shapes } from '../support/shapes.js';

let home: Awaited<ReturnType<typeof freshDatabase>>;
let proxy: Awaited<ReturnType<typeof startProxy>>;
/** Straight to Postgres, and by way of the proxy. */
let database: Database;
let distant: Database;
let platform: Runs;
let worker: Runs;
let queries: RunQueries;
const options = { dataRoot: '/data', leaseMs: 60_000 };

beforeAll(async () => {
  home = await freshDatabase();
  proxy = await startProxy(home.url);
  database = new Database(home.url);
  distant = new Database(proxy.url);
  platform = new Runs(database, options);
  worker = new Runs(distant, options);
  queries = new RunQueries(database, options);
});

beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker, idempotency_key CASCADE`;
  await knowShapes(platform);
});

afterAll(async () => {
  await distant.close();
  await proxy.close();
  await database.close();
  await home.drop();
});

const pretrain = (more: object = {}) =>
  SubmitRun.parse({ spec: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, ...more } });
const statusOf = async (id: string): Promise<RunStatus> => (await queries.run(id))!.status;
const begun = async (more: object = {}): Promise<Token> => {
  const { runId } = await platform.submission.submitRun(pretrain(more));
  const claim = (await platform.claims.claim({ runId, attempt: 1 }, 'w'))!;
  await platform.recorder.begin(claim, null, 1);
  return { runId, attempt: 1 };
};
/** Writes, hears nothing of it though it was done, and writes again, as a worker does. */
async function withLostAnswer<Result>(to: string, write: () => Promise<Result>): Promise<Result> {
  proxy.loseAnswerTo(to);
  await expect(write()).rejects.toSatisfy(isUnavailable);
  return write();
}
const checkpoint = (step: number) => ({
  name: `checkpoint-${step}`,
  kind: 'checkpoint',
  mime: 'application/octet-stream',
  sha256: String(step).padStart(64, '0'),
  sizeBytes: 1,
  step,
});
const artifactsOf = async (runId: string) =>
  (await queries.artifacts(runId, { limit: 100 })).items.map(({ name }) => name);

test('an artifact whose COMMIT was not answered is there once, and takes the place of one checkpoint', async () => {
  const token = await begun({ checkpoints: { keepLast: 2 } });
  await worker.recorder.addArtifact(token, checkpoint(10), 1);
  await withLostAnswer('COMMIT', () => worker.recorder.addArtifact(token, checkpoint(20), 2));
  expect(await artifactsOf(token.runId)).toEqual(['checkpoint-10', 'checkpoint-20']);
  const events = await queries.events(token.runId, { limit: 100 });
  expect(events.filter(({ type }) => type === 'artifact')).toHaveLength(2);
  await worker.recorder.addArtifact(token, checkpoint(30), 3);
  expect(await artifactsOf(token.runId)).toEqual(['checkpoint-20', 'checkpoint-30']);
});

test('what an earlier attempt has made already is there once; other bytes, and another step, are more', async () => {
  const token = await begun();
  const picture = { ...checkpoint(10), name: 'reconstructions.png', kind: 'image' };
  const add = (of: Token, more: object) => platform.recorder.addArtifact(of, { ...picture, ...more });
  expect(await add(token, {})).not.toBeNull();
  await platform.leases.release(token);
  const next = (await platform.claims.claim({ runId: token.runId, attempt: 2 }, 'w'))!;
  expect(await add(next, {})).toBeNull();
  expect(await add(next, { sha256: 'b'.repeat(64) })).not.toBeNull();
  expect(await add(next, {})).not.toBeNull();
  expect(await add(next, { step: 20 })).not.toBeNull();
  const { items } = await queries.artifacts(token.runId, { limit: 100 });
  expect(items.map(({ attempt, step }) => [attempt, step])).toEqual([
    [1, 10],
    [2, 10],
    [2, 10],
    [2, 20],
  ]);
  const events = await queries.events(token.runId, { limit: 100 });
  expect(events.filter(({ type }) => type === 'artifact')).toHaveLength(4);
});

test('log lines, events and points whose write was not answered are there once', async () => {
  const token = await begun();
  const progress = {
    step: { step: 1, totalSteps: 10 },
    points: [{ key: 'train/loss', step: 1, value: 0.5 }],
    lines: [{ level: 'info' as const, message: 'going on' }],
    events: [{ type: 'checkpoint_corrupt', data: { step: 0 } }],
  };
  await withLostAnswer('log_line', () => worker.recorder.record(token, progress, 1));
  expect((await queries.logs(token.runId, { limit: 10 })).map(({ message }) => message)).toEqual(['going on']);
  const events = await queries.events(token.runId, { limit: 100 });
  expect(events.filter(({ type }) => type === 'checkpoint_corrupt')).toHaveLength(1);
  await worker.recorder.record(token, { lines: [{ level: 'info', message: 'further' }] }, 2);
  expect(await queries.logs(token.runId, { limit: 10 })).toHaveLength(2);
});

test('the next attempt counts its writes anew, and one of an attempt that is over is lost, not done', async () => {
  const token = await begun();
  await platform.recorder.record(token, { lines: [{ level: 'info', message: 'one' }] }, 7);
  await platform.leases.release(token);
  const next = (await platform.claims.claim({ runId: token.runId, attempt: 2 }, 'w'))!;
  await platform.recorder.record(next, { lines: [{ level: 'info', message: 'two' }] }, 1);
  await expect(
    platform.recorder.record(token, { lines: [{ level: 'info', message: 'one' }] }, 7),
  ).rejects.toBeInstanceOf(LeaseLostError);
  await expect(platform.recorder.addArtifact(token, checkpoint(1), 7)).rejects.toBeInstanceOf(LeaseLostError);
  expect(await queries.logs(token.runId, { limit: 10 })).toHaveLength(2);
});

test('an ending whose COMMIT was not answered is no lost lease', async () => {
  const done = await begun();
  expect(await withLostAnswer('COMMIT', () => worker.leases.succeed(done, { metrics: {} }))).toBe('succeeded');
  const failed = await begun({ seed: 2 });
  expect(await withLostAnswer('COMMIT', () => worker.leases.fail(failed, 'nan_loss', 'no number'))).toBe('failed');
  const repeated = await begun({ seed: 3 });
  expect(await withLostAnswer('COMMIT', () => worker.leases.fail(repeated, 'worker_crash', 'gone'))).toBe('retrying');
  expect((await database.prisma.run.findUnique({ where: { id: repeated.runId } }))!.failures).toBe(1);
  const cancelled = await begun({ seed: 4 });
  await platform.requests.cancel(cancelled.runId);
  expect(await withLostAnswer('COMMIT', () => worker.leases.succeed(cancelled, { metrics: {} }))).toBe('cancelled');
});

test('an attempt that its silence has ended can be ended by nobody else', async () => {
  const token = await begun();
  await database.prisma.$executeRaw`UPDATE run SET lease_until = now() WHERE id = ${token.runId}::uuid`;
  expect(await platform.leases.recoverLost()).toBe(1);
  await expect(platform.leases.succeed(token, { metrics: {} })).rejects.toBeInstanceOf(LeaseLostError);
  await expect(platform.leases.fail(token, 'hung', 'silent')).rejects.toBeInstanceOf(LeaseLostError);
  await expect(platform.leases.release(token)).rejects.toBeInstanceOf(LeaseLostError);
});

test('of two parents that end while neither sees the other, the later queues their child', async () => {
  const [first, second] = [await begun(), await begun({ seed: 2 })];
  const { runId: child } = await platform.submission.submitRun(
    SubmitRun.parse({ spec: { kind: 'finetune', dataset: 'shapes', from: first.runId, batchSize: 32 } }),
  );
  await database.prisma.runDependency.create({ data: { runId: child, parentId: second.runId } });
  // Somebody who writes the same dataset keeps the first from committing, when it has looked at its children already.
  const other = new pg.Client({ connectionString: home.url });
  await other.connect();
  const waiting = async () => {
    const sessions = await database.prisma.$queryRaw<unknown[]>`
      SELECT pid
      FROM pg_stat_activity
      WHERE datname = current_database() AND wait_event_type = 'Lock'`;
    return sessions.length;
  };
  const dataset = { ...shapes, name: 'late' };
  try {
    await other.query('BEGIN');
    await other.query('INSERT INTO dataset (name, digest, manifest, run_id) VALUES ($1, $2, $3, $4)', [
      dataset.name,
      dataset.digest,
      dataset,
      child,
    ]);
    const ends = [platform.leases.succeed(first, { metrics: {}, dataset })];
    await eventually(async () => {
      expect(await waiting()).toBe(1);
    });
    let over = false;
    ends.push(platform.leases.succeed(second, { metrics: {} }).finally(() => (over = true)));
    await eventually(async () => {
      expect(over || (await waiting()) === 2).toBe(true);
    });
    await other.query('ROLLBACK');
    expect(await Promise.all(ends)).toEqual(['succeeded', 'succeeded']);
  } finally {
    await other.end();
  }
  expect(await statusOf(child)).toBe('queued');
  expect(await platform.outbox.startReady()).toBe(0);
});
