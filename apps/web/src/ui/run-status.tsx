/** A run by its name, and how it stands. */
import {
  ACTIVE_STATUSES,
  duration,
  FAILED_STATUSES,
  isTerminal,
  runLabel,
  WAITING_STATUSES,
  type Run,
  type RunStatus,
} from '#libs/contracts';
import { meter } from '../data/queries.js';
import { link } from '../route.js';
import { useNow } from './time.js';

export const RunLink = ({ run }: { run: Pick<Run, 'name' | 'kind' | 'id'> }) => (
  <a href={link(`runs/${run.id}`)}>{runLabel(run)}</a>
);

const WORDS: Record<string, string> = {
  upstream_failed: 'parent failed',
  timed_out: 'timed out',
  early_stopped: 'stopped early',
};

export const Status = ({ status, reason }: { status: string; reason?: string | null }) => (
  <span className={`status ${status}`}>
    <i aria-hidden="true" />
    {WORDS[status] ?? status}
    {reason && status !== 'succeeded' ? <small> {reason.replaceAll('_', ' ')}</small> : null}
  </span>
);

/** A bar with what is left; without a known number of steps it only says that something happens. */
export function Progress({
  run,
  attempt,
}: {
  run: Run;
  attempt?: { startedAt: string; resumedFromStep: number } | undefined;
}) {
  const now = useNow();
  if (run.status === 'succeeded')
    return (
      <span className="dim">
        {run.startedAt && run.finishedAt
          ? duration((Date.parse(run.finishedAt) - Date.parse(run.startedAt)) / 1000)
          : 'done'}
      </span>
    );
  if (run.totalSteps === null)
    return run.status === 'running' ? <progress aria-label="working" /> : <span className="dim">–</span>;
  const part = Math.min(1, run.step / run.totalSteps);
  const [rate, left] =
    run.status === 'running' ? [meter.rate(run, now, attempt), meter.remaining(run, now, attempt)] : [];
  return (
    <span className="progress">
      <progress max={1} value={part} aria-label={`${Math.round(100 * part)} % of ${run.totalSteps} steps`} />
      <span>
        <b>{Math.floor(100 * part)} %</b>
        {left !== undefined && <> · {duration(left)} left</>}
        {rate !== undefined && (
          <span className="dim"> · {rate >= 10 ? Math.round(rate) : rate.toPrecision(2)} steps/s</span>
        )}
      </span>
    </span>
  );
}

/** Counts by status as one bar. */
export function StatusBar({ counts }: { counts: Record<string, number> }) {
  const entries = Object.entries(counts)
    .filter(([, count]) => count > 0)
    .sort(([a], [b]) => BAR_ORDER.indexOf(a) - BAR_ORDER.indexOf(b));
  const text = entries.map(([status, count]) => `${count} ${WORDS[status] ?? status}`).join(', ');
  return (
    <span className="statusbar">
      <span className="bar" role="img" aria-label={text}>
        {entries.map(([status, count]) => (
          <i key={status} className={status} style={{ flexGrow: count }} />
        ))}
      </span>
      <small>{text}</small>
    </span>
  );
}

const BAR_ORDER = [
  'succeeded',
  'early_stopped',
  'running',
  'pausing',
  'cancelling',
  'retrying',
  'queued',
  'pending',
  'paused',
  'cancelled',
  'timed_out',
  'failed',
  'upstream_failed',
];

/** Statuses as people count them. */
export const STATUS_GROUPS = {
  running: ACTIVE_STATUSES,
  waiting: [...WAITING_STATUSES, 'pending'],
  paused: ['paused'],
  succeeded: ['succeeded', 'early_stopped'],
  failed: FAILED_STATUSES,
  cancelled: ['cancelled'],
} as const satisfies Record<string, readonly RunStatus[]>;

export const isLive = (run: Pick<Run, 'status'>): boolean => !isTerminal(run.status);
