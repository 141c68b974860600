import type { SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { isDrawn, percent, signOf, within } from './numbers.js';

/** Colour of a gain, of a loss, and of what may be either. */
const TONES = { '1': colourOf(2), '-1': colourOf(3), '0': colourOf(8) };

/** What each augmentation adds to the others: all together against all but it, paired by labels and seeds. */
export function Effects({ effects, measure, name }: { effects: SweepTable['effects']; measure: string; name: string }) {
  if (effects.length === 0) return null;
  const points = effects.map(({ name: each, effect }) => ({
    each,
    mean: effect.mean,
    low: within(effect)[0],
    high: within(effect)[1],
    n: effect.n,
    tone: TONES[signOf(effect)],
  }));
  return (
    <Figure
      title="What each view adds"
      name={`${name}-effects`}
      data={points}
      caption={
        <>
          All together against all but one, in points of {measure}: a gain is green and a loss red where the 95 %
          interval does not hold 0, else nobody can tell and the bar is grey. Lines are the intervals, drawn from three
          seeds on.
        </>
      }
      description={
        `What each augmentation adds to ${measure}: ` +
        points
          .map(({ each, mean, tone }) => `${each} ${percent(mean)}${tone === TONES['0'] ? ' (may be none)' : ''}`)
          .join(', ')
      }
      rows={() => [
        ['augmentation', 'effect', 'low', 'high', 'n'],
        ...points.map((d) => [d.each, d.mean, d.low, d.high, d.n]),
      ]}
      axis="x"
      draw={() => ({
        height: 60 + 34 * points.length,
        marginLeft: 96,
        x: { percent: true, grid: true, label: `points of ${measure} →` },
        y: { label: null, tickSize: 0 },
        marks: [
          Plot.barX(points, {
            x: 'mean',
            y: 'each',
            fill: 'tone',
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
          }),
          Plot.ruleY(points.filter(isDrawn), {
            x1: 'low',
            x2: 'high',
            y: 'each',
            stroke: 'currentColor',
            strokeWidth: 1.5,
          }),
          Plot.ruleX([0], { stroke: 'currentColor' }),
        ],
      })}
    />
  );
}
