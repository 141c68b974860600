/** Nearest neighbours of many points, most of them: an inverted file (Jégou, Douze and Schmid 2011, section 3.4). */
import type { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { nearestAmong, type Neighbours } from './exact-search.js';
import { countOf, type Points } from './points.js';

/** Points to a cell, on average: with fewer, more is lost at the borders of cells for the same work. */
const CELL_POINTS = 256;
/** Rounds of k-means, on so many points of each cell. */
const ROUNDS = 8;
const SAMPLED_POINTS = 64;
/** Points that each one is compared with: so many, and more where many neighbours are sought. */
const LEAST_COMPARED = 8192;
const COMPARED_PER_NEIGHBOUR = 64;
/** Distances to centres that are held at once: 64 MiB. */
const DISTANCES = 2 ** 24;
/** Points whose neighbours are sought exactly as well, to tell what part of them was found. */
const JUDGED = 500;

export interface FoundNeighbours extends Neighbours {
  /** Part of the true neighbours that are among those found, over some points: 0 to 1. */
  recall: number;
}

/** Points [count, width] of the given rows. */
function rowsOf({ values, width }: Points, rows: Int32Array): Points & { values: Float32Array } {
  const taken = new Float32Array(rows.length * width);
  rows.forEach((row, at) => taken.set(values.subarray(row * width, (row + 1) * width), at * width));
  return { values: taken, width };
}

/** The nearest centre of each point. centres: [C, width] */
async function assigned(points: Points, centres: tf.Tensor2D, pause: () => Promise<void>): Promise<Int32Array> {
  const { values, width } = points;
  const count = countOf(points);
  const cells = new Int32Array(count);
  const batch = Math.max(1, Math.floor(DISTANCES / centres.shape[0]));
  for (let start = 0; start < count; start += batch) {
    await pause();
    const size = Math.min(batch, count - start);
    const part = tf.tidy(() => {
      const x = tf.tensor2d(Float32Array.from(values.subarray(start * width, (start + size) * width)), [size, width]);
      const squares = tf.sum(tf.square(centres), 1);
      return tf.argMin(tf.sub(squares, tf.mul(tf.matMul(x, centres, false, true), 2)), 1).dataSync();
    });
    cells.set(part, start);
  }
  return cells;
}

/** Means of the points of each cell; a cell without points gets one of them. [C, width] */
function means({ values, width }: Points, cells: Int32Array, count: number, random: Random): tf.Tensor2D {
  const [sums, sizes] = [new Float64Array(count * width), new Int32Array(count)];
  cells.forEach((cell, row) => {
    sizes[cell]!++;
    for (let i = 0; i < width; i++) sums[cell * width + i]! += values[row * width + i]!;
  });
  for (let cell = 0; cell < count; cell++) {
    const lone = sizes[cell] === 0 ? random.integer(0, cells.length) : -1;
    for (let i = 0; i < width; i++)
      sums[cell * width + i] = lone < 0 ? sums[cell * width + i]! / sizes[cell]! : values[lone * width + i]!;
  }
  return tf.tensor2d(Float32Array.from(sums), [count, width]);
}

interface Cells {
  /** Rows of the points of each cell. */
  members: Int32Array[];
  /** For each cell all cells, the nearest first: itself, unless another has the same centre. */
  order: Int32Array[];
}

/** k-means, begun at points that are drawn, and learnt from some. */
async function cellsOf(points: Points, random: Random, pause: () => Promise<void>): Promise<Cells> {
  const total = countOf(points);
  const count = Math.max(1, Math.ceil(total / CELL_POINTS));
  const drawn = random.permutation(total);
  const sample = rowsOf(points, drawn.slice(0, Math.min(total, count * SAMPLED_POINTS)));
  let centres = tf.tensor2d(rowsOf(points, drawn.slice(0, count)).values, [count, points.width]);
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const moved = means(sample, await assigned(sample, centres, pause), count, random);
      centres.dispose();
      centres = moved;
    }
    const cells = await assigned(points, centres, pause);
    const members = Array.from({ length: count }, () => [] as number[]);
    cells.forEach((cell, row) => members[cell]!.push(row));
    const middles: Points = { values: (await centres.data()) as Float32Array, width: points.width };
    const { places } = await nearestAmong(middles, rowsOf(middles, Int32Array.from(members.keys())), count, pause);
    return {
      members: members.map((rows) => Int32Array.from(rows)),
      order: Array.from(members, (_, cell) => places.slice(cell * count, (cell + 1) * count)),
    };
  } finally {
    centres.dispose();
  }
}

/** Rows of a cell's own points and, of the cells about it, of as many as are to be compared with them. */
function surroundings({ members, order }: Cells, cell: number, least: number): Int32Array {
  const near: Int32Array[] = [members[cell]!];
  let size = members[cell]!.length;
  for (const other of order[cell]!) {
    if (size >= least) break;
    if (other === cell) continue;
    near.push(members[other]!);
    size += members[other]!.length;
  }
  const rows = new Int32Array(size);
  let at = 0;
  for (const each of near) {
    rows.set(each, at);
    at += each.length;
  }
  return rows.sort();
}

/** The k of k + 1 neighbours that are not the point itself; of copies of it the last is left out. */
function withoutSelf(found: Int32Array, self: number): number[] {
  const at = found.indexOf(self);
  return Array.from({ length: found.length - 1 }, (_, n) => (at >= 0 && n >= at ? n + 1 : n));
}

/**
 * Most of the k nearest other points of each, by comparing it with those of the cells about its own. Takes N·(8192 +
 * 64·k)·D steps where an exact search takes N²·D. One state of `random` gives the same neighbours.
 * @param k below N
 * @param compared points that each one is compared with at least: those of the cells about its own, the nearest first
 */
export async function nearestByCells(
  points: Points,
  k: number,
  random: Random,
  pause: () => Promise<void>,
  compared = Math.max(LEAST_COMPARED, COMPARED_PER_NEIGHBOUR * k),
): Promise<FoundNeighbours> {
  const count = countOf(points);
  const cells = await cellsOf(points, random, pause);
  const [places, distances] = [new Int32Array(count * k), new Float64Array(count * k)];
  const least = Math.min(count, Math.max(compared, k + 1));
  for (const [cell, own] of cells.members.entries()) {
    if (own.length === 0) continue;
    const near = surroundings(cells, cell, least);
    const found = await nearestAmong(rowsOf(points, near), rowsOf(points, own), k + 1, pause);
    own.forEach((row, at) => {
      const theirs = found.places.subarray(at * (k + 1), (at + 1) * (k + 1)).map((place) => near[place]!);
      withoutSelf(theirs, row).forEach((from, n) => {
        places[row * k + n] = theirs[from]!;
        distances[row * k + n] = found.distances[at * (k + 1) + from]!;
      });
    });
  }
  const judged = random.permutation(count).slice(0, Math.min(count, JUDGED));
  return { k, places, distances, recall: await recallOf(points, places, k, judged, pause) };
}

async function recallOf(
  points: Points,
  places: Int32Array,
  k: number,
  judged: Int32Array,
  pause: () => Promise<void>,
): Promise<number> {
  const exact = await nearestAmong(points, rowsOf(points, judged), k + 1, pause);
  let hits = 0;
  judged.forEach((row, at) => {
    const theirs = exact.places.subarray(at * (k + 1), (at + 1) * (k + 1));
    const found = new Set(places.subarray(row * k, (row + 1) * k));
    for (const n of withoutSelf(theirs, row)) if (found.has(theirs[n]!)) hits++;
  });
  return hits / (judged.length * k);
}
