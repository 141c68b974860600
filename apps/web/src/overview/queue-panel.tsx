import type { Run } from '#libs/contracts';
import { client, useLive } from '../data/queries.js';
import { link } from '../route.js';
import { Panel, Table } from '../ui/panel.js';
import { RunLink } from '../ui/run-status.js';
import { Loaded } from '../ui/states.js';
import { Ago } from '../ui/time.js';

const WAITING = ['queued', 'retrying'] as const;
const MOST_SHOWN = 8;

/** The runs that start next. `queued`, `pending`: how many wait for a slot, and how many for a parent. */
export function QueuePanel({ queued, pending }: { queued: number; pending: number }) {
  const waiting = useLive(['runs', 'waiting'], () =>
    client.runs({ status: [...WAITING], sort: 'createdAt', limit: 200 }),
  );
  return (
    <Panel title="Queue" aside={<span className="dim">{pending > 0 && `${pending} more wait for a parent`}</span>}>
      <Loaded query={waiting}>
        {({ items }) => {
          const next = inOrder(items).slice(0, MOST_SHOWN);
          return (
            <Table
              caption="Queue"
              empty="Nothing waits."
              keys={next.map(({ id }) => id)}
              head={['ahead', 'run', 'project', 'priority', 'starts', 'waits since']}
              rows={next.map((run) => [
                run.jobsAhead ?? '–',
                <RunLink run={run} />,
                run.project,
                run.priority,
                startOf(run),
                <Ago at={run.createdAt} />,
              ])}
            />
          );
        }}
      </Loaded>
      {queued > MOST_SHOWN && (
        <p className="more">
          <a href={link('runs', { status: WAITING.join(','), sort: 'createdAt' })}>{queued - MOST_SHOWN} more</a>
        </p>
      )}
    </Panel>
  );
}

/** Waiting runs in the order in which they are to start. */
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
