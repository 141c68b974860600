/** Nearest neighbours, and the weighted graph that t-SNE and UMAP make of them. */
import type { Random } from '#libs/data';
import { turn, type Pause } from '../evaluation.js';
import { nearestByCells } from './cell-search.js';
import { nearestAmong, type Neighbours } from './exact-search.js';
import { countOf, type Points } from './points.js';

export type { Neighbours };

/** Most neighbours, of all points together: their places and distances take 480 MB, t-SNE's forces four times that. */
export const MOST_NEIGHBOURS = 4e7;
/**
 * Exact neighbours by TensorFlow's matrix products, at most N − 1 of each point. Takes N²·D steps.
 * @throws RangeError beyond `MOST_NEIGHBOURS` in all
 */
export async function nearest(points: Points, k: number, pause: Pause = turn): Promise<Neighbours> {
  return nearestAmong(points, points, keptOf(points, k), pause);
}

/** Neighbours of each point that there are. @throws RangeError beyond `MOST_NEIGHBOURS` in all */
function keptOf(points: Points, k: number): number {
  const count = countOf(points);
  const kept = Math.min(k, count - 1);
  if (count * kept > MOST_NEIGHBOURS)
    throw new RangeError(
      `expected at most ${MOST_NEIGHBOURS} neighbours in all, got ${count} points with ${kept} each`,
    );
  return kept;
}

/** Most points whose neighbours are sought exactly, in about a minute on two cores. */
export const EXACT_POINTS = 50_000;
/**
 * Neighbours for a map: exact of up to `EXACT_POINTS`, of more points most of them, with the part that was found.
 * @throws RangeError beyond `MOST_NEIGHBOURS` in all
 */
export async function nearestForMaps(
  points: Points,
  k: number,
  random: Random,
  pause: Pause,
): Promise<Neighbours & { recall?: number }> {
  return countOf(points) <= EXACT_POINTS
    ? nearest(points, k, pause)
    : nearestByCells(points, keptOf(points, k), random, pause);
}

/** A symmetric sparse matrix by rows: row i has `targets` and `weights` from `starts[i]` up to `starts[i + 1]`. */
export interface Graph {
  starts: Int32Array;
  targets: Int32Array;
  weights: Float64Array;
}

/**
 * The symmetric graph of directed edges: `weights` [N, k] are those from each point to its first k neighbours. Both
 * directions of an edge get `combine` of the two weights, 0 for one that is missing.
 */
export function symmetric(
  { k: stride, places }: Neighbours,
  k: number,
  weights: Float64Array,
  combine: (a: number, b: number) => number,
): Graph {
  const count = weights.length / k;
  const incoming = new Int32Array(count + 1);
  for (let i = 0; i < count; i++) for (let n = 0; n < k; n++) incoming[places[i * stride + n]! + 1]!++;
  for (let i = 0; i < count; i++) incoming[i + 1]! += incoming[i]!;
  const [sources, back, filled] = [new Int32Array(count * k), new Float64Array(count * k), incoming.slice(0, count)];
  for (let i = 0; i < count; i++) {
    for (let n = 0; n < k; n++) {
      const at = filled[places[i * stride + n]!]!++;
      sources[at] = i;
      back[at] = weights[i * k + n]!;
    }
  }
  const starts = new Int32Array(count + 1);
  const [targets, combined] = [new Int32Array(2 * count * k), new Float64Array(2 * count * k)];
  /** Position of row i's edge to each point, plus one; 0 where it has none. Cleared after each row. */
  const seen = new Int32Array(count);
  let edge = 0;
  for (let i = 0; i < count; i++) {
    const first = edge;
    for (let n = 0; n < k; n++, edge++) {
      const target = places[i * stride + n]!;
      targets[edge] = target;
      combined[edge] = combine(weights[i * k + n]!, 0);
      seen[target] = edge + 1;
    }
    for (let at = incoming[i]!; at < incoming[i + 1]!; at++) {
      const mark = seen[sources[at]!]!;
      if (mark > 0) combined[mark - 1] = combine(weights[i * k + mark - 1 - first]!, back[at]!);
      else {
        targets[edge] = sources[at]!;
        combined[edge++] = combine(0, back[at]!);
      }
    }
    for (let at = first; at < first + k; at++) seen[targets[at]!] = 0;
    starts[i + 1] = edge;
  }
  return { starts, targets: targets.slice(0, edge), weights: combined.slice(0, edge) };
}
