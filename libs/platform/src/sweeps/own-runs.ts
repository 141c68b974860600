import { RUN_ACTIONS, TERMINAL_STATUSES, type RunStatus } from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import type { Runs } from '../runs/runs.js';
import { hasStatus } from '../runs/sql.js';

/** Runs that one transaction archives. */
const ARCHIVE_BATCH = 500;

/**
 * What happens to a sweep's runs together. A run that ends at that very moment is left as it ended: the others are
 * cancelled, paused or resumed all the same.
 */
export class OwnRuns {
  constructor(private readonly runs: Runs) {}

  async cancel(tx: Transaction, sweepId: string): Promise<void> {
    // A child that a cancelled parent has just failed has ended already.
    for (const id of await this.unneeded(tx, sweepId, RUN_ACTIONS.cancel))
      await unlessEnded(this.runs.requests.cancelWithin(tx, id));
  }

  async pause(tx: Transaction, sweepId: string): Promise<void> {
    for (const id of await this.unneeded(tx, sweepId, RUN_ACTIONS.pause))
      await unlessEnded(this.runs.requests.pauseWithin(tx, id));
  }

  /** Those that were paused with the sweep or by name, not those that wait at a rung. */
  async resume(tx: Transaction, sweepId: string): Promise<void> {
    const paused = await tx.$queryRaw<{ id: string }[]>`
      SELECT DISTINCT r.id
      FROM trial_run t
      JOIN run r ON r.id = t.run_id
      WHERE t.sweep_id = ${sweepId}::uuid AND ${hasStatus(RUN_ACTIONS.resume, 'r')} AND r.status_reason = 'user_pause'
      ORDER BY r.id`;
    for (const { id } of paused) await unlessEnded(this.runs.requests.resumeWithin(tx, id));
  }

  /**
   * Archives ended runs that the sweep started, that no other sweep has and nobody has asked for by name, or brings
   * all of its runs back: in batches, each a transaction. Returns how many.
   */
  async archive(database: Database, sweepId: string, archived: boolean): Promise<number> {
    const chosen = archived
      ? Prisma.sql`
          r.archived_at IS NULL AND ${hasStatus(TERMINAL_STATUSES, 'r')}
          AND NOT EXISTS (SELECT 1 FROM run_event asked WHERE asked.run_id = r.id AND asked.type = 'asked')
          AND NOT EXISTS (
            SELECT 1 FROM trial_run other WHERE other.run_id = r.id AND other.sweep_id <> ${sweepId}::uuid)
          AND EXISTS (SELECT 1 FROM trial_run origin WHERE origin.run_id = r.id AND NOT origin.reused)`
      : Prisma.sql`r.archived_at IS NOT NULL`;
    for (let total = 0; ;) {
      const batch = await database.transaction(
        (tx) => tx.$queryRaw<unknown[]>`
          WITH chosen AS (
            SELECT r.id
            FROM run r
            WHERE r.id IN (SELECT run_id FROM trial_run WHERE sweep_id = ${sweepId}::uuid) AND ${chosen}
            ORDER BY r.id
            LIMIT ${ARCHIVE_BATCH}
            FOR UPDATE),
          changed AS (
            UPDATE run
            SET archived_at = CASE WHEN ${archived} THEN now() END
            FROM chosen
            WHERE run.id = chosen.id
            RETURNING run.id)
          SELECT pg_notify('run_changed', id::text)::text AS told
          FROM changed`,
      );
      total += batch.length;
      if (batch.length < ARCHIVE_BATCH) return total;
    }
  }

  /** Runs of these statuses that sweeps started, and that no other sweep needs and nobody has asked for by name. */
  private async unneeded(tx: Transaction, sweepId: string, statuses: readonly RunStatus[]): Promise<string[]> {
    const own = await tx.$queryRaw<{ id: string }[]>`
      SELECT DISTINCT r.id
      FROM trial_run t
      JOIN run r ON r.id = t.run_id
      WHERE t.sweep_id = ${sweepId}::uuid AND ${hasStatus(statuses, 'r')}
        AND EXISTS (SELECT 1 FROM trial_run origin WHERE origin.run_id = r.id AND NOT origin.reused)
        AND NOT EXISTS (SELECT 1 FROM run_event asked WHERE asked.run_id = r.id AND asked.type = 'asked')
        AND NOT EXISTS (
          SELECT 1
          FROM trial_run other
          JOIN sweep s ON s.id = other.sweep_id
          WHERE other.run_id = r.id AND other.sweep_id <> t.sweep_id AND s.cancelled_at IS NULL AND s.paused_at IS NULL)
      ORDER BY r.id`;
    return own.map(({ id }) => id);
  }
}

async function unlessEnded(change: Promise<void>): Promise<void> {
  try {
    await change;
  } catch (error) {
    if (!(error instanceof RequestError && error.code === 'invalid_state')) throw error;
  }
}
