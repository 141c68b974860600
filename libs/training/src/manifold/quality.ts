/** Quality of a map: which neighbours of the space it keeps, and how it separates classes. */
import { turn, type Pause } from '../evaluation.js';
import { countOf, squaredDistance, WORK_BETWEEN_PAUSES, type Points } from './points.js';

/**
 * All distances between points, and the k nearest others of each, nearest first, in double precision: for some thousand
 * points.
 */
export interface Geometry {
  count: number;
  k: number;
  /** [N, N] */
  distances: Float64Array;
  /** [N, k] */
  places: Int32Array;
}

/** @throws RangeError unless 1 ≤ k < N */
export async function geometryOf(points: Points, k: number, pause: Pause = turn): Promise<Geometry> {
  const count = countOf(points);
  if (k < 1 || k >= count) throw new RangeError(`expected from 1 to ${count - 1} neighbours, got ${k}`);
  const distances = new Float64Array(count * count);
  const block = Math.ceil(WORK_BETWEEN_PAUSES / (count * points.width));
  for (let i = 0; i < count; i++) {
    if (i % block === 0) await pause();
    for (let j = 0; j < i; j++)
      distances[i * count + j] = distances[j * count + i] = Math.sqrt(
        squaredDistance(points.values, points.width, i, j),
      );
  }
  const places = new Int32Array(count * k);
  for (let i = 0; i < count; i++) {
    const row = distances.subarray(i * count, (i + 1) * count);
    let found = 0;
    for (let j = 0; j < count; j++) {
      if (j === i || (found === k && row[j]! >= row[places[i * k + k - 1]!]!)) continue;
      let at = found < k ? found++ : k - 1;
      for (; at > 0 && row[places[i * k + at - 1]!]! > row[j]!; at--) places[i * k + at] = places[i * k + at - 1]!;
      places[i * k + at] = j;
    }
  }
  return { count, k, distances, places };
}

/**
 * How far the k nearest in the map are near in the space too: 1 where all are among the k nearest, less for each by its
 * rank beyond (Venna and Kaski 2001; the definition of scikit-learn). Needs k < N / 2. Of points at one distance the
 * first ranks first.
 */
export function trustworthiness(space: Geometry, map: Geometry): number {
  const { count } = space;
  const { k, places } = map;
  if (k >= count / 2) throw new RangeError(`expected fewer than ${count / 2} neighbours, got ${k}`);
  let penalty = 0;
  for (let i = 0; i < count; i++) {
    const row = space.distances.subarray(i * count, (i + 1) * count);
    for (let n = i * k; n < (i + 1) * k; n++) {
      const j = places[n]!;
      let rank = 1;
      for (let other = 0; other < count; other++)
        if (other !== i && (row[other]! < row[j]! || (row[other] === row[j] && other < j))) rank++;
      penalty += Math.max(0, rank - k);
    }
  }
  return 1 - (2 * penalty) / (count * k * (2 * count - 3 * k - 1));
}

/** Part of the k nearest in the space that are among the k nearest in the map. */
export function neighboursKept(space: Geometry, map: Geometry): number {
  const { count, k } = space;
  let kept = 0;
  for (let i = 0; i < count; i++) {
    const near = new Set(map.places.subarray(i * map.k, (i + 1) * map.k));
    for (let n = i * k; n < (i + 1) * k; n++) if (near.has(space.places[n]!)) kept++;
  }
  return kept / (count * k);
}

/** Part of the k nearest that have the point's label. */
export function knnPurity({ count, k, places }: Geometry, labels: ArrayLike<number>): number {
  let same = 0;
  for (let i = 0; i < count; i++)
    for (let n = i * k; n < (i + 1) * k; n++) if (labels[places[n]!] === labels[i]) same++;
  return same / (count * k);
}

/**
 * Silhouette of each point (Rousseeuw 1987): (b − a) / max(a, b), a the mean distance to those of its label and b to
 * those of the nearest other label; 0 for the only one of its label. Needs two labels.
 */
export function silhouette({ count, distances }: Geometry, labels: ArrayLike<number>): Float64Array {
  const sizes = new Map<number, number>();
  for (let i = 0; i < count; i++) sizes.set(labels[i]!, (sizes.get(labels[i]!) ?? 0) + 1);
  if (sizes.size < 2) throw new RangeError(`expected points of at least two labels, got ${sizes.size}`);
  return Float64Array.from({ length: count }, (_, i) => {
    const sums = new Map<number, number>();
    for (let j = 0; j < count; j++) sums.set(labels[j]!, (sums.get(labels[j]!) ?? 0) + distances[i * count + j]!);
    const own = labels[i]!;
    if (sizes.get(own) === 1) return 0;
    const inside = sums.get(own)! / (sizes.get(own)! - 1);
    const outside = Math.min(
      ...[...sums].filter(([label]) => label !== own).map(([label, sum]) => sum / sizes.get(label)!),
    );
    const most = Math.max(inside, outside);
    return most > 0 ? (outside - inside) / most : 0;
  });
}
