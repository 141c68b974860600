import { shortNumber, type SweepRungs } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';

const DECISIONS = {
  promoted: ['let on', colourOf(0)],
  waiting: ['waits', colourOf(1)],
  stopped: ['stopped', colourOf(3)],
} as const;

/** Early stopping: each pretraining from rung to rung, with what it was worth there and what was made of it. */
export function Rungs({
  rungs: { runs, metric, goal, policy },
  labelOf,
  name,
}: {
  rungs: SweepRungs;
  labelOf: (trials: readonly number[]) => string;
  name: string;
}) {
  const points = runs.flatMap(({ runId, trials, reached }) =>
    reached.map(({ step, value, decision }) => ({
      run: runId,
      label: labelOf(trials),
      trials: trials.join(' '),
      step,
      value,
      decision,
    })),
  );
  if (points.length === 0) return null;
  const count = (decision: keyof typeof DECISIONS) =>
    runs.filter(({ reached }) => reached.at(-1)?.decision === decision).length;
  const steps = [...new Set(points.map(({ step }) => step))].sort((a, b) => a - b);
  type Point = (typeof points)[number];
  const colour = (d: Point) => DECISIONS[d.decision][1];
  const better = goal === 'maximize' ? 'higher' : 'lower';
  return (
    <Figure
      title={policy === 'median' ? 'Who was stopped' : 'Rungs'}
      name={`${name}-rungs`}
      data={points}
      caption={
        <span className="legends">
          {(['promoted', 'waiting', 'stopped'] as const).map((each) => (
            <span key={each} className="legend">
              <i style={{ background: DECISIONS[each][1] }} />
              {DECISIONS[each][0]} ({count(each)})
            </span>
          ))}
          <span>
            {policy === 'median'
              ? `Stopped where the best so far is worse than the median of the others, by ${metric}.`
              : `At each rung the best by ${metric} are let on (${better} is better).`}
          </span>
        </span>
      }
      description={
        `Early stopping by ${metric}: ${count('promoted')} let on, ${count('waiting')} waiting, ${count('stopped')} ` +
        `stopped, at steps ${steps.join(', ')}`
      }
      rows={() => [
        ['run', 'trials', 'step', metric, 'decision'],
        ...points.map((d) => [d.run, d.trials, d.step, d.value, d.decision]),
      ]}
      draw={() => ({
        height: 320,
        marginLeft: 52,
        marginRight: 20,
        x: {
          label: 'step →',
          ...(policy !== 'median' && { ticks: steps }),
          inset: 16,
          tickFormat: (d: number) => shortNumber(d),
        },
        y: { label: `↑ ${metric}`, grid: true, tickFormat: (d: number) => shortNumber(d) },
        marks: [
          Plot.line(points, { x: 'step', y: 'value', z: 'run', stroke: 'currentColor', strokeOpacity: 0.25 }),
          Plot.dot(points, {
            x: 'step',
            y: 'value',
            fill: colour,
            stroke: colour,
            symbol: (d: Point) => (d.decision === 'stopped' ? 'times' : 'circle'),
            r: 4,
            strokeWidth: 1.5,
          }),
          Plot.tip(
            points,
            Plot.pointer({
              x: 'step',
              y: 'value',
              title: (d: Point) => `${d.label}\n${shortNumber(d.value)} at step ${d.step}: ${DECISIONS[d.decision][0]}`,
              fill: 'var(--panel)',
            }),
          ),
        ],
      })}
    />
  );
}
