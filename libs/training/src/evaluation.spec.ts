import * as tf from '@tensorflow/tfjs-core';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import { beforeAll, describe, expect, test } from 'vitest';
import { accuracy, alignment, rankMe, spreadOf, uniformity, weightedKnn } from './evaluation.js';
import { fitLinearProbe } from './linear-probe.js';

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

describe('weighted kNN', () => {
  const queries = Array.from({ length: 4 }, (_, i) =>
    Array.from({ length: 6 }, (_, j) => Math.sin(0.7 * i + 1.3 * j + 0.1)),
  );
  const bank = Array.from({ length: 8 }, (_, i) =>
    Array.from({ length: 6 }, (_, j) => Math.sin(0.31 * i * i + 0.77 * j)),
  );
  const labels = new Int32Array([0, 1, 2, 0, 1, 2, 0, 1]);

  test('predicts what lightly and solo-learn predict', async () => {
    expect([
      ...(await weightedKnn(tf.tensor2d(bank), labels, tf.tensor2d(queries), 3, { k: 3, temperature: 0.1 })),
    ]).toEqual([2, 1, 0, 0]);
  });

  test('tells neighbours apart that single precision takes for equally similar', async () => {
    // The directions of the bank differ by 1e-5, their cosines by 1e-10.
    const close = Array.from({ length: 200 }, (_, i) => [1000, (i - 100) * 0.01]);
    const own = Int32Array.from(close, (_, i) => i % 2);
    expect([
      ...(await weightedKnn(tf.tensor2d(close), own, tf.tensor2d(close), 2, { k: 1, temperature: 0.07 })),
    ]).toEqual([...own]);
  });

  test('rows of zeros are similar to nothing, and nothing to them', async () => {
    const some = tf.tensor2d([
      [0, 0],
      [0.2, 1],
      [-1, 0],
    ]);
    const asked = tf.tensor2d([
      [1, 0],
      [0, 0],
    ]);
    // Cosines 0, 0.196 and −1; and 0 to all, where the first is taken.
    expect([...(await weightedKnn(some, Int32Array.of(0, 1, 2), asked, 3, { k: 1, temperature: 1 }))]).toEqual([1, 0]);
  });

  test('takes the nearest alone at a temperature near zero', async () => {
    const predictions = await weightedKnn(tf.tensor2d(bank), labels, tf.tensor2d(queries), 3, {
      k: 8,
      temperature: 1e-4,
    });
    expect([...predictions]).toEqual(
      [
        [5, 2, 1],
        [7, 3, 5],
        [3, 7, 5],
        [3, 7, 6],
      ].map(([nearest]) => labels[nearest!]),
    );
  });

  test('ends by what the pause throws, and leaves no tensor behind', async () => {
    const [rows, some] = [tf.tensor2d(bank), tf.tensor2d(queries)];
    const before = tf.memory().numTensors;
    await weightedKnn(rows, labels, some, 3, { k: 3, temperature: 0.1 });
    await expect(
      weightedKnn(rows, labels, some, 3, { k: 3, temperature: 0.1 }, () => Promise.reject(new Error('enough'))),
    ).rejects.toThrow('enough');
    await expect(
      fitLinearProbe(rows, labels, 3, { l2: 0.1, maxIterations: 50 }, () => Promise.reject(new Error('enough'))),
    ).rejects.toThrow('enough');
    expect(tf.memory().numTensors).toBe(before);
  });

  test('agrees with a naive vote, with more neighbours than there are', async () => {
    const unit = (row: number[]) => row.map((x) => x / Math.hypot(...row));
    const naive = queries.map((query) => {
      const votes = [0, 0, 0];
      bank.forEach((row, n) => {
        votes[labels[n]!]! += Math.exp(unit(query).reduce((sum, x, d) => sum + x * unit(row)[d]!, 0) / 0.07);
      });
      return votes.indexOf(Math.max(...votes));
    });
    expect([
      ...(await weightedKnn(tf.tensor2d(bank), labels, tf.tensor2d(queries), 3, { k: 100, temperature: 0.07 })),
    ]).toEqual(naive);
  });
});

