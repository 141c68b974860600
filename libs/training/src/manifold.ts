/**
 * Maps of a latent space in two dimensions, and numbers that say what a map is worth. Everything here repeats bit for
 * bit with one seed on one machine; what takes long awaits `pause` in between, and what that throws ends it. Maps: [N,
 * 2].
 *
 * t-SNE and UMAP are our own: umap-js holds its graph in maps of strings, builds it in one go and begins at random
 * places; wasm-bhtsne wants a browser's threads, and takes no seed.
 */
import type { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { EigenvalueDecomposition, Matrix, SingularValueDecomposition } from 'ml-matrix';
import { turn, type Pause } from './evaluation.js';

/** [N, width], row by row. */
export interface Points {
  values: Float32Array | Float64Array;
  width: number;
}

const countOf = ({ values, width }: Points): number => values.length / width;

/** So many multiplications are done between two pauses: about a quarter of a second. */
const WORK_BETWEEN_PAUSES = 2e8;

export interface Components {
  /** The points' coordinates along the first components, centred: [N, count]. */
  scores: Float64Array;
  /** Part of the variance that each component has, of all of them in falling order; zeros where there is none. */
  explained: number[];
}

/**
 * Principal components, exact: eigenvectors of the covariance matrix in double precision. The largest loading of each,
 * by its absolute value, is positive. Takes N·D² steps, and D³ more that can't be interrupted: 3 s for D = 1,000,
 * minutes for 4,000.
 */
export async function pca(points: Points, count: number, pause: Pause = turn): Promise<Components> {
  const { values, width } = points;
  const rows = countOf(points);
  const mean = new Float64Array(width);
  for (let row = 0, at = 0; row < rows; row++) for (let i = 0; i < width; i++, at++) mean[i]! += values[at]! / rows;
  const covariance = Array.from({ length: width }, () => new Float64Array(width));
  const centred = new Float64Array(width);
  const block = Math.ceil(WORK_BETWEEN_PAUSES / (width * width));
  for (let row = 0; row < rows; row++) {
    if (row % block === 0) await pause();
    for (let i = 0; i < width; i++) centred[i] = values[row * width + i]! - mean[i]!;
    for (let i = 0; i < width; i++) {
      const [x, line] = [centred[i]!, covariance[i]!];
      if (x !== 0) for (let j = 0; j <= i; j++) line[j]! += x * centred[j]!;
    }
  }
  for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) covariance[j]![i] = covariance[i]![j]!;
  await pause();
  const { realEigenvalues: variances, eigenvectorMatrix: vectors } = new EigenvalueDecomposition(
    new Matrix(covariance),
    { assumeSymmetric: true },
  );
  const total = variances.reduce((sum, value) => sum + Math.max(0, value), 0);
  const order = variances.map((_, place) => place).sort((a, b) => variances[b]! - variances[a]!);
  const axes = order.slice(0, count).map((place) => {
    const axis = Float64Array.from(vectors.getColumn(place));
    const largest = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return largest < 0 ? axis.map((value) => -value) : axis;
  });
  const scores = new Float64Array(rows * count);
  for (let row = 0; row < rows; row++) {
    if (row % block === 0) await pause();
    axes.forEach((axis, place) => {
      let score = 0;
      for (let i = 0; i < width; i++) score += (values[row * width + i]! - mean[i]!) * axis[i]!;
      scores[row * count + place] = score;
    });
  }
  return { scores, explained: order.map((place) => (total > 0 ? Math.max(0, variances[place]!) / total : 0)) };
}

/** The k nearest other points of each, nearest first: [N, k], with Euclidean distances. */
export interface Neighbours {
  k: number;
  places: Int32Array;
  distances: Float64Array;
}

/** Places and distances of neighbours that are held: 480 MB, and t-SNE's forces take four times that. */
export const MOST_NEIGHBOURS = 4e7;
/** Similarities that are held at once: 64 MiB. */
const SIMILARITIES = 2 ** 24;
/** Single precision picks so many candidates more than are asked for; double precision decides. */
const SPARE_CANDIDATES = 8;

