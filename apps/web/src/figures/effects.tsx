import type { SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { percent, within } from './numbers.js';

/** What each augmentation adds to the others: all together against all but it, paired by labels and seeds. */
export function Effects({ effects, measure, name }: { effects: SweepTable['effects']; measure: string; name: string }) {
  if (effects.length === 0) return null;
  const points = effects.map(({ name: each, effect }) => ({
    each,
    mean: effect.mean,
    low: within(effect)[0],
    high: within(effect)[1],
    n: effect.n,
  }));
  return (
    <Figure
      title="What each view adds"
      name={`${name}-effects`}
      data={points}
      caption={
        <>All together against all but one, in points of {measure}, with 95 % intervals where there are seeds.</>
      }
      description={
        `What each augmentation adds to ${measure}: ` +
        `${points.map(({ each, mean }) => `${each} ${percent(mean)}`).join(', ')}`
      }
      rows={() => [
        ['augmentation', 'effect', 'low', 'high', 'n'],
        ...points.map((d) => [d.each, d.mean, d.low, d.high, d.n]),
      ]}
      draw={() => ({
        height: 60 + 34 * points.length,
        marginLeft: 96,
        x: { percent: true, grid: true, label: `points of ${measure} →` },
        y: { label: null, tickSize: 0 },
        marks: [
          Plot.barX(points, {
            x: 'mean',
            y: 'each',
            fill: (d: (typeof points)[number]) => (d.mean >= 0 ? colourOf(2) : colourOf(3)),
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
          }),
          Plot.ruleY(points, { x1: 'low', x2: 'high', y: 'each', stroke: 'currentColor', strokeWidth: 1.5 }),
          Plot.ruleX([0], { stroke: 'currentColor' }),
        ],
      })}
    />
  );
}
