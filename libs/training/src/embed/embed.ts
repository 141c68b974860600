/** Looking at a latent space: features of samples, maps of them in two dimensions, and what those maps are worth. */
import type { Embed, RunResult, TrainerInputs } from '#libs/contracts';
import { balancedRows, gatherLabels, InvalidDataError } from '#libs/data';
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { accuracy, type Pause } from '../evaluation.js';
import { MOST_NEIGHBOURS } from '../manifold/neighbours.js';
import { openOne } from '../run-inputs.js';
import { breathe, TrainingError, type TrainContext } from '../session.js';
import { writeAtlas } from './atlas.js';
import { featuresOf, VOTERS, votes } from './features.js';
import { qualityOf } from './map-quality.js';
import { axisOf, mapsOf, neighboursWanted, type MapsFile } from './maps.js';
import { writeNpy, writeParquet } from './tables.js';

const FEWEST_SAMPLES = 10;
const COMPONENTS = 10;
const MOST_JUDGED = 20_000;

export async function embed(spec: Embed, inputs: TrainerInputs, context: TrainContext): Promise<RunResult> {
  const split = await openOne(inputs, spec.split);
  const rows = balancedRows(split, spec.maxSamples);
  if (rows.length < FEWEST_SAMPLES)
    throw new InvalidDataError(
      `expected at least ${FEWEST_SAMPLES} samples in the ${spec.split} split to map, found ${rows.length}`,
    );
  const labels = split.labels && gatherLabels(split, rows);
  const { name, digest } = inputs.dataset!.manifest;
  const dataset = `${name}@${digest.slice(0, 12)}`;
  const samplesDigest = createHash('sha256')
    .update(`${digest} ${spec.split} `)
    .update(new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength))
    .digest('hex');
  const wanted = Math.min(neighboursWanted(spec), rows.length - 1);
  if (rows.length * wanted > MOST_NEIGHBOURS) {
    throw new TrainingError(
      'invalid_spec',
      `expected maps that need at most ${MOST_NEIGHBOURS} neighbours in all, ${rows.length} samples with ` +
        `${wanted} neighbours each need ${rows.length * wanted}: lower maxSamples, tsne.perplexity (three ` +
        'neighbours for each) or umap.neighbors',
    );
  }
  const target = await readTarget(spec, inputs, dataset, samplesDigest, rows.length);

  // Features, neighbours and components, each map, its quality, the files.
  const parts = spec.maps.length + 4;
  let done = 0;
  const pause: Pause = () => breathe(context, done, parts);
  const { points, classified } = await featuresOf(spec, inputs, split, rows, pause);
  done++;
  const asked = labels && !classified && (wanted > 0 || rows.length <= MOST_JUDGED) ? VOTERS : 0;
  const { maps, explained, neighbours } = await mapsOf(spec, points, asked, target, context, pause, () => {
    done++;
  });
  const predictions = classified ?? (labels && asked > 0 ? votes(neighbours, labels, split.classes.length) : null);
  const { metrics, report } = await qualityOf(spec, points, maps, labels, split.classes, pause);
  explained.slice(0, COMPONENTS).forEach((ratio, i) => {
    metrics[`pca/explained_${i + 1}`] = ratio;
  });
  metrics['data/samples'] = rows.length;
  if (labels && predictions) metrics['embedding/accuracy'] = accuracy(predictions, labels);
  context.metrics(Object.entries(metrics).map(([key, value]) => ({ key, step: 0, value })));
  done++;

  const fileOf = (file: string) => path.join(context.workDir, file);
  const store = (file: string, kind: 'report' | 'image' | 'embedding', mime: string) =>
    context.store({ name: file, kind, mime, path: fileOf(file), step: null });
  await writeNpy(fileOf('embeddings.npy'), points, pause);
  await store('embeddings.npy', 'report', 'application/octet-stream');
  await writeParquet(fileOf('embeddings.parquet'), points, rows, labels, predictions, split.classes, maps, pause);
  await store('embeddings.parquet', 'report', 'application/vnd.apache.parquet');
  const { files: atlasFiles, ...atlas } = await writeAtlas(fileOf, split, rows, pause);
  for (const file of atlasFiles) await store(file, 'image', 'image/webp');
  const description: MapsFile = {
    dataset,
    split: spec.split,
    samplesDigest,
    rows: [...rows],
    classes: split.classes,
    ...classesOf(labels, predictions, classified !== undefined),
    dimensions: points.width,
    seed: spec.seed,
    atlas,
    maps: Object.fromEntries(
      [...maps].map(([map, { coordinates, ...rest }]) => [
        map,
        { x: axisOf(coordinates, 0), y: axisOf(coordinates, 1), ...rest },
      ]),
    ),
  };
  await writeFile(fileOf('maps.json'), `${JSON.stringify(description)}\n`);
  await store('maps.json', 'embedding', 'application/json');
  await writeFile(fileOf('quality.json'), `${JSON.stringify({ ...report, explained }, null, 2)}\n`);
  await store('quality.json', 'report', 'application/json');
  context.progress(parts, parts);
  return { metrics };
}

/** Classes of the samples as `maps.json` has them, and who predicted them. */
const classesOf = (
  labels: Int32Array | undefined,
  predictions: Int32Array | null,
  byClassifier: boolean,
): Pick<MapsFile, 'labels' | 'predictions' | 'predictedBy'> => ({
  labels: labels ? [...labels] : null,
  predictions: predictions && [...predictions],
  predictedBy: byClassifier ? 'classifier' : predictions && 'neighbours',
});

/** The maps to align to. @throws TrainingError where they are of other samples */
async function readTarget(
  spec: Embed,
  inputs: TrainerInputs,
  dataset: string,
  samplesDigest: string,
  count: number,
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