/**
 * Exact neighbours by TensorFlow's matrix products: N²·D steps. At most N − 1 for each. @throws RangeError beyond
 * `MOST_NEIGHBOURS` in all
 */
export async function nearest(points: Points, k: number, pause: Pause = turn): Promise<Neighbours> {
  const { values, width } = points;
  const count = countOf(points);
  const kept = Math.min(k, count - 1);
  if (count * kept > MOST_NEIGHBOURS)
    throw new RangeError(
      `expected at most ${MOST_NEIGHBOURS} neighbours in all, got ${count} points with ${kept} each`,
    );
  const candidates = Math.min(count, kept + 1 + SPARE_CANDIDATES);
  const batch = Math.max(1, Math.min(1024, Math.floor(SIMILARITIES / count)));
  const [places, distances] = [new Int32Array(count * kept), new Float64Array(count * kept)];
  const [x, squares] = tf.tidy((): [tf.Tensor2D, tf.Tensor1D] => {
    const raw = tf.tensor2d(Float32Array.from(values), [count, width]);
    const centred = tf.sub<tf.Tensor2D>(raw, tf.mean(raw, 0, true));
    return [centred, tf.sum<tf.Tensor1D>(tf.square(centred), 1)];
  });
  try {
    for (let start = 0; start < count; start += batch) {
      await pause();
      const size = Math.min(batch, count - start);
      // −|x − y|² and what is the same for all y.
      const found = tf.tidy(() =>
        tf
          .topk(
            tf.sub(tf.mul(tf.matMul(tf.slice2d(x, [start, 0], [size, -1]), x, false, true), 2), squares),
            candidates,
          )
          .indices.dataSync(),
      );
      for (let row = start; row < start + size; row++) {
        const near: { place: number; squared: number }[] = [];
        for (const place of found.subarray((row - start) * candidates, (row - start + 1) * candidates)) {
          if (place !== row) near.push({ place, squared: squaredDistance(values, width, row, place) });
        }
        near.sort((a, b) => a.squared - b.squared || a.place - b.place);
        for (let n = 0; n < kept; n++) {
          places[row * kept + n] = near[n]!.place;
          distances[row * kept + n] = Math.sqrt(near[n]!.squared);
        }
      }
    }
  } finally {
    tf.dispose([x, squares]);
  }
  return { k: kept, places, distances };
}

function squaredDistance(values: Float32Array | Float64Array, width: number, a: number, b: number): number {
  let sum = 0;
  for (let i = 0, from = a * width, to = b * width; i < width; i++, from++, to++)
    sum += (values[from]! - values[to]!) ** 2;
  return sum;
}

/** A symmetric sparse matrix by rows: row i has `targets` and `weights` from `starts[i]` up to `starts[i + 1]`. */
interface Graph {
  starts: Int32Array;
  targets: Int32Array;
  weights: Float64Array;
}

/**
 * weights: [N, k], of the edges to the first k neighbours of each point. Both directions of an edge become `combine` of
 * the two.
 */
function symmetric(
  { k: stride, places }: Neighbours,
  k: number,
  weights: Float64Array,
  combine: (a: number, b: number) => number,
): Graph {
  const count = weights.length / k;
  const incoming = new Int32Array(count + 1);
  for (let i = 0; i < count; i++) for (let n = 0; n < k; n++) incoming[places[i * stride + n]! + 1]!++;
  for (let i = 0; i < count; i++) incoming[i + 1]! += incoming[i]!;
  const [sources, back, filled] = [new Int32Array(count * k), new Float64Array(count * k), incoming.slice(0, count)];
  for (let i = 0; i < count; i++) {
    for (let n = 0; n < k; n++) {
      const at = filled[places[i * stride + n]!]!++;
      sources[at] = i;
      back[at] = weights[i * k + n]!;
    }
  }
  const starts = new Int32Array(count + 1);
  const [targets, combined] = [new Int32Array(2 * count * k), new Float64Array(2 * count * k)];
  /** Where row i has its edge to a point, plus one; the row's own marks are cleared with it. */
  const seen = new Int32Array(count);
  let edge = 0;
  for (let i = 0; i < count; i++) {
    const first = edge;
    for (let n = 0; n < k; n++, edge++) {
      const target = places[i * stride + n]!;
      targets[edge] = target;
      combined[edge] = combine(weights[i * k + n]!, 0);
      seen[target] = edge + 1;
    }
    for (let at = incoming[i]!; at < incoming[i + 1]!; at++) {
      const mark = seen[sources[at]!]!;
      if (mark > 0) combined[mark - 1] = combine(weights[i * k + mark - 1 - first]!, back[at]!);
      else {
        targets[edge] = sources[at]!;
        combined[edge++] = combine(0, back[at]!);
      }
    }
    for (let at = first; at < first + k; at++) seen[targets[at]!] = 0;
    starts[i + 1] = edge;
  }
  return { starts, targets: targets.slice(0, edge), weights: combined.slice(0, edge) };
}

