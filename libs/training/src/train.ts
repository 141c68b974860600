/** A run spec and its inputs → metrics and a model. Pure compute: everything else is the context's business. */
import type { Autoencode, DatasetManifest, Encoder, Evaluate, Finetune, Knn, Pretrain, RunResult, RunSpec, Split, TrainerInputs } from '#libs/contracts';
import { augment, balancedRows, gatherImages, gatherLabels, InvalidDataError, labelSubset, openSplit, Random, type ImageSplit } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import path from 'node:path';
import sharp from 'sharp';
import { assignTensors, CheckpointError, readTensors, writeTensors } from './checkpoint.js';
import { accuracy, collect, fitLinearProbe, weightedKnn, type Pause } from './evaluation.js';
import { buildBottleneck, buildClassifier, buildDecoder, buildEncoder, buildProjectionHead, encode, featureWidth, forward, initialise, weightsOf } from './networks.js';
import { accuracyOf, crossEntropy, meanSquaredError, ntXent } from './objectives.js';
import { breathe, Session, TrainingError, type TrainContext } from './session.js';

export type TrainSpec = Exclude<RunSpec, { kind: 'prepare-dataset' }>;

/** What a model file says of itself: enough to build the network and to feed it. */
interface ModelState { kind: TrainSpec['kind']; encoder: Encoder; imageSize: number; channels: number; classes: readonly string[]; range: [0, 1] }

/** Evaluations of a finetuning, evenly spread. */
const FINETUNE_EVALUATIONS = 4;
/** Neighbours, features for the probe, the probe: the steps of an evaluation. */
const EVALUATION_PARTS = 3;

/**
 * Trains or evaluates to the end.
 * @throws Stopped, TrainingError, InvalidDataError
 */
