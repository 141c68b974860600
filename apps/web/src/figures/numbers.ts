/** Numbers as figures say them. */
import { goalOfMetric, isShare, metricOf, shortNumber, type Estimate, type SweepSpec } from '#libs/contracts';

/** Metrics that are looked at first, of what most runs have. */
export const USUAL_METRICS = ['eval/knn', 'eval/probe_accuracy', 'eval/miou', 'eval/accuracy'] as const;

/** What a sweep is ranked by. */
export interface Ranking {
  /** A metric, such as `eval/accuracy`. */
  name: string;
  goal: 'maximize' | 'minimize';
}

export function rankingOf(spec: Pick<SweepSpec, 'metric' | 'stages'>): Ranking {
  const metric = metricOf(spec);
  return { name: metric.name, goal: goalOfMetric(metric) ?? 'maximize' };
}

export const percent = (value: number, digits = 1) => `${(100 * value).toFixed(digits)} %`;

/** A value of a metric: shares of 1 in %, all others as they are. */
export const said = (name: string, value: number): string => (isShare(name) ? percent(value) : shortNumber(value));

/** How the axis of a metric says its ticks: shares of 1 in %, all others as short as they are said elsewhere. */
export const ticksOf = (name: string): { percent: true } | { tickFormat: (value: number) => string } =>
  isShare(name) ? { percent: true } : { tickFormat: (value) => shortNumber(value) };

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

/** Whether the first is better than the second. */
export const isBetter = (goal: Ranking['goal'], a: Estimate, b: Estimate): boolean =>
  goal === 'maximize' ? a.mean > b.mean : a.mean < b.mean;

/**
 * Whether a difference is one: 1 for a gain, -1 for a loss, 0 where its interval holds 0 or is not known. Of a metric
 * that is to be small a gain is below 0.
 */
export function signOf({ mean, ci95 }: Estimate, goal: Ranking['goal'] = 'maximize'): 1 | 0 | -1 {
  if (ci95 === null || Math.abs(mean) <= ci95) return 0;
  return mean > 0 === (goal === 'maximize') ? 1 : -1;
}

/** The best of some estimates, and what may be said of it. */
export interface Leader<Of> {
  of: Of;
  /** How many others can't be told apart from it. */
  level: number;
  /** Whether chance can't be told: it, or one that it is held against, is of one seed. */
  unknown: boolean;
}

/** The best, the first of equal ones; undefined of none. */
export function leaderOf<Of extends { estimate: Estimate }>(
  some: readonly Of[],
  goal: Ranking['goal'],
): Leader<Of> | undefined {
  const [first, ...rest] = some;
  if (first === undefined) return undefined;
  const of = rest.reduce((best, each) => (isBetter(goal, each.estimate, best.estimate) ? each : best), first);
  return {
    of,
    level: some.filter((each) => each !== of && areLevel(each.estimate, of.estimate)).length,
    unknown: some.some(({ estimate }) => estimate.ci95 === null),
  };
}

/**
 * What the leader of some estimates is called: the best only where it can be told from all others, and none is still to
 * come.
 */
export function leaderWord({ level, unknown }: Leader<unknown>, goal: Ranking['goal'], moreToCome: boolean): string {
  if (level === 0 && !unknown && !moreToCome) return 'Best';
  return goal === 'maximize' ? 'Highest' : 'Lowest';
}