export interface TsneOptions {
  perplexity: number;
  iterations: number;
}

const EXAGGERATION = 12;
const EXAGGERATED_ITERATIONS = 250;
const TSNE_MOMENTUM = 0.8;
const LEAST_GAIN = 0.01;
const LONGEST_STEP = 5;
/** A cell whose side is at most this part of its distance counts as one point. */
const ANGLE = 0.5;

/** Largest perplexity that so many points allow: each takes three times as many neighbours. */
export const largestPerplexity = (count: number): number => (count - 1) / 3;

/**
 * t-SNE (van der Maaten and Hinton 2008) with Barnes-Hut forces (van der Maaten 2014), begun at `start` [N, 2], the
 * principal components. The first 250 iterations (at most a third) exaggerate attraction 12 times; learning rate,
 * momentum, gains and the bound of a step are those of openTSNE. Takes 3 · perplexity neighbours of each point, and
 * N·log N steps an iteration.
 */
export async function tsne(
  neighbours: Neighbours,
  start: Float64Array,
  { perplexity, iterations }: TsneOptions,
  random: Random,
  pause: Pause = turn,
): Promise<Float64Array> {
  const count = start.length / 2;
  const graph = affinities(neighbours, Math.min(perplexity, largestPerplexity(count)));
  const y = scaled(start, 1e-4 / (deviation(start, 0) || 1), () => random.normal(0, 1e-6));
  const [velocity, gains, gradient] = [
    new Float64Array(2 * count),
    new Float64Array(2 * count).fill(1),
    new Float64Array(2 * count),
  ];
  const exaggerated = Math.min(EXAGGERATED_ITERATIONS, Math.floor(iterations / 3));
  const tree = new Quadtree(count);
  for (let iteration = 0; iteration < iterations; iteration++) {
    await pause();
    const exaggeration = iteration < exaggerated ? EXAGGERATION : 1;
    const rate = count / exaggeration;
    const normaliser = tree.repulsion(y, gradient);
    for (let i = 0; i < count; i++) {
      let [forceX, forceY] = [-gradient[2 * i]! / normaliser, -gradient[2 * i + 1]! / normaliser];
      for (let edge = graph.starts[i]!; edge < graph.starts[i + 1]!; edge++) {
        const j = graph.targets[edge]!;
        const [dx, dy] = [y[2 * i]! - y[2 * j]!, y[2 * i + 1]! - y[2 * j + 1]!];
        const pull = (exaggeration * graph.weights[edge]!) / (1 + dx * dx + dy * dy);
        forceX += pull * dx;
        forceY += pull * dy;
      }
      gradient[2 * i] = forceX;
      gradient[2 * i + 1] = forceY;
    }
    for (let place = 0; place < 2 * count; place++) {
      const turned = Math.sign(velocity[place]!) !== Math.sign(gradient[place]!);
      gains[place] = turned ? gains[place]! + 0.2 : Math.max(LEAST_GAIN, gains[place]! * 0.8);
      velocity[place] = TSNE_MOMENTUM * velocity[place]! - rate * gains[place]! * gradient[place]!;
    }
    let [meanX, meanY] = [0, 0];
    for (let i = 0; i < count; i++) {
      const length = Math.hypot(velocity[2 * i]!, velocity[2 * i + 1]!);
      if (length > LONGEST_STEP) {
        velocity[2 * i]! *= LONGEST_STEP / length;
        velocity[2 * i + 1]! *= LONGEST_STEP / length;
      }
      meanX += (y[2 * i]! += velocity[2 * i]!) / count;
      meanY += (y[2 * i + 1]! += velocity[2 * i + 1]!) / count;
    }
    for (let i = 0; i < count; i++) {
      y[2 * i]! -= meanX;
      y[2 * i + 1]! -= meanY;
    }
  }
  return y;
}

