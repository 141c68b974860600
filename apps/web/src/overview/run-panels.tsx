/** Runs that are under way, that failed and that succeeded lately. */
import { ACTIVE_STATUSES, FAILED_STATUSES, type Run, type Worker } from '#libs/contracts';
import type { UseQueryResult } from '@tanstack/react-query';
import { client, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { bestOf } from '../runs/headline.js';
import { Panel } from '../ui/panel.js';
import { RunActions } from '../ui/run-actions.js';
import { Progress, RunLink, Status } from '../ui/run-status.js';
import { Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';

/** `queued`: how many runs wait for a slot. */
export function RunningPanel({
  running,
  workers,
  queued,
}: {
  running: UseQueryResult<{ items: Run[] }>;
  workers: readonly Worker[];
  queued: number;
}) {
  return (
    <Panel title="Running now" aside={<a href={link('runs', { status: ACTIVE_STATUSES.join(',') })}>All</a>}>
      <Loaded query={running}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nothing runs.">
              <p>
                {queued > 0 ? (
                  'Runs wait for a worker: see Workers.'
                ) : (
                  <>
                    Start with <a href={link('new')}>a new sweep</a>.
                  </>
                )}
              </p>
            </Empty>
          ) : (
            <ul className="cards">
              {items.map((run) => (
                <li key={run.id}>
                  <RunningCard run={run} worker={workers.find(({ id }) => id === run.workerId)} />
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}

export function FailedPanel() {
  const failed = useLive(['runs', 'failed'], () => client.runs({ status: [...FAILED_STATUSES], limit: 6 }));
  return (
    <Panel title="Failed lately" aside={<a href={link('runs', { status: FAILED_STATUSES.join() })}>All</a>}>
      <Loaded query={failed}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nothing has failed." />
          ) : (
            <ul className="failures">
              {items.map((run) => (
                <li key={run.id}>
                  <div>
                    <RunLink run={run} /> <Status status={run.status} reason={run.statusReason} />{' '}
                    <span className="dim">
                      <Ago at={run.finishedAt} />
                    </span>
                  </div>
                  {run.statusDetail && <p>{run.statusDetail}</p>}
                  <RunActions run={run} only={['retry']} />
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}

export function DonePanel() {
  const ended = useLive(['runs', 'succeeded'], () => client.runs({ status: ['succeeded', 'early_stopped'], limit: 6 }));
  return (
    <Panel title="Done lately">
      <Loaded query={ended}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="Nothing yet." />
          ) : (
            <ul className="plain">
              {items.map((run) => (
                <li key={run.id} className="line">
                  <RunLink run={run} />
                  <span className="dim">
                    {bestOf(run)} <Ago at={run.finishedAt} />
                  </span>
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}

function RunningCard({ run, worker }: { run: Run; worker: Worker | undefined }) {
  return (
    <article className="card">
      <div className="line">
        <span>
          <RunLink run={run} /> <span className="dim">{run.kind}</span>
        </span>
        <Status status={run.status} />
      </div>
      <Progress run={run} />
      <div className="line">
        <span className="dim">
          {worker ? (
            <>
              on {worker.host}
              {worker.gpus.length > 0 && ` · ${worker.gpus.map(({ name }) => name).join(', ')}`}
            </>
          ) : (
            'no worker'
          )}
          {run.attempt > 1 && ` · attempt ${run.attempt}`}
        </span>
        <RunActions run={run} only={['pause', 'cancel']} />
      </div>
    </article>
  );
}
