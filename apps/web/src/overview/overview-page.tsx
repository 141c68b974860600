import { ACTIVE_STATUSES, RETRYABLE_STATUSES, type Run, type Worker } from '#libs/contracts';
import { useEffect } from 'react';
import { client, meter, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { bestOf } from '../runs/headline.js';
import { Panel, Table } from '../ui/panel.js';
import { RunActions } from '../ui/run-actions.js';
import { Progress, RunLink, Status, StatusBar } from '../ui/run-status.js';
import { Empty, Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';
import { WorkerCard } from './worker-card.js';

const WAITING = ['queued', 'retrying'] as const;

const FAILED = RETRYABLE_STATUSES.filter((status) => status !== 'cancelled');

/** What runs, what waits, who works, what went wrong. */
export function OverviewPage() {
  const counts = useLive(['counts'], () => client.runCounts());
  const running = useLive(['runs', 'active'], () => client.runs({ status: [...ACTIVE_STATUSES], limit: 100 }));
  const waiting = useLive(['runs', 'waiting'], () =>
    client.runs({ status: [...WAITING], sort: 'createdAt', limit: 200 }),
  );
  const failed = useLive(['runs', 'failed'], () => client.runs({ status: FAILED, limit: 6 }));
  const ended = useLive(['runs', 'succeeded'], () => client.runs({ status: ['succeeded', 'early_stopped'], limit: 6 }));
  const workers = useLive(['workers'], () => client.workers());
  const sweeps = useLive(['sweeps', 'recent'], () => client.sweeps({ limit: 4 }));
  useEffect(() => {
    if (running.data) meter.note(running.data.items, Date.now());
  }, [running.data]);
  const active = running.data?.items ?? [];
  const living = (workers.data ?? []).filter(({ alive, state }) => alive && state !== 'stopped');
  const count = (...statuses: readonly (keyof NonNullable<typeof counts.data>)[]) =>
    statuses.reduce((sum, status) => sum + (counts.data?.[status] ?? 0), 0);
  const slots = living.reduce((sum, worker) => sum + worker.slots, 0);
  return (
    <>
      <h1>Overview</h1>
      <ul className="tiles">
        <Tile
          label="running"
          value={counts.data && count(...ACTIVE_STATUSES)}
          href={link('runs', { status: ACTIVE_STATUSES.join(',') })}
          tone="running"
        />
        <Tile
          label="waiting"
          value={counts.data && count('queued', 'retrying', 'pending', 'paused')}
          href={link('runs', { status: 'queued,retrying,pending,paused' })}
          tone="queued"
        />
        <Tile
          label="succeeded"
          value={counts.data && count('succeeded', 'early_stopped')}
          href={link('runs', { status: 'succeeded,early_stopped' })}
          tone="succeeded"
        />
        <Tile
          label="failed"
          value={counts.data && count(...FAILED)}
          href={link('runs', { status: FAILED.join(',') })}
          tone={count(...FAILED) > 0 ? 'failed' : ''}
        />
        <Tile
          label={slots === 1 ? 'slot busy of 1' : `slots busy of ${slots}`}
          value={workers.data && active.length}
          href={link('machines')}
          tone=""
        />
      </ul>
      <div className="columns">
        <div>
          <Panel title="Running now" aside={<a href={link('runs', { status: ACTIVE_STATUSES.join(',') })}>All</a>}>
            <Loaded query={running}>
              {({ items }) =>
                items.length === 0 ? (
                  <Empty title="Nothing runs.">
                    <p>
                      {count('queued') > 0 ? (
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
                        <RunningCard run={run} worker={workers.data?.find(({ id }) => id === run.workerId)} />
                      </li>
                    ))}
                  </ul>
                )
              }
            </Loaded>
          </Panel>
          <Panel
            title="Queue"
            aside={<span className="dim">{count('pending') > 0 && `${count('pending')} more wait for a parent`}</span>}
          >
            <Loaded query={waiting}>
              {({ items }) => (
                <Table
                  caption="Queue"
                  empty="Nothing waits."
                  keys={inOrder(items)
                    .slice(0, 8)
                    .map(({ id }) => id)}
                  head={['ahead', 'run', 'project', 'priority', 'starts', 'waits since']}
                  rows={[
                    ...inOrder(items)
                      .slice(0, 8)
                      .map((run) => [
                        run.jobsAhead ?? '–',
                        <RunLink run={run} />,
                        run.project,
                        run.priority,
                        startOf(run),
                        <Ago at={run.createdAt} />,
                      ]),
                  ]}
                />
              )}
            </Loaded>
            {count('queued', 'retrying') > 8 && (
              <p className="more">
                <a href={link('runs', { status: WAITING.join(','), sort: 'createdAt' })}>
                  {count('queued', 'retrying') - 8} more
                </a>
              </p>
            )}
          </Panel>
          <Panel title="Failed lately" aside={<a href={link('runs', { status: FAILED.join(',') })}>All</a>}>
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
        </div>
        <div>
          <Panel title="Workers" aside={<a href={link('machines')}>All</a>}>
            <Loaded query={workers}>
              {() =>
                living.length === 0 ? (
                  <Empty title="No worker answers.">
                    <p>
                      Runs wait until one does: <code>loom up</code>, or start one on another machine.
                    </p>
                  </Empty>
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
        </div>
      </div>
    </>
  );
}

/** The order in which they start. */
const inOrder = (runs: Run[]): Run[] =>
  [...runs].sort((a, b) => (a.jobsAhead ?? 0) - (b.jobsAhead ?? 0) || a.createdAt.localeCompare(b.createdAt));

const WAITS = {
  slot: 'when a slot is free',
  max_running: 'project has all its runs',
  gpu_seconds: 'project has used its time',
  placement: 'no worker fits',
  backoff: 'again',
} as const;

function startOf({ waitsFor, predictedStartAt }: Run): string {
  if (predictedStartAt === null || waitsFor === 'gpu_seconds' || waitsFor === 'placement')
    return waitsFor ? WAITS[waitsFor] : '';
  const at = new Date(predictedStartAt);
  const time =
    at.getTime() - Date.now() < 86_400_000
      ? at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
      : at.toLocaleString([], { dateStyle: 'short', timeStyle: 'short' });
  return `${waitsFor === 'backoff' ? 'again at' : 'about'} ${time}`;
}

const Tile = ({
  label,
  value,
  href,
  tone,
}: {
  label: string;
  value: number | undefined;
  href: string;
  tone: string;
}) => (
  <li>
    <a href={href} className={`tile ${tone}`}>
      <b>{value ?? '…'}</b>
      <span>{label}</span>
    </a>
  </li>
);

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
