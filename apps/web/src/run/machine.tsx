import { isTerminal, shortNumber, USAGE_METRICS, type RunDetail } from '#libs/contracts';
import { CurveChart } from '../charts/curve-chart.js';
import type { CurveSettings } from '../charts/curve-plot.js';
import { takeovers, type Series } from '../charts/series.js';
import type { RunState } from '../data/run-feed.js';
import { colourOf } from '../ui/colours.js';
import { Panel, Table } from '../ui/panel.js';
import { Empty, Skeleton } from '../ui/states.js';

/** What is read every ten seconds says nothing of steps, and is shown as it was read. */
const OVER_TIME: CurveSettings = { smoothing: 0, log: false, axis: 'time' };

/** What the trainer of a run uses, or used, of its machine. */
export function Machine({ state: { curves, version, loaded }, run }: { state: RunState; run: RunDetail }) {
  const used = Object.entries(USAGE_METRICS).flatMap(([key, words]): [string, Series][] => {
    const series = curves.get(key);
    return series ? [[words, series]] : [];
  });
  if (!loaded) return <Skeleton />;
  if (used.length === 0)
    return (
      <Panel>
        <Empty title="Nobody has seen what this run uses.">
          <p>
            {isTerminal(run.status)
              ? 'Workers on Linux read it while a run trains.'
              : 'It is read as soon as it trains, on Linux.'}
          </p>
        </Empty>
      </Panel>
    );
  const marks = takeovers(run.attempts);
  return (
    <Panel>
      <Table
        caption="Use of the machine"
        empty=""
        head={['', 'last', 'mean', 'highest']}
        keys={used.map(([words]) => words)}
        rows={used.map(([words, { values }]) => [
          words,
          shortNumber(values.at(-1)!),
          shortNumber(values.reduce((sum, value) => sum + value, 0) / values.length),
          shortNumber(Math.max(...values)),
        ])}
      />
      <div className="charts">
        {used
          .filter(([, { values }]) => values.length > 1)
          .map(([words, series], i) => (
            <CurveChart
              key={words}
              title={words}
              lines={[{ label: words, colour: colourOf(i), series }]}
              settings={OVER_TIME}
              marks={marks}
              version={version}
              group={`machine of ${run.id}`}
            />
          ))}
      </div>
    </Panel>
  );
}
