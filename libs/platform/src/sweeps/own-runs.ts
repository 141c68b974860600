import { RUN_ACTIONS, type RunStatus } from '#libs/contracts';
import type { Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import type { Runs } from '../runs/runs.js';
import { hasStatus } from '../runs/sql.js';

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
