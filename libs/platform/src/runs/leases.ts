import {
  ACTIVE_STATUSES,
  mapTexts,
  storableText,
  type RunResult,
  type RunStatus,
  type StatusReason,
} from '#libs/contracts';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { hasStatus, interval, isOutOfTime, spentSeconds } from './sql.js';
import { held, LeaseLostError, type Token } from './token.js';
import type { Transitions } from './transitions.js';

/** What a worker is asked of a run. `time out`: its time limit is used up, and it is to be stopped as for a cancel. */
export type Ask = 'go on' | 'cancel' | 'pause' | 'time out';

/** What a heartbeat is told: whether the worker is to drain, and what is asked of each run that it still holds. */
export interface HeartbeatAnswer {
  drain: boolean;
  asked: Map<string, Ask>;
}

/**
 * How many failures of a class a run survives. A class that is not listed fails it at once: repeating would not help.
 */
const RETRY_BUDGET: Partial<Record<StatusReason, number>> = {
  worker_crash: 2,
  gpu_error: 2,
  hung: 1,
  disk_full: 2,
  internal_error: 1,
};
/** Losing its worker costs a run nothing; one that has lost so many is set aside, because it may be what kills them. */
const MAX_LOSSES = 10;
/** Statuses of which a time limit makes `timed_out`. A run that is being cancelled is cancelled, however late. */
const LIMITED_STATUSES = ['running', 'pausing'] as const satisfies readonly RunStatus[];
/** Runs that are freed in one go. */
const RECOVER_BATCH = 1000;
/** Exponential backoff with full jitter, in milliseconds. */
const backoffMs = (failures: number) => Math.round(Math.random() * Math.min(60_000, 1000 * 2 ** failures));

/** How long a worker holds a run, and how it lets go of it. */
export class Leases {
  constructor(
    private readonly database: Database,
    private readonly transitions: Transitions,
    private readonly options: { leaseMs: number; cancelGraceMs?: number },
  ) {}

  /** Extends the leases of a worker's runs. A run that is absent from the answer is lost. */
  async heartbeat(workerId: string, tokens: readonly Token[]): Promise<HeartbeatAnswer> {
    const rows = await this.database.prisma.$queryRaw<
      { id: string | null; status: RunStatus; outOfTime: boolean; state: string | null }[]
    >`
      WITH alive AS (
          UPDATE worker SET heartbeat_at = now()
          WHERE id = ${workerId}
          RETURNING state),
        extended AS (
          UPDATE run SET lease_until = now() + ${interval(this.options.leaseMs)}
          FROM unnest(
            ${tokens.map(({ runId }) => runId)}::uuid[],
            ${tokens.map(({ attempt }) => attempt)}::int[]) AS token(run_id, attempt)
          WHERE run.id = token.run_id AND run.attempt = token.attempt AND ${hasStatus(ACTIVE_STATUSES)}
          RETURNING run.id, run.status, ${isOutOfTime()} AS late)
      SELECT extended.id, extended.status::text AS status, extended.late AS "outOfTime", alive.state
      FROM (SELECT 1) AS one LEFT JOIN alive ON true LEFT JOIN extended ON true`;
    return {
      drain: rows[0]?.state === 'draining',
      asked: new Map(rows.flatMap(({ id, ...run }) => (id === null ? [] : [[id, askOf(run)] as const]))),
    };
  }

  /**
   * The run is done. A prepared dataset, or a model that was taken in, becomes visible in the same transaction, and
   * runs that waited for this one are queued.
   * A run that was cancelled meanwhile ends as cancelled; one that was to pause is done. Returns the status it ended
   * in.
   * @throws LeaseLostError
   */
  async succeed(token: Token, result: RunResult): Promise<RunStatus> {
    const kept = storableResult(result);
    return this.database.transaction(async (tx) => {
      const moved = await this.transitions.end(tx, token, {
        from: ['running', 'pausing'],
        to: 'succeeded',
        set: [Prisma.sql`result = ${JSON.stringify(kept)}::jsonb`, Prisma.sql`step = coalesce(total_steps, step)`],
      });
      if (!moved) return this.stoppedMeanwhile(tx, token, 'succeeded');
      if (kept.dataset) {
        const { dataset } = kept;
        await tx.$executeRaw`
          INSERT INTO dataset (name, digest, manifest, run_id)
          VALUES (${dataset.name}, ${dataset.digest}, ${JSON.stringify(dataset)}::jsonb, ${token.runId}::uuid)
          ON CONFLICT (name, digest) DO UPDATE SET created_at = now()`;
      }
      if (kept.model) {
        const { model } = kept;
        await tx.$executeRaw`
          INSERT INTO model (name, digest, manifest, run_id)
          VALUES (${model.name}, ${model.digest}, ${JSON.stringify(model)}::jsonb, ${token.runId}::uuid)
          ON CONFLICT (name, digest) DO UPDATE SET created_at = now()`;
      }
      return 'succeeded';
    });
  }

