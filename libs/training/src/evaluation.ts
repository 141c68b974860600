import type { Autoencode, DatasetManifest, Knn, Patches } from '#libs/contracts';
import {
  allRows,
  balancedRows,
  gatherLabels,
  gatherSamples,
  inputOf,
  inputShape,
  Random,
  type SampleSplit,
} from '#libs/data';
import { identity } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { CompiledMap } from './compiled-map.js';
import { encode } from './networks/encoder.js';
import { nearestAmong } from './manifold/exact-search.js';
import type { Points } from './manifold/points.js';
import { unitRows } from './objectives.js';
import { singularValues } from './spectrum.js';

const EVALUATION_BATCH = 512;
/** Most numbers in the samples of a batch: long sounds come in smaller batches. */
const EVALUATION_NUMBERS = 2 ** 23;

/** Lets messages in between two native calls. */
export const turn = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

/** Awaited between two batches of an evaluation, which may take minutes. What it throws ends the evaluation. */
export type Pause = () => Promise<void>;

/** From an encoder's inputs [N, H, W, C] to vectors [N, D]. */
type InputMap = (inputs: tf.Tensor4D) => tf.Tensor2D;

/**
 * What `map` gives for the encoder's inputs of these rows, batch by batch, in one tensor [rows, D] that the caller
 * owns.
 */
