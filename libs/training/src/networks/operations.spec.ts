import * as tf from '@tensorflow/tfjs-core';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import { describe, expect, test } from 'vitest';
import { BATCH_NORM_EPSILON, batchNormInference, batchNormTraining, leakyRelu, relu } from './operations.js';

await loadTensorFlow({ threads: 1 });

const random = Random.seeded(7, 'test');
const tensor = <T extends tf.Tensor>(...shape: number[]): T =>
  tf.tensor(
    Float32Array.from({ length: shape.reduce((x, y) => x * y, 1) }, () => random.normal(0.5, 2)),
    shape,
  ) as unknown as T;
const close = (a: tf.Tensor, b: tf.Tensor, tolerance = 1e-4) =>
  expect(tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]).toBeLessThan(tolerance);

/** By tfjs's own operations, which it also differentiates. */
function plainBatchNorm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor): tf.Tensor {
  const axes = x.shape.slice(0, -1).map((_, axis) => axis);
  const { mean, variance } = tf.moments(x, axes);
  return tf.add(tf.mul(tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, BATCH_NORM_EPSILON))), scale), offset);
}

describe.each([
  ['images', [4, 5, 5, 3]],
  ['vectors', [16, 3]],
])('batch normalisation of %s', (_, shape) => {
  const [x, scale, offset, weight] = [
    tensor(...shape),
    tensor<tf.Tensor1D>(3),
    tensor<tf.Tensor1D>(3),
    tensor(...shape),
  ];

  test('values, running averages and gradients are those of the definition', () => {
    let averages: number[][] = [];
    const running = { mean: tf.fill<tf.Rank.R1>([3], 10), variance: tf.fill<tf.Rank.R1>([3], 20) };
    const fused = tf.grads((input: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) =>
      tf.sum(
        tf.mul(
          batchNormTraining(input, gamma as tf.Tensor1D, beta as tf.Tensor1D, running, 0.25, ({ mean, variance }) => {
            averages = [[...mean.dataSync()], [...variance.dataSync()]];
          }),
          weight,
        ),
      ),
    );
    const plain = tf.grads((input: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) =>
      tf.sum(tf.mul(plainBatchNorm(input, gamma, beta), weight)),
    );
    close(
      batchNormTraining(x, scale, offset, running, 0.25, () => {}),
      plainBatchNorm(x, scale, offset),
    );
    const [expected, found] = [plain([x, scale, offset]), fused([x, scale, offset])];
    found.forEach((gradient, i) => close(gradient, expected[i]!, 1e-3));
    const { mean, variance } = tf.moments(
      x,
      shape.slice(0, -1).map((_, axis) => axis),
    );
    const count = x.size / 3;
    close(tf.tensor1d(averages[0]!), tf.add(tf.mul(mean, 0.25), 7.5));
    close(tf.tensor1d(averages[1]!), tf.add(tf.mul(variance, (0.25 * count) / (count - 1)), 15));
  });

  test('rectified at once is rectified after: values, running averages and gradients', () => {
    const running = { mean: tf.fill<tf.Rank.R1>([3], 10), variance: tf.fill<tf.Rank.R1>([3], 20) };
    const both = [
      (...operands: [tf.Tensor, tf.Tensor1D, tf.Tensor1D]) => relu(batchNormTraining(...operands, running, 0.25, keep)),
      (...operands: [tf.Tensor, tf.Tensor1D, tf.Tensor1D]) => batchNormTraining(...operands, running, 0.25, keep, true),
    ];
    const averages: tf.Tensor[] = [];
    const keep = ({ mean, variance }: { mean: tf.Tensor1D; variance: tf.Tensor1D }) => {
      averages.push(tf.keep(tf.clone(mean)), tf.keep(tf.clone(variance)));
    };
    const [after, at] = both.map((apply) => {
      const value = apply(x, scale, offset);
      return [
        value,
        ...tf.grads((...operands: tf.Tensor[]) =>
          tf.sum(tf.mul(apply(...(operands as [tf.Tensor, tf.Tensor1D, tf.Tensor1D])), weight)),
        )([x, scale, offset]),
        ...averages.splice(0),
      ];
    }) as [tf.Tensor[], tf.Tensor[]];
    expect(tf.min(after[0]!).dataSync()[0]).toBe(0);
    expect(at).toHaveLength(after.length);
    at.forEach((found, i) => close(found, after[i]!, 1e-5));
  });

  test('in evaluation by the given statistics', () => {
    const [mean, variance] = [tensor<tf.Tensor1D>(3), tf.abs(tensor<tf.Tensor1D>(3))];
    const expected = tf.add(
      tf.mul(tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, BATCH_NORM_EPSILON))), scale),
      offset,
    );
    close(batchNormInference(x, scale, offset, { mean, variance }), expected);
  });

  test('by given statistics it has gradients for input, scale and offset', () => {
    const [mean, variance] = [tensor<tf.Tensor1D>(3), tf.abs(tensor<tf.Tensor1D>(3))];
    const gradients = (apply: (...operands: [tf.Tensor, tf.Tensor1D, tf.Tensor1D]) => tf.Tensor) =>
      tf.grads((...operands: tf.Tensor[]) =>
        tf.sum(tf.mul(apply(...(operands as [tf.Tensor, tf.Tensor1D, tf.Tensor1D])), weight)),
      )([x, scale, offset]);
    const expected = gradients((input, gamma, beta) =>
      tf.add(tf.mul(tf.div(tf.sub(input, mean), tf.sqrt(tf.add(variance, BATCH_NORM_EPSILON))), gamma), beta),
    );
    const found = gradients((input, gamma, beta) => batchNormInference(input, gamma, beta, { mean, variance }));
    found.forEach((gradient, i) => close(gradient, expected[i]!, 1e-3));
  });

  test('leaves no tensor behind', () => {
    const step = () =>
      tf.tidy(() => {
        tf.grads((input: tf.Tensor) =>
          tf.sum(relu(batchNormTraining(input, scale, offset, { mean: offset, variance: offset }, 0.1, () => {}))),
        )([x]);
      });
    step();
    const before = tf.memory().numTensors;
    step();
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('ReLU and its gradient', () => {
  const x = tf.tensor1d([-2, -0.5, 0, 0.5, 2]);
  expect([...relu(x).dataSync()]).toEqual([0, 0, 0, 0.5, 2]);
  expect([
    ...tf
      .grad((input: tf.Tensor) => tf.sum(tf.mul(relu(input), [1, 2, 3, 4, 5])))(x)
      .dataSync(),
  ]).toEqual([0, 0, 0, 4, 5]);
});

test('leaky ReLU and its gradient', () => {
  const x = tf.tensor1d([-2, -0.5, 0, 0.5, 2]);
  expect([...leakyRelu(x, 0.25).dataSync()]).toEqual([-0.5, -0.125, 0, 0.5, 2]);
  expect([
    ...tf
      .grad((input: tf.Tensor) => tf.sum(tf.mul(leakyRelu(input, 0.25), [1, 2, 3, 4, 5])))(x)
      .dataSync(),
  ]).toEqual([0.25, 0.5, 0.75, 4, 5]);
});
