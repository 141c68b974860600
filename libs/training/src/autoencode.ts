/** Reproducing samples through a narrow latent vector: plain, from noise, or variational. */
import type { AudioShape, Autoencode, RunResult, SampleShape, TrainerInputs } from '#libs/contracts';
import {
  allRows,
  balancedRows,
  encodeWav,
  gatherLabels,
  gatherSamples,
  inputOf,
  inputShape,
  Random,
  soundsOfLogMel,
} from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { accuracy, collect, weightedKnn, type Pause } from './evaluation.js';
import { buildBottleneck, buildDecoder } from './networks/decoder.js';
import { buildEncoder, encode } from './networks/encoder.js';
import { buildWaveformBottleneck, buildWaveformDecoder, buildWaveformEncoder } from './networks/waveforms.js';
import { forward, initialise } from './networks/weights.js';
import { klDivergence, meanSquaredError } from './objectives.js';
import { pictureOf, writeGrid } from './pictures.js';
import {
  openData,
  reportNeighbours,
  requireBatch,
  restored,
  storeModel,
  type Data,
  type ModelState,
  type ParentModel,
} from './run-inputs.js';
import { Session, TrainingError, type Terms, type TrainContext } from './session.js';

type Architecture = Required<Pick<ModelState, 'encoder' | 'latent' | 'variant' | 'domain'>>;

/** Sample ⇄ latent vector. */
export interface Autoencoder {
  models: LayersModel[];
  /** Of sounds: what the encoder sees. */
  domain: Autoencode['domain'];
  /** x: encoder's inputs → the latent code [N, L]; variational: its mean, and the logarithm of its variance. */
  code(x: tf.Tensor4D, training: boolean): { mean: tf.Tensor2D; logVariance?: tf.Tensor2D };
  /** Codes are drawn towards N(0, 1) in training: one can sample from it. */
  hasPrior: boolean;
  /** [N, L] → samples as the encoder sees them. */
  decode(code: tf.Tensor2D, training: boolean): tf.Tensor4D;
}

/** @throws TrainingError for waveforms of what is no sound. */
export function buildAutoencoder(
  { encoder: architecture, latent, variant, domain }: Architecture,
  sample: SampleShape,
): Autoencoder {
  const isWaveform = domain === 'waveform';
  if (isWaveform && sample.modality === 'image')
    throw new TrainingError(
      'invalid_spec',
      'expected a dataset of sounds for an autoencoder of waveforms, got one of images',
    );
  const encoder = isWaveform
    ? buildWaveformEncoder(architecture.width, inputShape(sample, domain)[1])
    : buildEncoder(architecture, inputShape(sample));
  const codes = variant === 'variational' ? 2 : 1;
  const bottleneck = isWaveform
    ? buildWaveformBottleneck(encoder, latent, codes)
    : buildBottleneck(encoder, codes * latent);
  const decoder = isWaveform
    ? buildWaveformDecoder(encoder, latent, architecture.width)
    : buildDecoder(encoder, latent, architecture.width);
  return {
    models: [encoder, bottleneck, decoder],
    domain,
    code: (x, training) => {
      const code = forward<tf.Tensor2D>(bottleneck, encode(encoder, x, training).map, training);
      if (variant !== 'variational') return { mean: code };
      const [mean, logVariance] = tf.split(code, 2, 1) as [tf.Tensor2D, tf.Tensor2D];
      return { mean, logVariance };
    },
    hasPrior: variant === 'variational',
    decode: (code, training) => forward<tf.Tensor4D>(decoder, code, training),
  };
}

/** The parent's, with its weights. */
export function storedAutoencoder(parent: ParentModel, sample: SampleShape): Autoencoder {
  const { encoder, latent = 64, variant = 'plain', domain = 'spectrogram' } = parent.state;
  const autoencoder = buildAutoencoder({ encoder, latent, variant, domain }, sample);
  for (const model of autoencoder.models) restored(model, parent);
  return autoencoder;
}