/**
 * p_ij = (p_j|i + p_i|j) / 2N, where p_·|i is a Gaussian over neighbours whose entropy is the logarithm of the
 * perplexity.
 */
function affinities(neighbours: Neighbours, perplexity: number): Graph {
  const { k: stride, distances } = neighbours;
  const count = distances.length / stride;
  const k = Math.min(stride, Math.floor(3 * perplexity));
  const conditional = new Float64Array(count * k);
  const entropy = Math.log(perplexity);
  for (let i = 0; i < count; i++) {
    const nearestSquared = distances[i * stride]! ** 2;
    let [low, high, precision] = [0, Infinity, 1];
    for (let step = 0; step < 200; step++) {
      let [sum, weighted] = [0, 0];
      for (let n = 0; n < k; n++) {
        const squared = distances[i * stride + n]! ** 2 - nearestSquared;
        const p = Math.exp(-squared * precision);
        conditional[i * k + n] = p;
        sum += p;
        weighted += squared * p;
      }
      for (let n = 0; n < k; n++) conditional[i * k + n]! /= sum;
      const excess = Math.log(sum) + (precision * weighted) / sum - entropy;
      // Neighbours at one distance have one entropy, whatever the precision.
      if (Math.abs(excess) < 1e-8 || precision > 1e100 || precision < 1e-100) break;
      if (excess > 0) {
        low = precision;
        precision = high === Infinity ? precision * 2 : (low + high) / 2;
      } else {
        high = precision;
        precision = (low + high) / 2;
      }
    }
  }
  return symmetric(neighbours, k, conditional, (a, b) => (a + b) / (2 * count));
}

/** Halvings of the square on each axis: points in one of the smallest squares share a leaf. */
const LEVELS = 16;
/** A point's place in the order of the squares is held in one number with its index. */
const MOST_POINTS = 2 ** 20;

/**
 * Points in the plane by nested squares, where what is far away counts as one. Squares lie in the order in which they
 * are visited, so that a visit goes forward through memory; one with all its points in one quarter is that quarter.
 */
export class Quadtree {
  private size = 0;
  /**
   * Of each square: the middle of its points (x, y), their number, and the squared distance from which they count as
   * one, 0 for a leaf.
   */
  private readonly squares: Float64Array;
  /** The next one that is not inside. */
  private readonly after: Int32Array;
  /** Of points in the order of the squares: quarters taken from the outermost square on, two bits each. */
  private readonly paths: Uint32Array;
  private readonly order: Int32Array;
  private readonly keys: Float64Array;
  private side = 0;

  constructor(private readonly count: number) {
    if (count > MOST_POINTS) throw new RangeError(`expected at most ${MOST_POINTS} points, got ${count}`);
    // All but leaves have at least two in them.
    [this.squares, this.after] = [new Float64Array(4 * 2 * count), new Int32Array(2 * count)];
    [this.paths, this.order, this.keys] = [new Uint32Array(count), new Int32Array(count), new Float64Array(count)];
  }

