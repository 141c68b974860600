import type { Autoencode, Knn, Probe } from '#libs/contracts';
import { gatherSamples, inputOf, inputShape, type SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { encode } from './networks/encoder.js';
import { unitRows } from './objectives.js';

const EVALUATION_BATCH = 512;
/** Most numbers in the samples of a batch: long sounds come in smaller batches. */
const EVALUATION_NUMBERS = 2 ** 23;
/** Similarities of so many queries are held at once. */
const QUERY_BATCH = 1024;
const LBFGS_MEMORY = 10;

/** Lets messages in between two native calls. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/** Awaited between two batches of an evaluation, which may take minutes. What it throws ends the evaluation. */
export type Pause = () => Promise<void>;

/**
 * What `map` gives for the encoder's inputs of these rows, batch by batch, in one tensor [rows, D] that the caller
 * owns.
 */
export async function collect(
  split: SampleSplit,
  rows: Int32Array,
  map: (inputs: tf.Tensor4D) => tf.Tensor2D,
  pause: Pause = turn,
  domain?: Autoencode['domain'],
): Promise<tf.Tensor2D> {
  const parts: tf.Tensor2D[] = [];
  const size = inputShape(split.sample, 'waveform').reduce((product, side) => product * side, 1);
  const batch = Math.max(1, Math.min(EVALUATION_BATCH, Math.floor(EVALUATION_NUMBERS / size)));
  try {
    for (let start = 0; start < rows.length; start += batch) {
      await pause();
      parts.push(
        tf.tidy(() => map(inputOf(split.sample, gatherSamples(split, rows.subarray(start, start + batch)), domain))),
      );
    }
    return tf.concat2d(parts, 0);
  } finally {
    tf.dispose(parts);
  }
}

/** Inputs → h [N, F], by the encoder as it is for evaluation. */
export const representation =
  (encoder: LayersModel) =>
  (inputs: tf.Tensor4D): tf.Tensor2D =>
    encode(encoder, inputs, false).features;

/**
 * Weighted k-nearest-neighbour classification (Wu et al. 2018): the k most similar vectors of the bank by cosine vote
 * with exp(similarity / temperature). bank: [B, F], queries: [Q, F]. Returns the class of each query; where k is above
 * B, all vote.
 */
export async function weightedKnn(
  bank: tf.Tensor2D,
  bankLabels: Int32Array,
  queries: tf.Tensor2D,
  classCount: number,
  { k, temperature }: Pick<Knn, 'k' | 'temperature'>,
  pause: Pause = turn,
): Promise<Int32Array> {
  const neighbours = Math.min(k, bank.shape[0]);
  const predictions = new Int32Array(queries.shape[0]);
  const units = tf.tidy(() => unitRows(bank));
  try {
    for (let start = 0; start < queries.shape[0]; start += QUERY_BATCH) {
      await pause();
      const size = Math.min(QUERY_BATCH, queries.shape[0] - start);
      const { values, indices } = tf.tidy(() =>
        tf.topk(tf.matMul(unitRows(tf.slice2d(queries, [start, 0], [size, -1])), units, false, true), neighbours),
      );
      const [similarities, places] = [values.dataSync(), indices.dataSync()];
      tf.dispose([values, indices]);
      for (let first = 0; first < size * neighbours; first += neighbours) {
        const votes = new Float64Array(classCount);
        // In proportion to the nearest one's vote: a low temperature would go beyond the largest number.
        for (let n = first; n < first + neighbours; n++)
          votes[bankLabels[places[n]!]!]! += Math.exp((similarities[n]! - similarities[first]!) / temperature);
        predictions[start + first / neighbours] = votes.indexOf(Math.max(...votes));
      }
    }
    return predictions;
  } finally {
    units.dispose();
  }
}

export function accuracy(predictions: ArrayLike<number>, labels: ArrayLike<number>): number {
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (predictions[i] === labels[i]) right++;
  return right / labels.length;
}

/**
 * Standard deviation (the unbiased one) of the unit features' dimensions, times √D: 1 where they are spread evenly over
 * the sphere, 0 where all are one point. [N, D]
 */
export const spreadOf = (features: tf.Tensor2D): number =>
  tf.tidy(() => {
    const [count, width] = features.shape;
    return tf
      .mul(tf.mean(tf.sqrt(tf.moments(unitRows(features), 0).variance)), Math.sqrt((width * count) / (count - 1)))
      .dataSync()[0]!;
  });

const RANK_EPSILON = 1e-7;

/**
 * RankMe (Garrido et al. 2023, eq. 1): e to the entropy of the singular values, an effective number of dimensions.
 * Features are not centred. [N, D]
 */
export function rankMe(features: tf.Tensor2D): number {
  // The product of features with themselves squares small singular values away, but for 64-bit numbers.
  const [count, width] = features.shape;
  const values = features.dataSync();
  const gram = Matrix.zeros(width, width);
  for (let row = 0; row < count; row++) {
    for (let i = 0; i < width; i++) {
      const x = values[row * width + i]!;
      if (x !== 0) for (let j = 0; j <= i; j++) gram.set(i, j, gram.get(i, j) + x * values[row * width + j]!);
    }
  }
  for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) gram.set(j, i, gram.get(i, j));
  const singular = new EigenvalueDecomposition(gram, { assumeSymmetric: true }).realEigenvalues.map((value) =>
    Math.sqrt(Math.max(0, value)),
  );
  const total = singular.reduce((sum, value) => sum + value, 0);
  if (total === 0) return 0;
  return Math.exp(
    -singular.reduce((sum, value) => {
      const p = value / total + RANK_EPSILON;
      return sum + p * Math.log(p);
    }, 0),
  );
}

