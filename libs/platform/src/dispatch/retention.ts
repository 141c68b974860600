import type { Database } from '../machine/database.js';
import { Prisma } from '../machine/database.js';
import { hasStatus } from '../runs/sql.js';
import { ACTIVE_STATUSES } from '#libs/contracts';

/** For how many days things stay; 0: for ever. */
export interface RetentionDays {
  /** Workers that have stopped, or fell silent, so long ago. */
  keepWorkersDays: number;
  /** For how long the repeat of a submit with the same Idempotency-Key returns what the first returned. */
  keepKeysDays: number;
  /** Events of runs that ended so long ago, other than those that tell their statuses. */
  keepEventsDays: number;
  /** Log lines of runs that ended so long ago. */
  keepLogsDays: number;
}

/** Rows that one statement removes: it holds no lock for long, and a leader that is stopped has lost little. */
const BATCH = 10_000;

/** What is removed in one round, by kind. */
export type Removed = Record<'workers' | 'keys' | 'events' | 'logLines' | 'points', number>;

/**
 * Lets go what nobody asks for any more, of everything that grows without an end. The leader does it from time to time.
 */
export class Retention {
  constructor(
    private readonly database: Database,
    private readonly days: RetentionDays,
  ) {}

  /**
   * Removes all that is due, in batches; stops between two of them when `signal` is aborted. May be repeated at any
   * time.
   */
  async sweep(signal?: AbortSignal): Promise<Removed> {
    const removed: Removed = { workers: 0, keys: 0, events: 0, logLines: 0, points: 0 };
    const tasks: [keyof Removed, Prisma.Sql | undefined][] = [
      ['points', POINTS_OF_DELETED_RUNS],
      ['workers', oldWorkers(this.days.keepWorkersDays)],
      ['keys', oldKeys(this.days.keepKeysDays)],
      ['events', ofEndedRuns('run_event', this.days.keepEventsDays)],
      ['logLines', ofEndedRuns('log_line', this.days.keepLogsDays)],
    ];
    for (const [kind, statement] of tasks) {
      if (!statement) continue;
      for (let count = BATCH; count === BATCH && !signal?.aborted;) {
        count = await this.database.prisma.$executeRaw(statement);
        removed[kind] += count;
      }
    }
    if (!signal?.aborted) await this.database.prisma.$executeRaw(DELETED_RUNS_WITHOUT_POINTS);
    return removed;
  }
}

const before = (days: number) => Prisma.sql`now() - make_interval(days => ${days}::int)`;

const POINTS_OF_DELETED_RUNS = Prisma.sql`
  DELETE FROM metric
  WHERE (run_id, key, step) IN (
    SELECT metric.run_id, metric.key, metric.step
    FROM deleted_run
    JOIN metric ON metric.run_id = deleted_run.id
    LIMIT ${BATCH})`;

const DELETED_RUNS_WITHOUT_POINTS = Prisma.sql`
  DELETE FROM deleted_run
  WHERE NOT EXISTS (SELECT 1 FROM metric WHERE metric.run_id = deleted_run.id)`;

/** One that still holds a run stays, however silent: the reconciler has a word to say first. */
const oldWorkers = (days: number) =>
  days > 0
    ? Prisma.sql`
        DELETE FROM worker
        WHERE id IN (
          SELECT id
          FROM worker
          WHERE heartbeat_at < ${before(days)}
            AND NOT EXISTS (SELECT 1 FROM run WHERE run.worker_id = worker.id AND ${hasStatus(ACTIVE_STATUSES)})
          LIMIT ${BATCH})`
    : undefined;

const oldKeys = (days: number) =>
  days > 0
    ? Prisma.sql`
        DELETE FROM idempotency_key
        WHERE (project, key) IN (
          SELECT project, key
          FROM idempotency_key
          WHERE created_at < ${before(days)}
          LIMIT ${BATCH})`
    : undefined;

/** Rows as old as that of runs that ended as long ago. What became of a run is told by its status events: they stay. */
const ofEndedRuns = (table: 'run_event' | 'log_line', days: number) =>
  days > 0
    ? Prisma.sql`
        DELETE FROM ${Prisma.raw(table)}
        WHERE id IN (
          SELECT old.id
          FROM ${Prisma.raw(table)} AS old
          JOIN run ON run.id = old.run_id
          WHERE old.at < ${before(days)}
            AND run.finished_at < ${before(days)}
            ${table === 'run_event' ? Prisma.sql`AND old.type NOT IN ('submitted', 'status')` : Prisma.empty}
          LIMIT ${BATCH})`
    : undefined;
