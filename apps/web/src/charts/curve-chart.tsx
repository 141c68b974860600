/** Curves over steps, epochs or time, drawn by uPlot: quick enough to be drawn again with every point that comes. */
import { duration, shortNumber } from '#libs/contracts';
import { useEffect, useEffectEvent, useRef, useState } from 'react';
import type UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { fileName } from '../figures/files.js';
import { useTheme } from '../ui/colours.js';
import { fullHeight, useFullScreen } from '../ui/full-screen.js';
import { ChartMenu } from './chart-menu.js';
import {
  AXIS_WORDS,
  columnsOf,
  plotCurves,
  renew,
  type Curves,
  type CurveSettings,
  type Line,
  type Mark,
} from './curve-plot.js';
import type { Range } from './range-fields.js';
import { beyond, shownRange } from './series.js';

interface Props {
  title: string;
  lines: readonly Line[];
  settings: CurveSettings;
  /** Steps in an epoch; without it the axis of epochs is that of steps. */
  perEpoch?: number | undefined;
  marks?: readonly Mark[];
  /** Changes when points were added to the series, which are changed in place. */
  version?: number;
  height?: number;
  /** Charts of one group move their cursors together. */
  group?: string;
}

export function CurveChart({
  title,
  lines,
  settings,
  marks = [],
  version = 0,
  height = 200,
  group,
  perEpoch = 1,
}: Props) {
  const caption = useRef<HTMLElement>(null);
  const last = lines.length === 1 ? lines[0]!.series.values.at(-1) : undefined;
  const atRest = last === undefined ? '' : shortNumber(last);
  const read = (reading: string | undefined) => {
    if (caption.current) caption.current.textContent = reading ?? atRest;
  };
  const [range, setRange] = useState<Range>({});
  const [log, setLog] = useState<boolean>();
  const [figure, full, showFull] = useFullScreen();
  const own = { ...settings, log: log ?? settings.log };
  const curves = { lines, settings: own, perEpoch, range };
  const { box, plot } = usePlot(curves, { marks, version, height: full ? fullHeight() : height, group }, read);
  const scaleOf = (axis: 'x' | 'y') => {
    const { min, max } = plot.current!.scales[axis]!;
    return { domain: [min!, max!], ...(axis === 'y' && own.log && { type: 'log' as const }) };
  };
  const files = {
    rows: () => rowsOf(curves),
    name: fileName(title),
    drawn: async () => (await import('./curve-figure.js')).curveFigure(title, curves, scaleOf('x'), scaleOf('y')),
  };
  return (
    <figure className="chart" ref={figure}>
      <figcaption>
        {title}
        <b ref={caption}>{atRest}</b>
        <ChartMenu
          title={title}
          range={range}
          log={own.log}
          files={files}
          onRange={setRange}
          onLog={setLog}
          onFull={showFull}
        />
      </figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${summaryOf(lines, settings.axis)}`} />
      <Beyond lines={lines} log={own.log} />
    </figure>
  );
}

/** Which of several curves have left what is shown, so that nobody takes them for absent. */
function Beyond({ lines, log }: { lines: readonly Line[]; log: boolean }) {
  if (lines.length < 2) return null;
  const values = lines.map(({ series }) => series.values);
  const range = shownRange(values, log ? 'log' : 'linear');
  const names = range ? beyond(values, range).map((i) => lines[i]!.label) : [];
  return names.length > 0 && <p className="dim">Beyond what is shown: {names.join(', ')}</p>;
}

/** The curves as a table: each raw, and smoothed where it is shown so. */
function rowsOf(curves: Curves): (string | number | null)[][] {
  const { lines, settings } = curves;
  const columns = columnsOf(curves);
  const head = lines.flatMap(({ label }) => (settings.smoothing > 0 ? [label, `${label} smoothed`] : [label]));
  return [
    [AXIS_WORDS[settings.axis], ...head],
    ...Array.from(columns[0], (_, row) => columns.map((column) => column[row] ?? null)),
  ];
}

/**
 * The chart's place in the page, with a plot in it: made anew when its lines, its axes or the theme change, given new
 * columns when points come, and as wide as its place.
 */
function usePlot(
  curves: Curves,
  options: { marks: readonly Mark[]; version: number; height: number; group: string | undefined },
  read: (reading: string | undefined) => void,
) {
  const { lines, settings, perEpoch, range } = curves;
  const { marks, version, height, group } = options;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(undefined);
  const marked = useRef(marks);
  useEffect(() => {
    marked.current = marks;
  }, [marks]);
  const theme = useTheme();
  const shape =
    `${lines.map(({ label, colour }) => label + colour).join('|')} ${settings.log} ${settings.axis} ${perEpoch} ` +
    `${settings.smoothing > 0} ${theme} ${height} ${range.low} ${range.high}`;
  const draw = useEffectEvent((element: HTMLElement) =>
    plotCurves(element, curves, height, group, () => marked.current, read),
  );
  const redraw = useEffectEvent(() => plot.current && renew(plot.current, columnsOf(curves)));

  useEffect(() => {
    const element = box.current!;
    const created = (plot.current = draw(element));
    const resize = new ResizeObserver(() => created.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      created.destroy();
      plot.current = undefined;
    };
  }, [shape, height]);
  useEffect(() => {
    redraw();
  }, [version, settings.smoothing, shape]);
  return { box, plot };
}

/** The ends of the curves in words, for those who don't see them. */
const summaryOf = (lines: readonly Line[], axis: CurveSettings['axis']): string =>
  lines
    .map(({ label, series: { values, steps, times } }) => {
      const end = values.at(-1);
      if (end === undefined) return `${label} has no points`;
      const way = axis === 'time' ? duration(times.at(-1)! - times[0]!) : `${steps.at(-1)} steps`;
      return `${label} ends at ${shortNumber(end)} after ${way}`;
    })
    .join('; ');
