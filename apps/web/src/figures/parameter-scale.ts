/** The scale on which values of a parameter are seen. Pure. */
import { Augmentation, augmentationName, distributionOf, type SweepSpec } from '#libs/contracts';

/** An axis whose values are so many times each other is logarithmic where nothing says how they were drawn. */
const LOG_FROM = 30;

/**
 * Whether values of a parameter, or of a metric, belong on a logarithmic axis: drawn so; or listed, and more evenly
 * apart by their ratios than by their differences; or far apart.
 */
export function isLogarithmic(values: readonly number[], path: string, scales: SweepSpec['parameters']): boolean {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (!(low > 0)) return false;
  const parameter = scales?.[path];
  const distribution = parameter && distributionOf(parameter);
  if (distribution !== undefined && distribution !== 'categorical' && distribution !== 'constant')
    return distribution.includes('log_');
  return high / low >= LOG_FROM || (!path.includes('/') && isGeometric(values));
}

/** Whether a few values lie more evenly by their ratios than by their differences. */
function isGeometric(values: readonly number[]): boolean {
  const sorted = [...new Set(values)].sort((a, b) => a - b);
  const unevenness = (scale: (value: number) => number) => {
    const gaps = sorted.slice(1).map((value, i) => scale(value) - scale(sorted[i]!));
    return Math.max(...gaps) / Math.min(...gaps);
  };
  return sorted.length > 2 && unevenness(Math.log) < unevenness(Number);
}

/** A value as it is read on an axis. */
export function valueOnAxis(value: unknown): string {
  const augmentation = typeof value === 'object' && value !== null ? Augmentation.safeParse(value) : undefined;
  if (augmentation?.success) return augmentationName(augmentation.data);
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '–');
}
