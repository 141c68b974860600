import { isShare, type SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { LeadingWords } from './leading-words.js';
import { isDrawn, said, signOf, ticksOf, within, type Ranking } from './numbers.js';

/** Colour of a gain, of a loss, and of what may be either. */
const TONES = { '1': colourOf(2), '-1': colourOf(3), '0': colourOf(8) };

/** What each augmentation adds to the others: all together against all but it, paired by labels and seeds. */
export function Effects({
  effects,
  measure,
  goal,
  name,
  linkOf,
}: {
  effects: SweepTable['effects'];
  measure: string;
  goal: Ranking['goal'];
  name: string;
  /** Where the trials with an augmentation are listed. */
  linkOf: (augmentation: string) => string | undefined;
}) {
  if (effects.length === 0) return null;
  const points = effects.map(({ name: each, effect }) => ({
    each,
    mean: effect.mean,
    low: within(effect)[0],
    high: within(effect)[1],
    n: effect.n,
    tone: TONES[signOf(effect, goal)],
  }));
  const ofShares = isShare(measure);
  const unit = ofShares ? `points of ${measure}` : measure;
  return (
    <Figure
      title="What each view adds"
      name={`${name}-effects`}
      data={points}
      caption={
        <>
          All together against all but one, in {unit}
          {goal === 'minimize' && ', of which less is better'}: a gain is green and a loss red where the 95 % interval
          does not hold 0, else nobody can tell and the bar is grey. Lines are the intervals, from three seeds on.{' '}
          <LeadingWords before="Trials with" words={effects.map((effect) => effect.name)} linkOf={linkOf} />
        </>
      }
      description={
        `What each augmentation adds to ${measure}: ` +
        points
          .map(({ each, mean, tone }) => `${each} ${said(measure, mean)}${tone === TONES['0'] ? ' (may be none)' : ''}`)
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
        x: { ...ticksOf(measure), grid: true, label: `${unit} →` },
        y: { label: null, tickSize: 0 },
        marks: [
          // The whole row leads there: a bar may be too short to be met.
          Plot.cellY(points, { y: 'each', fill: 'transparent', href: ({ each }: { each: string }) => linkOf(each) }),
          Plot.barX(points, {
            x: 'mean',
            y: 'each',
            fill: 'tone',
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
            pointerEvents: 'none',
          }),
          Plot.ruleY(points.filter(isDrawn), {
            x1: 'low',
            x2: 'high',
            y: 'each',
            stroke: 'currentColor',
            strokeWidth: 1.5,
            pointerEvents: 'none',
          }),
          Plot.ruleX([0], { stroke: 'currentColor', pointerEvents: 'none' }),
        ],
      })}
    />
  );
}
