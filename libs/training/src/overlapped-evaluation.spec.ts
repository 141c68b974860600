import type { MetricPoint, RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { curvesOf, expectSameModel, run, specs, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

const pretrain = specs['pretrain']!;
type Spec = z.input<typeof RunSpec>;

/** Points in one order, whenever they came. */
const inOrder = (points: MetricPoint[]): MetricPoint[] =>
  points.toSorted((a, b) => a.step - b.step || (a.key < b.key ? -1 : 1));

describe('a run that trains on while it is judged', () => {
  test.each<[string, Spec]>([
    ['labels', specs['finetune']!],
    ['reconstructions', specs['autoencode']!],
    ['a network that follows', specs['byol']!],
    ['averages, which are judged in the place of the weights', { ...pretrain, ema: { decay: 0.9 } } as Spec],
    ['checkpoints each few steps', { ...pretrain, checkpoints: { everySteps: 3 } } as Spec],
    ['the best checkpoint', { ...pretrain, checkpoints: { keepBest: true } } as Spec],
  ])('comes to the same weights, curves and files: %s', async (_, spec) => {
    const [waiting, overlapped] = [await run(spec), await run(spec, { overlaps: true })];
    await expectSameModel(overlapped, waiting);
    expect(inOrder(curvesOf(overlapped))).toEqual(inOrder(curvesOf(waiting)));
    expect(overlapped.stored).toEqual(waiting.stored);
  });

  test('and is stopped meanwhile keeps the step that is judged, and goes on from there', async () => {
    const whole = await run(pretrain);
    // The second sign of life of step 5 comes from its evaluation.
    const first = await run(pretrain, { overlaps: true, stopAt: 5, sign: 2 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 5 });
    // A step was done beside it.
    expect(curvesOf(first).map(({ step }) => step)).toContain(6);
    const second = await run(pretrain, { overlaps: true, checkpoint: first.files.get('checkpoint')! });
    await expectSameModel(second, whole);
    const kept = curvesOf(first).filter(({ step }) => step <= 5);
    expect(inOrder([...kept, ...curvesOf(second)])).toEqual(inOrder(curvesOf(whole)));
  });

  test('and is cancelled meanwhile stores nothing and leaves no tensor behind', async () => {
    await run(pretrain);
    const before = tf.memory().numTensors;
    const { stopped, files } = await run(pretrain, { overlaps: true, stopAt: 5, sign: 2, reason: 'cancel' });
    expect(stopped).toMatchObject({ reason: 'cancel' });
    expect(tf.memory().numTensors).toBe(before);
    expect([...files.keys()].filter((kind) => kind !== 'image')).toEqual([]);
  });

  test('stops at a rung when that evaluation is done', async () => {
    const { stopped, points } = await run(pretrain, { overlaps: true, rung: 6 });
    expect(stopped).toMatchObject({ reason: 'rung', step: 10 });
    expect(points.filter(({ key }) => key === 'eval/knn').map(({ step }) => step)).toEqual([0, 5, 10]);
  });

  test('ends as soon as what is judged ends it, with the step that was judged', async () => {
    const before = tf.memory().numTensors;
    await expect(run({ ...pretrain, collapseBelow: 0.99 } as Spec, { overlaps: true })).rejects.toMatchObject({
      reason: 'collapsed',
      message: expect.stringMatching(/at step 5: all samples look alike/) as string,
    });
    expect(tf.memory().numTensors).toBe(before);
  });
});
