/** Training with a fraction of the labels, from a pretrained encoder or from scratch. */
import {
  defaultAugmentation,
  sampleAt,
  isOwnNetwork,
  transformerOf,
  type Finetune,
  type RunResult,
  type TrainerInputs,
} from '#libs/contracts';
import {
  allRows,
  DrawnMasks,
  DrawnViews,
  gatherLabels,
  inOrder,
  labelSubset,
  Random,
  seenAt,
  type LabelSubset,
} from '#libs/data';
import { integers } from '#libs/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { judgeClasses, storeClassification, type ClassJudgement } from './classification.js';
import { CompiledMap } from './compiled-map.js';
import { collect } from './evaluation.js';
import { freezeThrough, layerFactor } from './layer-rates.js';
import { encode, featureWidth } from './networks/encoder.js';
import { buildClassifier, buildProjectionHead } from './networks/heads.js';
import { buildSegmenter, pyramidOf } from './networks/segmenter.js';
import { forward, initialise, weightsOf } from './networks/weights.js';
import { accuracyOf, crossEntropy, pixelCrossEntropy } from './objectives.js';
import type { Recipe } from './recipe.js';
import {
  openData,
  requireBatch,
  restoredHead,
  startingEncoder,
  storeModel,
  type Data,
  type ModelState,
  type ParentModel,
} from './run-inputs.js';
import { judgeSegmentation, requireLabelledPixels, storeSegmentation, type Judgement } from './segmentation.js';
import { Session } from './session.js';
import { TrainingError, type TrainContext } from './train-context.js';

/** Evaluations of a finetuning, evenly spread. */
const EVALUATIONS = 4;

export async function finetune(spec: Finetune, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const subset = labelSubset(data.train, spec.labelFraction, spec.labelSeed);
  requireBatch(spec.batchSize, subset.rows.length);
  context.log(
    'info',
    `${subset.rows.length} ${spec.task === 'segmentation' ? 'masks' : 'labels'} (fraction ${spec.labelFraction}, ` +
      `seed ${spec.labelSeed}), sha256 of the rows ${subset.sha256}`,
  );
  const metrics = await (spec.task === 'segmentation' ? segment : classify)(spec, data, subset, inputs, context);
  return {
    metrics: { ...metrics, 'data/labels': subset.rows.length },
    labels: { count: subset.rows.length, sha256: subset.sha256 },
  };
}

/**
 * Encoder, the first layers of the projection head where asked for, and a linear classifier that starts at zero.
 * Without `backbone` the whole network is tuned alike.
 */
async function classify(
  spec: Finetune,
  data: Data,
  subset: LabelSubset,
  inputs: TrainerInputs,
  context: TrainContext,
): Promise<RunResult['metrics']> {
  const { sample, classes } = data.manifest;
  const { encoder, architecture, parent, size } = await startingEncoder(spec, inputs, sample);
  const evaluation = seenAt(data.evaluation, size);
  if (spec.fineTuneAfterBlock !== undefined) freezeThrough(encoder, architecture, spec.fineTuneAfterBlock);
  const middle = middleOfHead(spec, encoder, parent);
  const trunk = middle ? [encoder, middle.head] : [encoder];
  const classifier = buildClassifier(
    middle ? middle.head.outputs[0]!.shape.at(-1)! : featureWidth(encoder),
    classes.length,
  );
  const augmentation = spec.augmentation ?? defaultAugmentation('labels', sample);
  const drawn = new DrawnViews(data.train, [[{ augmentation, count: 1, size }]], spec.batchSize);
  const logitsOf = (x: tf.Tensor4D, training: boolean): tf.Tensor2D => {
    const byBatch = training && normalisesByBatch(spec);
    const { features } = encode(encoder, x, byBatch);
    return forward(classifier, middle ? forward(middle.head, features, byBatch) : features, training);
  };
  const ofHead = trunk.length > 1 ? ` and the first ${spec.fromHeadLayer} of the projection head` : '';
  context.log('info', `all layers of the encoder${ofHead} ${treatment(spec)}, with a linear classifier on top`);
  let judgement!: ClassJudgement;
  const judged = new CompiledMap((x) => logitsOf(x, false), [...trunk, classifier]);
  return tune(spec, subset, inputs, context, {
    trunk,
    head: classifier,
    judged,
    quality: 'eval/accuracy',
    state: {
      kind: 'finetune',
      task: 'classification',
      sample: sampleAt(sample, size),
      ...(size !== undefined && { size }),
      classes,
      encoder: architecture,
      ...(middle && { projection: middle.projection, headLayers: spec.fromHeadLayer }),
    },
    batch: (rows, random) => [...drawn.draw(rows, random), integers(gatherLabels(data.train, rows), [rows.length])],
    see: (taken): [tf.Tensor4D, tf.Tensor1D] => {
      const next = inOrder(taken);
      return [drawn.make(next)[0]!, next() as tf.Tensor1D];
    },
    objective: ([views, labels]) => {
      const logits = logitsOf(views, true);
      return { loss: crossEntropy(logits, labels), accuracy: accuracyOf(logits, labels) };
    },
    evaluate: async (pause) => {
      const labels = gatherLabels(evaluation, allRows(evaluation));
      const logits = await collect(evaluation, allRows(evaluation), judged, pause);
      judgement = judgeClasses(logits, labels);
      logits.dispose();
      const { loss, accuracy, top5 } = judgement;
      return { 'eval/loss': loss, 'eval/accuracy': accuracy, ...(top5 !== null && { 'eval/top5_accuracy': top5 }) };
    },
    report: () => storeClassification(data.evaluation, spec.evalSplit, judgement, spec.steps, context),
  });
}

