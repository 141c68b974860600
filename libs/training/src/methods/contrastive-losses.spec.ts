import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  batchContrast,
  decoupledContrast,
  ntXent,
  queueContrast,
  supervisedContrast,
  type Contrast,
} from './contrastive-losses.js';
import { nearestIn } from './nnclr.js';
import { unitRows } from '../objectives.js';

const N = 4;
const D = 6;
const a = Array.from({ length: N }, (_, i) => Array.from({ length: D }, (_, j) => Math.sin(0.7 * i + 1.3 * j + 0.1)));
const b = Array.from({ length: N }, (_, i) => Array.from({ length: D }, (_, j) => Math.cos(0.5 * i + 0.9 * j + 0.2)));
const CLASSES = [0, 1, 0, 2];
const value = (scalar: tf.Scalar) => scalar.dataSync()[0]!;

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

/** Rows of length 1, in double precision. */
const unitOf = (rows: number[][]) => rows.map((row) => row.map((x) => x / Math.hypot(...row)));
const dot = (x: number[], y: number[]) => x.reduce((sum, each, d) => sum + each * y[d]!, 0);
const expectWithin = (found: ArrayLike<number>, expected: readonly number[]) =>
  expected.forEach((each, i) => expect(Math.abs(found[i]! - each), `at ${i}`).toBeLessThan(2e-5));
/** The gradient of the loss for the views [2N, D], as rows. */
const gradientOf = (contrast: (z: tf.Tensor2D) => Contrast, rows: number[][]) =>
  tf
    .grad((z: tf.Tensor) => contrast(z as tf.Tensor2D).loss)(tf.tensor2d(rows))
    .arraySync() as number[][];

/** The definition, view by view. */
function naiveNtXent(z: number[][], temperature: number): number {
  const unit = z.map((row) => {
    const length = Math.hypot(...row);
    return row.map((x) => x / length);
  });
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
  test.each([
    [0.1, 1.620845520225628],
    [0.2, 1.48797822],
    [0.5, 1.6035702326952304],
  ])('at temperature %f', (temperature, expected) => {
    expect(value(ntXent(tf.tensor2d([...a, ...b]), temperature).loss)).toBeCloseTo(expected, 5);
    expect(naiveNtXent([...a, ...b], temperature)).toBeCloseTo(expected, 7);
  });

  test.each([
    [0.5, [-0.0653160319, 0.0224166377, 0.024117678, 0.0100254711, 0.0587286603, 0.0981830978]],
    [0.1, [-0.4421776536, 0.192665419, 0.3022455817, 0.186403694, 0.3107243495, 0.4005403301]],
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
    // eslint-disable-next-line no-restricted-properties -- no graph is made of it
    const eye = tf.eye(N, D);
    const { loss, accuracy } = ntXent(tf.concat2d([eye, eye], 0), 0.5);
    expect(value(loss)).toBeCloseTo(Math.log(1 + (2 * N - 2) * Math.exp(-2)), 5);
    expect(value(accuracy)).toBe(1);
  });

  test('refuses an odd number of views', () => {
    expect(() => ntXent(tf.ones([3, 2]), 0.5)).toThrow('expected two views of each image, got 3 rows');
  });
});

