/** Figures of a sweep, drawn by Observable Plot, each to be had as SVG, PNG and CSV. */
import {
  Augmentation,
  augmentationName,
  shortestPaths,
  shortNumber,
  type Estimate,
  type SweepRungs,
  type SweepTable,
} from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { useEffect, useRef, useState } from 'react';
import { csv } from './csv.js';
import { colourOf, Panel, save, themeColour, useTheme } from './ui.js';

type Cells = (string | number | null | undefined)[][];

interface FigureProps {
  title: string;
  /** Of the files. */
  name: string;
  caption?: React.ReactNode;
  /** In words, for those who don't see it. */
  description: string;
  /** Drawn again when it changes. */
  data: unknown;
  draw: (width: number, ink: { ink: string; dim: string; paper: string }) => Plot.PlotOptions;
  rows: () => Cells;
}

function Figure({ title, name, caption, description, data, draw, rows }: FigureProps) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const theme = useTheme();
  const key = JSON.stringify(data);
  useEffect(() => {
    const resize = new ResizeObserver(([entry]) => setWidth(Math.round(entry!.contentRect.width)));
    resize.observe(box.current!);
    return () => resize.disconnect();
  }, []);
  useEffect(() => {
    if (width === 0) return;
    const ink = { ink: themeColour('ink'), dim: themeColour('dim'), paper: themeColour('panel') };
    const drawn = Plot.plot({
      ...draw(width, ink),
      width,
      style: {
        color: ink.ink,
        background: 'transparent',
        fontSize: '12px',
        fontFamily: 'system-ui, sans-serif',
        overflow: 'visible',
      },
    });
    drawn.setAttribute('aria-hidden', 'true');
    box.current!.replaceChildren(drawn);
  }, [key, width, theme]);
  const svg = () => box.current!.querySelector('svg')!;
  return (
    <Panel
      title={title}
      aside={
        <span className="actions">
          <button
            className="quiet"
            onClick={() => save(`${name}.svg`, svgText(svg()), 'image/svg+xml')}
            aria-label={`${title} as SVG`}
          >
            SVG
          </button>
          <button
            className="quiet"
            onClick={() => void pngOf(svg()).then((png) => save(`${name}.png`, png))}
            aria-label={`${title} as PNG`}
          >
            PNG
          </button>
          <button
            className="quiet"
            onClick={() => save(`${name}.csv`, csv(rows()), 'text/csv')}
            aria-label={`${title} as CSV`}
          >
            CSV
          </button>
        </span>
      }
    >
      {caption && <p className="dim">{caption}</p>}
      <div ref={box} className="figure" role="img" aria-label={description} />
    </Panel>
  );
}

/** On its own: with its namespace and the paper that its ink was chosen for. */
function svgText(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
  copy.removeAttribute('aria-hidden');
  copy.style.background = themeColour('panel');
  return new XMLSerializer().serializeToString(copy);
}

