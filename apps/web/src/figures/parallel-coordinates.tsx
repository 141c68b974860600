import { type SweepSpec } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { useState } from 'react';
import { metricsOf, variedIn, type TrialPoint } from '../sweep/trial-points.js';
import { Dropdown } from '../ui/controls.js';
import { brushable } from './brush.js';
import { Figure } from './figure.js';
import { leading } from './links.js';
import { axesOf, within, type Axis, type Brushes } from './parallel-axes.js';
import { valueOnAxis } from './parameter-scale.js';

/** Pixels left of the first axis for the names of what has no order. */
const roomForNames = (width: number) => (width < 520 ? 92 : 150);
/** Metrics that have an axis beside that of the sweep. */
const MOST_METRICS = 4;

/** A trial's place on one axis. `value`: what the trial's line is coloured by. */
interface Place {
  trial: number;
  axis: string;
  at: number | undefined;
  value: number;
}

const placesOf = (trials: readonly TrialPoint[], axes: readonly Axis[], target: string): Place[] =>
  trials.flatMap((trial) =>
    axes.map((axis) => ({
      trial: trial.index,
      axis: axis.id,
      at: axis.place(axis.of(trial)),
      value: trial.metrics[target]!,
    })),
  );

/** A line for each trial through its parameters and its metrics; parts of axes are brushed. */
export function ParallelCoordinates({
  trials,
  metric,
  scales,
  name,
  linkOf,
}: {
  trials: TrialPoint[];
  /** What the sweep is about: lines are coloured by it, unless another is chosen. */
  metric: string;
  scales: SweepSpec['parameters'];
  name: string;
  /** Where some trials are listed. */
  linkOf: (trials: readonly number[]) => string | undefined;
}) {
  const [brushes, setBrushes] = useState<Brushes>({});
  const [chosen, setChosen] = useState<string>();
  const known = metricsOf(trials, metric).slice(0, MOST_METRICS);
  const target = known.find((key) => key === chosen) ?? known[0];
  const varied = variedIn(trials);
  if (varied.length === 0 || target === undefined || trials.length < 2) return null;
  const axes = axesOf(trials, varied, [...known.filter((key) => key !== target), target], scales);
  const shown = trials.filter((trial) => trial.metrics[target] !== undefined);
  const kept = new Set(within(shown, axes, brushes).map(({ index }) => index));
  const points = placesOf(shown, axes, target);
  const brush = (axis: string, part: readonly [number, number] | undefined) => {
    const { [axis]: _, ...others } = brushes;
    setBrushes(part ? { ...others, [axis]: part } : others);
  };
  const all = kept.size === shown.length;
  const href = all ? undefined : linkOf([...kept]);
  return (
    <Figure
      title="Trials side by side"
      name={`${name}-trials`}
      data={[points, brushes]}
      caption={
        <>
          One line a trial, from what was varied to what came of it; coloured by {target}
          {!known.includes(metric) && `, for no trial has ${metric} yet`}. Dragging along an axis keeps the trials that
          lie there, a click on it all.
        </>
      }
      controls={
        <>
          <ColouredBy metrics={known} value={target} onChange={setChosen} />
          <Narrow axes={axes} brushes={brushes} onBrush={brush} />
          <span role="status">{!all && `${kept.size} of ${shown.length} trials`}</span>
          {href && (
            <a className="button" href={href}>
              List them
            </a>
          )}
          {Object.keys(brushes).length > 0 && (
            <button className="quiet" onClick={() => setBrushes({})}>
              Show all
            </button>
          )}
        </>
      }
      description={`Parallel coordinates of ${kept.size} trials over ${axes.map((axis) => axis.title).join(', ')}`}
      rows={() =>
        rowsOf(
          trials.filter(({ index }) => all || kept.has(index)),
          axes,
        )
      }
      axis="color"
      draw={(width, { paper }) => plotOf(axes, { points, kept, brushes }, { width, paper, linkOf })}
      onDrawn={(drawn) =>
        brushable(
          drawn,
          axes.map(({ id }) => id),
          brush,
        )
      }
    />
  );
}

