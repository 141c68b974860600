import type { Estimate, SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { percent, share, within } from './numbers.js';

/** Two seeds give bands as wide as a house: the axis follows the means, and bands are cut where it ends. */
const around = (means: number[]): [number, number] => {
  const [low, high] = [Math.min(...means), Math.max(...means)];
  const margin = Math.max(0.02, 0.25 * (high - low));
  return [Math.max(0, low - margin), Math.min(1, high + margin)];
};

const MOST_COLOURED = 5;

const inWords = ({ fraction, mean }: { fraction: number; mean: number }) =>
  `on ${share(String(fraction))}: ${percent(mean)}`;

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
        `${best.map((point) => `${point.combo} ${inWords(point)}`).join('; ')}. ` +
        controls.map((point) => `From scratch ${inWords(point)}`).join('; ')
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
