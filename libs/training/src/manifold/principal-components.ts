import { doubles, type HostTensor } from '#libs/tensorflow';
import { turn, type Pause } from '../evaluation.js';
import { productOf, symmetricEigen } from '../spectrum.js';
import { countOf, type Points } from './points.js';

/** Numbers of points that are multiplied at once: 32 MiB of them. */
const BLOCK = 2 ** 22;

export interface Components {
  /** The points' coordinates along the first components, centred: [N, count]. */
  scores: Float64Array;
  /** Part of the variance that each component has, of all of them in falling order; zeros where there is none. */
  explained: number[];
}

/** Rows of `points` less their mean, some at once: [rows, D] each, in their order. */
function* centredBlocks({ values, width }: Points, mean: Float64Array): Generator<HostTensor> {
  const rows = Math.max(1, Math.floor(BLOCK / width));
  for (let from = 0; from < values.length; from += rows * width) {
    const block = Float64Array.from(values.subarray(from, from + rows * width));
    for (let at = 0; at < block.length; at++) block[at]! -= mean[at % width]!;
    yield doubles(block, [block.length / width, width]);
  }
}

/**
 * Principal components, exact: eigenvectors of the covariance matrix in double precision. The largest loading of each,
 * by its absolute value, is positive. Takes N·D² multiplications, and some 10·D³ more that can't be interrupted.
 */
export async function pca(points: Points, count: number, pause: Pause = turn): Promise<Components> {
  const { values, width } = points;
  const rows = countOf(points);
  const mean = new Float64Array(width);
  for (let row = 0, at = 0; row < rows; row++) for (let i = 0; i < width; i++, at++) mean[i]! += values[at]! / rows;
  const covariance = new Float64Array(width * width);
  for (const block of centredBlocks(points, mean)) {
    await pause();
    (await productOf(block, block, { transposeA: true })).forEach((value, at) => (covariance[at]! += value));
  }
  await pause();
  const { values: variances, vectors } = await symmetricEigen(covariance, width);
  const total = variances.reduce((sum, value) => sum + Math.max(0, value), 0);
  // Rising: the last is the first component.
  const axes = doubles(new Float64Array(width * count), [width, count]);
  for (let place = 0; place < Math.min(count, width); place++) {
    const axis = Float64Array.from({ length: width }, (_, i) => vectors[i * width + width - 1 - place]!);
    const largest = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    axis.forEach((value, i) => (axes.values[i * count + place] = largest < 0 ? -value : value));
  }
  const scores = new Float64Array(rows * count);
  let scored = 0;
  for (const block of centredBlocks(points, mean)) {
    await pause();
    const some = await productOf(block, axes);
    scores.set(some, scored);
    scored += some.length;
  }
  return { scores, explained: [...variances].reverse().map((value) => (total > 0 ? Math.max(0, value) / total : 0)) };
}
