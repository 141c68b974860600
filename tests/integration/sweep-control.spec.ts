/** Sweeps that are paused, changed, cancelled and retried while they run, on real Postgres. */
import { SubmitRun, type SubmitSweep } from '#libs/contracts';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { eventually } from '../support/eventually.js';
import {
  database,
  platform,
  sweeps,
  queries,
  sweepQueries,
  temperatures,
  sweep,
  alone,
  tick,
  work,
  useSweeps,
} from '../support/sweeps.js';

useSweeps();

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

  test('one that has come to its end stays as it ended', async () => {
    const { sweepId } = await sweeps.submit(
      sweep({ ...alone, parameters: { 'pretrain.temperature': { values: [0.1, 0.2] } } }),
    );
    await work(2);
    for (const ask of [sweeps.cancel, sweeps.pause])
      await expect(ask.call(sweeps, sweepId)).rejects.toMatchObject({
        code: 'invalid_state',
        message: 'expected a sweep that has not ended, got one that is succeeded',
      });
    expect((await sweepQueries.sweep(sweepId))!.status).toBe('succeeded');
  });

  const stays =
    'what somebody has asked for by name, or a child of, stays ' +
    'when the sweep that started it pauses or is cancelled';
  test(stays, async () => {
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
      expect(await platform.submission.submitRun(request)).toEqual({ runId: asked, outcome: 'reused' });
    await platform.submission.submitRun(
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
    await platform.requests.cancel(asked);
    expect((await now())[0]).toBe('cancelled');
  });

  describe('where one of its runs ends at that moment', () => {
    /** A worker's last word on a run is written, and comes to be known while `act` waits for the run. */
    async function whileItEnds(runId: string, act: () => Promise<unknown>): Promise<void> {
      const acted = database.prisma.$transaction(async (worker) => {
        await worker.$executeRaw`UPDATE run SET status = 'succeeded', finished_at = now() WHERE id = ${runId}::uuid`;
        const acting = act();
        // What comes of it is looked at below, once this is committed.
        acting.catch(() => {});
        await eventually(async () => {
          const [waiting] = await database.prisma.$queryRaw<{ count: number }[]>`
            SELECT count(*)::int AS count
            FROM pg_stat_activity
            WHERE datname = current_database() AND wait_event_type = 'Lock'`;
          expect(waiting!.count).toBeGreaterThan(0);
        });
        return { acting };
      });
      await (
        await acted
      ).acting;
    }
    /** Two of a sweep's runs, of which a worker has taken the first. */
    const twoRuns = async (more: object = {}) => {
      const { sweepId } = await sweeps.submit(sweep({ ...alone, parallel_trials: 2, ...more }));
      const [ending, other] = (await sweepQueries.sweep(sweepId))!.trials.slice(0, 2).map(({ runs }) => runs[0]!.runId);
      await platform.claims.claim({ runId: ending!, attempt: 1 }, 'w');
      return { sweepId, ending: ending!, other: other! };
    };
    const statusOf = async (id: string) => (await queries.run(id))!.status;

    test('it pauses, and the others with it', async () => {
      const { sweepId, ending, other } = await twoRuns();
      await whileItEnds(ending, () => sweeps.pause(sweepId));
      expect((await sweepQueries.sweep(sweepId))!.status).toBe('paused');
      expect([await statusOf(ending), await statusOf(other)]).toEqual(['succeeded', 'paused']);
    });

    test('it goes on, and the others with it', async () => {
      const { sweepId, ending, other } = await twoRuns();
      await sweeps.pause(sweepId);
      expect([await statusOf(ending), await statusOf(other)]).toEqual(['pausing', 'paused']);
      await whileItEnds(ending, () => sweeps.resume(sweepId));
      expect((await sweepQueries.sweep(sweepId))!.status).toBe('running');
      expect([await statusOf(ending), await statusOf(other)]).toEqual(['succeeded', 'queued']);
    });

    test('it pauses for its budget, and goes on with a higher one', async () => {
      const { sweepId, ending, other } = await twoRuns({ budget: { wall_seconds: 3600 } });
      await platform.claims.claim({ runId: other, attempt: 1 }, 'w');
      await database.prisma.$executeRaw`
        UPDATE sweep
        SET created_at = created_at - interval '2 hours'
        WHERE id = ${sweepId}::uuid`;
      await whileItEnds(ending, tick);
      expect(await sweepQueries.sweep(sweepId)).toMatchObject({
        status: 'paused',
        haltReason: 'budget_wall_seconds',
        runCounts: { succeeded: 1, pausing: 1 },
      });
      await whileItEnds(other, () => sweeps.change(sweepId, { budget: { wall_seconds: 86_400 } }));
      expect(await sweepQueries.sweep(sweepId)).toMatchObject({ status: 'running', runCounts: { succeeded: 2 } });
    });
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

  const retried =
    'after too many failures nothing more starts; exactly the failed are retried, ' + 'and what was held goes on';
  test(retried, async () => {
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
    await platform.claims.claim({ runId: run!.runId, attempt: 1 }, 'w');
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
