/**
 * Early stopping on real processes: trainers stop at rungs and go on from their checkpoints, while the leader is
 * killed.
 */
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { writeImageFolder } from '../support/images.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack();
  await writeImageFolder(path.join(stack.dataRoot, 'stripes'), { classes: 4, perClass: 40 });
  stack.startWorker();
  await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'stripes', path: 'stripes', imageSize: 16 }));
}, 90_000);

afterAll(() => stack?.stop());

const killed =
  'four pretrainings at rungs, with a leader that is killed ' + 'in between, spend less than half of the steps';
test(
  killed,
  async () => {
    const { sweep } = await stack.client.submitSweep({
      spec: {
        name: 'halving',
        parallel_trials: 2,
        early_terminate: { type: 'asha', grace_period: 1, reduction_factor: 3 },
        stages: {
          pretrain: {
            kind: 'pretrain',
            dataset: 'stripes',
            batchSize: 32,
            epochs: 9,
            encoder: { width: 4 },
            evalSplit: 'test',
            knn: { k: 5 },
          },
          finetune: {
            kind: 'finetune',
            dataset: 'stripes',
            from: 'pretrain',
            batchSize: 8,
            steps: 5,
            evalSplit: 'test',
          },
        },
        parameters: { 'pretrain.temperature': { values: [0.05, 0.2, 1, 2] } },
      },
    });
    const reached = async (rungs: number) => {
      let found = 0;
      for await (const run of stack.client.eachRun({ sweep: sweep.id, kind: ['pretrain'] }))
        if (run.statusReason === 'rung') found++;
      if (found < rungs) throw new Error(`expected ${rungs} runs at their rung, got ${found}`);
    };
    await eventually(() => reached(1), { timeoutMs: 30_000 });
    await stack.api.kill('SIGKILL');
    const { client } = await stack.startApi();
    const done = await eventually(
      async () => {
        const now = await client.sweep(sweep.id);
        if (now.status === 'running')
          throw new Error(`expected the sweep to end, got ${JSON.stringify([now.trialCounts, now.runCounts])}`);
        return now;
      },
      { timeoutMs: 90_000 },
    );
    expect(done).toMatchObject({ status: 'succeeded', haltReason: null });
    expect(done.trialCounts).toEqual({ early_stopped: 3, succeeded: 1 });
    let steps = 0;
    for await (const { id, status } of client.eachRun({ sweep: sweep.id, kind: ['pretrain'] })) {
      const run = await client.run(id);
      steps += run.step;
      if (status !== 'succeeded') {
        expect([
          run.statusReason,
          run.attempts.at(-1)!.outcome,
          await client.artifacts(id).then(({ items }) => items.filter(({ kind }) => kind === 'checkpoint').length > 0),
        ]).toEqual(['not_promoted', 'rung', true]);
        continue;
      }
      // From each rung on from the checkpoint of that very step.
      const from = run.attempts.map(({ resumedFromStep }) => resumedFromStep);
      expect(from).toEqual(from.toSorted((a, b) => a - b));
      expect(from.length).toBeGreaterThan(1);
      const [loss] = await client.metrics(id, { key: ['eval/knn'], points: 100 });
      expect(loss!.points.map(({ step }) => step)).toEqual(
        Array.from({ length: 10 }, (_, epoch) => (epoch * run.totalSteps!) / 9),
      );
    }
    const [best] = (await client.runs({ sweep: sweep.id, kind: ['pretrain'], status: ['succeeded'] })).items;
    expect(steps).toBeLessThan((4 * best!.totalSteps!) / 2);
    expect((await client.sweepResults(sweep.id)).complete).toBe(true);
  },
  120_000,
);