export async function collect(
  split: SampleSplit,
  rows: Int32Array,
  map: InputMap | CompiledMap,
  pause: Pause = turn,
  domain?: Autoencode['domain'],
): Promise<tf.Tensor2D> {
  const parts: tf.Tensor2D[] = [];
  const [seen, stored] = [inputShape(split.sample, 'waveform'), split.samples.shape.slice(1)].map((sides) =>
    sides.reduce((product, side) => product * side, 1),
  ) as [number, number];
  const batch = Math.max(1, Math.min(EVALUATION_BATCH, Math.floor(EVALUATION_NUMBERS / Math.max(seen, stored))));
  if (map instanceof CompiledMap && map.pays(split, rows.length, batch, domain))
    return map.over(split, rows, batch, pause, domain);
  const mapped = map instanceof CompiledMap ? map.map : map;
  try {
    for (let start = 0; start < rows.length; start += batch) {
      await pause();
      parts.push(
        tf.tidy(() => mapped(inputOf(split.sample, gatherSamples(split, rows.subarray(start, start + batch)), domain))),
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
 * Inputs → the mean of the features [N, F] of so many patches at random places, brought to the size of the input (how
 * EMP-SSL is evaluated, Tong et al. 2023, section 3). The same places for the same seed and the same inputs in a row.
 */
export function representationByPatches(
  encoder: LayersModel,
  { count, area }: Patches,
  seed: number,
): (inputs: tf.Tensor4D) => tf.Tensor2D {
  const random = Random.seeded(seed, 'patches');
  const side = Math.sqrt(area);
  return (inputs) => {
    const [rows, height, width] = inputs.shape;
    const indices = tf.range(0, rows, 1, 'int32');
    const featuresOf = (): tf.Tensor2D =>
      tf.tidy(() => {
        const corners = Array.from({ length: rows }, () => [random.uniform(), random.uniform()]);
        const boxes = corners.map((at) => at.map((each) => each * (1 - side)));
        const ends = boxes.map(([top, left]) => [top!, left!, top! + side, left! + side]);
        const patches = tf.image.cropAndResize(inputs, tf.tensor2d(ends), indices, [height, width]);
        return encode(encoder, patches, false).features;
      });
    let sum = featuresOf();
    for (let i = 1; i < count; i++) {
      const next = tf.tidy(() => tf.add<tf.Tensor2D>(sum, featuresOf()));
      sum.dispose();
      sum = next;
    }
    return tf.div(sum, count);
  };
}

/**
 * Weighted k-nearest-neighbour classification (Wu et al. 2018): the k most similar vectors of the bank by cosine, as
 * double precision ranks them, vote with exp(similarity / temperature). bank: [B, F], queries: [Q, F]. Returns the
 * class of each query; where k is above B, all vote.
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
  const { places, distances } = await nearestAmong(onSphere(bank, true), onSphere(queries, false), neighbours, pause);
  return Int32Array.from({ length: queries.shape[0] }, (_, query) => {
    const first = query * neighbours;
    const votes = new Float64Array(classCount);
    // The cosine of unit vectors is 1 − |x − y|² / 2. In proportion to the nearest one's vote: a low temperature would
    // go beyond the largest number.
    for (let n = first; n < first + neighbours; n++)
      votes[bankLabels[places[n]!]!]! += Math.exp((distances[first]! ** 2 - distances[n]! ** 2) / (2 * temperature));
    return votes.indexOf(Math.max(...votes));
  });
}

/**
 * Unit vectors in double precision, among which the nearest by distance is the most similar by cosine. Those of length
 * 0 are similar to nothing: in the bank they get a direction of their own. [N, F] → [N, F + 1]
 */
function onSphere(features: tf.Tensor2D, isBank: boolean): Points {
  const [count, width] = features.shape;
  const source = features.dataSync();
  const values = new Float64Array(count * (width + 1));
  for (let row = 0; row < count; row++) {
    const length = rowLength(source, row * width, width);
    for (let i = 0; i < width; i++) values[row * (width + 1) + i] = length > 0 ? source[row * width + i]! / length : 0;
    if (isBank && length === 0) values[row * (width + 1) + width] = 1;
  }
  return { values, width: width + 1 };
}

function rowLength(values: ArrayLike<number>, start: number, width: number): number {
  let sum = 0;
  for (let i = start; i < start + width; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

/**
 * Accuracy of the nearest neighbours of the evaluation split among training samples, by what `map` gives
 * for an encoder's inputs; undefined where samples have no class.
 */
export async function neighbourAccuracy(
  { manifest, train, evaluation }: { manifest: DatasetManifest; train: SampleSplit; evaluation: SampleSplit },
  map: InputMap | CompiledMap,
  knn: Knn,
  pause: Pause,
  domain?: Autoencode['domain'],
): Promise<number | undefined> {
  if (!train.labels || !evaluation.labels) return undefined;
  const rows = balancedRows(train, knn.bankSize);
  const bank = await collect(train, rows, map, pause, domain);
  try {
    const queries = await collect(evaluation, allRows(evaluation), map, pause, domain);
    try {
      const found = await weightedKnn(bank, gatherLabels(train, rows), queries, manifest.classes.length, knn, pause);
      return accuracy(found, evaluation.labels);
    } finally {
      queries.dispose();
    }
  } finally {
    bank.dispose();
  }
}

/** Least power that has a logarithm of its own. */
export const LEAST_POWER = 1e-10;
/** Peak signal-to-noise ratio in decibels of values whose peak is 1; at most 100, where the samples are equal. */
export const peakSignalToNoise = (mse: number): number => -10 * Math.log10(Math.max(mse, LEAST_POWER));

export function accuracy(predictions: ArrayLike<number>, labels: ArrayLike<number>): number {
  let right = 0;
  for (let i = 0; i < labels.length; i++) if (predictions[i] === labels[i]) right++;
  return right / labels.length;
}

/**
 * Standard deviation (the unbiased one) of the unit features' dimensions, times √D: 1 where they are spread evenly over
 * the sphere, 0 where all are one point. Not defined (NaN) for a single row. [N, D]
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
 * Features are not centred. Not defined (NaN) where one is no finite number. [N, D]
 */
export async function rankMe(features: tf.Tensor2D): Promise<number> {
  const values = features.dataSync<'float32'>();
  if (!values.every(Number.isFinite)) return Number.NaN;
  const singular = await singularValues(values, features.shape);
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
 * more even, 0 where all are one point, and rows of zeros are such a point. Not defined (NaN) for a single row. [N, D]
 */
export const uniformity = (features: tf.Tensor2D): number =>
  tf.tidy(() => {
    const unit = unitRows(features);
    const count = unit.shape[0];
    const squares = tf.sum(tf.square(unit), 1, true);
    const products = tf.matMul(unit, unit, false, true);
    const distances = tf.relu(tf.sub(tf.add(squares, tf.transpose(squares)), tf.mul(products, 2)));
    const potentials = tf.mul(tf.exp(tf.mul(distances, -2)), tf.sub(1, identity(count)));
    // Each pair is in the matrix twice.
    return Math.log(tf.sum(potentials).dataSync()[0]! / (count * (count - 1)));
  });
