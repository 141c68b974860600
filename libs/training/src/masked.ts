/** Reproducing squares of samples from the others, by a transformer (MAE, He et al. 2022). */
import {
  gridOf,
  MASKING,
  transformerOf,
  type Autoencode,
  type Masking,
  type RunResult,
  type TrainerInputs,
} from '#libs/contracts';
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
import { integers, tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import path from 'node:path';
import { collect, neighbourAccuracy, peakSignalToNoise, representation, type Pause } from './evaluation.js';
import { buildMasked, imagesOf, squaresOf, type Masked, type Orders } from './networks/masking.js';
import { initialise } from './networks/weights.js';
import { pictureOf, writeGrid } from './pictures.js';
import { newEncoder, openData, reportNeighbours, requireBatch, storeModel, type Data } from './run-inputs.js';
import { Session } from './session.js';
import { TrainingError, type TrainContext } from './train-context.js';

/** Shade of what is left out, in pictures. */
const LEFT_OUT = 0.5;
/** Added to the variance of a square (MAE, models_mae.py). */
const SQUARE_EPSILON = 1e-6;

interface Learner {
  spec: Autoencode;
  masking: Masking;
  patch: number;
  encoder: LayersModel;
  masked: Masked;
  squares: number;
}

export async function autoencodeMasked(
  spec: Autoencode,
  inputs: TrainerInputs,
  context: TrainContext,
): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { sample, classes } = data.manifest;
  requireBatch(spec.batchSize, data.train.count);
  reportNeighbours(spec.knn, data, context);
  const { patch } = transformerOf(spec.encoder)!;
  const [height, width] = inputShape(sample);
  const [rows, columns] = gridOf(patch, [height, width]);
  const squares = rows * columns;
  if (squares < 2)
    throw new TrainingError(
      'invalid_spec',
      `expected at least two squares in a sample, of which some are left out, got one of ${patch} x ${patch} for ` +
        `${height} x ${width}: give a smaller encoder.patch`,
    );
  const masking = spec.masking ?? MASKING;
  const encoder = newEncoder(spec.encoder, sample, spec.seed);
  const masked = buildMasked(encoder, spec.encoder, masking);
  initialise([masked.decoder], Random.seeded(spec.seed, 'decoder'));
  const learner: Learner = { spec, masking, patch, encoder, masked, squares };
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const totalSteps = spec.epochs * stepsPerEpoch;
  const session = new Session(
    {
      models: [encoder, masked.decoder],
      rows: allRows(data.train),
      batchSize: spec.batchSize,
      totalSteps,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      batch: (rows, random) => [...gatherStored(data.train, rows), ...ordersOf(rows.length, squares, random)],
      see: (taken): [tf.Tensor4D, tf.Tensor2D, tf.Tensor2D] => {
        const next = inOrder(taken);
        return [inputOf(sample, samplesOf(data.train, next)), next() as tf.Tensor2D, next() as tf.Tensor2D];
      },
      objective: ([x, order, inverse]) => ({ loss: lossOf(learner, x, { order, inverse }, true) }),
      evaluate: (pause) => judge(learner, data, pause),
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
    await storePictures(learner, data, totalSteps, context);
    await storeModel(
      { kind: 'autoencode', sample, classes, encoder: spec.encoder, variant: 'masked' },
      [encoder],
      context,
    );
    return { metrics };
  } finally {
    session.dispose();
    masked.trunk.dispose();
  }
}

/** For each sample an order of its squares, of which the first are seen, and the way back. int32 [count, squares] */
function ordersOf(count: number, squares: number, random: Random): [order: HostTensor, inverse: HostTensor] {
  const [order, inverse] = [new Int32Array(count * squares), new Int32Array(count * squares)];
  for (let begin = 0; begin < order.length; begin += squares) {
    const own = random.permutation(squares);
    order.set(own, begin);
    own.forEach((square, i) => {
      inverse[begin + square] = i;
    });
  }
  return [integers(order, [count, squares]), integers(inverse, [count, squares])];
}

/** The same as tensors, which the caller owns. */
export function drawOrders(count: number, squares: number, random: Random): Orders {
  const [order, inverse] = ordersOf(count, squares, random).map(tensorOf) as [tf.Tensor2D, tf.Tensor2D];
  return { order, inverse };
}

/** 1 for each square that is left out [N, L, 1]. */
const leftOut = (inverse: tf.Tensor2D, visible: number): tf.Tensor3D =>
  tf.expandDims(tf.cast(tf.greaterEqual(inverse, tf.scalar(visible, 'int32')), 'float32'), 2);

/** Mean and standard deviation of the numbers of each square [N, L, 1], with the variance of a sample (torch's). */
function statisticsOf(squares: tf.Tensor3D): { mean: tf.Tensor; deviation: tf.Tensor } {
  const numbers = squares.shape[2];
  const { mean, variance } = tf.moments(squares, 2, true);
  const ofSample = tf.mul(variance, numbers / Math.max(1, numbers - 1));
  return { mean, deviation: tf.sqrt(tf.add(ofSample, SQUARE_EPSILON)) };
}

/**
 * Mean squared error over the squares that are left out (`forward_loss` of MAE's models_mae.py). made, target:
 * [N, L, P]; mask: [N, L, 1], 1 for those
 */
function maskedError(made: tf.Tensor3D, target: tf.Tensor3D, mask: tf.Tensor3D): tf.Scalar {
  const mean = tf.customGrad((...inputs) => {
    const [x, save] = inputs as unknown as [tf.Tensor3D, (tensors: tf.Tensor[]) => void];
    const share = tf.div(mask, tf.mul(tf.sum(mask), x.shape[2]));
    const difference = tf.sub(x, target);
    const slopes = tf.mul(difference, share);
    save([slopes]);
    return {
      value: tf.sum(tf.mul(difference, slopes)),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => tf.mul(saved[0]!, tf.mul(dy, 2)),
    };
  });
  return mean(made) as tf.Scalar;
}

/** The error of what is made of images [N, H, W, C], in squares as they are or each normalised (`normalise`). */
export function lossOf(
  { masking, patch, masked }: Pick<Learner, 'masking' | 'patch' | 'masked'>,
  x: tf.Tensor4D,
  orders: Orders,
  training: boolean,
): tf.Scalar {
  const made = masked.reproduce(x, orders, training);
  const squares = squaresOf(x, patch);
  const { mean, deviation } = statisticsOf(squares);
  const target = masking.normalise ? tf.div<tf.Tensor3D>(tf.sub(squares, mean), deviation) : squares;
  return maskedError(made, target, leftOut(orders.inverse, masked.visible));
}

/** What is seen of samples with the rest as the decoder makes it, and where that is. */
function reproduced(
  { masking, patch, masked }: Learner,
  x: tf.Tensor4D,
  orders: Orders,
): { squares: tf.Tensor3D; made: tf.Tensor3D; mask: tf.Tensor3D } {
  const squares = squaresOf(x, patch);
  const { mean, deviation } = statisticsOf(squares);
  const raw = masked.reproduce(x, orders, false);
  const made = masking.normalise ? tf.add<tf.Tensor3D>(tf.mul(raw, deviation), mean) : raw;
  return { squares, made, mask: leftOut(orders.inverse, masked.visible) };
}

/** Error of the squares that are left out, the same ones each time, and how well neighbours tell classes apart. */
async function judge(learner: Learner, data: Data, pause: Pause): Promise<Record<string, number>> {
  const { spec, encoder, squares: count } = learner;
  const { evaluation } = data;
  const random = Random.seeded(spec.seed, 'judged masks');
  const errors = await collect(
    evaluation,
    allRows(evaluation),
    (x) => {
      const { squares, made, mask } = reproduced(learner, x, drawOrders(x.shape[0], count, random));
      const each = tf.mul(tf.squaredDifference(made, squares), mask);
      return tf.div<tf.Tensor2D>(tf.mean(each, [1, 2], false), tf.mean(mask, [1, 2], false)).expandDims(1);
    },
    pause,
  );
  const mse = tf.tidy(() => tf.mean(errors).dataSync()[0]!);
  errors.dispose();
  const knn = await neighbourAccuracy(data, representation(encoder), spec.knn, pause);
  return {
    'eval/reconstruction_mse': mse,
    'eval/psnr': peakSignalToNoise(mse),
    ...(knn !== undefined && { 'eval/knn': knn }),
  };
}

/** Stores samples over what is seen of them, over that with what the decoder makes of the rest. */
async function storePictures(
  learner: Learner,
  { evaluation }: Data,
  step: number,
  context: TrainContext,
): Promise<void> {
  const { spec, patch } = learner;
  const { sample } = evaluation;
  const layers = tf.tidy(() => {
    const x = inputOf(sample, gatherSamples(evaluation, balancedRows(evaluation, spec.gridImages)));
    const orders = drawOrders(x.shape[0], learner.squares, Random.seeded(spec.seed, 'shown masks'));
    const { squares, made, mask } = reproduced(learner, x, orders);
    const seen = tf.mul<tf.Tensor3D>(squares, tf.sub(1, mask));
    const shape = inputShape(sample);
    return [
      x,
      imagesOf(tf.add(seen, tf.mul(mask, LEFT_OUT)), patch, shape),
      imagesOf(tf.add(seen, tf.mul(made, mask)), patch, shape),
    ].map((each) => pictureOf(each, sample, 'spectrogram'));
  });
  try {
    const file = path.join(context.workDir, 'reconstructions.png');
    await writeGrid(file, layers);
    await context.store({ name: 'reconstructions.png', kind: 'image', mime: 'image/png', path: file, step });
  } finally {
    tf.dispose(layers);
  }
}
