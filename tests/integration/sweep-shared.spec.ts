/**
 * Two equal sweeps at one moment on real processes with a trainer that trains nothing: every run is trained once,
 * whoever submits and whoever leads.
 */
import type { RunKind, SubmitSweep } from '#libs/contracts';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { eventually } from '../support/eventually.js';
import { prepareStripes, small } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

const NO_OP = path.resolve(import.meta.dirname, '..', '..', 'dist', 'bench', 'no-op-trainer.js');
let stack: Stack;

beforeAll(async () => {
  // A lease that a busy machine does not cost anybody: each run is to have one attempt.
  stack = await startStack({ environment: { LOOM_LEASE_MS: '20000', LOOM_HEARTBEAT_MS: '1000' } });
  await prepareStripes(stack);
  stack.startWorker({ LOOM_TRAINER: NO_OP, LOOM_SLOTS: '4' });
}, 90_000);

afterAll(() => stack?.stop());

const factorial = (name: string, from: number, more: object = {}): z.input<typeof SubmitSweep> => ({
  spec: {
    name,
    seeds: 8,
    parameters: { 'pretrain.temperature': { values: Array.from({ length: 12 }, (_, i) => (1 + from + i) / 100) } },
    stages: {
      pretrain: { kind: 'pretrain', dataset: 'stripes', batchSize: 8, epochs: 1, ...small },
      finetune: { kind: 'finetune', dataset: 'stripes', from: 'pretrain', batchSize: 4, steps: 5, evalSplit: 'test' },
    },
    ...more,
  },
});

test(
  '12 + 96 runs for two sweeps of 96 trials each, though the leader is killed in the middle; a third that overlaps ' +
    'by half starts the other half',
  async () => {
    const apis = [stack.api, await stack.startApi()];
    const submitted = await Promise.all(
      apis.map(({ client }, i) => client.submitSweep(factorial(`sweep-${i}`, 0, { parallel_trials: 6 }))),
    );
    const ids = submitted.map(({ sweep }) => sweep.id);
    await eventually(
      async () => {
        const { succeeded = 0 } = await stack.client.runCounts({ sweep: ids[0] });
        if (succeeded < 20) throw new Error(`expected 20 runs to be done, got ${succeeded}`);
      },
      { timeoutMs: 60_000 },
    );
    const leads = await Promise.all(
      apis.map(async ({ client }) => /^loom_leader 1$/m.test(await (await fetch(`${client.url}/metrics`)).text())),
    );
    expect(leads.filter(Boolean)).toHaveLength(1);
    await apis[leads.indexOf(true)]!.kill('SIGKILL');
    const { client } = apis[leads.indexOf(false)]!;

    const end = (id: string) =>
      eventually(
        async () => {
          const sweep = await client.sweep(id);
          if (sweep.status === 'running')
            throw new Error(
              'expected the sweep to end, got ' +
                [
                  JSON.stringify([sweep.trialCounts, sweep.runCounts]),
                  ...stack.workers.map((worker) => worker.output().slice(-2000)),
                ].join('\n'),
            );
          return sweep;
        },
        { timeoutMs: 120_000 },
      );
    for (const id of ids)
      expect(await end(id)).toMatchObject({
        status: 'succeeded',
        trialCounts: { succeeded: 96 },
        runCounts: { succeeded: 108 },
      });
    const trained = async (sweep: string[]): Promise<Partial<Record<RunKind, number>>> => {
      const attempts = new Map<string, { kind: RunKind; attempt: number }>();
      for (const id of sweep) for await (const run of client.eachRun({ sweep: id })) attempts.set(run.id, run);
      const again = [...attempts].filter(([, { attempt }]) => attempt !== 1).map(([id]) => client.run(id));
      expect((await Promise.all(again)).map((run) => run.attempts)).toEqual([]);
      return Object.fromEntries(
        [...Map.groupBy(attempts.values(), ({ kind }) => kind)].map(([kind, runs]) => [kind, runs.length]),
      );
    };
    expect(await trained(ids)).toEqual({ pretrain: 12, finetune: 96 });

    const { sweep: third } = await client.submitSweep(factorial('sweep-2', 6));
    expect(third.plan).toMatchObject({ trials: 96, newRuns: { pretrain: 6, finetune: 48 } });
    await end(third.id);
    expect(await trained([...ids, third.id])).toEqual({ pretrain: 18, finetune: 144 });
  },
  300_000,
);
