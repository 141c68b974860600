/** Encoders learn as a compiled graph, without a leak, and after a stop as if there had been none. */
import type { Encoder, RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { expectSameModel, run, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

const finetune = (encoder: Encoder, steps: number): z.input<typeof RunSpec> => ({
  kind: 'finetune',
  dataset: 'tiny',
  from: null,
  encoder,
  batchSize: 9,
  steps,
  optimizer: { name: 'adam', learningRate: 5e-3 },
});

// Protects exact resume: losing a worker must not change what a run learns.
describe.each<Encoder>([
  { name: 'resnet50', width: 4, stem: 'imagenet' },
  { name: 'vit-tiny', width: 4, patch: 8, stochasticDepth: 0.5 },
])('%o', (encoder) => {
  test('4 steps, stopped at 2 and resumed, end in the very weights, and no tensor stays', async () => {
    const spec = finetune(encoder, 4);
    const whole = await run(spec);
    const before = tf.memory().numTensors;
    const first = await run(spec, { stopAt: 2 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 2 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(second, whole);
  }, 120_000);
});