  /**
   * Σ_j (y_i − y_j) · q_ij² into `forces` for each i, with q_ij = 1 / (1 + |y_i − y_j|²). Returns Σ q_ij over all pairs
   * i ≠ j.
   */
  repulsion(y: Float64Array, forces: Float64Array): number {
    this.sort(y);
    this.size = 0;
    this.build(y, 0, this.count, 0);
    const { size, squares, after } = this;
    let normaliser = 0;
    for (const i of this.order) {
      const [x, height] = [y[2 * i]!, y[2 * i + 1]!];
      let [forceX, forceY] = [0, 0];
      for (let node = 0; node < size;) {
        const at = 4 * node;
        const [dx, dy] = [x - squares[at]!, height - squares[at + 1]!];
        const squared = dx * dx + dy * dy;
        if (squared < squares[at + 3]!) {
          node++;
          continue;
        }
        const q = 1 / (1 + squared);
        const weighted = squares[at + 2]! * q;
        normaliser += weighted;
        forceX += weighted * q * dx;
        forceY += weighted * q * dy;
        node = after[node]!;
      }
      forces[2 * i] = forceX;
      forces[2 * i + 1] = forceY;
    }
    // A point's own leaf is at no distance: 1 for each, and no force.
    return Math.max(normaliser - this.count, Number.MIN_VALUE);
  }

  private sort(y: Float64Array): void {
    let [lowX, highX, lowY, highY] = [Infinity, -Infinity, Infinity, -Infinity];
    for (let at = 0; at < y.length; at += 2) {
      const [x, height] = [y[at]!, y[at + 1]!];
      if (x < lowX) lowX = x;
      if (x > highX) highX = x;
      if (height < lowY) lowY = height;
      if (height > highY) highY = height;
    }
    this.side = Math.max(highX - lowX, highY - lowY, Number.MIN_VALUE);
    const cells = 2 ** LEVELS;
    const cellOf = (distance: number) => Math.min(cells - 1, Math.floor((distance / this.side) * cells));
    for (let i = 0; i < this.count; i++)
      this.keys[i] = interleaved(cellOf(y[2 * i]! - lowX), cellOf(y[2 * i + 1]! - lowY)) * MOST_POINTS + i;
    this.keys.sort();
    this.keys.forEach((key, place) => {
      this.paths[place] = Math.floor(key / MOST_POINTS);
      this.order[place] = key % MOST_POINTS;
    });
  }

  /** The square of the points from place `from` up to `to`, which share their first `level` quarters. */
  private build(y: Float64Array, from: number, to: number, level: number): number {
    const { paths, squares, order } = this;
    const quarter = (place: number) => (paths[place]! >>> (2 * (LEVELS - 1 - level))) & 3;
    while (level < LEVELS && quarter(from) === quarter(to - 1)) level++;
    const node = this.size++;
    let [sumX, sumY] = [0, 0];
    if (level === LEVELS) {
      for (let place = from; place < to; place++) {
        sumX += y[2 * order[place]!]!;
        sumY += y[2 * order[place]! + 1]!;
      }
    } else {
      for (let start = from; start < to;) {
        let [end, high] = [start + 1, to];
        while (end < high) {
          const middle = (end + high) >>> 1;
          if (quarter(middle) === quarter(start)) end = middle + 1;
          else high = middle;
        }
        const child = 4 * this.build(y, start, end, level + 1);
        sumX += squares[child]! * squares[child + 2]!;
        sumY += squares[child + 1]! * squares[child + 2]!;
        start = end;
      }
    }
    squares[4 * node] = sumX / (to - from);
    squares[4 * node + 1] = sumY / (to - from);
    squares[4 * node + 2] = to - from;
    squares[4 * node + 3] = level === LEVELS ? 0 : (this.side / 2 ** level / ANGLE) ** 2;
    this.after[node] = this.size;
    return node;
  }
}

/** Bits of two 16-bit numbers in turn (Morton 1966). */
function interleaved(x: number, y: number): number {
  const spread = (value: number) => {
    value = (value | (value << 8)) & 0x00ff00ff;
    value = (value | (value << 4)) & 0x0f0f0f0f;
    value = (value | (value << 2)) & 0x33333333;
    return (value | (value << 1)) & 0x55555555;
  };
  return (spread(x) | (spread(y) << 1)) >>> 0;
}

