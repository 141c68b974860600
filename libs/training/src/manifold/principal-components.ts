import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { turn, type Pause } from '../evaluation.js';
import { countOf, WORK_BETWEEN_PAUSES, type Points } from './points.js';

export interface Components {
  /** The points' coordinates along the first components, centred: [N, count]. */
  scores: Float64Array;
  /** Part of the variance that each component has, of all of them in falling order; zeros where there is none. */
  explained: number[];
}

/**
 * Principal components, exact: eigenvectors of the covariance matrix in double precision. The largest loading of each,
 * by its absolute value, is positive. Takes N·D² steps, and D³ more that can't be interrupted: 3 s for D = 1,000,
 * minutes for 4,000.
 */
export async function pca(points: Points, count: number, pause: Pause = turn): Promise<Components> {
  const { values, width } = points;
  const rows = countOf(points);
  const mean = new Float64Array(width);
  for (let row = 0, at = 0; row < rows; row++) for (let i = 0; i < width; i++, at++) mean[i]! += values[at]! / rows;
  const covariance = Array.from({ length: width }, () => new Float64Array(width));
  const centred = new Float64Array(width);
  const block = Math.ceil(WORK_BETWEEN_PAUSES / (width * width));
  for (let row = 0; row < rows; row++) {
    if (row % block === 0) await pause();
    for (let i = 0; i < width; i++) centred[i] = values[row * width + i]! - mean[i]!;
    for (let i = 0; i < width; i++) {
      const [x, line] = [centred[i]!, covariance[i]!];
      if (x !== 0) for (let j = 0; j <= i; j++) line[j]! += x * centred[j]!;
    }
  }
  for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) covariance[j]![i] = covariance[i]![j]!;
  await pause();
  const { realEigenvalues: variances, eigenvectorMatrix: vectors } = new EigenvalueDecomposition(
    new Matrix(covariance),
    { assumeSymmetric: true },
  );
  const total = variances.reduce((sum, value) => sum + Math.max(0, value), 0);
  const order = variances.map((_, place) => place).sort((a, b) => variances[b]! - variances[a]!);
  const axes = order.slice(0, count).map((place) => {
    const axis = Float64Array.from(vectors.getColumn(place));
    const largest = axis.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return largest < 0 ? axis.map((value) => -value) : axis;
  });
  const scores = new Float64Array(rows * count);
  for (let row = 0; row < rows; row++) {
    if (row % block === 0) await pause();
    axes.forEach((axis, place) => {
      let score = 0;
      for (let i = 0; i < width; i++) score += (values[row * width + i]! - mean[i]!) * axis[i]!;
      scores[row * count + place] = score;
    });
  }
  return { scores, explained: order.map((place) => (total > 0 ? Math.max(0, variances[place]!) / total : 0)) };
}
