/** Sweeps on real Postgres: workers are played by this test, the leader by controllers that live for one look each. */
import { SubmitRun, SubmitSweep, type Pretrain, type RunSpec } from '#libs/contracts';
import {
  Database,
  Explanations,
  type RequestError,
  RunStore,
  SweepController,
  SweepExports,
  RunQueries,
  SweepQueries,
  SweepStore,
} from '#libs/platform';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { freshDatabase } from '../support/database.js';
import { knowShapes } from '../support/shapes.js';

const LEASE_MS = 60_000;
const PER_EPOCH = 12;
let home: Awaited<ReturnType<typeof freshDatabase>>;
let database: Database;
let store: RunStore;
let sweeps: SweepStore;
let queries: RunQueries;
let sweepQueries: SweepQueries;

const temperatures = (count: number, from = 0) =>
  Array.from({ length: count }, (_, i) => Number((0.1 + (from + i) / 100).toFixed(2)));
const sweep = (more: object = {}) =>
  SubmitSweep.parse({
    spec: {
      name: 'sweep',
      stages: {
        pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, epochs: 9 },
        finetune: { kind: 'finetune', dataset: 'shapes', from: 'pretrain', batchSize: 4 },
      },
      parameters: { 'pretrain.temperature': { values: temperatures(12) } },
      ...more,
    },
  });
const alone = {
  stages: { pretrain: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, epochs: 9 } },
  metric: { name: 'eval/knn' },
};

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

/** A leader that lives for one look. */
const tick = () => new SweepController(database, store).tick();

/** How good a pretraining is after so many epochs: rises to what its temperature allows, best at 0.17. */
const knnOf = (spec: Pretrain, epoch: number): number =>
  (0.9 - Math.abs(spec.temperature - 0.17)) * (1 - Math.exp(-epoch / 3));

interface Work {
  epochs: number;
  started: Record<string, number>;
  mostAtOnce: number;
}

/**
 * Takes what is dispatched and works it off, `slots` runs at a time, until nothing is left. `between` is called after
 * each round.
 */
async function work(
  slots: number,
  {
    between = async () => {},
    fails = () => false,
    leader = tick,
    lastly = () => ({ metrics: { 'eval/accuracy': 0.5 } }),
  }: {
    between?: (round: number) => Promise<void>;
    fails?: (spec: RunSpec) => boolean;
    leader?: () => Promise<unknown>;
    lastly?: (pretraining: Pretrain) => { metrics: Record<string, number> };
  } = {},
): Promise<Work> {
  const done: Work = { epochs: 0, started: {}, mostAtOnce: 0 };
  for (let round = 0; ; round++) {
    await leader();
    const offered = await store.takeDispatchable(1000);
    await store.markDispatched(offered);
    done.mostAtOnce = Math.max(
      done.mostAtOnce,
      await database.prisma.run.count({ where: { status: { in: ['queued', 'running'] } } }),
    );
    const jobs = await database.prisma.outbox.findMany({
      where: { run: { status: 'queued' } },
      orderBy: { id: 'asc' },
      take: slots,
    });
    if (jobs.length === 0) {
      if ((await tick()) > 0 && (await database.prisma.run.count({ where: { status: 'queued' } })) > 0) continue;
      await tick();
      return done;
    }
    for (const { runId, attempt } of jobs) {
      const run = await store.claim({ runId, attempt }, 'w');
      if (!run) continue;
      if (run.attempt === 1) done.started[run.spec.kind] = (done.started[run.spec.kind] ?? 0) + 1;
      if (fails(run.spec)) {
        await store.fail(run, 'invalid_data', 'no images');
        continue;
      }
      if (run.spec.kind !== 'pretrain') {
        const parent =
          'from' in run.spec && run.spec.from ? ((await queries.run(run.spec.from))!.spec as Pretrain) : undefined;
        await store.succeed(run, parent ? lastly(parent) : { metrics: { 'eval/accuracy': 0.5 } });
        continue;
      }
      const { epochs } = run.spec;
      let epoch = (run.checkpoints[0]?.step ?? 0) / PER_EPOCH;
      await store.begin(run, epoch * PER_EPOCH, 1);
      for (;;) {
        epoch++;
        done.epochs++;
        const step = epoch * PER_EPOCH;
        const value = knnOf(run.spec, epoch);
        await store.record(run, {
          step: { step, totalSteps: epochs * PER_EPOCH },
          points: [{ key: 'eval/knn', step, value }],
        });
        if (epoch === epochs) {
          await store.succeed(run, { metrics: { 'eval/knn': value } });
          break;
        }
        if (run.stopAtStep !== null && step >= run.stopAtStep) {
          await store.addArtifact(run, {
            name: 'c',
            kind: 'checkpoint',
            mime: 'application/octet-stream',
            sha256: 'e'.repeat(64),
            sizeBytes: 1,
            step,
          });
          await store.reachRung(run, step);
          break;
        }
        await between(round);
      }
    }
    await between(round);
  }
}

const statuses = async (sweepId: string, stage = 'pretrain') => {
  const found = (await sweepQueries.sweep(sweepId))!;
  return Object.fromEntries(
    found.trials.map(({ parameters, runs }) => [
      String(parameters['pretrain.temperature']),
      runs.find((run) => run.stage === stage)?.status,
    ]),
  );
};

