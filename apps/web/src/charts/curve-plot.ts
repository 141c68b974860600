/** The uPlot of a chart of curves: its columns, axes, lines, marks and what its cursor reads. */
import { duration, shortNumber } from '#libs/contracts';
import UPlot from 'uplot';
import { themeColour } from '../ui/colours.js';
import type { Range } from './range-fields.js';
import { shownRange, smoothed, tickTexts, type Series } from './series.js';

export interface Line {
  label: string;
  colour: string;
  series: Series;
}
export interface CurveSettings {
  smoothing: number;
  log: boolean;
  axis: 'step' | 'epoch' | 'time';
}

/** A mark at the step from which a later attempt went on. */
export interface Mark {
  step: number;
  time: number;
  attempt: number;
}

export interface Curves {
  lines: readonly Line[];
  settings: CurveSettings;
  /** Steps in an epoch. */
  perEpoch: number;
  /** Ends of the axis y that were asked for. */
  range: Range;
}

export const AXIS_WORDS = { step: 'steps', epoch: 'epochs', time: 'seconds' } as const;

/** Curves of fewer points are not smoothed, and each point has a dot. */
const FEW = 30;

/** Seconds from the first point of any line; the axis of time is what has passed. */
const startOf = (lines: readonly Line[]): number =>
  Math.min(...lines.flatMap(({ series }) => series.times.slice(0, 1)));

/** Columns as uPlot wants them: one x for all, each line raw and smoothed. */
export function columnsOf({
  lines,
  settings: { smoothing, axis, log },
  perEpoch,
}: Omit<Curves, 'range'>): UPlot.AlignedData {
  const start = startOf(lines);
  const tables = lines.map(({ series }): UPlot.AlignedData => {
    const shown = log ? series.values.map((value) => (value > 0 ? value : Number.NaN)) : series.values;
    const x = {
      step: () => series.steps,
      epoch: () => series.steps.map((step) => step / perEpoch),
      time: () => ascending(series.times.map((time) => time - start)),
    }[axis];
    return [
      x(),
      shown,
      ...(smoothing > 0 ? [shown.length < FEW ? shown : smoothed(shown, smoothing)] : []),
    ] as UPlot.AlignedData;
  });
  return tables.length === 1 ? tables[0]! : UPlot.join(tables);
}

/** Times that rise: points of one message share theirs, and are put a millisecond apart. */
function ascending(times: number[]): number[] {
  for (let i = 1; i < times.length; i++) if (times[i]! <= times[i - 1]!) times[i] = times[i - 1]! + 1e-3;
  return times;
}

/** A value of the axis x in words. */
const atX = (value: number, axis: CurveSettings['axis']): string =>
  axis === 'time' ? duration(value) : shortNumber(axis === 'epoch' ? Number(value.toFixed(2)) : value);

/** Raw and smoothed curve of each line; the raw one is faint where there is a smoothed one. */
const seriesOf = ({ lines, settings }: Curves): UPlot.Series[] =>
  lines.flatMap(({ label, colour }) => {
    const line: UPlot.Series = {
      label,
      stroke: colour,
      width: 1.75,
      spanGaps: true,
      points: {
        size: 4,
        show: (self: UPlot, index: number) =>
          Array.from(self.data[index]!).filter((value) => typeof value === 'number').length < FEW,
      },
    };
    return settings.smoothing > 0
      ? [{ ...line, stroke: `${colour}50`, width: 1, points: { show: false } }, line]
      : [line];
  });

/** What the cursor is at, in words: of several lines the `focused` one. Undefined where it is at nothing. */
function readingOf(self: UPlot, { lines, settings }: Curves, focused: number | null): string | undefined {
  const each = settings.smoothing > 0 ? 2 : 1;
  const index = lines.length === 1 ? each : focused;
  const at = self.cursor.idx ?? undefined;
  if (index === null || at === undefined) return undefined;
  const place = Math.ceil(index / each);
  const [raw, smooth] = [self.data[each * (place - 1) + 1]?.[at], self.data[each * place]?.[at]];
  if (typeof raw !== 'number' || typeof smooth !== 'number') return undefined;
  const value = each === 2 ? `${shortNumber(smooth)} smoothed, ${shortNumber(raw)} raw` : shortNumber(raw);
  const word = { time: 'after', step: 'at', epoch: 'in epoch' }[settings.axis];
  const whose = lines.length > 1 ? `${lines[place - 1]?.label}: ` : '';
  return `${whose}${value} ${word} ${atX(self.data[0][at]!, settings.axis)}`;
}