function ColouredBy({
  metrics,
  value,
  onChange,
}: {
  metrics: readonly string[];
  value: string;
  onChange: (metric: string) => void;
}) {
  if (metrics.length < 2) return null;
  return (
    <label>
      Coloured by{' '}
      <select value={value} onChange={({ target }) => onChange(target.value)}>
        {metrics.map((key) => (
          <option key={key}>{key}</option>
        ))}
      </select>
    </label>
  );
}

/** A row for each trial, with what it has on each axis. */
const rowsOf = (trials: readonly TrialPoint[], axes: readonly Axis[]) => [
  ['trial', ...axes.map(({ id }) => id)],
  ...trials.map((trial) => [
    trial.index,
    ...axes.map((axis) => {
      const value = axis.of(trial);
      return value === undefined ? null : valueOnAxis(value);
    }),
  ]),
];

/** Parts of the axes as numbers and names: what dragging does, for the keyboard. */
function Narrow({
  axes,
  brushes,
  onBrush,
}: {
  axes: readonly Axis[];
  brushes: Brushes;
  onBrush: (axis: string, part: readonly [number, number] | undefined) => void;
}) {
  const rounded = (value: number) => Number(value.toPrecision(4));
  return (
    <Dropdown title="Narrow" name="Parts of the axes">
      {axes.map((axis) => {
        const part = brushes[axis.id];
        if (axis.levels.length > 0)
          return (
            <label key={axis.id}>
              {axis.title}{' '}
              <select
                value={part ? axis.levels[Math.round(part[0] * (axis.levels.length - 1))] : ''}
                onChange={({ target }) => {
                  const at = axis.place(target.value);
                  onBrush(axis.id, target.value === '' || at === undefined ? undefined : [at, at]);
                }}
              >
                <option value="">all</option>
                {axis.levels.map((level) => (
                  <option key={level}>{level}</option>
                ))}
              </select>
            </label>
          );
        const ends = part ?? [0, 1];
        return (['from', 'to'] as const).map((which, i) => (
          <label key={`${axis.id} ${which}`}>
            {axis.title} {which}{' '}
            <input
              type="number"
              step="any"
              placeholder={String(rounded(axis.at(i)))}
              value={part ? rounded(axis.at(ends[i]!)) : ''}
              onChange={({ target }) => {
                const at = Number.isNaN(target.valueAsNumber) ? i : (axis.place(target.valueAsNumber) ?? i);
                const end = Math.max(0, Math.min(1, at));
                onBrush(axis.id, i === 0 ? [end, ends[1]] : [ends[0], end]);
              }}
            />
          </label>
        ));
      })}
    </Dropdown>
  );
}

function plotOf(
  axes: readonly Axis[],
  { points, kept, brushes }: { points: Place[]; kept: ReadonlySet<number>; brushes: Brushes },
  { width, paper, linkOf }: { width: number; paper: string; linkOf: (trials: readonly number[]) => string | undefined },
): Plot.PlotOptions {
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
      Plot.ruleX(Object.entries(brushes), {
        x: (d: [string, readonly [number, number]]) => d[0],
        y1: (d: [string, readonly [number, number]]) => d[1][0],
        y2: (d: [string, readonly [number, number]]) => d[1][1],
        stroke: 'currentColor',
        strokeOpacity: 0.3,
        strokeWidth: 12,
      }),
      ...[false, true].map((bright) =>
        Plot.line(
          points.filter(({ trial }) => kept.has(trial) === bright),
          {
            x: 'axis',
            y: 'at',
            z: 'trial',
            stroke: 'value',
            strokeOpacity: bright ? 0.7 : 0.07,
            strokeWidth: 1.5,
            curve: 'bump-x',
            ...(bright && {
              ...leading(points, ({ trial }) => linkOf([trial])),
              title: ({ trial }: Place) => `trial ${trial}`,
            }),
          },
        ),
      ),
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
