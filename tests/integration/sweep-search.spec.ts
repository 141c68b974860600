/** Trials that are drawn from the results of those before, on real Postgres. */
import { describe, expect, test } from 'vitest';
import { database, sweeps, sweepQueries, temperatures, sweep, alone, work, useSweeps } from '../support/sweeps.js';

useSweeps();

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