export async function train(spec: TrainSpec, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  try {
    switch (spec.kind) {
      case 'pretrain': return await pretrain(spec, inputs, context);
      case 'finetune': return await finetune(spec, inputs, context);
      case 'autoencode': return await autoencode(spec, inputs, context);
      case 'evaluate': return await evaluate(spec, inputs, context);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (/OOM when allocating|RESOURCE_EXHAUSTED|std::bad_alloc|Array buffer allocation failed/i.test(message)) throw new TrainingError('oom', `not enough memory: lower the batch size or the width (${message.split('\n')[0]})`);
    if (error instanceof CheckpointError) throw new TrainingError('internal_error', message);
    throw error;
  }
}

interface Data { manifest: DatasetManifest; train: ImageSplit; evaluation: ImageSplit }

async function openData(inputs: TrainerInputs, evalSplit: Split): Promise<Data> {
  const { dataset } = inputs;
  if (!dataset) throw new TrainingError('internal_error', 'expected a dataset among the inputs, got none');
  const open = (split: Split) => {
    const files = dataset.files[split];
    if (!files) throw new InvalidDataError(`expected dataset ${dataset.manifest.name} to have a ${split} split`);
    return openSplit(dataset.manifest, split, files);
  };
  const data = { manifest: dataset.manifest, train: await open('train'), evaluation: await open(evalSplit) };
  if (data.evaluation.count === 0) throw new InvalidDataError(`expected images in the ${evalSplit} split of dataset ${dataset.manifest.name}, found none`);
  return data;
}

const allRows = ({ count }: ImageSplit): Int32Array => Int32Array.from({ length: count }, (_, row) => row);

function requireBatch(batchSize: number, available: number): void {
  if (batchSize > available) throw new TrainingError('invalid_spec', `expected a batch of at most the ${available} images there are to train on, got ${batchSize}`);
}

/** Trains two views of each image to find each other among all views of the batch (SimCLR, algorithm 1). */
async function pretrain(spec: Pretrain, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  requireBatch(spec.batchSize, data.train.count);
  reportNeighbours(spec.knn, data, context);
  const encoder = newEncoder(spec.encoder, data.manifest, spec.seed);
  const head = buildProjectionHead(featureWidth(encoder), spec.projection);
  initialise([head], Random.seeded(spec.seed, 'head'));
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const session = new Session({
    models: [encoder, head], rows: allRows(data.train), batchSize: spec.batchSize, totalSteps: spec.epochs * stepsPerEpoch,
    optimizer: spec.optimizer, schedule: spec.schedule, seed: spec.seed,
    step: (rows, random) => {
      const images = gatherImages(data.train, rows);
      // views: [2N, S, S, C]
      const views = tf.concat4d([augment(images, spec.augmentation, random), augment(images, spec.augmentation, random)], 0);
      const { features } = encode(encoder, views, true);
      const { loss, accuracy: found } = ntXent(forward(head, features, true), spec.temperature);
      return { loss, contrastive_accuracy: found };
    },
    evaluate: async (pause) => ({ 'eval/knn': await knnAccuracy(representation(encoder), data, spec.knn, pause) }),
    evaluateEvery: stepsPerEpoch, evaluateAtStart: true,
  }, context);
  try {
    const metrics = await session.run(inputs.checkpoint);
    await storeModel(spec, data.manifest, spec.encoder, [encoder, head], context);
    return { metrics };
  } finally {
    session.dispose();
  }
}

/** Trains the whole network, encoder and a linear classifier that starts at zero, on a fraction of the labels. */
async function finetune(spec: Finetune, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { encoder, architecture } = await startingEncoder(spec, inputs, data.manifest);
  const classifier = buildClassifier(featureWidth(encoder), data.manifest.classes.length);
  const subset = labelSubset(data.train.labels, data.manifest.classes.length, spec.labelFraction, spec.labelSeed);
  requireBatch(spec.batchSize, subset.rows.length);
  context.log('info', `${subset.rows.length} labels (fraction ${spec.labelFraction}, seed ${spec.labelSeed}), sha256 of the rows ${subset.sha256}`);
  const session = new Session({
    models: [encoder, classifier], rows: subset.rows, batchSize: spec.batchSize, totalSteps: spec.steps,
    optimizer: spec.optimizer, schedule: spec.schedule, seed: spec.seed,
    step: (rows, random) => {
      const labels = gatherLabels(data.train, rows);
      const { features } = encode(encoder, augment(gatherImages(data.train, rows), spec.augmentation, random), true);
      const logits = forward<tf.Tensor2D>(classifier, features, true);
      return { loss: crossEntropy(logits, labels), accuracy: accuracyOf(logits, labels) };
    },
    evaluate: async (pause) => {
      const logits = await collect(data.evaluation, allRows(data.evaluation), (images) => forward(classifier, encode(encoder, images, false).features, false), pause);
      const [loss, right] = tf.tidy(() => [crossEntropy(logits, data.evaluation.labels).dataSync()[0]!, accuracyOf(logits, data.evaluation.labels).dataSync()[0]!]);
      logits.dispose();
      return { 'eval/loss': loss, 'eval/accuracy': right };
    },
    evaluateEvery: Math.ceil(spec.steps / FINETUNE_EVALUATIONS), evaluateAtStart: false,
  }, context);
  try {
    const metrics = await session.run(inputs.checkpoint);
    await storeModel(spec, data.manifest, architecture, [encoder, classifier], context);
    return { metrics: { ...metrics, 'data/labels': subset.rows.length } };
  } finally {
    session.dispose();
  }
}

/** Reproduces images through a narrow latent vector. */
async function autoencode(spec: Autoencode, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  requireBatch(spec.batchSize, data.train.count);
  reportNeighbours(spec.knn, data, context);
  const { imageSize, channels } = data.manifest;
  const encoder = newEncoder(spec.encoder, data.manifest, spec.seed);
  const bottleneck = buildBottleneck(encoder, spec.latent);
  const decoder = buildDecoder(encoder, spec.latent, spec.encoder.width, imageSize, channels);
  initialise([bottleneck, decoder], Random.seeded(spec.seed, 'decoder'));
  const code = (images: tf.Tensor4D, training: boolean) => forward<tf.Tensor2D>(bottleneck, encode(encoder, images, training).map, training);
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const session = new Session({
    models: [encoder, bottleneck, decoder], rows: allRows(data.train), batchSize: spec.batchSize, totalSteps: spec.epochs * stepsPerEpoch,
    optimizer: spec.optimizer, schedule: spec.schedule, seed: spec.seed,
    step: (rows) => {
      const images = gatherImages(data.train, rows);
      return { loss: meanSquaredError(forward(decoder, code(images, true), true), images) };
    },
    evaluate: async (pause) => {
      const errors = await collect(data.evaluation, allRows(data.evaluation), (images) =>
        tf.expandDims(tf.mean<tf.Tensor1D>(tf.squaredDifference(forward<tf.Tensor4D>(decoder, code(images, false), false), images), [1, 2, 3]), 1), pause);
      const mse = tf.tidy(() => tf.mean(errors).dataSync()[0]!);
      errors.dispose();
      return { 'eval/reconstruction_mse': mse, 'eval/psnr': peakSignalToNoise(mse), 'eval/knn': await knnAccuracy((images) => code(images, false), data, spec.knn, pause) };
    },
    evaluateEvery: stepsPerEpoch, evaluateAtStart: false,
  }, context);
  try {
    const metrics = await session.run(inputs.checkpoint);
    const rows = balancedRows(data.evaluation, spec.gridImages);
    const grid = tf.tidy(() => {
      const images = gatherImages(data.evaluation, rows);
      const pair = tf.concat4d([images, forward<tf.Tensor4D>(decoder, code(images, false), false)], 0);
      return tf.cast(tf.round(tf.mul(pair, 255)), 'int32').dataSync() as Int32Array;
    });
    const file = path.join(context.workDir, 'reconstructions.png');
    await writeGrid(file, grid, rows.length, imageSize, channels);
    await context.store({ name: 'reconstructions.png', kind: 'image', mime: 'image/png', path: file, step: spec.epochs * stepsPerEpoch });
    await storeModel(spec, data.manifest, spec.encoder, [encoder, bottleneck, decoder], context);
    return { metrics };
  } finally {
    session.dispose();
  }
}

/** A frozen encoder, judged by its neighbours and by a linear probe. */
async function evaluate(spec: Evaluate, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { classes } = data.manifest;
  const { encoder } = await startingEncoder(spec, inputs, data.manifest);
  reportNeighbours(spec.knn, data, context);
  const subset = labelSubset(data.train.labels, classes.length, spec.labelFraction, spec.labelSeed);
  let done = 0;
  const pause = () => breathe(context, done, EVALUATION_PARTS);
  const owned: { dispose(): void }[] = [encoder];
  try {
    const knn = await knnAccuracy(representation(encoder), data, spec.knn, pause);
    done = 1;
    const features = await collect(data.train, subset.rows, representation(encoder), pause);
    owned.push(features);
    done = 2;
    const probe = await fitLinearProbe(features, gatherLabels(data.train, subset.rows), classes.length, spec.probe, pause);
    owned.push(probe);
    const queries = await collect(data.evaluation, allRows(data.evaluation), representation(encoder), pause);
    owned.push(queries);
    const metrics = {
      'eval/knn': knn, 'eval/probe_accuracy': accuracy(probe.predict(queries), data.evaluation.labels), 'train/probe_loss': probe.loss, 'data/labels': subset.rows.length,
    };
    context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
    context.progress(EVALUATION_PARTS, EVALUATION_PARTS);
    return { metrics };
  } finally {
    for (const each of owned) each.dispose();
  }
}

/** Images → h [N, F], by the encoder as it is for evaluation. */
const representation = (encoder: LayersModel) => (images: tf.Tensor4D): tf.Tensor2D => encode(encoder, images, false).features;

/** In decibels, of values in [0, 1]; at most 100, where the images are equal. */
const peakSignalToNoise = (mse: number): number => -10 * Math.log10(Math.max(mse, 1e-10));

function reportNeighbours({ k, bankSize }: Knn, { train: { count } }: Data, { log }: TrainContext): void {
  const bank = Math.min(bankSize, count);
  if (k > bank) log('warn', `the kNN evaluation asks for ${k} neighbours, but only ${bank} images vote: all of them do`);
}

function newEncoder(architecture: Encoder, { imageSize, channels }: DatasetManifest, seed: number): LayersModel {
  const encoder = buildEncoder(architecture, imageSize, channels);
  initialise([encoder], Random.seeded(seed, 'encoder'));
  return encoder;
}

/** The parent's encoder, or a new one where there is no parent. */
async function startingEncoder(spec: Finetune | Evaluate, inputs: TrainerInputs, manifest: DatasetManifest): Promise<{ encoder: LayersModel; architecture: Encoder }> {
  if (spec.from === null) {
    if (!spec.encoder) throw new TrainingError('invalid_spec', 'expected an encoder in a spec without a parent');
    return { encoder: newEncoder(spec.encoder, manifest, spec.seed), architecture: spec.encoder };
  }
  if (!inputs.parentModel) throw new TrainingError('internal_error', `expected the model of run ${spec.from} among the inputs, got none`);
  const { state, tensors } = await readTensors<ModelState>(inputs.parentModel);
  if (state.channels !== manifest.channels) throw new TrainingError('invalid_spec', `expected images of ${state.channels} channels, on which the parent was trained, got ${manifest.channels}`);
  const encoder = buildEncoder(state.encoder, manifest.imageSize, manifest.channels);
  assignTensors(tensors, weightsOf(encoder));
  return { encoder, architecture: state.encoder };
}

/** Of the evaluation split, with neighbours from the training split. `represent`: images → [N, F] */
async function knnAccuracy(represent: (images: tf.Tensor4D) => tf.Tensor2D, { manifest, train: bankSplit, evaluation }: Data, knn: Knn, pause: Pause): Promise<number> {
  const rows = balancedRows(bankSplit, knn.bankSize);
  const owned: tf.Tensor[] = [];
  try {
    const bank = await collect(bankSplit, rows, represent, pause);
    owned.push(bank);
    const queries = await collect(evaluation, allRows(evaluation), represent, pause);
    owned.push(queries);
    return accuracy(await weightedKnn(bank, gatherLabels(bankSplit, rows), queries, manifest.classes.length, knn, pause), evaluation.labels);
  } finally {
    tf.dispose(owned);
  }
}

async function storeModel(spec: TrainSpec, { imageSize, channels, classes }: DatasetManifest, encoder: Encoder, models: LayersModel[], context: TrainContext): Promise<void> {
  const file = path.join(context.workDir, 'model.safetensors');
  const state: ModelState = { kind: spec.kind, encoder, imageSize, channels, classes, range: [0, 1] };
  await writeTensors(file, state, weightsOf(...models));
  await context.store({ name: 'model.safetensors', kind: 'model', mime: 'application/octet-stream', path: file, step: null });
}

/** Rows of images, each pair of rows inputs over their reconstructions. pixels: [2 · count, S, S, C] */
async function writeGrid(file: string, pixels: Int32Array, count: number, imageSize: number, channels: number): Promise<void> {
  const columns = Math.min(count, 8);
  const bands = Math.ceil(count / columns);
  const width = columns * imageSize;
  const canvas = Buffer.alloc(bands * 2 * imageSize * width * channels);
  for (let half = 0; half < 2; half++) {
    for (let i = 0; i < count; i++) {
      const top = (Math.floor(i / columns) * 2 + half) * imageSize;
      const left = (i % columns) * imageSize;
      for (let y = 0; y < imageSize; y++) {
        const from = (((half * count + i) * imageSize) + y) * imageSize * channels;
        canvas.set(pixels.subarray(from, from + imageSize * channels), ((top + y) * width + left) * channels);
      }
    }
  }
  await sharp(canvas, { raw: { width, height: bands * 2 * imageSize, channels: channels as 1 | 3 } }).png().toFile(file);
}