/** At twice the size, for print. */
async function pngOf(svg: SVGSVGElement): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svgText(svg))}`;
  await image.decode();
  const { width, height } = svg.getBoundingClientRect();
  const canvas = Object.assign(document.createElement('canvas'), { width: width * 2, height: height * 2 });
  canvas.getContext('2d')!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('expected the browser to make a PNG, it gave nothing'))),
      'image/png',
    ),
  );
}

const percent = (value: number, digits = 1) => `${(100 * value).toFixed(digits)} %`;
export const share = (fraction: string) => `${Number((Number(fraction) * 100).toPrecision(3))} %`;
const within = ({ mean, ci95 }: Estimate): [number, number] => [mean - (ci95 ?? 0), mean + (ci95 ?? 0)];
/** Two seeds give bands as wide as a house: the axis follows the means, and bands are cut where it ends. */
const around = (means: number[]): [number, number] => {
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const margin = Math.max(0.02, 0.25 * (high - low));
  return [Math.max(0, low - margin), Math.min(1, high + margin)];
};

/** SimCLR's figure 5: how good each augmentation is with each, alone on the diagonal. */
export function CompositionMap({
  composition: { names, measure, cells },
  name,
}: {
  composition: NonNullable<SweepTable['composition']>;
  name: string;
}) {
  const points = names.flatMap((first, i) =>
    names.map((second, j) => ({ first, second, estimate: cells[i]?.[j] ?? null })),
  );
  const known = points.filter((point): point is typeof point & { estimate: Estimate } => point.estimate !== null);
  const values = known.map(({ estimate }) => estimate.mean);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const best = known.reduce<(typeof known)[number] | undefined>(
    (a, b) => (a && a.estimate.mean >= b.estimate.mean ? a : b),
    undefined,
  );
  const what = measure === 'kNN' ? 'kNN accuracy' : `accuracy on ${share(measure.split(' ')[1]!)} of the labels`;
  const pair = best && (best.first === best.second ? best.first : `${best.first} with ${best.second}`);
  return (
    <Figure
      title="Which views go together"
      name={`${name}-composition`}
      data={[names, cells]}
      caption={
        <>
          Each augmentation with each, alone on the diagonal: {what}.
          {best && (
            <>
              {' '}
              Best: <b>{pair}</b>, {percent(best.estimate.mean)}.
            </>
          )}{' '}
          {known.length < points.length && `${points.length - known.length} cells are still to come.`}
        </>
      }
      description={
        `Heat map of ${what} for ` +
        `${names.join(', ')}${best ? `; the best is ${pair} with ${percent(best.estimate.mean)}` : ''}`
      }
      rows={() => [['', ...names], ...names.map((each, i) => [each, ...cells[i]!.map((cell) => cell?.mean)])]}
      draw={(width) => {
        const small = (width - 96) / names.length < 64;
        return {
          height: Math.min(560, Math.max(small ? 250 : 300, width * 0.62)),
          marginLeft: small ? 74 : 96,
          marginTop: small ? 74 : 32,
          marginBottom: 8,
          marginRight: 8,
          padding: 0.04,
          x: { domain: names, axis: 'top', label: null, tickSize: 0, tickRotate: small ? -50 : 0 },
          y: { domain: names, label: null, tickSize: 0 },
          color: { scheme: 'viridis', domain: [low, high === low ? low + 1e-9 : high] },
          marks: [
            Plot.cell(points, {
              x: 'second',
              y: 'first',
              fill: 'transparent',
              stroke: 'currentColor',
              strokeOpacity: 0.15,
              rx: 4,
            }),
            Plot.cell(known, {
              x: 'second',
              y: 'first',
              fill: (d: (typeof known)[number]) => d.estimate.mean,
              rx: 4,
              tip: { format: { x: false, y: false, fill: false } },
              title: (d: (typeof known)[number]) =>
                `${d.first === d.second ? `${d.first} alone` : `${d.first} + ${d.second}`}\n${percent(d.estimate.mean)}${d.estimate.ci95 === null ? '' : ` ± ${percent(d.estimate.ci95)}`}, ` +
                `n = ${d.estimate.n}`,
            }),
            Plot.text(known, {
              x: 'second',
              y: 'first',
              text: (d: (typeof known)[number]) => (100 * d.estimate.mean).toFixed(1),
              fill: (d: (typeof known)[number]) =>
                (d.estimate.mean - low) / (high - low || 1) < 0.45 ? 'white' : 'black',
              fontSize: small ? 10 : 14,
              fontWeight: 600,
              pointerEvents: 'none',
            }),
            ...(best
              ? [
                  Plot.cell([best], {
                    x: 'second',
                    y: 'first',
                    fill: 'none',
                    stroke: 'currentColor',
                    strokeWidth: 2.5,
                    rx: 4,
                    pointerEvents: 'none',
                  }),
                ]
              : []),
          ],
        };
      }}
    />
  );
}

const MOST_COLOURED = 5;

/**
 * Accuracy over the labels that were used, with 95 % bands where there are seeds, against the same network without
 * pretraining.
 */
export function LabelEfficiency({ rows, name }: { rows: SweepTable['rows']; name: string }) {
  const line = (combo: string, estimates: Record<string, Estimate>, kind: string) =>
    Object.entries(estimates).map(([fraction, estimate]) => ({
      combo,
      fraction: Number(fraction),
      mean: estimate.mean,
      low: within(estimate)[0],
      high: within(estimate)[1],
      n: estimate.n,
      kind,
    }));
  const fractions = [...new Set(rows.flatMap((row) => Object.keys(row.accuracy)))].sort(
    (a, b) => Number(a) - Number(b),
  );
  if (fractions.length === 0) return null;
  const ranked = [...rows]
    .filter((row) => row.accuracy[fractions[0]!])
    .sort((a, b) => b.accuracy[fractions[0]!]!.mean - a.accuracy[fractions[0]!]!.mean);
  const coloured = ranked.slice(0, MOST_COLOURED);
  const others = ranked.slice(MOST_COLOURED).flatMap((row) => line(row.combo, row.accuracy, 'other'));
  // Combinations of one architecture share their control.
  const controls = [
    ...new Map(
      rows.filter((row) => Object.keys(row.scratch).length).map((row) => [JSON.stringify(row.scratch), row]),
    ).values(),
  ]
    .slice(0, 3)
    .flatMap((row, i) => line(i === 0 ? 'from scratch' : `from scratch (${row.combo})`, row.scratch, 'control'));
  const best = coloured.flatMap((row) => line(row.combo, row.accuracy, 'pretrained'));
  const colours = new Map(coloured.map(({ combo }, i) => [combo, colourOf(i)]));
  type Point = (typeof best)[number];
  const stroke = (d: Point) => colours.get(d.combo) ?? 'currentColor';
  return (
    <Figure
      title="Which views need the fewest labels"
      name={`${name}-label-efficiency`}
      data={[best, controls, others.length]}
      caption={
        <span className="legends">
          {coloured.map(({ combo }, i) => (
            <span key={combo} className="legend">
              <i style={{ background: colourOf(i) }} />
              {combo}
            </span>
          ))}
          {controls.length > 0 && (
            <span className="legend">
              <i className="dashed" />
              from scratch
            </span>
          )}
          {others.length > 0 && (
            <span className="legend">
              <i className="faint" />
              {ranked.length - coloured.length} more
            </span>
          )}
        </span>
      }
      description={
        'Accuracy by label fraction. ' +
        `${best.map(({ combo, fraction, mean }) => `${combo} on ${share(String(fraction))}: ${percent(mean)}`).join('; ')}. ` +
        `${controls.map(({ fraction, mean }) => `From scratch on ${share(String(fraction))}: ${percent(mean)}`).join('; ')}`
      }
      rows={() => [
        ['combination', 'label fraction', 'accuracy', 'low', 'high', 'n'],
        ...[...best, ...others, ...controls].map((d) => [d.combo, d.fraction, d.mean, d.low, d.high, d.n]),
      ]}
      draw={(width) => ({
        height: Math.min(420, Math.max(260, width * 0.5)),
        marginLeft: 48,
        marginRight: 20,
        marginBottom: 40,
        x: {
          type: 'log',
          label: 'labels used →',
          ticks: fractions.map(Number),
          tickFormat: (d: number) => share(String(d)),
          inset: 16,
        },
        y: {
          label: '↑ accuracy',
          percent: true,
          grid: true,
          domain: around([...best, ...others, ...controls].map(({ mean }) => mean)).map((value) => 100 * value),
        },
        marks: [
          Plot.line(others, { x: 'fraction', y: 'mean', z: 'combo', stroke: 'currentColor', strokeOpacity: 0.18 }),
          ...(best.some(({ low, high }) => high > low)
            ? [
                Plot.areaY(best, {
                  x: 'fraction',
                  y1: 'low',
                  y2: 'high',
                  z: 'combo',
                  fill: stroke,
                  fillOpacity: 0.12,
                  clip: true,
                }),
                Plot.areaY(controls, {
                  x: 'fraction',
                  y1: 'low',
                  y2: 'high',
                  z: 'combo',
                  fill: 'currentColor',
                  fillOpacity: 0.08,
                  clip: true,
                }),
              ]
            : []),
          Plot.line(controls, {
            x: 'fraction',
            y: 'mean',
            z: 'combo',
            stroke: 'currentColor',
            strokeDasharray: '5 4',
            strokeWidth: 1.75,
          }),
          Plot.dot(controls, { x: 'fraction', y: 'mean', stroke: 'currentColor', fill: 'currentColor', r: 3 }),
          Plot.line(best, { x: 'fraction', y: 'mean', z: 'combo', stroke, strokeWidth: 2 }),
          Plot.dot(best, { x: 'fraction', y: 'mean', fill: stroke, r: 4 }),
          Plot.tip(
            [...best, ...controls],
            Plot.pointer({
              x: 'fraction',
              y: 'mean',
              title: (d: Point) =>
                `${d.combo}\n${percent(d.mean)} on ${share(String(d.fraction))} of the ` +
                `labels${d.high > d.low ? `\n95 %: ${percent(d.low)} to ${percent(d.high)}` : ''}`,
              fill: 'var(--panel)',
            }),
          ),
        ],
      })}
    />
  );
}

export interface TrialPoint {
  index: number;
  parameters: Record<string, unknown>;
  metrics: Record<string, number>;
}

/** A line for each trial through what was varied to what came of it. */
export function ParallelCoordinates({ trials, name }: { trials: TrialPoint[]; name: string }) {
  const text = (value: unknown): string => {
    const augmentation = typeof value === 'object' && value !== null ? Augmentation.safeParse(value) : undefined;
    return augmentation?.success
      ? augmentationName(augmentation.data)
      : typeof value === 'string'
        ? value
        : (JSON.stringify(value) ?? '–');
  };
  const metrics = ['eval/knn', 'eval/probe_accuracy', 'eval/miou', 'eval/accuracy'].filter((key) =>
    trials.some((trial) => trial.metrics[key] !== undefined),
  );
  const varied = [...new Set(trials.flatMap(({ parameters }) => Object.keys(parameters)))].filter(
    (path) =>
      !/\.(seed|labelSeed)$/.test(path) &&
      new Set(trials.map(({ parameters }) => JSON.stringify(parameters[path]))).size > 1,
  );
  const target = metrics.at(-1);
  if (varied.length === 0 || target === undefined || trials.length < 2) return null;
  const axes = [
    ...varied.map((path) => ({
      id: path,
      title: path.split('.').slice(1).join('.'),
      of: (trial: TrialPoint): unknown => trial.parameters[path],
    })),
    ...metrics.map((key) => ({
      id: key,
      title: key.replace('eval/', ''),
      of: (trial: TrialPoint): unknown => trial.metrics[key],
    })),
  ].map((axis) => {
    const values = trials.map(axis.of).filter((value) => value !== undefined);
    const numeric = values.every((value) => typeof value === 'number');
    const levels = numeric ? [] : [...new Set(values.map(text))].sort();
    const [low, high] = numeric ? [Math.min(...values), Math.max(...values)] : [0, levels.length - 1];
    const place = (value: unknown) =>
      value === undefined
        ? undefined
        : ((numeric ? (value as number) : levels.indexOf(text(value))) - low) / (high - low || 1);
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
  const points = trials
    .filter((trial) => trial.metrics[target] !== undefined)
    .flatMap((trial) =>
      axes.map((axis) => ({
        trial: trial.index,
        axis: axis.id,
        at: axis.place(axis.of(trial)),
        value: trial.metrics[target]!,
      })),
    );
  const title = new Map(axes.map((axis) => [axis.id, axis.title]));
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
      draw={(width, { paper }) => ({
        height: 320,
        marginTop: 34,
        marginBottom: 16,
        marginLeft: axes[0]!.levels.length > 0 ? (width < 520 ? 92 : 150) : 56,
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
      })}
    />
  );
}

/** What each augmentation adds to the others: all together against all but it, paired by labels and seeds. */
export function Effects({ effects, measure, name }: { effects: SweepTable['effects']; measure: string; name: string }) {
  if (effects.length === 0) return null;
  const points = effects.map(({ name: each, effect }) => ({
    each,
    mean: effect.mean,
    low: within(effect)[0],
    high: within(effect)[1],
    n: effect.n,
  }));
  return (
    <Figure
      title="What each view adds"
      name={`${name}-effects`}
      data={points}
      caption={
        <>All together against all but one, in points of {measure}, with 95 % intervals where there are seeds.</>
      }
      description={
        `What each augmentation adds to ${measure}: ` +
        `${points.map(({ each, mean }) => `${each} ${percent(mean)}`).join(', ')}`
      }
      rows={() => [
        ['augmentation', 'effect', 'low', 'high', 'n'],
        ...points.map((d) => [d.each, d.mean, d.low, d.high, d.n]),
      ]}
      draw={() => ({
        height: 60 + 34 * points.length,
        marginLeft: 96,
        x: { percent: true, grid: true, label: `points of ${measure} →` },
        y: { label: null, tickSize: 0 },
        marks: [
          Plot.barX(points, {
            x: 'mean',
            y: 'each',
            fill: (d: (typeof points)[number]) => (d.mean >= 0 ? colourOf(2) : colourOf(3)),
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
          }),
          Plot.ruleY(points, { x1: 'low', x2: 'high', y: 'each', stroke: 'currentColor', strokeWidth: 1.5 }),
          Plot.ruleX([0], { stroke: 'currentColor' }),
        ],
      })}
    />
  );
}

const DECISIONS = {
  promoted: ['let on', colourOf(0)],
  waiting: ['waits', colourOf(1)],
  stopped: ['stopped', colourOf(3)],
} as const;

/** Early stopping: each pretraining from rung to rung, with what it was worth there and what was made of it. */
export function Rungs({
  rungs: { runs, metric, goal, policy },
  labelOf,
  name,
}: {
  rungs: SweepRungs;
  labelOf: (trials: readonly number[]) => string;
  name: string;
}) {
  const points = runs.flatMap(({ runId, trials, reached }) =>
    reached.map(({ step, value, decision }) => ({
      run: runId,
      label: labelOf(trials),
      trials: trials.join(' '),
      step,
      value,
      decision,
    })),
  );
  if (points.length === 0) return null;
  const count = (decision: keyof typeof DECISIONS) =>
    runs.filter(({ reached }) => reached.at(-1)?.decision === decision).length;
  const steps = [...new Set(points.map(({ step }) => step))].sort((a, b) => a - b);
  type Point = (typeof points)[number];
  const colour = (d: Point) => DECISIONS[d.decision][1];
  const better = goal === 'maximize' ? 'higher' : 'lower';
  return (
    <Figure
      title={policy === 'median' ? 'Who was stopped' : 'Rungs'}
      name={`${name}-rungs`}
      data={points}
      caption={
        <span className="legends">
          {(['promoted', 'waiting', 'stopped'] as const).map((each) => (
            <span key={each} className="legend">
              <i style={{ background: DECISIONS[each][1] }} />
              {DECISIONS[each][0]} ({count(each)})
            </span>
          ))}
          <span>
            {policy === 'median'
              ? `Stopped where the best so far is worse than the median of the others, by ${metric}.`
              : `At each rung the best by ${metric} are let on (${better} is better).`}
          </span>
        </span>
      }
      description={
        `Early stopping by ${metric}: ${count('promoted')} let on, ${count('waiting')} waiting, ${count('stopped')} ` +
        `stopped, at steps ${steps.join(', ')}`
      }
      rows={() => [
        ['run', 'trials', 'step', metric, 'decision'],
        ...points.map((d) => [d.run, d.trials, d.step, d.value, d.decision]),
      ]}
      draw={() => ({
        height: 320,
        marginLeft: 52,
        marginRight: 20,
        x: {
          label: 'step →',
          ...(policy !== 'median' && { ticks: steps }),
          inset: 16,
          tickFormat: (d: number) => shortNumber(d),
        },
        y: { label: `↑ ${metric}`, grid: true, tickFormat: (d: number) => shortNumber(d) },
        marks: [
          Plot.line(points, { x: 'step', y: 'value', z: 'run', stroke: 'currentColor', strokeOpacity: 0.25 }),
          Plot.dot(points, {
            x: 'step',
            y: 'value',
            fill: colour,
            stroke: colour,
            symbol: (d: Point) => (d.decision === 'stopped' ? 'times' : 'circle'),
            r: 4,
            strokeWidth: 1.5,
          }),
          Plot.tip(
            points,
            Plot.pointer({
              x: 'step',
              y: 'value',
              title: (d: Point) => `${d.label}\n${shortNumber(d.value)} at step ${d.step}: ${DECISIONS[d.decision][0]}`,
              fill: 'var(--panel)',
            }),
          ),
        ],
      })}
    />
  );
}

/** Room for a letter of an axis, in pixels. */
const LETTER = 7;

/** Which of what was varied the result depends on. */
export function Importance({
  importance,
  measure,
  name,
}: {
  importance: SweepTable['importance'];
  measure: string;
  name: string;
}) {
  if (importance.length === 0) return null;
  const paths = importance.map(({ parameter }) => parameter);
  const short = new Map(shortestPaths(paths).map((label, i) => [paths[i]!, label]));
  const longest = Math.max(...[...short.values()].map(({ length }) => length));
  return (
    <Figure
      title="What matters"
      name={`${name}-importance`}
      data={importance}
      caption={
        <>
          Permutation importance of what was varied in a random forest over the trials, in parts of the variance of{' '}
          {measure}.
        </>
      }
      description={
        `Importance for ${measure}: ` +
        `${importance.map(({ parameter, importance: part }) => `${parameter} ${percent(part, 0)}`).join(', ')}`
      }
      rows={() => [
        ['parameter', 'importance'],
        ...importance.map(({ parameter, importance: part }) => [parameter, part]),
      ]}
      draw={(width) => ({
        height: 60 + 34 * importance.length,
        marginLeft: Math.min(width / 2, 16 + LETTER * longest),
        x: { percent: true, grid: true, label: 'of the variance →' },
        y: { label: null, tickSize: 0, tickFormat: (parameter: string) => short.get(parameter)! },
        marks: [
          Plot.barX(importance, {
            x: 'importance',
            y: 'parameter',
            fill: colourOf(0),
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
          }),
          Plot.ruleX([0], { stroke: 'currentColor' }),
        ],
      })}
    />
  );
}
