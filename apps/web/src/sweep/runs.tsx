import type { Run, SweepDetail } from '#libs/contracts';
import { valueOnAxis } from '../figures/parameter-scale.js';
import { link } from '../route.js';
import { bestOf } from '../runs/headline.js';
import { Panel, Table } from '../ui/panel.js';
import { Progress, RunLink, Status } from '../ui/run-status.js';
import { isSeed, shortPath, variedIn } from './trial-points.js';

const MOST_RUNS = 200;

/** The runs of a sweep with what was varied of each: what all trials that it is part of have in common. */
export function Runs({ runs, sweep }: { runs: readonly Run[]; sweep: SweepDetail }) {
  const points = sweep.trials.map(({ index, parameters }) => ({ index, parameters, metrics: {}, ended: undefined }));
  const seeds = [...new Set(points.flatMap(({ parameters }) => Object.keys(parameters)))].filter(isSeed);
  const paths = [...variedIn(points), ...seeds];
  const parameters = new Map<string, Record<string, unknown>[]>();
  for (const trial of sweep.trials)
    for (const { runId } of trial.runs) parameters.set(runId, [...(parameters.get(runId) ?? []), trial.parameters]);
  const variedOf = (id: string) =>
    paths
      .flatMap((path) => {
        const values = new Set((parameters.get(id) ?? []).map((each) => valueOnAxis(each[path])));
        const [value] = values;
        return values.size === 1 && value !== '–' ? [`${shortPath(path)} ${value}`] : [];
      })
      .join(', ');
  const shown = runs.slice(0, MOST_RUNS);
  return (
    <Panel
      className="flush"
      title="Runs"
      aside={<a href={link('runs', { sweep: sweep.id })}>Filter, compare, cancel</a>}
    >
      <Table
        caption="Runs"
        empty="No runs."
        keys={shown.map((run) => run.id)}
        head={['run', 'kind', 'what varied', 'status', 'progress', 'result']}
        rows={shown.map((run) => [
          <RunLink run={run} />,
          run.kind,
          variedOf(run.id),
          <Status status={run.status} reason={run.statusReason} />,
          <Progress run={run} />,
          bestOf(run),
        ])}
      />
    </Panel>
  );
}
