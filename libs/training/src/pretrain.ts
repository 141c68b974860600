/**
 * Learning from two views of each sample, with negatives (SimCLR) and without (BYOL, SimSiam, Barlow Twins, VICReg).
 */
import {
  defaultAugmentation,
  type Augmentation,
  type Pretrain,
  type RunResult,
  type SampleShape,
  type TrainerInputs,
} from '#libs/contracts';
import { allRows, balancedRows, gatherLabels, gatherSamples, inputOf, Random, viewsOf } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import path from 'node:path';
import {
  accuracy,
  alignment,
  collect,
  rankMe,
  representation,
  spreadOf,
  uniformity,
  weightedKnn,
  type Pause,
} from './evaluation.js';
import { fitProbe, reportProbe, type LinearProbe } from './linear-probe.js';
import { barlowTwins, negativeCosine, ntXent, vicreg } from './objectives.js';
import { encode, featureWidth } from './networks/encoder.js';
import { buildPredictor, buildProjectionHead } from './networks/heads.js';
import { forward, initialise, weightsOf } from './networks/weights.js';
import { withoutGradient } from './networks/operations.js';
import { pictureOf, writeGrid } from './pictures.js';
import { newEncoder, openData, reportNeighbours, requireBatch, storeModel, type Data } from './run-inputs.js';
import { Session, TrainingError, type Terms, type TrainContext } from './session.js';

/** Samples of the evaluation split whose alignment and uniformity are measured. */
const JUDGED_SAMPLES = 512;
/** Training samples whose views are shown. */
const SHOWN = 8;

/** The part of a method that is its own, beside the encoder, its projection head and the loop, which all share. */
interface Method {
  /** Networks that are trained beside encoder and head. */
  models: LayersModel[];
  followers?: LayersModel[];
  /** Named terms, `loss` the one that is minimised. views: [2N, H, W, C], those of sample i at rows i and i + N. */
  objective(views: tf.Tensor4D): Terms;
  rates?(step: number): number[];
  afterUpdate?(rates: readonly tf.Scalar[]): void;
}

export async function pretrain(spec: Pretrain, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { sample, classes } = data.manifest;
  requireBatch(spec.batchSize, data.train.count);
  reportNeighbours(spec.knn, data, context);
  const augmentation = spec.augmentation ?? defaultAugmentation('pretrain', sample);
  // An earlier attempt that came to a checkpoint has stored the views.
  if (inputs.checkpoint === undefined) await storeViews(spec, augmentation, data, context);
  const encoder = newEncoder(spec.encoder, sample, spec.seed);
  const head = newHead(spec, encoder);
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const totalSteps = spec.epochs * stepsPerEpoch;
  const method = methodOf(spec, sample, encoder, head, totalSteps);
  const tellProbe = firstUnconverged(context);
  const session = new Session(
    {
      models: [encoder, head, ...method.models],
      ...(method.followers && { followers: method.followers }),
      ...(method.rates && { rates: method.rates }),
      ...(method.afterUpdate && { afterUpdate: method.afterUpdate }),
      rows: allRows(data.train),
      batchSize: spec.batchSize,
      totalSteps,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      batch: (rows, random): [tf.Tensor4D] => {
        const samples = gatherSamples(data.train, rows);
        // Both views in one pass need half as many operations.
        return [viewsOf(sample, tf.concat([samples, samples], 0), augmentation, random)];
      },
      objective: ([views]) => method.objective(views),
      evaluate: async (pause) => {
        const metrics = await judge(spec, augmentation, encoder, data, tellProbe, pause);
        requireSpread(spec, metrics['eval/feature_spread'], session.stepsDone);
        return metrics;
      },
      evaluateEvery: stepsPerEpoch,
      evaluateAtStart: true,
      quality: 'eval/knn',
      checkpoints: spec.checkpoints,
    },
    context,
  );
  try {
    const metrics = await session.run(inputs.checkpoint);
    await storeModel(
      { kind: 'pretrain', sample, classes, encoder: spec.encoder, projection: spec.projection },
      [encoder, head],
      context,
    );
    return { metrics };
  } finally {
    session.dispose();
  }
}

