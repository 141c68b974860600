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
