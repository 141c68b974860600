/** Walking through the latent space of an autoencoder, and drawing from it. */
import type { Interpolate, RunResult, SampleShape, TrainerInputs } from '#libs/contracts';
import { allRows, balancedRows, gatherSamples, inputOf, InvalidDataError, Random, type SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import path from 'node:path';
import { storedAutoencoder, type Autoencoder } from './autoencoder.js';
import { collect, type Pause } from './evaluation.js';
import { nearestAmong } from './manifold/exact-search.js';
import type { Points } from './manifold/points.js';
import { pictureOf, tile, writeAnimation, writeGrid, writePng } from './pictures.js';
import { openOne, readParent } from './run-inputs.js';
import { breathe, type TrainContext } from './train-context.js';
import { MOST_SOUNDS, soundsOf, storeSound } from './sounds.js';

/** Samples of a class whose mean code is an end of the walk. */
const CLASS_SAMPLES = 1000;
/** Training samples among which the nearest to a drawn one is sought. */
const NEIGHBOUR_BANK = 10_000;
/** Parts of the run for its progress: the walk, the codes of training samples, the comparison with them. */
const PARTS = 3;

export async function interpolate(spec: Interpolate, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const split = await openOne(inputs, spec.split);
  const train = spec.split === 'train' ? split : await openOne(inputs, 'train');
  const autoencoder = storedAutoencoder(await readParent(inputs), split.sample);
  let done = 0;
  const pause = () => breathe(context, done, PARTS);
  const results: Results = { spec, autoencoder, sample: split.sample, context, pause };
  const owned: { dispose(): void }[] = [...autoencoder.models];
  const own = <T extends tf.Tensor>(tensor: T): T => {
    owned.push(tensor);
    return tensor;
  };
  try {
    const [from, to] = await ends(spec, split, autoencoder, pause);
    const codes = own(tf.tensor2d(walk(from, to, spec.points, spec.path)));
    const steps = own(tf.tidy(() => autoencoder.decode(codes, false)));
    done = 1;
    await storeWalk(steps, results);

    const rows = balancedRows(train, NEIGHBOUR_BANK);
    const bank = own(await collect(train, rows, (x) => autoencoder.code(x, false).mean, pause, autoencoder.domain));
    done = 2;
    const middle = own(tf.slice4d(steps, [spec.points >> 1, 0, 0, 0], [1, -1, -1, -1]));
    const metrics = { 'interpolate/middle_mse_to_training': await leastError(middle, train, autoencoder, pause) };
    if (spec.samples > 0) {
      const drawn = own(draw(spec, autoencoder, bank));
      const { places } = await nearestAmong(pointsOf(bank), pointsOf(drawn), 1, pause);
      const nearest = Array.from(places, (place) => rows[place]!);
      await storeDrawn(drawn, train, nearest, results);
    }
    context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
    context.progress(PARTS, PARTS);
    return { metrics };
  } finally {
    for (const each of owned) each.dispose();
  }
}

/** What storing decoded samples needs. */
interface Results {
  spec: Interpolate;
  autoencoder: Autoencoder;
  sample: SampleShape;
  context: TrainContext;
  pause: Pause;
}

/** Stores the decoded walk as a strip, as an animation, and as sounds where samples are sounds. */
async function storeWalk(steps: tf.Tensor4D, results: Results): Promise<void> {
  const { spec, autoencoder, sample, context } = results;
  const strip = pictureOf(steps, sample, autoencoder.domain);
  try {
    await storePicture('interpolation.png', (file) => writePng(tile(strip, spec.points), file), context);
    await storePicture('interpolation.webp', (file) => writeAnimation(strip, file), context, 'image/webp');
  } finally {
    strip.dispose();
  }
  await storeSounds('interpolation', steps, results);
}

/** Stores samples decoded from drawn codes, each over the training sample of the row that is nearest to its code. */
async function storeDrawn(
  codes: tf.Tensor2D,
  train: SampleSplit,
  nearest: readonly number[],
  results: Results,
): Promise<void> {
  const { autoencoder, sample, context } = results;
  const pair = tf.tidy(
    () =>
      [autoencoder.decode(codes, false), inputOf(train.sample, gatherSamples(train, nearest), autoencoder.domain)].map(
        (each) => tf.keep(each),
      ) as [tf.Tensor4D, tf.Tensor4D],
  );
  const grid = pair.map((each) => pictureOf(each, sample, autoencoder.domain));
  try {
    await storePicture('samples.png', (file) => writeGrid(file, grid), context);
    await storeSounds('sample', pair[0], results);
    context.log('info', 'samples.png: drawn from the latent space, each over the nearest training sample');
  } finally {
    tf.dispose([...pair, ...grid]);
  }
}

async function storePicture(
  name: string,
  write: (file: string) => Promise<void>,
  context: TrainContext,
  mime = 'image/png',
): Promise<void> {
  const file = path.join(context.workDir, name);
  await write(file);
  await context.store({ name, kind: 'image', mime, path: file, step: null });
}

/** Stores at most `MOST_SOUNDS` of the decoded samples as sounds, where they are sounds. */
async function storeSounds(
  name: string,
  decoded: tf.Tensor4D,
  { spec, autoencoder, sample, context, pause }: Results,
): Promise<void> {
  if (sample.modality !== 'audio') return;
  for (let i = 0; i < Math.min(decoded.shape[0], MOST_SOUNDS); i++) {
    await pause();
    const samples = tf.tidy(() =>
      soundsOf(
        tf.slice4d(decoded, [i, 0, 0, 0], [1, -1, -1, -1]),
        autoencoder,
        sample,
        Random.seeded(spec.seed, 'phases'),
      ).dataSync(),
    );
    await storeSound(`${name}-${i}.wav`, samples, sample, null, context);
  }
}

/** Least mean squared error of `decoded` [1, …] to a training sample: where it is large, `decoded` is none of them. */
async function leastError(
  decoded: tf.Tensor4D,
  train: SampleSplit,
  autoencoder: Autoencoder,
  pause: Pause,
): Promise<number> {
  const errors = await collect(
    train,
    allRows(train),
    (x) => tf.reshape<tf.Rank.R2>(tf.mean(tf.squaredDifference(x, decoded), [1, 2, 3]), [-1, 1]),
    pause,
    autoencoder.domain,
  );
  const least = tf.tidy(() => tf.min(errors).dataSync()[0]!);
  errors.dispose();
  return least;
}

/** The codes of two samples, or the mean codes of two classes. */
async function ends(
  spec: Interpolate,
  split: SampleSplit,
  autoencoder: Autoencoder,
  pause: Pause,
): Promise<[Float32Array, Float32Array]> {
  const code = async (rows: Int32Array): Promise<Float32Array> => {
    const codes = await collect(split, rows, (x) => autoencoder.code(x, false).mean, pause, autoencoder.domain);
    const mean = tf.tidy(() => tf.mean(codes, 0).dataSync() as Float32Array);
    codes.dispose();
    return mean;
  };
  const { between } = spec;
  if ('rows' in between) {
    const beyond = between.rows.find((row) => row >= split.count);
    if (beyond !== undefined)
      throw new InvalidDataError(
        `expected rows below ${split.count}, as many as the ${spec.split} split has, got ${beyond}`,
      );
    return [await code(Int32Array.of(between.rows[0])), await code(Int32Array.of(between.rows[1]))];
  }
  const rowsOf = (name: string) => {
    const label = split.classes.indexOf(name);
    const rows = allRows(split)
      .filter((row) => split.labels?.[row] === label)
      .subarray(0, CLASS_SAMPLES);
    if (label < 0 || rows.length === 0)
      throw new InvalidDataError(
        `expected a class with samples in the ${spec.split} split (${split.classes.join(', ')}), got ${name}`,
      );
    return rows;
  };
  return [await code(rowsOf(between.classes[0])), await code(rowsOf(between.classes[1]))];
}

/** Points [points][L] on the way from `a` to `b`, both included. */
export function walk(a: Float32Array, b: Float32Array, points: number, path: Interpolate['path']): number[][] {
  return Array.from({ length: points }, (_, i) => {
    const t = i / (points - 1);
    return path === 'slerp' ? slerp(a, b, t) : Array.from(a, (x, j) => x + t * (b[j]! - x));
  });
}

/**
 * Spherical interpolation (Shoemake 1985): sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b with Ω the angle between them.
 * Where a and b point the same way, a straight line.
 */
export function slerp(a: ArrayLike<number>, b: ArrayLike<number>, t: number): number[] {
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! ** 2;
    bb += b[i]! ** 2;
  }
  const angle = Math.acos(Math.min(1, Math.max(-1, dot / Math.max(Math.sqrt(aa * bb), 1e-12))));
  const sine = Math.sin(angle);
  const [wa, wb] = sine < 1e-6 ? [1 - t, t] : [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
  return Array.from(a, (x, i) => wa * x + wb * b[i]!);
}

/** codes: [N, L] */
const pointsOf = (codes: tf.Tensor2D): Points => ({
  values: codes.dataSync() as Float32Array,
  width: codes.shape[1],
});

/**
 * Codes [samples, L] drawn from N(0, 1), the prior of a variational autoencoder; of others from a normal distribution
 * with the mean and variance that each number has over the bank's codes.
 */
function draw(spec: Interpolate, autoencoder: Autoencoder, bank: tf.Tensor2D): tf.Tensor2D {
  const random = Random.seeded(spec.seed, 'samples');
  const shape: [number, number] = [spec.samples, bank.shape[1]];
  return tf.tidy(() => {
    const noise = tf.tensor2d(
      Float32Array.from({ length: shape[0] * shape[1] }, () => random.normal()),
      shape,
    );
    if (autoencoder.hasPrior) return noise;
    const { mean, variance } = tf.moments(bank, 0);
    return tf.add(mean, tf.mul(noise, tf.sqrt(variance)));
  });
}
