/** Learning from two views of each sample, by any method: the loop, its judging, and the views that are shown. */
import {
  groupedBySize,
  sampleAt,
  viewSizeOf,
  viewsOfSpec,
  type Pretrain,
  type RunResult,
  type TrainerInputs,
  type View,
} from '#libs/contracts';
import {
  allRows,
  balancedRows,
  DrawnViews,
  gatherLabels,
  gatherSamples,
  inputOf,
  inOrder,
  inputShape,
  Random,
  seenAt,
  viewsOf,
  type SampleSplit,
} from '#libs/data';
import { integers } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import path from 'node:path';
import { CompiledMap } from './compiled-map.js';
import {
  accuracy,
  alignment,
  collect,
  rankMe,
  representation,
  representationByPatches,
  spreadOf,
  uniformity,
  weightedKnn,
  type Pause,
} from './evaluation.js';
import { fitProbe, reportChoice, reportProbe, type LinearProbe } from './linear-probe.js';
import { newHead } from './methods/method.js';
import { methodOf } from './methods/methods.js';
import { paddedAlike, pictureOf, writeGrid } from './pictures.js';
import { openData, reportNeighbours, requireBatch, startingEncoder, storeModel, type Data } from './run-inputs.js';
import { Session } from './session.js';
import { TrainingError, type TrainContext } from './train-context.js';

/** Samples of the evaluation split whose alignment and uniformity are measured. */
const JUDGED_SAMPLES = 512;
/** Training samples whose views are shown. */
const SHOWN = 8;

export async function pretrain(given: Pretrain, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, given.evalSplit);
  const { sample, classes } = data.manifest;
  requireBatch(given.batchSize, data.train.count);
  reportNeighbours(given.knn, data, context);
  const views = viewsOfSpec(given, sample);
  const size = viewSizeOf(given);
  const seen = sampleAt(sample, size);
  const { encoder, architecture } = await startingEncoder(given, inputs, seen);
  // Of a model of its users' own the layers are in its file.
  const spec = { ...given, encoder: architecture };
  // An earlier attempt that came to a checkpoint has stored the views.
  if (inputs.checkpoint === undefined) await storeViews(spec, views, data, context);
  const head = newHead(spec, encoder);
  const stepsPerEpoch = Math.floor(data.train.count / spec.batchSize);
  const totalSteps = spec.epochs * stepsPerEpoch;
  const sizes = groupedBySize(views);
  const shapes = sizes.map(([view]) => inputShape(sampleAt(sample, view!.size)));
  const method = methodOf({ spec, sample: seen, shapes, encoder, head, totalSteps });
  const drawn = new DrawnViews(data.train, sizes, spec.batchSize);
  const tellProbe = probeTold(spec, context);
  const represent = new CompiledMap(representation(encoder), [encoder]);
  const session = new Session(
    {
      models: [encoder, head, ...method.models],
      ...(method.shared && { shared: method.shared }),
      ...(method.followers && { followers: method.followers }),
      ...(method.memory && { memory: method.memory }),
      ...(method.rates && { rates: method.rates }),
      ...(method.afterUpdate && { afterUpdate: method.afterUpdate }),
      rows: allRows(data.train),
      batchSize: spec.batchSize,
      totalSteps,
      optimizer: spec.optimizer,
      schedule: spec.schedule,
      seed: spec.seed,
      batch: (rows, random) => [
        ...drawn.draw(rows, random),
        ...(method.readsLabels ? [integers(gatherLabels(data.train, rows), [rows.length])] : []),
      ],
      see: (taken): tf.Tensor[] => {
        const next = inOrder(taken);
        return [...drawn.make(next), ...(method.readsLabels ? [next()] : [])];
      },
      objective: (batch, rates) => {
        const [first, ...others] = batch.slice(0, sizes.length) as [tf.Tensor4D, ...tf.Tensor4D[]];
        return method.objective(first, batch[sizes.length] as tf.Tensor1D | undefined, others, rates);
      },
      evaluate: async (pause, step) => {
        const metrics = await judge(spec, views, encoder, represent, data, tellProbe, pause);
        requireSpread(spec, metrics['eval/feature_spread'], step);
        return metrics;
      },
      evaluateEvery: stepsPerEpoch,
      evaluateAtStart: true,
      quality: 'eval/knn',
      checkpoints: spec.checkpoints,
      ema: spec.ema,
      precision: spec.precision,
    },
    context,
  );
  try {
    const metrics = await session.run(inputs.checkpoint);
    await storeModel(
      {
        kind: 'pretrain',
        sample: seen,
        ...(size !== undefined && { size }),
        classes,
        encoder: spec.encoder,
        projection: spec.projection,
      },
      [encoder, head],
      context,
    );
    return { metrics };
  } finally {
    represent.dispose();
    session.dispose();
  }
}

