import { metricOf, RETRYABLE_STATUSES, type Run, type SweepDetail } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { NotifyMenu } from '../notices/notify-menu.js';
import { link, useRoute } from '../route.js';
import { ActionGroup, Tabs } from '../ui/controls.js';
import { DeleteButton } from '../ui/sure-button.js';
import { Panel, Table } from '../ui/panel.js';
import { isLive, Progress, RunLink, Status, StatusBar } from '../ui/run-status.js';
import { Damaged, Loaded } from '../ui/states.js';
import { useTitle } from '../ui/title.js';
import { Ago } from '../ui/time.js';
import { Spec } from './spec.js';
import { Stopping } from './stopping.js';
import { Figures } from './sweep-figures.js';
import { Trials } from './trials.js';

const MOST_RUNS = 2000;

type Tab = 'figures' | 'rungs' | 'runs' | 'trials' | 'spec';

/** A sweep and its results, renewed while it runs. */
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
  useTitle(state.data && `${state.data.sweep.name}, ${state.data.sweep.status}`);
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
              {(sweep.status === 'running' || sweep.status === 'paused') && (
                <NotifyMenu of="sweep" target={id} name={sweep.name} metric={metricOf(sweep.spec).name} />
              )}
              <Actions sweep={sweep} runs={runs} />
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
            <Damaged rows={table.damaged} />
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
            >
              {tab === 'figures' && <Figures sweep={sweep} table={table} runs={runs} />}
              {tab === 'rungs' && rungs && <Stopping rungs={rungs} sweep={sweep} />}
              {tab === 'runs' && <Runs runs={runs} id={id} />}
              {tab === 'trials' && <Trials sweep={sweep} />}
              {!(['figures', 'runs', 'trials'].includes(tab) || (tab === 'rungs' && rungs)) && <Spec sweep={sweep} />}
            </Tabs>
          </>
        );
      }}
    </Loaded>
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

function Actions({ sweep, runs }: { sweep: SweepDetail; runs: Run[] }) {
  const [withRuns, setWithRuns] = useState(false);
  const act = useMutation({
    mutationFn: async (action: 'pause' | 'resume' | 'retry' | 'cancel'): Promise<void> => {
      await {
        pause: () => client.pauseSweep(sweep.id),
        resume: () => client.resumeSweep(sweep.id),
        retry: () => client.retrySweep(sweep.id),
        cancel: () => client.cancelSweep(sweep.id),
      }[action]();
    },
    onSettled: () => void refresh(),
  });
  return (
    <ActionGroup label={`Actions on ${sweep.name}`}>
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
      {sweep.status !== 'running' && sweep.status !== 'paused' && (
        <DeleteButton
          name={sweep.name}
          next={link('sweeps')}
          onDelete={() => client.deleteSweep(sweep.id, { runs: withRuns })}
        >
          <label>
            <input type="checkbox" checked={withRuns} onChange={(event) => setWithRuns(event.target.checked)} /> its own
            runs too, where nothing else needs them
          </label>
        </DeleteButton>
      )}
      {act.error && (
        <span role="alert" className="bad">
          {act.error.message}
        </span>
      )}
    </ActionGroup>
  );
}
