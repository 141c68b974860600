import type { SweepDetail } from '#libs/contracts';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Status } from '../ui/run-status.js';

/** Which run fills each place of a trial, and which of them other trials or sweeps had already. */
export function Trials({ sweep }: { sweep: SweepDetail }) {
  const stages = [
    ...new Set(
      sweep.trials.flatMap(({ runs }) =>
        runs.map(({ stage, control }) => (control ? `${stage} (${control.replaceAll('_', ' ')})` : stage)),
      ),
    ),
  ];
  const uses = new Map<string, number>();
  for (const { runId } of sweep.trials.flatMap(({ runs }) => runs)) uses.set(runId, (uses.get(runId) ?? 0) + 1);
  const paths = [...new Set(sweep.trials.flatMap(({ parameters }) => Object.keys(parameters)))];
  const reused = sweep.trials.reduce((sum, { runs }) => sum + runs.filter((run) => run.reused).length, 0);
  const shared = [...uses.values()].reduce((sum, count) => sum + count - 1, 0);
  return (
    <Panel title="What each trial is made of">
      <p className="dim">
        {uses.size} runs fill {[...uses.values()].reduce((sum, count) => sum + count, 0)} places: {shared} are shared
        between trials{reused > 0 && `, ${reused} were there before or shared`}.
      </p>
      <Table
        caption="Trials"
        empty="No trials."
        keys={sweep.trials.map(({ index }) => String(index))}
        head={['trial', 'status', ...paths.map((path) => path.split('.').slice(1).join('.')), ...stages]}
        rows={sweep.trials.slice(0, 300).map((trial) => [
          trial.index,
          <span title={trial.fault ?? ''}>
            <Status status={trial.status} />
          </span>,
          ...paths.map((path) => {
            const value = trial.parameters[path];
            return (
              <code key={path}>
                {typeof value === 'object' && value !== null ? Object.keys(value).join('+') : JSON.stringify(value)}
              </code>
            );
          }),
          ...stages.map((stage) => {
            const run = trial.runs.find(
              (each) => (each.control ? `${each.stage} (${each.control.replaceAll('_', ' ')})` : each.stage) === stage,
            );
            return run ? (
              <span key={stage}>
                <a href={link(`runs/${run.runId}`)}>
                  <Status status={run.status} />
                </a>
                {run.reused && <small className="tag">reused</small>}
              </span>
            ) : (
              '–'
            );
          }),
        ])}
      />
    </Panel>
  );
}
