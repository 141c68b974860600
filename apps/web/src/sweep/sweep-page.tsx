import { metricOf, RETRYABLE_STATUSES, type Run, type SweepDetail } from '#libs/contracts';
import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { client, refresh, useLive } from '../data/queries.js';
import { NotifyMenu } from '../notices/notify-menu.js';
import { link, useRoute } from '../route.js';
import { ActionGroup, Tabs } from '../ui/controls.js';
import { DeleteButton, SureButton } from '../ui/sure-button.js';
import { Panel } from '../ui/panel.js';
import { isLive, Status, StatusBar } from '../ui/run-status.js';
import { Damaged, Loaded } from '../ui/states.js';
import { useTitle } from '../ui/title.js';
import { Ago } from '../ui/time.js';
import { Runs } from './runs.js';
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
            <Title sweep={sweep} runs={runs} />
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
              onChange={(next) => change({ tab: next === 'figures' ? '' : next, trials: '', by: '' })}
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
              {tab === 'runs' && <Runs runs={runs} sweep={sweep} />}
              {tab === 'trials' && <Trials sweep={sweep} runs={runs} />}
              {!(['figures', 'runs', 'trials'].includes(tab) || (tab === 'rungs' && rungs)) && <Spec sweep={sweep} />}
            </Tabs>
          </>
        );
      }}
    </Loaded>
  );
}

function Title({ sweep, runs }: { sweep: SweepDetail; runs: Run[] }) {
  return (
    <div className="title">
      <h1>{sweep.name}</h1>
      <Status status={sweep.status} />
      {sweep.archivedAt && (
        <span className="tag" title="Lists leave it out.">
          archived
        </span>
      )}
      {sweep.status === 'running' && (
        <span className="live" title="What you see comes as it happens.">
          live
        </span>
      )}
      {(sweep.status === 'running' || sweep.status === 'paused') && (
        <NotifyMenu of="sweep" target={sweep.id} name={sweep.name} metric={metricOf(sweep.spec).name} />
      )}
      <Actions sweep={sweep} runs={runs} />
    </div>
  );
}

function Actions({ sweep, runs }: { sweep: SweepDetail; runs: Run[] }) {
  const [withRuns, setWithRuns] = useState(false);
  const ended = sweep.status !== 'running' && sweep.status !== 'paused';
  const act = useMutation({
    mutationFn: async (action: 'pause' | 'resume' | 'retry' | 'cancel' | 'unarchive'): Promise<void> => {
      await {
        pause: () => client.pauseSweep(sweep.id),
        resume: () => client.resumeSweep(sweep.id),
        retry: () => client.retrySweep(sweep.id),
        cancel: () => client.cancelSweep(sweep.id),
        // With its runs: those that were archived apart from it are few, and each is found again.
        unarchive: () => client.unarchiveSweep(sweep.id, { runs: true }),
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
      {!ended && (
        <button className="danger" disabled={act.isPending} onClick={() => act.mutate('cancel')}>
          Cancel
        </button>
      )}
      {ended && sweep.archivedAt && (
        <button disabled={act.isPending} onClick={() => act.mutate('unarchive')}>
          Unarchive
        </button>
      )}
      {ended && !sweep.archivedAt && (
        <SureButton
          action="Archive"
          name={sweep.name}
          yes="archive it"
          danger={false}
          onYes={() => client.archiveSweep(sweep.id, { runs: withRuns })}
        >
          <p>Archive {sweep.name}? Lists leave it out then; nothing is deleted.</p>
          <label>
            <input type="checkbox" checked={withRuns} onChange={(event) => setWithRuns(event.target.checked)} /> its own
            runs too, where no other sweep has them
          </label>
        </SureButton>
      )}
      {ended && (
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
