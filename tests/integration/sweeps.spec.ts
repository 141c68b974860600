/** What a sweep spends, and what it found, on real Postgres. */
import { type Pretrain } from '#libs/contracts';
import { SweepExports, type RequestError } from '#libs/platform';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import {
  platform,
  sweeps,
  queries,
  sweepQueries,
  temperatures,
  sweep,
  alone,
  work,
  results,
  useSweeps,
} from '../support/sweeps.js';

useSweeps();

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

  test('trials of one submission wait in the order asked for', async () => {
    await sweeps.submit(sweep({ ...alone, order_by: ['-pretrain.temperature'] }));
    const offered = await platform.outbox.takeDispatchable(1000);
    const waiting = await Promise.all(offered.map(({ runId }) => queries.run(runId)));
    expect(waiting.map((run) => (run!.spec as Pretrain).temperature)).toEqual(temperatures(12).toReversed());
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
        const run = (await platform.claims.claim({ runId: id, attempt: attempt + 1 }, 'w'))!;
        const parent = 'from' in spec && spec.from ? ((await queries.run(spec.from))!.spec as Pretrain) : undefined;
        const names = Object.keys(parent?.augmentation ?? {}) as (keyof typeof worth)[];
        // Labels make a difference of their own, the same for all combinations.
        await platform.leases.succeed(run, {
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
    const found = (await results.table(sweepId))!;
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
    const csv = (await text((await new SweepExports(sweepQueries, queries).trials(sweepId, 'csv'))!)).split('\r\n');
    expect(csv).toHaveLength(1 + 24 + 1);
    expect(csv[0]).toBe(
      'trial,status,finetune.labelFraction,finetune.labelSeed,finetune.seed,pretrain.augmentation,' +
        'pretrain:run,pretrain:reused,pretrain:status,pretrain:eval/knn,' +
        'finetune:run,finetune:reused,finetune:status,finetune:eval/accuracy',
    );
    expect(
      JSON.parse(await text((await new SweepExports(sweepQueries, queries).trials(sweepId, 'json'))!)),
    ).toHaveLength(csv.length - 2);
    expect(csv[1]).toMatch(
      /^0,succeeded,0\.1,1,1,"\{""blur"":.*\}",[0-9a-f-]{36},false,succeeded,0\.4,[0-9a-f-]{36},false,succeeded,0\.75$/,
    );
  },
);
