import { metricOf, shortNumber, type Run, type SweepDetail } from '#libs/contracts';
import { valueOnAxis } from '../figures/parameter-scale.js';
import { readNumbers } from '../number-list.js';
import { link, useRoute } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Status } from '../ui/run-status.js';
import { metricsOf, orderedBy, shortPath, trialPoints, variedIn } from './trial-points.js';

const MOST_TRIALS = 300;
const MOST_METRICS = 4;

const placeName = ({ stage, control }: { stage: string; control: string | null }): string =>
  control ? `${stage} (${control.replaceAll('_', ' ')})` : stage;

/** What each trial came to, and which run fills each of its places; those that the address names, else all. */
export function Trials({ sweep, runs }: { sweep: SweepDetail; runs: readonly Run[] }) {
  const { query, change } = useRoute();
  const points = trialPoints(sweep, runs);
  const results = new Map(points.map(({ index, metrics }) => [index, metrics]));
  const metrics = metricsOf(points, metricOf(sweep.spec).name).slice(0, MOST_METRICS);
  const stages = [...new Set(sweep.trials.flatMap((trial) => trial.runs.map(placeName)))];
  const paths = [...new Set(sweep.trials.flatMap(({ parameters }) => Object.keys(parameters)))];
  const named = query['trials'] ? new Set(readNumbers(query['trials'], sweep.trials.length)) : undefined;
  const by = query['by'];
  const listed = sweep.trials.filter(({ index }) => named?.has(index) ?? true);
  const shown = by === undefined ? listed : orderedBy(by, listed, (index) => results.get(index));
  const varied = variedIn(points);
  return (
    <Panel title="What each trial is made of, and came to">
      <Places sweep={sweep} />
      <div className="controls">
        {metrics.length + varied.length > 0 && (
          <label>
            Highest first by{' '}
            <select value={by ?? ''} onChange={({ target }) => change({ by: target.value })}>
              <option value="">their order</option>
              {[...metrics, ...varied].map((key) => (
                <option key={key}>{key}</option>
              ))}
            </select>
          </label>
        )}
        {named && (
          <>
            <span>
              {listed.length} of {sweep.trials.length} trials
            </span>
            <button onClick={() => change({ trials: '' })}>Show all trials</button>
          </>
        )}
      </div>
      <Table
        caption="Trials"
        empty="No trials."
        keys={shown.map(({ index }) => String(index))}
        head={[
          'trial',
          'status',
          ...paths.map(shortPath),
          ...metrics.map((key) => key.replace('eval/', '')),
          ...stages,
        ]}
        rows={shown.slice(0, MOST_TRIALS).map((trial) => [
          trial.index,
          <span title={trial.fault ?? ''}>
            <Status status={trial.status} />
          </span>,
          ...paths.map((path) => <code key={path}>{valueOnAxis(trial.parameters[path])}</code>),
          ...metrics.map((key) => {
            const value = results.get(trial.index)?.[key];
            return value === undefined ? '–' : shortNumber(value);
          }),
          ...stages.map((stage) => {
            const run = trial.runs.find((each) => placeName(each) === stage);
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
      {shown.length > MOST_TRIALS && (
        <p className="dim">
          The first {MOST_TRIALS} of {shown.length.toLocaleString('en')}.
        </p>
      )}
    </Panel>
  );
}

/** How many runs fill the places of all trials, and which of them other trials or sweeps had already. */
function Places({ sweep }: { sweep: SweepDetail }) {
  const uses = new Map<string, number>();
  for (const { runId } of sweep.trials.flatMap(({ runs }) => runs)) uses.set(runId, (uses.get(runId) ?? 0) + 1);
  const reused = sweep.trials.reduce((sum, { runs }) => sum + runs.filter((run) => run.reused).length, 0);
  const shared = [...uses.values()].reduce((sum, count) => sum + count - 1, 0);
  return (
    <p className="dim">
      {uses.size} runs fill {[...uses.values()].reduce((sum, count) => sum + count, 0)} places: {shared} are shared
      between trials{reused > 0 && `, ${reused} were there before or shared`}.
    </p>
  );
}
