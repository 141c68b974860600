import { shortestPaths, type SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { percent } from './numbers.js';

/** Room for a letter of an axis, in pixels. */
const LETTER = 7;

/** How much the result depends on each parameter that was varied. */
export function Importance({
  importance,
  measure,
  name,
}: {
  importance: SweepTable['importance'];
  measure: string;
  name: string;
}) {
  if (importance.length === 0) return null;
  const paths = importance.map(({ parameter }) => parameter);
  const short = new Map(shortestPaths(paths).map((label, i) => [paths[i]!, label]));
  const longest = Math.max(...[...short.values()].map(({ length }) => length));
  return (
    <Figure
      title="What matters"
      name={`${name}-importance`}
      data={importance}
      caption={
        <>
          Permutation importance of what was varied in a random forest over the trials, in % of the variance of{' '}
          {measure} (above 100 % where the forest without it is worse than the mean).
        </>
      }
      description={
        `Importance for ${measure}: ` +
        `${importance.map(({ parameter, importance: part }) => `${parameter} ${percent(part, 0)}`).join(', ')}`
      }
      rows={() => [
        ['parameter', 'importance'],
        ...importance.map(({ parameter, importance: part }) => [parameter, part]),
      ]}
      axis="x"
      draw={(width) => ({
        height: 60 + 34 * importance.length,
        marginLeft: Math.min(width / 2, 16 + LETTER * longest),
        x: { percent: true, grid: true, label: '% of the variance →' },
        y: { label: null, tickSize: 0, tickFormat: (parameter: string) => short.get(parameter)! },
        marks: [
          Plot.barX(importance, {
            x: 'importance',
            y: 'parameter',
            fill: colourOf(0),
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
          }),
          Plot.ruleX([0], { stroke: 'currentColor' }),
        ],
      })}
    />
  );
}
