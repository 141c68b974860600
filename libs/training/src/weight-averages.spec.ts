/** Averages of weights: by their definition, where they count, and through a stop. */
import type { RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import {
  curvesOf,
  expectSameModel,
  run,
  specs,
  useTinyDataset,
  type Outcome,
} from '../../../tests/support/training-runs.js';
import { readTensors } from './checkpoint.js';

useTinyDataset();

type Spec = z.input<typeof RunSpec>;
const PARENT = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
const DECAY = 0.6;
/** Of five steps, with a checkpoint after each. */
const spec = (ema?: object) =>
  ({
    ...specs['pretrain'],
    epochs: 1,
    probe: { maxIterations: 2 },
    checkpoints: { everySteps: 1, keepLast: 100 },
    ...(ema && { ema }),
  }) as Spec;
const tensorsOf = async (file: string) => (await readTensors(file)).tensors;
const checkpoint = (outcome: Outcome, step: number) => tensorsOf(outcome.all.get(`checkpoint-${step}.safetensors`)!);
/** Logged while it trains: what the averages have no part in. */
const learnt = ({ points }: Outcome) => points.filter(({ key }) => key === 'train/loss');

describe('an average of the weights', () => {
  test('is what decay makes of each step, is stored and judged, and what learns is as it is without', async () => {
    const [plain, averaged] = [await run(spec()), await run(spec({ decay: DECAY }))];
    expect(learnt(averaged)).toEqual(learnt(plain));
    const steps = await Promise.all([1, 2, 3, 4].map((step) => checkpoint(averaged, step)));
    for (const [key, { values }] of await checkpoint(plain, 4)) expect(steps[3]!.get(key)!.values, key).toEqual(values);
    const keys = [...steps[0]!.keys()].filter((key) => steps[0]!.has(`ema/${key}`));
    expect(keys.some((key) => key.endsWith('/moving_mean'))).toBe(true);
    const [stored, last] = [await tensorsOf(averaged.files.get('model')!), await tensorsOf(plain.files.get('model')!)];
    expect(keys).toEqual([...last.keys()]);
    for (const key of keys) {
      for (const [i, step] of steps.slice(1).entries())
        expectBlend(step.get(`ema/${key}`)!.values, steps[i]!.get(`ema/${key}`)!.values, step.get(key)!.values);
      // The last step's: the weights that a run without averages stores.
      expectBlend(stored.get(key)!.values, steps[3]!.get(`ema/${key}`)!.values, last.get(key)!.values);
    }
    const judged = await run(
      { kind: 'evaluate', dataset: 'tiny', from: PARENT, knn: { k: 3 }, probe: { maxIterations: 2 } },
      { parentModel: averaged.files.get('model')! },
    );
    expect(judged.metrics['eval/knn']).toBe(averaged.metrics['eval/knn']);
    expect(averaged.metrics['eval/feature_spread']).not.toBe(plain.metrics['eval/feature_spread']);
  }, 60_000);

  test('stopped and resumed is that of an uninterrupted run, and leaves no tensor', async () => {
    const whole = await run(spec({ decay: DECAY }));
    const before = tf.memory().numTensors;
    const first = await run(spec({ decay: DECAY }), { stopAt: 3 });
    const second = await run(spec({ decay: DECAY }), { checkpoint: first.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(second, whole);
    expect(curvesOf(first, second)).toEqual(curvesOf(whole));
  }, 60_000);

  test('is what a checkpoint is evaluated by', async () => {
    const averaged = await run(spec({ decay: DECAY }));
    const parentCheckpoint = averaged.all.get('checkpoint-4.safetensors')!;
    const judge = (ema: boolean) => {
      const given = { kind: 'evaluate', dataset: 'tiny', from: PARENT, checkpoint: 4, knn: { k: 3 } } as const;
      const parentModel = averaged.files.get('model')!;
      return run(
        { ...given, probe: { maxIterations: 2 } },
        ema ? { parentModel, parentCheckpoint } : { parentModel, parentCheckpoint: plainCheckpoint },
      );
    };
    const plainCheckpoint = (await run(spec())).all.get('checkpoint-4.safetensors')!;
    expect((await judge(true)).metrics['train/probe_loss']).not.toBe((await judge(false)).metrics['train/probe_loss']);
  }, 60_000);
});

/** average = DECAY · before + (1 − DECAY) · weight, in float32. */
function expectBlend(average: Float32Array, before: Float32Array, weight: Float32Array): void {
  average.forEach((value, i) =>
    expect(Math.abs(value - (DECAY * before[i]! + (1 - DECAY) * weight[i]!))).toBeLessThan(
      1e-6 * (1 + Math.abs(value)),
    ),
  );
}
