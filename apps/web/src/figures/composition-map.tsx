import { metricWord, type Estimate, type SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { Figure } from './figure.js';
import { leaderOf, leaderWord, said, share, type Ranking } from './numbers.js';

/** SimCLR's figure 5: how good each augmentation is with each, alone on the diagonal. */
export function CompositionMap({
  composition: { names, measure, branches, cells },
  ranking,
  name,
  linkOf,
}: {
  composition: NonNullable<SweepTable['composition']>;
  ranking: Ranking;
  name: string;
  /** Where the trials of a cell are listed. */
  linkOf: (first: string, second: string) => string | undefined;
}) {
  const points = names.flatMap((first, i) =>
    names.map((second, j) => ({ first, second, estimate: cells[i]?.[j] ?? null })),
  );
  const known = points.filter((point): point is KnownCell => point.estimate !== null);
  const ofKnn = measure === 'kNN';
  const metric = ofKnn ? 'eval/knn' : ranking.name;
  const leader = leaderOf(
    // Each pair stands on both sides of the diagonal.
    known.filter(({ first, second }) => names.indexOf(first) <= names.indexOf(second)),
    ofKnn ? 'maximize' : ranking.goal,
  );
  const what = ofKnn ? 'kNN accuracy' : `${metricWord(ranking.name)} on ${share(measure.split(' ')[1]!)} of the labels`;
  const missing = points.length - known.length;
  const best = leader && { ...leader, word: leaderWord(leader, ofKnn ? 'maximize' : ranking.goal, missing > 0) };
  const pair = best && (best.of.first === best.of.second ? best.of.first : `${best.of.first} with ${best.of.second}`);
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
              {best.word}: <b>{pair}</b>, {said(metric, best.of.estimate.mean)}
              {best.level > 0 && `, which ${best.level} ${best.level === 1 ? 'other is' : 'others are'} level with`}.
              {best.unknown && ' Where there is one seed, nobody can tell how much of it is chance.'}
            </>
          )}{' '}
          {missing > 0 && `${missing} cells are still to come.`}
        </>
      }
      description={
        `Heat map of ${what} for ` +
        names.join(', ') +
        (branches === 'one' ? ', rows and columns both of one of the two views' : '') +
        (best ? `; the ${best.word.toLowerCase()} is ${pair} with ${said(metric, best.of.estimate.mean)}` : '')
      }
      rows={() => [['', ...names], ...names.map((each, i) => [each, ...cells[i]!.map((cell) => cell?.mean)])]}
      axis="color"
      draw={(width) => plotOf(names, points, { known, best: best?.of, metric, linkOf }, width)}
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
    metric,
    linkOf,
  }: {
    known: KnownCell[];
    best: KnownCell | undefined;
    /** What the cells are of. */
    metric: string;
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
          `${said(metric, mean)}${ci95 === null ? '' : ` ± ${said(metric, ci95)}, half of the 95 % interval`}` +
          `, n = ${n}`,
      }),
      Plot.text(known, {
        x: 'second',
        y: 'first',
        text: (d: KnownCell) => said(metric, d.estimate.mean).replace(/ %$/, ''),
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