describe('nothing is spent twice', () => {
  const factorial = (from: number, more: object = {}) =>
    sweep({ parameters: { 'pretrain.temperature': { values: temperatures(12, from) } }, seeds: 8, ...more });

  test(
    '12 pretrainings and 96 finetunes plan and run as 12 + 96, a few at a time, pretrainings first; half an overlap ' +
      'starts the other half',
    async () => {
      const plan = await sweeps.plan(factorial(0, { parallel_trials: 5 }));
      expect(plan).toMatchObject({ trials: 96, newRuns: { pretrain: 12, finetune: 96 }, reused: { pretrain: 84 } });
      const { sweepId } = await sweeps.submit(factorial(0, { parallel_trials: 5 }));
      expect((await sweepQueries.sweep(sweepId))!).toMatchObject({
        status: 'running',
        trialCounts: { held: 91, running: 5 },
        runCounts: { queued: 5, pending: 5 },
      });
      const first = await work(5);
      expect(first).toMatchObject({ started: { pretrain: 12, finetune: 96 }, mostAtOnce: 5 });
      expect(await sweepQueries.sweep(sweepId)).toMatchObject({
        status: 'succeeded',
        trialCounts: { succeeded: 96 },
        runCounts: { succeeded: 108 },
      });

      const overlapping = await sweeps.submit(factorial(6));
      expect((await work(1000)).started).toEqual({ pretrain: 6, finetune: 48 });
      expect(await sweepQueries.sweep(overlapping.sweepId)).toMatchObject({
        status: 'succeeded',
        runCounts: { succeeded: 108 },
      });
    },
  );

  test.each([undefined, 3])(
    'two sweeps submitted at one moment share every run (parallel_trials: %s)',
    async (parallel) => {
      const more = parallel ? { parallel_trials: parallel } : {};
      const [one, two] = await Promise.all([
        sweeps.submit(factorial(0, more)),
        sweeps.submit(factorial(0, { ...more, name: 'other' })),
      ]);
      expect((await work(10)).started).toEqual({ pretrain: 12, finetune: 96 });
      for (const { sweepId } of [one, two])
        expect((await sweepQueries.sweep(sweepId))!.runCounts).toEqual({ succeeded: 108 });
    },
  );

  test('a trial that is there already can be refused, or trained anew', async () => {
    const { sweepId } = await sweeps.submit(sweep(alone));
    const error = await sweeps.submit(sweep({ ...alone, on_duplicate: 'reject' })).catch((caught: unknown) => caught);
    expect((error as RequestError).faults[0]).toMatchObject({
      path: ['spec', 'on_duplicate'],
      message: expect.stringMatching(/all runs of trial 0 are there already/) as string,
    });
    const again = await sweeps.submit(sweep({ ...alone, on_duplicate: 'replicate', parallel_trials: 3 }));
    expect((await work(3)).started).toEqual({ pretrain: 24 });
    const runs = async (id: string) => (await sweepQueries.sweep(id))!.trials.map((trial) => trial.runs[0]!.runId);
    expect(new Set([...(await runs(sweepId)), ...(await runs(again.sweepId))]).size).toBe(24);
  });

  test('trials start in the order asked for, where the sweep may run', async () => {
    const requires = { labels: { zone: 'b' }, gpu: { memoryMiB: 4096 } };
    const { sweepId } = await sweeps.submit({
      ...sweep({ ...alone, order_by: ['-pretrain.temperature'], parallel_trials: 1 }),
      requires,
    });
    const started = async () =>
      (await queries.runs({ limit: 10, kind: ['pretrain'], status: undefined })).items.map((run) => [
        (run.spec as Pretrain).temperature,
        run.requires,
      ]);
    expect(await started()).toEqual([[0.21, requires]]);
    await sweeps.change(sweepId, { parallel_trials: 2 });
    expect(await started()).toEqual([
      [0.2, requires],
      [0.21, requires],
    ]);
    await expect(sweeps.submit(sweep({ ...alone, order_by: ['pretrain.epochs'] }))).rejects.toThrow(
      /order_by: expected parameters of pretrain.temperature, got pretrain.epochs/,
    );
  });
});

