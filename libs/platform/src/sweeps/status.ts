/** What becomes of a sweep and of a trial by the statuses of its runs: said here and nowhere else, as SQL. */
import { FAILED_STATUSES, OPEN_STATUSES, UNDER_WAY_STATUSES, type RunStatus } from '#libs/contracts';
import { Prisma } from '../machine/database.js';
import { hasStatus } from '../runs/sql.js';

/** A run that ended so is none that keeps its sweep from success. */
const WELL = ['succeeded', 'early_stopped'] as const satisfies readonly RunStatus[];

/** The row `sweep` has a run of which this holds. */
const hasRun = (condition: Prisma.Sql): Prisma.Sql => Prisma.sql`EXISTS (
  SELECT 1
  FROM trial_run place JOIN run ON run.id = place.run_id
  WHERE place.sweep_id = sweep.id AND ${condition})`;

/** `SweepStatus` of the row `sweep`. */
export const SWEEP_STATUS = Prisma.sql`
  CASE
    WHEN sweep.steered OR ${hasRun(hasStatus(OPEN_STATUSES))} THEN
      CASE WHEN sweep.paused_at IS NOT NULL AND sweep.cancelled_at IS NULL THEN 'paused' ELSE 'running' END
    WHEN sweep.cancelled_at IS NOT NULL THEN 'cancelled'
    WHEN sweep.halt_reason IS NULL AND NOT ${hasRun(Prisma.sql`NOT ${hasStatus(WELL)}`)} THEN 'succeeded'
    ELSE 'failed'
  END`;

/** One of the runs of a trial, in a statement over them as `run`, is in one of these statuses. */
const some = (...statuses: readonly RunStatus[]): Prisma.Sql => Prisma.sql`bool_or(${hasStatus(statuses)})`;

/**
 * `TrialStatus` of the row `trial`: what its runs, or that it has none yet, make of it. One with a draft and without
 * runs has not been started. A run that is paused at a rung waits for others, and is not paused by anybody.
 */
export const TRIAL_STATUS = Prisma.sql`(
  SELECT CASE
    WHEN count(*) = 0 THEN
      CASE
        WHEN trial.outcome = 'early_stopped' THEN 'early_stopped'
        WHEN trial.outcome IS NOT NULL OR trial.draft IS NULL THEN 'failed'
        ELSE 'held'
      END
    WHEN ${some(...FAILED_STATUSES)} THEN 'failed'
    WHEN ${some(...UNDER_WAY_STATUSES)} THEN 'running'
    WHEN bool_or(${hasStatus(['paused'])} AND run.status_reason IS DISTINCT FROM 'rung') THEN 'paused'
    WHEN ${some('paused')} THEN 'waiting'
    WHEN ${some('pending')} THEN 'running'
    WHEN ${some('cancelled')} THEN 'cancelled'
    WHEN ${some('early_stopped')} THEN 'early_stopped'
    ELSE 'succeeded'
  END
  FROM trial_run place JOIN run ON run.id = place.run_id
  WHERE place.sweep_id = trial.sweep_id AND place.index = trial.index)`;
