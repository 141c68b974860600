/** Curves over steps, epochs or time, drawn by uPlot: quick enough to be drawn again with every point that comes. */
import { useEffect, useEffectEvent, useRef } from 'react';
import UPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { duration, shortNumber } from '#libs/contracts';
import { smoothed, type Series } from './series.js';
import { themeColour, useTheme } from '../ui/colours.js';

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

interface Props {
  title: string;
  lines: readonly Line[];
  settings: CurveSettings;
  /** Steps in an epoch; without it the axis of epochs is that of steps. */
  perEpoch?: number | undefined;
  /** Where another attempt went on. */
  marks?: readonly { step: number; time: number; attempt: number }[];
  /** Changes when points were added to the series, which are changed in place. */
  version?: number;
  height?: number;
  /** Charts of one group move their cursors together. */
  group?: string;
}

/** So few points are shown as they are, each with a dot. */
const FEW = 30;

/** Seconds from the first point of any line; the axis of time is what has passed. */
const startOf = (lines: readonly Line[]): number =>
  Math.min(...lines.flatMap(({ series }) => series.times.slice(0, 1)));

/** Columns as uPlot wants them: one x for all, each line raw and smoothed. */
function columns(lines: readonly Line[], { smoothing, axis, log }: CurveSettings, perEpoch: number): UPlot.AlignedData {
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

/** Points of one message share their time: a millisecond apart they all have a place. */
function ascending(times: number[]): number[] {
  for (let i = 1; i < times.length; i++) if (times[i]! <= times[i - 1]!) times[i] = times[i - 1]! + 1e-3;
  return times;
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
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<UPlot>(undefined);
  const marked = useRef(marks);
  useEffect(() => {
    marked.current = marks;
  }, [marks]);
  const theme = useTheme();
  const caption = useRef<HTMLElement>(null);
  const last = lines.length === 1 ? lines[0]!.series.values.at(-1) : undefined;
  const atRest = last === undefined ? '' : shortNumber(last);
  const shape =
    `${lines.map(({ label, colour }) => label + colour).join('|')} ${settings.log} ${settings.axis} ${perEpoch} ` +
    `${settings.smoothing > 0} ${theme} ${height}`;

  const draw = useEffectEvent((element: HTMLElement): UPlot => {
    const ink = { dim: themeColour('dim'), line: themeColour('line'), wait: themeColour('wait') };
    const axes = {
      stroke: ink.dim,
      grid: { stroke: ink.line, width: 1 },
      ticks: { stroke: ink.line, width: 1 },
      font: '12px system-ui, sans-serif',
    };
    const x = (value: number) =>
      settings.axis === 'time'
        ? duration(value)
        : shortNumber(settings.axis === 'epoch' ? Number(value.toFixed(2)) : value);
    const series = lines.flatMap(({ label, colour }): UPlot.Series[] => {
      const line = {
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
    // What the cursor is at stands in the caption; with several lines, of the nearest one.
    let focused: number | null = null;
    const each = settings.smoothing > 0 ? 2 : 1;
    const read = (self: UPlot) => {
      const index = lines.length === 1 ? each : focused;
      const at = self.cursor.idx ?? undefined;
      const value = index === null || at === undefined ? undefined : (self.data[index]?.[at] ?? undefined);
      if (!caption.current) return;
      caption.current.textContent =
        at === undefined || value === undefined || index === null
          ? atRest
          : `${lines.length > 1 ? `${lines[Math.ceil(index / each) - 1]?.label}: ` : ''}${shortNumber(value)} ` +
            `${`${{ time: 'after', step: 'at', epoch: 'in epoch' }[settings.axis]} ${x(self.data[0][at]!)}`}`;
    };
    return new UPlot(
      {
        width: element.clientWidth || 300,
        height,
        scales: { x: { time: false }, y: settings.log ? { distr: 3 } : {} },
        axes: [
          { ...axes, values: (_, values) => values.map(x), space: 60, size: 32 },
          {
            ...axes,
            size: 58,
            values: (_, values) => values.map((value) => (value === null ? '' : shortNumber(value))),
          },
        ],
        series: [{}, ...series],
        legend: { show: false },
        focus: { alpha: 0.35 },
        cursor: {
          drag: { x: true, y: false },
          ...(lines.length > 1 && { focus: { prox: 24 } }),
          ...(group && { sync: { key: group, setSeries: false } }),
        },
        hooks: {
          draw: [(self) => drawMarks(self, marked.current, lines, settings, perEpoch, ink.wait)],
          setCursor: [read],
          setSeries: [
            (self, index) => {
              focused = index;
              read(self);
            },
          ],
        },
      },
      columns(lines, settings, perEpoch),
      element,
    );
  });
  const redraw = useEffectEvent(() => plot.current?.setData(columns(lines, settings, perEpoch)));

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

  const summary = lines
    .map(({ label, series }) => {
      const end = series.values.at(-1);
      return (
        `${label} ` +
        `${end === undefined ? 'has no points' : `ends at ${shortNumber(end)} after ${series.steps.at(-1)} steps`}`
      );
    })
    .join('; ');
  return (
    <figure className="chart">
      <figcaption>
        {title}
        <b ref={caption}>{atRest}</b>
      </figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${summary}`} />
    </figure>
  );
}

function drawMarks(
  plot: UPlot,
  marks: NonNullable<Props['marks']>,
  lines: readonly Line[],
  { axis }: CurveSettings,
  perEpoch: number,
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

/** How curves are shown, for all charts of a page. `epochs`: what is shown has some. */
export function CurveControls({
  settings,
  epochs = false,
  onChange,
}: {
  settings: CurveSettings;
  epochs?: boolean;
  onChange: (settings: CurveSettings) => void;
}) {
  return (
    <div className="controls">
      <label>
        Smoothing{' '}
        <input
          type="range"
          min={0}
          max={0.99}
          step={0.01}
          value={settings.smoothing}
          onChange={({ target }) => onChange({ ...settings, smoothing: Number(target.value) })}
        />{' '}
        <output>{settings.smoothing.toFixed(2)}</output>
      </label>
      <label>
        Over{' '}
        <select
          value={settings.axis}
          onChange={({ target }) => onChange({ ...settings, axis: target.value as CurveSettings['axis'] })}
        >
          <option value="step">steps</option>
          {epochs && <option value="epoch">epochs</option>}
          <option value="time">time</option>
        </select>
      </label>
      <label>
        <input
          type="checkbox"
          checked={settings.log}
          onChange={({ target }) => onChange({ ...settings, log: target.checked })}
        />{' '}
        Log scale
      </label>
    </div>
  );
}

/** Settings in the address: a link shows the curves as they were seen. */
export const settingsFrom = (query: Record<string, string>): CurveSettings => ({
  smoothing: Math.min(0.99, Math.max(0, Number(query['smooth'] ?? 0.6) || 0)),
  log: query['log'] === '1',
  axis: query['x'] === 'time' || query['x'] === 'epoch' ? query['x'] : 'step',
});
export const settingsTo = ({ smoothing, log, axis }: CurveSettings): Record<string, string> => ({
  smooth: String(smoothing),
  log: log ? '1' : '',
  x: axis === 'step' ? '' : axis,
});
