import { combinationName, shortNumber, type SweepDetail, type SweepRungs } from '#libs/contracts';
import { Rungs } from '../figures/rungs.js';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { Status } from '../ui/run-status.js';
import { Empty } from '../ui/states.js';

const MARKS = { promoted: '↑ let on', waiting: '… waits', stopped: '× stopped' } as const;

/** Successive halving as a figure and as a table: who came to which rung, with what, and what was made of it. */
export function Stopping({ rungs, sweep }: { rungs: SweepRungs; sweep: SweepDetail }) {
  const parameters = new Map(sweep.trials.map((trial) => [trial.index, trial.parameters]));
  const labelOf = (trials: readonly number[]) =>
    [
      ...new Set(
        trials.slice(0, 50).map((trial) =>
          Object.entries(parameters.get(trial) ?? {})
            .filter(([path]) => !/\.(seed|labelSeed|labelFraction)$/.test(path))
            .map(
              ([path, value]) =>
                combinationName(path, value) ??
                `${path.split('.').slice(1).join('.')} ` +
                  `${typeof value === 'number' ? shortNumber(value) : JSON.stringify(value)}`,
            )
            .join(', '),
        ),
      ),
    ].join(' / ') || `trial ${trials[0] ?? ''}`;
  const steps = [
    ...new Set(rungs.runs.flatMap(({ rungs: own, reached }) => [...own, ...reached.map(({ step }) => step)])),
  ].sort((a, b) => a - b);
  const sign = rungs.goal === 'maximize' ? -1 : 1;
  const rows = rungs.runs.toSorted(
    (a, b) =>
      b.reached.length - a.reached.length || sign * ((a.reached.at(-1)?.value ?? 0) - (b.reached.at(-1)?.value ?? 0)),
  );
  return (
    <>
      <Rungs rungs={rungs} labelOf={labelOf} name={sweep.name} />
      <Panel title="Each pretraining" className="flush">
        <Table
          caption="Rungs"
          empty={<Empty title="No pretraining has begun yet." />}
          keys={rows.map(({ runId }) => runId)}
          head={[
            'pretraining',
            'trials',
            'status',
            ...(rungs.runs.some(({ bracket }) => bracket > 0) ? ['bracket'] : []),
            ...steps.map((step) => `step ${step.toLocaleString('en')}`),
          ]}
          rows={rows.map(({ runId, trials, status, bracket, reached, rungs: own }) => [
            <a href={link(`runs/${runId}`)}>{labelOf(trials)}</a>,
            trials.length > 6 ? `${trials.slice(0, 5).join(', ')} … ${trials.length} in all` : trials.join(', '),
            <Status status={status} />,
            ...(rungs.runs.some((run) => run.bracket > 0) ? [bracket + 1] : []),
            ...steps.map((step) => {
              const at = reached.find((each) => each.step === step);
              if (at)
                return (
                  <span key={step} className={at.decision}>
                    {shortNumber(at.value)} <small>{MARKS[at.decision]}</small>
                  </span>
                );
              if (own.includes(step)) return '';
              return (
                <span key={step} className="dim">
                  –
                </span>
              );
            }),
          ])}
        />
      </Panel>
    </>
  );
}