describe('DCL', () => {
  const dcl = (temperature: number) => (z: tf.Tensor2D) => decoupledContrast(z, temperature);
  const naive = (rows: number[][], temperature: number) => {
    const unit = unitOf(rows);
    const partner = (i: number) => (i + N) % (2 * N);
    const ofView = unit.map((view, i) => {
      const negatives = unit.filter((_, j) => j !== i && j !== partner(i));
      const sum = negatives.reduce((total, other) => total + Math.exp(dot(view, other) / temperature), 0);
      return Math.log(sum) - dot(view, unit[partner(i)]!) / temperature;
    });
    return ofView.reduce((sum, each) => sum + each, 0) / (2 * N);
  };

  // lightly 1.6.0's DCLLoss on torch 2.15.0, the inputs above in float64: loss, gradients of the first rows of a and b.
  test.each([
    [
      0.1,
      1.378762919230204,
      [-0.4987300383, 0.238155656, 0.3294969974, 0.2025988271, 0.4043384582, 0.5268133259],
      [0.4336621842, -0.7038546964, -0.8400016841, 0.0063597034, 0.5647450291, 0.1974390984],
    ],
    [
      0.5,
      1.3736588871430686,
      [-0.0809679686, 0.0282512643, 0.0274493997, 0.0104420092, 0.0766170908, 0.1289723951],
      [0.1030420344, -0.1567814926, -0.1973524401, -0.0011643147, 0.1420638386, 0.0615693669],
    ],
  ])('and its gradient at temperature %f', (temperature, expected, ofA, ofB) => {
    expectWithin([value(dcl(temperature)(tf.tensor2d([...a, ...b])).loss)], [expected]);
    expect(naive([...a, ...b], temperature)).toBeCloseTo(expected, 9);
    const gradient = gradientOf(dcl(temperature), [...a, ...b]);
    expectWithin(gradient[0]!, ofA);
    expectWithin(gradient[N]!, ofB);
  });
});

describe('SupCon', () => {
  const labels = () => tf.tensor1d(CLASSES, 'int32');
  const supcon = (temperature: number) => (z: tf.Tensor2D) => supervisedContrast(z, labels(), temperature);
  const naive = (rows: number[][], temperature: number) => {
    const unit = unitOf(rows);
    const classOf = (i: number) => CLASSES[i % N]!;
    const ofView = unit.map((view, i) => {
      const others = unit.flatMap((other, j) => (j === i ? [] : [{ j, logit: dot(view, other) / temperature }]));
      const normaliser = Math.log(others.reduce((sum, { logit }) => sum + Math.exp(logit), 0));
      const positives = others.filter(({ j }) => classOf(j) === classOf(i));
      return positives.reduce((sum, { logit }) => sum + normaliser - logit, 0) / positives.length;
    });
    return ofView.reduce((sum, each) => sum + each, 0) / (2 * N);
  };

  // SupContrast's losses.py (contrast mode `all`, both temperatures alike) on torch 2.15.0 in float64.
  test.each([
    [
      0.1,
      3.0633428718747626,
      [-0.2738328356, 0.1715021849, 0.4364305371, 0.3262091671, -0.0042677271, -0.2724091678],
      [-0.0330502504, 0.0481436931, 0.104971284, 0.0314736244, -0.1051338776, -0.1323137978],
    ],
    [
      0.5,
      1.8920697030250573,
      [-0.0316470683, 0.0181839908, 0.0509546691, 0.0379865657, -0.004269755, -0.0364068018],
      [0.0032514022, 0.0038564338, 0.0052304911, 0.0046538444, -0.0020581608, -0.0106183931],
    ],
  ])('and its gradient at temperature %f', (temperature, expected, ofA, ofB) => {
    expectWithin([value(supcon(temperature)(tf.tensor2d([...a, ...b])).loss)], [expected]);
    expect(naive([...a, ...b], temperature)).toBeCloseTo(expected, 9);
    const gradient = gradientOf(supcon(temperature), [...a, ...b]);
    expectWithin(gradient[0]!, ofA);
    expectWithin(gradient[N]!, ofB);
  });

  test('is NT-Xent where each sample is a class of its own', () => {
    const z = tf.tensor2d([...a, ...b]);
    const alone = supervisedContrast(z, tf.tensor1d([3, 1, 0, 2], 'int32'), 0.2);
    expect(value(alone.loss)).toBeCloseTo(value(ntXent(z, 0.2).loss), 5);
    expect(value(alone.accuracy)).toBe(value(ntXent(z, 0.2).accuracy));
  });
});

