import { Augmentation, augmentationName, shortNumber, type SweepSpec } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { Figure } from './figure.js';

export interface TrialPoint {
  index: number;
  parameters: Record<string, unknown>;
  metrics: Record<string, number>;
}

/** An axis whose values are so many times each other is logarithmic, however they were drawn. */
const LOG_FROM = 30;

/** Pixels left of the first axis for the names of what has no order. */
const roomForNames = (width: number) => (width < 520 ? 92 : 150);

function text(value: unknown): string {
  const augmentation = typeof value === 'object' && value !== null ? Augmentation.safeParse(value) : undefined;
  if (augmentation?.success) return augmentationName(augmentation.data);
  return typeof value === 'string' ? value : (JSON.stringify(value) ?? '–');
}

/** An axis for each varied parameter and each metric, with the place of a value on it, from 0 to 1. */
function axesOf(trials: TrialPoint[], varied: string[], metrics: string[], scales: SweepSpec['parameters']) {
  return [
    ...varied.map((path) => ({
      id: path,
      title: path.split('.').slice(1).join('.'),
      of: (trial: TrialPoint): unknown => trial.parameters[path],
      drawnByLog: scales?.[path]?.distribution?.includes('log_') ?? false,
    })),
    ...metrics.map((key) => ({
      id: key,
      title: key.replace('eval/', ''),
      of: (trial: TrialPoint): unknown => trial.metrics[key],
      drawnByLog: false,
    })),
  ].map((axis) => {
    const values = trials.map(axis.of).filter((value) => value !== undefined);
    const numeric = values.every((value) => typeof value === 'number');
    const levels = numeric ? [] : [...new Set(values.map(text))].sort();
    const [low, high] = numeric ? [Math.min(...values), Math.max(...values)] : [0, levels.length - 1];
    const scale = numeric && low > 0 && (axis.drawnByLog || high / low >= LOG_FROM) ? Math.log : Number;
    const place = (value: unknown) =>
      value === undefined
        ? undefined
        : (scale(numeric ? (value as number) : levels.indexOf(text(value))) - scale(low)) /
          (scale(high) - scale(low) || 1);
    const every = Math.ceil(levels.length / 21);
    return {
      ...axis,
      place,
      levels,
      ticks: numeric
        ? [low, high].map((value) => ({ axis: axis.id, at: place(value), text: shortNumber(value) }))
        : levels
            .filter((_, i) => i % every === 0)
            .map((level) => ({ axis: axis.id, at: levels.indexOf(level) / (high || 1), text: level })),
    };
  });
}

type Axis = ReturnType<typeof axesOf>[number];

/** A trial's place on one axis. `value`: what the trial's line is coloured by. */
interface Place {
  trial: number;
  axis: string;
  at: number | undefined;
  value: number;
}

const USUAL_METRICS = ['eval/knn', 'eval/probe_accuracy', 'eval/miou', 'eval/accuracy'];

/** A line for each trial through its parameters and its metrics. */
export function ParallelCoordinates({
  trials,
  metric,
  scales,
  name,
}: {
  trials: TrialPoint[];
  /** What the sweep is about: lines are coloured by it. */
  metric: string;
  scales: SweepSpec['parameters'];
  name: string;
}) {
  const metrics = [...USUAL_METRICS.filter((key) => key !== metric), metric].filter((key) =>
    trials.some((trial) => trial.metrics[key] !== undefined),
  );
  const varied = [...new Set(trials.flatMap(({ parameters }) => Object.keys(parameters)))].filter(
    (path) =>
      !/\.(seed|labelSeed)$/.test(path) &&
      new Set(trials.map(({ parameters }) => JSON.stringify(parameters[path]))).size > 1,
  );
  const target = metrics.at(-1);
  if (varied.length === 0 || target === undefined || trials.length < 2) return null;
  const axes = axesOf(trials, varied, metrics, scales);
  const points: Place[] = trials
    .filter((trial) => trial.metrics[target] !== undefined)
    .flatMap((trial) =>
      axes.map((axis) => ({
        trial: trial.index,
        axis: axis.id,
        at: axis.place(axis.of(trial)),
        value: trial.metrics[target]!,
      })),
    );
  return (
    <Figure
      title="Trials side by side"
      name={`${name}-trials`}
      data={points}
      caption={<>One line a trial, from what was varied to what came of it; coloured by {target}.</>}
      description={`Parallel coordinates of ${trials.length} trials over ${axes.map((axis) => axis.title).join(', ')}`}
      rows={() => [
        ['trial', ...axes.map(({ id }) => id)],
        ...trials.map((trial) => [
          trial.index,
          ...axes.map((axis) => {
            const value = axis.of(trial);
            return value === undefined ? null : text(value);
          }),
        ]),
      ]}
      axis="color"
      draw={(width, { paper }) => plotOf(axes, points, width, paper)}
    />
  );
}

function plotOf(axes: Axis[], points: Place[], width: number, paper: string): Plot.PlotOptions {
  const title = new Map(axes.map((axis) => [axis.id, axis.title]));
  return {
    height: 320,
    marginTop: 34,
    marginBottom: 16,
    marginLeft: axes[0]!.levels.length === 0 ? 56 : roomForNames(width),
    marginRight: width < 520 ? 34 : 60,
    x: {
      type: 'point',
      padding: 0.12,
      domain: axes.map(({ id }) => id),
      axis: 'top',
      label: null,
      tickSize: 0,
      tickFormat: (id: string) => title.get(id) ?? id,
    },
    y: { axis: null, domain: [-0.03, 1.03] },
    color: { scheme: 'viridis' },
    marks: [
      Plot.ruleX(axes, { x: 'id', stroke: 'currentColor', strokeOpacity: 0.4 }),
      Plot.line(points, {
        x: 'axis',
        y: 'at',
        z: 'trial',
        stroke: 'value',
        strokeOpacity: 0.7,
        strokeWidth: 1.5,
        curve: 'bump-x',
      }),
      Plot.text(axes[0]!.ticks, {
        x: 'axis',
        y: 'at',
        text: 'text',
        dx: -7,
        textAnchor: 'end',
        fill: 'currentColor',
        fontSize: 11,
      }),
      Plot.text(
        axes.slice(1).flatMap(({ ticks }) => ticks),
        {
          x: 'axis',
          y: 'at',
          text: 'text',
          dx: 6,
          textAnchor: 'start',
          stroke: paper,
          strokeWidth: 4,
          fill: 'currentColor',
          fontSize: 11,
        },
      ),
    ],
  };
}
