/** Runs of the methods beside those of `specs`: of five steps, to keep them short. */
import { METHODS, type RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { curvesOf, expectSameModel, run, specs, useTinyDataset } from '../../../../tests/support/training-runs.js';
import { readTensors } from '../checkpoint.js';

useTinyDataset();

/** Those that train.spec.ts does not run. */
const others = METHODS.filter((method) => method !== 'simclr' && !(method in specs));
const specOf = (method: (typeof METHODS)[number]) =>
  ({ ...specs['byol'], method, epochs: 1, probe: { maxIterations: 2 } }) as z.input<typeof RunSpec>;

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
    expect(Object.keys(whole.metrics)).toContain('train/contrastive_accuracy');
    const { tensors } = await readTensors(first.files.get('checkpoint')!);
    expect(tensors.has('queue')).toBe(method === 'moco-v2' || method === 'nnclr');
    expect([...tensors.keys()].some((key) => key.startsWith('target_'))).toBe(method.startsWith('moco'));
  }, 120_000);
});
