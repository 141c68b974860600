import { ACTIVE_STATUSES, canMove, type RunStatus, type StatusReason } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import type { Transitions } from './transitions.js';

/** What sweeps ask of a run: how far it is trained before it is looked at, and whether it goes on. */
export class Rungs {
  constructor(private readonly transitions: Transitions) {}

  /** Lifts the rung of runs whose result somebody needs in full: no sweep stops them early any more. */
  async needInFull(tx: Transaction, runIds: readonly string[]): Promise<void> {
    const freed = await tx.$queryRaw<{ id: string }[]>`
      UPDATE run SET stop_at_step = NULL
      WHERE id = ANY(${[...runIds]}::uuid[]) AND stop_at_step IS NOT NULL
      RETURNING id`;
    for (const { id } of freed) await this.leaveRung(tx, id);
  }

  /**
   * Lets a run go on to this step, where it is judged next; null: to its end. A run that may go further already is not
   * held back.
   */
  async letOn(tx: Transaction, runId: string, toStep: number | null): Promise<void> {
    if (toStep === null) return this.needInFull(tx, [runId]);
    const moved = await tx.$queryRaw<unknown[]>`
      UPDATE run SET stop_at_step = ${toStep}
      WHERE id = ${runId}::uuid AND stop_at_step < ${toStep}
      RETURNING id`;
    if (moved.length) await this.leaveRung(tx, runId);
  }

  /** Sets the step at which a run that has not begun is judged first. */
  async stopAt(tx: Transaction, runId: string, step: number): Promise<void> {
    await tx.$executeRaw`UPDATE run SET stop_at_step = ${step} WHERE id = ${runId}::uuid AND attempt = 0`;
  }

  /**
   * Ends a run that was judged not worth going on, whatever its status, and with it the runs that wait for it. A worker
   * that holds it hears that its lease is over.
   */
  async stopEarly(tx: Transaction, runId: string, reason: StatusReason, detail: string): Promise<void> {
    const status = await this.transitions.lock(tx, runId);
    if (!canMove(status, 'early_stopped')) return;
    const active = (ACTIVE_STATUSES as readonly RunStatus[]).includes(status);
    const moved = await this.transitions.move(tx, {
      runId,
      from: [status],
      to: 'early_stopped',
      reason,
      detail,
      set: [Prisma.sql`lease_until = NULL`],
      ...(active && { outcome: 'early_stopped' }),
    });
    if (moved && active) await tx.$executeRaw`SELECT pg_notify('run_control', ${runId})`;
  }

  private async leaveRung(tx: Transaction, runId: string): Promise<void> {
    const waiting = await tx.$queryRaw<unknown[]>`
      SELECT id
      FROM run
      WHERE id = ${runId}::uuid AND status = 'paused' AND status_reason = 'rung'
      FOR UPDATE`;
    if (waiting.length === 0) return;
    await this.transitions.move(tx, {
      runId,
      from: ['paused'],
      to: 'queued',
      reason: null,
      detail: null,
      data: { by: 'sweep' },
    });
  }
}
