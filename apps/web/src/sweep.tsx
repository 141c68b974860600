import {
  Augmentation,
  augmentationName,
  canonicalJson,
  RETRYABLE_STATUSES,
  shortNumber,
  type Estimate,
  type Run,
  type SweepDetail,
  type SweepRungs,
  type SweepTable,
} from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { stringify } from 'yaml';
import { client, refresh, useLive } from './data.js';
import {
  CompositionMap,
  Effects,
  Importance,
  LabelEfficiency,
  ParallelCoordinates,
  Rungs,
  share,
  type TrialPoint,
} from './figures.js';
import { link, useRoute } from './route.js';
import { csv } from './csv.js';
import { sweepRequestOf } from './submission.js';
import {
  Ago,
  Bands,
  Copy,
  Empty,
  isLive,
  Loaded,
  Panel,
  Progress,
  RunLink,
  save,
  Status,
  StatusBar,
  Table,
  Tabs,
} from './ui.js';

const MOST_RUNS = 2000;
/** Combinations whose views are shown before one asks for all. */
const FIRST_VIEWS = 12;
type Tab = 'figures' | 'rungs' | 'runs' | 'trials' | 'spec';

/** The answer of a sweep while it comes in. */
export function SweepPage({ id }: { id: string }) {
  const { query, change } = useRoute();
  const tab = (query['tab'] ?? 'figures') as Tab;
  const state = useLive(
    ['sweep', id],
    async () => {
      const [sweep, table] = await Promise.all([client.sweep(id), client.sweepResults(id)]);
      const runs: Run[] = [];
      for await (const run of client.eachRun({ sweep: id, limit: 500 })) {
        runs.push(run);
        if (runs.length >= MOST_RUNS) break;
      }
      return { sweep, table, runs, rungs: sweep.spec.early_terminate ? await client.sweepRungs(id) : null };
    },
    { live: ({ sweep }) => sweep.status === 'running' || sweep.status === 'paused' },
  );
  const act = useMutation({
    mutationFn: async (action: 'pause' | 'resume' | 'retry' | 'cancel'): Promise<void> => {
      await {
        pause: () => client.pauseSweep(id),
        resume: () => client.resumeSweep(id),
        retry: () => client.retrySweep(id),
        cancel: () => client.cancelSweep(id),
      }[action]();
    },
    onSettled: () => void refresh(),
  });
  return (
    <Loaded query={state} lines={10}>
      {({ sweep, table, runs, rungs }) => {
        const ended = runs.filter((run) => !isLive(run)).length;
        return (
          <>
            <p className="crumbs">
              <a href={link('sweeps')}>Sweeps</a>
            </p>
            <div className="title">
              <h1>{sweep.name}</h1>
              <Status status={sweep.status} />
              {sweep.status === 'running' && (
                <span className="live" title="What you see comes as it happens.">
                  live
                </span>
              )}
              <span className="actions">
                {sweep.status === 'running' && (
                  <button disabled={act.isPending} onClick={() => act.mutate('pause')}>
                    Pause
                  </button>
                )}
                {sweep.status === 'paused' && (
                  <button disabled={act.isPending} onClick={() => act.mutate('resume')}>
                    Resume
                  </button>
                )}
                {runs.some(({ status }) => (RETRYABLE_STATUSES as readonly string[]).includes(status)) && (
                  <button disabled={act.isPending} onClick={() => act.mutate('retry')}>
                    Retry what failed
                  </button>
                )}
                {(sweep.status === 'running' || sweep.status === 'paused') && (
                  <button className="danger" disabled={act.isPending} onClick={() => act.mutate('cancel')}>
                    Cancel
                  </button>
                )}
                {act.error && (
                  <span role="alert" className="bad">
                    {act.error.message}
                  </span>
                )}
              </span>
            </div>
            <Panel>
              <StatusBar counts={sweep.runCounts} />
              <p>
                {sweep.plan.summary}{' '}
                <span className="dim">
                  {runs.length > 0 && `${ended} of ${runs.length} runs have ended. `}Submitted{' '}
                  <Ago at={sweep.createdAt} />.
                </span>
                {sweep.haltReason && (
                  <span className="bad"> No further trials: {sweep.haltReason.replaceAll('_', ' ')}.</span>
                )}
              </p>
            </Panel>
            <Tabs
              label="About this sweep"
              value={tab}
              onChange={(next) => change({ tab: next === 'figures' ? '' : next })}
              tabs={[
                ['figures', 'Results'],
                ...(rungs ? ([['rungs', 'Rungs']] as [Tab, string][]) : []),
                ['runs', `Runs ${runs.length}`],
                ['trials', `Trials ${sweep.trials.length}`],
                ['spec', 'Spec'],
              ]}
            />
            {tab === 'figures' ? (
              <Figures sweep={sweep} table={table} runs={runs} />
            ) : tab === 'rungs' && rungs ? (
              <Stopping rungs={rungs} sweep={sweep} />
            ) : tab === 'runs' ? (
              <Runs runs={runs} id={id} />
            ) : tab === 'trials' ? (
              <Trials sweep={sweep} />
            ) : (
              <Spec sweep={sweep} />
            )}
          </>
        );
      }}
    </Loaded>
  );
}