export interface UmapOptions {
  neighbors: number;
  minDistance: number;
  epochs: number;
}

const NEGATIVE_SAMPLES = 5;
const STEEPEST = 4;

/**
 * UMAP (McInnes, Healy and Melville 2018) as umap-learn 0.5 does it, begun at `start` [N, 2], the principal components,
 * instead of its spectral layout. `neighbors` counts the point itself, as there.
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
  const { a, b } = curveOf(minDistance);
  const y = scaled(start, 10 / (start.reduce((most, value) => Math.max(most, Math.abs(value)), 0) || 1), () =>
    random.normal(0, 1e-4),
  );
  for (const axis of [0, 1]) {
    let [low, high] = [Infinity, -Infinity];
    for (let i = axis; i < y.length; i += 2) [low, high] = [Math.min(low, y[i]!), Math.max(high, y[i]!)];
    for (let i = axis; i < y.length; i += 2) y[i] = (10 * (y[i]! - low)) / (high - low);
  }
  // An edge is drawn each `period` epochs; the strongest in every one.
  const strongest = weights.reduce((most, value) => Math.max(most, value), 0);
  const periods = weights.map((weight) => (weight < strongest / epochs ? Infinity : strongest / weight));
  const next = periods.slice();
  const nextNegative = periods.map((period) => period / NEGATIVE_SAMPLES);
  const clip = (value: number) => (value > STEEPEST ? STEEPEST : value < -STEEPEST ? -STEEPEST : value);
  for (let epoch = 0; epoch < epochs; epoch++) {
    await pause();
    const rate = 1 - epoch / epochs;
    for (let i = 0; i < count; i++) {
      for (let edge = starts[i]!; edge < starts[i + 1]!; edge++) {
        if (next[edge]! > epoch) continue;
        const j = targets[edge]!;
        let [dx, dy] = [y[2 * i]! - y[2 * j]!, y[2 * i + 1]! - y[2 * j + 1]!];
        let squared = dx * dx + dy * dy;
        if (squared > 0) {
          const power = Math.pow(squared, b);
          const pull = (-2 * a * b * (power / squared)) / (a * power + 1);
          const [stepX, stepY] = [rate * clip(pull * dx), rate * clip(pull * dy)];
          y[2 * i]! += stepX;
          y[2 * i + 1]! += stepY;
          y[2 * j]! -= stepX;
          y[2 * j + 1]! -= stepY;
        }
        next[edge]! += periods[edge]!;
        const each = periods[edge]! / NEGATIVE_SAMPLES;
        const negatives = Math.floor((epoch - nextNegative[edge]!) / each);
        for (let n = 0; n < negatives; n++) {
          const other = Math.floor((random.uint32() / 2 ** 32) * count);
          if (other === i) continue;
          [dx, dy] = [y[2 * i]! - y[2 * other]!, y[2 * i + 1]! - y[2 * other + 1]!];
          squared = dx * dx + dy * dy;
          if (squared === 0) continue;
          const push = (2 * b) / ((0.001 + squared) * (a * Math.pow(squared, b) + 1));
          y[2 * i]! += rate * clip(push * dx);
          y[2 * i + 1]! += rate * clip(push * dy);
        }
        nextNegative[edge]! += Math.max(0, negatives) * each;
      }
    }
  }
  return y;
}

/**
 * Membership exp(−(d − ρ) / σ), where a point's memberships sum to log2 of its neighbours; both directions by a + b −
 * a·b.
 */
