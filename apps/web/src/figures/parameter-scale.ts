/** The scale on which values of a parameter are seen. Pure. */
import { Augmentation, augmentationName, type SweepSpec } from '#libs/contracts';

/** An axis whose values are so many times each other is logarithmic, however they were drawn. */
const LOG_FROM = 30;

/** Whether values of a parameter belong on a logarithmic axis: drawn so, or far apart. */
export function isLogarithmic(values: readonly number[], path: string, scales: SweepSpec['parameters']): boolean {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return low > 0 && ((scales?.[path]?.distribution?.includes('log_') ?? false) || high / low >= LOG_FROM);
}

/** A value as it is read on an axis. */
export function valueOnAxis(value: unknown): string {
  const augmentation = typeof value === 'object' && value !== null ? Augmentation.safeParse(value) : undefined;
  if (augmentation?.success) return augmentationName(augmentation.data);
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '–');
}
