import { z } from 'zod';

export const RunStatus = z
  .enum([
    'pending',
    'queued',
    'running',
    'retrying',
    'pausing',
    'paused',
    'cancelling',
    'succeeded',
    'failed',
    'cancelled',
    'early_stopped',
    'timed_out',
    'upstream_failed',
  ])
  .meta({ id: 'RunStatus' });
export type RunStatus = z.infer<typeof RunStatus>;

/** A second column beside the status, so that `failed` stays one status. */
export const StatusReason = z
  .enum([
    'user_cancel',
    'user_pause',
    'worker_lost',
    'worker_crash',
    'preempted',
    'oom',
    'gpu_error',
    'nan_loss',
    'collapsed',
    'hung',
    'invalid_data',
    'invalid_spec',
    'disk_full',
    'internal_error',
    'parent_failed',
    'rung',
    'not_promoted',
    'below_median',
    'parent_early_stopped',
    'time_limit',
  ])
  .meta({ id: 'StatusReason', description: 'Why a run has its status.' });
export type StatusReason = z.infer<typeof StatusReason>;

/**
 * The state machine. `Transitions` is the only code that moves a run, and only along these arrows.
 * `upstream_failed` is left again when the failed parent is retried; `failed` and `cancelled` when the run itself is.
 * `pausing` goes back to `running` when the run is resumed before its worker has stopped it.
 */
const TRANSITIONS: Record<RunStatus, readonly RunStatus[]> = {
  pending: ['queued', 'cancelled', 'upstream_failed', 'early_stopped'],
  queued: ['running', 'cancelled', 'paused', 'early_stopped'],
  running: [
    'succeeded',
    'failed',
    'retrying',
    'queued',
    'cancelling',
    'cancelled',
    'pausing',
    'paused',
    'early_stopped',
    'timed_out',
  ],
  retrying: ['queued', 'running', 'cancelled', 'paused', 'early_stopped'],
  pausing: ['paused', 'running', 'cancelling', 'cancelled', 'failed', 'succeeded', 'early_stopped', 'timed_out'],
  paused: ['queued', 'cancelled', 'early_stopped'],
  cancelling: ['cancelled'],
  succeeded: [],
  failed: ['queued', 'pending'],
  cancelled: ['queued', 'pending'],
  early_stopped: [],
  timed_out: ['queued', 'pending'],
  upstream_failed: ['pending', 'queued'],
};

export const canMove = (from: RunStatus, to: RunStatus): boolean => TRANSITIONS[from].includes(to);

/** Statuses in which a run waits for a worker: it is in the outbox. */
export const WAITING_STATUSES = ['queued', 'retrying'] as const satisfies readonly RunStatus[];
/** Statuses in which a worker holds the run's lease. */
export const ACTIVE_STATUSES = ['running', 'pausing', 'cancelling'] as const satisfies readonly RunStatus[];
/** The run gets on in these without anybody's doing: a worker has it, or takes it in its turn. */
export const UNDER_WAY_STATUSES = [...WAITING_STATUSES, ...ACTIVE_STATUSES] as const satisfies readonly RunStatus[];
/** Statuses in which a run has not ended. */
export const OPEN_STATUSES = ['pending', 'paused', ...UNDER_WAY_STATUSES] as const satisfies readonly RunStatus[];
export const TERMINAL_STATUSES = [
  'succeeded',
  'failed',
  'cancelled',
  'early_stopped',
  'timed_out',
  'upstream_failed',
] as const satisfies readonly RunStatus[];
/** A run in one of these can still give, or has given, a result: another submit of the same digest attaches to it. */
export const REUSABLE_STATUSES = [
  'pending',
  'queued',
  'running',
  'retrying',
  'pausing',
  'paused',
  'succeeded',
] as const satisfies readonly RunStatus[];
export const RETRYABLE_STATUSES = [
  'failed',
  'cancelled',
  'timed_out',
  'upstream_failed',
] as const satisfies readonly RunStatus[];

/** It has failed in these, or can't be tried for a parent that has: nobody wanted it so. */
export const FAILED_STATUSES = ['failed', 'timed_out', 'upstream_failed'] as const satisfies readonly RunStatus[];

/** What people ask of runs, and the statuses in which a run can do it. */
export const RUN_ACTIONS = {
  cancel: ['pending', 'queued', 'running', 'retrying', 'pausing', 'paused'],
  pause: ['queued', 'retrying', 'running'],
  resume: ['pausing', 'paused'],
  retry: RETRYABLE_STATUSES,
  archive: TERMINAL_STATUSES,
  unarchive: TERMINAL_STATUSES,
} as const satisfies Record<string, readonly RunStatus[]>;
export type RunAction = keyof typeof RUN_ACTIONS;

export const isTerminal = (status: RunStatus): boolean => (TERMINAL_STATUSES as readonly RunStatus[]).includes(status);