/**
 * Reports the probes of all epochs up to the first that did not converge: those after it would say the same. And which
 * strength was chosen, where it is another than before.
 */
function probeTold({ probe: settings }: Pretrain, { log }: TrainContext): (probe: LinearProbe) => void {
  let [told, chosen] = [false, Number.NaN];
  return (probe) => {
    if (!told) reportProbe(probe, log);
    told ||= !probe.converged;
    if (probe.l2 !== chosen) reportChoice(probe, settings, log);
    chosen = probe.l2;
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
 * Stores `views.png`: training samples over the views of each as the network gets them, sounds as spectrograms. Draws
 * nothing from the run's own randomness.
 */
async function storeViews(
  spec: Pretrain,
  views: readonly View[],
  { train }: Data,
  context: TrainContext,
): Promise<void> {
  const layers = tf.tidy(() => {
    const random = Random.seeded(spec.seed, 'shown views');
    const rows = balancedRows(train, SHOWN);
    const samples = gatherSamples(train, rows);
    const seen = oneByOne(views).map(({ augmentation, size }) =>
      viewsOf(train.sample, samples, augmentation, random, size),
    );
    const whole = gatherSamples(seenAt(train, viewSizeOf(spec)), rows);
    const pictures = [inputOf(train.sample, whole), ...seen].map((each) =>
      pictureOf(each, train.sample, 'spectrogram'),
    );
    return paddedAlike(pictures);
  });
  try {
    const file = path.join(context.workDir, 'views.png');
    await writeGrid(file, layers);
    await context.store({ name: 'views.png', kind: 'image', mime: 'image/png', path: file, step: 0 });
  } finally {
    tf.dispose(layers);
  }
}

/**
 * Quality of the frozen features: accuracy of nearest neighbours and of a linear probe, where samples have a class, and
 * how the features spread over the sphere.
 */
async function judge(
  spec: Pretrain,
  views: readonly View[],
  encoder: LayersModel,
  whole: CompiledMap,
  data: Data,
  tellProbe: (probe: LinearProbe) => void,
  pause: Pause,
): Promise<Record<string, number>> {
  const { manifest } = data;
  const [train, evaluation] = [data.train, data.evaluation].map((split) => seenAt(split, viewSizeOf(spec))) as [
    SampleSplit,
    SampleSplit,
  ];
  const represent = spec.patches ? representationByPatches(encoder, spec.patches, spec.seed) : whole;
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
    const [first, second] = oneByOne(views)
      .slice(0, 2)
      .map(({ augmentation, size }) =>
        own(
          tf.tidy(() =>
            representation(encoder)(
              viewsOf(evaluation.sample, gatherSamples(data.evaluation, some), augmentation, random, size),
            ),
          ),
        ),
      ) as [tf.Tensor2D, tf.Tensor2D];
    return {
      ...metrics,
      'eval/feature_spread': spreadOf(bank),
      'eval/rank': await rankMe(bank),
      'eval/alignment': alignment(first, second),
      'eval/uniformity': uniformity(first),
    };
  } finally {
    for (const each of owned) each.dispose();
  }
}

/** Each view of a sample by itself. */
const oneByOne = (views: readonly View[]): View[] =>
  views.flatMap((view) => Array.from({ length: view.count }, () => view));
