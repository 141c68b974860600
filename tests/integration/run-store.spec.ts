import { RunFilter, SubmitRun, SubmitSweep, type RunSpec, type RunStatus } from '#libs/contracts';
import {
  ClaimRefusedError,
  createLogger,
  Database,
  Leader,
  LeaseLostError,
  RequestError,
  RunQueries,
  RunStore,
  SweepQueries,
  SweepStore,
  type Token,
} from '#libs/platform';
import { randomUUID } from 'node:crypto';
import type { z } from 'zod';
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { freshDatabase } from '../support/database.js';
import { openQueue } from '../support/queue.js';
import { knowShapes } from '../support/shapes.js';
import { eventually } from '../support/eventually.js';

const LEASE_MS = 600;
let home: Awaited<ReturnType<typeof freshDatabase>>;
let database: Database;
let store: RunStore;
let sweeps: SweepStore;
let queries: RunQueries;
let sweepQueries: SweepQueries;

const request = (spec: z.input<typeof SubmitRun>['spec'], rest: Partial<z.input<typeof SubmitRun>> = {}) =>
  SubmitRun.parse({ spec, ...rest });
const pretrain = (more: object = {}) => request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, ...more });
const statusOf = async (id: string): Promise<RunStatus> => (await queries.run(id))!.status;

async function claimed(runId: string, attempt = 1) {
  const run = await store.claim({ runId, attempt }, 'worker-1');
  if (!run) throw new Error('expected the run to be claimed');
  return run;
}

beforeAll(async () => {
  home = await freshDatabase();
  database = new Database(home.url);
  store = new RunStore(database, { dataRoot: '/data', leaseMs: LEASE_MS });
  sweeps = new SweepStore(database, store);
  queries = new RunQueries(database, { leaseMs: LEASE_MS });
  sweepQueries = new SweepQueries(database);
});

beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker, idempotency_key CASCADE`;
  await knowShapes(store);
});

afterAll(async () => {
  await database.close();
  await home.drop();
});

describe('submitting', () => {
  test('a repeat with the same key returns the same run, and another request with it is refused', async () => {
    const key = randomUUID();
    const first = await store.submitRun(pretrain(), key);
    await expect(store.submitRun(pretrain(), key)).resolves.toEqual({ runId: first.runId, outcome: 'replayed' });
    await expect(store.submitRun(pretrain({ epochs: 2 }), key)).rejects.toMatchObject({ code: 'idempotency_mismatch' });
  });

  test('equal submits at one moment make one run, and a replicate makes another', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => store.submitRun(pretrain())));
    expect(new Set(answers.map(({ runId }) => runId)).size).toBe(1);
    expect(answers.filter(({ outcome }) => outcome === 'created')).toHaveLength(1);
    const again = await store.submitRun({ ...pretrain(), onDuplicate: 'replicate' });
    expect(again.outcome).toBe('created');
  });

  test.each<[string, object, string]>([
    ['a batch larger than the dataset', { kind: 'pretrain', dataset: 'shapes', batchSize: 401 }, 'spec.batchSize'],
    [
      'a label fraction that leaves a class without an example',
      { kind: 'finetune', dataset: 'shapes', from: null, labelFraction: 0.004, batchSize: 2 },
      'spec.labelFraction',
    ],
    [
      'a batch larger than the labelled images',
      { kind: 'finetune', dataset: 'shapes', from: null, labelFraction: 0.1, batchSize: 64 },
      'spec.batchSize',
    ],
    ['an unknown dataset', { kind: 'pretrain', dataset: 'nowhere', batchSize: 32 }, 'spec.dataset'],
    ['an unknown parent', { kind: 'finetune', dataset: 'shapes', from: randomUUID() }, 'spec.from'],
    ['a path that leaves the data root', { kind: 'prepare-dataset', name: 'x', path: '../secrets' }, 'spec.path'],
    ['an absolute path elsewhere', { kind: 'prepare-dataset', name: 'x', path: '/etc' }, 'spec.path'],
  ])('%s is refused with the field, and nothing is queued', async (_, spec, field) => {
    const before = await queries.runCounts();
    const error = await store.submitRun(request(spec as RunSpec)).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(RequestError);
    expect((error as RequestError).faults.map(({ path }) => path.join('.'))).toContain(field);
    expect(await queries.runCounts()).toEqual(before);
  });
});

describe('a run and its attempts', () => {
  test('one claim wins, and its token is the only one that writes', async () => {
    const { runId } = await store.submitRun(pretrain());
    const claims = await Promise.all(['w1', 'w2', 'w3'].map((worker) => store.claim({ runId, attempt: 1 }, worker)));
    expect(claims.filter(Boolean)).toHaveLength(1);
    const stale: Token = { runId, attempt: 0 };
    await expect(store.record(stale, { points: [{ key: 'loss', step: 1, value: 1 }] })).rejects.toBeInstanceOf(
      LeaseLostError,
    );
    await expect(store.succeed(stale, { metrics: {} })).rejects.toBeInstanceOf(LeaseLostError);
  });

  test('of checkpoints the newest few stay, the newest best, and those that another run names', async () => {
    const { runId } = await store.submitRun(pretrain({ checkpoints: { keepLast: 3, keepBest: true } }));
    const token = await claimed(runId);
    const sha256 = (step: number) => String(step).padStart(64, '0');
    const add = (name: string, step: number) =>
      store.addArtifact(token, {
        name: `${name}-${step}.safetensors`,
        kind: 'checkpoint',
        mime: 'x',
        sha256: sha256(step),
        sizeBytes: 1,
        step,
      });
    const kept = async () =>
      (await queries.artifacts(runId, { limit: 100 })).items.map(({ name }) => name.replace('.safetensors', '')).sort();
    for (const step of [1, 2, 3, 4]) await add('checkpoint', step);
    await add('best', 1);
    expect(await kept()).toEqual(['best-1', 'checkpoint-2', 'checkpoint-3', 'checkpoint-4']);

    const embed = { kind: 'embed', dataset: 'shapes', from: runId } as const;
    await expect(store.submitRun(request({ ...embed, checkpoint: 9 }))).rejects.toMatchObject({
      code: 'invalid_request',
      faults: [{ path: ['spec', 'checkpoint'], message: expect.stringMatching(/\(1, 2, 3, 4; its .*got 9/) as string }],
    });
    const [child, last] = [
      await store.submitRun(request({ ...embed, checkpoint: 2 })),
      await store.submitRun(request(embed)),
    ];
    expect(last.runId).not.toBe(child.runId);
    for (const step of [5, 6, 7]) await add('checkpoint', step);
    await add('best', 6);
    expect(await kept()).toEqual(['best-6', 'checkpoint-2', 'checkpoint-5', 'checkpoint-6', 'checkpoint-7']);

    await store.succeed(token, { metrics: {} });
    expect([(await claimed(child.runId)).parentCheckpoint, (await claimed(last.runId)).parentCheckpoint]).toEqual([
      sha256(2),
      null,
    ]);
  });

  test('a value for a key and step is there once, and what a dead attempt wrote beyond the checkpoint is superseded', async () => {
    const { runId } = await store.submitRun(pretrain());
    const first = await claimed(runId);
    await store.begin(first, null, 1);
    await store.record(first, { points: [1, 2, 3, 4].map((step) => ({ key: 'loss', step, value: step })) });
    await expect.poll(() => store.recoverLost(), { timeout: 5000 }).toBe(1);
    const second = await claimed(runId, 2);
    await store.begin(second, 2, 1);
    await store.record(second, { points: [{ key: 'loss', step: 3, value: 30.5 }] });
    await store.record(second, { points: [{ key: 'loss', step: 3, value: 31 }] });
    await expect(store.record(first, { points: [{ key: 'loss', step: 3, value: -1 }] })).rejects.toBeInstanceOf(
      LeaseLostError,
    );
    expect(await queries.metrics(runId, { points: 100, key: undefined })).toEqual([
      {
        key: 'loss',
        points: [
          { step: 1, value: 1, at: expect.any(Date) as Date },
          { step: 2, value: 2, at: expect.any(Date) as Date },
          { step: 3, value: 31, at: expect.any(Date) as Date },
        ],
      },
    ]);
  });

  test('a curve is downsampled to the mean of neighbours', async () => {
    const { runId } = await store.submitRun(pretrain());
    const token = await claimed(runId);
    await store.record(token, {
      points: Array.from({ length: 100 }, (_, step) => ({ key: 'loss', step, value: step })),
    });
    const [series] = await queries.metrics(runId, { points: 10, key: undefined });
    expect(series!.points).toHaveLength(10);
    expect(series!.points[0]).toMatchObject({ step: 9, value: 4.5 });
  });

  test('a cancelled run never becomes succeeded', async () => {
    const { runId } = await store.submitRun(pretrain());
    const token = await claimed(runId);
    await store.cancel(runId);
    expect(await statusOf(runId)).toBe('cancelling');
    expect((await store.heartbeat('worker-1', [token])).asked.get(runId)).toBe('cancel');
    expect(await store.succeed(token, { metrics: {} })).toBe('cancelled');
    expect(await statusOf(runId)).toBe('cancelled');
    await expect(
      store.cancel((await store.submitRun(request({ kind: 'prepare-dataset', name: 'y', path: 'y' }))).runId),
    ).resolves.toBeUndefined();
  });

  test('a run that waits is paused at once, nothing takes it, and its children wait on', async () => {
    const { runId } = await store.submitRun(pretrain());
    const child = await store.submitRun(request({ kind: 'finetune', dataset: 'shapes', from: runId, batchSize: 8 }));
    await store.pause(runId);
    await store.pause(runId);
    expect(await queries.run(runId)).toMatchObject({ status: 'paused', statusReason: 'user_pause' });
    expect(await store.claim({ runId, attempt: 1 }, 'worker-1')).toBeUndefined();
    expect((await store.takeDispatchable(10)).map((each) => each.runId)).not.toContain(runId);
    expect(await statusOf(child.runId)).toBe('pending');
    await expect(store.pause(child.runId)).rejects.toThrow(/is pending: it waits for a parent, pause that one/);
    await store.resume(runId);
    expect(await queries.run(runId)).toMatchObject({ status: 'queued', statusReason: null });
    await expect(store.resume(runId)).rejects.toMatchObject({ code: 'invalid_state' });
    expect((await store.takeDispatchable(10)).filter((each) => each.runId === runId)).toMatchObject([{ attempt: 1 }]);
    // A pause outlasts the wait for a repeat.
    expect(await store.fail(await claimed(runId), 'worker_crash', 'signal')).toBe('retrying');
    await store.pause(runId);
    expect(await queries.run(runId)).toMatchObject({ status: 'paused', nextStartAt: null });
    await store.cancel(runId);
    expect([await statusOf(runId), await statusOf(child.runId)]).toEqual(['cancelled', 'upstream_failed']);
    await expect(store.pause(runId)).rejects.toMatchObject({ code: 'invalid_state' });
  });

  test('a run that is worked on pauses when its worker hands it back, and goes on as the next attempt, uncharged', async () => {
    const { runId } = await store.submitRun(pretrain());
    const token = await claimed(runId);
    await store.pause(runId);
    expect(await statusOf(runId)).toBe('pausing');
    expect((await store.heartbeat('worker-1', [token])).asked.get(runId)).toBe('pause');
    expect(await store.release(token)).toBe('paused');
    await store.resume(runId);
    await claimed(runId, 2);
    expect(await queries.runDetail(runId)).toMatchObject({
      status: 'running',
      attempts: [{ outcome: 'paused' }, { outcome: null }],
    });
    expect(await database.prisma.run.findUnique({ where: { id: runId } })).toMatchObject({ failures: 0, losses: 0 });
  });

  test.each<[string, (token: Token) => Promise<unknown>, RunStatus]>([
    ['succeeds', (token) => store.succeed(token, { metrics: {} }), 'succeeded'],
    ['crashes', (token) => store.fail(token, 'worker_crash', 'signal'), 'paused'],
    ['has bad data', (token) => store.fail(token, 'invalid_data', 'no images'), 'failed'],
    [
      'is cancelled',
      async (token) => {
        await store.cancel(token.runId);
        await store.release(token);
      },
      'cancelled',
    ],
    ['loses its worker', () => expect.poll(() => store.recoverLost(), { timeout: 5000 }).toBe(1), 'paused'],
    [
      'is resumed',
      async (token) => {
        await store.resume(token.runId);
        await store.record(token, {});
      },
      'running',
    ],
    [
      'is resumed when its trainer has stopped',
      async (token) => {
        await store.resume(token.runId);
        await store.release(token);
      },
      'queued',
    ],
  ])('a run that is to pause and %s', async (_, happens, status) => {
    const { runId } = await store.submitRun(pretrain());
    const token = await claimed(runId);
    await store.pause(runId);
    await happens(token);
    expect(await statusOf(runId)).toBe(status);
    if (status !== 'running') await expect(store.release(token)).rejects.toBeInstanceOf(LeaseLostError);
  });

  test('a crash is repeated after a pause, bad data is not', async () => {
    const { runId } = await store.submitRun(pretrain());
    expect(await store.fail(await claimed(runId), 'worker_crash', 'signal')).toBe('retrying');
    expect(await store.fail(await claimed(runId, 2), 'invalid_data', 'no images')).toBe('failed');
    expect(await queries.runDetail(runId)).toMatchObject({
      status: 'failed',
      statusReason: 'invalid_data',
      statusDetail: 'no images',
      attempts: [
        { attempt: 1, outcome: 'failed' },
        { attempt: 2, outcome: 'failed' },
      ],
    });
  });

  test('children wait for their parent, fail with it, and wait again when it is retried', async () => {
    const parent = await store.submitRun(pretrain());
    const child = await store.submitRun(
      request({ kind: 'finetune', dataset: 'shapes', from: parent.runId, batchSize: 8 }),
    );
    const grandchild = await store.submitRun(request({ kind: 'evaluate', dataset: 'shapes', from: child.runId }));
    expect(await statusOf(child.runId)).toBe('pending');
    await store.fail(await claimed(parent.runId), 'nan_loss', 'diverged');
    expect([await statusOf(child.runId), await statusOf(grandchild.runId)]).toEqual([
      'upstream_failed',
      'upstream_failed',
    ]);
    await expect(store.retry(child.runId)).rejects.toMatchObject({ code: 'invalid_state' });
    await store.retry(parent.runId);
    expect([await statusOf(child.runId), await statusOf(grandchild.runId)]).toEqual(['pending', 'pending']);
    await store.succeed(await claimed(parent.runId, 2), { metrics: {} });
    expect([await statusOf(child.runId), await statusOf(grandchild.runId)]).toEqual(['queued', 'pending']);
  });

  test('a worker that was told to drain claims nothing, also before it has heard, and the run goes to another', async () => {
    const register = async (id: string) => {
      await store.registerWorker({ id, host: 'h', pid: 1, slots: 1, versions: {} });
      await store.setWorkerState(id, 'running');
    };
    await register('leaving');
    await register('staying');
    const { runId } = await store.submitRun(pretrain());
    const [offer] = (await store.takeDispatchable(10)).filter((each) => each.runId === runId);
    expect((await store.heartbeat('leaving', [])).drain).toBe(false);
    await store.drainWorker('leaving');
    await expect(store.claim({ runId, attempt: 1 }, 'leaving')).rejects.toBeInstanceOf(ClaimRefusedError);
    // The dispatcher marks what it has added after the worker has refused it.
    await store.markDispatched([offer!]);
    expect(await statusOf(runId)).toBe('queued');
    await eventually(async () => {
      expect((await store.takeDispatchable(10)).map((each) => each.runId)).toContain(runId);
    });
    expect((await store.heartbeat('leaving', [])).drain).toBe(true);
    await store.setWorkerState('leaving', 'running');
    expect((await queries.workers('leaving'))[0]).toMatchObject({ state: 'draining' });
    expect(await store.claim({ runId, attempt: 1 }, 'staying')).toMatchObject({ attempt: 1 });
    await store.setWorkerState('leaving', 'stopped');
    await expect(store.drainWorker('leaving')).rejects.toMatchObject({ code: 'invalid_state' });
    await expect(store.drainWorker('nobody')).rejects.toMatchObject({ code: 'not_found' });
  });

  test('a run that asks for labels is offered as often as a worker that has them is free, and no other can take it', async () => {
    const register = async (id: string, labels: Record<string, string>) => {
      await store.registerWorker({ id, host: 'h', pid: 1, slots: 1, versions: {}, labels });
      await store.setWorkerState(id, 'running');
    };
    const labelled = (seed: number) =>
      request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed }, { requires: { labels: { gpu: 'a100' } } });
    const offered = async () => (await store.takeDispatchable(10)).map((each) => each.runId);
    const held: Token[] = [];
    const whileAlive = async () => {
      await Promise.all([store.heartbeat('fits', held), store.heartbeat('plain', [])]);
      return offered();
    };
    await register('plain', { zone: 'b' });
    const first = (await store.submitRun(labelled(1))).runId;
    const second = (await store.submitRun(labelled(2))).runId;
    expect((await queries.run(first))?.requires).toEqual({ labels: { gpu: 'a100' } });
    expect(await offered()).toEqual([]);
    await expect(store.claim({ runId: first, attempt: 1 }, 'plain')).rejects.toThrow(/lacks gpu=a100/);
    await expect(store.claim({ runId: first, attempt: 1 }, 'unknown')).rejects.toBeInstanceOf(ClaimRefusedError);
    expect(await queries.runDetail(first)).toMatchObject({ status: 'queued', attempts: [] });

    await register('fits', { gpu: 'a100', zone: 'b' });
    // The one that was refused comes again a moment later; of two, one fits.
    await eventually(async () => {
      expect(await whileAlive()).toEqual([first]);
    });
    const token = (await store.claim({ runId: first, attempt: 1 }, 'fits'))!;
    held.push(token);
    expect(await whileAlive()).toEqual([]);
    await store.succeed(token, { metrics: {} });
    expect(await whileAlive()).toEqual([second]);
    // Where a run runs does not change what it is.
    expect(await store.submitRun(pretrain({ seed: 2 }))).toEqual({ runId: second, outcome: 'reused' });
    await eventually(async () => {
      expect(await offered(), 'a worker that is silent is none').toEqual([]);
    });
  });

  test(
    'a run that asks for a GPU by name and memory goes to one that is so, and a GPU on which its trainer died is ' +
      'left while there is another',
    async () => {
      const gpu = (uuid: string, name: string, memoryMiB: number) => ({ index: 0, uuid, name, memoryMiB, driver: '1' });
      const register = async (id: string, gpus: ReturnType<typeof gpu>[]) => {
        await store.registerWorker({ id, host: 'h', pid: 1, slots: Math.max(1, gpus.length), versions: {}, gpus });
        await store.setWorkerState(id, 'running');
      };
      const asks = { requires: { gpu: { name: 'a100', memoryMiB: 40_000 } } };
      const offered = async () => (await store.takeDispatchable(10)).map((each) => each.runId);
      const silent = async () =>
        eventually(async () => {
          expect(await offered()).toEqual([]);
        });
      await register('small', [gpu('GPU-1', 'NVIDIA A100-SXM4-40GB', 30_000), gpu('GPU-2', 'NVIDIA L4', 90_000)]);
      const { runId } = await store.submitRun(
        request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed: 71 }, asks),
      );
      expect((await queries.run(runId))?.requires).toEqual({ labels: {}, ...asks.requires });
      await silent();
      await expect(store.claim({ runId, attempt: 1 }, 'small', ['GPU-1', 'GPU-2'])).rejects.toThrow(
        /no free GPU that is as asked/,
      );

      await register('large', [
        gpu('GPU-3', 'NVIDIA L4', 90_000),
        gpu('GPU-4', 'NVIDIA A100-SXM4-80GB', 80_000),
        gpu('GPU-5', 'NVIDIA A100-SXM4-80GB', 80_000),
      ]);
      const keeps = async () => store.heartbeat('large', []);
      await eventually(async () => {
        await keeps();
        expect(await offered()).toEqual([runId]);
      });
      const first = (await store.claim({ runId, attempt: 1 }, 'large', ['GPU-3', 'GPU-4', 'GPU-5']))!;
      expect(first.gpu).toBe('GPU-4');
      await store.begin(first, null, 1);
      await store.fail(first, 'gpu_error', 'CUDA_ERROR_ECC_UNCORRECTABLE');
      await eventually(async () => {
        await keeps();
        expect(await offered()).toEqual([runId]);
      });
      await expect(store.claim({ runId, attempt: 2 }, 'large', ['GPU-3', 'GPU-4'])).rejects.toThrow(
        /has died on each GPU/,
      );
      await keeps();
      expect((await store.claim({ runId, attempt: 2 }, 'large', ['GPU-4', 'GPU-5']))?.gpu).toBe('GPU-5');
      expect((await queries.runDetail(runId))?.attempts).toMatchObject([
        { gpu: 'GPU-4', outcome: 'failed', reason: 'gpu_error' },
        { gpu: 'GPU-5' },
      ]);
    },
  );

  test('events tell the story in order', async () => {
    const { runId } = await store.submitRun(pretrain());
    const token = await claimed(runId);
    await store.addArtifact(token, {
      name: 'm',
      kind: 'model',
      mime: 'application/octet-stream',
      sha256: 'e'.repeat(64),
      sizeBytes: 3,
      step: null,
    });
    await store.succeed(token, { metrics: { 'eval/knn': 0.5 } });
    const events = await queries.events(runId, { limit: 100 });
    expect(events.map(({ type, data }) => [type, data['status']])).toEqual([
      ['submitted', 'queued'],
      ['status', 'running'],
      ['artifact', undefined],
      ['status', 'succeeded'],
    ]);
  });
});

describe('bulk actions', () => {
  const filter = (more: object) => RunFilter.parse(more);
  const tagged = async (count: number, tags: string[]) => {
    const ids: string[] = [];
    for (let seed = 0; seed < count; seed++)
      ids.push(
        (
          await store.submitRun(
            request({ kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed }, { tags, onDuplicate: 'replicate' }),
          )
        ).runId,
      );
    return ids;
  };

  test('act on what the filter names, say what they left alone and why, and touch nothing else', async () => {
    const ids = await tagged(5, ['x']);
    const [other] = await tagged(1, ['y']);
    await store.cancel(ids[0]!);
    await store.succeed(await claimed(ids[1]!), { metrics: {} });
    await claimed(ids[2]!);
    const pause = { action: 'pause', filter: filter({ tag: 'x' }), cursor: undefined } as const;
    expect(await store.planBulk(pause)).toEqual({ done: 3, skipped: { cancelled: 1, succeeded: 1 }, nextCursor: null });
    expect(await statusOf(ids[3]!)).toBe('queued');
    expect(await store.bulk(pause)).toEqual({ done: 3, skipped: { cancelled: 1, succeeded: 1 }, nextCursor: null });
    expect(await Promise.all(ids.map(statusOf))).toEqual(['cancelled', 'succeeded', 'pausing', 'paused', 'paused']);
    expect(await store.bulk(pause)).toMatchObject({ done: 0, skipped: { pausing: 1, paused: 2 } });
    expect(
      await store.bulk({ action: 'resume', filter: filter({ tag: 'x', status: 'paused' }), cursor: undefined }),
    ).toEqual({ done: 2, skipped: {}, nextCursor: null });
    expect(
      await store.bulk({ action: 'cancel', filter: filter({ status: 'queued,pausing', tag: 'x' }), cursor: undefined }),
    ).toMatchObject({ done: 3 });
    expect(await Promise.all([...ids, other!].map(statusOf))).toEqual([
      'cancelled',
      'succeeded',
      'cancelling',
      'cancelled',
      'cancelled',
      'queued',
    ]);
  });

  test('cancel a family as asked, and retry it parents first', async () => {
    const parent = await store.submitRun(pretrain({ seed: 8 }));
    const child = await store.submitRun(
      request({ kind: 'finetune', dataset: 'shapes', from: parent.runId, batchSize: 8 }),
    );
    const all = { filter: filter({ kind: 'pretrain,finetune' }), cursor: undefined };
    expect(await store.bulk({ action: 'cancel', ...all })).toEqual({ done: 2, skipped: {}, nextCursor: null });
    expect(await statusOf(child.runId)).toBe('cancelled');
    expect(await store.bulk({ action: 'retry', filter: filter({ kind: 'finetune' }), cursor: undefined })).toEqual({
      done: 0,
      skipped: { parent_failed: 1 },
      nextCursor: null,
    });
    expect(await store.bulk({ action: 'retry', ...all })).toEqual({ done: 2, skipped: {}, nextCursor: null });
    expect([await statusOf(parent.runId), await statusOf(child.runId)]).toEqual(['queued', 'pending']);
  });

  test('go through many batches while workers take runs, and each run ends in one state', async () => {
    const count = 130;
    await tagged(count, ['many']);
    const waiting = (await store.takeDispatchable(1000)).slice(0, 40);
    const claims = Promise.all(waiting.map((job) => store.claim(job, 'worker-1')));
    let done = 0;
    // On a busy machine an answer comes before the end.
    for (let cursor: string | undefined | null; cursor !== null;) {
      const result = await store.bulk({
        action: 'cancel',
        filter: filter({ tag: 'many' }),
        cursor: cursor ?? undefined,
      });
      expect(result.skipped).toEqual({});
      done += result.done;
      cursor = result.nextCursor;
    }
    expect(done).toBe(count);
    const taken = (await claims).filter((run) => run !== undefined);
    await Promise.all(taken.map((token) => store.release(token)));
    expect((await queries.runCounts()).cancelled).toBe(count);
    await expect(store.bulk({ action: 'cancel', filter: filter({}), cursor: 'abc' })).rejects.toMatchObject({
      code: 'invalid_request',
    });
  });
});

describe('sweeps', () => {
  const sweep = (name: string, more: object = {}) =>
    SubmitSweep.parse({
      spec: {
        name,
        stages: {
          pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32 },
          finetune: { kind: 'finetune', dataset: 'shapes', from: 'pretrain', batchSize: 4 },
        },
        parameters: {
          'pretrain.augmentation': { values: [{ crop: {} }, { crop: {}, flip: {} }, { crop: {}, blur: {} }] },
          'finetune.labelFraction': { values: [0.01, 0.1] },
        },
        controls: ['scratch'],
        ...more,
      },
    });

  test('trials share pretrainings and controls, within a sweep and between two at one moment', async () => {
    const plan = await sweeps.plan(sweep('one'));
    expect(plan).toMatchObject({
      trials: 6,
      newRuns: { pretrain: 3, finetune: 8 },
      reused: { pretrain: 3, finetune: 4 },
    });
    await Promise.all([sweeps.submit(sweep('one')), sweeps.submit(sweep('two'))]);
    const { items } = await queries.runs({ limit: 100, kind: ['pretrain', 'finetune'], status: undefined });
    expect(items).toHaveLength(11);
  });

  test('one of more runs than a statement takes is there whole, each run with its own spec', async () => {
    const seeds = Array.from({ length: 50 }, (_, i) => i);
    const { sweepId } = await sweeps.submit(
      sweep('many', {
        stages: { pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32 } },
        controls: [],
        metric: { name: 'eval/knn' },
        parameters: {
          'pretrain.seed': { values: seeds },
          'pretrain.temperature': { values: seeds.map((i) => (i + 1) / 100) },
        },
      }),
    );
    const found = await database.prisma.$queryRaw<object[]>`
      SELECT count(*)::int AS trials, count(DISTINCT p.run_id)::int AS runs, count(DISTINCT r.spec)::int AS specs, count(o.id)::int AS messages,
        bool_and((t.parameters->>'pretrain.seed')::int = (r.spec->>'seed')::int AND (t.parameters->>'pretrain.temperature')::float8 = (r.spec->>'temperature')::float8) AS fit
      FROM trial t JOIN trial_run p ON p.sweep_id = t.sweep_id AND p.index = t.index JOIN run r ON r.id = p.run_id LEFT JOIN outbox o ON o.run_id = r.id WHERE t.sweep_id = ${sweepId}::uuid`;
    expect(found).toEqual([{ trials: 2500, runs: 2500, specs: 2500, messages: 2500, fit: true }]);
  });

  test('the table compares each trial with the control on the same labels', async () => {
    const { sweepId } = await sweeps.submit(
      sweep('one', { parameters: { 'finetune.labelSeed': { values: [1, 2, 3] } } }),
    );
    const detail = (await sweepQueries.sweep(sweepId))!;
    const finish = async (runId: string, metrics: Record<string, number>) => {
      await store.succeed(await claimed(runId), { metrics });
    };
    await finish(detail.trials[0]!.runs.find(({ stage }) => stage === 'pretrain')!.runId, { 'eval/knn': 0.4 });
    for (const [index, trial] of detail.trials.entries()) {
      await finish(trial.runs.find(({ stage, control }) => stage === 'finetune' && !control)!.runId, {
        'eval/accuracy': 0.5 + index / 10,
      });
      await finish(trial.runs.find(({ control }) => control)!.runId, { 'eval/accuracy': 0.3 + index / 10 });
    }
    const table = (await sweepQueries.sweepTable(sweepId))!;
    expect(table.complete).toBe(true);
    expect(table.rows).toHaveLength(1);
    const [row] = table.rows;
    expect(row!.knn).toEqual({ mean: 0.4, ci95: null, n: 1 });
    expect(row!.accuracy['1']).toMatchObject({ n: 3 });
    expect(row!.accuracy['1']!.mean).toBeCloseTo(0.6, 10);
    // t(2) · s / √3 with s = 0.1
    expect(row!.accuracy['1']!.ci95).toBeCloseTo((4.303 * 0.1) / Math.sqrt(3), 6);
    expect(row!.gain['1']!.mean).toBeCloseTo(0.2, 10);
    expect(row!.gain['1']!.ci95).toBeCloseTo(0, 6);
  });

  test('a cancel spares what another sweep uses', async () => {
    const one = await sweeps.submit(sweep('one'));
    const two = await sweeps.submit(
      sweep('two', {
        parameters: {
          'pretrain.augmentation': { values: [{ crop: {} }] },
          'finetune.labelFraction': { values: [0.1] },
        },
      }),
    );
    await sweeps.cancel(one.sweepId);
    expect((await sweepQueries.sweep(two.sweepId))!.status).toBe('running');
    expect(Object.keys((await sweepQueries.sweep(two.sweepId))!.runCounts).sort()).toEqual(['pending', 'queued']);
    await sweeps.cancel(two.sweepId);
    expect((await sweepQueries.sweep(one.sweepId))!.status).toBe('cancelled');
  });
});

describe('the leader', () => {
  test('puts into Redis what is queued, and again what Redis has lost', async () => {
    const queue = openQueue({
      redisUrl: inject('redisUrl'),
      queueName: `test-${randomUUID()}`,
      networkTimeoutMs: 20_000,
    });
    const leader = new Leader({ database, store, queue, log: createLogger('test', 'silent'), reconcileMs: 200 });
    leader.start();
    try {
      const { runId } = await store.submitRun(pretrain());
      await eventually(async () => {
        expect((await queue.counts())['wait']).toBe(1);
      });
      expect(await queue.missing([{ runId, attempt: 1 }])).toEqual([]);
      await queue.clear();
      expect(await queue.missing([{ runId, attempt: 1 }])).toHaveLength(1);
      await eventually(
        async () => {
          expect(await queue.missing([{ runId, attempt: 1 }])).toEqual([]);
        },
        { timeoutMs: 20_000 },
      );
      expect(leader.repairs.redispatched).toBe(1);
    } finally {
      await leader.stop();
      await queue.clear();
      await queue.close();
    }
  });

  test('is one at a time, and another takes over', async () => {
    const queue = openQueue({
      redisUrl: inject('redisUrl'),
      queueName: `test-${randomUUID()}`,
      networkTimeoutMs: 20_000,
    });
    const [first, second] = [0, 1].map(
      () => new Leader({ database, store, queue, log: createLogger('test', 'silent'), reconcileMs: 1000 }),
    ) as [Leader, Leader];
    first.start();
    await eventually(() => {
      expect(first.isLeader).toBe(true);
    });
    second.start();
    await first.stop();
    await eventually(() => {
      expect(second.isLeader).toBe(true);
    });
    expect(first.isLeader).toBe(false);
    await second.stop();
    await queue.close();
  });
});
