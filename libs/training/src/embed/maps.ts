/** Maps of points in two dimensions, and the file that describes them. */
import type { Embed } from '#libs/contracts';
import { Random } from '#libs/data';
import type { Pause } from '../evaluation.js';
import { nearestForMaps, type Neighbours } from '../manifold/neighbours.js';
import type { Points } from '../manifold/points.js';
import { pca } from '../manifold/principal-components.js';
import { procrustes } from '../manifold/procrustes.js';
import { largestPerplexity, tsne } from '../manifold/tsne.js';
import { umap, usualEpochs } from '../manifold/umap.js';
import type { TrainContext } from '../train-context.js';

export type MapName = Embed['maps'][number];

/** Content of `maps.json`, an artifact of kind `embedding`. Lists are in the order of `rows`. */
export interface MapsFile {
  /** A reference, `name@digest`. */
  dataset: string;
  split: string;
  /** sha256 of dataset, split and rows: maps of one digest show the same samples, one by one. */
  samplesDigest: string;
  rows: number[];
  classes: readonly string[];
  /** Indices of `classes`; null where samples have no class. */
  labels: number[] | null;
  /**
   * What each sample is taken for, as an index of `classes`: by the parent's classifier, or by its nearest neighbours
   * among the others; null where neither can say.
   */
  predictions: number[] | null;
  predictedBy: 'classifier' | 'neighbours' | null;
  /** Width of the features that were mapped. */
  dimensions: number;
  seed: number;
  /**
   * Tiles from left to right and top to bottom, `perFile` of them in `atlas.webp`, the next in `atlas-1.webp` and so
   * on; `points` says which point each one shows.
   */
  atlas: { columns: number; tile: { width: number; height: number }; points: number[]; perFile: number };
  maps: Partial<
    Record<
      MapName,
      {
        x: number[];
        y: number[];
        parameters: Record<string, unknown>;
        alignment?: { to: string; scale: number; rotation: number[][]; translation: number[]; disparity: number };
      }
    >
  >;
}

/** Maps with the coordinates [N, 2] that are stored. */
export type Maps = Map<
  MapName,
  {
    coordinates: Float32Array;
    parameters: Record<string, unknown>;
    alignment?: NonNullable<NonNullable<MapsFile['maps'][MapName]>['alignment']>;
  }
>;

/** Neighbours of each point that the maps need: t-SNE three times its perplexity; UMAP counts the point itself. */
export const neighboursWanted = ({ maps, tsne: { perplexity }, umap: { neighbors } }: Embed): number =>
  Math.max(maps.includes('tsne') ? Math.floor(3 * perplexity) : 0, maps.includes('umap') ? neighbors - 1 : 0);

/**
 * The maps that `spec` asks for, aligned to `target`. `voters`: neighbours of each point that the caller needs for
 * itself. `onDone` is called after the neighbours and after each map.
 */
export async function mapsOf(
  spec: Embed,
  points: Points,
  voters: number,
  target: MapsFile['maps'] | undefined,
  { log }: TrainContext,
  pause: Pause,
  onDone: () => void,
): Promise<{ maps: Maps; explained: number[]; neighbours: Neighbours & { recall?: number } }> {
  const { scores: start, explained } = await pca(points, 2, pause);
  const wanted = Math.max(neighboursWanted(spec), voters);
  const neighbours: Neighbours & { recall?: number } =
    wanted > 0
      ? await nearestForMaps(points, wanted, Random.seeded(spec.seed, 'neighbours'), pause)
      : { k: 0, places: new Int32Array(), distances: new Float64Array() };
  onDone();
  const maps: Maps = new Map();
  for (const name of spec.maps) {
    await pause();
    const { map, parameters } = await mapOf(name, spec, neighbours, start, log, pause);
    const onto = target?.[name];
    if (target && !onto) log('warn', `the run in alignTo has no ${name} map: this one stays as it is`);
    if (onto) {
      const { map: aligned, ...alignment } = procrustes(map, coordinatesOf(onto));
      maps.set(name, {
        coordinates: Float32Array.from(aligned),
        parameters,
        alignment: { to: spec.alignTo!, ...alignment },
      });
    } else maps.set(name, { coordinates: Float32Array.from(map), parameters });
    onDone();
  }
  return { maps, explained, neighbours };
}

/** One map [N, 2], begun at the principal components, and the parameters that it was made with. */
async function mapOf(
  name: MapName,
  spec: Embed,
  neighbours: Neighbours,
  start: Float64Array,
  log: TrainContext['log'],
  pause: Pause,
): Promise<{ map: Float64Array; parameters: Record<string, unknown> }> {
  const count = start.length / 2;
  const random = Random.seeded(spec.seed, name);
  switch (name) {
    case 'pca':
      return { map: start, parameters: {} };
    case 'tsne': {
      const perplexity = Math.min(spec.tsne.perplexity, largestPerplexity(count));
      if (perplexity < spec.tsne.perplexity)
        log(
          'warn',
          `t-SNE asks for a perplexity of ${spec.tsne.perplexity}, ${count} samples allow ` +
            `${perplexity.toFixed(1)}: that is taken`,
        );
      const parameters = { ...spec.tsne, perplexity };
      return { map: await tsne(neighbours, start, parameters, random, pause), parameters };
    }
    case 'umap': {
      const neighbors = Math.min(spec.umap.neighbors, count);
      if (neighbors < spec.umap.neighbors)
        log('warn', `UMAP asks for ${spec.umap.neighbors} neighbours, there are ${count} samples: all are taken`);
      const parameters = { ...spec.umap, neighbors, epochs: spec.umap.epochs ?? usualEpochs(count) };
      return { map: await umap(neighbours, start, parameters, random, pause), parameters };
    }
  }
}

/** Coordinates [N, 2] of a map as `maps.json` has it. */
const coordinatesOf = ({ x, y }: { x: readonly number[]; y: readonly number[] }): Float64Array =>
  Float64Array.from({ length: 2 * x.length }, (_, place) => (place % 2 === 0 ? x : y)[Math.floor(place / 2)]!);
/** One axis of a map [N, 2] for `maps.json`, with nine digits, which hold a float32. */
export const axisOf = (coordinates: Float32Array, axis: 0 | 1): number[] =>
  Array.from({ length: coordinates.length / 2 }, (_, i) => Number(coordinates[2 * i + axis]!.toPrecision(9)));