export async function autoencode(spec: Autoencode, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { sample, classes } = data.manifest;
  requireBatch(spec.batchSize, data.train.count);
  reportNeighbours(spec.knn, data, context);
  const architecture: Architecture = {
    encoder: spec.encoder,
    latent: spec.latent,
    variant: spec.variant,
    domain: spec.domain,
  };
  const autoencoder = buildAutoencoder(architecture, sample);
  const [encoder, ...others] = autoencoder.models as [LayersModel, ...LayersModel[]];
  initialise([encoder], Random.seeded(spec.seed, 'encoder'));
  initialise(others, Random.seeded(spec.seed, 'decoder'));
  const numbers = inputShape(sample, spec.domain).reduce((product, side) => product * side, 1);
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const totalSteps = spec.epochs * stepsPerEpoch;
  const normal = (random: Random, shape: number[], std: number) =>
    tf.tensor(
      Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, () => random.normal(0, std)),
      shape,
    );
  const session = new Session(
    {
      models: autoencoder.models,
      rows: allRows(data.train),
      batchSize: spec.batchSize,
      totalSteps,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      batch: (rows, random): [tf.Tensor4D] | [tf.Tensor4D, tf.Tensor] => {
        const x = inputOf(sample, gatherSamples(data.train, rows), spec.domain);
        if (spec.variant === 'plain') return [x];
        return [
          x,
          spec.variant === 'denoising'
            ? normal(random, x.shape, spec.noise)
            : normal(random, [spec.batchSize, spec.latent], 1),
        ];
      },
      rates: (step) => [spec.beta * (spec.klWarmupSteps > 0 ? Math.min(1, step / spec.klWarmupSteps) : 1)],
      objective: ([x, noise], [beta]): Terms => {
        const { mean, logVariance } = autoencoder.code(spec.variant === 'denoising' ? tf.add(x, noise!) : x, true);
        if (!logVariance) return { loss: meanSquaredError(autoencoder.decode(mean, true), x) };
        // z = μ + σ·ε (Kingma and Welling 2014, section 2.4)
        const z = tf.add<tf.Tensor2D>(mean, tf.mul(tf.exp(tf.div(logVariance, 2)), noise!));
        const mse = meanSquaredError(autoencoder.decode(z, true), x);
        const kl = klDivergence(mean, logVariance);
        return { loss: tf.add<tf.Scalar>(tf.mul(mse, numbers), tf.mul(kl, beta!)), reconstruction_mse: mse, kl };
      },
      evaluate: async (pause) => {
        const { mse, power } = await reconstructionError(autoencoder, data, (code) => code, pause);
        // Of the waveform, or of the log-mel spectrogram: of what is reproduced.
        const snr = 10 * Math.log10(Math.max(power, LEAST_POWER) / Math.max(mse, LEAST_POWER));
        return {
          'eval/reconstruction_mse': mse,
          'eval/psnr': peakSignalToNoise(mse),
          ...(sample.modality === 'audio' && { 'eval/snr_db': snr }),
          ...(await neighbours(spec, autoencoder, data, pause)),
        };
      },
      evaluateEvery: stepsPerEpoch,
      evaluateAtStart: false,
      quality: 'eval/psnr',
      checkpoints: spec.checkpoints,
    },
    context,
  );
  try {
    const metrics = await session.run(inputs.checkpoint);
    const curve = await compressionCurve(spec, autoencoder, data, () => session.breathe());
    await storeReconstructions(spec, autoencoder, data, totalSteps, context, () => session.breathe());
    const file = path.join(context.workDir, 'compression.json');
    await writeFile(file, `${JSON.stringify(curve, null, 2)}\n`);
    await context.store({ name: 'compression.json', kind: 'report', mime: 'application/json', path: file, step: null });
    await storeModel({ kind: 'autoencode', sample, classes, ...architecture }, autoencoder.models, context);
    return { metrics };
  } finally {
    session.dispose();
  }
}

const LEAST_POWER = 1e-10;
/** In decibels, of values whose peak is 1; at most 100, where the samples are equal. */
const peakSignalToNoise = (mse: number): number => -10 * Math.log10(Math.max(mse, LEAST_POWER));

/**
 * Mean squared error over the evaluation split, with the codes changed by `through`, and the mean square of what went
 * in.
 */
async function reconstructionError(
  autoencoder: Autoencoder,
  { evaluation }: Data,
  through: (code: tf.Tensor2D) => tf.Tensor2D,
  pause: Pause,
): Promise<{ mse: number; power: number }> {
  const each = await collect(
    evaluation,
    allRows(evaluation),
    (x) => {
      const errors = tf.squaredDifference(autoencoder.decode(through(autoencoder.code(x, false).mean), false), x);
      return tf.stack(
        [errors, tf.square(x)].map((squares) => tf.mean<tf.Tensor1D>(squares, [1, 2, 3])),
        1,
      ) as tf.Tensor2D;
    },
    pause,
    autoencoder.domain,
  );
  const [mse, power] = tf.tidy(() => tf.mean(each, 0).dataSync());
  each.dispose();
  return { mse: mse!, power: power! };
}

/** kNN on the latent codes, where samples have a class. */
async function neighbours(
  spec: Autoencode,
  autoencoder: Autoencoder,
  { manifest, train, evaluation }: Data,
  pause: Pause,
): Promise<Record<string, number>> {
  if (!train.labels || !evaluation.labels) return {};
  const rows = balancedRows(train, spec.knn.bankSize);
  const code = (x: tf.Tensor4D) => autoencoder.code(x, false).mean;
  const bank = await collect(train, rows, code, pause, autoencoder.domain);
  try {
    const queries = await collect(evaluation, allRows(evaluation), code, pause, autoencoder.domain);
    try {
      return {
        'eval/knn': accuracy(
          await weightedKnn(bank, gatherLabels(train, rows), queries, manifest.classes.length, spec.knn, pause),
          evaluation.labels,
        ),
      };
    } finally {
      queries.dispose();
    }
  } finally {
    bank.dispose();
  }
}

