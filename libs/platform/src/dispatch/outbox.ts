import { WAITING_STATUSES } from '#libs/contracts';
import type { Database, Transaction } from '../machine/database.js';
import { hasStatus, interval } from '../runs/sql.js';
import type { Transitions } from '../runs/transitions.js';
import type { RunJob } from './queue.js';
import { nextInLine, type Admission, type Window } from './waiting-line.js';

/** After this a run that a worker refused is offered again: by then Redis has forgotten the job of that name. */
export const OFFER_AGAIN_MS = 1000;
/** The same for a run that was refused because it needs another GPU, or a worker of another version. */
export const OFFER_MUCH_LATER_MS = 5000;

/** Runs on their way from Postgres into Redis. */
export class Outbox {
  constructor(
    private readonly database: Database,
    private readonly transitions: Transitions,
    private readonly options: { leaseMs: number },
  ) {}

  /**
   * Runs that are to be put into Redis now, in the order in which they are to start (see `waiting-line.ts`): as many as
   * the window has room for (`window` runs that no worker has taken; `auto`: what workers can use), and at most
   * `limit`.
   */
  async takeDispatchable(limit: number, window: Window = limit): Promise<Admission[]> {
    return nextInLine(this.database.prisma, { leaseMs: this.options.leaseMs, window, limit });
  }

  /**
   * From here on they count as admitted. One that a worker was quick enough to refuse stays undone: it is due again in
   * a moment. In one statement with the tags of their projects, so that no start is forgotten that was made.
   */
  async markDispatched(admitted: readonly Admission[]): Promise<void> {
    await this.database.prisma.$executeRaw`
      WITH reached AS (
          SELECT project, max(tag) AS tag
          FROM unnest(
            ${admitted.map(({ project }) => project)}::text[],
            ${admitted.map(({ tag }) => String(tag))}::text[]::float8[]) AS a(project, tag)
          GROUP BY project),
        moved AS (
          UPDATE project SET tag = greatest(project.tag, reached.tag)
          FROM reached
          WHERE project.name = reached.project)
      UPDATE outbox SET dispatched_at = now()
      WHERE id = ANY(${admitted.map(({ outboxId }) => String(outboxId))}::text[]::bigint[]) AND not_before <= now()`;
  }

  /** Runs that were put into Redis more than `ageMs` ago and still wait, by pages of `limit` after `afterOutboxId`. */
  async dispatchedLongAgo(
    ageMs: number,
    afterOutboxId: bigint,
    limit: number,
  ): Promise<(RunJob & { outboxId: bigint })[]> {
    return this.database.prisma.$queryRaw`
      SELECT o.id AS "outboxId", o.run_id AS "runId", o.attempt
      FROM outbox o JOIN run r ON r.id = o.run_id
      WHERE o.dispatched_at < now() - ${interval(ageMs)} AND ${hasStatus(WAITING_STATUSES, 'r')}
        AND r.attempt = o.attempt - 1 AND o.id > ${String(afterOutboxId)}::text::bigint
      ORDER BY o.id
      LIMIT ${limit}`;
  }

  /** Marks rows of the outbox as not dispatched, so that the dispatcher puts their runs into Redis once more. */
  async dispatchAgain(outboxIds: readonly bigint[]): Promise<void> {
    const ids = outboxIds.map(String);
    await this.database.prisma.$executeRaw`
      UPDATE outbox SET dispatched_at = NULL
      WHERE id = ANY(${ids}::text[]::bigint[])`;
    await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /** A run that waits and that its worker does not take goes to another, a moment later. */
  async offerAgain(
    { runId, attempt }: RunJob,
    tx: Transaction = this.database.prisma,
    afterMs = OFFER_AGAIN_MS,
  ): Promise<void> {
    await tx.$executeRaw`
      UPDATE outbox SET dispatched_at = NULL, not_before = greatest(not_before, now() + ${interval(afterMs)})
      WHERE run_id = ${runId}::uuid AND attempt = ${attempt}`;
  }

  /** Queues runs whose parents have all succeeded and which nobody has queued. Returns how many. */
  async startReady(): Promise<number> {
    return this.database.transaction((tx) => this.transitions.queueReady(tx));
  }
}
