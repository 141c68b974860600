/** Numbers as figures say them. */
import type { Estimate } from '#libs/contracts';

export const percent = (value: number, digits = 1) => `${(100 * value).toFixed(digits)} %`;

export const share = (fraction: string) => `${Number((Number(fraction) * 100).toPrecision(3))} %`;

export const within = ({ mean, ci95 }: Estimate): [number, number] => [mean - (ci95 ?? 0), mean + (ci95 ?? 0)];

/** Seeds from which on an interval is drawn: of two it is 13 times their distance from the mean (Student's t). */
export const LEAST_SEEDS = 3;
export const isDrawn = ({ n }: { n: number }): boolean => n >= LEAST_SEEDS;

/** Whether two can't be told apart: their 95 % intervals meet, or they are equal where there are none. */
export function areLevel(a: Estimate, b: Estimate): boolean {
  const [[lowA, highA], [lowB, highB]] = [within(a), within(b)];
  return lowA <= highB && lowB <= highA;
}

/** Whether a difference is one: 1 for a gain, -1 for a loss, 0 where its interval holds 0 or is not known. */
export function signOf({ mean, ci95 }: Estimate): 1 | 0 | -1 {
  if (ci95 === null || Math.abs(mean) <= ci95) return 0;
  return mean > 0 ? 1 : -1;
}
