import { type RunStatus } from '#libs/contracts';
import { LeaseLostError, type Token } from '#libs/platform';
import { describe, expect, test } from 'vitest';

import { claimed, database, platform, pretrain, queries, request, statusOf, useRuns } from '../support/runs.js';

useRuns();

describe('a run and its attempts', () => {
  test('one claim wins, and its token is the only one that writes', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const claims = await Promise.all(
      ['w1', 'w2', 'w3'].map((worker) => platform.claims.claim({ runId, attempt: 1 }, worker)),
    );
    expect(claims.filter(Boolean)).toHaveLength(1);
    const stale: Token = { runId, attempt: 0 };
    await expect(
      platform.recorder.record(stale, { points: [{ key: 'loss', step: 1, value: 1 }] }),
    ).rejects.toBeInstanceOf(LeaseLostError);
    await expect(platform.leases.succeed(stale, { metrics: {} })).rejects.toBeInstanceOf(LeaseLostError);
  });

  test('of checkpoints the newest few stay, the newest best, and those that another run names', async () => {
    const { runId } = await platform.submission.submitRun(pretrain({ checkpoints: { keepLast: 3, keepBest: true } }));
    const token = await claimed(runId);
    const sha256 = (step: number) => String(step).padStart(64, '0');
    const add = (name: string, step: number) =>
      platform.recorder.addArtifact(token, {
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
    await expect(platform.submission.submitRun(request({ ...embed, checkpoint: 9 }))).rejects.toMatchObject({
      code: 'invalid_request',
      faults: [{ path: ['spec', 'checkpoint'], message: expect.stringMatching(/\(1, 2, 3, 4; its .*got 9/) as string }],
    });
    const [child, last] = [
      await platform.submission.submitRun(request({ ...embed, checkpoint: 2 })),
      await platform.submission.submitRun(request(embed)),
    ];
    expect(last.runId).not.toBe(child.runId);
    for (const step of [5, 6, 7]) await add('checkpoint', step);
    await add('best', 6);
    expect(await kept()).toEqual(['best-6', 'checkpoint-2', 'checkpoint-5', 'checkpoint-6', 'checkpoint-7']);

    await platform.leases.succeed(token, { metrics: {} });
    expect([(await claimed(child.runId)).parentCheckpoint, (await claimed(last.runId)).parentCheckpoint]).toEqual([
      sha256(2),
      null,
    ]);
  });

  test('a value for a key and step is there once, and what a dead attempt wrote beyond is superseded', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const first = await claimed(runId);
    await platform.recorder.begin(first, null, 1);
    await platform.recorder.record(first, { points: [1, 2, 3, 4].map((step) => ({ key: 'loss', step, value: step })) });
    await expect.poll(() => platform.leases.recoverLost(), { timeout: 5000 }).toBe(1);
    const second = await claimed(runId, 2);
    await platform.recorder.begin(second, 2, 1);
    await platform.recorder.record(second, { points: [{ key: 'loss', step: 3, value: 30.5 }] });
    await platform.recorder.record(second, { points: [{ key: 'loss', step: 3, value: 31 }] });
    await expect(
      platform.recorder.record(first, { points: [{ key: 'loss', step: 3, value: -1 }] }),
    ).rejects.toBeInstanceOf(LeaseLostError);
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
    const { runId } = await platform.submission.submitRun(pretrain());
    const token = await claimed(runId);
    await platform.recorder.record(token, {
      points: Array.from({ length: 100 }, (_, step) => ({ key: 'loss', step, value: step })),
    });
    const [series] = await queries.metrics(runId, { points: 10, key: undefined });
    expect(series!.points).toHaveLength(10);
    expect(series!.points[0]).toMatchObject({ step: 9, value: 4.5 });
  });

  test('a cancelled run never becomes succeeded', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const token = await claimed(runId);
    await platform.requests.cancel(runId);
    expect(await statusOf(runId)).toBe('cancelling');
    expect((await platform.leases.heartbeat('worker-1', [token])).asked.get(runId)).toBe('cancel');
    expect(await platform.leases.succeed(token, { metrics: {} })).toBe('cancelled');
    expect(await statusOf(runId)).toBe('cancelled');
    await expect(
      platform.requests.cancel(
        (await platform.submission.submitRun(request({ kind: 'prepare-dataset', name: 'y', path: 'y' }))).runId,
      ),
    ).resolves.toBeUndefined();
  });

  test('a run that waits is paused at once, nothing takes it, and its children wait on', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const child = await platform.submission.submitRun(
      request({ kind: 'finetune', dataset: 'shapes', from: runId, batchSize: 8 }),
    );
    await platform.requests.pause(runId);
    await platform.requests.pause(runId);
    expect(await queries.run(runId)).toMatchObject({ status: 'paused', statusReason: 'user_pause' });
    expect(await platform.claims.claim({ runId, attempt: 1 }, 'worker-1')).toBeUndefined();
    expect((await platform.outbox.takeDispatchable(10)).map((each) => each.runId)).not.toContain(runId);
    expect(await statusOf(child.runId)).toBe('pending');
    await expect(platform.requests.pause(child.runId)).rejects.toThrow(
      /is pending: it waits for a parent, pause that one/,
    );
    await platform.requests.resume(runId);
    expect(await queries.run(runId)).toMatchObject({ status: 'queued', statusReason: null });
    await expect(platform.requests.resume(runId)).rejects.toMatchObject({ code: 'invalid_state' });
    expect((await platform.outbox.takeDispatchable(10)).filter((each) => each.runId === runId)).toMatchObject([
      { attempt: 1 },
    ]);
    // A pause outlasts the wait for a repeat.
    expect(await platform.leases.fail(await claimed(runId), 'worker_crash', 'signal')).toBe('retrying');
    await platform.requests.pause(runId);
    expect(await queries.run(runId)).toMatchObject({ status: 'paused', nextStartAt: null });
    await platform.requests.cancel(runId);
    expect([await statusOf(runId), await statusOf(child.runId)]).toEqual(['cancelled', 'upstream_failed']);
    await expect(platform.requests.pause(runId)).rejects.toMatchObject({ code: 'invalid_state' });
  });

  test('a run that is worked on pauses when its worker hands it back, and goes on, uncharged', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const token = await claimed(runId);
    await platform.requests.pause(runId);
    expect(await statusOf(runId)).toBe('pausing');
    expect((await platform.leases.heartbeat('worker-1', [token])).asked.get(runId)).toBe('pause');
    expect(await platform.leases.release(token)).toBe('paused');
    await platform.requests.resume(runId);
    await claimed(runId, 2);
    expect(await queries.runDetail(runId)).toMatchObject({
      status: 'running',
      attempts: [{ outcome: 'paused' }, { outcome: null }],
    });
    expect(await database.prisma.run.findUnique({ where: { id: runId } })).toMatchObject({ failures: 0, losses: 0 });
  });

  test.each<[string, (token: Token) => Promise<unknown>, RunStatus]>([
    ['succeeds', (token) => platform.leases.succeed(token, { metrics: {} }), 'succeeded'],
    ['crashes', (token) => platform.leases.fail(token, 'worker_crash', 'signal'), 'paused'],
    ['has bad data', (token) => platform.leases.fail(token, 'invalid_data', 'no images'), 'failed'],
    [
      'is cancelled',
      async (token) => {
        await platform.requests.cancel(token.runId);
        await platform.leases.release(token);
      },
      'cancelled',
    ],
    ['loses its worker', () => expect.poll(() => platform.leases.recoverLost(), { timeout: 5000 }).toBe(1), 'paused'],
    [
      'is resumed',
      async (token) => {
        await platform.requests.resume(token.runId);
        await platform.recorder.record(token, {});
      },
      'running',
    ],
    [
      'is resumed when its trainer has stopped',
      async (token) => {
        await platform.requests.resume(token.runId);
        await platform.leases.release(token);
      },
      'queued',
    ],
  ])('a run that is to pause and %s', async (_, happens, status) => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const token = await claimed(runId);
    await platform.requests.pause(runId);
    await happens(token);
    expect(await statusOf(runId)).toBe(status);
    if (status !== 'running') await expect(platform.leases.release(token)).rejects.toBeInstanceOf(LeaseLostError);
  });

  test('a crash is repeated after a pause, bad data is not', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    expect(await platform.leases.fail(await claimed(runId), 'worker_crash', 'signal')).toBe('retrying');
    expect(await platform.leases.fail(await claimed(runId, 2), 'invalid_data', 'no images')).toBe('failed');
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
    const parent = await platform.submission.submitRun(pretrain());
    const child = await platform.submission.submitRun(
      request({ kind: 'finetune', dataset: 'shapes', from: parent.runId, batchSize: 8 }),
    );
    const grandchild = await platform.submission.submitRun(
      request({ kind: 'evaluate', dataset: 'shapes', from: child.runId }),
    );
    expect(await statusOf(child.runId)).toBe('pending');
    await platform.leases.fail(await claimed(parent.runId), 'nan_loss', 'diverged');
    expect([await statusOf(child.runId), await statusOf(grandchild.runId)]).toEqual([
      'upstream_failed',
      'upstream_failed',
    ]);
    await expect(platform.requests.retry(child.runId)).rejects.toMatchObject({ code: 'invalid_state' });
    await platform.requests.retry(parent.runId);
    expect([await statusOf(child.runId), await statusOf(grandchild.runId)]).toEqual(['pending', 'pending']);
    await platform.leases.succeed(await claimed(parent.runId, 2), { metrics: {} });
    expect([await statusOf(child.runId), await statusOf(grandchild.runId)]).toEqual(['queued', 'pending']);
  });

  test('events tell the story in order', async () => {
    const { runId } = await platform.submission.submitRun(pretrain());
    const token = await claimed(runId);
    await platform.recorder.addArtifact(token, {
      name: 'm',
      kind: 'model',
      mime: 'application/octet-stream',
      sha256: 'e'.repeat(64),
      sizeBytes: 3,
      step: null,
    });
    await platform.leases.succeed(token, { metrics: { 'eval/knn': 0.5 } });
    const events = await queries.events(runId, { limit: 100 });
    expect(events.map(({ type, data }) => [type, data['status']])).toEqual([
      ['submitted', 'queued'],
      ['status', 'running'],
      ['artifact', undefined],
      ['status', 'succeeded'],
    ]);
  });
});
