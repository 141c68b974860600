/**
 * The life of a run. This is the only code that changes a run's status: each change is one transaction that compares
 * and sets along an allowed transition, appends an event and notifies.
 */
import { canMove, isTerminal, RETRYABLE_STATUSES, type RunStatus, type StatusReason } from '#libs/contracts';
import { Prisma, type Transaction } from '../machine/database.js';
import { RequestError } from '../request-error.js';
import { hasStatus } from './sql.js';
import type { Token } from './token.js';
import { tellable } from './tellable.js';

export interface Move {
  runId: string;
  from: readonly RunStatus[];
  to: RunStatus;
  /** Set where a worker acts: the run must still be at this attempt. */
  attempt?: number;
  /** Left as it is where it is left out; null clears it. */
  reason?: StatusReason | null;
  detail?: string | null;
  /** Assignments to further columns of `run`. */
  set?: readonly Prisma.Sql[];
  /** Further fields of the event. */
  data?: Record<string, unknown>;
  /** Set where the attempt ends with the move: what becomes of it. */
  outcome?: string;
}

export interface Moved {
  attempt: number;
  failures: number;
  losses: number;
}

export class Transitions {
  /**
   * Locks a run until the transaction ends. Returns its status.
   * @throws RequestError `not_found`
   */
  async lock(tx: Transaction, runId: string): Promise<RunStatus> {
    const status = await this.lockIfThere(tx, runId);
    if (status === undefined)
      throw new RequestError('not_found', `expected the id of a run, got ${runId}: there is no such run`);
    return status;
  }

  /** `lock`; undefined where there is no such run. */
  async lockIfThere(tx: Transaction, runId: string): Promise<RunStatus | undefined> {
    const [row] = await tx.$queryRaw<{ status: RunStatus }[]>`
      SELECT status::text AS status
      FROM run
      WHERE id = ${runId}::uuid
      FOR UPDATE`;
    return row?.status;
  }

  /**
   * Moves a run along an arrow of the state machine, queues a message where the run has to be dispatched, and carries
   * the change to the runs that depend on this one. Undefined when the run was not where it was expected.
   */
  async move(tx: Transaction, move: Move): Promise<Moved | undefined> {
    const { runId, from, to } = move;
    for (const status of from)
      if (!canMove(status, to)) throw new TypeError(`expected an allowed transition, got ${status} → ${to}`);
    const [run] = await tx.$queryRaw<Moved[]>(compareAndSet(move));
    if (!run) return undefined;
    if (to === 'queued' || to === 'retrying') await this.enqueue(tx, [runId]);
    if (to === 'succeeded') await this.queueChildren(tx, runId);
    else if (isTerminal(to)) await this.failChildren(tx, runId, to);
    else if (from.some((status) => (RETRYABLE_STATUSES as readonly RunStatus[]).includes(status)))
      await this.bringBackSweeps(tx, [runId, ...(await this.rearmChildren(tx, runId))]);
    return run;
  }

  /** Ends an attempt: whatever the run becomes, its worker no longer holds it. False when the token no longer held. */
  async end(
    tx: Transaction,
    token: Token,
    ending: Pick<Move, 'from' | 'to' | 'reason' | 'detail' | 'set'> & { outcome?: string },
  ): Promise<boolean> {
    const { outcome = ending.to, ...change } = ending;
    const moved = await this.move(tx, {
      ...change,
      outcome,
      runId: token.runId,
      attempt: token.attempt,
      set: [Prisma.sql`lease_until = NULL`, ...(change.set ?? [])],
    });
    return moved !== undefined;
  }