/**
 * Encoder, and a decoder that reads its maps at each resolution. Without `backbone` the whole network is tuned alike.
 */
async function segment(
  spec: Finetune,
  data: Data,
  subset: LabelSubset,
  inputs: TrainerInputs,
  context: TrainContext,
): Promise<RunResult['metrics']> {
  const { sample, classes } = data.manifest;
  requireLabelledPixels(data.train, subset.rows, 'the masks to train on');
  requireLabelledPixels(data.evaluation, allRows(data.evaluation), `the masks of the ${spec.evalSplit} split`);
  const { encoder, architecture } = await startingEncoder(spec, inputs, sample);
  if (transformerOf(architecture) || isOwnNetwork(architecture))
    throw new TrainingError(
      'invalid_spec',
      `expected an encoder with maps of several resolutions for segmentation, got ${architecture.name}: take one of ` +
        'the ResNets',
    );
  if (spec.fineTuneAfterBlock !== undefined) freezeThrough(encoder, architecture, spec.fineTuneAfterBlock);
  const pyramid = pyramidOf(encoder, architecture);
  const segmenter = buildSegmenter(pyramid, classes.length);
  // The logits' layer too: from zero, a decoder of as many steps told classes apart far later.
  initialise([segmenter], Random.seeded(spec.seed, 'segmenter'));
  const augmentation = spec.augmentation ?? defaultAugmentation('labels', sample);
  const drawn = new DrawnMasks(data.train, augmentation, spec.batchSize);
  const logitsOf = (x: tf.Tensor4D, training: boolean): tf.Tensor4D =>
    forward(segmenter, forward<tf.Tensor[]>(pyramid, x, training && normalisesByBatch(spec)), training);
  context.log('info', `all layers of the encoder ${treatment(spec)}, with a decoder of pixels on top`);
  let judgement!: Judgement;
  return tune(spec, subset, inputs, context, {
    trunk: [encoder],
    head: segmenter,
    quality: 'eval/miou',
    state: { kind: 'finetune', task: 'segmentation', sample, classes, encoder: architecture },
    batch: (rows, random) => drawn.draw(rows, random),
    see: (taken): [tf.Tensor4D, tf.Tensor3D] => {
      const { views, masks } = drawn.make(inOrder(taken));
      return [views, masks];
    },
    objective: ([views, masks]) => ({ loss: pixelCrossEntropy(logitsOf(views, true), masks) }),
    evaluate: async (pause) => {
      judgement = await judgeSegmentation(data.evaluation, (x) => logitsOf(x, false), pause);
      const {
        loss,
        scores: { miou, dice, pixelAccuracy },
      } = judgement;
      return { 'eval/loss': loss, 'eval/miou': miou, 'eval/dice': dice, 'eval/pixel_accuracy': pixelAccuracy };
    },
    report: () =>
      storeSegmentation(data.evaluation, spec.evalSplit, judgement, (x) => logitsOf(x, false), spec.steps, context),
  });
}

