/**
 * UMAP, written here because umap-js holds its graph in maps of strings, builds it in one go and begins at random
 * places. Runs with the same seed give the same map bit for bit.
 */
import type { Random } from '#libs/data';
import { turn, type Pause } from '../evaluation.js';
import { symmetric, type Graph, type Neighbours } from './neighbours.js';
import { scaled } from './points.js';

export interface UmapOptions {
  neighbors: number;
  minDistance: number;
  epochs: number;
}

/** Epochs that umap-learn takes for so many samples. */
export const usualEpochs = (count: number): number => (count <= 10_000 ? 500 : 200);

/** Parameters of the similarity 1 / (1 + a·d^2b) of two points at distance d on the map. */
interface Curve {
  a: number;
  b: number;
}

/** Negative samples, points that are pushed away, for each neighbour that is pulled near. */
const NEGATIVE_SAMPLES = 5;
/** Bound of each coordinate of a gradient. */
const STEEPEST = 4;

/** The value where it lies between -`STEEPEST` and `STEEPEST`, else the nearer of the two. */
function clip(value: number): number {
  if (value > STEEPEST) return STEEPEST;
  return value < -STEEPEST ? -STEEPEST : value;
}

/**
 * UMAP (McInnes, Healy and Melville 2018) as umap-learn 0.5 does it, begun at `start` [N, 2], the principal components,
 * instead of the spectral layout. `neighbors` counts the point itself, as in umap-learn.
 */
export async function umap(
  neighbours: Neighbours,
  start: Float64Array,
  { neighbors, minDistance, epochs }: UmapOptions,
  random: Random,
  pause: Pause = turn,
): Promise<Float64Array> {
  const count = start.length / 2;
  const { starts, targets, weights } = fuzzyGraph(neighbours, Math.min(neighbours.k, neighbors - 1));
  const curve = curveOf(minDistance);
  const y = initialLayout(start, random);
  const { periods, next, nextNegative } = edgeSchedule(weights, epochs);
  for (let epoch = 0; epoch < epochs; epoch++) {
    await pause();
    const rate = 1 - epoch / epochs;
    for (let i = 0; i < count; i++) {
      for (let edge = starts[i]!; edge < starts[i + 1]!; edge++) {
        if (next[edge]! > epoch) continue;
        attract(y, i, targets[edge]!, curve, rate);
        next[edge]! += periods[edge]!;
        const each = periods[edge]! / NEGATIVE_SAMPLES;
        const negatives = Math.floor((epoch - nextNegative[edge]!) / each);
        for (let n = 0; n < negatives; n++) repel(y, i, Math.floor((random.uint32() / 2 ** 32) * count), curve, rate);
        nextNegative[edge]! += Math.max(0, negatives) * each;
      }
    }
  }
  return y;
}

/** `start` with a little noise, each axis stretched to the interval from 0 to 10. start: [N, 2] */
function initialLayout(start: Float64Array, random: Random): Float64Array {
  const y = scaled(start, 10 / (start.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1), () =>
    random.normal(0, 1e-4),
  );
  for (const axis of [0, 1]) {
    let [low, high] = [Infinity, -Infinity];
    for (let i = axis; i < y.length; i += 2) [low, high] = [Math.min(low, y[i]!), Math.max(high, y[i]!)];
    for (let i = axis; i < y.length; i += 2) y[i] = (10 * (y[i]! - low)) / (high - low);
  }
  return y;
}

/**
 * Epochs in which each edge is drawn: the strongest in every one, others every `periods` epochs, those that would be
 * drawn less than once never. `next` and `nextNegative`: epochs of the next draw, and of its next negative sample.
 */
function edgeSchedule(weights: Float64Array, epochs: number) {
  const strongest = weights.reduce((most, value) => Math.max(most, value), 0);
  const periods = weights.map((weight) => (weight < strongest / epochs ? Infinity : strongest / weight));
  return { periods, next: periods.slice(), nextNegative: periods.map((period) => period / NEGATIVE_SAMPLES) };
}

/** Moves points i and j, which an edge joins, towards each other. y: [N, 2] */
function attract(y: Float64Array, i: number, j: number, { a, b }: Curve, rate: number): void {
  const [dx, dy] = [y[2 * i]! - y[2 * j]!, y[2 * i + 1]! - y[2 * j + 1]!];
  const squared = dx * dx + dy * dy;
  if (!(squared > 0)) return;
  const power = Math.pow(squared, b);
  const pull = (-2 * a * b * (power / squared)) / (a * power + 1);
  const [stepX, stepY] = [rate * clip(pull * dx), rate * clip(pull * dy)];
  y[2 * i]! += stepX;
  y[2 * i + 1]! += stepY;
  y[2 * j]! -= stepX;
  y[2 * j + 1]! -= stepY;
}