  /** Puts runs that are queued into the line of those that wait for a worker. */
  async enqueue(tx: Transaction, runIds: readonly string[]): Promise<void> {
    await tx.$executeRaw`
      INSERT INTO outbox (run_id, attempt, not_before, project, urgency, submitted_at, placement)
      SELECT
        id,
        attempt + 1,
        coalesce(next_start_at, now()),
        project,
        100 - priority,
        created_at,
        CASE
          WHEN required_labels = '{}' AND required_gpu IS NULL THEN ''
          ELSE md5(jsonb_build_array(required_labels, required_gpu)::text)
        END
      FROM run
      WHERE id = ANY(${[...runIds]}::uuid[])
      ON CONFLICT (run_id, attempt) DO UPDATE SET dispatched_at = NULL, not_before = excluded.not_before`;
    await tx.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /** Queues pending runs whose parents have all succeeded, whoever they are. Returns how many. */
  async queueReady(tx: Transaction): Promise<number> {
    return this.queueThose(tx, Prisma.sql`true`);
  }

  /**
   * `pending` → `queued` for the children of a run that has succeeded, where it was the last that they waited for. The
   * children are locked first and their parents looked at in a statement that begins afterwards: of two parents that
   * end at once the later to come here sees that the other has ended.
   */
  private async queueChildren(tx: Transaction, parentId: string): Promise<void> {
    const waiting = await tx.$queryRaw<{ id: string }[]>`
      SELECT id
      FROM run
      WHERE status = 'pending' AND id IN (SELECT run_id FROM run_dependency WHERE parent_id = ${parentId}::uuid)
      ORDER BY id
      FOR NO KEY UPDATE`;
    if (waiting.length === 0) return;
    await this.queueThose(tx, Prisma.sql`run.id = ANY(${waiting.map(({ id }) => id)}::uuid[])`);
  }

  /** Queues those pending runs that meet a condition and whose parents have all succeeded. Returns how many. */
  private async queueThose(tx: Transaction, condition: Prisma.Sql): Promise<number> {
    const ready = await tx.$queryRaw<{ id: string }[]>`
      UPDATE run SET status = 'queued'
      WHERE status = 'pending' AND ${condition} AND NOT EXISTS (
        SELECT 1
        FROM run_dependency d JOIN run p ON p.id = d.parent_id
        WHERE d.run_id = run.id AND p.status <> 'succeeded')
      RETURNING id`;
    const ids = ready.map(({ id }) => id);
    if (ids.length === 0) return 0;
    await this.statusEvents(tx, ids, { status: 'queued' });
    await this.enqueue(tx, ids);
    return ids.length;
  }

  /**
   * `pending` → `upstream_failed` for everything that waits for this run, or `early_stopped` like it: that is no
   * failure.
   */
  private async failChildren(tx: Transaction, parentId: string, became: RunStatus): Promise<void> {
    const early = became === 'early_stopped';
    const [status, reason] = early
      ? (['early_stopped', 'parent_early_stopped'] as const)
      : (['upstream_failed', 'parent_failed'] as const);
    const detail = early
      ? `its parent run ${parentId} was stopped early`
      : `its parent run ${parentId} is ${became}: retry that one and this run waits for it again`;
    const failed = await tx.$queryRaw<{ id: string }[]>`
      ${descendants(parentId)}
      UPDATE run
      SET status = ${status}::text::run_status, status_reason = ${reason}, status_detail = ${detail},
        finished_at = now()
      WHERE status = 'pending' AND id IN (SELECT run_id FROM descendant)
      RETURNING id`;
    const ids = failed.map(({ id }) => id);
    await this.statusEvents(tx, ids, { status, reason });
  }

  /** `upstream_failed` → `pending` for everything that waited for this run. Returns what did. */
  private async rearmChildren(tx: Transaction, parentId: string): Promise<string[]> {
    const armed = await tx.$queryRaw<{ id: string }[]>`
      ${descendants(parentId)}
      UPDATE run
      SET status = 'pending', status_reason = NULL, status_detail = NULL, finished_at = NULL, archived_at = NULL
      WHERE status = 'upstream_failed' AND id IN (SELECT run_id FROM descendant)
      RETURNING id`;
    const ids = armed.map(({ id }) => id);
    await this.statusEvents(tx, ids, { status: 'pending' });
    return ids;
  }

  /** Takes sweeps out of the archive of which some runs go on again. */
  private async bringBackSweeps(tx: Transaction, runIds: readonly string[]): Promise<void> {
    await tx.$executeRaw`
      UPDATE sweep SET archived_at = NULL
      WHERE archived_at IS NOT NULL
        AND id IN (SELECT sweep_id FROM trial_run WHERE run_id = ANY(${[...runIds]}::uuid[]))`;
  }

  private async statusEvents(tx: Transaction, runIds: readonly string[], data: Record<string, unknown>): Promise<void> {
    if (runIds.length === 0) return;
    await tx.$executeRaw`
      INSERT INTO run_event (run_id, attempt, type, data)
      SELECT id, attempt, 'status', ${JSON.stringify(data)}::jsonb
      FROM run
      WHERE id = ANY(${[...runIds]}::uuid[])`;
    await tx.$executeRaw`SELECT pg_notify('run_changed', id::text) FROM run WHERE id = ANY(${[...runIds]}::uuid[])`;
  }
}

/**
 * The one statement that changes the status of a run that somebody names: compare and set, with the event of it and
 * the end of its attempt, so that none of them is ever seen without the others. A message for an attempt that has
 * begun, or that will not begin, is nothing to dispatch any more.
 */
function compareAndSet({ runId, from, to, attempt, reason, set = [], data = {}, outcome, ...move }: Move): Prisma.Sql {
  const ended = isTerminal(to);
  const detail = move.detail ? tellable(move.detail) : move.detail;
  const changes = [
    Prisma.sql`status = ${to}::text::run_status`,
    ...(reason !== undefined ? [Prisma.sql`status_reason = ${reason}`] : []),
    ...(detail !== undefined ? [Prisma.sql`status_detail = ${detail}`] : []),
    // What goes on is never left out of lists.
    ended ? Prisma.sql`finished_at = now()` : Prisma.sql`archived_at = NULL`,
    ...set,
  ];
  const event = JSON.stringify({ status: to, ...(reason && { reason }), ...(detail && { detail }), ...data });
  const atAttempt = attempt === undefined ? Prisma.sql`true` : Prisma.sql`run.attempt = ${attempt}`;
  return Prisma.sql`
    WITH moved AS (
        UPDATE run SET ${Prisma.join(changes, ', ')}
        WHERE id = ${runId}::uuid AND ${hasStatus(from)} AND ${atAttempt}
        RETURNING id, attempt, failures, losses),
      event AS (
        INSERT INTO run_event (run_id, attempt, type, data)
        SELECT id, attempt, 'status', ${event}::jsonb
        FROM moved),
      forgotten AS (
        DELETE FROM outbox
        USING moved
        WHERE outbox.run_id = moved.id),
      ended AS (
        UPDATE attempt
        SET ended_at = now(), outcome = ${outcome ?? null}::text, reason = ${reason ?? null}::text,
          detail = ${detail ?? null}::text
        FROM moved
        WHERE ${outcome !== undefined} AND attempt.run_id = moved.id AND attempt.attempt = moved.attempt)
    SELECT
      attempt,
      failures,
      losses,
      pg_notify('run_changed', id::text)::text AS told,
      CASE WHEN ${ended || to === 'paused'} THEN pg_notify('run_ended', id::text)::text END AS told_end
    FROM moved`;
}

/** `descendant`: every run that depends on this one, however far down. */
const descendants = (runId: string): Prisma.Sql => Prisma.sql`
  WITH RECURSIVE descendant AS (
    SELECT run_id
    FROM run_dependency
    WHERE parent_id = ${runId}::uuid
    UNION
    SELECT d.run_id
    FROM run_dependency d JOIN descendant ON d.parent_id = descendant.run_id)`;
