/** Distillation of a finetuned teacher into a student, mostly by unlabelled samples (SimCLRv2, section 2). */
import {
  defaultAugmentation,
  sampleAt,
  type Distill,
  type RunResult,
  type SampleShape,
  type TrainerInputs,
} from '#libs/contracts';
import { allRows, DrawnViews, gatherLabels, inOrder, labelSubset, seenAt, type SampleSplit } from '#libs/data';
import { integers } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { judgeClasses, storeClassification, type ClassJudgement } from './classification.js';
import { CompiledMap } from './compiled-map.js';
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
import { Session } from './session.js';
import { TrainingError, type TrainContext } from './train-context.js';

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
  const ofTeacher = new CompiledMap((x) => teacher.logits(x), teacher.models);
  const ofStudent = new CompiledMap((x) => student(x, false), [encoder, classifier]);
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
      ...batchesOf(spec, data.train, labelled?.rows, size),
      objective: objectiveOf(spec, teacher, student),
      evaluate: async (pause) => {
        const compared = await compare(ofTeacher, ofStudent, seenAt(data.evaluation, size), pause);
        judgement = compared.judgement;
        return compared.metrics;
      },
      evaluateEvery: stepsPerEpoch,
      evaluateAtStart: false,
      quality: 'eval/agreement',
      checkpoints: spec.checkpoints,
      ema: spec.ema,
      precision: spec.precision,
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
    for (const each of [ofTeacher, ofStudent]) each.dispose();
    session.dispose();
    for (const model of teacher.models) model.dispose();
  }
}

/** Views of samples, and views of as many labelled samples (fewer where there are fewer) with their labels. */
function batchesOf(
  spec: Distill,
  train: SampleSplit,
  labelled: Int32Array | undefined,
  size: number | undefined,
): Pick<Recipe<Batch>, 'batch' | 'see'> {
  const augmentation = spec.augmentation ?? defaultAugmentation('labels', train.sample);
  const viewsOf = (count: number) => new DrawnViews(train, [[{ augmentation, count: 1, size }]], count);
  const all = viewsOf(spec.batchSize);
  if (!labelled)
    return { batch: (rows, random) => all.draw(rows, random), see: (taken) => [all.make(inOrder(taken))[0]!] };
  const count = Math.min(spec.batchSize, labelled.length);
  const ofLabelled = viewsOf(count);
  return {
    batch: (rows, random) => {
      const drawn = all.draw(rows, random);
      const some = Int32Array.from({ length: count }, () => labelled[random.integer(0, labelled.length)]!);
      return [...drawn, ...ofLabelled.draw(some, random), integers(gatherLabels(train, some), [count])];
    },
    see: (taken) => {
      const next = inOrder(taken);
      return [all.make(next)[0]!, ofLabelled.make(next)[0]!, next() as tf.Tensor1D];
    },
  };
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
  teacher: CompiledMap,
  student: CompiledMap,
  evaluation: SampleSplit,
  pause: Pause,
): Promise<{ metrics: Record<string, number>; judgement?: ClassJudgement }> {
  const rows = allRows(evaluation);
  const [ours, theirs] = [
    await collect(evaluation, rows, student, pause),
    await collect(evaluation, rows, teacher, pause),
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