describe('linear probe', () => {
  const random = Random.seeded(3, 'probe');
  const centres = Array.from({ length: 3 }, () => Array.from({ length: 5 }, () => random.normal(0, 2)));
  const labels = Int32Array.from({ length: 150 }, (_, i) => i % 3);
  const features = [...labels].map((label) => centres[label]!.map((x) => x + random.normal()));

  test('reaches the minimum of a convex problem: the gradient of a naive loop is zero there', async () => {
    const l2 = 0.1;
    const probe = await fitLinearProbe(tf.tensor2d(features), labels, 3, { l2, maxIterations: 500 });
    const mean = centres[0]!.map((_, d) => features.reduce((sum, row) => sum + row[d]!, 0) / features.length);
    const scale = mean.map(
      (m, d) => Math.sqrt(features.reduce((sum, row) => sum + (row[d]! - m) ** 2, 0) / features.length) + 1e-6,
    );
    const gradient = new Float64Array(probe.weights.length);
    let loss = 0;
    features.forEach((row, i) => {
      const x = [...row.map((value, d) => (value - mean[d]!) / scale[d]!), 1];
      const logits = [0, 1, 2].map((c) => x.reduce((sum, value, d) => sum + value * probe.weights[d * 3 + c]!, 0));
      const normaliser = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      loss += (Math.log(normaliser) - logits[labels[i]!]!) / features.length;
      logits.forEach((logit, c) =>
        x.forEach((value, d) => {
          gradient[d * 3 + c]! +=
            (value * (Math.exp(logit) / normaliser - (c === labels[i] ? 1 : 0))) / features.length;
        }),
      );
    });
    probe.weights.slice(0, 15).forEach((w, i) => {
      gradient[i]! += l2 * w;
      loss += 0.5 * l2 * w * w;
    });
    expect(Math.hypot(...gradient)).toBeLessThan(1e-3);
    expect(probe.loss).toBeCloseTo(loss, 5);
    expect(accuracy(probe.predict(tf.tensor2d(features)), labels)).toBeGreaterThan(0.9);
    probe.dispose();
  });
});

describe('how features spread', () => {
  const a = Array.from({ length: 4 }, (_, i) => Array.from({ length: 6 }, (_, j) => Math.sin(0.7 * i + 1.3 * j + 0.1)));
  const b = Array.from({ length: 4 }, (_, i) => Array.from({ length: 6 }, (_, j) => Math.cos(0.5 * i + 0.9 * j + 0.2)));

  test('meets the reference values', async () => {
    expect(spreadOf(tf.tensor2d([...a, ...b]))).toBeCloseTo(0.6882487, 4);
    expect(await rankMe(tf.tensor2d([...a, ...b]))).toBeCloseTo(3.457423, 3);
    expect(alignment(tf.tensor2d(a), tf.tensor2d(b))).toBeCloseTo(0.4977345, 5);
    expect(uniformity(tf.tensor2d([...a, ...b]))).toBeCloseTo(-1.3863164, 4);
  });

  // log mean exp(−2 |x − y|²) over pairs, as in align_uniform (Wang and Isola), of rows as `F.normalize` leaves them.
  test.each([
    ['a dead encoder', Array.from({ length: 200 }, () => [0, 0, 0]), 0],
    ['few samples of a dead encoder', Array.from({ length: 5 }, () => [0, 0, 0]), 0],
    ['few samples that are one point', Array.from({ length: 5 }, () => [3, 0, -4]), 0],
    [
      'one dead sample of three',
      [
        [0, 0],
        [7, 0],
        [0, 0.1],
      ],
      Math.log((2 * Math.exp(-2) + Math.exp(-4)) / 3),
    ],
    [
      'opposite points',
      [
        [1, 0],
        [-1, 0],
      ],
      -8,
    ],
  ])('uniformity of %s', (_, rows, expected) => {
    expect(uniformity(tf.tensor2d(rows))).toBeCloseTo(expected, 5);
  });

  test('dimensions are counted of fewer samples than there are, and not where one is no number', async () => {
    const few = tf.tensor2d(Array.from({ length: 3 }, (_, i) => Array.from({ length: 5 }, (_, j) => Number(i === j))));
    // Three orthogonal rows of one length.
    expect(await rankMe(few)).toBeCloseTo(3, 3);
    expect(await rankMe(tf.tensor2d([[1, Number.NaN]]))).toBeNaN();
    expect(await rankMe(tf.zeros([2, 3]))).toBe(0);
  });

  test('a single sample has neither spread nor uniformity', () => {
    expect([spreadOf, uniformity].map((metric) => metric(tf.tensor2d([[1, 2]])))).toEqual([NaN, NaN]);
  });

  test('is nothing when all are one point, and leaves no tensor behind', async () => {
    const before = tf.memory().numTensors;
    const point = tf.ones<tf.Rank.R2>([5, 3]);
    expect(spreadOf(point)).toBeCloseTo(0, 5);
    expect(await rankMe(point)).toBeCloseTo(1, 2);
    expect(alignment(point, point)).toBeCloseTo(0, 6);
    expect(uniformity(point)).toBeCloseTo(0, 5);
    point.dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});