function axesOf({ settings: { axis } }: Curves): UPlot.Axis[] {
  const line = themeColour('line');
  const shared = {
    stroke: themeColour('dim'),
    grid: { stroke: line, width: 1 },
    ticks: { stroke: line, width: 1 },
    font: '12px system-ui, sans-serif',
  };
  return [
    { ...shared, values: (_, values) => values.map((value) => atX(value, axis)), space: 60, size: 32 },
    {
      ...shared,
      size: 58,
      values: (_, values: (number | null)[]) => tickTexts(values),
    },
  ];
}

/** Values of the curves in the part of the axis x that is shown. */
function shownValues(self: UPlot): number[][] {
  const [first, last] = self.series[0]!.idxs ?? [0, self.data[0].length - 1];
  return self.data
    .slice(1)
    .map((values) => Array.from(values.slice(first, last + 1)).filter((value) => typeof value === 'number'));
}

/**
 * The range of the axis y with some room, whatever few values or a curve that has diverged would have it be; where it
 * was asked for, as it was.
 */
function rangeOf({ settings: { log }, range }: Curves) {
  const asked = (value: number | undefined) => (value !== undefined && log && value <= 0 ? undefined : value);
  return (self: UPlot): UPlot.Range.MinMax => {
    const shown = shownRange(shownValues(self), log ? 'log' : 'linear');
    if (!shown) return [null, null];
    const [low, high] = shown;
    const usual = log ? UPlot.rangeLog(low, high, 10, false) : UPlot.rangeNum(low, high, 0.1, true);
    const [from, to] = [asked(range.low) ?? usual[0], asked(range.high) ?? usual[1]];
    return from !== null && to !== null && from < to ? [from, to] : usual;
  };
}

/** Gives a plot new columns; what is zoomed into stays so. */
export function renew(plot: UPlot, columns: UPlot.AlignedData): void {
  const [x] = plot.data;
  const { min, max } = plot.scales['x']!;
  // Null until it has been drawn.
  const drawn = typeof min === 'number' && typeof max === 'number';
  if (!drawn || !(min > x[0]! || max < x.at(-1)!)) return plot.setData(columns);
  plot.batch(() => {
    plot.setData(columns, false);
    plot.setScale('x', { min, max });
  });
}

/**
 * Draws curves into `element`. `group`: charts of one group move their cursors together. `onRead` is told what the
 * cursor is at, or undefined; `marks` are asked for whenever the chart is drawn.
 */
export function plotCurves(
  element: HTMLElement,
  curves: Curves,
  height: number,
  group: string | undefined,
  marks: () => readonly Mark[],
  onRead: (reading: string | undefined) => void,
): UPlot {
  const { lines, settings } = curves;
  const markColour = themeColour('wait');
  let focused: number | null = null;
  const read = (self: UPlot) => onRead(readingOf(self, curves, focused));
  return new UPlot(
    {
      width: element.clientWidth || 300,
      height,
      scales: { x: { time: false }, y: { ...(settings.log && { distr: 3 as const }), range: rangeOf(curves) } },
      axes: axesOf(curves),
      series: [{}, ...seriesOf(curves)],
      legend: { show: false },
      focus: { alpha: 0.35 },
      cursor: {
        drag: { x: true, y: false },
        ...(lines.length > 1 && { focus: { prox: 24 } }),
        ...(group && { sync: { key: group, setSeries: false } }),
      },
      hooks: {
        draw: [(self) => drawMarks(self, marks(), curves, markColour)],
        setCursor: [read],
        setSeries: [
          (self, index) => {
            focused = index;
            read(self);
          },
        ],
      },
    },
    columnsOf(curves),
    element,
  );
}

function drawMarks(
  plot: UPlot,
  marks: readonly Mark[],
  { lines, settings: { axis }, perEpoch }: Curves,
  colour: string,
): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = ctx.fillStyle = colour;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  for (const { step, time, attempt } of marks) {
    const at = { step, epoch: step / perEpoch, time: time - startOf(lines) }[axis];
    const x = plot.valToPos(at, 'x', true);
    if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const [text, near] = [`attempt ${attempt}`, x > bbox.left + 0.7 * bbox.width];
    ctx.textAlign = near ? 'right' : 'left';
    ctx.fillText(text, x + (near ? -5 : 5) * devicePixelRatio, bbox.top + bbox.height - 6 * devicePixelRatio);
  }
  ctx.restore();
}
