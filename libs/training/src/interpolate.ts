/** Walking through the latent space of an autoencoder, and drawing from it. */
import type { Interpolate, RunResult, TrainerInputs } from '#libs/contracts';
import { allRows, balancedRows, gatherSamples, inputOf, InvalidDataError, Random, type SampleSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import path from 'node:path';
import { MOST_SOUNDS, soundsOf, storedAutoencoder, storeSound, type Autoencoder } from './autoencode.js';
import { collect, type Pause } from './evaluation.js';
import { pictureOf, tile, writeAnimation, writeGrid, writePng } from './pictures.js';
import { openOne, readParent } from './run-inputs.js';
import { breathe, type TrainContext } from './session.js';

/** Samples of a class that its mean is taken of, and training samples that neighbours are looked for among. */
const CLASS_SAMPLES = 1000;
const NEIGHBOUR_BANK = 10_000;
const PARTS = 3;

export async function interpolate(spec: Interpolate, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const split = await openOne(inputs, spec.split);
  const train = spec.split === 'train' ? split : await openOne(inputs, 'train');
  const autoencoder = storedAutoencoder(await readParent(inputs), split.sample);
  let done = 0;
  const pause = () => breathe(context, done, PARTS);
  const owned: { dispose(): void }[] = [...autoencoder.models];
  const own = <T extends tf.Tensor>(tensor: T): T => {
    owned.push(tensor);
    return tensor;
  };
  const meanCode = (x: tf.Tensor4D) => autoencoder.code(x, false).mean;
  const show = async (name: string, write: (file: string) => Promise<void>, mime = 'image/png') => {
    const file = path.join(context.workDir, name);
    await write(file);
    await context.store({ name, kind: 'image', mime, path: file, step: null });
  };
  const { sample } = split;
  const seen = (rows: ArrayLike<number>) => inputOf(train.sample, gatherSamples(train, rows), autoencoder.domain);
  const pictures = (decoded: tf.Tensor4D) => own(pictureOf(decoded, sample, autoencoder.domain));
  const sound = async (name: string, decoded: tf.Tensor4D) => {
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
  };
  try {
    const [from, to] = await ends(spec, split, autoencoder, pause);
    const codes = own(tf.tensor2d(walk(from, to, spec.points, spec.path)));
    const steps = own(tf.tidy(() => autoencoder.decode(codes, false)));
    done = 1;
    const strip = pictures(steps);
    await show('interpolation.png', (file) => writePng(tile(strip, spec.points), file));
    await show('interpolation.webp', (file) => writeAnimation(strip, file), 'image/webp');
    await sound('interpolation', steps);

    const rows = balancedRows(train, NEIGHBOUR_BANK);
    const bank = own(await collect(train, rows, meanCode, pause, autoencoder.domain));
    done = 2;
    const nearestTo = (some: tf.Tensor2D) => nearestRows(some, bank).map((place) => rows[place]!);
    const middle = own(tf.slice4d(steps, [spec.points >> 1, 0, 0, 0], [1, -1, -1, -1]));
    // Of all training samples: what is far from each is none of them.
    const apart = own(
      await collect(
        train,
        allRows(train),
        (x) => tf.reshape<tf.Rank.R2>(tf.mean(tf.squaredDifference(x, middle), [1, 2, 3]), [-1, 1]),
        pause,
        autoencoder.domain,
      ),
    );
    const metrics = { 'interpolate/middle_mse_to_training': tf.tidy(() => tf.min(apart).dataSync()[0]!) };
    if (spec.samples > 0) {
      const drawn = own(draw(spec, autoencoder, bank));
      const pair = tf.tidy(
        () =>
          [autoencoder.decode(drawn, false), seen(nearestTo(drawn))].map((each) => tf.keep(each)) as [
            tf.Tensor4D,
            tf.Tensor4D,
          ],
      );
      owned.push(...pair);
      const grid = pair.map(pictures);
      await show('samples.png', (file) => writeGrid(file, grid));
      await sound('sample', pair[0]);
      context.log('info', 'samples.png: drawn from the latent space, each over the nearest training sample');
    }
    context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
    context.progress(PARTS, PARTS);
    return { metrics };
  } finally {
    for (const each of owned) each.dispose();
  }
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

/** Points from `a` to `b`, both included. [points][L] */
export function walk(a: Float32Array, b: Float32Array, points: number, path: Interpolate['path']): number[][] {
  return Array.from({ length: points }, (_, i) => {
    const t = i / (points - 1);
    return path === 'slerp' ? slerp(a, b, t) : Array.from(a, (x, j) => x + t * (b[j]! - x));
  });
}

/**
 * Spherical interpolation (Shoemake 1985): sin((1 − t)Ω)/sin Ω · a + sin(tΩ)/sin Ω · b with Ω the angle between them.
 * Where they point the same way, the straight line is meant.
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

/** Row of the bank that is nearest to each code, by squared distance. codes: [N, L], bank: [B, L] */
function nearestRows(codes: tf.Tensor2D, bank: tf.Tensor2D): number[] {
  return tf.tidy(() => {
    const distances = tf.sub(tf.sum(tf.square(bank), 1), tf.mul(tf.matMul(codes, bank, false, true), 2));
    return [...tf.argMin(distances, 1).dataSync()];
  });
}

/**
 * From N(0, 1), the prior of a variational autoencoder; for others from a normal with the mean and spread of each
 * number of the codes. [samples, L]
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
