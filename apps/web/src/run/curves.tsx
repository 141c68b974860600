import { isTerminal, isUsage, shortNumber, type RunDetail } from '#libs/contracts';
import { CurveChart } from '../charts/curve-chart.js';
import { CurveControls, settingsFrom, settingsTo } from '../charts/curve-controls.js';
import { grouped, stepsOfEpoch, takeovers } from '../charts/series.js';
import type { RunState } from '../data/run-feed.js';
import { useRoute } from '../route.js';
import { colourOf } from '../ui/colours.js';
import { Panel, Table } from '../ui/panel.js';
import { Empty, Skeleton } from '../ui/states.js';
import { CollapseMeter } from './collapse-meter.js';

export function Curves({ state: { curves: all, version, loaded }, run }: { state: RunState; run: RunDetail }) {
  const { query, change } = useRoute();
  const perEpoch = stepsOfEpoch(run);
  const asked = settingsFrom(query);
  const settings = asked.axis === 'epoch' && perEpoch === undefined ? { ...asked, axis: 'step' as const } : asked;
  const marks = takeovers(run.attempts);
  const curves = new Map([...all].filter(([key]) => !isUsage(key)));
  const drawn = [...curves].filter(([, { steps }]) => steps.length > 1).map(([key]) => key);
  const single = [...curves].filter(([key, { steps }]) => steps.length === 1 && run.result?.metrics[key] === undefined);
  if (!loaded) return <Skeleton />;
  if (drawn.length === 0 && single.length === 0)
    return run.result ? null : (
      <Panel>
        <Empty title={isTerminal(run.status) ? 'This run has left no curves.' : 'No curves yet.'}>
          <p>They appear as soon as it trains.</p>
        </Empty>
      </Panel>
    );
  return (
    <Panel>
      {drawn.length > 0 && (
        <CurveControls
          settings={settings}
          epochs={perEpoch !== undefined}
          onChange={(next) => change(settingsTo(next))}
        />
      )}
      {grouped(drawn).map(([group, keys], g) => (
        <section key={group} className="group">
          <h2>{group === 'Training' && keys.length > 2 ? 'Loss and its terms' : group}</h2>
          {group === 'Collapse' && (
            <CollapseMeter
              spread={curves.get('eval/feature_spread')?.values.at(-1)}
              limit={run.spec.kind === 'pretrain' ? run.spec.collapseBelow : null}
              rank={curves.get('eval/rank')?.values.at(-1)}
            />
          )}
          <div className="charts">
            {keys.map((key, i) => (
              <CurveChart
                key={key}
                title={key}
                lines={[{ label: key, colour: colourOf(g + i), series: curves.get(key)! }]}
                settings={key === 'train/learning_rate' ? { ...settings, smoothing: 0 } : settings}
                marks={marks}
                perEpoch={perEpoch}
                version={version}
                group={run.id}
              />
            ))}
          </div>
        </section>
      ))}
      {single.length > 0 && (
        <Table
          caption="Single values"
          empty=""
          head={['metric', 'value']}
          keys={single.map(([key]) => key)}
          rows={single.map(([key, { values }]) => [key, shortNumber(values[0]!)])}
        />
      )}
    </Panel>
  );
}
