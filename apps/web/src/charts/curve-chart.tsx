/** Curves over steps, epochs or time, drawn by uPlot: quick enough to be drawn again with every point that comes. */
import { shortNumber } from '#libs/contracts';
import { useEffect, useEffectEvent, useRef } from 'react';
import type UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useTheme } from '../ui/colours.js';
import { columnsOf, plotCurves, renew, type Curves, type CurveSettings, type Line, type Mark } from './curve-plot.js';

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
  const box = usePlot({ lines, settings, perEpoch }, { marks, version, height, group }, read);
  return (
    <figure className="chart">
      <figcaption>
        {title}
        <b ref={caption}>{atRest}</b>
      </figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${summaryOf(lines)}`} />
    </figure>
  );
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
  const { lines, settings, perEpoch } = curves;
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
    `${settings.smoothing > 0} ${theme} ${height}`;
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
  return box;
}

/** The ends of the curves in words, for those who don't see them. */
const summaryOf = (lines: readonly Line[]): string =>
  lines
    .map(({ label, series }) => {
      const end = series.values.at(-1);
      return (
        `${label} ` +
        `${end === undefined ? 'has no points' : `ends at ${shortNumber(end)} after ${series.steps.at(-1)} steps`}`
      );
    })
    .join('; ');
