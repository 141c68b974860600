import { isShare, metricWord, type Estimate, type SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { leading } from './links.js';
import { isDrawn, LEAST_SEEDS, said, share, ticksOf, within, type Ranking } from './numbers.js';

/** Few seeds give bands as wide as a house: the axis follows the means, and bands are cut where it ends. */
const around = (means: number[], ofShares: boolean): [number, number] => {
  const [low, high] = [Math.min(...means), Math.max(...means)];
  if (!ofShares) return [low - 0.25 * (high - low || 1), high + 0.25 * (high - low || 1)];
  const margin = Math.max(0.02, 0.25 * (high - low));
  return [Math.max(0, low - margin), Math.min(1, high + margin)];
};

const MOST_COLOURED = 5;
const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const inWords = (metric: string, { fraction, mean }: { fraction: number; mean: number }) =>
  `on ${share(String(fraction))}: ${said(metric, mean)}`;

interface Point {
  combo: string;
  /** Label fraction. */
  fraction: number;
  mean: number;
  low: number;
  high: number;
  n: number;
}

/** Curves of a figure of label efficiency, all by their points. */
interface Efficiency {
  fractions: string[];
  /** The best combinations at the smallest fraction, each with a colour of its own. */
  coloured: SweepTable['rows'];
  best: Point[];
  others: Point[];
  othersCount: number;
  /** The same networks without pretraining. */
  controls: Point[];
}

const pointsOf = (combo: string, estimates: Record<string, Estimate>): Point[] =>
  Object.entries(estimates).map(([fraction, estimate]) => {
    const [low, high] = within(estimate);
    return { combo, fraction: Number(fraction), mean: estimate.mean, low, high, n: estimate.n };
  });

function efficiencyOf(rows: SweepTable['rows'], goal: Ranking['goal']): Efficiency | undefined {
  const fractions = [...new Set(rows.flatMap((row) => Object.keys(row.accuracy)))].sort(
    (a, b) => Number(a) - Number(b),
  );
  if (fractions.length === 0) return undefined;
  const sign = goal === 'maximize' ? 1 : -1;
  const ranked = [...rows]
    .filter((row) => row.accuracy[fractions[0]!])
    .sort((a, b) => sign * (b.accuracy[fractions[0]!]!.mean - a.accuracy[fractions[0]!]!.mean));
  const coloured = ranked.slice(0, MOST_COLOURED);
  // Combinations of one architecture share their control.
  const controls = [
    ...new Map(
      rows.filter((row) => Object.keys(row.scratch).length).map((row) => [JSON.stringify(row.scratch), row]),
    ).values(),
  ];
  return {
    fractions,
    coloured,
    best: coloured.flatMap((row) => pointsOf(row.combo, row.accuracy)),
    others: ranked.slice(MOST_COLOURED).flatMap((row) => pointsOf(row.combo, row.accuracy)),
    othersCount: ranked.length - coloured.length,
    controls: controls
      .slice(0, 3)
      .flatMap((row, i) => pointsOf(i === 0 ? 'from scratch' : `from scratch (${row.combo})`, row.scratch)),
  };
}

/**
 * The metric of a sweep over the labels that were used, with 95 % bands where there are seeds, against the same network
 * without pretraining.
 */
export function LabelEfficiency({
  rows,
  ranking,
  name,
  linkOf,
}: {
  rows: SweepTable['rows'];
  ranking: Ranking;
  name: string;
  /** Where the trials of a combination are listed. */
  linkOf: (combo: string) => string | undefined;
}) {
  const efficiency = efficiencyOf(rows, ranking.goal);
  if (!efficiency) return null;
  const { best, others, controls } = efficiency;
  return (
    <Figure
      title="Which views need the fewest labels"
      name={`${name}-label-efficiency`}
      data={[best, controls, others.length]}
      caption={<Key efficiency={efficiency} />}
      description={
        `${capital(metricWord(ranking.name))} by label fraction. ` +
        `${best.map((point) => `${point.combo} ${inWords(ranking.name, point)}`).join('; ')}. ` +
        controls.map((point) => `From scratch ${inWords(ranking.name, point)}`).join('; ')
      }
      rows={() => [
        ['combination', 'label fraction', metricWord(ranking.name), 'low', 'high', 'n'],
        ...[...best, ...others, ...controls].map((d) => [d.combo, d.fraction, d.mean, d.low, d.high, d.n]),
      ]}
      axis="y"
      draw={(width) => plotOf(efficiency, ranking.name, width, linkOf)}
    />
  );
}

const Key = ({ efficiency: { coloured, best, controls, others, othersCount } }: { efficiency: Efficiency }) => (
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
        {othersCount} more
      </span>
    )}
    <span className="dim">
      {best.some(isDrawn)
        ? `bands: 95 % intervals, where there are ${LEAST_SEEDS} seeds or more`
        : `95 % intervals are drawn from ${LEAST_SEEDS} seeds on`}
    </span>
  </span>
);

function plotOf(
  { fractions, coloured, best, others, controls }: Efficiency,
  metric: string,
  width: number,
  linkOf: (combo: string) => string | undefined,
): Plot.PlotOptions {
  const links = leading([...best, ...others], ({ combo }) => linkOf(combo));
  const colours = new Map(coloured.map(({ combo }, i) => [combo, colourOf(i)]));
  const stroke = (d: Point) => colours.get(d.combo) ?? 'currentColor';
  const ofShares = isShare(metric);
  const ends = around(
    [...best, ...others, ...controls].map(({ mean }) => mean),
    ofShares,
  );
  return {
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
      label: `↑ ${metricWord(metric)}`,
      ...ticksOf(metric),
      grid: true,
      domain: ofShares ? ends.map((value) => 100 * value) : ends,
    },
    marks: [
      Plot.line(others, {
        x: 'fraction',
        y: 'mean',
        z: 'combo',
        stroke: 'currentColor',
        strokeOpacity: 0.18,
        ...links,
      }),
      bandOf(best.filter(isDrawn), stroke, 0.12),
      bandOf(controls.filter(isDrawn), 'currentColor', 0.08),
      Plot.line(controls, {
        x: 'fraction',
        y: 'mean',
        z: 'combo',
        stroke: 'currentColor',
        strokeDasharray: '5 4',
        strokeWidth: 1.75,
      }),
      Plot.dot(controls, { x: 'fraction', y: 'mean', stroke: 'currentColor', fill: 'currentColor', r: 3 }),
      Plot.line(best, { x: 'fraction', y: 'mean', z: 'combo', stroke, strokeWidth: 2, ...links }),
      Plot.dot(best, { x: 'fraction', y: 'mean', fill: stroke, r: 4, ...links }),
      Plot.tip(
        [...best, ...controls],
        Plot.pointer({
          x: 'fraction',
          y: 'mean',
          title: (d: Point) =>
            `${d.combo}\n${said(metric, d.mean)} on ${share(String(d.fraction))} of the ` +
            `labels${d.high > d.low ? `\n95 %: ${said(metric, d.low)} to ${said(metric, d.high)}` : ''}`,
          fill: 'var(--panel)',
        }),
      ),
    ],
  };
}

/** Bands of 95 %, cut where the axis of the metric ends. */
const bandOf = (points: Point[], fill: Plot.ChannelValueSpec, fillOpacity: number) =>
  Plot.areaY(points, { x: 'fraction', y1: 'low', y2: 'high', z: 'combo', fill, fillOpacity, clip: true });
