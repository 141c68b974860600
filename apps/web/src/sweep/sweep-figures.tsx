import { metricOf, type Run, type SweepDetail, type SweepTable } from '#libs/contracts';
import { CompositionMap } from '../figures/composition-map.js';
import { Effects } from '../figures/effects.js';
import { Importance } from '../figures/importance.js';
import { LabelEfficiency } from '../figures/label-efficiency.js';
import { ParallelCoordinates, type TrialPoint } from '../figures/parallel-coordinates.js';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';
import { Empty } from '../ui/states.js';
import { ResultTable } from './result-table.js';
import { Views } from './views.js';

export function Figures({ sweep, table, runs }: { sweep: SweepDetail; table: SweepTable; runs: Run[] }) {
  const results = new Map(runs.map((run) => [run.id, run.result?.metrics ?? {}]));
  const trials = sweep.trials.map(({ index, parameters, runs: own }): TrialPoint => ({
    index,
    parameters,
    metrics: Object.assign(
      {},
      ...own
        .filter(({ control }) => !control)
        .map(({ runId }) =>
          Object.fromEntries(Object.entries(results.get(runId) ?? {}).filter(([key]) => key.startsWith('eval/'))),
        ),
    ) as Record<string, number>,
  }));
  const nothing = table.rows.every(
    (row) => row.knn === null && row.probe === null && Object.keys(row.accuracy).length === 0,
  );
  if (nothing)
    return (
      <>
        <Panel>
          <Empty
            title={sweep.status === 'running' ? 'Nothing has finished yet.' : 'No run of this sweep has left a result.'}
          >
            <p>
              {sweep.status === 'running' ? (
                'Figures appear with the first result and follow the rest.'
              ) : (
                <a href={link('runs', { sweep: sweep.id })}>See what happened to its runs</a>
              )}
            </p>
          </Empty>
        </Panel>
        <Views runs={runs} />
      </>
    );
  return (
    <>
      <div className="pair">
        {table.composition?.cells.some((row) => row.some((cell) => cell !== null)) && (
          <CompositionMap composition={table.composition} name={sweep.name} />
        )}
        <LabelEfficiency rows={table.rows} name={sweep.name} />
        <Effects effects={table.effects} measure={table.measure} name={sweep.name} />
        <Importance importance={table.importance} measure={table.measure} name={sweep.name} />
      </div>
      <ResultTable table={table} name={sweep.name} />
      <ParallelCoordinates
        trials={trials}
        metric={metricOf(sweep.spec).name}
        scales={sweep.spec.parameters}
        name={sweep.name}
      />
      <Views runs={runs} />
    </>
  );
}
