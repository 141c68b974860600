/** Curves as a figure for print: what a chart shows, drawn anew as SVG with its names beside it. */
import * as Plot from '@observablehq/plot';
import { themeColour } from '../ui/colours.js';
import { AXIS_WORDS, columnsOf, type Curves } from './curve-plot.js';
import { tickTexts } from './series.js';

const WIDTH = 720;
const HEIGHT = 400;
const LINE_PX = 16;
/** How many heights of the figure a curve is drawn beyond it. */
const OUTSIDE = 9;

/** A tick of the axis y as the chart says it; alone where Plot does not tell of which ticks it is one. */
const tickOf = (value: number, i: number, ticks?: readonly number[]): string =>
  ticks ? tickTexts(ticks)[i]! : tickTexts([value])[0]!;

/** `x` and `y`: what of the axes the chart shows. */
export function curveFigure(
  title: string,
  curves: Curves,
  x: Plot.ScaleOptions,
  y: Plot.ScaleOptions & { domain: number[] },
): SVGElement {
  const [low, high] = y.domain as [number, number];
  // What has diverged leaves the figure: paths of SVG take no numbers as large as it.
  const near = (value: number) =>
    Math.min(Math.max(value, low - OUTSIDE * (high - low)), high + OUTSIDE * (high - low));
  const { lines, settings } = curves;
  const [at, ...columns] = columnsOf(curves);
  const each = settings.smoothing > 0 ? 2 : 1;
  const courses = columns.flatMap((values, i) => {
    const { colour } = lines[Math.floor(i / each)]!;
    const raw = each === 2 && i % 2 === 0;
    const points = Array.from(values, (value, place) => [at[place], value] as [number, number | null]);
    return Plot.line(
      points.flatMap(([place, value]) => (Number.isFinite(value) ? [[place, near(value!)] as [number, number]] : [])),
      { stroke: colour, strokeOpacity: raw ? 0.3 : 1, strokeWidth: raw ? 1 : 1.75, clip: true },
    );
  });
  const names = lines.map(({ label, colour }, i) =>
    Plot.text([label], { frameAnchor: 'top-right', dy: LINE_PX * i - LINE_PX * lines.length, fill: colour }),
  );
  return Plot.plot({
    width: WIDTH,
    height: HEIGHT + LINE_PX * lines.length,
    marginTop: 30 + LINE_PX * lines.length,
    marginLeft: 60,
    style: { color: themeColour('ink'), background: 'transparent', fontFamily: 'system-ui, sans-serif' },
    x: { ...x, label: AXIS_WORDS[settings.axis] },
    y: { ...y, label: title, grid: true, tickFormat: tickOf },
    marks: [...courses, ...(lines.length > 1 ? names : [])],
  }) as unknown as SVGElement;
}
