/** Runs of the methods beside those of `specs`: of five steps, to keep them short. */
import { METHODS, MULTI_CROP, type RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { curvesOf, expectSameModel, run, specs, useTinyDataset } from '../../../../tests/support/training-runs.js';
import { readTensors } from '../checkpoint.js';

useTinyDataset();

/** Those that train.spec.ts does not run. */
const others = METHODS.filter((method) => method !== 'simclr' && !(method in specs));
/** What a method logs beside its loss, where that is no accuracy. */
const TERMS: Partial<Record<(typeof METHODS)[number], string>> = {
  swav: 'code_entropy',
  dino: 'teacher_entropy',
  'emp-ssl': 'coding_rate',
};
const FOLLOWED = /^(moco|dino)/;
/** Small views beside large ones, for the methods that learn from both. */
const crops = [
  { augmentation: { crop: {} }, count: 2, size: 12 },
  { augmentation: { crop: { maxArea: 0.5 }, flip: {} }, count: 3, size: 9 },
];
/** Many patches of one size. */
const patches = [{ augmentation: { crop: { minArea: 0.25, maxArea: 0.25 }, flip: {} }, count: 4 }];
const specOf = (method: (typeof METHODS)[number]) =>
  ({
    ...specs['byol'],
    method,
    epochs: 1,
    probe: { maxIterations: 2 },
    ...(MULTI_CROP.includes(method) && { views: crops, prototypes: 10 }),
    ...(method === 'emp-ssl' && { views: patches, patches: { count: 2 } }),
  }) as z.input<typeof RunSpec>;

test('swav with a queue, stopped and resumed, ends in the weights of a whole run, and leaves no tensor', async () => {
  // Three steps fill the queues; from then on they count.
  const spec = { ...specOf('swav'), batchSize: 12, queueSize: 36, swav: { queueFromEpoch: 0 } } as z.input<
    typeof RunSpec
  >;
  const whole = await run(spec);
  const before = tf.memory().numTensors;
  const first = await run(spec, { stopAt: 4 });
  const { tensors } = await readTensors(first.files.get('checkpoint')!);
  const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
  expect(tf.memory().numTensors).toBe(before);
  await expectSameModel(second, whole);
  expect(curvesOf(first, second)).toEqual(curvesOf(whole));
  expect([tensors.get('queue_0')!.shape[0], tensors.get('queue_1')!.shape[0]]).toEqual([36, 36]);
  const late = await run({ ...spec, swav: { queueFromEpoch: 1 } } as z.input<typeof RunSpec>);
  expect(late.metrics['train/loss']).not.toBe(whole.metrics['train/loss']);
}, 120_000);

test('views of several sizes are refused for learnt positions, which are for one', async () => {
  const encoder = { name: 'vit-tiny', width: 4, patch: 4, positions: 'learnt' };
  await expect(run({ ...specOf('dino'), encoder } as z.input<typeof RunSpec>)).rejects.toThrow(
    /expected views of one size for an encoder with learnt positions, .* got 12 x 12, 9 x 9/,
  );
});

describe.each(others)('%s', (method) => {
  // Protects exact resume: losing a worker must not change what a run learns.
  test('stopped and resumed ends in the weights and curves of an uninterrupted run, and leaves no tensor', async () => {
    const spec = specOf(method);
    const whole = await run(spec);
    const before = tf.memory().numTensors;
    const first = await run(spec, { stopAt: 3 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 3 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(second, whole);
    expect(curvesOf(first, second)).toEqual(curvesOf(whole));
    expect(Object.keys(whole.metrics)).toContain(`train/${TERMS[method] ?? 'contrastive_accuracy'}`);
    const { tensors } = await readTensors(first.files.get('checkpoint')!);
    expect(tensors.has('queue')).toBe(method === 'moco-v2' || method === 'nnclr');
    expect([...tensors.keys()].some((key) => key.startsWith('target_'))).toBe(FOLLOWED.test(method));
    expect(tensors.has('centre')).toBe(method === 'dino');
  }, 120_000);
});
