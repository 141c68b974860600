import * as tf from '@tensorflow/tfjs-core';
import { Optimizer as OptimizerSpec, RunSpec, Schedule } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import { beforeAll, describe, expect, test } from 'vitest';
import { createOptimizer, learningRateAt, learningRateOf, type Optimizer } from './optimizers.js';

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

/** Six updates of a matrix and a bias by gradients that shrink, turn and grow; ours and those of PyTorch alike. */
function sixSteps(spec: OptimizerSpec): number[] {
  const weights = [p0, [0.3, -0.2]].map((start, i) => ({
    key: `p${i}`,
    variable: tf.variable(tf.tensor(start)),
    trainable: true,
  }));
  const optimizer = createOptimizer(spec, weights);
  const before = tf.memory().numTensors;
  for (let step = 0; step < 6; step++) {
    tf.tidy(() => {
      const factor = 1 - 0.3 * step;
      const gradients = [tf.add(tf.mul(tf.tensor(g1), factor), 0.05 * step), tf.mul(tf.tensor([0.5, -0.25]), factor)];
      update(optimizer, gradients, 0.1, step);
    });
  }
  expect(tf.memory().numTensors).toBe(before);
  const result = weights.flatMap(({ variable }) => [...variable.dataSync()]);
  optimizer.dispose();
  tf.dispose(weights.map(({ variable }) => variable));
  return result;
}
const expectNear = (found: number[], expected: number[]) =>
  expected.forEach((each, i) => expect(Math.abs(found[i]! - each), `at ${i}`).toBeLessThan(2e-5));

describe('SGD', () => {
  // torch.optim.SGD of torch 2.15.0 in float64, without decay for the bias.
  test.each([
    [{ momentum: 0, weightDecay: 0 }, [0.41, -1.105, 1.97, 1.365, 0.25, -0.915, 0.225, -0.1625]],
    [
      { momentum: 0.9, weightDecay: 0.01 },
      [0.2501083758, -1.3059804512, 2.0544293824, 0.9841060411, 0.5010152736, -1.3913992294, -0.115938, 0.007969],
    ],
    [
      { momentum: 0.9, weightDecay: 0.01, nesterov: true },
      [0.1829449131, -1.3731939132, 2.0061701793, 0.8939318152, 0.4725994573, -1.4847908308, -0.1493442, 0.0246721],
    ],
  ])('with %o takes the steps of PyTorch', (settings, expected) => {
    expectNear(sixSteps(OptimizerSpec.parse({ name: 'sgd', ...settings })), expected);
  });
});

describe('clipping by norm', () => {
  // torch.nn.utils.clip_grad_norm_ before torch.optim.SGD: four of the six gradients are above 0.5, over both weights.
  test('shortens what is longer, over all weights together, as PyTorch does', () => {
    const spec = { name: 'sgd', momentum: 0.9, nesterov: true, weightDecay: 0.01, clipNorm: 0.5 };
    expectNear(
      sixSteps(OptimizerSpec.parse(spec)),
      [
        0.2495098734, -1.2677995136, 1.9174173822, 1.0769850935, 0.3061877817, -1.224078674, 0.0467036636,
        -0.0733518318,
      ],
    );
  });

  test.each(['adam', 'lars', 'sgd'] as const)('leaves shorter ones of %s as they are', (name) => {
    expect(sixSteps(OptimizerSpec.parse({ name, clipNorm: 1e3 }))).toEqual(sixSteps(OptimizerSpec.parse({ name })));
    expect(sixSteps(OptimizerSpec.parse({ name, clipNorm: 1e-2 }))).not.toEqual(
      sixSteps(OptimizerSpec.parse({ name })),
    );
  });
});

test.each(['adam', 'lars', 'sgd'] as const)('%s moves a weight at its own fraction of the learning rate', (name) => {
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

  const rateOf = (optimizer: object, schedule: object, samples = 50_000) =>
    learningRateOf({
      optimizer: OptimizerSpec.parse({ name: 'sgd', ...optimizer }),
      schedule: Schedule.parse(schedule),
      totalSteps: 9766,
      batchSize: 512,
      rows: { length: samples },
    });
  const rateAt = (step: number, optimizer: object, schedule: object) => rateOf(optimizer, schedule)(step);

  test('is what it was where nothing is said of scaling and epochs', () => {
    for (const step of [0, 3, 488, 976, 4000, 9765])
      expect(rateAt(step, { learningRate: 0.7 }, { warmupSteps: 976 })).toBe(
        learningRateAt(step, 9766, 0.7, { name: 'cosine', warmupSteps: 976 }),
      );
  });

  // SimCLR, model_util.py: base · B / 256 and base · √B.
  test('is scaled with the batch', () => {
    const constant = { name: 'constant' };
    expect(rateAt(5, { learningRate: 0.3, scaling: 'linear' }, constant)).toBeCloseTo(0.6, 12);
    expect(rateAt(5, { learningRate: 0.075, scaling: 'sqrt' }, constant)).toBeCloseTo(0.075 * Math.sqrt(512), 12);
  });

  test('warms up over epochs of whole batches, of which one is at least a step', () => {
    // 97 batches of 512 samples an epoch.
    expect(rateAt(485, { learningRate: 1 }, { warmupEpochs: 10 })).toBeCloseTo(0.5, 12);
    expect(rateAt(97, { learningRate: 1 }, { warmupEpochs: 2, name: 'constant' })).toBeCloseTo(0.5, 12);
    // A dataset smaller than a batch: an epoch is one step.
    expect(rateOf({ learningRate: 1 }, { warmupEpochs: 4 }, 100)(1)).toBe(0.25);
    expect(Schedule.safeParse({ warmupEpochs: 1, warmupSteps: 5 }).error?.issues).toMatchObject([
      { path: ['warmupEpochs'], message: 'expected one of `warmupSteps` and `warmupEpochs`, got both' },
    ]);
  });

  // What is written today keeps the digest by which its result is found.
  test('settings that are not given are no part of a spec', () => {
    const { optimizer, schedule } = RunSpec.parse({ kind: 'pretrain', dataset: 'x' }) as never as Record<
      string,
      object
    >;
    expect(Object.keys(optimizer!)).toEqual(['name', 'learningRate', 'weightDecay', 'beta1', 'beta2', 'epsilon']);
    expect(schedule).toEqual({ name: 'cosine', warmupSteps: 100 });
  });
});