function Figures({ sweep, table, runs }: { sweep: SweepDetail; table: SweepTable; runs: Run[] }) {
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
      <ParallelCoordinates trials={trials} name={sweep.name} />
      <Views runs={runs} />
    </>
  );
}

/** What the networks of each combination saw: the views of the first pretraining with it. */
function Views({ runs }: { runs: Run[] }) {
  const [all, setAll] = useState(false);
  const seen = new Map<string, { run: Run; combo: string }>();
  for (const run of runs.toReversed())
    if (run.spec.kind === 'pretrain' && run.spec.augmentation)
      seen.set(canonicalJson(run.spec.augmentation), { run, combo: augmentationName(run.spec.augmentation) });
  const combinations = [...seen.values()];
  if (combinations.length === 0) return null;
  return (
    <Panel
      title="What the networks see"
      aside={
        combinations.length > FIRST_VIEWS &&
        !all && (
          <button className="quiet" onClick={() => setAll(true)}>
            Show all {combinations.length}
          </button>
        )
      }
    >
      <p className="dim">Samples over two random views of each: what a network is told to see as the same.</p>
      <div className="combinations">
        {combinations.slice(0, all ? undefined : FIRST_VIEWS).map(({ run, combo }) => (
          <CombinationViews key={run.id} run={run} combo={combo} />
        ))}
      </div>
    </Panel>
  );
}

function CombinationViews({ run, combo }: { run: Run; combo: string }) {
  // The first file that a pretraining writes.
  const views = useLive(
    ['views', run.id],
    async () =>
      (await client.artifacts(run.id, { limit: 20 })).items.findLast(({ name }) => name === 'views.png') ?? null,
    { live: (file) => file === null && isLive(run) },
  );
  return (
    <figure>
      {views.data ? (
        <Bands
          url={client.artifactUrl(run.id, views.data.id)}
          words={['', '', '']}
          alt={`Samples over two views of each by ${combo}`}
        />
      ) : (
        <p className="dim">
          {views.isPending
            ? 'Loading …'
            : isLive(run)
              ? 'It has not begun yet.'
              : 'It has left no picture of its views.'}
        </p>
      )}
      <figcaption>
        <b>{combo}</b>
        <RunLink run={run} />
      </figcaption>
    </figure>
  );
}

const MARKS = { promoted: '↑ let on', waiting: '… waits', stopped: '× stopped' } as const;