describe('early stopping', () => {
  const halving = { early_terminate: { type: 'asha', grace_period: 1, reduction_factor: 3 }, parallel_trials: 4 };

  test(
    'by successive halving finds the best in less than half of the epochs, from checkpoints, and stops what hangs ' +
      'on the others',
    async () => {
      const { sweepId } = await sweeps.submit(sweep({ ...halving, seeds: 2 }));
      const done = await work(4);
      expect(done.epochs).toBeLessThan((12 * 9) / 2);
      const found = (await sweepQueries.sweep(sweepId))!;
      expect(found).toMatchObject({ status: 'succeeded', haltReason: null });
      const pretrainings = await statuses(sweepId);
      expect(pretrainings['0.17']).toBe('succeeded');
      expect(Object.values(pretrainings).filter((status) => status === 'succeeded').length).toBeLessThan(7);
      expect(new Set(found.trials.map(({ status }) => status))).toEqual(new Set(['succeeded', 'early_stopped']));
      expect(Object.keys(found.runCounts).sort()).toEqual(['early_stopped', 'succeeded']);
      const stopped = found.trials.find(({ status, runs }) => status === 'early_stopped' && runs.length)!;
      expect(await queries.run(stopped.runs.find(({ stage }) => stage === 'finetune')!.runId)).toMatchObject({
        status: 'early_stopped',
        statusReason: 'parent_early_stopped',
      });
      expect(await queries.run(stopped.runs.find(({ stage }) => stage === 'pretrain')!.runId)).toMatchObject({
        status: 'early_stopped',
        statusReason: 'not_promoted',
        statusDetail: expect.stringMatching(/not among the best at step \d+ by eval\/knn/) as string,
      });
      const rungs = (await sweeps.rungs(sweepId))!;
      expect(rungs).toMatchObject({ policy: 'asha', metric: 'eval/knn', goal: 'maximize' });
      expect(rungs.runs).toHaveLength(12);
      expect(rungs.runs.flatMap(({ trials }) => trials).sort((a, b) => a - b)).toEqual(
        Array.from({ length: 24 }, (_, i) => i),
      );
      for (const { runId, status, rungs: steps, reached } of rungs.runs) {
        expect(steps).toHaveLength(2);
        const decisions = reached.map(({ decision }) => decision);
        if (status === 'succeeded') expect(decisions).toEqual(['promoted', 'promoted']);
        else expect(decisions).toEqual([...Array<string>(reached.length - 1).fill('promoted'), 'stopped']);
        const values = new Map(
          (await queries.metrics(runId, { key: ['eval/knn'], points: 100, since: undefined }))[0]!.points.map(
            ({ step, value }) => [step, value],
          ),
        );
        for (const { step, value } of reached) expect(value).toBe(values.get(step));
      }
      const firsts = rungs.runs.map(({ reached }) => reached[0]!).sort((a, b) => b.value - a.value);
      expect(firsts.slice(0, 3).every(({ decision }) => decision === 'promoted')).toBe(true);
      expect(firsts.at(-1)!.decision).toBe('stopped');
      // No epoch was trained twice.
      expect(
        await database.prisma.metric.count({
          where: { key: 'eval/knn', runId: { in: rungs.runs.map(({ runId }) => runId) } },
        }),
      ).toBe(done.epochs);
    },
  );

  test('comes out the same where the leader dies again and again in the middle of a look, or two look at once', async () => {
    const outcome = async (leader: () => Promise<unknown>) => {
      await database.prisma.$executeRaw`TRUNCATE sweep CASCADE`;
      await database.prisma.$executeRaw`DELETE FROM run WHERE kind <> 'prepare-dataset'`;
      const { sweepId } = await sweeps.submit(sweep({ ...alone, ...halving }));
      const done = await work(4, { leader });
      return { epochs: done.epochs, statuses: await statuses(sweepId) };
    };
    const calm = await outcome(tick);
    class Dying extends RunStore {
      override async insert(): Promise<void> {
        throw new Error('killed');
      }
      override async letOn(): Promise<void> {
        throw new Error('killed');
      }
      override async stopEarly(): Promise<void> {
        throw new Error('killed');
      }
    }
    const dying = new Dying(database, { dataRoot: '/data', leaseMs: LEASE_MS });
    expect(
      await outcome(async () => {
        await new SweepController(database, dying).tick().catch(() => undefined);
        await Promise.all([tick(), tick()]);
      }),
    ).toEqual(calm);
  });

  test('does not stop what a user needs in full, or another sweep', async () => {
    const { sweepId } = await sweeps.submit(sweep({ ...alone, ...halving, parallel_trials: 12 }));
    const worst = SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.1 } });
    let asked = false;
    await work(12, {
      between: async (round) => {
        if (round < 1 || asked) return;
        asked = true;
        expect(await store.submitRun(worst)).toMatchObject({ outcome: 'reused' });
        await sweeps.submit(sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.11] } } }));
      },
    });
    expect(asked).toBe(true);
    expect(await statuses(sweepId)).toMatchObject({
      '0.1': 'succeeded',
      '0.11': 'succeeded',
      '0.12': 'early_stopped',
      '0.17': 'succeeded',
    });
  });

  test('of too few runs for a promotion trains the best to its end; two sweeps that stop the same runs end', async () => {
    const few = { ...alone, ...halving, parameters: { 'pretrain.temperature': { values: [0.15, 0.17] } } };
    const [one, two] = await Promise.all([sweeps.submit(sweep(few)), sweeps.submit(sweep({ ...few, name: 'other' }))]);
    await work(4);
    for (const { sweepId } of [one, two]) {
      expect((await sweepQueries.sweep(sweepId))!.status).toBe('succeeded');
      expect(await statuses(sweepId)).toEqual({ '0.15': 'early_stopped', '0.17': 'succeeded' });
      const { best, coordinates } = (await sweepQueries.sweepTable(sweepId))!;
      expect(best).toMatchObject({ trial: 1, value: coordinates.lines[1]!.value });
      expect(coordinates.lines.map(({ status, values }) => [status, ...values])).toEqual([
        ['early_stopped', 0.15],
        ['succeeded', 0.17],
      ]);
      // After one epoch and after nine.
      expect(coordinates.lines[0]!.value!).toBeLessThan(coordinates.lines[1]!.value! / 2);
    }
  });

  test('by the median stops a run while it is worked on, and its worker loses it', async () => {
    const { sweepId } = await sweeps.submit(
      sweep({
        ...alone,
        parameters: { 'pretrain.temperature': { values: [0.17, 0.16, 0.18, 0.9] } },
        early_terminate: { type: 'median', grace_period: 2, min_trials: 3 },
      }),
    );
    await work(4, {
      between: async () => {
        await tick();
      },
      fails: () => false,
    }).catch((error: unknown) => {
      expect(String(error)).toMatch(/no longer holds its lease/);
    });
    expect(await statuses(sweepId)).toEqual({
      '0.16': 'succeeded',
      '0.17': 'succeeded',
      '0.18': 'succeeded',
      '0.9': 'early_stopped',
    });
    const run = (await sweepQueries.sweep(sweepId))!.trials[3]!.runs[0]!.runId;
    expect(await queries.runDetail(run)).toMatchObject({
      statusReason: 'below_median',
      attempts: [{ outcome: 'early_stopped' }],
    });
    expect((await sweeps.rungs(sweepId))!.runs.find(({ runId }) => runId === run)).toMatchObject({
      status: 'early_stopped',
      rungs: [],
      trials: [3],
      reached: [{ decision: 'stopped' }],
    });
    await tick();
    expect((await sweepQueries.sweep(sweepId))!.status).toBe('succeeded');
    expect(await sweeps.rungs((await sweeps.submit(sweep({ ...alone, name: 'plain' }))).sweepId)).toBeNull();
  });
});

