import { shortestPaths, type SweepTable } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';
import { LeadingWords } from './leading-words.js';
import { percent } from './numbers.js';

/** Room for a letter of an axis, in pixels. */
const LETTER = 7;

/** How much the result depends on each parameter that was varied. */
export function Importance({
  importance,
  measure,
  name,
  linkOf,
}: {
  importance: SweepTable['importance'];
  measure: string;
  name: string;
  /** Where the trials are listed in the order of a parameter. */
  linkOf: (parameter: string) => string | undefined;
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
          {measure} (above 100 % where the forest without it is worse than the mean).{' '}
          <LeadingWords
            before="Trials in the order of"
            words={paths}
            linkOf={linkOf}
            labelOf={(path) => short.get(path)!}
          />
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
          // The whole row leads there: a bar may be too short to be met.
          Plot.cellY(importance, {
            y: 'parameter',
            fill: 'transparent',
            href: ({ parameter }: { parameter: string }) => linkOf(parameter),
          }),
          Plot.barX(importance, {
            x: 'importance',
            y: 'parameter',
            fill: colourOf(0),
            sort: { y: '-x' },
            insetTop: 5,
            insetBottom: 5,
            rx: 3,
            pointerEvents: 'none',
          }),
          Plot.ruleX([0], { stroke: 'currentColor', pointerEvents: 'none' }),
        ],
      })}
    />
  );
}