/** Whether the trunk's batch normalisation goes by each batch while it is tuned, and moves its running averages. */
const normalisesByBatch = ({ backbone }: Finetune): boolean =>
  !backbone || (backbone.rate > 0 && backbone.statistics === 'batch');

/** The part of the learning rate at which each weight learns; undefined where all learn alike. */
function rateOf(
  { backbone, layerDecay }: Finetune,
  { encoder, headLayers = 0 }: Pick<ModelState, 'encoder' | 'headLayers'>,
  trunk: readonly LayersModel[],
): Recipe['rateOf'] {
  if (!backbone && layerDecay === undefined) return undefined;
  const inTrunk = new Set(weightsOf(...trunk).map(({ key }) => key));
  const byLayer = layerFactor(encoder, headLayers, layerDecay ?? 1);
  return (weight) => (backbone && inTrunk.has(weight.key) ? backbone.rate : 1) * byLayer(weight);
}

/** What happens to the trunk, in words. */
function treatment(spec: Finetune): string {
  const { fineTuneAfterBlock } = spec;
  if (fineTuneAfterBlock === undefined || spec.backbone?.rate === 0) return treatmentOf(spec);
  return `${treatmentOf(spec)}, but for those up to the end of group ${fineTuneAfterBlock} of blocks, which stay`;
}

function treatmentOf({ backbone }: Finetune): string {
  if (!backbone) return 'are tuned';
  if (backbone.rate === 0) return 'stay as the parent left them';
  return (
    `are tuned at ${backbone.rate} of the learning rate, normalised by ` +
    `${backbone.statistics === 'parent' ? "the parent's running averages" : 'each batch'}`
  );
}

/**
 * What a task trains, the trunk from the parent where there is one, and how its model file describes it. `report`:
 * once, after the last evaluation.
 */
type Task<Batch extends tf.Tensor[]> = Pick<Recipe<Batch>, 'batch' | 'see' | 'objective' | 'evaluate' | 'quality'> & {
  trunk: LayersModel[];
  head: LayersModel;
  state: Omit<ModelState, 'range'>;
  /** What evaluations map samples by. */
  judged?: CompiledMap;
  report?(): Promise<void>;
};

/**
 * Trains on the labelled rows, stores what came of it and frees the networks. Returns the last value of each metric.
 */
async function tune<Batch extends tf.Tensor[]>(
  spec: Finetune,
  { rows }: LabelSubset,
  inputs: TrainerInputs,
  context: TrainContext,
  { trunk, head, state, judged, report, ...task }: Task<Batch>,
): Promise<RunResult['metrics']> {
  const { backbone } = spec;
  const session = new Session(
    {
      ...task,
      ...(backbone?.rate === 0 ? { models: [head], followers: trunk } : { models: [...trunk, head] }),
      rateOf: rateOf(spec, state, trunk),
      rows,
      batchSize: spec.batchSize,
      totalSteps: spec.steps,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      evaluateEvery: Math.ceil(spec.steps / EVALUATIONS),
      evaluateAtStart: false,
      checkpoints: spec.checkpoints,
      ema: spec.ema,
      precision: spec.precision,
    },
    context,
  );
  try {
    const metrics = await session.run(inputs.checkpoint);
    await report?.();
    await storeModel(state, [...trunk, head], context);
    return metrics;
  } finally {
    judged?.dispose();
    session.dispose();
  }
}

/** The first layers of the parent's head, or of a new one; undefined where the classifier sits on the encoder. */
function middleOfHead(spec: Finetune, encoder: LayersModel, parent: ParentModel | undefined) {
  const through = spec.fromHeadLayer;
  if (through === 0) return undefined;
  const projection = parent ? parent.state.projection : spec.projection;
  if (!projection || through > projection.layers)
    throw new TrainingError(
      'invalid_spec',
      `expected a projection head of at least ${through} layers, ` +
        `${projection ? `it has ${projection.layers}` : 'there is none'}`,
    );
  if (parent) return { head: restoredHead(encoder, projection, through, parent), projection };
  const head = buildProjectionHead(featureWidth(encoder), projection, { through });
  initialise([head], Random.seeded(spec.seed, 'head'));
  return { head, projection };
}
