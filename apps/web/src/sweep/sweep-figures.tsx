import type { Run, SweepDetail, SweepTable } from '#libs/contracts';
import { BestSoFar } from '../figures/best-so-far.js';
import { CompositionMap } from '../figures/composition-map.js';
import { Effects } from '../figures/effects.js';
import { Importance } from '../figures/importance.js';
import { LabelEfficiency } from '../figures/label-efficiency.js';
import { rankingOf } from '../figures/numbers.js';
import { ParallelCoordinates } from '../figures/parallel-coordinates.js';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';
import { Empty } from '../ui/states.js';
import { ResultTable } from './result-table.js';
import { Slices } from './slices.js';
import { linkToTrials, rowOfCell, trialPoints, trialsOfRow, trialsWith } from './trial-points.js';
import { Views } from './views.js';

export function Figures({ sweep, table, runs }: { sweep: SweepDetail; table: SweepTable; runs: Run[] }) {
  const nothing = table.rows.every(
    (row) => row.knn === null && row.probe === null && Object.keys(row.accuracy).length === 0,
  );
  return (
    <>
      {nothing ? <Nothing sweep={sweep} /> : <Results sweep={sweep} table={table} runs={runs} />}
      <Views runs={runs} />
    </>
  );
}

function Nothing({ sweep }: { sweep: SweepDetail }) {
  return (
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
  );
}

function Results({ sweep, table, runs }: { sweep: SweepDetail; table: SweepTable; runs: Run[] }) {
  const trials = trialPoints(sweep, runs);
  const { name, id, spec } = sweep;
  const ranking = rankingOf(spec);
  const metric = ranking.name;
  const linkTo = (some: readonly number[]) => linkToTrials(id, some);
  const linkToRow = (row: SweepTable['rows'][number] | undefined) => row && linkTo(trialsOfRow(row, trials));
  const shared = { trials, scales: spec.parameters, name };
  return (
    <>
      <div className="pair">
        {table.composition?.cells.some((row) => row.some((cell) => cell !== null)) && (
          <CompositionMap
            composition={table.composition}
            ranking={ranking}
            name={name}
            linkOf={(first, second) => linkToRow(rowOfCell(table.rows, first, second))}
          />
        )}
        <LabelEfficiency
          rows={table.rows}
          ranking={ranking}
          name={name}
          linkOf={(combo) => linkToRow(table.rows.find((row) => row.combo === combo))}
        />
        <Effects
          effects={table.effects}
          measure={table.measure}
          goal={ranking.goal}
          name={name}
          linkOf={(augmentation) => linkTo(trialsWith(augmentation, trials))}
        />
        <Importance
          importance={table.importance}
          measure={table.measure}
          name={name}
          linkOf={(parameter) => link(`sweeps/${id}`, { tab: 'trials', by: parameter })}
        />
        <BestSoFar
          trials={trials}
          ranking={ranking}
          begun={Date.parse(sweep.createdAt)}
          name={name}
          linkOf={(trial) => linkTo([trial])}
        />
      </div>
      <ResultTable table={table} ranking={ranking} name={name} linkOf={linkToRow} />
      <ParallelCoordinates {...shared} metric={metric} linkOf={linkTo} />
      <Slices {...shared} metric={metric} linkOf={(trial) => linkTo([trial])} />
    </>
  );
}
