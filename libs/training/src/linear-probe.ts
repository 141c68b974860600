/** What frozen features are worth to a linear classifier. */
import type { Probe } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { turn, type Pause } from './evaluation.js';

const LBFGS_MEMORY = 10;

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
