/** What frozen features are worth to a linear classifier. */
import type { LogLevel, Probe } from '#libs/contracts';
import { InvalidDataError, labelSubset } from '#libs/data';
import { float, identity, kernel } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { turn, type Pause } from './evaluation.js';
import { crossEntropy } from './objectives.js';

/** Largest slope of a converged fit, of any weight. */
const GRADIENT_TOLERANCE = 1e-5;
const LBFGS_MEMORY = 10;
/** Least eigenvalue of the curvature that is inverted, in parts of the sum of all: single precision has no more. */
const LEAST_CURVATURE = 1e-6;
/** By how much rounding in single precision may raise a loss. */
const LOSS_NOISE = 1e-6;

/** Part of the labels that the strength of regularisation is not held against while it is chosen. */
const FITTED_PART = 0.8;

export interface LinearProbe {
  l2: number;
  weights: Float64Array;
  loss: number;
  iterations: number;
  /** Whether the slope is below `GRADIENT_TOLERANCE`: the minimum. */
  converged: boolean;
  /** Largest slope of a weight. */
  gradient: number;
  /** [N, F] → [N, classes], which the caller owns */
  logits(features: tf.Tensor2D): tf.Tensor2D;
  predict(features: tf.Tensor2D): Int32Array;
  dispose(): void;
}

/**
 * The probe of `l2`, and of several the one whose mean cross-entropy is the least on a fifth of each class's labels,
 * drawn by seed, that it was not fitted to; fitted anew to all. features: [N, F].
 * @throws InvalidDataError where one of several is to be chosen and no class has labels to spare
 */
export async function fitProbe(
  features: tf.Tensor2D,
  labels: Int32Array,
  classCount: number,
  { l2, maxIterations }: Probe,
  seed: number,
  pause: Pause = turn,
): Promise<LinearProbe> {
  const fit = (rows: tf.Tensor2D, of: Int32Array, strength: number) =>
    fitLinearProbe(rows, of, classCount, { l2: strength, maxIterations }, pause);
  if (typeof l2 === 'number') return fit(features, labels, l2);
  const classes = Array.from({ length: classCount }, (_, label) => String(label));
  const fitted = labelSubset({ labels, count: labels.length, classes }, FITTED_PART, seed).rows;
  const isFitted = new Set(fitted);
  const heldOut = Int32Array.from([...labels.keys()].filter((row) => !isFitted.has(row)));
  if (heldOut.length === 0)
    throw new InvalidDataError(
      `expected labels to choose one of ${l2.length} values of probe.l2 by, got ${labels.length} of ${classCount} ` +
        'classes, which are too few to hold any out: give one value, or more labels',
    );
  const of = (rows: Int32Array) => Int32Array.from(rows, (row) => labels[row]!);
  const [theirs, others] = tf.tidy(() => [tf.gather(features, fitted), tf.gather(features, heldOut)] as const);
  try {
    const losses: number[] = [];
    for (const strength of l2) {
      const probe = await fit(theirs, of(fitted), strength);
      losses.push(tf.tidy(() => crossEntropy(probe.logits(others), of(heldOut)).dataSync()[0]!));
      probe.dispose();
    }
    const finite = losses.map((loss) => (Number.isFinite(loss) ? loss : Infinity));
    return await fit(features, labels, l2[finite.indexOf(Math.min(...finite))]!);
  } finally {
    tf.dispose([theirs, others]);
  }
}

/**
 * Multinomial logistic regression on frozen features: minimises mean cross-entropy + l2/2 · |W|² (the bias is free) by
 * L-BFGS from zero, until no slope is above 1e-5 or `maxIterations`. Features are standardised by the training rows.
 * Convex: the minimum does not depend on the way there. features: [N, F].
 */