/**
 * Mean squared distance of unit features of two views (Wang and Isola 2020): 0 where views agree. a, b: [N, D], paired
 * rows.
 */
export const alignment = (a: tf.Tensor2D, b: tf.Tensor2D): number =>
  tf.tidy(() => tf.mean(tf.sum(tf.squaredDifference(unitRows(a), unitRows(b)), 1)).dataSync()[0]!);

/**
 * Logarithm of the mean of e^(−2 · squared distance) over all pairs of unit features (Wang and Isola 2020): lower is
 * more even. [N, D]
 */
export const uniformity = (features: tf.Tensor2D): number =>
  tf.tidy(() => {
    const unit = unitRows(features);
    const count = unit.shape[0];
    const potentials = tf.exp(tf.mul(tf.sub(tf.matMul(unit, unit, false, true), 1), 4));
    // Each pair stands there twice, and each row with itself once.
    return Math.log((tf.sum(potentials).dataSync()[0]! - count) / (count * (count - 1)));
  });

export interface LinearProbe {
  weights: Float64Array;
  loss: number;
  iterations: number;
  predict(features: tf.Tensor2D): Int32Array;
  dispose(): void;
}

/**
 * Multinomial logistic regression on frozen features: minimises mean cross-entropy + l2/2 · |W|² (the bias is free) by
 * L-BFGS from zero, until the gradient is below 1e-5 or `maxIterations`. Features are standardised by the training
 * rows. Convex: the result does not depend on the way there. features: [N, F].
 */
