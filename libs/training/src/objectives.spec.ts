import { UNLABELLED } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  accuracyOf,
  crossEntropy,
  distillation,
  klDivergence,
  negativeCosine,
  pixelCrossEntropy,
  unitRows,
} from './objectives.js';
import { withoutGradient } from './networks/operations.js';
import { ntXent } from './methods/contrastive-losses.js';
import { targetMomentumAt } from './methods/momentum-target.js';
import { barlowTwins, vicreg } from './methods/redundancy-losses.js';

const N = 4;
const D = 6;
const a = Array.from({ length: N }, (_, i) => Array.from({ length: D }, (_, j) => Math.sin(0.7 * i + 1.3 * j + 0.1)));
const b = Array.from({ length: N }, (_, i) => Array.from({ length: D }, (_, j) => Math.cos(0.5 * i + 0.9 * j + 0.2)));
const value = (scalar: tf.Scalar) => scalar.dataSync()[0]!;

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

test('cross-entropy is ln(C) for equal logits, and the naive sum otherwise', () => {
  expect(value(crossEntropy(tf.zeros([3, 10]), new Int32Array([0, 4, 9])))).toBeCloseTo(Math.log(10), 6);
  const logits = [
    [1, 2, 0.5],
    [0.1, -1, 3],
  ];
  const expected =
    logits.reduce((sum, row, i) => sum + Math.log(row.reduce((s, x) => s + Math.exp(x), 0)) - row[[1, 0][i]!]!, 0) / 2;
  expect(value(crossEntropy(tf.tensor2d(logits), new Int32Array([1, 0])))).toBeCloseTo(expected, 6);
  expect(value(accuracyOf(tf.tensor2d(logits), new Int32Array([1, 0])))).toBe(0.5);
});

describe('without negatives', () => {
  const [A, B] = [() => tf.tensor2d(a), () => tf.tensor2d(b)];

  // solo-learn and lightly.
  test("negative cosine, and BYOL's 2 − 2 cos", () => {
    expect(value(negativeCosine(A(), B()))).toBeCloseTo(-0.7511327389541272, 5);
    expect(2 + 2 * value(negativeCosine(A(), B()))).toBeCloseTo(0.4977345220917455, 5);
  });

  test('nothing behind a stop gets a gradient, and what is before it does', () => {
    const [toP, toZ] = tf.grads((p: tf.Tensor, z: tf.Tensor) =>
      negativeCosine(
        p as tf.Tensor2D,
        withoutGradient(z, (x) => tf.clone(x as tf.Tensor2D)),
      ),
    )([A(), B()]);
    expect(value(tf.max(tf.abs(toZ!)))).toBe(0);
    expect(value(tf.max(tf.abs(toP!)))).toBeGreaterThan(0.01);
  });

  // barlowtwins/main.py
  test.each([
    [5e-3, 3.0687879461996],
    [0.0051, 3.0708031884337],
  ])('Barlow Twins with λ = %f', (lambda, expected) => {
    const { loss, on_diagonal, off_diagonal } = barlowTwins(A(), B(), { lambda, scale: 1 });
    expect(value(loss)).toBeCloseTo(expected, 4);
    expect(value(on_diagonal) + lambda * value(off_diagonal)).toBeCloseTo(expected, 4);
    expect(value(barlowTwins(A(), B(), { lambda, scale: 0.025 }).loss)).toBeCloseTo(0.025 * expected, 5);
  });

  test('Barlow Twins is the naive sum over the cross-correlation', () => {
    const standard = (z: number[][]) =>
      z[0]!.map((_, d) => {
        const column = z.map((row) => row[d]!);
        const mean = column.reduce((sum, x) => sum + x, 0) / N;
        const variance = column.reduce((sum, x) => sum + (x - mean) ** 2, 0) / N;
        return column.map((x) => (x - mean) / Math.sqrt(variance + 1e-5));
      });
    const [ours, theirs] = [standard(a), standard(b)];
    let expected = 0;
    for (let i = 0; i < D; i++) {
      for (let j = 0; j < D; j++) {
        const c = ours[i]!.reduce((sum, x, n) => sum + x * theirs[j]![n]!, 0) / N;
        expected += i === j ? (c - 1) ** 2 : 5e-3 * c ** 2;
      }
    }
    expect(value(barlowTwins(A(), B(), { lambda: 5e-3, scale: 1 }).loss)).toBeCloseTo(expected, 4);
  });

  // vicreg/main_vicreg.py and lightly
  test('VICReg and its three terms', () => {
    const { loss, invariance, variance, covariance } = vicreg(A(), B(), {
      invariance: 25,
      variance: 25,
      covariance: 1,
    });
    expect(value(invariance)).toBeCloseTo(0.2428577879, 5);
    expect(value(variance)).toBeCloseTo(0.5245975194, 5);
    expect(value(covariance)).toBeCloseTo(0.462481434, 5);
    expect(value(loss)).toBeCloseTo(19.6488641172642, 4);
  });

  // solo-learn: k of K = 100
  test.each([
    [0, 0.996],
    [50, 0.998],
    [99, 0.9999990131],
  ])("BYOL's momentum after step %i", (step, expected) => {
    expect(targetMomentumAt(step, 100, 0.996)).toBeCloseTo(expected, 9);
  });
});