/** Reports the probes of all epochs up to the first that did not converge: those after it would say the same. */
function firstUnconverged({ log }: TrainContext): (probe: LinearProbe) => void {
  let told = false;
  return (probe) => {
    if (!told) reportProbe(probe, log);
    told ||= !probe.converged;
  };
}

/** An encoder that has taken no step can't have collapsed. @throws TrainingError for one that has */
function requireSpread({ collapseBelow }: Pretrain, spread: number | undefined, stepsDone: number): void {
  if (collapseBelow === null || spread === undefined || !(spread < collapseBelow) || stepsDone === 0) return;
  throw new TrainingError(
    'collapsed',
    `expected features with a spread of at least ${collapseBelow}, got ${spread.toFixed(4)} at step ` +
      `${stepsDone}: all samples look alike to the encoder`,
  );
}

/**
 * Stores `views.png`: training samples over two views of each as the network gets them, sounds as spectrograms. Draws
 * nothing from the run's own randomness.
 */
async function storeViews(
  spec: Pretrain,
  augmentation: Augmentation,
  { train }: Data,
  context: TrainContext,
): Promise<void> {
  const layers = tf.tidy(() => {
    const random = Random.seeded(spec.seed, 'shown views');
    const samples = gatherSamples(train, balancedRows(train, SHOWN));
    const views = [0, 1].map(() => viewsOf(train.sample, samples, augmentation, random));
    return [inputOf(train.sample, samples), ...views].map((each) => pictureOf(each, train.sample, 'spectrogram'));
  });
  try {
    const file = path.join(context.workDir, 'views.png');
    await writeGrid(file, layers);
    await context.store({ name: 'views.png', kind: 'image', mime: 'image/png', path: file, step: 0 });
  } finally {
    tf.dispose(layers);
  }
}

function methodOf(
  spec: Pretrain,
  sample: SampleShape,
  encoder: LayersModel,
  head: LayersModel,
  totalSteps: number,
): Method {
  const project: Project = (views) => forward(head, encode(encoder, views, true).features, true);
  switch (spec.method) {
    case 'simclr':
      return {
        models: [],
        objective: (views) => {
          const { loss, accuracy: found } = ntXent(project(views), spec.temperature);
          return { loss, contrastive_accuracy: found };
        },
      };
    case 'barlow-twins':
      return { models: [], objective: (views) => barlowTwins(...halves(project(views)), spec.barlowTwins) };
    case 'vicreg':
      return { models: [], objective: (views) => vicreg(...halves(project(views)), spec.vicreg) };
    case 'simsiam':
      return simsiam(spec, project);
    case 'byol':
      return byol(spec, sample, encoder, head, project, totalSteps);
  }
}

/** The projection head's outputs for views: [2N, H, W, C] → [2N, D] */
type Project = (views: tf.Tensor4D) => tf.Tensor2D;

function simsiam(spec: Pretrain, project: Project): Method {
  const predictor = newPredictor(spec);
  return {
    models: [predictor],
    objective: (views) => {
      const z = project(views);
      const [p1, p2] = halves(forward<tf.Tensor2D>(predictor, z, true));
      const [z1, z2] = halves(withoutGradient(z, (constant) => tf.clone(constant as tf.Tensor2D)));
      // Chen and He 2021, eq. 2
      return { loss: tf.mul<tf.Scalar>(tf.add(negativeCosine(p1, z2), negativeCosine(p2, z1)), 0.5) };
    },
  };
}