describe('a search by a model', () => {
  const tpe = (more: object = {}) =>
    sweep({
      ...alone,
      method: 'tpe',
      run_cap: 24,
      parameters: { 'pretrain.temperature': { min: 0.05, max: 1.0, distribution: 'uniform' } },
      seed: 3,
      ...more,
    });
  const drawn = async (sweepId: string) =>
    (await sweepQueries.sweep(sweepId))!.trials.map(({ parameters }) => parameters['pretrain.temperature'] as number);

  test('draws the same trials for a seed however many workers there are, and looks where it is good', async () => {
    expect(await sweeps.plan(tpe())).toMatchObject({ trials: 24, newRuns: { pretrain: 10 } });
    const one = await sweeps.submit(tpe());
    await work(1);
    const trials = await drawn(one.sweepId);
    expect(trials).toHaveLength(24);
    expect(await sweepQueries.sweep(one.sweepId)).toMatchObject({
      status: 'succeeded',
      trialCounts: { succeeded: 24 },
    });
    const distance = (some: number[]) => some.reduce((sum, each) => sum + Math.abs(each - 0.17), 0) / some.length;
    expect(distance(trials.slice(14))).toBeLessThan(distance(trials.slice(0, 10)) / 2);
    await database.prisma.$executeRaw`TRUNCATE sweep CASCADE`;
    await database.prisma.$executeRaw`DELETE FROM run WHERE kind <> 'prepare-dataset'`;
    const two = await sweeps.submit(tpe());
    await work(4);
    expect(await drawn(two.sweepId)).toEqual(trials);
  });

  test('goes by the stage that comes last where two have the metric, and draws what applies alone', async () => {
    // Worse pretrainings finetune better here: going by the pretraining's own value would lead to 0.17.
    const stages = {
      a: { kind: 'evaluate', dataset: 'shapes', from: 'pretrain' },
      pretrain: { ...alone.stages.pretrain, epochs: 1 },
    };
    const parameters = {
      'pretrain.method': { values: ['simclr', 'byol'] },
      'pretrain.temperature': { min: 0.05, max: 1.0, distribution: 'uniform', when: { 'pretrain.method': 'simclr' } },
    };
    const { sweepId } = await sweeps.submit(tpe({ stages, parameters, run_cap: 30, parallel_trials: 1 }));
    await work(1, { lastly: (spec) => ({ metrics: { 'eval/knn': spec.method === 'byol' ? 0 : spec.temperature } }) });
    const { trials, status } = (await sweepQueries.sweep(sweepId))!;
    expect([status, trials.length]).toEqual(['succeeded', 30]);
    for (const { parameters: set } of trials)
      expect(Object.keys(set).sort()).toEqual(
        set['pretrain.method'] === 'byol' ? ['pretrain.method'] : ['pretrain.method', 'pretrain.temperature'],
      );
    expect(trials.filter(({ parameters: set }) => set['pretrain.method'] === 'byol')).toHaveLength(1);
    const later = trials.slice(15).map(({ parameters: set }) => set['pretrain.temperature'] as number);
    expect(later.reduce((sum, each) => sum + each, 0) / later.length).toBeGreaterThan(0.7);
  });

  test('ends where a finite space is exhausted, each trial once', async () => {
    const values = temperatures(14);
    const { sweepId } = await sweeps.submit(
      tpe({ run_cap: 100, method: 'bayes', parameters: { 'pretrain.temperature': { values } } }),
    );
    await work(4);
    expect((await drawn(sweepId)).toSorted((a, b) => a - b)).toEqual(values);
    expect((await sweepQueries.sweep(sweepId))!.status).toBe('succeeded');
  });

  test('together with halving', async () => {
    const { sweepId } = await sweeps.submit(
      tpe({
        early_terminate: { type: 'asha', reduction_factor: 3 },
        label_fractions: [0.5, 1],
        stages: sweep().spec.stages,
        run_cap: 48,
      }),
    );
    const { epochs } = await work(4);
    expect(epochs).toBeLessThan((24 * 9) / 2);
    const found = (await sweepQueries.sweep(sweepId))!;
    expect([found.status, found.trials.length]).toEqual(['succeeded', 48]);
  });
});

