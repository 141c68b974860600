/** Axes of parallel coordinates: places of values on them, and which trials lie within what was brushed. Pure. */
import { shortNumber, type SweepSpec } from '#libs/contracts';
import { shortPath, type TrialPoint } from '../sweep/trial-points.js';
import { isLogarithmic, valueOnAxis } from './parameter-scale.js';

export interface Axis {
  id: string;
  title: string;
  of: (trial: TrialPoint) => unknown;
  /** From 0 to 1; undefined where a trial lacks it. */
  place: (value: unknown) => number | undefined;
  /** The value at a place, of an axis of numbers. */
  at: (place: number) => number;
  /** Names in their order; empty on an axis of numbers. */
  levels: readonly string[];
  ticks: { axis: string; at: number | undefined; text: string }[];
}

/** Parts of axes, from 0 to 1, in which trials have to lie. */
export type Brushes = Readonly<Record<string, readonly [number, number]>>;

const MOST_TICKS = 21;

/** An axis for each varied parameter and each metric, with the place of a value on it, from 0 to 1. */
export function axesOf(
  trials: readonly TrialPoint[],
  varied: readonly string[],
  metrics: readonly string[],
  scales: SweepSpec['parameters'],
): Axis[] {
  return [
    ...varied.map((path) => ({ id: path, title: shortPath(path), of: (trial: TrialPoint) => trial.parameters[path] })),
    ...metrics.map((key) => ({
      id: key,
      title: key.replace('eval/', ''),
      of: (trial: TrialPoint): unknown => trial.metrics[key],
    })),
  ].map((axis) => {
    const values = trials.map(axis.of).filter((value) => value !== undefined);
    const numbers = values.every((value) => typeof value === 'number') ? values : undefined;
    return { ...axis, ...(numbers ? axisOfNumbers(axis.id, numbers, scales) : axisOfNames(axis.id, values)) };
  });
}

function axisOfNumbers(id: string, values: readonly number[], scales: SweepSpec['parameters']) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [scale, back] = isLogarithmic(values, id, scales) ? [Math.log, Math.exp] : [Number, Number];
  const width = scale(high) - scale(low) || 1;
  const place = (value: unknown) => (value === undefined ? undefined : (scale(value as number) - scale(low)) / width);
  return {
    place,
    at: (share: number) => back(scale(low) + share * width),
    levels: [],
    ticks: [low, high].map((value) => ({ axis: id, at: place(value), text: shortNumber(value) })),
  };
}

function axisOfNames(id: string, values: readonly unknown[]) {
  const levels = [...new Set(values.map(valueOnAxis))].sort();
  const last = levels.length - 1 || 1;
  const every = Math.ceil(levels.length / MOST_TICKS);
  return {
    place: (value: unknown) => (value === undefined ? undefined : levels.indexOf(valueOnAxis(value)) / last),
    at: () => Number.NaN,
    levels,
    ticks: levels.flatMap((text, i) => (i % every === 0 ? [{ axis: id, at: i / last, text }] : [])),
  };
}

/** Places on an axis are rounded: what is brushed up to a value holds it. */
const SLACK = 1e-9;

/** Trials that lie in all parts that are brushed; one that has no value there does not. */
export const within = (trials: readonly TrialPoint[], axes: readonly Axis[], brushes: Brushes): TrialPoint[] =>
  trials.filter((trial) =>
    axes.every((axis) => {
      const brush = brushes[axis.id];
      if (!brush) return true;
      const at = axis.place(axis.of(trial));
      return at !== undefined && at >= brush[0] - SLACK && at <= brush[1] + SLACK;
    }),
  );
