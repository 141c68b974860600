/** Points of a space, and the pace at which they are worked through. */

/** Points [N, width], row by row. */
export interface Points {
  values: Float32Array | Float64Array;
  width: number;
}

export const countOf = ({ values, width }: Points): number => values.length / width;

/** Multiplications between two pauses: about a quarter of a second's work. */
export const WORK_BETWEEN_PAUSES = 2e8;

export function squaredDistance(values: Float32Array | Float64Array, width: number, a: number, b: number): number {
  let sum = 0;
  for (let i = 0, from = a * width, to = b * width; i < width; i++, from++, to++)
    sum += (values[from]! - values[to]!) ** 2;
  return sum;
}

/** Standard deviation of one coordinate of a map [N, 2]. */
export function deviation(map: Float64Array, axis: 0 | 1): number {
  const values = map.filter((_, place) => place % 2 === axis);
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
}

/** A map times `factor`, with noise that parts points which lie on each other. */
export const scaled = (map: Float64Array, factor: number, noise: () => number): Float64Array =>
  map.map((value) => value * factor + noise());