function byol(
  spec: Pretrain,
  sample: SampleShape,
  encoder: LayersModel,
  head: LayersModel,
  project: Project,
  totalSteps: number,
): Method {
  const predictor = newPredictor(spec);
  // The target begins as a copy of encoder and head, because it is made with the same seeds.
  const targets = [newEncoder(spec.encoder, sample, spec.seed), newHead(spec, encoder)] as const;
  for (const target of targets) target.name = `target_${target.name}`;
  const [targetEncoder, targetHead] = targets;
  const online = trainableOf(encoder, head);
  const followers = trainableOf(...targets);
  return {
    models: [predictor],
    followers: [...targets],
    objective: (views) => {
      const [p1, p2] = halves(forward<tf.Tensor2D>(predictor, project(views), true));
      const [z1, z2] = halves(
        withoutGradient(views, (x) =>
          forward<tf.Tensor2D>(targetHead, encode(targetEncoder, x as tf.Tensor4D, true).features, true),
        ),
      );
      // Grill et al. 2020, eq. 2, both directions: 2 − 2 cos each.
      return { loss: tf.add<tf.Scalar>(tf.mul(tf.add(negativeCosine(p1, z2), negativeCosine(p2, z1)), 2), 4) };
    },
    rates: (step) => [targetMomentumAt(step, totalSteps, spec.targetMomentum)],
    afterUpdate: ([momentum]) => {
      const share = tf.sub(1, momentum!);
      // Parameters only: the target keeps running averages of its own.
      followers.forEach(({ variable }, i) => {
        variable.assign(tf.add(tf.mul(variable, momentum!), tf.mul(online[i]!.variable, share)));
      });
    },
  };
}

/**
 * Weight of the old value in BYOL's target after step k of K: 1 − (1 − base)(cos(πk/K) + 1)/2 (Grill et al. 2020,
 * appendix J).
 */
export const targetMomentumAt = (step: number, totalSteps: number, base: number): number =>
  1 - ((1 - base) * (Math.cos((Math.PI * step) / totalSteps) + 1)) / 2;

function newHead(spec: Pretrain, encoder: LayersModel): LayersModel {
  const head = buildProjectionHead(featureWidth(encoder), spec.projection, { affineEnd: spec.method !== 'simsiam' });
  initialise([head], Random.seeded(spec.seed, 'head'));
  return head;
}

function newPredictor(spec: Pretrain): LayersModel {
  const predictor = buildPredictor(spec.projection.output, spec.predictorHidden);
  initialise([predictor], Random.seeded(spec.seed, 'predictor'));
  return predictor;
}

const trainableOf = (...models: LayersModel[]) => weightsOf(...models).filter(({ trainable }) => trainable);
/** Outputs [2N, D] → those of the first views and those of the second, [N, D] each. */
const halves = (z: tf.Tensor2D): [tf.Tensor2D, tf.Tensor2D] => tf.split(z, 2) as [tf.Tensor2D, tf.Tensor2D];

/**
 * Quality of the frozen features: accuracy of nearest neighbours and of a linear probe, where samples have a class, and
 * how the features spread over the sphere.
 */
async function judge(
  spec: Pretrain,
  augmentation: Augmentation,
  encoder: LayersModel,
  { manifest, train, evaluation }: Data,
  tellProbe: (probe: LinearProbe) => void,
  pause: Pause,
): Promise<Record<string, number>> {
  const represent = representation(encoder);
  const rows = balancedRows(train, spec.knn.bankSize);
  const owned: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(thing: T): T => {
    owned.push(thing);
    return thing;
  };
  try {
    const bank = own(await collect(train, rows, represent, pause));
    const metrics: Record<string, number> = {};
    if (train.labels && evaluation.labels) {
      const labels = gatherLabels(train, rows);
      const queries = own(await collect(evaluation, allRows(evaluation), represent, pause));
      metrics['eval/knn'] = accuracy(
        await weightedKnn(bank, labels, queries, manifest.classes.length, spec.knn, pause),
        evaluation.labels,
      );
      const probe = own(await fitProbe(bank, labels, manifest.classes.length, spec.probe, spec.seed, pause));
      tellProbe(probe);
      metrics['eval/probe_accuracy'] = accuracy(probe.predict(queries), evaluation.labels);
    }
    // A seed of its own gives the same samples and views after every epoch.
    const some = balancedRows(evaluation, JUDGED_SAMPLES);
    const random = Random.seeded(spec.seed, 'judged views');
    const views = [0, 1].map(() =>
      own(tf.tidy(() => represent(viewsOf(evaluation.sample, gatherSamples(evaluation, some), augmentation, random)))),
    ) as [tf.Tensor2D, tf.Tensor2D];
    return {
      ...metrics,
      'eval/feature_spread': spreadOf(bank),
      'eval/rank': rankMe(bank),
      'eval/alignment': alignment(...views),
      'eval/uniformity': uniformity(views[0]),
    };
  } finally {
    for (const each of owned) each.dispose();
  }
}
