/** A run of kind embed: features of samples, maps of them in two dimensions, and the quality of those maps. */
import type { Embed, RunResult, TrainerInputs } from '#libs/contracts';
import { balancedRows, gatherLabels, InvalidDataError } from '#libs/data';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { accuracy, type Pause } from '../evaluation.js';
import { MOST_NEIGHBOURS } from '../manifold/neighbours.js';
import { openOne } from '../run-inputs.js';
import { breathe, TrainingError, type TrainContext } from '../train-context.js';
import { featuresOf, VOTERS, votes } from './features.js';
import { qualityOf } from './map-quality.js';
import { storeFiles, type Samples } from './files.js';
import { mapsOf, neighboursWanted, type MapsFile } from './maps.js';

const FEWEST_SAMPLES = 10;
/** Principal components whose part of the variance is a metric. */
const COMPONENTS = 10;
/** Where no map needs neighbours, they are sought only to predict classes, and only of so many samples. */
const MOST_JUDGED = 20_000;

export async function embed(spec: Embed, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const samples = await samplesOf(spec, inputs);
  const { split, rows, labels } = samples;
  const wanted = requiredNeighbours(spec, rows.length);
  const target = await readTarget(spec, inputs, samples);

  // Parts of the progress: features, neighbours and components, each map, their quality, the files.
  const parts = spec.maps.length + 4;
  let done = 0;
  const pause: Pause = () => breathe(context, done, parts);
  const { points, classified } = await featuresOf(spec, inputs, split, rows, pause);
  done++;
  const voters = labels && !classified && (wanted > 0 || rows.length <= MOST_JUDGED) ? VOTERS : 0;
  const { maps, explained, neighbours } = await mapsOf(spec, points, voters, target, context, pause, () => {
    done++;
  });
  const predictions = classified ?? (labels && voters > 0 ? votes(neighbours, labels, split.classes.length) : null);
  const { metrics, report } = await qualityOf(spec, points, maps, labels, split.classes, pause);
  explained.slice(0, COMPONENTS).forEach((ratio, i) => {
    metrics[`pca/explained_${i + 1}`] = ratio;
  });
  metrics['data/samples'] = rows.length;
  if (neighbours.recall !== undefined) metrics['embedding/neighbour_recall'] = neighbours.recall;
  if (labels && predictions) metrics['embedding/accuracy'] = accuracy(predictions, labels);
  context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
  done++;

  const mapped = { ...samples, points, maps, predictions, byClassifier: classified !== undefined };
  await storeFiles(spec, mapped, { ...report, explained }, context, pause);
  context.progress(parts, parts);
  return { metrics };
}

/** The samples that are mapped: at most `maxSamples`, of each class as many. @throws InvalidDataError for too few */
async function samplesOf(spec: Embed, inputs: TrainerInputs): Promise<Samples> {
  const split = await openOne(inputs, spec.split);
  const rows = balancedRows(split, spec.maxSamples);
  if (rows.length < FEWEST_SAMPLES)
    throw new InvalidDataError(
      `expected at least ${FEWEST_SAMPLES} samples in the ${spec.split} split to map, found ${rows.length}`,
    );
  const { name, digest } = inputs.dataset!.manifest;
  return {
    split,
    rows,
    labels: split.labels && gatherLabels(split, rows),
    dataset: `${name}@${digest.slice(0, 12)}`,
    samplesDigest: createHash('sha256')
      .update(`${digest} ${spec.split} `)
      .update(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength))
      .digest('hex'),
  };
}

/** Neighbours of each of `count` samples that the maps need. @throws TrainingError where they are too many in all */
function requiredNeighbours(spec: Embed, count: number): number {
  const wanted = Math.min(neighboursWanted(spec), count - 1);
  if (count * wanted > MOST_NEIGHBOURS) {
    throw new TrainingError(
      'invalid_spec',
      `expected maps that need at most ${MOST_NEIGHBOURS} neighbours in all, ${count} samples with ` +
        `${wanted} neighbours each need ${count * wanted}: lower maxSamples, tsne.perplexity (three ` +
        'neighbours for each) or umap.neighbors',
    );
  }
  return wanted;
}
/** The maps of the run in `alignTo`. @throws TrainingError where they are of other samples */
async function readTarget(
  spec: Embed,
  inputs: TrainerInputs,
  { dataset, samplesDigest, rows: { length: count } }: Samples,
): Promise<MapsFile['maps'] | undefined> {
  if (spec.alignTo === null) return undefined;
  if (!inputs.alignTo)
    throw new TrainingError('internal_error', 'expected the maps to align to among the inputs, got none');
  const other = JSON.parse(await readFile(inputs.alignTo, 'utf8')) as MapsFile;
  if (other.samplesDigest !== samplesDigest) {
    throw new TrainingError(
      'invalid_spec',
      `expected the run in alignTo to have mapped these ${count} samples of the ${spec.split} split of ` +
        `${dataset}, it mapped ${other.rows.length} of the ${other.split} split of ${other.dataset}: give both runs ` +
        'the same dataset, split and maxSamples',
    );
  }
  if (!spec.maps.some((map) => other.maps[map]))
    throw new TrainingError(
      'invalid_spec',
      `expected a map that the run in alignTo has too (${Object.keys(other.maps).join(', ')}), got ` +
        `${spec.maps.join(', ')}`,
    );
  return other.maps;
}
