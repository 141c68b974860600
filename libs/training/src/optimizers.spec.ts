import * as tf from '@tensorflow/tfjs-core';
import { Optimizer as OptimizerSpec } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import { beforeAll, describe, expect, test } from 'vitest';
import { createOptimizer, learningRateAt, type Optimizer } from './optimizers.js';

const p0 = [
  [0.5, -1, 2],
  [1.5, 0.25, -0.75],
];
const g1 = [
  [0.1, 0.2, -0.3],
  [0.4, -0.5, 0.6],
];
const g2 = g1.map((row) => row.map((g) => -0.5 * g + 0.05));

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

const update = (optimizer: Optimizer, gradient: tf.Tensor | tf.Tensor[], learningRate: number, step: number) =>
  tf.tidy(() => {
    optimizer.apply(
      [gradient].flat(),
      optimizer.rates(learningRate, step).map((rate) => tf.scalar(rate)),
    );
  });

function twoSteps(
  spec: OptimizerSpec,
  start: number[] | number[][],
  gradients: (number[] | number[][])[],
  learningRate: number,
): number[] {
  const variable = tf.variable(tf.tensor(start));
  const optimizer = createOptimizer(spec, [{ key: 'p', variable, trainable: true }]);
  gradients.forEach((gradient, step) => update(optimizer, tf.tensor(gradient), learningRate, step));
  const result = [...variable.dataSync()];
  optimizer.dispose();
  variable.dispose();
  return result;
}

describe('LARS', () => {
  const lars = OptimizerSpec.parse({
    name: 'lars',
    learningRate: 0.1,
    momentum: 0.9,
    weightDecay: 0.01,
    trustCoefficient: 0.001,
  });

  test("two steps give the values of SimCLR's lars_optimizer.py", () => {
    const expected = [0.4999369503, -1.0000728763, 2.0000288588, 1.499843179, 0.2501040365, -0.7501852412];
    twoSteps(lars, p0, [g1, g2], 0.1).forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThan(2e-5));
  });

  test('leaves biases without decay and trust: there it is SGD with momentum', () => {
    const [value] = twoSteps(lars, [1], [[0.5], [0.5]], 0.1);
    expect(value).toBeCloseTo(1 - 0.05 - (0.9 * 0.05 + 0.05), 6);
  });
});

describe('Adam', () => {
  test('follows the algorithm of the paper', () => {
    const spec = OptimizerSpec.parse({ name: 'adam', learningRate: 0.1, weightDecay: 0.02 });
    const expected = p0.flat().map((start, i) => {
      let [p, m, v] = [start, 0, 0];
      [g1, g2].forEach((gradients, step) => {
        const g = gradients.flat()[i]!;
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        p -= (0.1 * (m / (1 - 0.9 ** (step + 1)))) / (Math.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-8) + 0.1 * 0.02 * p;
      });
      return p;
    });
    twoSteps(spec, p0, [g1, g2], 0.1).forEach((value, i) => expect(Math.abs(value - expected[i]!)).toBeLessThan(2e-5));
  });

  // By the algorithm of the paper in double precision; a second moment without memory is the last gradient's square.
  test.each([
    { beta1: 0, beta2: 0 },
    { beta1: 0.9, beta2: 0 },
    { beta1: 0, beta2: 1e-6 },
    { beta1: 0.5, beta2: 0.5 },
    { beta1: 0.9, beta2: 0.999 },
  ])('follows it where gradients shrink by 1,000, with betas $beta1 and $beta2', (betas) => {
    const spec = OptimizerSpec.parse({ name: 'adam', ...betas });
    const gradients = [1, 1e-4, 1e-7];
    let [p, m, v] = [0, 0, 0];
    gradients.forEach((g, step) => {
      m = betas.beta1 * m + (1 - betas.beta1) * g;
      v = betas.beta2 * v + (1 - betas.beta2) * g * g;
      p -= (1e-3 * m) / (1 - betas.beta1 ** (step + 1)) / (Math.sqrt(v / (1 - betas.beta2 ** (step + 1))) + 1e-8);
    });
    const [found] = twoSteps(
      spec,
      [0],
      gradients.map((g) => [g]),
      1e-3,
    );
    expect(Math.abs(found! / p - 1)).toBeLessThan(1e-5);
  });

  test('takes a step of the learning rate without any memory', () => {
    const spec = OptimizerSpec.parse({ name: 'adam', beta1: 0, beta2: 0 });
    expect(twoSteps(spec, [0], [[1], [1e-4]], 1e-3)[0]).toBeCloseTo(-0.002, 6);
  });

  test('an update leaves no tensor behind', () => {
    const variable = tf.variable(tf.tensor(p0));
    const optimizer = createOptimizer(OptimizerSpec.parse({ name: 'adam' }), [{ key: 'p', variable, trainable: true }]);
    const gradient = tf.tensor(g1);
    update(optimizer, gradient, 0.1, 0);
    const before = tf.memory().numTensors;
    for (let step = 1; step < 4; step++) update(optimizer, gradient, 0.1, step);
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([variable, gradient]);
    optimizer.dispose();
  });
});

test.each(['adam', 'lars'] as const)('%s moves a weight at its own fraction of the learning rate', (name) => {
  const spec = OptimizerSpec.parse({ name, weightDecay: 0.02 });
  const weights = [0, 1].map((i) => ({ key: `p${i}`, variable: tf.variable(tf.tensor(p0)), trainable: true }));
  const optimizer = createOptimizer(spec, weights, [1, 0.25]);
  [g1, g2].forEach((gradient, step) =>
    tf.tidy(() => {
      update(optimizer, [tf.tensor(gradient), tf.tensor(gradient)], 0.1, step);
    }),
  );
  // Decay is proportional to the rate too.
  const [all, part] = [twoSteps(spec, p0, [g1, g2], 0.1), twoSteps(spec, p0, [g1, g2], 0.025)];
  weights[0]!.variable.dataSync().forEach((value, i) => expect(value).toBeCloseTo(all[i]!, 6));
  weights[1]!.variable.dataSync().forEach((value, i) => expect(value).toBeCloseTo(part[i]!, 6));
  optimizer.dispose();
  tf.dispose(weights.map(({ variable }) => variable));
});

describe('learning rate', () => {
  // SimCLR: n 50,000, batch 512, 100 epochs, 10 of warm-up: 976 and 9,766 steps.
  test.each([
    [0, 0],
    [488, 0.5],
    [976, 1],
    [9766, 0],
  ])("step %i of SimCLR's schedule", (step, expected) => {
    expect(learningRateAt(step, 9766, 1, { name: 'cosine', warmupSteps: 976 })).toBeCloseTo(expected, 9);
  });
  test('is the published value in between, and constant where it is asked to be', () => {
    expect(learningRateAt(4000, 9766, 2, { name: 'cosine', warmupSteps: 976 })).toBeCloseTo(1.4706282499, 9);
    expect(learningRateAt(4000, 9766, 2, { name: 'constant', warmupSteps: 976 })).toBe(2);
  });
});
