/** Trials of a sweep with what came of them, and what leads from figures to them. Pure. */
import { Augmentation, AUGMENTATIONS, Views, type Run, type SweepDetail, type SweepTable } from '#libs/contracts';
import { USUAL_METRICS } from '../figures/numbers.js';
import { valueOnAxis } from '../figures/parameter-scale.js';
import { writeNumbers } from '../number-list.js';
import { link } from '../route.js';

export interface TrialPoint {
  index: number;
  parameters: Record<string, unknown>;
  /** Results of its runs but for controls, `eval/…`; of those that were stopped early what they came to. */
  metrics: Record<string, number>;
  /** When the last of its runs ended, in milliseconds; undefined while one goes on. */
  ended: number | undefined;
}

export function trialPoints({ trials }: SweepDetail, runs: readonly Run[]): TrialPoint[] {
  const byId = new Map(runs.map((run) => [run.id, run]));
  return trials.map(({ index, parameters, runs: places }) => {
    const own = places.filter(({ control }) => !control).flatMap(({ runId }) => byId.get(runId) ?? []);
    const ends = own.map(({ finishedAt }) => (finishedAt ? Date.parse(finishedAt) : undefined));
    return {
      index,
      parameters,
      metrics: Object.fromEntries(
        own.flatMap((run) => Object.entries(resultOf(run)).filter(([key]) => key.startsWith('eval/'))),
      ),
      ended: ends.length > 0 && !ends.includes(undefined) ? Math.max(...(ends as number[])) : undefined,
    };
  });
}

const resultOf = ({ result, status, metrics }: Run): Record<string, number> =>
  result?.metrics ?? (status === 'early_stopped' ? metrics : {});

/** Metrics that some trials have, that of the sweep first, those that are usually looked at next. */
export function metricsOf(trials: readonly TrialPoint[], own: string): string[] {
  const had = new Set(trials.flatMap(({ metrics }) => Object.keys(metrics)));
  return [...new Set([own, ...USUAL_METRICS, ...[...had].sort()])].filter((key) => had.has(key));
}

export const isSeed = (path: string): boolean => /\.(seed|labelSeed)$/.test(path);

/** Parameters in which trials differ, but for seeds. */
export const variedIn = (trials: readonly TrialPoint[]): string[] =>
  [...new Set(trials.flatMap(({ parameters }) => Object.keys(parameters)))].filter(
    (path) => !isSeed(path) && new Set(trials.map(({ parameters }) => JSON.stringify(parameters[path]))).size > 1,
  );

/** What is said of a parameter: its path without the stage. */
export const shortPath = (path: string): string => path.split('.').slice(1).join('.');

/** An address of some trials; undefined where they are too many for one. */
export function linkToTrials(sweepId: string, trials: readonly number[]): string | undefined {
  const text = writeNumbers(trials);
  return text ? link(`sweeps/${sweepId}`, { tab: 'trials', trials: text }) : undefined;
}

/** Trials of a row of the table: those that have its parameters, whatever their seeds and label fractions. */
export function trialsOfRow(
  { parameters }: Pick<SweepTable['rows'][number], 'parameters'>,
  trials: readonly TrialPoint[],
): number[] {
  const keyOf = (of: Record<string, unknown>) =>
    JSON.stringify(Object.entries(of).filter(([path]) => !isSeed(path) && !path.endsWith('.labelFraction')));
  const wanted = keyOf(parameters);
  return trials.filter((trial) => keyOf(trial.parameters) === wanted).map(({ index }) => index);
}

/** Trials whose first view has an augmentation, whatever else it has. */
export const trialsWith = (augmentation: string, trials: readonly TrialPoint[]): number[] =>
  trials.filter((trial) => namesOf(trial).includes(augmentation)).map(({ index }) => index);

/**
 * Trials in the order of a metric or a parameter, what is highest first; names and what is no number in their order,
 * and those that lack it last.
 */
export function orderedBy<Of extends { index: number; parameters: Record<string, unknown> }>(
  by: string,
  trials: readonly Of[],
  metricsAt: (index: number) => Record<string, number> | undefined,
): Of[] {
  const valueOf = ({ index, parameters }: Of) => metricsAt(index)?.[by] ?? parameters[by];
  const textOf = (value: unknown) => (value === undefined ? undefined : valueOnAxis(value));
  return trials.toSorted((a, b) => {
    const [first, second] = [valueOf(a), valueOf(b)];
    if (typeof first === 'number' && typeof second === 'number') return second - first;
    const [one, other] = [textOf(first), textOf(second)];
    if (one === undefined || other === undefined) return Number(one === undefined) - Number(other === undefined);
    return one < other ? -1 : Number(one > other);
  });
}

/** The row of a table that a cell of its composition is of: with these two beside what all rows have, or this one. */
export function rowOfCell<Row extends Pick<SweepTable['rows'][number], 'parameters'>>(
  rows: readonly Row[],
  first: string,
  second: string,
): Row | undefined {
  const named = rows.map((row) => ({ row, names: namesOf(row) }));
  const common = AUGMENTATIONS.filter((name) => named.every(({ names }) => names.includes(name)));
  const wanted = [...new Set([first, second])].sort().join();
  return named.find(
    ({ names }) =>
      names
        .filter((name) => !common.includes(name as (typeof common)[number]))
        .sort()
        .join() === wanted,
  )?.row;
}

/** Augmentations that a row varies, in the first of its views. */
function namesOf({ parameters }: Pick<SweepTable['rows'][number], 'parameters'>): string[] {
  for (const [path, value] of Object.entries(parameters)) {
    const views = path.endsWith('.views') ? Views.safeParse(value).data : undefined;
    const given = typeof views === 'object' ? views[0]?.augmentation : value;
    const parsed = /\.(augmentation|views)$/.test(path) ? Augmentation.safeParse(given) : undefined;
    if (parsed?.success) return AUGMENTATIONS.filter((name) => parsed.data[name] !== undefined);
  }
  return [];
}

/** The best of the values up to each, in their order. */
export function bestSoFar(values: readonly number[], goal: 'maximize' | 'minimize'): number[] {
  const better = goal === 'maximize' ? Math.max : Math.min;
  let best: number | undefined;
  return values.map((value) => (best = best === undefined ? value : better(best, value)));
}