// Over the first three columns; the official notebook's value divided by its temperature².
test.each([
  [1, 1.0491923869501727],
  [0.1, 2.9392726997526646],
])('distillation at temperature %f', (temperature, expected) => {
  const [teacher, student] = [a, b].map((rows) => tf.tensor2d(rows.map((row) => row.slice(0, 3)))) as [
    tf.Tensor2D,
    tf.Tensor2D,
  ];
  expect(value(distillation(teacher, student, temperature))).toBeCloseTo(expected, 5);
  expect(value(distillation(teacher, teacher, temperature))).toBeLessThan(expected);
});

test('KL divergence from the standard normal', () => {
  expect(value(klDivergence(tf.tensor2d(a), tf.tensor2d(b)))).toBeCloseTo(2.2076546092801292, 5);
  expect(value(klDivergence(tf.zeros([2, 3]), tf.zeros([2, 3])))).toBe(0);
});

describe('cross-entropy of pixels', () => {
  const [shape, classes] = [[2, 3, 5] as [number, number, number], 4];
  const random = Random.seeded(2, 'pixels');
  const numbers = Float32Array.from({ length: 2 * 3 * 5 * classes }, () => random.normal(0, 2));
  const classOf = Int32Array.from({ length: 2 * 3 * 5 }, (_, i) =>
    i % 4 === 1 ? UNLABELLED : random.integer(0, classes),
  );
  const logits = () => tf.tensor4d(numbers, [...shape, classes]);
  const masks = () => tf.tensor3d(classOf, shape, 'int32');
  const labelled = classOf.filter((label) => label !== UNLABELLED).length;
  const softmax = (pixel: number) => {
    const powers = [...numbers.subarray(pixel * classes, (pixel + 1) * classes)].map(Math.exp);
    return powers.map((power) => power / powers.reduce((sum, each) => sum + each, 0));
  };

  test('is the mean over the pixels that have a class', () => {
    let total = 0;
    classOf.forEach((label, pixel) => {
      if (label !== UNLABELLED) total -= Math.log(softmax(pixel)[label]!);
    });
    expect(value(pixelCrossEntropy(logits(), masks()))).toBeCloseTo(total / labelled, 5);
  });

  test('its gradient is softmax less the class, and zero where there is none', () => {
    const twice = tf
      .grad((x: tf.Tensor) => tf.mul(pixelCrossEntropy(x as tf.Tensor4D, masks()), 2))(logits())
      .dataSync();
    classOf.forEach((label, pixel) =>
      softmax(pixel).forEach((p, c) => {
        const expected = label === UNLABELLED ? 0 : (2 * (p - (c === label ? 1 : 0))) / labelled;
        expect(Math.abs(twice[pixel * classes + c]! - expected)).toBeLessThan(label === UNLABELLED ? 1e-30 : 1e-6);
      }),
    );
  });

  test('is 0 with no gradient where no pixel has a class', () => {
    const none = tf.fill<tf.Rank.R3>(shape, UNLABELLED, 'int32');
    expect(value(pixelCrossEntropy(logits(), none))).toBe(0);
    expect(
      [
        ...tf
          .grad((x: tf.Tensor) => pixelCrossEntropy(x as tf.Tensor4D, none))(logits())
          .dataSync(),
      ].every((slope) => slope === 0),
    ).toBe(true);
  });

  test('leaves no tensor behind', () => {
    const [x, m] = [logits(), masks()];
    const gradient = () =>
      tf.dispose(tf.tidy(() => tf.grad((each: tf.Tensor) => pixelCrossEntropy(each as tf.Tensor4D, m))(x)));
    gradient();
    const before = tf.memory().numTensors;
    gradient();
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('a row of zeros stays one when rows are scaled to length 1, and every gradient is finite', () => {
  const rows = tf.tensor2d([
    [0, 0],
    [3, 4],
    [1e-13, 0],
  ]);
  expect([...unitRows(rows).dataSync()].map((x) => Number(x.toFixed(6)))).toEqual([0, 0, 0.6, 0.8, 0.1, 0]);
  const weights = tf.tensor2d([
    [1, -2],
    [1, 2],
    [0, 0],
  ]);
  const gradient = tf
    .grad((x: tf.Tensor) => tf.sum(tf.mul(unitRows(x as tf.Tensor2D), weights)))(rows)
    .dataSync();
  // PyTorch 2's `F.normalize`: at zeros the slope of a division by 1e-12; (w − u (u·w)) / 5 at the second row.
  expect(gradient[0]! / 1e12).toBeCloseTo(1, 5);
  expect(gradient[1]! / 1e12).toBeCloseTo(-2, 5);
  expect(gradient[2]).toBeCloseTo((1 - 0.6 * 2.2) / 5, 6);
  expect(gradient[3]).toBeCloseTo((2 - 0.8 * 2.2) / 5, 6);
  const dead = tf
    .grad((x: tf.Tensor) => ntXent(x as tf.Tensor2D, 0.1).loss)(tf.zeros([6, 4]))
    .dataSync();
  expect([...dead].every(Number.isFinite)).toBe(true);
});
