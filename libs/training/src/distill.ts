/** Distillation of a finetuned teacher into a student, mostly by unlabelled samples (SimCLRv2, section 2). */
import {
  defaultAugmentation,
  sampleAt,
  type Distill,
  type RunResult,
  type SampleShape,
  type TrainerInputs,
} from '#libs/contracts';
import {
  allRows,
  gatherLabels,
  gatherSamples,
  labelSubset,
  seenAt,
  viewsOf,
  type Random,
  type SampleSplit,
} from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { judgeClasses, storeClassification, type ClassJudgement } from './classification.js';
import { accuracy, collect, type Pause } from './evaluation.js';
import { encode, featureWidth } from './networks/encoder.js';
import { buildClassifier } from './networks/heads.js';
import { forward } from './networks/weights.js';
import { crossEntropy, distillation } from './objectives.js';
import { withoutGradient } from './networks/operations.js';
import type { Recipe, Terms } from './recipe.js';
import {
  firstEncoder,
  openData,
  readParent,
  requireBatch,
  storedNetworks,
  storeModel,
  type ParentModel,
} from './run-inputs.js';
import { Session, TrainingError, type TrainContext } from './session.js';

/** Views of samples; with labels also views of labelled samples and those labels [N]. */
type Batch = [tf.Tensor4D] | [tf.Tensor4D, tf.Tensor4D, tf.Tensor1D];

/** The network that learns: views → logits [N, classes]. */
type Student = (x: tf.Tensor4D, training: boolean) => tf.Tensor2D;

/** The teacher: a finetuned network as it was stored. */
interface Classifier {
  models: LayersModel[];
  logits(x: tf.Tensor4D): tf.Tensor2D;
}

export async function distill(spec: Distill, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { sample, classes } = data.manifest;
  requireBatch(spec.batchSize, data.train.count);
  const parent = await readParent(inputs);
  if (parent.state.classes.join('\n') !== classes.join('\n'))
    throw new TrainingError(
      'invalid_spec',
      `expected the classes that the teacher knows (${parent.state.classes.join(', ')}), got ${classes.join(', ')}`,
    );
  const { size } = parent.state;
  const seen = sampleAt(sample, size);
  const teacher = classifierOf(parent, seen);
  const encoder = await firstEncoder(spec.encoder, seen, spec.seed, inputs);
  const classifier = buildClassifier(featureWidth(encoder), classes.length);
  const student: Student = (x, training) =>
    forward<tf.Tensor2D>(classifier, encode(encoder, x, training).features, training);
  const labelled = spec.labelWeight > 0 ? labelSubset(data.train, spec.labelFraction, spec.labelSeed) : undefined;
  if (labelled)
    context.log(
      'info',
      `${labelled.rows.length} labels (fraction ${spec.labelFraction}, seed ${spec.labelSeed}), sha256 of the ` +
        `rows ${labelled.sha256}`,
    );
  let judgement: ClassJudgement | undefined;
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const session = new Session(
    {
      models: [encoder, classifier],
      frozen: teacher.models,
      rows: allRows(data.train),
      batchSize: spec.batchSize,
      totalSteps: spec.epochs * stepsPerEpoch,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      batch: (rows, random) => batchOf(spec, data.train, labelled?.rows, rows, random, size),
      objective: objectiveOf(spec, teacher, student),
      evaluate: async (pause) => {
        const compared = await compare(teacher, student, seenAt(data.evaluation, size), pause);
        judgement = compared.judgement;
        return compared.metrics;
      },
      evaluateEvery: stepsPerEpoch,
      evaluateAtStart: false,
      quality: 'eval/agreement',
      checkpoints: spec.checkpoints,
      ema: spec.ema,
    },
    context,
  );
  try {
    const metrics = await session.run(inputs.checkpoint);
    if (judgement)
      await storeClassification(data.evaluation, spec.evalSplit, judgement, spec.epochs * stepsPerEpoch, context);
    await storeModel(
      {
        kind: 'distill',
        task: 'classification',
        sample: seen,
        ...(size !== undefined && { size }),
        classes,
        encoder: spec.encoder,
      },
      [encoder, classifier],
      context,
    );
    return { metrics, ...(labelled && { labels: { count: labelled.rows.length, sha256: labelled.sha256 } }) };
  } finally {
    session.dispose();
    for (const model of teacher.models) model.dispose();
  }
}

