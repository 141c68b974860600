import { shortNumber, type SweepRungs } from '#libs/contracts';
import * as Plot from '@observablehq/plot';
import { link } from '../route.js';
import { colourOf } from '../ui/colours.js';
import { Figure } from './figure.js';

const DECISIONS = {
  promoted: ['let on', colourOf(0)],
  waiting: ['waits', colourOf(1)],
  stopped: ['stopped', colourOf(3)],
} as const;

/** What a pretraining reached at one rung, and the decision on it there. */
interface Point {
  run: string;
  label: string;
  trials: string;
  step: number;
  value: number;
  decision: keyof typeof DECISIONS;
}

/** Early stopping: each pretraining from rung to rung, with its metric and the decision at each. */
export function Rungs({
  rungs: { runs, metric, goal, policy },
  labelOf,
  name,
}: {
  rungs: SweepRungs;
  labelOf: (trials: readonly number[]) => string;
  name: string;
}) {
  const points: Point[] = runs.flatMap(({ runId, trials, reached }) =>
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
      axis="y"
      draw={() => plotOf(points, metric, policy === 'median' ? undefined : steps)}
    />
  );
}

/** `ticks`: steps that are marked on the axis; chosen by Plot where there are none. */
function plotOf(points: Point[], metric: string, ticks: number[] | undefined): Plot.PlotOptions {
  const colour = (d: Point) => DECISIONS[d.decision][1];
  return {
    height: 320,
    marginLeft: 52,
    marginRight: 20,
    x: {
      label: 'step →',
      ...(ticks && { ticks }),
      inset: 16,
      tickFormat: (d: number) => shortNumber(d),
    },
    y: { label: `↑ ${metric}`, grid: true, tickFormat: (d: number) => shortNumber(d) },
    marks: [
      Plot.line(points, {
        x: 'step',
        y: 'value',
        z: 'run',
        stroke: 'currentColor',
        strokeOpacity: 0.25,
        href: (d: Point) => link(`runs/${d.run}`),
      }),
      Plot.dot(points, {
        x: 'step',
        y: 'value',
        fill: colour,
        stroke: colour,
        symbol: (d: Point) => (d.decision === 'stopped' ? 'times' : 'circle'),
        r: 4,
        strokeWidth: 1.5,
        href: ({ run }: Point) => link(`runs/${run}`),
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
  };
}