  /**
   * The run failed. It is repeated after a while where its failure class and budget allow, from its last checkpoint;
   * one that was to pause is paused instead, and one whose time limit is used up is not repeated.
   * Returns the status that it has now.
   * @throws LeaseLostError
   */
  async fail(token: Token, reason: StatusReason, detail: string): Promise<RunStatus> {
    return this.database.transaction(async (tx) => {
      const [run] = await tx.$queryRaw<{ status: RunStatus; failures: number }[]>`
        SELECT status::text AS status, failures
        FROM run
        WHERE ${held(token)}
        FOR UPDATE`;
      if (!run) return this.endedBefore(tx, token, 'failed');
      const failures = run.failures + 1;
      const again = failures <= (RETRY_BUDGET[reason] ?? 0);
      if (again && (await this.timeOut(tx, token))) return 'timed_out';
      const repeated = run.status === 'pausing' ? 'paused' : 'retrying';
      const to = again ? repeated : 'failed';
      const from = { failed: ['running', 'pausing'], paused: ['pausing'], retrying: ['running'] } as const;
      const moved = await this.transitions.end(tx, token, {
        from: from[to],
        to,
        reason,
        detail: storableText(detail),
        outcome: 'failed',
        set: [
          Prisma.sql`failures = ${failures}`,
          ...(to === 'retrying' ? [Prisma.sql`next_start_at = now() + ${interval(backoffMs(failures))}`] : []),
        ],
      });
      return moved ? to : this.stoppedMeanwhile(tx, token, 'failed');
    });
  }

  /**
   * Hands a run back that its worker has stopped, uncharged. One that was to be cancelled or to pause is, one whose
   * time limit is used up has timed out; any other goes on elsewhere from its last checkpoint. Returns the status that
   * it has now. `why`: what of its worker made it impossible to go on there.
   * @throws LeaseLostError
   */
  async release(token: Token, why: string | null = null): Promise<RunStatus> {
    return this.database.transaction((tx) => this.releaseWithin(tx, token, why));
  }

  /**
   * The same for one that failed by what its worker could not do, and that the worker can do again by now: uncharged,
   * but for a run of which that is said again and again, because it may be the run.
   * @throws LeaseLostError
   */
  async giveBack(token: Token, why: string): Promise<RunStatus> {
    return this.database.transaction(async (tx) => {
      const [run] = await tx.$queryRaw<{ losses: number }[]>`
        UPDATE run SET losses = losses + 1
        WHERE ${held(token)} AND status = 'running'
        RETURNING losses`;
      if (!run || run.losses <= MAX_LOSSES) return this.releaseWithin(tx, token, why);
      const moved = await this.transitions.end(tx, token, {
        from: ['running'],
        to: 'failed',
        reason: 'internal_error',
        outcome: 'failed',
        detail: `${why}, and so it was ${MAX_LOSSES} times before`,
      });
      return moved ? 'failed' : this.stoppedMeanwhile(tx, token, 'failed');
    });
  }

  /**
   * Hands back a run that has come as far as it was to: it waits with its checkpoint until it is let on. Where it has
   * been let on meanwhile, it goes on at once. One whose time limit is used up could not go on: it has timed out.
   * @throws LeaseLostError
   */
  async reachRung(token: Token, step: number): Promise<RunStatus> {
    return this.database.transaction(async (tx) => {
      if (await this.timeOut(tx, token)) return 'timed_out';
      const [run] = await tx.$queryRaw<{ stopAtStep: number | null }[]>`
        SELECT stop_at_step AS "stopAtStep"
        FROM run
        WHERE ${held(token)}
        FOR UPDATE`;
      const waits = run !== undefined && run.stopAtStep !== null && run.stopAtStep <= step;
      const to = waits ? ('paused' as const) : ('queued' as const);
      const moved = await this.transitions.end(tx, token, {
        from: ['running'],
        to,
        reason: waits ? 'rung' : null,
        detail: waits ? `it has reached step ${step} and waits for the results of others` : null,
        outcome: 'rung',
      });
      return moved ? to : this.stoppedMeanwhile(tx, token);
    });
  }

  /**
   * Frees runs whose worker has been silent for longer than the lease, and ends those that it has not stopped though
   * their time limit was used up. Returns how many.
   */
  async recoverLost(): Promise<number> {
    const lost = await this.database.prisma.$queryRaw<{ id: string }[]>`
      SELECT id
      FROM run
      WHERE ${this.isAbandoned()}
      ORDER BY lease_until
      LIMIT ${RECOVER_BATCH}`;
    let recovered = 0;
    for (const { id } of lost) if (await this.database.transaction((tx) => this.recoverWithin(tx, id))) recovered++;
    return recovered;
  }