/** Views of samples, and views of as many labelled samples (fewer where there are fewer) with their labels. */
function batchOf(
  spec: Distill,
  train: SampleSplit,
  labelled: Int32Array | undefined,
  rows: Int32Array,
  random: Random,
  size: number | undefined,
): Batch {
  const { sample } = train;
  const augmentation = spec.augmentation ?? defaultAugmentation('labels', sample);
  const x = viewsOf(sample, gatherSamples(train, rows), augmentation, random, size);
  if (!labelled) return [x];
  const some = Int32Array.from(
    { length: Math.min(spec.batchSize, labelled.length) },
    () => labelled[random.integer(0, labelled.length)]!,
  );
  return [
    x,
    viewsOf(sample, gatherSamples(train, some), augmentation, random, size),
    tf.tensor1d(gatherLabels(train, some), 'int32'),
  ];
}

/** (1 − α) times the cross-entropy to the teacher's predictions, and α = `labelWeight` times that to the labels. */
const objectiveOf =
  (spec: Distill, teacher: Classifier, student: Student): Recipe<Batch>['objective'] =>
  ([x, labelledX, labels]): Terms => {
    const agreement = distillation(
      withoutGradient(x, (views) => teacher.logits(views as tf.Tensor4D)),
      student(x, true),
      spec.temperature,
    );
    if (!labelledX || !labels) return { loss: agreement, distillation: agreement };
    const supervised = crossEntropy(student(labelledX, true), labels);
    return {
      loss: tf.add<tf.Scalar>(tf.mul(supervised, spec.labelWeight), tf.mul(agreement, 1 - spec.labelWeight)),
      distillation: agreement,
      cross_entropy: supervised,
    };
  };

/** Part of the evaluation split on which student and teacher agree, and how good both are where it has labels. */
async function compare(
  teacher: Classifier,
  student: Student,
  evaluation: SampleSplit,
  pause: Pause,
): Promise<{ metrics: Record<string, number>; judgement?: ClassJudgement }> {
  const rows = allRows(evaluation);
  const [ours, theirs] = [
    await collect(evaluation, rows, (x) => student(x, false), pause),
    await collect(evaluation, rows, (x) => teacher.logits(x), pause),
  ];
  const [predicted, taught] = tf.tidy(() => [tf.argMax(ours, 1).dataSync(), tf.argMax(theirs, 1).dataSync()] as const);
  const { labels } = evaluation;
  const judgement = labels && judgeClasses(ours, labels);
  tf.dispose([ours, theirs]);
  const agreement = { 'eval/agreement': accuracy(predicted, taught) };
  if (!judgement) return { metrics: agreement };
  return {
    metrics: {
      ...agreement,
      'eval/accuracy': judgement.accuracy,
      ...(judgement.top5 !== null && { 'eval/top5_accuracy': judgement.top5 }),
      'eval/teacher_accuracy': accuracy(taught, judgement.labels),
    },
    judgement,
  };
}

function classifierOf(parent: ParentModel, sample: SampleShape): Classifier {
  const { encoder, head, classifier } = storedNetworks(parent, sample);
  if (!classifier)
    throw new TrainingError(
      'invalid_spec',
      'expected a teacher that classifies samples, got one that segments them: name a run of the task classification',
    );
  return {
    models: [encoder, ...(head ? [head] : []), classifier],
    logits: (x) => {
      const { features } = encode(encoder, x, false);
      return forward(classifier, head ? forward(head, features, false) : features, false);
    },
  };
}
