import type { Estimate } from '#libs/contracts';

/** Student's t at 97.5 % for 1 to 30 degrees of freedom. */
const T_975 = [
  12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131, 2.12, 2.11,
  2.101, 2.093, 2.086, 2.08, 2.074, 2.069, 2.064, 2.06, 2.056, 2.052, 2.048, 2.045, 2.042,
] as const;
/** Cornish-Fisher expansion of the same quantile (Abramowitz and Stegun 26.7.5), for more. */
const t975 = (freedom: number): number => T_975[freedom - 1] ?? 1.95996 + 2.3723 / freedom + 2.8225 / freedom ** 2;

/**
 * Mean and half width of its 95 % confidence interval by Student's t: `t · s / √n` with the sample standard deviation.
 * The half width is null for a single value. Throws RangeError without any.
 */
export function estimateMean(values: readonly number[]): Estimate {
  const n = values.length;
  if (n === 0) throw new RangeError('expected at least one value, got none');
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n === 1) return { mean, ci95: null, n };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return { mean, ci95: t975(n - 1) * Math.sqrt(variance / n), n };
}