export async function fitLinearProbe(
  features: tf.Tensor2D,
  labels: Int32Array,
  classCount: number,
  { l2, maxIterations }: Probe,
  pause: Pause = turn,
): Promise<LinearProbe> {
  const [count, width] = features.shape;
  const { mean, scale } = tf.tidy(() => {
    const moments = tf.moments(features, 0, true);
    return { mean: tf.keep(moments.mean), scale: tf.keep(tf.add(tf.sqrt(moments.variance), 1e-6)) };
  });
  // x: [N, F + 1], a last column of ones carries the bias.
  const withBias = (rows: tf.Tensor2D) =>
    tf.concat2d([tf.div(tf.sub(rows, mean), scale), tf.ones([rows.shape[0], 1])], 1);
  const x = tf.tidy(() => withBias(features));
  const target = tf.tidy(() => tf.cast(tf.oneHot(tf.tensor1d(labels, 'int32'), classCount), 'float32') as tf.Tensor2D);
  const shape: [number, number] = [width + 1, classCount];
  const isWeight = (place: number) => place < width * classCount;

  const objective = (w: Float64Array): { loss: number; gradient: Float64Array } => {
    const [loss, gradient] = tf.tidy(() => {
      const logits = tf.matMul(x, tf.tensor2d(Float32Array.from(w), shape));
      const normaliser = tf.logSumExp(logits, 1, true);
      const residual = tf.sub(tf.exp(tf.sub(logits, normaliser)), target);
      return [
        tf.mean(tf.sub(normaliser, tf.sum(tf.mul(logits, target), 1, true))).dataSync()[0]!,
        tf.div(tf.matMul(x, residual, true), count).dataSync(),
      ] as const;
    });
    let penalty = 0;
    const total = Float64Array.from(gradient, (value, place) => {
      if (!isWeight(place)) return value;
      penalty += w[place]! ** 2;
      return value + l2 * w[place]!;
    });
    return { loss: loss + 0.5 * l2 * penalty, gradient: total };
  };

  const dispose = () => {
    tf.dispose([mean, scale]);
  };
  try {
    const { point, loss, iterations } = await minimise(
      new Float64Array(shape[0] * shape[1]),
      objective,
      maxIterations,
      pause,
    );
    const predict = (rows: tf.Tensor2D) =>
      tf.tidy(
        () =>
          tf
            .argMax(tf.matMul(withBias(rows), tf.tensor2d(Float32Array.from(point), shape)), 1)
            .dataSync() as Int32Array,
      );
    return { weights: point, loss, iterations, predict, dispose };
  } catch (error) {
    dispose();
    throw error;
  } finally {
    tf.dispose([x, target]);
  }
}

/** L-BFGS (Nocedal and Wright, algorithm 7.5) with a backtracking line search (Armijo). */
async function minimise(
  start: Float64Array,
  objective: (point: Float64Array) => { loss: number; gradient: Float64Array },
  maxIterations: number,
  pause: Pause,
) {
  const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
  let point = start;
  let { loss, gradient } = objective(point);
  const history: { s: Float64Array; y: Float64Array; rho: number }[] = [];
  let iterations = 0;
  for (; iterations < maxIterations && Math.sqrt(dot(gradient, gradient)) > 1e-5; iterations++) {
    const direction = gradient.map((value) => -value);
    const alphas: number[] = [];
    for (const { s, y, rho } of history.toReversed()) {
      const alpha = rho * dot(s, direction);
      alphas.push(alpha);
      direction.forEach((value, i) => {
        direction[i] = value - alpha * y[i]!;
      });
    }
    const last = history.at(-1);
    if (last) {
      const gamma = 1 / (last.rho * dot(last.y, last.y));
      direction.forEach((value, i) => {
        direction[i] = value * gamma;
      });
    }
    history.forEach(({ s, y, rho }, i) => {
      const beta = rho * dot(y, direction);
      const alpha = alphas[history.length - 1 - i]!;
      direction.forEach((value, j) => {
        direction[j] = value + (alpha - beta) * s[j]!;
      });
    });
    const slope = dot(gradient, direction);
    if (slope >= 0) break;
    let rate = last ? 1 : Math.min(1, 1 / Math.sqrt(dot(gradient, gradient)));
    let next: { point: Float64Array; loss: number; gradient: Float64Array } | undefined;
    for (let halving = 0; halving < 30; halving++, rate /= 2) {
      const candidate = point.map((value, i) => value + rate * direction[i]!);
      const evaluated = objective(candidate);
      if (evaluated.loss <= loss + 1e-4 * rate * slope) {
        next = { point: candidate, ...evaluated };
        break;
      }
    }
    // Float32 kernels can't tell the losses apart any more: this is the minimum.
    if (!next) break;
    const s = next.point.map((value, i) => value - point[i]!);
    const y = next.gradient.map((value, i) => value - gradient[i]!);
    const curvature = dot(s, y);
    if (curvature > 1e-12) {
      history.push({ s, y, rho: 1 / curvature });
      if (history.length > LBFGS_MEMORY) history.shift();
    }
    ({ point, loss, gradient } = next);
    await pause();
  }
  return { point, loss, iterations };
}
