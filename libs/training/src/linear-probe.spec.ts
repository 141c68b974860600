import { labelSubset, Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { fitLinearProbe, fitProbe, reportProbe } from './linear-probe.js';

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

/** Features of an encoder: a few directions have most of the variance, and classes overlap. */
function correlated(count: number, width: number, classes: number) {
  const random = Random.seeded(5, 'correlated');
  const mixing = Array.from({ length: width }, (_, i) =>
    Array.from({ length: width }, () => random.normal() * 0.75 ** i),
  );
  const labels = Int32Array.from({ length: count }, (_, i) => i % classes);
  const features = [...labels].map((label) => {
    const hidden = Array.from({ length: width }, (_, i) => random.normal(i % classes === label ? 0.6 : 0));
    return Array.from({ length: width }, (_, d) => hidden.reduce((sum, value, i) => sum + value * mixing[i]![d]!, 0));
  });
  return { features, labels };
}

/** The loss by gradient descent with Nesterov's momentum in double precision: long, and without any cleverness. */
function naiveOptimum(features: number[][], labels: Int32Array, classes: number, l2: number, steps: number): number {
  const [count, width] = [features.length, features[0]!.length];
  const mean = features[0]!.map((_, d) => features.reduce((sum, row) => sum + row[d]!, 0) / count);
  const deviation = mean.map((m, d) => Math.sqrt(features.reduce((sum, row) => sum + (row[d]! - m) ** 2, 0) / count));
  const x = features.map((row) => [...row.map((value, d) => (value - mean[d]!) / deviation[d]!), 1]);
  const size = (width + 1) * classes;
  const lossAt = (w: Float64Array, gradient: Float64Array): number => {
    gradient.fill(0);
    let loss = 0;
    x.forEach((row, i) => {
      const logits = Array.from({ length: classes }, (_, c) =>
        row.reduce((sum, value, d) => sum + value * w[d * classes + c]!, 0),
      );
      const normaliser = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
      loss += (Math.log(normaliser) - logits[labels[i]!]!) / count;
      for (let c = 0; c < classes; c++) {
        const residual = (Math.exp(logits[c]!) / normaliser - Number(c === labels[i])) / count;
        for (let d = 0; d <= width; d++) gradient[d * classes + c]! += residual * row[d]!;
      }
    });
    for (let i = 0; i < width * classes; i++) {
      loss += 0.5 * l2 * w[i]! ** 2;
      gradient[i]! += l2 * w[i]!;
    }
    return loss;
  };
  const rate = 1 / (0.5 * (width + 1) + l2);
  const gradient = new Float64Array(size);
  let [w, before] = [new Float64Array(size), new Float64Array(size)];
  for (let step = 1; step <= steps; step++) {
    const ahead = w.map((value, i) => value + ((step - 1) / (step + 2)) * (value - before[i]!));
    lossAt(ahead, gradient);
    [w, before] = [ahead.map((value, i) => value - rate * gradient[i]!), w];
  }
  return lossAt(w, gradient);
}

test('comes to the minimum of correlated features within the iterations of an online evaluation', async () => {
  const { features, labels } = correlated(240, 24, 4);
  const expected = naiveOptimum(features, labels, 4, 1e-4, 4000);
  const probe = await fitLinearProbe(tf.tensor2d(features), labels, 4, { l2: 1e-4, maxIterations: 50 });
  expect(probe.converged).toBe(true);
  expect(Math.abs(probe.loss - expected)).toBeLessThan(2e-5);
  probe.dispose();
}, 60_000);

test('says where it did not come to the minimum', async () => {
  const { features, labels } = correlated(240, 24, 4);
  const probe = await fitLinearProbe(tf.tensor2d(features), labels, 4, { l2: 1e-4, maxIterations: 2 });
  expect(probe.converged).toBe(false);
  const lines: string[] = [];
  reportProbe(probe, (level, message) => lines.push(`${level}: ${message}`));
  expect(lines).toEqual([
    expect.stringMatching(/^warn: the linear probe is not at its minimum after 2 iterations: its slope is .*raise/),
  ]);
  probe.dispose();
});

test.each([1e-5, 1e-6, 1e-12])('features of deviation %s are worth what they are worth at 1', async (deviation) => {
  const { features, labels } = correlated(120, 6, 3);
  const settings = { l2: 1e-2, maxIterations: 200 };
  const [whole, tiny] = [
    await fitLinearProbe(tf.tensor2d(features), labels, 3, settings),
    await fitLinearProbe(tf.mul(tf.tensor2d(features), deviation), labels, 3, settings),
  ];
  expect(tiny.loss).toBeCloseTo(whole.loss, 5);
  whole.dispose();
  tiny.dispose();
});

test('of several strengths takes that which is the best on labels held out, and fits it to all', async () => {
  const { features, labels } = correlated(60, 24, 3);
  const all = { l2: [1e-6, 1e-2, 0.3, 100], maxIterations: 300 };
  const x = tf.tensor2d(features);
  const held = async (l2: number) => {
    // The fifth of each class that `labelSubset` leaves out.
    const { rows } = labelSubset({ labels, count: 60, classes: ['a', 'b', 'c'] }, 0.8, 7);
    const rest = [...labels.keys()].filter((row) => !rows.includes(row));
    expect(rest).toHaveLength(12);
    const of = (places: ArrayLike<number>) => tf.gather(x, Int32Array.from(places));
    const probe = await fitLinearProbe(
      of(rows),
      rows.map((row) => labels[row]!),
      3,
      { l2, maxIterations: 300 },
    );
    const logits = await probe.logits(of(rest)).array();
    return rest.reduce((sum, row, i) => {
      const own = logits[i]!;
      return sum + Math.log(own.reduce((total, value) => total + Math.exp(value), 0)) - own[labels[row]!]!;
    }, 0);
  };
  const losses: number[] = [];
  for (const l2 of all.l2) losses.push(await held(l2));
  const best = all.l2[losses.indexOf(Math.min(...losses))]!;
  const chosen = await fitProbe(x, labels, 3, all, 7);
  const alone = await fitLinearProbe(x, labels, 3, { l2: best, maxIterations: 300 });
  expect(chosen.l2).toBe(best);
  expect([...chosen.weights]).toEqual([...alone.weights]);
  expect([1e-6, 100]).not.toContain(best);
  await expect(fitProbe(x, Int32Array.of(0, 1, 2), 3, all, 7)).rejects.toThrow(/too few to hold any out/);
});

test('a feature that is the same everywhere counts for nothing', async () => {
  const { features, labels } = correlated(120, 6, 3);
  const settings = { l2: 1e-2, maxIterations: 200 };
  const [without, having] = [
    await fitLinearProbe(tf.tensor2d(features), labels, 3, settings),
    await fitLinearProbe(tf.tensor2d(features.map((row) => [...row, 1234.567])), labels, 3, settings),
  ];
  expect(having.loss).toBeCloseTo(without.loss, 5);
  without.dispose();
  having.dispose();
});

test('of features that are no numbers neither is the loss', async () => {
  const probe = await fitLinearProbe(tf.fill([6, 3], NaN), Int32Array.of(0, 1, 0, 1, 0, 1), 2, {
    l2: 0.1,
    maxIterations: 9,
  });
  expect(probe).toMatchObject({ loss: NaN, converged: false, iterations: 0 });
  probe.dispose();
});