export async function fitLinearProbe(
  features: tf.Tensor2D,
  labels: Int32Array,
  classCount: number,
  { l2, maxIterations }: Probe & { l2: number },
  pause: Pause = turn,
): Promise<LinearProbe> {
  const [count, width] = features.shape;
  const { standardise, isFinite } = standardisation(features);
  const shape: [number, number] = [width + 1, classCount];
  const isWeight = (place: number) => place < width * classCount;
  const x = standardise(features);
  const target = tf.tidy(() => tf.cast(tf.oneHot(tf.tensor1d(labels, 'int32'), classCount), 'float32') as tf.Tensor2D);
  // Of features that are no numbers neither is the loss, and no iteration is made.
  const inverse = isFinite ? inverseCurvature(x, l2) : identity(width + 1);

  const objective = (w: Float64Array): Evaluated => {
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
  const precondition = (gradient: Float64Array): Float64Array =>
    Float64Array.from(tf.tidy(() => tf.matMul(inverse, tf.tensor2d(Float32Array.from(gradient), shape)).dataSync()));

  try {
    const start = new Float64Array(shape[0] * shape[1]);
    const { point, loss, gradient, iterations } = await minimise(start, objective, precondition, maxIterations, pause);
    const weights = tf.tensor2d(Float32Array.from(point), shape);
    const logits = (rows: tf.Tensor2D): tf.Tensor2D => tf.tidy(() => tf.matMul(standardise(rows), weights));
    const predict = (rows: tf.Tensor2D) => tf.tidy(() => tf.argMax(logits(rows), 1).dataSync() as Int32Array);
    const steepest = largest(gradient);
    const converged = steepest <= GRADIENT_TOLERANCE;
    return {
      l2,
      weights: point,
      loss,
      iterations,
      converged,
      gradient: steepest,
      logits,
      predict,
      dispose: () => weights.dispose(),
    };
  } finally {
    tf.dispose([x, target, inverse]);
  }
}

/** Says which of several strengths was chosen. */
export function reportChoice(
  probe: Pick<LinearProbe, 'l2'>,
  { l2 }: Pick<Probe, 'l2'>,
  log: (level: LogLevel, message: string) => void,
): void {
  if (typeof l2 !== 'number') log('info', `of probe.l2 ${l2.join(', ')} held-out labels have chosen ${probe.l2}`);
}

/** Says where a fit ended above its minimum. */
export function reportProbe(
  { converged, iterations, gradient }: LinearProbe,
  log: (level: LogLevel, message: string) => void,
): void {
  if (!converged)
    log(
      'warn',
      `the linear probe is not at its minimum after ${iterations} iterations: its slope is ` +
        `${gradient.toExponential(1)}, converged is ${GRADIENT_TOLERANCE}; raise probe.maxIterations or probe.l2`,
    );
}

/**
 * Features [N, F] → [N, F + 1]: less the mean of the given rows, over their standard deviation where they differ at all
 * (scikit-learn's `StandardScaler`), and a last column of ones that carries the bias. In double precision, because
 * deviations may be a millionth of the values.
 */
function standardisation(features: tf.Tensor2D): {
  standardise(rows: tf.Tensor2D): tf.Tensor2D;
  isFinite: boolean;
} {
  const [count, width] = features.shape;
  const values = features.dataSync();
  const [mean, variance] = [new Float64Array(width), new Float64Array(width)];
  for (let at = 0; at < values.length; at++) mean[at % width]! += values[at]! / count;
  for (let at = 0; at < values.length; at++) variance[at % width]! += (values[at]! - mean[at % width]!) ** 2 / count;
  const scale = variance.map((each, i) => (each <= (count * mean[i]! * Number.EPSILON) ** 2 ? 1 : 1 / Math.sqrt(each)));
  const standardise = (rows: tf.Tensor2D): tf.Tensor2D => {
    const [source, size] = [rows.dataSync(), rows.shape[0]];
    const result = new Float32Array(size * (width + 1));
    for (let row = 0, from = 0, to = 0; row < size; row++, to++) {
      for (let i = 0; i < width; i++, from++, to++) result[to] = (source[from]! - mean[i]!) * scale[i]!;
      result[to] = 1;
    }
    return tf.tensor2d(result, [size, width + 1]);
  };
  return { standardise, isFinite: variance.every(Number.isFinite) };
}

/**
 * Inverse of an upper bound of the loss's curvature, ½ XᵀX / N + l2 (Böhning 1992), the same for each class: with it
 * correlated features take a minimisation no longer than others. x: [N, D] → [D, D]
 */
const inverseCurvature = (x: tf.Tensor2D, l2: number): tf.Tensor2D =>
  tf.tidy(() => {
    const [count, width] = x.shape;
    const curvature = tf.mul<tf.Tensor2D>(tf.matMul(x, x, true), 0.5 / count);
    const ridge = Math.max(l2, (LEAST_CURVATURE * width) / 2);
    const [inverse] = kernel('MatrixInverse', { ...float(), adjoint: { type: 'bool', value: false } }, [
      tf.add(curvature, tf.mul(identity(width), ridge)),
    ]) as [tf.Tensor2D];
    return tf.mul(tf.add(inverse, tf.transpose(inverse)), 0.5);
  });

interface Evaluated {
  loss: number;
  gradient: Float64Array;
}

const dot = (a: Float64Array, b: Float64Array): number => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
};
const plus = (a: Float64Array, factor: number, b: Float64Array): Float64Array =>
  a.map((value, i) => value + factor * b[i]!);