describe('live control', () => {
  test('a sweep pauses, takes other limits, goes on and is cancelled', async () => {
    const { sweepId } = await sweeps.submit(sweep({ ...alone, parallel_trials: 2 }));
    const counts = async () => (await sweepQueries.sweep(sweepId))!.trialCounts;
    await sweeps.pause(sweepId);
    expect(await sweepQueries.sweep(sweepId)).toMatchObject({ status: 'paused', trialCounts: { paused: 2, held: 10 } });
    await sweeps.change(sweepId, { parallel_trials: 4 });
    await tick();
    expect(await counts()).toEqual({ paused: 2, held: 10 });
    await sweeps.resume(sweepId);
    await tick();
    expect(await counts()).toEqual({ running: 4, held: 8 });
    await expect(sweeps.resume(sweepId)).rejects.toMatchObject({ code: 'invalid_state' });
    await sweeps.change(sweepId, { parallel_trials: null, run_cap: 6 });
    expect(await counts()).toEqual({ running: 6, held: 6 });
    await sweeps.cancel(sweepId);
    expect(await sweepQueries.sweep(sweepId)).toMatchObject({ status: 'cancelled', runCounts: { cancelled: 6 } });
    await tick();
    expect((await counts()).held).toBe(6);
    await expect(sweeps.change(sweepId, { run_cap: 12 })).rejects.toMatchObject({ code: 'invalid_state' });
  });

  test('what somebody has asked for by name, or a child of, stays when the sweep that started it pauses or is cancelled', async () => {
    const { sweepId } = await sweeps.submit(
      sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.1, 0.2, 0.3] } } }),
    );
    const [asked, parent, own] = (await sweepQueries.sweep(sweepId))!.trials.map(({ runs }) => runs[0]!.runId) as [
      string,
      string,
      string,
    ];
    const request = SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.1 } });
    for (let again = 0; again < 2; again++)
      expect(await store.submitRun(request)).toEqual({ runId: asked, outcome: 'reused' });
    await store.submitRun(
      SubmitRun.parse({ spec: { kind: 'finetune', dataset: 'shapes', from: parent, batchSize: 4 } }),
    );
    const now = async () => Promise.all([asked, parent, own].map(async (id) => (await queries.run(id))!.status));
    await sweeps.pause(sweepId);
    expect(await now()).toEqual(['queued', 'queued', 'paused']);
    await sweeps.resume(sweepId);
    await sweeps.cancel(sweepId);
    expect(await now()).toEqual(['queued', 'queued', 'cancelled']);
    expect((await queries.events(asked, { limit: 10 })).map(({ type }) => type)).toEqual(['submitted', 'asked']);
    // By name it can be cancelled, of course.
    await store.cancel(asked);
    expect((await now())[0]).toBe('cancelled');
  });

  test('a higher cap of a random search draws on from where it was', async () => {
    const random = (cap: number) =>
      sweep({
        ...alone,
        method: 'random',
        run_cap: cap,
        parameters: { 'pretrain.temperature': { min: 0.05, max: 1.0, distribution: 'uniform' } },
      });
    const { sweepId } = await sweeps.submit(random(3));
    await work(3);
    expect((await sweepQueries.sweep(sweepId))!.status).toBe('succeeded');
    await sweeps.change(sweepId, { run_cap: 5 });
    expect(await sweepQueries.sweep(sweepId)).toMatchObject({
      status: 'running',
      trialCounts: { succeeded: 3, running: 2 },
    });
    await work(3);
    const temperaturesOf = async (id: string) =>
      (await sweepQueries.sweep(id))!.trials.map(({ parameters }) => parameters['pretrain.temperature']);
    const again = await sweeps.submit({ ...random(5) });
    expect(await temperaturesOf(sweepId)).toEqual(await temperaturesOf(again.sweepId));
    expect((await sweepQueries.sweep(again.sweepId))!.status).toBe('succeeded');
  });

  test('after too many failures nothing more starts; exactly the failed are retried, and what was held goes on', async () => {
    const { sweepId } = await sweeps.submit(sweep({ seeds: 2, parallel_trials: 3, max_failed_trials: 2 }));
    const bad = new Set([0.1, 0.11, 0.12]);
    await work(3, { fails: (spec) => spec.kind === 'pretrain' && bad.has(spec.temperature) });
    const halted = (await sweepQueries.sweep(sweepId))!;
    expect(halted).toMatchObject({
      status: 'failed',
      haltReason: 'max_failed_trials',
      runCounts: { failed: 3, upstream_failed: 3 },
    });
    expect(halted.trialCounts).toEqual({ failed: 6, held: 18 });
    expect(await sweeps.retry(sweepId)).toMatchObject({ done: 3 });
    expect((await work(3)).started).toEqual({ pretrain: 9, finetune: 24 });
    expect(await sweepQueries.sweep(sweepId)).toMatchObject({
      status: 'succeeded',
      trialCounts: { succeeded: 24 },
      haltReason: null,
    });
  });

  test('a budget that is spent pauses the sweep with its checkpoints, and a higher one lets it go on', async () => {
    const { sweepId } = await sweeps.submit(
      sweep({ ...alone, parallel_trials: 2, budget: { gpu_seconds: 3600, wall_seconds: 86_400 } }),
    );
    await tick();
    expect((await sweepQueries.sweep(sweepId))!.status).toBe('running');
    const [run] = (await sweepQueries.sweep(sweepId))!.trials[0]!.runs;
    await store.claim({ runId: run!.runId, attempt: 1 }, 'w');
    await database.prisma
      .$executeRaw`UPDATE attempt SET started_at = now() - interval '2 hours' WHERE run_id = ${run!.runId}::uuid`;
    await tick();
    const spent = (await sweepQueries.sweep(sweepId))!;
    expect(spent).toMatchObject({
      status: 'paused',
      haltReason: 'budget_gpu_seconds',
      runCounts: { pausing: 1, paused: 1 },
    });
    expect(spent.gpuSeconds).toBeGreaterThan(7199);
    await sweeps.change(sweepId, { budget: { gpu_seconds: 3700 } });
    expect((await sweepQueries.sweep(sweepId))!.status, 'still spent').toBe('paused');
    await sweeps.change(sweepId, { budget: { gpu_seconds: 36_000 } });
    expect(await sweepQueries.sweep(sweepId)).toMatchObject({
      status: 'running',
      haltReason: null,
      runCounts: { running: 1, queued: 1 },
    });
  });

  test('a clone takes what is there and trains the rest', async () => {
    const { sweepId } = await sweeps.submit(sweep(alone));
    await work(12);
    const clone = await sweeps.clone(sweepId, {
      name: 'longer',
      parameters: { 'pretrain.temperature': { values: temperatures(14) } },
    });
    expect(await sweepQueries.sweep(clone.sweepId)).toMatchObject({
      name: 'longer',
      runCounts: { succeeded: 12, queued: 2 },
    });
    await expect(sweeps.clone(sweepId, { metod: 'grid' })).rejects.toMatchObject({ code: 'invalid_request' });
  });

  test.each<[string, object, RegExp]>([
    [
      'a loss while the temperature varies',
      { metric: { name: 'train/loss', goal: 'minimize' } },
      /metric\.name: expected a metric that can be compared between trials.*pretrain\.temperature/,
    ],
    [
      'early stopping by it',
      { early_terminate: { type: 'asha', metric: 'train/contrastive_accuracy' } },
      /early_terminate\.metric: expected a metric that can be compared/,
    ],
    [
      'early stopping without a pretraining',
      {
        stages: { finetune: { kind: 'finetune', dataset: 'shapes', from: null } },
        parameters: {},
        early_terminate: { type: 'asha' },
      },
      /early_terminate: expected one stage of kind pretrain to stop early, there is none/,
    ],
  ])('%s is refused with the field', async (_, more, message) => {
    await expect(sweeps.submit(sweep(more as z.input<typeof SubmitSweep>))).rejects.toThrow(message);
  });
});

