/** The files that a run of kind embed stores. */
import type { Embed } from '#libs/contracts';
import type { SampleSplit } from '#libs/data';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Pause } from '../evaluation.js';
import type { Points } from '../manifold/points.js';
import type { TrainContext } from '../train-context.js';
import { writeAtlas } from './atlas.js';
import { axisOf, type Maps, type MapsFile } from './maps.js';
import { writeNpy, writeParquet } from './tables.js';

/** The samples that are mapped, in the order of `rows`. */
export interface Samples {
  split: SampleSplit;
  rows: Int32Array;
  labels: Int32Array | undefined;
  /** A reference, `name@digest`. */
  dataset: string;
  /** sha256 of dataset, split and rows. */
  samplesDigest: string;
}

/** Samples with their features, their maps, and the classes that they are taken for. */
export interface Mapped extends Samples {
  points: Points;
  maps: Maps;
  predictions: Int32Array | null;
  /** Whether the parent's classifier predicted, not the samples' neighbours. */
  byClassifier: boolean;
}

/** Stores features (NumPy, Parquet), thumbnails, `maps.json` and `quality.json`, which is `quality`. */
export async function storeFiles(
  spec: Embed,
  mapped: Mapped,
  quality: object,
  context: TrainContext,
  pause: Pause,
): Promise<void> {
  const { split, rows, labels, points, maps, predictions } = mapped;
  const fileOf = (file: string) => path.join(context.workDir, file);
  const store = (file: string, kind: 'report' | 'image' | 'embedding', mime: string) =>
    context.store({ name: file, kind, mime, path: fileOf(file), step: null });
  await writeNpy(fileOf('embeddings.npy'), points, pause);
  await store('embeddings.npy', 'report', 'application/octet-stream');
  await writeParquet(fileOf('embeddings.parquet'), points, rows, labels, predictions, split.classes, maps, pause);
  await store('embeddings.parquet', 'report', 'application/vnd.apache.parquet');
  const { files: atlasFiles, ...atlas } = await writeAtlas(fileOf, split, rows, pause);
  for (const file of atlasFiles) await store(file, 'image', 'image/webp');
  await writeFile(fileOf('maps.json'), `${JSON.stringify(descriptionOf(spec, mapped, atlas))}\n`);
  await store('maps.json', 'embedding', 'application/json');
  await writeFile(fileOf('quality.json'), `${JSON.stringify(quality, null, 2)}\n`);
  await store('quality.json', 'report', 'application/json');
}

const descriptionOf = (
  spec: Embed,
  { split, rows, labels, dataset, samplesDigest, points, maps, predictions, byClassifier }: Mapped,
  atlas: MapsFile['atlas'],
): MapsFile => ({
  dataset,
  split: spec.split,
  samplesDigest,
  rows: [...rows],
  classes: split.classes,
  labels: labels ? [...labels] : null,
  predictions: predictions && [...predictions],
  predictedBy: byClassifier ? 'classifier' : predictions && 'neighbours',
  dimensions: points.width,
  seed: spec.seed,
  atlas,
  maps: Object.fromEntries(
    [...maps].map(([map, { coordinates, ...rest }]) => [
      map,
      { x: axisOf(coordinates, 0), y: axisOf(coordinates, 1), ...rest },
    ]),
  ),
});