/** Moves point i away from `other`, a negative sample, which stays where it is. y: [N, 2] */
function repel(y: Float64Array, i: number, other: number, { a, b }: Curve, rate: number): void {
  if (other === i) return;
  const [dx, dy] = [y[2 * i]! - y[2 * other]!, y[2 * i + 1]! - y[2 * other + 1]!];
  const squared = dx * dx + dy * dy;
  if (squared === 0) return;
  const push = (2 * b) / ((0.001 + squared) * (a * Math.pow(squared, b) + 1));
  y[2 * i]! += rate * clip(push * dx);
  y[2 * i + 1]! += rate * clip(push * dy);
}
/**
 * The fuzzy graph: an edge's membership is exp(−(d − ρ) / σ), with ρ the distance of the point's nearest neighbour and
 * σ such that the point's memberships sum to log2(k + 1); both directions of an edge are united by a + b − a·b.
 */
function fuzzyGraph(neighbours: Neighbours, k: number): Graph {
  const { k: stride, distances } = neighbours;
  const count = distances.length / stride;
  const memberships = new Float64Array(count * k);
  const target = Math.log2(k + 1);
  const mean = distances.reduce((sum, value, place) => (place % stride < k ? sum + value : sum), 0) / (count * (k + 1));
  for (let i = 0; i < count; i++) {
    const own = distances.subarray(i * stride, i * stride + k);
    // ρ is the distance of the nearest neighbour that isn't a copy of the point.
    const rho = own.find((distance) => distance > 0) ?? 0;
    let [low, high, sigma] = [0, Infinity, 1];
    for (let step = 0; step < 64; step++) {
      let sum = 0;
      for (const distance of own) sum += distance > rho ? Math.exp(-(distance - rho) / sigma) : 1;
      if (Math.abs(sum - target) < 1e-5) break;
      if (sum > target) {
        high = sigma;
        sigma = (low + high) / 2;
      } else {
        low = sigma;
        sigma = high === Infinity ? sigma * 2 : (low + high) / 2;
      }
    }
    const ownMean = own.reduce((sum, value) => sum + value, 0) / (k + 1);
    sigma = Math.max(sigma, 1e-3 * (rho > 0 ? ownMean : mean));
    own.forEach((distance, n) => {
      memberships[i * k + n] = distance <= rho || sigma === 0 ? 1 : Math.exp(-(distance - rho) / sigma);
    });
  }
  return symmetric(neighbours, k, memberships, (a, b) => a + b - a * b);
}

/**
 * Parameters of 1 / (1 + a·d^2b), fitted by least squares to a curve that is 1 up to `minDistance` and falls as
 * e^(minDistance − d) after it. Levenberg and Marquardt's method.
 */
export function curveOf(minDistance: number): Curve {
  const samples = Array.from({ length: 300 }, (_, i) => (3 * i) / 299);
  const wanted = samples.map((d) => (d < minDistance ? 1 : Math.exp(minDistance - d)));
  const errorOf = (a: number, b: number) =>
    samples.reduce((sum, d, i) => sum + (1 / (1 + a * Math.pow(d, 2 * b)) - wanted[i]!) ** 2, 0);
  let [a, b, damping] = [1, 1, 1e-3];
  for (let step = 0; step < 200; step++) {
    let [aa, ab, bb, ra, rb] = [0, 0, 0, 0, 0];
    samples.forEach((d, i) => {
      if (d === 0) return;
      const power = Math.pow(d, 2 * b);
      const value = 1 / (1 + a * power);
      const [da, db] = [-value * value * power, -value * value * a * power * 2 * Math.log(d)];
      const residual = wanted[i]! - value;
      aa += da * da;
      ab += da * db;
      bb += db * db;
      ra += da * residual;
      rb += db * residual;
    });
    const [damped, dampedB] = [aa * (1 + damping), bb * (1 + damping)];
    const determinant = damped * dampedB - ab * ab;
    const [nextA, nextB] = [a + (dampedB * ra - ab * rb) / determinant, b + (damped * rb - ab * ra) / determinant];
    if (nextA > 0 && nextB > 0 && errorOf(nextA, nextB) <= errorOf(a, b)) {
      const moved = Math.abs(nextA - a) + Math.abs(nextB - b);
      [a, b, damping] = [nextA, nextB, damping / 10];
      if (moved < 1e-12) break;
    } else damping *= 10;
  }
  return { a, b };
}
