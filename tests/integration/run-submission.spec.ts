import { SubmitSweep, type RunSpec } from '#libs/contracts';
import {
  createLogger,
  Leader,
  RequestError,
  ProjectStore,
  References,
  SweepQueries,
  SweepResults,
  SweepStore,
} from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { beforeAll, describe, expect, inject, test } from 'vitest';
import { openQueue } from '../support/queue.js';
import { eventually } from '../support/eventually.js';

import { claimed, database, platform, pretrain, queries, request, useRuns } from '../support/runs.js';

let projects: ProjectStore;
let sweeps: SweepStore;
let sweepQueries: SweepQueries;

useRuns();
beforeAll(() => {
  projects = new ProjectStore(database);
  sweeps = new SweepStore(database, platform);
  sweepQueries = new SweepQueries(database);
});

describe('submitting', () => {
  test('a repeat with the same key returns the same run, and another request with it is refused', async () => {
    const key = randomUUID();
    const first = await platform.submission.submitRun(pretrain(), key);
    await expect(platform.submission.submitRun(pretrain(), key)).resolves.toEqual({
      runId: first.runId,
      outcome: 'replayed',
    });
    await expect(platform.submission.submitRun(pretrain({ epochs: 2 }), key)).rejects.toMatchObject({
      code: 'idempotency_mismatch',
    });
  });

  test('a key is known again within its project only', async () => {
    await projects.put('team', {});
    const key = randomUUID();
    const ours = await platform.submission.submitRun(pretrain(), key);
    const theirs = { ...pretrain({ epochs: 3 }), project: 'team' };
    const first = await platform.submission.submitRun(theirs, key);
    expect(first).toMatchObject({ outcome: 'created' });
    expect(first.runId).not.toBe(ours.runId);
    await expect(platform.submission.submitRun(theirs, key)).resolves.toEqual({ ...first, outcome: 'replayed' });
  });

  test('equal submits at one moment make one run, and a replicate makes another', async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => platform.submission.submitRun(pretrain())));
    expect(new Set(answers.map(({ runId }) => runId)).size).toBe(1);
    expect(answers.filter(({ outcome }) => outcome === 'created')).toHaveLength(1);
    const again = await platform.submission.submitRun({ ...pretrain(), onDuplicate: 'replicate' });
    expect(again.outcome).toBe('created');
  });

  test('a run that is there takes the name of a submit if it has none, and keeps the one that it has', async () => {
    const { runId } = await platform.submission.submitRun(pretrain({ epochs: 4 }));
    expect(await queries.run(runId)).toMatchObject({ name: null });
    const named = { ...pretrain({ epochs: 4 }), name: 'baseline' };
    expect(await platform.submission.submitRun(named)).toEqual({ runId, outcome: 'reused' });
    const references = new References(database);
    expect(await references.find({ text: 'baseline', type: 'run' })).toMatchObject([{ id: runId, name: 'baseline' }]);
    expect(await platform.submission.submitRun({ ...named, name: 'other' })).toEqual({ runId, outcome: 'reused' });
    expect(await queries.run(runId)).toMatchObject({ name: 'baseline' });
    expect(await references.find({ text: 'other', type: 'run' })).toEqual([]);
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
    const error = await platform.submission.submitRun(request(spec as RunSpec)).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(RequestError);
    expect((error as RequestError).faults.map(({ path }) => path.join('.'))).toContain(field);
    expect(await queries.runCounts()).toEqual(before);
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
      SELECT
        count(*)::int AS trials,
        count(DISTINCT p.run_id)::int AS runs,
        count(DISTINCT r.spec)::int AS specs,
        count(o.id)::int AS messages,
        bool_and(
          (t.parameters->>'pretrain.seed')::int = (r.spec->>'seed')::int
          AND (t.parameters->>'pretrain.temperature')::float8 = (r.spec->>'temperature')::float8) AS fit
      FROM trial t JOIN trial_run p ON p.sweep_id = t.sweep_id AND p.index = t.index
        JOIN run r ON r.id = p.run_id
        LEFT JOIN outbox o ON o.run_id = r.id
      WHERE t.sweep_id = ${sweepId}::uuid`;
    expect(found).toEqual([{ trials: 2500, runs: 2500, specs: 2500, messages: 2500, fit: true }]);
  });

  test('the table compares each trial with the control on the same labels', async () => {
    const { sweepId } = await sweeps.submit(
      sweep('one', { parameters: { 'finetune.labelSeed': { values: [1, 2, 3] } } }),
    );
    const detail = (await sweepQueries.sweep(sweepId))!;
    const finish = async (runId: string, metrics: Record<string, number>) => {
      await platform.leases.succeed(await claimed(runId), { metrics });
    };
    await finish(detail.trials[0]!.runs.find(({ stage }) => stage === 'pretrain')!.runId, { 'eval/knn': 0.4 });
    for (const [index, trial] of detail.trials.entries()) {
      await finish(trial.runs.find(({ stage, control }) => stage === 'finetune' && !control)!.runId, {
        'eval/accuracy': 0.5 + index / 10,
      });
      await finish(trial.runs.find(({ control }) => control)!.runId, { 'eval/accuracy': 0.3 + index / 10 });
    }
    const table = (await new SweepResults(database, sweepQueries).table(sweepId))!;
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
    const leader = new Leader({
      database,
      runs: platform,
      projects,
      queue,
      log: createLogger('test', 'silent'),
      reconcileMs: 200,
    });
    leader.start();
    try {
      const { runId } = await platform.submission.submitRun(pretrain());
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
      () =>
        new Leader({
          database,
          runs: platform,
          projects,
          queue,
          log: createLogger('test', 'silent'),
          reconcileMs: 1000,
        }),
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
