/** Early stopping on real Postgres. */
import { SubmitRun } from '#libs/contracts';
import { Runs, SweepController } from '#libs/platform';
import { describe, expect, test } from 'vitest';
import {
  database,
  platform,
  sweeps,
  queries,
  sweepQueries,
  sweep,
  alone,
  temperatures,
  tick,
  work,
  statuses,
  LEASE_MS,
  results,
  useSweeps,
} from '../support/sweeps.js';

useSweeps();

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

  const whoeverLeads =
    'comes out the same where the leader dies again and again ' + 'in the middle of a look, or two look at once';
  test(whoeverLeads, async () => {
    const outcome = async (leader: () => Promise<unknown>) => {
      await database.prisma.$executeRaw`TRUNCATE sweep CASCADE`;
      await database.prisma.$executeRaw`DELETE FROM run WHERE kind <> 'prepare-dataset'`;
      const { sweepId } = await sweeps.submit(sweep({ ...alone, ...halving }));
      const done = await work(4, { leader });
      return { epochs: done.epochs, statuses: await statuses(sweepId) };
    };
    const calm = await outcome(tick);
    const dying = new Runs(database, { dataRoot: '/data', leaseMs: LEASE_MS });
    const killed = () => Promise.reject(new Error('killed'));
    Object.assign(dying.submission, { insert: killed });
    Object.assign(dying.rungs, { letOn: killed, stopEarly: killed });
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
        expect(await platform.submission.submitRun(worst)).toMatchObject({ outcome: 'reused' });
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

  test('a clone says how many of its runs were stopped early before and are trained anew', async () => {
    const { sweepId } = await sweeps.submit(sweep({ ...alone, ...halving }));
    await work(4);
    const count = async (status: string) =>
      Object.values(await statuses(sweepId)).filter((each) => each === status).length;
    const [stopped, succeeded] = [await count('early_stopped'), await count('succeeded')];
    expect(stopped).toBeGreaterThan(0);
    const again = sweep({ ...alone, ...halving, parameters: { 'pretrain.temperature': { values: temperatures(13) } } });
    const expected = {
      newRuns: { pretrain: stopped + 1 },
      stoppedBefore: { pretrain: stopped },
      existing: { pretrain: succeeded },
      summary:
        `13 trials; new runs: ${stopped + 1} pretrain (${stopped} pretrain of them stopped early before and trained ` +
        `anew); there already: ${succeeded} pretrain`,
    };
    expect(await sweeps.plan(again)).toMatchObject(expected);
    const clone = await sweeps.clone(sweepId, { parameters: again.spec.parameters });
    expect((await sweepQueries.sweep(clone.sweepId))!.plan).toMatchObject(expected);
    expect(await sweeps.plan(sweep({ ...alone, on_duplicate: 'replicate' }))).not.toHaveProperty('stoppedBefore');
    await work(4);
    expect((await sweepQueries.sweep(clone.sweepId))!.status).toBe('succeeded');
    expect(await count('early_stopped'), 'the first sweep stays as it ended').toBe(stopped);
  });

  const sameAgain =
    'a clone with the same trials and the same rule takes what was stopped early as it ended, and trains nothing';
  test(sameAgain, async () => {
    const { sweepId } = await sweeps.submit(sweep({ ...halving, seeds: 2 }));
    await work(4);
    const ofTrials = async (id: string) => (await sweepQueries.sweep(id))!.trials.map(({ status }) => status);
    const ended = await ofTrials(sweepId);
    const decisions = async (id: string) =>
      (await sweeps.rungs(id))!.runs.map(({ trials, reached }) => [trials.toSorted((a, b) => a - b), reached]);
    const stopped = (await sweeps.rungs(sweepId))!.runs.filter(({ status }) => status === 'early_stopped').length;
    expect(stopped).toBeGreaterThan(5);
    const clones = [
      // In another order, so that trials come first whose finetuning was never started.
      (await sweeps.clone(sweepId, { name: 'again', order_by: ['-finetune.seed'], parallel_trials: 3 })).sweepId,
      // All at once, so that those are places too.
      (await sweeps.submit(sweep({ ...halving, seeds: 2, parallel_trials: undefined }))).sweepId,
    ];
    for (const clone of clones) {
      expect(await work(4)).toMatchObject({ epochs: 0, started: {} });
      const found = (await sweepQueries.sweep(clone))!;
      expect(found).toMatchObject({ status: 'succeeded', plan: { newRuns: {} } });
      expect(found.plan.summary).toContain(`${stopped} pretrain`);
      expect(found.plan.summary).toMatch(/^24 trials; new runs: none; there already: .* of them stopped early\)/);
      expect(await ofTrials(clone)).toEqual(ended);
      expect(await decisions(clone)).toEqual(await decisions(sweepId));
      const { best, coordinates } = (await results.table(clone))!;
      const before = (await results.table(sweepId))!;
      expect([best?.trial, coordinates.lines]).toEqual([before.best?.trial, before.coordinates.lines]);
    }
    expect(await ofTrials(sweepId), 'the first sweep stays as it ended').toEqual(ended);
    // By another rule, in full, or asked for by name it is another question.
    const rule = { ...halving.early_terminate, reduction_factor: 2 };
    for (const other of [{ early_terminate: rule }, { early_terminate: undefined }])
      expect(await sweeps.plan(sweep({ ...halving, seeds: 2, ...other }))).toMatchObject({
        stoppedBefore: { pretrain: stopped },
      });
    const worst = SubmitRun.parse({ spec: { ...alone.stages.pretrain, temperature: 0.1 } });
    expect((await platform.submission.planRun(worst)).newRuns).toEqual({ pretrain: 1 });
  });

  test('what a sweep stopped of which a trial failed is trained anew: it may be among the best of all', async () => {
    const { sweepId } = await sweeps.submit(sweep({ ...alone, ...halving }));
    await work(4, { fails: (spec) => spec.kind === 'pretrain' && spec.temperature === 0.2 });
    expect((await sweepQueries.sweep(sweepId))!.status).toBe('failed');
    const stopped = Object.values(await statuses(sweepId)).filter((status) => status === 'early_stopped').length;
    expect(await sweeps.plan(sweep({ ...alone, ...halving }))).toMatchObject({
      newRuns: { pretrain: stopped + 1 },
      stoppedBefore: { pretrain: stopped },
    });
  });

  const tooFew =
    'of too few runs for a promotion trains the best ' + 'to its end; two sweeps that stop the same runs end';
  test(tooFew, async () => {
    const few = { ...alone, ...halving, parameters: { 'pretrain.temperature': { values: [0.15, 0.17] } } };
    const [one, two] = await Promise.all([sweeps.submit(sweep(few)), sweeps.submit(sweep({ ...few, name: 'other' }))]);
    await work(4);
    for (const { sweepId } of [one, two]) {
      expect((await sweepQueries.sweep(sweepId))!.status).toBe('succeeded');
      expect(await statuses(sweepId)).toEqual({ '0.15': 'early_stopped', '0.17': 'succeeded' });
      const { best, coordinates } = (await results.table(sweepId))!;
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