const BITS = [1, 2, 3, 4, 5, 6, 8] as const;

/**
 * How much is lost with fewer bits: each number of the code is rounded to one of 2^bits values between the least and
 * the greatest that training samples have there. Without rounding it has 32 bits.
 */
async function compressionCurve(
  spec: Autoencode,
  autoencoder: Autoencoder,
  data: Data,
  pause: Pause,
): Promise<{ bitsPerNumber: number; bitsPerSample: number; mse: number; psnr: number }[]> {
  const codes = await collect(
    data.train,
    balancedRows(data.train, spec.knn.bankSize),
    (x) => autoencoder.code(x, false).mean,
    pause,
    autoencoder.domain,
  );
  const [low, width] = tf.tidy((): [tf.Tensor, tf.Tensor] => {
    const least = tf.min(codes, 0, true);
    return [tf.keep(least), tf.keep(tf.maximum(tf.sub(tf.max(codes, 0, true), least), 1e-6))];
  });
  codes.dispose();
  try {
    const curve = [];
    for (const bits of [...BITS, 32]) {
      const levels = 2 ** bits - 1;
      const rounded = (code: tf.Tensor2D): tf.Tensor2D =>
        tf.add(
          low,
          tf.mul(
            tf.div(tf.round(tf.mul(tf.clipByValue(tf.div(tf.sub(code, low), width), 0, 1), levels)), levels),
            width,
          ),
        );
      const { mse } = await reconstructionError(autoencoder, data, bits === 32 ? (code) => code : rounded, pause);
      curve.push({ bitsPerNumber: bits, bitsPerSample: bits * spec.latent, mse, psnr: peakSignalToNoise(mse) });
    }
    return curve;
  } finally {
    tf.dispose([low, width]);
  }
}

/** What goes in over what comes out: a picture of spectrograms where samples are sounds, and files to listen to. */
async function storeReconstructions(
  spec: Autoencode,
  autoencoder: Autoencoder,
  { evaluation }: Data,
  step: number,
  context: TrainContext,
  pause: Pause,
): Promise<void> {
  const { sample } = evaluation;
  const rows = balancedRows(
    evaluation,
    sample.modality === 'audio' ? Math.min(spec.gridImages, MOST_SOUNDS) : spec.gridImages,
  );
  const pair = tf.tidy(() => {
    const x = inputOf(sample, gatherSamples(evaluation, rows), autoencoder.domain);
    return [x, autoencoder.decode(autoencoder.code(x, false).mean, false)].map((each) => tf.keep(each)) as [
      tf.Tensor4D,
      tf.Tensor4D,
    ];
  });
  try {
    const file = path.join(context.workDir, 'reconstructions.png');
    const pictures = pair.map((inputs) => pictureOf(inputs, sample, autoencoder.domain));
    try {
      await writeGrid(file, pictures);
    } finally {
      tf.dispose(pictures);
    }
    await context.store({ name: 'reconstructions.png', kind: 'image', mime: 'image/png', path: file, step });
    if (sample.modality !== 'audio') return;
    for (const [i, row] of rows.entries()) {
      const original = tf.tidy(() => gatherSamples(evaluation, [row]).dataSync());
      await storeSound(`reconstruction-${i}-original.wav`, original, sample, step, context);
      await pause();
      const reconstruction = tf.tidy(() =>
        soundsOf(
          tf.slice4d(pair[1], [i, 0, 0, 0], [1, -1, -1, -1]),
          autoencoder,
          sample,
          Random.seeded(spec.seed, 'phases'),
        ).dataSync(),
      );
      await storeSound(`reconstruction-${i}.wav`, reconstruction, sample, step, context);
    }
  } finally {
    tf.dispose(pair);
  }
}

/** That a run stores of a kind. */
export const MOST_SOUNDS = 8;

/**
 * What a decoder of sounds made → waveforms [N, length] in [-1, 1]. `random` is for the phases, which spectrograms
 * lack.
 */
export const soundsOf = (
  decoded: tf.Tensor4D,
  { domain }: Autoencoder,
  sample: AudioShape,
  random: Random,
): tf.Tensor2D =>
  domain === 'waveform' ? tf.reshape(decoded, [-1, sample.length]) : soundsOfLogMel(decoded, sample, random);

export async function storeSound(
  name: string,
  samples: ArrayLike<number>,
  { sampleRate }: AudioShape,
  step: number | null,
  context: TrainContext,
): Promise<void> {
  const file = path.join(context.workDir, name);
  await writeFile(file, encodeWav(samples, sampleRate));
  await context.store({ name, kind: 'audio', mime: 'audio/wav', path: file, step });
}