const largest = (values: Float64Array): number => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

/** A step, and by how much the gradient changed on it. */
interface Move {
  s: Float64Array;
  y: Float64Array;
  rho: number;
}

/** −H · gradient, H from the last moves and, before them, `precondition` (Nocedal and Wright, algorithm 7.4). */
function descent(
  gradient: Float64Array,
  history: readonly Move[],
  precondition: (gradient: Float64Array) => Float64Array,
): Float64Array {
  const alphas: number[] = [];
  let direction: Float64Array = gradient.map((value) => -value);
  for (const { s, y, rho } of history.toReversed()) {
    const alpha = rho * dot(s, direction);
    alphas.unshift(alpha);
    direction = plus(direction, -alpha, y);
  }
  direction = precondition(direction);
  const last = history.at(-1);
  if (last) {
    const gamma = 1 / (last.rho * dot(last.y, precondition(last.y)));
    direction = direction.map((value) => value * gamma);
  }
  history.forEach(({ s, y, rho }, i) => {
    direction = plus(direction, alphas[i]! - rho * dot(y, direction), s);
  });
  return direction;
}

/**
 * L-BFGS (Nocedal and Wright, algorithm 7.5) with a backtracking line search: by Armijo's rule, and where single
 * precision can't tell losses apart by the slope (approximate Wolfe conditions, Hager and Zhang 2005).
 */
async function minimise(
  start: Float64Array,
  objective: (point: Float64Array) => Evaluated,
  precondition: (gradient: Float64Array) => Float64Array,
  maxIterations: number,
  pause: Pause,
) {
  let point = start;
  let { loss, gradient } = objective(point);
  const history: Move[] = [];
  let iterations = 0;
  for (; iterations < maxIterations && largest(gradient) > GRADIENT_TOLERANCE; iterations++) {
    let direction = descent(gradient, history, precondition);
    let slope = dot(gradient, direction);
    if (slope >= 0) {
      history.length = 0;
      direction = gradient.map((value) => -value);
      slope = dot(gradient, direction);
    }
    let next: (Evaluated & { point: Float64Array }) | undefined;
    for (let halving = 0, rate = 1; halving < 30 && !next; halving++, rate /= 2) {
      const candidate = plus(point, rate, direction);
      const evaluated = objective(candidate);
      const isLower = evaluated.loss <= loss + 1e-4 * rate * slope;
      const isFlat =
        evaluated.loss <= loss + LOSS_NOISE * Math.abs(loss) && dot(evaluated.gradient, direction) <= -0.9 * slope;
      if (isLower || isFlat) next = { point: candidate, ...evaluated };
    }
    if (!next) break;
    const [s, y] = [plus(next.point, -1, point), plus(next.gradient, -1, gradient)];
    const curvature = dot(s, y);
    if (curvature > 1e-12 * dot(s, s)) {
      history.push({ s, y, rho: 1 / curvature });
      if (history.length > LBFGS_MEMORY) history.shift();
    }
    ({ point, loss, gradient } = next);
    await pause();
  }
  return { point, loss, gradient, iterations };
}
