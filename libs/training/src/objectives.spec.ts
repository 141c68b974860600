import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import { accuracyOf, crossEntropy, ntXent } from './objectives.js';
import { loadTensorFlow } from './tensorflow.js';

const N = 4;
const D = 6;
const a = Array.from({ length: N }, (_, i) => Array.from({ length: D }, (_, j) => Math.sin(0.7 * i + 1.3 * j + 0.1)));
const b = Array.from({ length: N }, (_, i) => Array.from({ length: D }, (_, j) => Math.cos(0.5 * i + 0.9 * j + 0.2)));
const value = (scalar: tf.Scalar) => scalar.dataSync()[0]!;

beforeAll(async () => { await loadTensorFlow({ threads: 1 }); });

/** The definition, view by view. */
function naiveNtXent(z: number[][], temperature: number): number {
  const unit = z.map((row) => { const length = Math.hypot(...row); return row.map((x) => x / length); });
  const similarity = (i: number, j: number) => unit[i]!.reduce((sum, x, d) => sum + x * unit[j]![d]!, 0) / temperature;
  const half = z.length / 2;
  let total = 0;
  for (let i = 0; i < z.length; i++) {
    let normaliser = 0;
    for (let j = 0; j < z.length; j++) if (j !== i) normaliser += Math.exp(similarity(i, j));
    total += Math.log(normaliser) - similarity(i, (i + half) % z.length);
  }
  return total / z.length;
}

describe('NT-Xent', () => {
  // lightly 1.6.0 and solo-learn on the same input.
  test.each([[0.1, 1.620845520225628], [0.2, 1.48797822], [0.5, 1.6035702326952304]])('at temperature %f', (temperature, expected) => {
    expect(value(ntXent(tf.tensor2d([...a, ...b]), temperature).loss)).toBeCloseTo(expected, 5);
    expect(naiveNtXent([...a, ...b], temperature)).toBeCloseTo(expected, 7);
  });

  test.each([
    [0.5, [-0.0653160319, 0.0224166377, 0.0241176780, 0.0100254711, 0.0587286603, 0.0981830978]],
    [0.1, [-0.4421776536, 0.1926654190, 0.3022455817, 0.1864036940, 0.3107243495, 0.4005403301]],
  ])('gradient for the first view at temperature %f', (temperature, expected) => {
    const gradient = tf.grad((z: tf.Tensor) => ntXent(z as tf.Tensor2D, temperature).loss)(tf.tensor2d([...a, ...b]));
    const first = gradient.arraySync() as number[][];
    expected.forEach((each, j) => expect(Math.abs(first[0]![j]! - each)).toBeLessThan(2e-5));
  });

  test('does not see the length of rows, nor which view is the first', () => {
    const loss = (z: number[][]) => value(ntXent(tf.tensor2d(z), 0.2).loss);
    expect(loss([...a.map((row) => row.map((x) => 3 * x)), ...b])).toBeCloseTo(loss([...a, ...b]), 5);
    expect(loss([...b, ...a])).toBeCloseTo(loss([...a, ...b]), 5);
  });

  test('is log(2N − 1) when all is collapsed, and log(1 + (2N − 2) e^(−1/T)) for orthonormal images', () => {
    expect(value(ntXent(tf.ones([2 * N, D]), 0.5).loss)).toBeCloseTo(Math.log(2 * N - 1), 5);
    const eye = tf.eye(N, D);
    const { loss, accuracy } = ntXent(tf.concat2d([eye, eye], 0), 0.5);
    expect(value(loss)).toBeCloseTo(Math.log(1 + (2 * N - 2) * Math.exp(-2)), 5);
    expect(value(accuracy)).toBe(1);
  });

  test('refuses an odd number of views', () => {
    expect(() => ntXent(tf.ones([3, 2]), 0.5)).toThrow('expected two views of each image, got 3 rows');
  });
});

test('cross-entropy is ln(C) for equal logits, and the naive sum otherwise', () => {
  expect(value(crossEntropy(tf.zeros([3, 10]), new Int32Array([0, 4, 9])))).toBeCloseTo(Math.log(10), 6);
  const logits = [[1, 2, 0.5], [0.1, -1, 3]];
  const expected = logits.reduce((sum, row, i) => sum + Math.log(row.reduce((s, x) => s + Math.exp(x), 0)) - row[[1, 0][i]!]!, 0) / 2;
  expect(value(crossEntropy(tf.tensor2d(logits), new Int32Array([1, 0])))).toBeCloseTo(expected, 6);
  expect(value(accuracyOf(tf.tensor2d(logits), new Int32Array([1, 0])))).toBe(0.5);
});
