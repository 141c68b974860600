/** Nearest neighbours, and the weighted graph that t-SNE and UMAP make of them. */
import * as tf from '@tensorflow/tfjs-core';
import { turn, type Pause } from '../evaluation.js';
import { countOf, squaredDistance, type Points } from './points.js';

/** The k nearest other points of each, nearest first: [N, k], with Euclidean distances. */
export interface Neighbours {
  k: number;
  places: Int32Array;
  distances: Float64Array;
}

/** Most neighbours, of all points together: their places and distances take 480 MB, t-SNE's forces four times that. */
export const MOST_NEIGHBOURS = 4e7;
/** Most similarities that are held at once: 64 MiB. */
const SIMILARITIES = 2 ** 24;
/** Candidates beyond k that single precision picks, for double precision to decide among. */
const SPARE_CANDIDATES = 8;

/**
 * Exact neighbours by TensorFlow's matrix products, at most N − 1 of each point. Takes N²·D steps.
 * @throws RangeError beyond `MOST_NEIGHBOURS` in all
 */
export async function nearest(points: Points, k: number, pause: Pause = turn): Promise<Neighbours> {
  const { values, width } = points;
  const count = countOf(points);
  const kept = Math.min(k, count - 1);
  if (count * kept > MOST_NEIGHBOURS)
    throw new RangeError(
      `expected at most ${MOST_NEIGHBOURS} neighbours in all, got ${count} points with ${kept} each`,
    );
  const candidates = Math.min(count, kept + 1 + SPARE_CANDIDATES);
  const batch = Math.max(1, Math.min(1024, Math.floor(SIMILARITIES / count)));
  const [places, distances] = [new Int32Array(count * kept), new Float64Array(count * kept)];
  const [x, squares] = tf.tidy((): [tf.Tensor2D, tf.Tensor1D] => {
    const raw = tf.tensor2d(Float32Array.from(values), [count, width]);
    const centred = tf.sub<tf.Tensor2D>(raw, tf.mean(raw, 0, true));
    return [centred, tf.sum<tf.Tensor1D>(tf.square(centred), 1)];
  });
  try {
    for (let start = 0; start < count; start += batch) {
      await pause();
      const size = Math.min(batch, count - start);
      // 2·x·y − |y|² orders by −|x − y|²: it lacks only |x|², which is the same for all y.
      const found = tf.tidy(() =>
        tf
          .topk(
            tf.sub(tf.mul(tf.matMul(tf.slice2d(x, [start, 0], [size, -1]), x, false, true), 2), squares),
            candidates,
          )
          .indices.dataSync(),
      );
      for (let row = start; row < start + size; row++) {
        const near: { place: number; squared: number }[] = [];
        for (const place of found.subarray((row - start) * candidates, (row - start + 1) * candidates)) {
          if (place !== row) near.push({ place, squared: squaredDistance(values, width, row, place) });
        }
        near.sort((a, b) => a.squared - b.squared || a.place - b.place);
        for (let n = 0; n < kept; n++) {
          places[row * kept + n] = near[n]!.place;
          distances[row * kept + n] = Math.sqrt(near[n]!.squared);
        }
      }
    }
  } finally {
    tf.dispose([x, squares]);
  }
  return { k: kept, places, distances };
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
