/** Maps of points in two dimensions, and the file that describes them. */
import type { Embed } from '#libs/contracts';
import { Random } from '#libs/data';
import type { Pause } from '../evaluation.js';
import { nearest, type Neighbours } from '../manifold/neighbours.js';
import type { Points } from '../manifold/points.js';
import { pca } from '../manifold/principal-components.js';
import { procrustes } from '../manifold/procrustes.js';
import { largestPerplexity, tsne } from '../manifold/tsne.js';
import { umap } from '../manifold/umap.js';
import type { TrainContext } from '../session.js';

export type MapName = Embed['maps'][number];

/** `maps.json`, of kind `embedding`. Lists are in the order of `rows`. */
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

/** Maps as they are stored: float32 [N, 2]. */
export type Maps = Map<
  MapName,
  {
    coordinates: Float32Array;
    parameters: Record<string, unknown>;
    alignment?: NonNullable<NonNullable<MapsFile['maps'][MapName]>['alignment']>;
  }
>;

/** For t-SNE three times the perplexity; UMAP counts the sample itself. */
export const neighboursWanted = ({ maps, tsne: { perplexity }, umap: { neighbors } }: Embed): number =>
  Math.max(maps.includes('tsne') ? Math.floor(3 * perplexity) : 0, maps.includes('umap') ? neighbors - 1 : 0);

/** `asked`: how many neighbours others want beside the maps. `onDone` is called after each part. */
export async function mapsOf(
  spec: Embed,
  points: Points,
  asked: number,
  target: MapsFile['maps'] | undefined,
  { log }: TrainContext,
  pause: Pause,
  onDone: () => void,
): Promise<{ maps: Maps; explained: number[]; neighbours: Neighbours }> {
  const count = points.values.length / points.width;
  const { scores: start, explained } = await pca(points, 2, pause);
  const wanted = Math.max(neighboursWanted(spec), asked);
  const neighbours: Neighbours =
    wanted > 0
      ? await nearest(points, wanted, pause)
      : { k: 0, places: new Int32Array(), distances: new Float64Array() };
  onDone();
  const maps: Maps = new Map();
  for (const name of spec.maps) {
    await pause();
    const random = Random.seeded(spec.seed, name);
    let map: Float64Array;
    let parameters: Record<string, unknown> = {};
    switch (name) {
      case 'pca':
        map = start;
        break;
      case 'tsne': {
        const perplexity = Math.min(spec.tsne.perplexity, largestPerplexity(count));
        if (perplexity < spec.tsne.perplexity)
          log(
            'warn',
            `t-SNE asks for a perplexity of ${spec.tsne.perplexity}, ${count} samples allow ` +
              `${perplexity.toFixed(1)}: that is taken`,
          );
        parameters = { ...spec.tsne, perplexity };
        map = await tsne(neighbours, start, { ...spec.tsne, perplexity }, random, pause);
        break;
      }
      case 'umap': {
        const neighbors = Math.min(spec.umap.neighbors, count);
        if (neighbors < spec.umap.neighbors)
          log('warn', `UMAP asks for ${spec.umap.neighbors} neighbours, there are ${count} samples: all are taken`);
        parameters = { ...spec.umap, neighbors };
        map = await umap(neighbours, start, { ...spec.umap, neighbors }, random, pause);
        break;
      }
    }
    const onto = target?.[name];
    if (target && !onto) log('warn', `the run in alignTo has no ${name} map: this one stays as it is`);
    if (onto) {
      const { map: aligned, ...alignment } = procrustes(
        map,
        Float64Array.from(
          { length: 2 * count },
          (_, place) => (place % 2 === 0 ? onto.x : onto.y)[Math.floor(place / 2)]!,
        ),
      );
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

/** Nine digits hold a float32. */
export const axisOf = (coordinates: Float32Array, axis: 0 | 1): number[] =>
  Array.from({ length: coordinates.length / 2 }, (_, i) => Number(coordinates[2 * i + axis]!.toPrecision(9)));
