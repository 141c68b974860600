import { ACTIVE_STATUSES, type RunStatus } from '#libs/contracts';
import { useEffect } from 'react';
import { client, meter, SELDOM_MS, useLive, useWorkers } from '../data/queries.js';
import { link } from '../route.js';
import { Panel } from '../ui/panel.js';
import { StatusBar } from '../ui/run-status.js';
import { Empty, Loaded } from '../ui/states.js';
import { QueuePanel } from './queue-panel.js';
import { DonePanel, FailedPanel, RunningPanel } from './run-panels.js';
import { Tiles } from './tiles.js';
import { NoWorker, WorkerCard } from './worker-card.js';

/** What runs, what waits, who works, what went wrong. */
export function OverviewPage() {
  const counts = useLive(['counts'], () => client.runCounts());
  const running = useLive(['runs', 'active'], () => client.runs({ status: [...ACTIVE_STATUSES], limit: 100 }));
  const workers = useWorkers();
  useEffect(() => {
    if (running.data) meter.note(running.data.items, Date.now());
  }, [running.data]);
  const active = running.data?.items ?? [];
  const living = (workers.data ?? []).filter(({ alive, state }) => alive && state !== 'stopped');
  const count = (...statuses: readonly RunStatus[]) =>
    statuses.reduce((sum, status) => sum + (counts.data?.[status] ?? 0), 0);
  return (
    <>
      <h1>Overview</h1>
      <Tiles
        count={counts.data && count}
        busy={workers.data && active.length}
        slots={living.reduce((sum, worker) => sum + worker.slots, 0)}
      />
      <div className="columns">
        <div>
          <RunningPanel running={running} workers={workers.data ?? []} queued={count('queued')} />
          <QueuePanel queued={count('queued', 'retrying')} pending={count('pending')} />
          <FailedPanel />
        </div>
        <div>
          <Panel title="Workers" aside={<a href={link('machines')}>All</a>}>
            <Loaded query={workers}>
              {() =>
                living.length === 0 ? (
                  <NoWorker />
                ) : (
                  <ul className="workers">
                    {living.map((worker) => (
                      <li key={worker.id}>
                        <WorkerCard worker={worker} runs={active.filter(({ workerId }) => workerId === worker.id)} />
                      </li>
                    ))}
                  </ul>
                )
              }
            </Loaded>
          </Panel>
          <SweepsPanel />
          <DonePanel />
        </div>
      </div>
    </>
  );
}

function SweepsPanel() {
  const sweeps = useLive(['sweeps', 'recent'], () => client.sweeps({ limit: 4 }), { everyMs: SELDOM_MS });
  return (
    <Panel title="Sweeps" aside={<a href={link('sweeps')}>All</a>}>
      <Loaded query={sweeps}>
        {({ items }) =>
          items.length === 0 ? (
            <Empty title="No sweeps yet.">
              <p>
                <a href={link('new')}>Plan the first</a>
              </p>
            </Empty>
          ) : (
            <ul className="plain">
              {items.map((sweep) => (
                <li key={sweep.id}>
                  <a href={link(`sweeps/${sweep.id}`)}>{sweep.name}</a>
                  <StatusBar counts={sweep.runCounts} />
                </li>
              ))}
            </ul>
          )
        }
      </Loaded>
    </Panel>
  );
}
