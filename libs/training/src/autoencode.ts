/** Reproducing samples through a narrow latent vector: plain, from noise, or variational. */
import { isOwnNetwork, type Autoencode, type RunResult, type SampleShape, type TrainerInputs } from '#libs/contracts';
import {
  allRows,
  balancedRows,
  gatherSamples,
  gatherStored,
  inOrder,
  inputOf,
  inputShape,
  Random,
  samplesOf,
} from '#libs/data';
import { floats, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { buildAutoencoder, type Architecture, type Autoencoder } from './autoencoder.js';
import { collect, LEAST_POWER, neighbourAccuracy, peakSignalToNoise, type Pause } from './evaluation.js';
import { initialise } from './networks/weights.js';
import { autoencodeMasked } from './masked.js';
import { withOwnWeights } from './own/own-weights.js';
import { klDivergence, meanSquaredError } from './objectives.js';
import { pictureOf, writeGrid } from './pictures.js';
import { openData, reportNeighbours, requireBatch, storeModel, type Data } from './run-inputs.js';
import type { Recipe, Terms } from './recipe.js';
import { Session } from './session.js';
import { type TrainContext } from './train-context.js';
import { MOST_SOUNDS, soundsOf, storeSound } from './sounds.js';

export async function autoencode(spec: Autoencode, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  if (spec.variant === 'masked') return autoencodeMasked(spec, inputs, context);
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
  if (isOwnNetwork(spec.encoder)) await withOwnWeights(encoder, inputs);
  else initialise([encoder], Random.seeded(spec.seed, 'encoder'));
  initialise(others, Random.seeded(spec.seed, 'decoder'));
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const totalSteps = spec.epochs * stepsPerEpoch;
  const session = new Session(
    {
      models: autoencoder.models,
      rows: allRows(data.train),
      batchSize: spec.batchSize,
      totalSteps,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      batch: (rows, random) => batchOf(spec, data, rows, random),
      see: (taken): Batch => {
        const next = inOrder(taken);
        const x = inputOf(sample, samplesOf(data.train, next), spec.domain);
        return isNoisy(spec) ? [x, next()] : [x];
      },
      rates: (step) => [spec.beta * (spec.klWarmupSteps > 0 ? Math.min(1, step / spec.klWarmupSteps) : 1)],
      objective: objectiveOf(spec, autoencoder, sample),
      evaluate: (pause) => judge(spec, autoencoder, data, pause),
      evaluateEvery: stepsPerEpoch,
      evaluateAtStart: false,
      quality: 'eval/psnr',
      checkpoints: spec.checkpoints,
      ema: spec.ema,
      precision: spec.precision,
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

/** Samples, and noise of their shape (denoising) or of the code's (variational). */
type Batch = [tf.Tensor4D] | [tf.Tensor4D, tf.Tensor];

const isNoisy = ({ variant }: Autoencode): boolean => variant === 'denoising' || variant === 'variational';

function batchOf(spec: Autoencode, { train }: Data, rows: Int32Array, random: Random): HostTensor[] {
  const stored = gatherStored(train, rows);
  const normal = (shape: number[], std: number) =>
    floats(
      Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, () => random.normal(0, std)),
      shape,
    );
  switch (spec.variant) {
    case 'plain':
    case 'masked':
      return stored;
    case 'denoising':
      return [...stored, normal([rows.length, ...inputShape(train.sample, spec.domain)], spec.noise)];
    case 'variational':
      return [...stored, normal([spec.batchSize, spec.latent], 1)];
  }
}

/** Mean squared error; of a variational autoencoder the evidence lower bound, with β before its divergence. */
function objectiveOf(spec: Autoencode, autoencoder: Autoencoder, sample: SampleShape): Recipe<Batch>['objective'] {
  const numbers = inputShape(sample, spec.domain).reduce((product, side) => product * side, 1);
  return ([x, noise], [beta]): Terms => {
    const { mean, logVariance } = autoencoder.code(spec.variant === 'denoising' ? tf.add(x, noise!) : x, true);
    if (!logVariance) return { loss: meanSquaredError(autoencoder.decode(mean, true), x) };
    // z = μ + σ·ε (Kingma and Welling 2014, section 2.4)
    const z = tf.add<tf.Tensor2D>(mean, tf.mul(tf.exp(tf.div(logVariance, 2)), noise!));
    const mse = meanSquaredError(autoencoder.decode(z, true), x);
    const kl = klDivergence(mean, logVariance);
    return { loss: tf.add<tf.Scalar>(tf.mul(mse, numbers), tf.mul(kl, beta!)), reconstruction_mse: mse, kl };
  };
}

/** Errors of the reconstruction, and how well the codes of neighbours tell classes apart. */
async function judge(
  spec: Autoencode,
  autoencoder: Autoencoder,
  data: Data,
  pause: Pause,
): Promise<Record<string, number>> {
  const { mse, power } = await reconstructionError(autoencoder, data, (code) => code, pause);
  // The signal is what is reproduced: the waveform, or the log-mel spectrogram.
  const snr = 10 * Math.log10(Math.max(power, LEAST_POWER) / Math.max(mse, LEAST_POWER));
  const code = (inputs: tf.Tensor4D) => autoencoder.code(inputs, false).mean;
  const knn = await neighbourAccuracy(data, code, spec.knn, pause, autoencoder.domain);
  return {
    'eval/reconstruction_mse': mse,
    'eval/psnr': peakSignalToNoise(mse),
    ...(data.manifest.sample.modality === 'audio' && { 'eval/snr_db': snr }),
    ...(knn !== undefined && { 'eval/knn': knn }),
  };
}

/** Mean squared error over the evaluation split with its codes changed by `through`, and the samples' mean square. */
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

const BITS = [1, 2, 3, 4, 5, 6, 8] as const;

/**
 * Errors of the reconstruction from codes of fewer bits: each number of a code is rounded to one of 2^bits values
 * between the least and the greatest that training samples have there. A number that isn't rounded has 32 bits.
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

/**
 * Stores samples over their reconstructions as one picture, of spectrograms where samples are sounds; sounds also as
 * files to listen to.
 */
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
