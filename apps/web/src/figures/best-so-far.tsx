import { shortNumber } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { bestSoFar, type TrialPoint } from '../sweep/trial-points.js';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import type { Ranking } from './numbers.js';

/** How the best result grew with the time that trials took. */
export function BestSoFar({
  trials,
  ranking: { name: metric, goal },
  begun,
  name,
  linkOf,
}: {
  trials: readonly TrialPoint[];
  ranking: Ranking;
  /** When the sweep was submitted, in milliseconds. */
  begun: number;
  name: string;
  linkOf: (trial: number) => string | undefined;
}) {
  const ended = trials
    .flatMap(({ index, metrics, ended: at }) => {
      const value = metrics[metric];
      return value === undefined || at === undefined
        ? []
        : [{ index, value, minutes: Math.max(0, at - begun) / 60_000 }];
    })
    .sort((a, b) => a.minutes - b.minutes || a.index - b.index);
  if (ended.length < 2) return null;
  const best = bestSoFar(
    ended.map(({ value }) => value),
    goal,
  );
  const steps = ended.map((point, i) => ({ ...point, best: best[i]! }));
  return (
    <Figure
      title="Best so far"
      name={`${name}-best-so-far`}
      data={steps}
      caption={<>Each trial when it ended, and the line of the best {metric} until then.</>}
      description={
        `The best ${metric} over time: ${shortNumber(best[0]!)} after the first trial, ` +
        `${shortNumber(best.at(-1)!)} after all ${ended.length}`
      }
      rows={() => [
        ['trial', 'minutes', metric, 'best so far'],
        ...steps.map((d) => [d.index, d.minutes, d.value, d.best]),
      ]}
      axis="y"
      draw={() => ({
        height: 280,
        marginLeft: 52,
        marginBottom: 40,
        x: { label: 'minutes since it was submitted →', inset: 10 },
        y: { label: `↑ ${metric}`, grid: true, nice: true, tickFormat: (d: number) => shortNumber(d) },
        marks: [
          Plot.line(steps, { x: 'minutes', y: 'best', stroke: colourOf(2), strokeWidth: 2, curve: 'step-after' }),
          Plot.dot(steps, {
            x: 'minutes',
            y: 'value',
            fill: colourOf(0),
            fillOpacity: 0.75,
            r: 4,
            href: ({ index }: { index: number }) => linkOf(index),
            title: (d: { index: number; value: number }) => `trial ${d.index}\n${metric} ${shortNumber(d.value)}`,
          }),
        ],
      })}
    />
  );
}
