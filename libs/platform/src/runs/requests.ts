import { canMove, isTerminal, RETRYABLE_STATUSES, type RunChanges, type RunStatus } from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import type { Transitions } from './transitions.js';

/** What people ask of a run. Each has a form that is a part of something larger. */
export class Requests {
  constructor(
    private readonly database: Database,
    private readonly transitions: Transitions,
  ) {}

  /**
   * A run that waits is cancelled at once. One that runs is told to stop, and is cancelled when its worker has stopped
   * it.
   * @throws RequestError `not_found`; `invalid_state` for a run that has ended otherwise.
   */
  async cancel(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.cancelWithin(tx, runId));
  }

  /** `cancel` as a part of something larger. */
  async cancelWithin(tx: Transaction, runId: string): Promise<void> {
    const status = await this.transitions.lock(tx, runId);
    if (status === 'cancelled' || status === 'cancelling') return;
    if (status === 'running' || status === 'pausing') {
      await this.transitions.move(tx, {
        runId,
        from: [status],
        to: 'cancelling',
        reason: 'user_cancel',
        set: [Prisma.sql`cancel_requested_at = now()`],
      });
      await tx.$executeRaw`SELECT pg_notify('run_control', ${runId})`;
    } else if (canMove(status, 'cancelled')) {
      await this.transitions.move(tx, { runId, from: [status], to: 'cancelled', reason: 'user_cancel' });
    } else {
      throw new RequestError('invalid_state', `expected a run that has not ended, got one that is ${status}`);
    }
  }

  /**
   * Changes what a run is called, what is said of it and, of one that has not ended, its priority: one that waits in
   * Postgres for a worker takes its new place in the line. What workers are about to take stays with them.
   * @throws RequestError `not_found`; `invalid_state` for the priority of a run that has ended.
   */
  async change(runId: string, { name, notes, tags, priority }: RunChanges): Promise<void> {
    await this.database.transaction(async (tx) => {
      const status = await this.transitions.lock(tx, runId);
      if (priority !== undefined && isTerminal(status))
        throw new RequestError(
          'invalid_state',
          `expected no priority for a run that has ended, got one for a run that is ${status}`,
        );
      await tx.run.updateMany({
        where: { id: runId },
        data: {
          ...(name !== undefined && { name }),
          ...(notes !== undefined && { notes }),
          ...(tags !== undefined && { tags: [...new Set(tags)] }),
          ...(priority !== undefined && { priority }),
        },
      });
      if (priority !== undefined)
        await tx.$executeRaw`UPDATE outbox SET urgency = ${100 - priority} WHERE run_id = ${runId}::uuid`;
      await tx.$executeRaw`SELECT pg_notify('run_changed', ${runId})`;
    });
  }

  /**
   * Lists leave the run out from now on; nothing else changes: what asks for the same still takes its result.
   * @throws RequestError `not_found`; `invalid_state` for a run that has not ended.
   */
  async archive(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.archiveWithin(tx, runId));
  }

  /** `archive` as a part of something larger. */
  async archiveWithin(tx: Transaction, runId: string): Promise<void> {
    const status = await this.transitions.lock(tx, runId);
    if (!isTerminal(status))
      throw new RequestError(
        'invalid_state',
        `expected a run that has ended, got one that is ${status}: what goes on is not archived, cancel it first`,
      );
    await this.setArchived(tx, runId, true);
  }

  /** Lists have the run again. @throws RequestError `not_found` */
  async unarchive(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.unarchiveWithin(tx, runId));
  }

  /** `unarchive` as a part of something larger. */
  async unarchiveWithin(tx: Transaction, runId: string): Promise<void> {
    await this.transitions.lock(tx, runId);
    await this.setArchived(tx, runId, false);
  }

  private async setArchived(tx: Transaction, runId: string, archived: boolean): Promise<void> {
    const at = archived ? Prisma.sql`coalesce(archived_at, now())` : Prisma.sql`NULL`;
    await tx.$executeRaw`UPDATE run SET archived_at = ${at} WHERE id = ${runId}::uuid`;
    await tx.$executeRaw`SELECT pg_notify('run_changed', ${runId})`;
  }

  /**
   * A run that waits is paused at once, and nothing takes it until it is resumed. One that runs is told to write a
   * checkpoint and stop, and is paused when its worker has stopped it.
   * @throws RequestError `not_found`; `invalid_state` for a run that has ended, is being cancelled or waits for a
   *   parent.
   */
  async pause(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.pauseWithin(tx, runId));
  }

  /** `pause` as a part of something larger. */
  async pauseWithin(tx: Transaction, runId: string): Promise<void> {
    const status = await this.transitions.lock(tx, runId);
    if (status === 'paused' || status === 'pausing') return;
    if (status === 'running') {
      await this.transitions.move(tx, { runId, from: [status], to: 'pausing', reason: 'user_pause' });
      await tx.$executeRaw`SELECT pg_notify('run_control', ${runId})`;
    } else if (canMove(status, 'paused')) {
      await this.transitions.move(tx, {
        runId,
        from: [status],
        to: 'paused',
        reason: 'user_pause',
        set: [Prisma.sql`next_start_at = NULL`],
      });
    } else {
      const todo = status === 'pending' ? ': it waits for a parent, pause that one' : '';
      throw new RequestError(
        'invalid_state',
        `expected a run that is queued, retrying or running, got one that is ${status}${todo}`,
      );
    }
  }

  /**
   * Queues a paused run; it goes on from its checkpoint as the next attempt, uncharged. One that is still `pausing` is
   * running again: where its trainer has been told to stop already, it is handed back and queued. One that waits at a
   * rung of a sweep is trained in full.
   * @throws RequestError `not_found`; `invalid_state` for a run that is not paused.
   */
  async resume(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.resumeWithin(tx, runId));
  }

  /** `resume` as a part of something larger. */
  async resumeWithin(tx: Transaction, runId: string): Promise<void> {
    const status = await this.transitions.lock(tx, runId);
    if (status !== 'paused' && status !== 'pausing')
      throw new RequestError('invalid_state', `expected a run that is paused, got one that is ${status}`);
    await this.transitions.move(tx, {
      runId,
      from: [status],
      to: status === 'paused' ? 'queued' : 'running',
      reason: null,
      detail: null,
      data: { by: 'resume' },
      set: [Prisma.sql`stop_at_step = CASE WHEN status_reason = 'rung' THEN NULL ELSE stop_at_step END`],
    });
  }

  /**
   * Queues a run again that failed, timed out or was cancelled. It goes on from its last checkpoint with a fresh budget
   * of failures and of time, and the runs that wait for it wait again.
   * @throws RequestError `not_found`; `invalid_state` for a run that did not end this way, or whose parent has to be
   *   retried first.
   */
  async retry(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.retryWithin(tx, runId));
  }

  async retryWithin(tx: Transaction, runId: string): Promise<void> {
    const status = await this.transitions.lock(tx, runId);
    if (!(RETRYABLE_STATUSES as readonly RunStatus[]).includes(status)) {
      throw new RequestError(
        'invalid_state',
        `expected a run that is ${RETRYABLE_STATUSES.join(', ')}, got one that is ${status}`,
      );
    }
    const parents = await tx.$queryRaw<{ id: string; status: RunStatus }[]>`
      SELECT p.id, p.status::text AS status
      FROM run_dependency d JOIN run p ON p.id = d.parent_id
      WHERE d.run_id = ${runId}::uuid
      FOR SHARE OF p`;
    const dead = parents.find((parent) => (RETRYABLE_STATUSES as readonly RunStatus[]).includes(parent.status));
    if (dead)
      throw new RequestError(
        'invalid_state',
        `expected a run whose parent can succeed, but its parent ${dead.id} is ${dead.status}: retry that one`,
      );
    const to = parents.every((parent) => parent.status === 'succeeded') ? 'queued' : 'pending';
    await this.transitions.move(tx, {
      runId,
      from: [status],
      to,
      reason: null,
      detail: null,
      data: { by: 'retry' },
      set: [
        Prisma.sql`failures = 0, losses = 0, finished_at = NULL, cancel_requested_at = NULL, attempts_before = attempt`,
      ],
    });
  }
}
