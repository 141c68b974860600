import { useState } from 'react';
import { CurveChart } from '../charts/curve-chart.js';
import { CurveControls, settingsFrom, settingsTo } from '../charts/curve-controls.js';
import { client, useLive } from '../data/queries.js';
import { diffSpecs, isUsage, runLabel, type RunDetail, shortNumber } from '#libs/contracts';
import { link, listOf, toggled, useRoute } from '../route.js';
import { grouped, seriesOf, type Series } from '../charts/series.js';
import { csv } from '../figures/csv.js';
import { USUAL_METRICS } from '../figures/numbers.js';
import { colourOf } from '../ui/colours.js';
import { Empty, Loaded } from '../ui/states.js';
import { isLive, RunLink, Status } from '../ui/run-status.js';
import { Menu } from '../ui/controls.js';
import { Panel, Table } from '../ui/panel.js';
import { save } from '../ui/hand-out.js';

const MOST_RUNS = 20;

/** A run with its curves by metric. */
interface Compared {
  run: RunDetail;
  curves: Map<string, Series>;
}

/** At most 20 runs on the same charts, with what tells their specs apart. */
export function ComparePage() {
  const ids = listOf(useRoute().query['runs']).slice(0, MOST_RUNS);
  const data = useLive(
    ['compare', ids.join()],
    () =>
      Promise.all(
        ids.map(async (id): Promise<Compared> => {
          const [run, metrics] = await Promise.all([client.run(id), client.metrics(id, { points: 500 })]);
          const trained = metrics.filter(({ key }) => !isUsage(key));
          return { run, curves: new Map(trained.map(({ key, points }) => [key, seriesOf(points)])) };
        }),
      ),
    { live: (runs) => runs.some(({ run }) => isLive(run)) },
  );
  if (ids.length === 0)
    return (
      <>
        <h1>Compare</h1>
        <Empty title="No runs are chosen.">
          <p>
            Choose some in <a href={link('runs')}>the list of runs</a>.
          </p>
        </Empty>
      </>
    );
  return (
    <>
      <h1>Compare {ids.length} runs</h1>
      <Loaded query={data}>
        {(runs) => (
          <>
            <ComparedCurves runs={runs} version={data.dataUpdatedAt} />
            <ComparedResults runs={runs} />
            <ComparedSpecs runs={runs} />
          </>
        )}
      </Loaded>
    </>
  );
}

/** Links to the runs, each with the colour of its curves. */
const headsOf = (runs: readonly Compared[]) =>
  runs.map(({ run }, i) => (
    <span key={run.id} className="legend">
      <i style={{ background: colourOf(i) }} />
      <RunLink run={run} />
    </span>
  ));

function ComparedCurves({ runs, version }: { runs: readonly Compared[]; version: number }) {
  const { query, change } = useRoute();
  const asked = settingsFrom(query);
  // Epochs of several runs have different lengths.
  const settings = asked.axis === 'epoch' ? { ...asked, axis: 'step' as const } : asked;
  const keys = [...new Set(runs.flatMap(({ curves }) => [...curves.keys()]))].filter((key) =>
    runs.some(({ curves }) => (curves.get(key)?.steps.length ?? 0) > 1),
  );
  const usual = ['train/loss', ...USUAL_METRICS].filter((key) => keys.includes(key));
  const wanted = [listOf(query['metrics']), usual].find(({ length }) => length > 0) ?? keys.slice(0, 4);
  const shown = keys.filter((key) => wanted.includes(key));
  const hidden = listOf(query['hide']);
  return (
    <Panel title="Curves" aside={<CurveControls settings={settings} onChange={(next) => change(settingsTo(next))} />}>
      <p className="legends">
        {headsOf(runs).map((head, i) => (
          <span key={i}>
            <input
              type="checkbox"
              aria-label={`Show ${runLabel(runs[i]!.run)}`}
              checked={!hidden.includes(runs[i]!.run.id)}
              onChange={() => change({ hide: toggled(hidden, runs[i]!.run.id).join() })}
            />{' '}
            {head} <Status status={runs[i]!.run.status} />
          </span>
        ))}
      </p>
      <Menu
        title={
          <>
            Metrics ({shown.length} of {keys.length})
          </>
        }
        name="Metrics"
        options={grouped(keys)
          .flatMap(([, group]) => group)
          .map((key) => ({ id: key, label: key }))}
        chosen={shown}
        onToggle={(key) => change({ metrics: toggled(shown, key).join() })}
      />
      {shown.length === 0 ? (
        <Empty title="These runs have no curves yet." />
      ) : (
        <div className="charts">
          {shown.map((key) => (
            <CurveChart
              key={key}
              title={key}
              settings={settings}
              group="compare"
              height={260}
              version={version}
              lines={runs.flatMap(({ run, curves }, i) => {
                const series = curves.get(key);
                return series && !hidden.includes(run.id)
                  ? [{ label: runLabel(run), colour: colourOf(i), series }]
                  : [];
              })}
            />
          ))}
        </div>
      )}
    </Panel>
  );
}

function ComparedResults({ runs }: { runs: readonly Compared[] }) {
  const results = [...new Set(runs.flatMap(({ run }) => Object.keys(run.result?.metrics ?? {})))];
  const table = () =>
    csv([
      ['metric', ...runs.map(({ run }) => runLabel(run))],
      ...results.map((key) => [key, ...runs.map(({ run }) => run.result?.metrics[key])]),
    ]);
  return (
    <Panel
      title="Results"
      aside={
        <button className="quiet" onClick={() => save('compare.csv', table(), 'text/csv')}>
          CSV
        </button>
      }
    >
      <Table
        caption="Results"
        empty="None of them has a result yet."
        head={['metric', ...headsOf(runs)]}
        keys={results}
        rows={results.map((key) => [
          key,
          ...runs.map(({ run }) => {
            const value = run.result?.metrics[key];
            return value === undefined ? '–' : shortNumber(value);
          }),
        ])}
      />
    </Panel>
  );
}

function ComparedSpecs({ runs }: { runs: readonly Compared[] }) {
  const [all, setAll] = useState(false);
  const diff = diffSpecs(runs.map(({ run }) => run.spec));
  const rows = all ? diff : diff.filter(({ differs }) => differs);
  return (
    <Panel
      title="Specs"
      aside={
        <label>
          <input type="checkbox" checked={all} onChange={({ target }) => setAll(target.checked)} /> also what is the
          same
        </label>
      }
    >
      <Table
        caption="Specs"
        empty="Their specs are the same."
        head={['field', ...headsOf(runs)]}
        keys={rows.map(({ path }) => path)}
        rows={rows.map(({ path, values, differs }) => [
          <code key={path} className={differs ? 'differs' : ''}>
            {path}
          </code>,
          ...values.map((value, i) =>
            value === undefined ? (
              <span key={i} className="dim">
                –
              </span>
            ) : (
              <code key={i}>{value}</code>
            ),
          ),
        ])}
      />
    </Panel>
  );
}
