/** Curves of a run as they arrive, and what is made of them before they are drawn. Pure. */
import type { MetricSeries, Run, TimedPoint } from '#libs/contracts';

/** Three columns in ascending order of step; times in seconds since 1970. */
export interface Series {
  steps: number[];
  values: number[];
  times: number[];
}

export const emptySeries = (): Series => ({ steps: [], values: [], times: [] });

export const seriesOf = (points: MetricSeries['points']): Series => ({
  steps: points.map(({ step }) => step),
  values: points.map(({ value }) => value),
  times: points.map(({ at }) => Date.parse(at) / 1000),
});

/** Puts a point where its step belongs. A later attempt repeats steps: its value replaces the earlier one. */
export function addPoint({ steps, values, times }: Series, step: number, value: number, time: number): void {
  let place = steps.length;
  if (place > 0 && steps[place - 1]! >= step) {
    let low = 0;
    while (low < place) {
      const middle = (low + place) >> 1;
      if (steps[middle]! < step) low = middle + 1;
      else place = middle;
    }
  }
  const replaced = steps[place] === step ? 1 : 0;
  steps.splice(place, replaced, step);
  values.splice(place, replaced, value);
  times.splice(place, replaced, time);
}

export function addPoints(curves: Map<string, Series>, points: readonly TimedPoint[]): void {
  for (const { key, step, value, at } of points) {
    let series = curves.get(key);
    if (!series) curves.set(key, (series = emptySeries()));
    addPoint(series, step, value, Date.parse(at) / 1000);
  }
}

/**
 * Exponential moving average that starts without a bias towards zero, as in TensorBoard: s = w·s + (1-w)·x, divided by
 * 1 - w^t. `weight` in [0, 1): 0 changes nothing. What is not finite is passed through and forgotten.
 */
export function smoothed(values: readonly number[], weight: number): number[] {
  if (weight <= 0) return [...values];
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

/** Share of a curve's values at either end that may lie beyond what is shown, and how far off they have to be. */
const OUTLIERS = 0.02;
const FAR_OFF = 5;
/** A curve so many times as high as the lowest has diverged: the others are not flattened for it. */
const DIVERGED = { linear: 1000, log: 1e9 };

/**
 * From where to where values are shown, so that few that are far off, or a curve that has diverged, leave the others
 * to be seen. On an axis of powers a few that are far off take little room. Undefined where there are none that are
 * finite.
 */
export function shownRange(
  curves: readonly (readonly number[])[],
  scale: 'linear' | 'log' = 'linear',
): [number, number] | undefined {
  const ranges = curves.flatMap((values) => {
    const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
    if (sorted.length === 0) return [];
    const [low, high] = [sorted[0]!, sorted.at(-1)!];
    const beyond = Math.floor(sorted.length * OUTLIERS);
    const [usualLow, usualHigh] = [sorted[beyond]!, sorted.at(-1 - beyond)!];
    const far = FAR_OFF * (usualHigh - usualLow);
    if (scale === 'log') return [[low, high] as const];
    return [[usualLow - low > far ? usualLow : low, high - usualHigh > far ? usualHigh : high] as const];
  });
  if (ranges.length === 0) return undefined;
  const size = ([low, high]: readonly [number, number]) => Math.max(Math.abs(low), Math.abs(high));
  const least = Math.min(...ranges.map(size).filter((each) => each > 0));
  const kept = ranges.filter((range) => !(size(range) > DIVERGED[scale] * least));
  return [Math.min(...kept.map(([low]) => low)), Math.max(...kept.map(([, high]) => high))];
}

/** Which curves end beyond what is shown of them. */
export const beyond = (curves: readonly (readonly number[])[], [low, high]: readonly [number, number]): number[] =>
  curves.flatMap((values, i) => {
    const last = values.findLast(Number.isFinite);
    return last !== undefined && (last < low || last > high) ? [i] : [];
  });

/** Most digits of a number that mean something. */
const MOST_DIGITS = 15;

/**
 * The values of an axis in words, with as many digits as tell them apart and say where they lie; large and small ones
 * by powers of ten.
 */
export function tickTexts(values: readonly (number | null)[]): string[] {
  const some = [...new Set(values.filter((value) => value !== null))].sort((a, b) => a - b);
  const size = Math.max(...some.map(Math.abs));
  const scientific = size >= 1e5 || (size > 0 && size < 1e-3);
  const gap = some.length > 1 ? Math.min(...some.slice(1).map((value, i) => value - some[i]!)) : size;
  // 125 between 100 and 150 can be told from them as 130, too.
  const areSaid = (digits: number) =>
    some.every((value) => Math.abs(Number(value.toPrecision(digits)) - value) <= gap / 100);
  let digits = 2;
  while (digits < MOST_DIGITS && !areSaid(digits)) digits++;
  return values.map((value) => {
    if (value === null) return '';
    const rounded = Number(value.toPrecision(digits));
    return scientific && value !== 0
      ? rounded.toExponential().replace('+', '')
      : rounded.toLocaleString('en', { maximumFractionDigits: MOST_DIGITS });
  });
}

/** Steps from which later attempts went on. */
export const takeovers = (
  attempts: readonly { attempt: number; resumedFromStep: number; startedAt: string }[],
): { step: number; time: number; attempt: number }[] =>
  attempts
    .filter(({ attempt }) => attempt > 1)
    .map(({ attempt, resumedFromStep, startedAt }) => ({
      step: resumedFromStep,
      time: Date.parse(startedAt) / 1000,
      attempt,
    }));

/** Steps in an epoch of a run that is told in epochs; undefined for others, and before it has begun. */
export function stepsOfEpoch({ spec, totalSteps }: Pick<Run, 'spec' | 'totalSteps'>): number | undefined {
  return 'epochs' in spec && totalSteps !== null && totalSteps > 0 ? totalSteps / spec.epochs : undefined;
}

const GROUPS: [RegExp, string][] = [
  [/^eval\/(feature_spread|rank|alignment|uniformity)$/, 'Collapse'],
  [/^train\/(learning_rate|images_per_second|step_ms|samples_per_second)/, 'Speed and schedule'],
  [/^eval\//, 'Evaluation'],
  [/^train\//, 'Training'],
];
const ORDER = ['Training', 'Evaluation', 'Collapse', 'Speed and schedule'];

/** Metrics by what they are about, the loss first. */
export function grouped(keys: Iterable<string>): [string, string[]][] {
  const groups = new Map<string, string[]>();
  for (const key of [...keys].sort(
    (a, b) => Number(b === 'train/loss') - Number(a === 'train/loss') || a.localeCompare(b),
  )) {
    const name = GROUPS.find(([pattern]) => pattern.test(key))?.[1] ?? 'Other';
    groups.set(name, [...(groups.get(name) ?? []), key]);
  }
  const place = (name: string) => (ORDER.indexOf(name) + ORDER.length + 1) % (ORDER.length + 1);
  return [...groups].sort(([a], [b]) => place(a) - place(b));
}
