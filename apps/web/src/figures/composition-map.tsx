import type { Estimate, SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { Figure } from './figure.js';
import { areLevel, percent, share } from './numbers.js';

/** SimCLR's figure 5: how good each augmentation is with each, alone on the diagonal. */
export function CompositionMap({
  composition: { names, measure, branches, cells },
  name,
  linkOf,
}: {
  composition: NonNullable<SweepTable['composition']>;
  name: string;
  /** Where the trials of a cell are listed. */
  linkOf: (first: string, second: string) => string | undefined;
}) {
  const points = names.flatMap((first, i) =>
    names.map((second, j) => ({ first, second, estimate: cells[i]?.[j] ?? null })),
  );
  const known = points.filter((point): point is KnownCell => point.estimate !== null);
  const best = known.reduce<KnownCell | undefined>(
    (a, b) => (a && a.estimate.mean >= b.estimate.mean ? a : b),
    undefined,
  );
  // Each pair stands on both sides of the diagonal.
  const level = known.filter(
    ({ first, second, estimate }) =>
      best &&
      names.indexOf(first) <= names.indexOf(second) &&
      [first, second].sort().join() !== [best.first, best.second].sort().join() &&
      areLevel(estimate, best.estimate),
  ).length;
  const what = measure === 'kNN' ? 'kNN accuracy' : `accuracy on ${share(measure.split(' ')[1]!)} of the labels`;
  const pair = best && (best.first === best.second ? best.first : `${best.first} with ${best.second}`);
  return (
    <Figure
      title="Which views go together"
      name={`${name}-composition`}
      data={[names, cells]}
      caption={
        <>
          Each augmentation with each, alone on the diagonal
          {branches === 'one' && ', rows and columns both of one view (the other has what all have, and no more)'}:{' '}
          {what}.
          {best && (
            <>
              {' '}
              {level > 0 ? 'Highest' : 'Best'}: <b>{pair}</b>, {percent(best.estimate.mean)}
              {level > 0 && `, which ${level} ${level === 1 ? 'other is' : 'others are'} level with`}.
            </>
          )}{' '}
          {known.length < points.length && `${points.length - known.length} cells are still to come.`}
        </>
      }
      description={
        `Heat map of ${what} for ` +
        names.join(', ') +
        (branches === 'one' ? ', rows and columns both of one of the two views' : '') +
        (best ? `; the ${level > 0 ? 'highest' : 'best'} is ${pair} with ${percent(best.estimate.mean)}` : '')
      }
      rows={() => [['', ...names], ...names.map((each, i) => [each, ...cells[i]!.map((cell) => cell?.mean)])]}
      axis="color"
      draw={(width) => plotOf(names, points, { known, best, linkOf }, width)}
    />
  );
}

interface Cell {
  first: string;
  second: string;
}
interface KnownCell extends Cell {
  estimate: Estimate;
}

function plotOf(
  names: string[],
  points: Cell[],
  {
    known,
    best,
    linkOf,
  }: {
    known: KnownCell[];
    best: KnownCell | undefined;
    linkOf: (first: string, second: string) => string | undefined;
  },
  width: number,
): Plot.PlotOptions {
  const values = known.map(({ estimate }) => estimate.mean);
  const [low, high] = [Math.min(...values), Math.max(...values)];
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
        fill: (d: KnownCell) => d.estimate.mean,
        rx: 4,
        href: ({ first, second }: KnownCell) => linkOf(first, second),
        tip: { format: { x: false, y: false, fill: false } },
        title: ({ first, second, estimate: { mean, ci95, n } }: KnownCell) =>
          `${first === second ? `${first} alone` : `${first} + ${second}`}\n` +
          `${percent(mean)}${ci95 === null ? '' : ` ± ${percent(ci95)}, half of the 95 % interval`}, n = ${n}`,
      }),
      Plot.text(known, {
        x: 'second',
        y: 'first',
        text: (d: KnownCell) => (100 * d.estimate.mean).toFixed(1),
        fill: (d: KnownCell) => ((d.estimate.mean - low) / (high - low || 1) < 0.45 ? 'white' : 'black'),
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
}