function fuzzyGraph(neighbours: Neighbours, k: number): Graph {
  const { k: stride, distances } = neighbours;
  const count = distances.length / stride;
  const memberships = new Float64Array(count * k);
  const target = Math.log2(k + 1);
  const mean = distances.reduce((sum, value, place) => (place % stride < k ? sum + value : sum), 0) / (count * (k + 1));
  for (let i = 0; i < count; i++) {
    const own = distances.subarray(i * stride, i * stride + k);
    // The nearest neighbour that isn't a copy.
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
 * a, b of 1 / (1 + a·d^2b), the least-squares fit to a curve that is 1 up to `minDistance` and falls as e^(minDistance
 * − d) after it.
 */
export function curveOf(minDistance: number): { a: number; b: number } {
  const samples = Array.from({ length: 300 }, (_, i) => (3 * i) / 299);
  const wanted = samples.map((d) => (d < minDistance ? 1 : Math.exp(minDistance - d)));
  const errorOf = (a: number, b: number) =>
    samples.reduce((sum, d, i) => sum + (1 / (1 + a * Math.pow(d, 2 * b)) - wanted[i]!) ** 2, 0);
  let [a, b, damping] = [1, 1, 1e-3];
  // Levenberg-Marquardt.
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

/** Standard deviation of one of the two coordinates. */
function deviation(map: Float64Array, axis: 0 | 1): number {
  const values = map.filter((_, place) => place % 2 === axis);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** Noise parts points that lie on each other. */
const scaled = (map: Float64Array, factor: number, noise: () => number): Float64Array =>
  map.map((value) => value * factor + noise());

export interface Alignment {
  /** [N, 2] */
  map: Float64Array;
  scale: number;
  /** A row (x, y) becomes scale · (x, y) · rotation + translation. May mirror. */
  rotation: [[number, number], [number, number]];
  translation: [number, number];
  /**
   * Part of the target's squared spread that stays unexplained: 0 where the two are alike, 1 where they have nothing in
   * common.
   */
  disparity: number;
}

/**
 * Turns, mirrors, scales and moves `map` so that it lies on `target` with the least squared error (Gower 1975). Both
 * [N, 2], row by row.
 */
export function procrustes(map: Float64Array, target: Float64Array): Alignment {
  const count = map.length / 2;
  const centreOf = (points: Float64Array) =>
    [0, 1].map((axis) => points.reduce((sum, value, place) => (place % 2 === axis ? sum + value : sum), 0) / count) as [
      number,
      number,
    ];
  const [from, to] = [centreOf(map), centreOf(target)];
  const cross = Matrix.zeros(2, 2);
  let [spread, targetSpread] = [0, 0];
  for (let i = 0; i < count; i++) {
    for (const a of [0, 1] as const) {
      const x = map[2 * i + a]! - from[a];
      spread += x * x;
      targetSpread += (target[2 * i + a]! - to[a]) ** 2;
      for (const b of [0, 1] as const) cross.set(a, b, cross.get(a, b) + x * (target[2 * i + b]! - to[b]));
    }
  }
  const { leftSingularVectors, rightSingularVectors, diagonal } = new SingularValueDecomposition(cross);
  const rotation = leftSingularVectors.mmul(rightSingularVectors.transpose()).to2DArray() as Alignment['rotation'];
  const common = diagonal.reduce((sum, value) => sum + value, 0);
  const scale = spread > 0 ? common / spread : 1;
  const turned = (x: number, y: number, axis: 0 | 1) => scale * (x * rotation[0][axis] + y * rotation[1][axis]);
  const translation: [number, number] = [to[0] - turned(from[0], from[1], 0), to[1] - turned(from[0], from[1], 1)];
  const aligned = map.map((_, place) => {
    const [first, axis] = [place - (place % 2), (place % 2) as 0 | 1];
    return turned(map[first]!, map[first + 1]!, axis) + translation[axis];
  });
  return {
    map: aligned,
    scale,
    rotation,
    translation,
    disparity: spread > 0 && targetSpread > 0 ? Math.max(0, 1 - common ** 2 / (spread * targetSpread)) : 1,
  };
}

/**
 * All distances between points, and the k nearest others of each, nearest first, in double precision: for some thousand
 * points.
 */
export interface Geometry {
  count: number;
  k: number;
  /** [N, N] */ distances: Float64Array;
  /** [N, k] */ places: Int32Array;
}

export async function geometryOf(points: Points, k: number, pause: Pause = turn): Promise<Geometry> {
  const count = countOf(points);
  if (k < 1 || k >= count) throw new RangeError(`expected from 1 to ${count - 1} neighbours, got ${k}`);
  const distances = new Float64Array(count * count);
  const block = Math.ceil(WORK_BETWEEN_PAUSES / (count * points.width));
  for (let i = 0; i < count; i++) {
    if (i % block === 0) await pause();
    for (let j = 0; j < i; j++)
      distances[i * count + j] = distances[j * count + i] = Math.sqrt(
        squaredDistance(points.values, points.width, i, j),
      );
  }
  const places = new Int32Array(count * k);
  for (let i = 0; i < count; i++) {
    const row = distances.subarray(i * count, (i + 1) * count);
    let found = 0;
    for (let j = 0; j < count; j++) {
      if (j === i || (found === k && row[j]! >= row[places[i * k + k - 1]!]!)) continue;
      let at = found < k ? found++ : k - 1;
      for (; at > 0 && row[places[i * k + at - 1]!]! > row[j]!; at--) places[i * k + at] = places[i * k + at - 1]!;
      places[i * k + at] = j;
    }
  }
  return { count, k, distances, places };
}

/**
 * How far the k nearest in the map are near in the space too: 1 where all are among the k nearest, less for each by its
 * rank beyond (Venna and Kaski 2001; the definition of scikit-learn). Needs k < N / 2. Of points at one distance the
 * first ranks first.
 */
export function trustworthiness(space: Geometry, map: Geometry): number {
  const { count } = space;
  const { k, places } = map;
  if (k >= count / 2) throw new RangeError(`expected fewer than ${count / 2} neighbours, got ${k}`);
  let penalty = 0;
  for (let i = 0; i < count; i++) {
    const row = space.distances.subarray(i * count, (i + 1) * count);
    for (let n = i * k; n < (i + 1) * k; n++) {
      const j = places[n]!;
      let rank = 1;
      for (let other = 0; other < count; other++)
        if (other !== i && (row[other]! < row[j]! || (row[other] === row[j] && other < j))) rank++;
      penalty += Math.max(0, rank - k);
    }
  }
  return 1 - (2 * penalty) / (count * k * (2 * count - 3 * k - 1));
}

/** Part of the k nearest in the space that are among the k nearest in the map. */
export function neighboursKept(space: Geometry, map: Geometry): number {
  const { count, k } = space;
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const near = new Set(map.places.subarray(i * map.k, (i + 1) * map.k));
    for (let n = i * k; n < (i + 1) * k; n++) if (near.has(space.places[n]!)) kept++;
  }
  return kept / (count * k);
}

/** Part of the k nearest that have the point's label. */
export function knnPurity({ count, k, places }: Geometry, labels: ArrayLike<number>): number {
  let same = 0;
  for (let i = 0; i < count; i++)
    for (let n = i * k; n < (i + 1) * k; n++) if (labels[places[n]!] === labels[i]) same++;
  return same / (count * k);
}

/**
 * Silhouette of each point (Rousseeuw 1987): (b − a) / max(a, b), a the mean distance to those of its label and b to
 * those of the nearest other label; 0 for the only one of its label. Needs two labels.
 */
export function silhouette({ count, distances }: Geometry, labels: ArrayLike<number>): Float64Array {
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) sizes.set(labels[i]!, (sizes.get(labels[i]!) ?? 0) + 1);
  if (sizes.size < 2) throw new RangeError(`expected points of at least two labels, got ${sizes.size}`);
  return Float64Array.from({ length: count }, (_, i) => {
    const sums = new Map<number, number>();
    for (let j = 0; j < count; j++) sums.set(labels[j]!, (sums.get(labels[j]!) ?? 0) + distances[i * count + j]!);
    const own = labels[i]!;
    if (sizes.get(own) === 1) return 0;
    const inside = sums.get(own)! / (sizes.get(own)! - 1);
    const outside = Math.min(
      ...[...sums].filter(([label]) => label !== own).map(([label, sum]) => sum / sizes.get(label)!),
    );
    const most = Math.max(inside, outside);
    return most > 0 ? (outside - inside) / most : 0;
  });
}
