/**
 * t-SNE, written here because wasm-bhtsne wants a browser's threads and takes no seed. Runs with the same seed give the
 * same map bit for bit.
 */
import type { Random } from '#libs/data';
import { turn, type Pause } from '../evaluation.js';
import { symmetric, type Graph, type Neighbours } from './neighbours.js';
import { deviation, scaled } from './points.js';
import { Quadtree } from './quadtree.js';

export interface TsneOptions {
  perplexity: number;
  iterations: number;
}

/** Factor of the attraction in the first `EXAGGERATED_ITERATIONS`. */
const EXAGGERATION = 12;
const EXAGGERATED_ITERATIONS = 250;
const TSNE_MOMENTUM = 0.8;
const LEAST_GAIN = 0.01;
const LONGEST_STEP = 5;

/** Largest perplexity that `count` points allow: a point takes three times as many neighbours. */
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
    gradientAt(y, graph, tree, exaggeration, gradient);
    accelerate(velocity, gains, gradient, rate);
    move(y, velocity);
  }
  return y;
}

/**
 * Gradient of the divergence (van der Maaten 2014, equation 8), written to `gradient`: attraction along the edges of
 * the graph, repulsion by the tree. y, gradient: [N, 2]
 */
function gradientAt(y: Float64Array, graph: Graph, tree: Quadtree, exaggeration: number, gradient: Float64Array): void {
  const normaliser = tree.repulsion(y, gradient);
  for (let i = 0; 2 * i < y.length; i++) {
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
}

/** Momentum with a gain for each coordinate, which shrinks while velocity and gradient have one sign. All [N, 2]. */
function accelerate(velocity: Float64Array, gains: Float64Array, gradient: Float64Array, rate: number): void {
  for (let place = 0; place < velocity.length; place++) {
    const turned = Math.sign(velocity[place]!) !== Math.sign(gradient[place]!);
    gains[place] = turned ? gains[place]! + 0.2 : Math.max(LEAST_GAIN, gains[place]! * 0.8);
    velocity[place] = TSNE_MOMENTUM * velocity[place]! - rate * gains[place]! * gradient[place]!;
  }
}

/** Moves all points by their velocities, cut to `LONGEST_STEP`, and the map's centre back to the origin. [N, 2] */
function move(y: Float64Array, velocity: Float64Array): void {
  const count = y.length / 2;
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
/**
 * Graph of p_ij = (p_j|i + p_i|j) / 2N, where p_·|i is a Gaussian over the neighbours of i whose entropy is the
 * logarithm of the perplexity.
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
