/**
 * Conditions and measures that statements share: which statuses a run may have, which workers live, and how long an
 * attempt or a run took. Each is written here and nowhere else.
 */
import type { RunStatus } from '#libs/contracts';
import { Prisma } from '../machine/database.js';

/**
 * The run under this alias has one of these statuses. They come from `run-status.ts` and stand in the text as they are,
 * so that the planner sees which.
 */
export const hasStatus = (statuses: readonly RunStatus[], alias = 'run'): Prisma.Sql =>
  Prisma.raw(`${alias}.status IN (${statuses.map((status) => `'${status}'`).join(', ')})`);

export const interval = (milliseconds: number): Prisma.Sql =>
  Prisma.sql`make_interval(secs => ${milliseconds / 1000}::float8)`;

/** The worker under this alias has said something within the lease. */
const heard = (leaseMs: number, alias: string) =>
  Prisma.sql`${Prisma.raw(alias)}.heartbeat_at > now() - ${interval(leaseMs)}`;

/** The worker under this alias answers, whether it takes runs or is on its way out. */
export const isAlive = (leaseMs: number, alias = 'worker'): Prisma.Sql =>
  Prisma.sql`(${Prisma.raw(alias)}.state <> 'stopped' AND ${heard(leaseMs, alias)})`;

/** The worker under this alias answers and takes runs. */
export const takesRuns = (leaseMs: number, alias = 'worker'): Prisma.Sql => {
  const worker = Prisma.raw(alias);
  return Prisma.sql`(${worker}.state = 'running' AND ${worker}.impairment IS NULL AND ${heard(leaseMs, alias)})`;
};

/** How long the attempt under this alias took, or has taken until now, in seconds (a `numeric`). */
export const attemptSeconds = (alias = 'attempt'): Prisma.Sql =>
  Prisma.raw(`extract(epoch FROM coalesce(${alias}.ended_at, now()) - ${alias}.started_at)`);

/**
 * Seconds that count toward the time limit of the row `run`: those of its attempts since it was submitted or last
 * retried (a `numeric`).
 */
export const spentSeconds = Prisma.sql`(
  SELECT coalesce(sum(${attemptSeconds('counted')}), 0)
  FROM attempt AS counted
  WHERE counted.run_id = run.id AND counted.attempt > run.attempts_before)`;

/** The row `run` has a time limit and has used it up, by this many milliseconds or more. */
export const isOutOfTime = (byMs = 0): Prisma.Sql =>
  Prisma.sql`(run.max_seconds IS NOT NULL AND ${spentSeconds} >= run.max_seconds + ${byMs / 1000}::float8)`;