  /** An expired lease ends its attempt, and so does a time limit that no worker keeps. True when there was one. */
  async recoverWithin(tx: Transaction, runId: string): Promise<boolean> {
    const [run] = await tx.$queryRaw<{ status: RunStatus; attempt: number; losses: number; workerId: string }[]>`
      SELECT status::text AS status, attempt, losses, worker_id AS "workerId"
      FROM run
      WHERE id = ${runId}::uuid AND ${this.isAbandoned()}
      FOR UPDATE`;
    if (!run) return false;
    const token = { runId, attempt: run.attempt };
    if (run.status === 'cancelling') {
      await this.stoppedMeanwhile(tx, token);
      return true;
    }
    if (await this.timeOut(tx, token)) return true;
    const losses = run.losses + 1;
    const detail = `worker ${run.workerId} was silent for longer than its lease`;
    const setAside = losses > MAX_LOSSES;
    const freed = run.status === 'pausing' ? 'paused' : 'queued';
    await this.transitions.end(tx, token, {
      from: [run.status],
      to: setAside ? 'failed' : freed,
      reason: 'worker_lost',
      outcome: setAside ? 'failed' : 'worker_lost',
      detail: setAside ? `${detail}, and so were ${MAX_LOSSES} before it` : detail,
      set: [Prisma.sql`losses = ${losses}`],
    });
    return true;
  }

  /**
   * The run `run` has a worker that does not answer, or one that has left it to go on beyond its time limit for longer
   * than a trainer takes to be stopped and the worker to say so.
   */
  private isAbandoned(): Prisma.Sql {
    const { leaseMs, cancelGraceMs = 0 } = this.options;
    return Prisma.sql`
      ${hasStatus(ACTIVE_STATUSES)}
      AND (lease_until < now() OR (${hasStatus(LIMITED_STATUSES)} AND ${isOutOfTime(cancelGraceMs + leaseMs)}))`;
  }

  private async releaseWithin(tx: Transaction, token: Token, why: string | null): Promise<RunStatus> {
    if (await this.timeOut(tx, token)) return 'timed_out';
    const moved = await this.transitions.end(tx, token, {
      from: ['running'],
      to: 'queued',
      reason: 'preempted',
      ...(why !== null && { detail: storableText(why) }),
      outcome: 'preempted',
    });
    return moved ? 'queued' : this.stoppedMeanwhile(tx, token);
  }

  /** Ends a run as timed out whose attempt ends with its time limit used up. False where it is not, or has ended. */
  private async timeOut(tx: Transaction, token: Token): Promise<boolean> {
    const [late] = await tx.$queryRaw<{ spent: number; limit: number }[]>`
      SELECT ${spentSeconds}::float8 AS spent, max_seconds AS limit
      FROM run
      WHERE ${held(token)} AND ${isOutOfTime()}`;
    if (!late) return false;
    return this.transitions.end(tx, token, {
      from: LIMITED_STATUSES,
      to: 'timed_out',
      reason: 'time_limit',
      detail:
        `it took ${late.spent.toFixed(1)} s, its time limit is ${late.limit} s: a retry goes on from its last ` +
        'checkpoint, for as long again',
    });
  }

  /**
   * What else can be the matter when a run is no longer `running`: it was cancelled, it was to pause, its attempt has
   * this outcome already, or the lease is lost.
   * @throws LeaseLostError
   */
  private async stoppedMeanwhile(tx: Transaction, token: Token, outcome?: string): Promise<RunStatus> {
    const { transitions } = this;
    if (await transitions.end(tx, token, { from: ['cancelling'], to: 'cancelled', reason: 'user_cancel' }))
      return 'cancelled';
    if (await transitions.end(tx, token, { from: ['pausing'], to: 'paused', reason: 'user_pause' })) return 'paused';
    if (outcome === undefined) throw new LeaseLostError(token);
    return this.endedBefore(tx, token, outcome);
  }

  /**
   * The status of a run whose attempt was ended by the same call before, of which the worker has not heard: the answer
   * to its COMMIT was lost. Where its lease was taken from it the attempt ended otherwise.
   * @throws LeaseLostError
   */
  private async endedBefore(tx: Transaction, token: Token, outcome: string): Promise<RunStatus> {
    const [ended] = await tx.$queryRaw<{ status: RunStatus }[]>`
      SELECT run.status::text AS status
      FROM attempt JOIN run ON run.id = attempt.run_id
      WHERE attempt.run_id = ${token.runId}::uuid AND attempt.attempt = ${token.attempt}
        AND attempt.ended_at IS NOT NULL AND attempt.reason IS DISTINCT FROM 'worker_lost'
        AND attempt.outcome IN (${outcome}, 'cancelled', 'paused', 'timed_out')`;
    if (!ended) throw new LeaseLostError(token);
    return ended.status;
  }
}

/** A result as Postgres takes it and as it can be read: what is not finite has no JSON, and is left out. */
function storableResult(result: RunResult): RunResult {
  const metrics = Object.entries(result.metrics).filter(([, value]) => Number.isFinite(value));
  return mapTexts({ ...result, metrics: Object.fromEntries(metrics) }, storableText);
}

/** A cancel goes before a time limit, and that before a pause, from which the run could not go on. */
function askOf({ status, outOfTime }: { status: RunStatus; outOfTime: boolean }): Ask {
  if (status === 'cancelling') return 'cancel';
  if (outOfTime) return 'time out';
  return status === 'pausing' ? 'pause' : 'go on';
}