test(
  'what a sweep found: differences on the same labels, what each augmentation adds, what matters, and a table for ' +
    'other programs',
  async () => {
    const { sweepId } = await sweeps.submit(
      sweep({
        parameters: {},
        augmentations: { leave_one_out: { of: ['crop', 'flip', 'blur'] } },
        label_fractions: [0.1, 1],
        seeds: 3,
      }),
    );
    const worth = { crop: 0.3, flip: 0.1, blur: 0.02 };
    for (let left = true; left;) {
      left = false;
      for (const { id, attempt, spec } of (
        await queries.runs({ limit: 500, kind: ['pretrain', 'finetune'], status: ['queued'] })
      ).items) {
        left = true;
        const run = (await store.claim({ runId: id, attempt: attempt + 1 }, 'w'))!;
        const parent = 'from' in spec && spec.from ? ((await queries.run(spec.from))!.spec as Pretrain) : undefined;
        const names = Object.keys(parent?.augmentation ?? {}) as (keyof typeof worth)[];
        // Labels make a difference of their own, the same for all combinations.
        await store.succeed(run, {
          metrics:
            spec.kind === 'finetune'
              ? {
                  'eval/accuracy':
                    0.3 +
                    names.reduce((sum, name) => sum + worth[name], 0) +
                    spec.labelSeed / 50 +
                    spec.labelFraction / 10,
                }
              : { 'eval/knn': 0.4 },
          ...(spec.kind === 'finetune' && {
            labels: { count: 400 * spec.labelFraction, sha256: `${spec.labelSeed}`.repeat(64) },
          }),
        });
      }
    }
    const found = (await sweepQueries.sweepTable(sweepId))!;
    expect(found.measure).toBe('eval/accuracy at label fraction 0.1');
    expect(
      found.effects.map(({ name, effect }) => [
        name,
        Number(effect.mean.toFixed(6)),
        effect.n,
        Number(effect.ci95!.toFixed(6)),
      ]),
    ).toEqual([
      ['crop', 0.3, 3, 0],
      ['flip', 0.1, 3, 0],
      ['blur', 0.02, 3, 0],
    ]);
    expect(found.importance[0]!.parameter).toBe('pretrain.augmentation.crop');
    expect(
      found.rows.map(({ combo, behind }) => [combo, behind['0.1'] ? Number(behind['0.1'].mean.toFixed(6)) : null]),
    ).toEqual([
      ['crop+flip+blur', null],
      ['flip+blur', -0.3],
      ['crop+blur', -0.1],
      ['crop+flip', -0.02],
    ]);
    // Of all augmentations, at the fewest labels, the third seed.
    expect(found.best).toMatchObject({
      trial: 2,
      value: expect.closeTo(0.3 + 0.42 + 0.06 + 0.01, 9) as number,
      parameters: { 'finetune.labelFraction': 0.1, 'finetune.labelSeed': 3 },
      reproduce: `loom reproduce ${found.best!.runId}`,
    });
    expect(await queries.run(found.best!.runId)).toMatchObject({
      kind: 'finetune',
      spec: { labelSeed: 3, labelFraction: 0.1 },
    });
    expect(found.coordinates.axes).toEqual([
      'finetune.labelFraction',
      'finetune.labelSeed',
      'finetune.seed',
      'pretrain.augmentation',
    ]);
    expect(found.coordinates.lines).toHaveLength(24);
    expect(found.coordinates.lines[2]).toEqual({
      trial: 2,
      status: 'succeeded',
      values: [0.1, 3, 3, 'crop+flip+blur'],
      value: found.best!.value,
    });
    expect(found.labels.map(({ dataset: _, ...each }) => each)).toEqual(
      [0.1, 1].flatMap((fraction) =>
        [1, 2, 3].map((seed) => ({ fraction, seed, count: 400 * fraction, sha256: `${seed}`.repeat(64) })),
      ),
    );
    const csv = ((await new SweepExports(sweepQueries, queries).trials(sweepId, 'csv')) as string).split('\r\n');
    expect(csv).toHaveLength(1 + 24 + 1);
    expect(csv[0]).toBe(
      'trial,status,finetune.labelFraction,finetune.labelSeed,finetune.seed,pretrain.augmentation,pretrain:run,pretrain:reused,pretrain:status,pretrain:eval/knn,finetune:run,finetune:reused,finetune:status,finetune:eval/accuracy',
    );
    expect(JSON.parse((await new SweepExports(sweepQueries, queries).trials(sweepId, 'json')) as string)).toHaveLength(
      csv.length - 2,
    );
    expect(csv[1]).toMatch(
      /^0,succeeded,0\.1,1,1,"\{""blur"":.*\}",[0-9a-f-]{36},false,succeeded,0\.4,[0-9a-f-]{36},false,succeeded,0\.75$/,
    );
  },
);