describe('MoCo and NNCLR', () => {
  const queue = Array.from({ length: 5 }, (_, i) =>
    Array.from({ length: D }, (_, j) => Math.sin(1.1 * i - 0.6 * j + 0.4)),
  );
  const unitQueue = () => unitRows(tf.tensor2d(queue));
  const mean = (values: number[]) => values.reduce((sum, each) => sum + each, 0) / values.length;
  /** Cross-entropy of a row's similarities at its own, over the temperature. */
  const entropy = (logits: number[], own: number) =>
    Math.log(logits.reduce((sum, each) => sum + Math.exp(each), 0)) - logits[own]!;
  const firstGradient = (contrast: (x: tf.Tensor2D) => Contrast) => gradientOf(contrast, a)[0]!;

  // lightly 1.6.0's NTXentLoss with a memory bank, and MoCo's builder.py, on torch 2.15.0 in float64.
  test.each([
    [0.1, 0.09128577924762285, [-0.0283328915, 0.0824348001, 0.1671017927, 0.1319063871, -0.0150923038, -0.2007966963]],
    [0.5, 0.8310292732914777, [-0.0522392378, 0.0382176552, 0.0876206635, 0.0639003764, 0.0081484645, -0.0473516547]],
  ])('against a queue, and its gradient, at temperature %f', (temperature, expected, ofA) => {
    const contrast = (query: tf.Tensor2D) => queueContrast(query, tf.tensor2d(b), unitQueue(), temperature);
    expectWithin([value(contrast(tf.tensor2d(a)).loss)], [expected]);
    expectWithin(firstGradient(contrast), ofA);
    const [queries, keys, rows] = [unitOf(a), unitOf(b), unitOf(queue)];
    const naive = queries.map((query, i) => {
      const logits = [keys[i]!, ...rows].map((other) => dot(query, other) / temperature);
      return entropy(logits, 0);
    });
    expect(mean(naive)).toBeCloseTo(expected, 9);
  });

  // solo-learn's mocov3_loss_func, on torch 2.15.0 in float64.
  test.each([
    [0.1, 0.12711565559880775, [-0.0013895121, -0.001847931, -0.0031236751, -0.002996456, 0.0011001062, 0.0062354992]],
    [0.5, 1.0003423934942075, [-0.03038513, -0.0172691049, -0.0240267501, -0.0268883055, 0.0158978121, 0.0744746386]],
  ])('among a batch, times 2 T, and its gradient, at temperature %f', (temperature, expected, ofA) => {
    const contrast = (query: tf.Tensor2D): Contrast => {
      const { loss, accuracy } = batchContrast(query, tf.tensor2d(b), temperature);
      return { loss: tf.mul(loss, 2 * temperature), accuracy };
    };
    expectWithin([value(contrast(tf.tensor2d(a)).loss)], [expected]);
    expectWithin(firstGradient(contrast), ofA);
    const [queries, keys] = [unitOf(a), unitOf(b)];
    const naive = queries.map((query, i) =>
      entropy(
        keys.map((key) => dot(query, key) / temperature),
        i,
      ),
    );
    expect(2 * temperature * mean(naive)).toBeCloseTo(expected, 9);
  });

  // solo-learn's nnclr_loss_func and find_nn, on torch 2.15.0 in float64.
  test.each([
    [0.1, 1.2363375574314475, [-0.1112108292, 0.169323915, 0.2709202551, 0.2259251765, 0.1940028636, 0.1954780202]],
    [0.5, 1.1050759973820932, [-0.0561419736, 0.0355281663, 0.0645595469, 0.0492551384, 0.055318237, 0.0844772284]],
  ])('of nearest neighbours, and its gradient, at temperature %f', (temperature, expected, ofA) => {
    const contrast = (predicted: tf.Tensor2D) =>
      batchContrast(nearestIn(unitQueue(), tf.tensor2d(b)), predicted, temperature);
    expectWithin([value(contrast(tf.tensor2d(a)).loss)], [expected]);
    expectWithin(firstGradient(contrast), ofA);
  });

  test('neighbours are the most similar rows of the queue, and get no gradient', () => {
    const rows = unitOf(queue);
    const nearest = unitOf(b).map((z) => rows.reduce((best, row) => (dot(row, z) > dot(best, z) ? row : best)));
    nearestIn(unitQueue(), tf.tensor2d(b))
      .arraySync()
      .forEach((row, i) => expectWithin(row, nearest[i]!));
    const slope = tf.grad((z: tf.Tensor) => tf.sum(tf.square(nearestIn(unitQueue(), z as tf.Tensor2D))))(
      tf.tensor2d(b),
    );
    expect([...slope.dataSync()].every((each) => each === 0)).toBe(true);
  });
});
