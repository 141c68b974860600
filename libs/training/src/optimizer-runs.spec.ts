/** Runs by the settings of optimisers that those of `specs` do not have. */
import type { RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { expectSameModel, run, specs, useTinyDataset, type Outcome } from '../../../tests/support/training-runs.js';

useTinyDataset();

// Protects exact resume: velocities are in the checkpoint, and a rate is that of its step.
test('SGD, clipped, scaled and warmed up over epochs, resumes exactly and leaves no tensor', async () => {
  const spec = {
    ...specs['finetune'],
    steps: 8,
    optimizer: { name: 'sgd', learningRate: 0.02, nesterov: true, scaling: 'linear', clipNorm: 0.5 },
    schedule: { name: 'constant', warmupEpochs: 0.4 },
  } as z.input<typeof RunSpec>;
  const whole = await run(spec);
  const before = tf.memory().numTensors;
  const first = await run(spec, { stopAt: 5 });
  const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
  expect(tf.memory().numTensors).toBe(before);
  await expectSameModel(second, whole);
  const rates = (...outcomes: Outcome[]) =>
    outcomes.flatMap(({ points }) => points.filter(({ key }) => key === 'train/learning_rate'));
  expect(rates(first, second)).toEqual(rates(whole));
  // 10 batches of 9 of the 96 samples an epoch, so 4 steps of warm-up, to 0.02 · 9 / 256.
  const full = (0.02 * 9) / 256;
  rates(whole).forEach(({ value }, step) => expect(value).toBeCloseTo(full * Math.min(1, step / 4), 9));
}, 120_000);