describe('before anything is spent', () => {
  test('a plan says how long it will take, from what such runs took, and what is not known', async () => {
    const wanted = sweep({ ...alone, parallel_trials: 2 });
    expect((await sweeps.plan(wanted)).estimate).toEqual({
      gpuSeconds: 0,
      wallSeconds: null,
      slots: 0,
      basis: {},
      unknown: { pretrain: 12 },
    });
    await sweeps.submit(sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.5, 0.6, 0.7] } } }));
    await work(3);
    // Nine epochs took 90, 180 and 900 s.
    const runs = await database.prisma.run.findMany({ where: { kind: 'pretrain' }, orderBy: { id: 'asc' } });
    for (const [i, { id }] of runs.entries())
      await database.prisma
        .$executeRaw`UPDATE attempt SET started_at = ended_at - make_interval(secs => ${[90, 180, 900][i]!}::float8) WHERE run_id = ${id}::uuid`;
    await store.registerWorker({ id: 'w1', host: 'h', pid: 1, slots: 4, versions: {} });
    await store.setWorkerState('w1', 'running');
    const { estimate } = await sweeps.plan(wanted);
    expect(estimate!.gpuSeconds).toBeCloseTo(12 * 180, 6);
    expect(estimate).toMatchObject({ slots: 4, unknown: {}, basis: { pretrain: { runs: 3 } } });
    expect(estimate!.wallSeconds).toBeCloseTo(6 * 180, 6);
    // A third of the epochs; what halving saves of 12 runs at epochs 1, 3 and 9: 12 + 4·2 + 1·6 epochs of 108.
    const third = sweep({ ...alone, stages: { pretrain: { ...alone.stages.pretrain, epochs: 3 } } });
    expect((await sweeps.plan(third)).estimate!.gpuSeconds).toBeCloseTo(12 * 60, 6);
    expect(
      (await sweeps.plan(sweep({ ...alone, early_terminate: { type: 'asha' } }))).estimate!.gpuSeconds,
    ).toBeCloseTo((12 * 180 * 26) / 108, 6);
    const one = await store.planRun(SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.9 } }));
    expect(one.estimate!.gpuSeconds).toBeCloseTo(180, 6);
    expect(
      (await store.planRun(SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.5 } }))).estimate!
        .gpuSeconds,
    ).toBe(0);
  });

  test('a plan says how much memory runs need, what fits, and which trials do not', async () => {
    const wide = sweep({
      parameters: { 'pretrain.encoder.width': { values: [8, 256] }, 'finetune.labelSeed': { values: [1, 2] } },
    });
    const { memory } = await sweeps.plan(wide);
    expect(memory).toMatchObject({ fits: null, on: null, trials: [] });
    const [small, large] = await Promise.all(
      [8, 256].map(
        async (width) =>
          (await store.planRun(SubmitRun.parse({ spec: { ...alone.stages.pretrain, encoder: { width } } }))).memory!
            .neededMiB!,
      ),
    );
    expect(large!).toBeGreaterThan(small! + 100);
    expect(memory!.neededMiB).toBe(large);
    expect(Object.keys(memory!.kinds).sort()).toEqual(['finetune', 'pretrain']);
    expect(memory!.kinds['finetune']!).toBeLessThan(memory!.kinds['pretrain']!);
    await store.registerWorker({
      id: 'w-host',
      host: 'h',
      pid: 1,
      slots: 2,
      versions: {},
      memoryMiB: 2 * (large! - 10),
    });
    await store.setWorkerState('w-host', 'running');
    expect((await sweeps.plan(wide)).memory).toMatchObject({
      fits: false,
      on: `one of 2 slots of w-host, ${large! - 10} MiB`,
      trials: [2, 3],
    });
    await store.registerWorker({
      id: 'w-gpu',
      host: 'g',
      pid: 1,
      slots: 1,
      versions: {},
      labels: { zone: 'b' },
      gpus: [{ index: 0, uuid: 'u', name: 'NVIDIA H100', memoryMiB: 81_559, driver: '1' }],
    });
    await store.setWorkerState('w-gpu', 'running');
    expect((await sweeps.plan(wide)).memory).toMatchObject({
      fits: true,
      on: 'NVIDIA H100 of w-gpu, 81559 MiB',
      trials: [],
    });
    // Where it may not run it does not fit.
    expect((await sweeps.plan({ ...wide, requires: { labels: {}, gpu: { name: 'a100' } } })).memory).toMatchObject({
      fits: null,
      on: null,
    });
    // What is there already needs nothing.
    await sweeps.submit(wide);
    expect((await sweeps.plan(wide)).memory).toMatchObject({ neededMiB: null, kinds: {}, fits: null });
  });

  test('a reuse or a miss is explained field by field', async () => {
    const explanations = new Explanations(database, store);
    const pretrain = (more: object = {}) => SubmitRun.parse({ spec: { ...alone.stages.pretrain, ...more } });
    expect(await explanations.ofSubmission(pretrain())).toMatchObject({
      against: null,
      reused: false,
      reason: 'no other run of kind pretrain is there',
    });
    const { runId } = await store.submitRun(pretrain());
    expect(await explanations.ofSubmission(pretrain())).toMatchObject({
      against: runId,
      reused: true,
      differences: [],
    });
    // What a method does not read makes no difference.
    expect(await explanations.ofSubmission(pretrain({ predictorHidden: 64 }))).toMatchObject({
      against: runId,
      reused: true,
    });
    expect(
      await explanations.ofSubmission(pretrain({ temperature: 0.2, augmentation: { crop: { minArea: 0.5 } } })),
    ).toMatchObject({
      against: runId,
      reused: false,
      differences: expect.arrayContaining([
        { field: 'temperature', here: 0.2, there: 0.1 },
        { field: 'augmentation.crop.minArea', here: 0.5, there: 0.2 },
        { field: 'augmentation.flip.p', here: null, there: 0.5 },
      ]) as unknown,
    });
    const other = await store.submitRun(pretrain({ seed: 5 }));
    const [child, cousin] = await Promise.all(
      [runId, other.runId].map((from) =>
        store.submitRun(SubmitRun.parse({ spec: { kind: 'finetune', dataset: 'shapes', from, batchSize: 4 } })),
      ),
    );
    const why = await explanations.ofRun(child!.runId, cousin!.runId);
    expect(why).toMatchObject({
      reused: false,
      reason: '1 field differs: from',
      differences: [
        { field: 'from', here: (await queries.run(runId))!.digest, there: (await queries.run(other.runId))!.digest },
      ],
    });
    expect(await explanations.ofRun(child!.runId)).toMatchObject({ against: cousin!.runId });
    await store.cancel(runId);
    expect(await explanations.ofSubmission(pretrain())).toMatchObject({
      against: runId,
      reused: false,
      reason: expect.stringMatching(/is cancelled and gives no result: retry it/) as string,
      differences: [],
    });
    await database.prisma.$executeRaw`UPDATE run SET digest = ${'f'.repeat(64)} WHERE id = ${other.runId}::uuid`;
    expect((await explanations.ofSubmission(pretrain({ seed: 5 }))).differences).toEqual(
      expect.arrayContaining([{ field: 'code', here: null, there: 'an older version of the training code' }]),
    );
    await expect(
      explanations.ofRun(
        runId,
        runId.replace(/.$/, (last) => (last === '0' ? '1' : '0')),
      ),
    ).rejects.toMatchObject({ code: 'not_found' });
  });
});
