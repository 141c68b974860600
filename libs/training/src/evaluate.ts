/** A frozen encoder, or the raw samples, judged by neighbours and by a linear probe. */
import type { Evaluate, RunResult, TrainerInputs } from '#libs/contracts';
import { allRows, balancedRows, gatherLabels, labelSubset, seenAt } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { createHash } from 'node:crypto';
import { judgeClasses, storeClassification } from './classification.js';
import { CompiledMap } from './compiled-map.js';
import { accuracy, collect, representation, representationByPatches, weightedKnn } from './evaluation.js';
import { fitProbe, reportChoice, reportProbe } from './linear-probe.js';
import { weightsOf } from './networks/weights.js';
import { openData, reportNeighbours, startingEncoder } from './run-inputs.js';
import { definedMetrics } from './finite.js';
import { breathe, TrainingError, type TrainContext } from './train-context.js';

/** Parts of the progress: neighbours, features for the probe, the probe. */
const PARTS = 3;

export async function evaluate(spec: Evaluate, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const data = await openData(inputs, spec.evalSplit);
  const { classes, sample } = data.manifest;
  const evaluated = gatherLabels(data.evaluation, allRows(data.evaluation));
  reportNeighbours(spec.knn, data, context);
  const subset = labelSubset(data.train, spec.labelFraction, spec.labelSeed);
  let done = 0;
  const pause = () => breathe(context, done, PARTS);
  const owned: { dispose(): void }[] = [];
  const own = <T extends { dispose(): void }>(thing: T): T => {
    owned.push(thing);
    return thing;
  };
  try {
    const start = spec.features === 'encoder' ? await startingEncoder(spec, inputs, sample) : undefined;
    const encoder = start && own(start.encoder);
    const [train, evaluation] = [seenAt(data.train, start?.size), seenAt(data.evaluation, start?.size)];
    const before = encoder && weightsHash(encoder);
    const represent = representing(spec, encoder);
    if (represent instanceof CompiledMap) own(represent);
    const rows = balancedRows(data.train, spec.knn.bankSize);
    const queries = own(await collect(evaluation, allRows(evaluation), represent, pause));
    const bank = own(await collect(train, rows, represent, pause));
    const knn = accuracy(
      await weightedKnn(bank, gatherLabels(data.train, rows), queries, classes.length, spec.knn, pause),
      evaluated,
    );
    done = 1;
    const features = own(await collect(train, subset.rows, represent, pause));
    done = 2;
    const labels = gatherLabels(data.train, subset.rows);
    const probe = own(await fitProbe(features, labels, classes.length, spec.probe, spec.labelSeed, pause));
    reportProbe(probe, context.log);
    reportChoice(probe, spec.probe, context.log);
    const judgement = judgeClasses(own(probe.logits(queries)), evaluated);
    const { top5 } = judgement;
    const metrics = definedMetrics(
      {
        'eval/knn': knn,
        'eval/probe_accuracy': judgement.accuracy,
        ...(top5 !== null && { 'eval/probe_top5_accuracy': top5 }),
        'train/probe_loss': probe.loss,
        'data/labels': subset.rows.length,
      },
      context,
    );
    if (encoder && weightsHash(encoder) !== before)
      throw new TrainingError(
        'internal_error',
        'expected the encoder to be as it was before the evaluation, it has changed',
      );
    if (before !== undefined)
      context.log('info', `the encoder stayed frozen: sha256 of its weights before and after ${before}`);
    context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
    const { l2, loss, iterations, converged } = probe;
    const told = { probe: { l2, loss, iterations, converged } };
    await storeClassification(data.evaluation, spec.evalSplit, judgement, 0, context, told);
    context.progress(PARTS, PARTS);
    return { metrics, labels: { count: subset.rows.length, sha256: subset.sha256 } };
  } finally {
    for (const each of owned) each.dispose();
  }
}

/** What a sample's features are: the encoder's, of the whole or of patches, or the sample itself. */
function representing(
  { patches, seed }: Evaluate,
  encoder: LayersModel | undefined,
): ((x: tf.Tensor4D) => tf.Tensor2D) | CompiledMap {
  if (!encoder) return (x) => tf.reshape(x, [x.shape[0], -1]);
  if (patches) return representationByPatches(encoder, patches, seed);
  return new CompiledMap(representation(encoder), [encoder]);
}

/** Digest of all weights, running averages too, in their order. */
function weightsHash(model: LayersModel): string {
  const hash = createHash('sha256');
  for (const { key, variable } of weightsOf(model)) {
    const values = variable.dataSync();
    hash.update(key).update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest('hex');
}