/** Successive halving as a figure and as a table: who came to which rung, with what, and what was made of it. */
function Stopping({ rungs, sweep }: { rungs: SweepRungs; sweep: SweepDetail }) {
  const parameters = new Map(sweep.trials.map((trial) => [trial.index, trial.parameters]));
  const labelOf = (trials: readonly number[]) =>
    [
      ...new Set(
        trials.slice(0, 50).map((trial) =>
          Object.entries(parameters.get(trial) ?? {})
            .filter(([path]) => !/\.(seed|labelSeed|labelFraction)$/.test(path))
            .map(([path, value]) => {
              const augmentation = path.endsWith('.augmentation') ? Augmentation.safeParse(value) : undefined;
              return augmentation?.success
                ? augmentationName(augmentation.data)
                : `${path.split('.').slice(1).join('.')} ` +
                    `${typeof value === 'number' ? shortNumber(value) : JSON.stringify(value)}`;
            })
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
              return at ? (
                <span key={step} className={at.decision}>
                  {shortNumber(at.value)} <small>{MARKS[at.decision]}</small>
                </span>
              ) : own.includes(step) ? (
                ''
              ) : (
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

const percent = (estimate: Estimate | null | undefined, sign = false) =>
  estimate
    ? `${sign && estimate.mean >= 0 ? '+' : ''}${(estimate.mean * 100).toFixed(1)}${estimate.ci95 === null ? '' : ` ± ${(estimate.ci95 * 100).toFixed(1)}`}`
    : '–';

function ResultTable({ table, name }: { table: SweepTable; name: string }) {
  const fractions = [...new Set(table.rows.flatMap((row) => Object.keys(row.accuracy)))].sort(
    (a, b) => Number(a) - Number(b),
  );
  const all: { title: string; of: (row: SweepTable['rows'][number]) => Estimate | null | undefined; sign?: boolean }[] =
    [
      { title: 'kNN', of: (row) => row.knn },
      { title: 'probe', of: (row) => row.probe },
      { title: 'probe of a random encoder', of: (row) => row.randomProbe },
      ...fractions.flatMap((fraction) => [
        { title: `accuracy ${share(fraction)}`, of: (row: SweepTable['rows'][number]) => row.accuracy[fraction] },
        { title: `scratch ${share(fraction)}`, of: (row: SweepTable['rows'][number]) => row.scratch[fraction] },
        { title: `gain ${share(fraction)}`, of: (row: SweepTable['rows'][number]) => row.gain[fraction], sign: true },
      ]),
    ];
  const columns = all.filter(({ of }) => table.rows.some((row) => of(row)));
  const by = columns.find(({ title }) => title.startsWith('accuracy')) ?? columns[0];
  const rows = [...table.rows].sort((a, b) => (by?.of(b)?.mean ?? -1) - (by?.of(a)?.mean ?? -1));
  return (
    <Panel
      title="All combinations"
      aside={
        <button
          className="quiet"
          onClick={() =>
            save(
              `${name}-results.csv`,
              csv([
                ['combination', ...columns.flatMap(({ title }) => [title, `${title} ci95`])],
                ...rows.map((row) => [row.combo, ...columns.flatMap(({ of }) => [of(row)?.mean, of(row)?.ci95])]),
              ]),
              'text/csv',
            )
          }
          aria-label="All combinations as CSV"
        >
          CSV
        </button>
      }
    >
      <p className="dim">
        In %, the best first; gains are the mean of paired differences to the from-scratch control on the same labels.
      </p>
      <Table
        caption="All combinations"
        empty="Nothing has finished yet."
        keys={rows.map(({ combo }) => combo)}
        head={['combination', ...columns.map(({ title }) => title)]}
        rows={rows.map((row) => [
          row.combo,
          ...columns.map(({ of, sign, title }) => {
            const estimate = of(row);
            return (
              <span key={title} className={sign && estimate ? (estimate.mean > 0 ? 'good' : 'bad') : ''}>
                {percent(estimate, sign)}
              </span>
            );
          }),
        ])}
      />
    </Panel>
  );
}

const Runs = ({ runs, id }: { runs: Run[]; id: string }) => (
  <Panel className="flush" title="Runs" aside={<a href={link('runs', { sweep: id })}>Filter, compare, cancel</a>}>
    <Table
      caption="Runs"
      empty="No runs."
      keys={runs.slice(0, 200).map((run) => run.id)}
      head={['run', 'kind', 'status', 'progress']}
      rows={runs
        .slice(0, 200)
        .map((run) => [
          <RunLink run={run} />,
          run.kind,
          <Status status={run.status} reason={run.statusReason} />,
          <Progress run={run} />,
        ])}
    />
  </Panel>
);

/** Which run fills each place of a trial, and which of them other trials or sweeps had already. */
function Trials({ sweep }: { sweep: SweepDetail }) {
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

function Spec({ sweep }: { sweep: SweepDetail }) {
  const text = stringify(sweepRequestOf(sweep));
  return (
    <Panel>
      <div className="controls">
        <Copy text={text} label="Copy YAML" />
        <button className="quiet" onClick={() => save(`${sweep.name}.yaml`, text, 'application/yaml')}>
          Download
        </button>
        <a href={link('new', { sweep: sweep.id })}>Edit as a new sweep</a>
      </div>
      <pre tabIndex={0} aria-label="Spec">
        {text}
      </pre>
    </Panel>
  );
}
