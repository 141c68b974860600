import { isTerminal, isUsage, runLabel, UnreachableError, type RunDetail } from '#libs/contracts';
import { client } from '../data/queries.js';
import { useRun, type RunState } from '../data/run-feed.js';
import { isOfPreview, Samples } from '../datasets/samples.js';
import { NotifyMenu } from '../notices/notify-menu.js';
import { link, useRoute } from '../route.js';
import { Tabs } from '../ui/controls.js';
import { DeleteButton } from '../ui/sure-button.js';
import { Panel } from '../ui/panel.js';
import { RunActions } from '../ui/run-actions.js';
import { Progress, Status } from '../ui/run-status.js';
import { Fault, Skeleton } from '../ui/states.js';
import { useTitle } from '../ui/title.js';
import { Attempts } from './attempts.js';
import { Classification } from './classification.js';
import { Curves } from './curves.js';
import { Described } from './described.js';
import { DatasetSummary } from './dataset-summary.js';
import { Events } from './events.js';
import { Facts } from './facts.js';
import { Files } from './files.js';
import { Lineage } from './lineage.js';
import { Log } from './log.js';
import { Machine } from './machine.js';
import { Next } from './next.js';
import { Results } from './results.js';
import { Shown } from './shown.js';
import { Spec } from './spec.js';

type Tab = 'curves' | 'machine' | 'files' | 'events' | 'log' | 'spec';

/** A run as it goes: its curves, what it wrote, what happened to it, where it comes from. */
export function RunPage({ id }: { id: string }) {
  const state = useRun(id);
  const { run, artifacts } = state;
  useTitle(run && `${runLabel(run)}, ${run.status.replaceAll('_', ' ')}`);
  if (!run) return state.error ? <Fault error={state.error} again={state.again} /> : <Skeleton lines={8} />;
  const results = artifacts.filter(
    ({ name, mime, kind }) =>
      !isOfPreview({ name }) && (mime.startsWith('image/') || mime.startsWith('audio/') || kind === 'embedding'),
  );
  return (
    <>
      <Title run={run} live={state.live} onDone={state.again} />
      {state.error !== undefined && !(state.error instanceof UnreachableError) && (
        <Fault error={state.error} again={state.again} />
      )}
      <div className="columns run">
        <div>
          {!isTerminal(run.status) && (
            <Panel>
              <Progress run={run} attempt={run.attempts.at(-1)} />
            </Panel>
          )}
          <Results run={run} />
          <Classification artifacts={artifacts} />
          {run.result?.summary && <DatasetSummary summary={run.result.summary} />}
          <Samples run={run} artifacts={artifacts} />
          <Shown
            run={run}
            artifacts={results}
            segmentation={artifacts.findLast(({ name }) => name === 'segmentation.json')}
          />
          <Details run={run} state={state} />
        </div>
        <aside>
          <Next run={run} />
          <Described run={run} onDone={state.again} />
          <Facts run={run} />
          <Lineage run={run} />
          <Attempts run={run} />
        </aside>
      </div>
    </>
  );
}

function Title({ run, live, onDone }: { run: RunDetail; live: boolean; onDone: () => void }) {
  return (
    <>
      <p className="crumbs">
        <a href={link('runs')}>Runs</a> / <a href={link('runs', { kind: run.kind })}>{run.kind}</a>
      </p>
      <div className="title">
        <h1>{runLabel(run)}</h1>
        <Status status={run.status} reason={run.statusReason} />
        {run.archivedAt && (
          <span className="tag" title="Lists leave it out.">
            archived
          </span>
        )}
        <Liveness live={live} ended={isTerminal(run.status)} />
        {!isTerminal(run.status) && (
          <NotifyMenu
            of="run"
            target={run.id}
            name={runLabel(run)}
            metric={Object.keys(run.metrics).find((key) => key.startsWith('eval/'))}
          />
        )}
        <RunActions run={run} onDone={onDone} />
        {isTerminal(run.status) && (
          <DeleteButton name={runLabel(run)} next={link('runs')} onDelete={() => client.deleteRun(run.id)}>
            <p>All that was recorded of it goes with it: attempts, events, log, metrics and files.</p>
          </DeleteButton>
        )}
      </div>
      {run.statusDetail && run.status !== 'succeeded' && (
        <p className={['failed', 'timed_out', 'upstream_failed'].includes(run.status) ? 'detail bad' : 'detail'}>
          {run.statusDetail}
        </p>
      )}
    </>
  );
}

/** Whether what is shown of a run that goes on comes as it happens. */
function Liveness({ live, ended }: { live: boolean; ended: boolean }) {
  if (live)
    return (
      <span className="live" title="What you see comes as it happens.">
        live
      </span>
    );
  if (ended) return null;
  return (
    <span className="dim" title="What you see was so when the connection was lost; it is made anew.">
      connecting …
    </span>
  );
}

/** The tab that the address names, else the curves, or the files of a run that has ended without curves. */
function Details({ run, state }: { run: RunDetail; state: RunState }) {
  const { query, change } = useRoute();
  const { curves, events, log, artifacts } = state;
  const drawn = [...curves].some(([key, { steps }]) => steps.length > 1 && !isUsage(key));
  const usual = !state.loaded || drawn || !isTerminal(run.status) ? 'curves' : 'files';
  const tab = (query['tab'] ?? usual) as Tab;
  return (
    <>
      <Tabs
        label="About this run"
        value={tab}
        onChange={(next) => change({ tab: next === usual ? '' : next })}
        tabs={[
          ['curves', 'Curves'],
          ['files', `Files ${artifacts.length || ''}`],
          ['events', `Events ${events.length || ''}`],
          ['log', `Log ${log.length || ''}`],
          ['machine', 'Machine'],
          ['spec', 'Spec'],
        ]}
      >
        {tab === 'curves' && <Curves state={state} run={run} />}
        {tab === 'machine' && <Machine state={state} run={run} />}
        {tab === 'files' && <Files run={run} artifacts={artifacts} />}
        {tab === 'events' && <Events events={events} />}
        {tab === 'log' && <Log log={log} name={runLabel(run)} />}
        {!['curves', 'machine', 'files', 'events', 'log'].includes(tab) && <Spec run={run} />}
      </Tabs>
    </>
  );
}
