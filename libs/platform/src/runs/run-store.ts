/**
 * The life of a run. This is the only code that changes a run's status: each change is one transaction that compares
 * and sets along an allowed transition, appends an event and notifies. Whoever works on a run holds a token, the number
 * of its attempt, and every write carries it: when another attempt has begun, or the run has ended, the write finds no
 * row.
 */
import {
  ACTIVE_STATUSES,
  canMove,
  canonicalJson,
  MOST_TAGS,
  RETRYABLE_STATUSES,
  RUN_ACTIONS,
  type ArtifactKind,
  type BulkResult,
  type BulkRuns,
  type DatasetManifest,
  type Gpu,
  type LogLevel,
  type MetricPoint,
  type Plan,
  type Requires,
  type RunAction,
  type RunResult,
  type RunSpec,
  type RunStatus,
  type StatusReason,
  type SubmitRun,
} from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { admit, planOf, sha256, type Draft, type Placement } from './admission.js';
import { codeOf, Prisma, type Database, type Transaction } from '../machine/database.js';
import { estimate } from './estimate.js';
import { memoryFit } from './memory-fit.js';
import { RequestError } from '../request-error.js';
import type { RunJob } from '../dispatch/queue.js';
import { decodeCursor, encodeCursor, runsLike } from './queries.js';
import { nextInLine, type Admission, type Window } from '../dispatch/waiting-line.js';

/** The right to write for a run. `attempt` is the fencing token. */
export interface Token {
  runId: string;
  attempt: number;
}

/** Another attempt has begun or the run has ended: whoever sees this must stop at once. */
export class LeaseLostError extends Error {
  constructor(token: Token) {
    super(`attempt ${token.attempt} of run ${token.runId} no longer holds its lease`);
    this.name = 'LeaseLostError';
  }
}

/** This worker may not take a run that another could: it was offered again. */
export class ClaimRefusedError extends Error {
  constructor(job: RunJob, why: string) {
    super(`attempt ${job.attempt} of run ${job.runId} is not for this worker: ${why}`);
    this.name = new.target.name;
  }
}

/** The database has a schema that this build does not know, or lacks one that it needs. */
export class SchemaMismatchError extends ClaimRefusedError {}

/** What a heartbeat is told: whether the worker is to drain, and what is asked of each run that it still holds. */
export interface HeartbeatAnswer {
  drain: boolean;
  asked: Map<string, 'go on' | 'cancel' | 'pause'>;
}

export interface ClaimedRun extends Token {
  spec: RunSpec;
  dataset: DatasetManifest | null;
  /** sha256 of the parent run's model. */
  parentModel: string | null;
  /** sha256 of the parent run's checkpoint that the spec names. */
  parentCheckpoint: string | null;
  /** sha256 of the maps of the embed run that this one is aligned to. */
  alignTo: string | null;
  /** Checkpoints of earlier attempts, the newest first. */
  checkpoints: { sha256: string; step: number }[];
  /** UUID of the GPU to train on; null where the worker has none. */
  gpu: string | null;
  /** Where it is to stop and wait to be let on; null: it runs in full. */
  stopAtStep: number | null;
}

export interface WorkerRegistration {
  id: string;
  host: string;
  pid: number;
  slots: number;
  versions: Record<string, string>;
  labels?: Record<string, string>;
  gpus?: Gpu[];
  memoryMiB?: number;
}

export interface NewArtifact {
  name: string;
  kind: string;
  mime: string;
  sha256: string;
  sizeBytes: number;
  step: number | null;
}

export interface Progress {
  step?: { step: number; totalSteps: number } | undefined;
  points?: readonly MetricPoint[];
  lines?: readonly { level: LogLevel; message: string }[];
  events?: readonly { type: string; data: Record<string, unknown> }[];
}

/** The newest migration that this build was made for: a worker of another version than the database takes no runs. */
export const SCHEMA = '20261125040000_worker_memory';
const mismatch = (found: string) =>
  `expected a database of schema ${SCHEMA}, got ${found}: ` +
  `${found > SCHEMA ? 'update this worker' : 'run the migrations (`npx prisma migrate deploy`)'}`;

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
/** What a broken GPU does to a run. The attempts that follow go to another one while there is one. */
const GPU_SUSPECT: readonly StatusReason[] = ['gpu_error', 'worker_crash', 'hung'];
/** Losing its worker costs a run nothing; one that has lost so many is set aside, because it may be what kills them. */
const MAX_LOSSES = 10;
/** Where the spec does not say. */
const KEPT_CHECKPOINTS = 2;
/** After this a run that a worker refused is offered again: by then Redis has forgotten the job of that name. */
const OFFER_AGAIN_MS = 1000;
/** The same, where it waits for another GPU or another version. */
const OFFER_MUCH_LATER_MS = 5000;
/**
 * Runs that one statement inserts: as many as Postgres takes apart in its working memory. All at once took half as long
 * again.
 */
const INSERT_BATCH = 1000;
const CHARGE_AFTER_MS = 2000;
const CHARGE_BATCH = 5000;
/**
 * Runs that one transaction of a bulk action changes, and how long one request goes on before it says where it stands.
 */
const BULK_BATCH = 100;
const BULK_MS = 8000;
/** Of so many keys a run shows the last value: what lists return stays bounded. */
const MOST_LAST_VALUES = 1000;
/** What Postgres says where a row is there already. */
const UNIQUE_VIOLATION = '23505';
/** Exponential backoff with full jitter, in milliseconds. */
const backoffMs = (failures: number) => Math.round(Math.random() * Math.min(60_000, 1000 * 2 ** failures));

const statuses = (list: readonly RunStatus[]) => Prisma.sql`${[...list]}::text[]::run_status[]`;
/** Whether `g`, a GPU of a worker, is as a run asks. */
const gpuFits = (asked: Prisma.Sql) =>
  Prisma.sql`(${asked}->>'name' IS NULL OR position(lower(${asked}->>'name') IN lower(g->>'name')) > 0) AND coalesce((${asked}->>'memoryMiB')::int, 0) <= (g->>'memoryMiB')::int`;
/** The tags of a run after a change, in the order in which they came. */
const tagged = ({ add, remove }: NonNullable<BulkRuns['tags']>) => Prisma.sql`
  ARRAY(SELECT t FROM unnest(tags || ${add}::text[]) WITH ORDINALITY AS u(t, place) WHERE t <> ALL(${remove}::text[]) GROUP BY t ORDER BY min(place))`;
const tagOutcome = (change: NonNullable<BulkRuns['tags']>) =>
  Prisma.sql`CASE WHEN ${tagged(change)} = tags THEN 'unchanged' WHEN cardinality(${tagged(change)}) > ${MOST_TAGS} THEN 'too_many_tags' ELSE 'done' END`;
const held = (token: Token) =>
  Prisma.sql`run.id = ${token.runId}::uuid AND run.attempt = ${token.attempt} AND run.status = ANY(${statuses(ACTIVE_STATUSES)})`;

interface Move {
  runId: string;
  from: readonly RunStatus[];
  to: RunStatus;
  /** Set where a worker acts: the run must still be at this attempt. */
  attempt?: number;
  reason?: StatusReason | null;
  detail?: string | null;
  set?: Prisma.Sql[];
  data?: Record<string, unknown>;
  /** How the attempt came out that ends with this. */
  outcome?: string;
}

interface Moved {
  attempt: number;
  failures: number;
  losses: number;
}

export interface RunStoreOptions {
  /** The folder that `prepare-dataset` paths are relative to. */
  dataRoot: string;
  leaseMs: number;
}

export class RunStore {
  constructor(
    private readonly database: Database,
    readonly options: RunStoreOptions,
  ) {}

  // Submitting

  /**
   * Queues a run, or attaches to an equal one. A repeat with the same key returns what the first returned.
   * @throws RequestError `invalid_request` naming the fields, `idempotency_mismatch` for a key that was used for
   *   another request.
   */
  async submitRun(
    request: SubmitRun,
    idempotencyKey?: string,
  ): Promise<{ runId: string; outcome: 'created' | 'reused' | 'replayed' }> {
    return this.database.transaction(async (tx) => {
      const replayed = await this.replay(tx, idempotencyKey, request);
      if (replayed) return { runId: replayed, outcome: 'replayed' as const };
      await this.checkProject(tx, request.project);
      const [placement] = await this.admit(
        tx,
        [{ spec: request.spec, name: request.name, path: ['spec'] }],
        request.onDuplicate === 'reuse',
      );
      await this.insert(tx, [placement!], request);
      await this.needInFull(tx, [placement!.runId, ...placement!.parentIds]);
      await this.askFor(tx, [...(placement!.outcome === 'new' ? [] : [placement!.runId]), ...placement!.parentIds]);
      await this.remember(tx, idempotencyKey, request, placement!.runId);
      return {
        runId: placement!.runId,
        outcome: placement!.outcome === 'new' ? ('created' as const) : ('reused' as const),
      };
    });
  }

  /** What `submitRun` would do. */
  async planRun(request: SubmitRun): Promise<Plan> {
    return this.database.transaction(async (tx) => {
      await this.checkProject(tx, request.project);
      const placements = await this.admit(
        tx,
        [{ spec: request.spec, name: request.name, path: ['spec'] }],
        request.onDuplicate === 'reuse',
      );
      return {
        ...planOf(placements, 1),
        estimate: await estimate(tx, placements, this.options),
        memory: await memoryFit(tx, placements, {
          leaseMs: this.options.leaseMs,
          requires: request.requires,
          trialOf: () => 0,
        }),
      };
    });
  }

  /** Places drafts without writing anything; see `admit`. */
  admit(tx: Transaction, drafts: readonly Draft[], reuse: boolean | string): Promise<Placement[]> {
    return admit(tx, drafts, { dataRoot: this.options.dataRoot, reuse });
  }

  /** @throws RequestError `invalid_request` for a project that is not there. */
  async checkProject(tx: Transaction, name: string): Promise<void> {
    const projects = await tx.project.findMany({ select: { name: true }, orderBy: { name: 'asc' } });
    if (projects.some((project) => project.name === name)) return;
    const known = projects
      .slice(0, 20)
      .map((project) => project.name)
      .join(', ');
    throw RequestError.invalid([
      {
        path: ['project'],
        message:
          `expected a project that is there (${known}${projects.length > 20 ? ', …' : ''}), got ${name}: make it ` +
          `first (\`loom projects set ${name}\`)`,
      },
    ]);
  }

  /** The resource that this key was used for, if it was. Two requests with one key wait for each other here. */
  async replay(tx: Transaction, key: string | undefined, request: unknown): Promise<string | undefined> {
    if (key === undefined) return undefined;
    await tx.$queryRaw`SELECT pg_advisory_xact_lock(hashtextextended(${key}, 0))::text`;
    const known = await tx.idempotencyKey.findUnique({ where: { key } });
    if (!known) return undefined;
    if (known.requestHash !== sha256(canonicalJson(request))) {
      throw new RequestError(
        'idempotency_mismatch',
        'expected the request that this Idempotency-Key was first used for, got another: use a new key for a new ' +
          'request',
      );
    }
    return known.resourceId;
  }

  async remember(tx: Transaction, key: string | undefined, request: unknown, resourceId: string): Promise<void> {
    if (key !== undefined)
      await tx.idempotencyKey.create({ data: { key, requestHash: sha256(canonicalJson(request)), resourceId } });
  }

  /** Writes the runs of those placements that are new, with their dependencies, events and outbox rows. */
  async insert(
    tx: Transaction,
    placements: readonly Placement[],
    {
      tags,
      project,
      priority,
      requires,
    }: { tags: string[]; project: string; priority: number; requires?: SubmitRun['requires'] },
  ): Promise<void> {
    const rows = placements
      .filter(({ outcome }) => outcome === 'new')
      .map((placement) => ({
        id: placement.runId,
        name: placement.name,
        kind: placement.spec.kind,
        status: placement.status,
        digest: placement.digest,
        spec: placement.spec,
        tags,
        project,
        priority,
        dataset_digest: placement.datasetDigest,
        required_labels: requires?.labels ?? {},
        required_gpu: requires?.gpu ?? null,
        parents: placement.parentIds,
      }));
    if (rows.length === 0) return;
    for (let start = 0; start < rows.length; start += INSERT_BATCH)
      await tx.$executeRaw`
      INSERT INTO run (id, name, kind, status, digest, spec, tags, project, priority, dataset_digest, required_labels, required_gpu)
      SELECT id, name, kind, status, digest, spec, tags, project, priority, dataset_digest, required_labels, nullif(required_gpu, 'null')
      FROM jsonb_to_recordset(${JSON.stringify(rows.slice(start, start + INSERT_BATCH))}::jsonb) AS r(id uuid, name text, kind text, status run_status, digest text, spec jsonb, tags text[], project text, priority int, dataset_digest text, required_labels jsonb, required_gpu jsonb)`;
    const dependencies = rows.flatMap(({ id, parents }) => parents.map((parent) => [id, parent] as const));
    await tx.$executeRaw`INSERT INTO run_dependency (run_id, parent_id) SELECT * FROM unnest(${dependencies.map(([id]) => id)}::uuid[], ${dependencies.map(([, parent]) => parent)}::uuid[])`;
    await tx.$executeRaw`
      INSERT INTO run_event (run_id, attempt, type, data)
      SELECT id, 0, 'submitted', jsonb_build_object('status', status) FROM unnest(${rows.map(({ id }) => id)}::uuid[], ${rows.map(({ status }) => status)}::text[]) AS r(id, status)`;
    await this.enqueue(
      tx,
      rows.filter(({ status }) => status === 'queued').map(({ id }) => id),
    );
  }

  // What users ask of a run

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
    const status = await this.lock(tx, runId);
    if (status === 'cancelled' || status === 'cancelling') return;
    if (status === 'running' || status === 'pausing') {
      await this.move(tx, {
        runId,
        from: [status],
        to: 'cancelling',
        reason: 'user_cancel',
        set: [Prisma.sql`cancel_requested_at = now()`],
      });
      await tx.$executeRaw`SELECT pg_notify('run_control', ${runId})`;
    } else if (canMove(status, 'cancelled')) {
      await this.move(tx, { runId, from: [status], to: 'cancelled', reason: 'user_cancel' });
    } else {
      throw new RequestError('invalid_state', `expected a run that has not ended, got one that is ${status}`);
    }
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
    const status = await this.lock(tx, runId);
    if (status === 'paused' || status === 'pausing') return;
    if (status === 'running') {
      await this.move(tx, { runId, from: [status], to: 'pausing', reason: 'user_pause' });
      await tx.$executeRaw`SELECT pg_notify('run_control', ${runId})`;
    } else if (canMove(status, 'paused')) {
      await this.move(tx, {
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
    const status = await this.lock(tx, runId);
    if (status !== 'paused' && status !== 'pausing')
      throw new RequestError('invalid_state', `expected a run that is paused, got one that is ${status}`);
    await this.move(tx, {
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
   * of failures, and the runs that wait for it wait again.
   * @throws RequestError `not_found`; `invalid_state` for a run that did not end this way, or whose parent has to be
   *   retried first.
   */
  async retry(runId: string): Promise<void> {
    await this.database.transaction((tx) => this.retryWithin(tx, runId));
  }

  private async retryWithin(tx: Transaction, runId: string): Promise<void> {
    const status = await this.lock(tx, runId);
    if (!(RETRYABLE_STATUSES as readonly RunStatus[]).includes(status)) {
      throw new RequestError(
        'invalid_state',
        `expected a run that is ${RETRYABLE_STATUSES.join(', ')}, got one that is ${status}`,
      );
    }
    const parents = await tx.$queryRaw<{ id: string; status: RunStatus }[]>`
      SELECT p.id, p.status::text AS status FROM run_dependency d JOIN run p ON p.id = d.parent_id WHERE d.run_id = ${runId}::uuid FOR SHARE OF p`;
    const dead = parents.find((parent) => (RETRYABLE_STATUSES as readonly RunStatus[]).includes(parent.status));
    if (dead)
      throw new RequestError(
        'invalid_state',
        `expected a run whose parent can succeed, but its parent ${dead.id} is ${dead.status}: retry that one`,
      );
    const to = parents.every((parent) => parent.status === 'succeeded') ? 'queued' : 'pending';
    await this.move(tx, {
      runId,
      from: [status],
      to,
      reason: null,
      detail: null,
      data: { by: 'retry' },
      set: [Prisma.sql`failures = 0, losses = 0, finished_at = NULL, cancel_requested_at = NULL`],
    });
  }

  /**
   * Does the same to all runs that a filter names and that were there when it began, in batches, each a transaction of
   * its own. Children are cancelled before their parents, so that they end as asked; all else begins with the parents.
   * After some seconds it returns with a cursor to go on from. A repeat does no harm.
   * @throws RequestError `invalid_request` for a cursor that is none.
   */
  async bulk({ action, filter, tags, cursor }: BulkRuns): Promise<BulkResult> {
    const until = performance.now() + BULK_MS;
    const given = decodeCursor(cursor, 'date', 'date', 'id') as [string, string, string] | undefined;
    const begun = given
      ? new Date(given[0])
      : (await this.database.prisma.$queryRaw<{ now: Date }[]>`SELECT now()`)[0]!.now;
    let after = given && { createdAt: new Date(given[1]), id: given[2] };
    const order = action === 'cancel' ? Prisma.raw('DESC') : Prisma.raw('ASC');
    const result: BulkResult = { done: 0, skipped: {}, nextCursor: null };
    for (;;) {
      const batch = await this.database.prisma.$queryRaw<{ id: string; createdAt: Date }[]>`
        SELECT id, created_at AS "createdAt" FROM run WHERE ${runsLike(filter)} AND created_at <= ${begun}
          AND ${after ? Prisma.sql`(created_at, id) ${action === 'cancel' ? Prisma.raw('<') : Prisma.raw('>')} (${after.createdAt}, ${after.id}::uuid)` : Prisma.sql`true`}
        ORDER BY created_at ${order}, id ${order} LIMIT ${BULK_BATCH}`;
      const outcomes = batch.length
        ? await this.database.transaction((tx) =>
            action === 'tag'
              ? this.tagWithin(
                  tx,
                  tags!,
                  batch.map(({ id }) => id),
                )
              : this.bulkWithin(
                  tx,
                  action,
                  filter.status,
                  batch.map(({ id }) => id),
                ),
          )
        : [];
      for (const outcome of outcomes) {
        if (outcome === 'done') result.done++;
        else result.skipped[outcome] = (result.skipped[outcome] ?? 0) + 1;
      }
      after = batch.at(-1);
      if (!after || batch.length < BULK_BATCH) return result;
      if (performance.now() > until)
        return { ...result, nextCursor: encodeCursor(begun.toISOString(), after.createdAt.toISOString(), after.id) };
    }
  }

  /**
   * What `bulk` would do as things stand; of runs to be retried, those count whose parent has to be retried with them.
   */
  async planBulk({ action, filter, tags }: BulkRuns): Promise<BulkResult> {
    const outcome =
      action === 'tag'
        ? tagOutcome(tags!)
        : Prisma.sql`CASE WHEN status = ANY(${statuses(RUN_ACTIONS[action])}) THEN 'done' ELSE status::text END`;
    const groups = await this.database.prisma.$queryRaw<
      { outcome: string; count: number }[]
    >`SELECT ${outcome} AS outcome, count(*)::int AS count FROM run WHERE ${runsLike(filter)} GROUP BY 1`;
    return {
      done: groups.find((group) => group.outcome === 'done')?.count ?? 0,
      skipped: Object.fromEntries(
        groups.flatMap((group) => (group.outcome === 'done' ? [] : [[group.outcome, group.count]])),
      ),
      nextCursor: null,
    };
  }

  /** For each run `done`, or why its tags stay as they are. */
  private async tagWithin(
    tx: Transaction,
    tags: NonNullable<BulkRuns['tags']>,
    ids: readonly string[],
  ): Promise<string[]> {
    // In one order, so that two such changes wait for each other instead of in a circle.
    const rows = await tx.$queryRaw<{ id: string; outcome: string }[]>`
      WITH locked AS (SELECT id, tags FROM run WHERE id = ANY(${[...ids]}::uuid[]) ORDER BY id FOR UPDATE)
      SELECT id, ${tagOutcome(tags)} AS outcome FROM locked`;
    const changed = rows.filter(({ outcome }) => outcome === 'done').map(({ id }) => id);
    await tx.$executeRaw`UPDATE run SET tags = ${tagged(tags)} WHERE id = ANY(${changed}::uuid[])`;
    await tx.$executeRaw`SELECT pg_notify('run_changed', id::text) FROM unnest(${changed}::uuid[]) AS id`;
    return rows.map(({ outcome }) => outcome);
  }

  /**
   * For each run `done`, or why it was left as it is. One that no longer has a status that was asked for is left too.
   */
  private async bulkWithin(
    tx: Transaction,
    action: RunAction,
    wanted: readonly RunStatus[] | undefined,
    ids: readonly string[],
  ): Promise<string[]> {
    const within = {
      cancel: this.cancelWithin,
      pause: this.pauseWithin,
      resume: this.resumeWithin,
      retry: this.retryWithin,
    }[action];
    const outcomes: string[] = [];
    for (let rest = ids; rest.length > 0;) {
      const refused: string[] = [];
      for (const id of rest) {
        const status = await this.lock(tx, id);
        if (!(RUN_ACTIONS[action] as readonly RunStatus[]).includes(status) || (wanted && !wanted.includes(status))) {
          outcomes.push(status);
          continue;
        }
        try {
          await within.call(this, tx, id);
          outcomes.push('done');
        } catch (error) {
          if (!(error instanceof RequestError && error.code === 'invalid_state')) throw error;
          refused.push(id);
        }
      }
      // A run whose parent came after it in the list can be retried now.
      if (refused.length === rest.length) return [...outcomes, ...refused.map(() => 'parent_failed')];
      rest = refused;
    }
    return outcomes;
  }

  // What a worker does

  /** The worker is known, and takes nothing yet. */
  async registerWorker(worker: WorkerRegistration): Promise<void> {
    await this.database.prisma.$executeRaw`
      INSERT INTO worker (id, host, pid, state, slots, versions, labels, gpus, memory_mib)
      VALUES (${worker.id}, ${worker.host}, ${worker.pid}, 'starting', ${worker.slots}, ${JSON.stringify(worker.versions)}::jsonb, ${JSON.stringify(worker.labels ?? {})}::jsonb, ${JSON.stringify(worker.gpus ?? [])}::jsonb, ${worker.memoryMiB ?? null}::int)
      ON CONFLICT (id) DO UPDATE SET host = excluded.host, pid = excluded.pid, state = excluded.state, slots = excluded.slots, versions = excluded.versions,
        labels = excluded.labels, gpus = excluded.gpus, memory_mib = excluded.memory_mib, started_at = now(), heartbeat_at = now()`;
  }

  /** A worker that was told to drain never runs again. */
  async setWorkerState(id: string, state: 'running' | 'draining' | 'stopped'): Promise<void> {
    await this.database.prisma
      .$executeRaw`UPDATE worker SET state = ${state}, heartbeat_at = now() WHERE id = ${id} AND (${state} <> 'running' OR state = 'starting')`;
    // Its slots are free now: somebody may be let to them.
    if (state === 'running') await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /**
   * Tells a worker to take nothing more, to hand back what it holds and to end. From here on it can't claim, whether it
   * has heard or not.
   * @throws RequestError `not_found`; `invalid_state` for a worker that has stopped.
   */
  async drainWorker(id: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      const rows = await tx.$queryRaw<{ state: string }[]>`SELECT state FROM worker WHERE id = ${id} FOR UPDATE`;
      if (!rows[0])
        throw new RequestError(
          'not_found',
          `expected the id of a worker, got ${JSON.stringify(id.slice(0, 80))}: there is no such worker`,
        );
      if (rows[0].state === 'stopped')
        throw new RequestError('invalid_state', 'expected a worker that is running, got one that is stopped');
      await tx.$executeRaw`UPDATE worker SET state = 'draining' WHERE id = ${id}`;
      await tx.$executeRaw`SELECT pg_notify('worker_control', ${id})`;
    });
  }

  /**
   * Takes a run that waits, as the attempt that the job names. Undefined when there is nothing to take: the job is a
   * duplicate, or the run was cancelled, or is another worker's.
   * @param gpus UUIDs of the GPUs that the worker has free, one of which it is given.
   * @throws ClaimRefusedError when this worker may not take it: it is draining, lacks a label, or has free only GPUs on
   *   which a trainer of this run has died; or when no worker may, because its project has as many runs under way
   *   as it may; SchemaMismatchError when the database is of another version. The run is offered again.
   */
  async claim(
    { runId, attempt }: RunJob,
    workerId: string,
    gpus: readonly string[] = [],
  ): Promise<ClaimedRun | undefined> {
    let refused: ClaimRefusedError | undefined;
    const claimed = await this.database.transaction(async (tx) => {
      // Locked, so that a claim comes either before a drain or not at all.
      const [worker] = await tx.$queryRaw<{ state: string; labels: Record<string, string>; schema: string }[]>`
        SELECT state, labels, (SELECT max(migration_name) FROM _prisma_migrations WHERE finished_at IS NOT NULL) AS schema FROM worker WHERE id = ${workerId} FOR SHARE OF worker`;
      const wanted = await tx.run.findUnique({
        where: { id: runId },
        select: { requiredLabels: true, requiredGpu: true, project: true },
      });
      const required = { labels: wanted?.requiredLabels ?? {}, gpu: wanted?.requiredGpu } as Requires;
      const lacking = Object.entries(required.labels).filter(([key, value]) => worker?.labels[key] !== value);
      const { fit, good, elsewhere } = await this.fittingGpus(tx, runId, gpus, required);
      const why =
        worker && worker.state !== 'running'
          ? `it is ${worker.state}`
          : lacking.length
            ? `it lacks ${lacking.map((label) => label.join('=')).join(', ')}`
            : required.gpu && fit.length === 0
              ? 'it has no free GPU that is as asked'
              : gpus.length && good.length === 0 && elsewhere
                ? 'a trainer of this run has died on each GPU that it has free, and there are others'
                : wanted && !(await this.hasPlace(tx, wanted.project, runId))
                  ? `project ${wanted.project} has as many runs under way as it may`
                  : undefined;
      refused =
        worker && worker.schema !== SCHEMA
          ? new SchemaMismatchError({ runId, attempt }, mismatch(worker.schema))
          : why === undefined
            ? undefined
            : new ClaimRefusedError({ runId, attempt }, why);
      if (refused) {
        await this.offerAgain(
          { runId, attempt },
          tx,
          lacking.length || worker?.state !== 'running' ? OFFER_AGAIN_MS : OFFER_MUCH_LATER_MS,
        );
        return undefined;
      }
      const gpu = good[0] ?? fit[0] ?? null;
      const take = () =>
        this.move(tx, {
          runId,
          attempt: attempt - 1,
          from: ['queued', 'retrying'],
          to: 'running',
          reason: null,
          detail: null,
          data: { workerId },
          set: [
            Prisma.sql`attempt = run.attempt + 1, worker_id = ${workerId}, lease_until = now() + ${this.lease()}, started_at = coalesce(started_at, now()), progress_at = now(), next_start_at = NULL`,
          ],
        });
      const moved = (await take()) ?? ((await this.recoverWithin(tx, runId)) ? await take() : undefined);
      if (!moved) return undefined;
      const [run] = await tx.$queryRaw<
        {
          spec: RunSpec;
          stopAtStep: number | null;
          dataset: DatasetManifest | null;
          checkpoints: { sha256: string; step: number }[];
        }[]
      >`
        WITH begun AS (INSERT INTO attempt (run_id, attempt, worker_id, gpu) VALUES (${runId}::uuid, ${attempt}, ${workerId}, ${gpu}))
        SELECT spec, stop_at_step AS "stopAtStep", (SELECT manifest FROM dataset WHERE dataset.digest = run.dataset_digest LIMIT 1) AS dataset,
          (SELECT coalesce(jsonb_agg(jsonb_build_object('sha256', sha256, 'step', coalesce(step, 0)) ORDER BY step DESC, created_at DESC), '[]') FROM artifact WHERE run_id = run.id AND kind = 'checkpoint') AS checkpoints
        FROM run WHERE id = ${runId}::uuid`;
      const { spec, stopAtStep, dataset, checkpoints } = run!;
      const newest = (id: string | null | undefined, kind: ArtifactKind, step?: number) =>
        id
          ? tx.artifact.findFirst({
              where: { runId: id, kind, ...(step !== undefined && { step }) },
              orderBy: { createdAt: 'desc' },
            })
          : null;
      const parent = await newest('from' in spec ? spec.from : null, 'model');
      const parentCheckpoint =
        'checkpoint' in spec && spec.checkpoint !== undefined
          ? await newest(spec.from, 'checkpoint', spec.checkpoint)
          : null;
      const aligned = await newest('alignTo' in spec ? spec.alignTo : null, 'embedding');
      return {
        runId,
        attempt,
        spec,
        gpu,
        dataset,
        parentModel: parent?.sha256 ?? null,
        parentCheckpoint: parentCheckpoint?.sha256 ?? null,
        alignTo: aligned?.sha256 ?? null,
        checkpoints,
        stopAtStep,
      };
    });
    if (refused) throw refused;
    return claimed;
  }

  /**
   * Whether a project may have one more run under way. Claims of a project with such a quota wait here for each other,
   * so that it is not exceeded whoever has admitted them.
   */
  private async hasPlace(tx: Transaction, project: string, runId: string): Promise<boolean> {
    const [limited] = await tx.$queryRaw<
      { most: number }[]
    >`SELECT max_running AS most FROM project WHERE name = ${project} AND max_running IS NOT NULL FOR NO KEY UPDATE`;
    if (!limited) return true;
    const [{ held } = { held: 0 }] = await tx.$queryRaw<
      { held: number }[]
    >`SELECT count(*)::int AS held FROM run WHERE project = ${project} AND status = ANY(${statuses(ACTIVE_STATUSES)}) AND id <> ${runId}::uuid`;
    return held < limited.most;
  }

  /**
   * Of the given GPUs those that are as asked; of these `good`, those on which no trainer of this run has died; and
   * whether a worker that could take it has a good one at all.
   */
  private async fittingGpus(
    tx: Transaction,
    runId: string,
    gpus: readonly string[],
    { labels, gpu }: Requires,
  ): Promise<{ fit: string[]; good: string[]; elsewhere: boolean }> {
    if (gpus.length === 0) return { fit: [], good: [], elsewhere: false };
    const bad = await tx.attempt.findMany({
      where: { runId, reason: { in: [...GPU_SUSPECT] }, gpu: { not: null } },
      select: { gpu: true },
    });
    const suspects = bad.map((attempt) => attempt.gpu!);
    const able = await tx.$queryRaw<{ uuid: string }[]>`
      SELECT g->>'uuid' AS uuid FROM worker w, jsonb_array_elements(w.gpus) AS g
      WHERE w.state = 'running' AND w.heartbeat_at > now() - ${this.lease()} AND w.labels @> ${JSON.stringify(labels)}::jsonb AND ${gpuFits(Prisma.sql`${JSON.stringify(gpu ?? {})}::jsonb`)}`;
    const fit = gpus.filter((uuid) => able.some((each) => each.uuid === uuid));
    return {
      fit,
      good: fit.filter((uuid) => !suspects.includes(uuid)),
      elsewhere: able.some(({ uuid }) => !suspects.includes(uuid)),
    };
  }

  /**
   * Resolves when the database has the schema that this build is for.
   * @throws Error when it has another, with what to do.
   */
  async checkSchema(): Promise<void> {
    const [row] = await this.database.prisma.$queryRaw<
      { schema: string | null }[]
    >`SELECT max(migration_name) AS schema FROM _prisma_migrations WHERE finished_at IS NOT NULL`;
    if (row?.schema !== SCHEMA) throw new Error(mismatch(row?.schema ?? 'none'));
  }

  /** A run that waits and that its worker does not take goes to another, a moment later. */
  async offerAgain(
    { runId, attempt }: RunJob,
    tx: Transaction = this.database.prisma,
    afterMs = OFFER_AGAIN_MS,
  ): Promise<void> {
    await tx.$executeRaw`UPDATE outbox SET dispatched_at = NULL, not_before = greatest(not_before, now() + ${interval(afterMs)}) WHERE run_id = ${runId}::uuid AND attempt = ${attempt}`;
  }

  /** Extends the leases of a worker's runs. A run that is absent from the answer is lost. */
  async heartbeat(workerId: string, tokens: readonly Token[]): Promise<HeartbeatAnswer> {
    const rows = await this.database.prisma.$queryRaw<{ id: string | null; status: RunStatus; state: string | null }[]>`
      WITH alive AS (UPDATE worker SET heartbeat_at = now() WHERE id = ${workerId} RETURNING state),
        extended AS (
          UPDATE run SET lease_until = now() + ${this.lease()}
          FROM unnest(${tokens.map(({ runId }) => runId)}::uuid[], ${tokens.map(({ attempt }) => attempt)}::int[]) AS token(run_id, attempt)
          WHERE run.id = token.run_id AND run.attempt = token.attempt AND run.status = ANY(${statuses(ACTIVE_STATUSES)})
          RETURNING run.id, run.status)
      SELECT extended.id, extended.status::text AS status, alive.state FROM (SELECT 1) AS one LEFT JOIN alive ON true LEFT JOIN extended ON true`;
    const ask = (status: RunStatus) => (status === 'cancelling' ? 'cancel' : status === 'pausing' ? 'pause' : 'go on');
    return {
      drain: rows[0]?.state === 'draining',
      asked: new Map(rows.flatMap(({ id, status }) => (id === null ? [] : [[id, ask(status)] as const]))),
    };
  }

  /**
   * Begins training at the checkpoint's step (null: from the start). What a dead attempt recorded beyond it is
   * superseded, and last values are those of what stays.
   * @throws LeaseLostError
   */
  async begin(token: Token, checkpointStep: number | null, trainerPid: number): Promise<void> {
    const step = checkpointStep ?? 0;
    const beyond = checkpointStep ?? -1;
    const rows = await this.database.prisma.$queryRaw<unknown[]>`
      WITH RECURSIVE fence AS (UPDATE run SET step = ${step}, progress_at = now() WHERE ${held(token)} RETURNING id),
        superseded AS (DELETE FROM metric USING fence WHERE metric.run_id = fence.id AND metric.step > ${beyond}),
        keys AS (
          SELECT (SELECT min(key) FROM metric WHERE run_id = ${token.runId}::uuid) AS key
          UNION ALL SELECT (SELECT min(metric.key) FROM metric WHERE run_id = ${token.runId}::uuid AND metric.key > keys.key) FROM keys WHERE keys.key IS NOT NULL),
        kept AS (
          SELECT fence.id, keys.key, last.step, last.value FROM fence, keys
          CROSS JOIN LATERAL (SELECT step, value FROM metric WHERE run_id = ${token.runId}::uuid AND metric.key = keys.key AND step <= ${beyond} ORDER BY step DESC LIMIT 1) AS last LIMIT ${MOST_LAST_VALUES}),
        last AS (INSERT INTO run_metric (run_id, key, step, value) SELECT * FROM kept ON CONFLICT (run_id, key) DO UPDATE SET step = excluded.step, value = excluded.value),
        gone AS (DELETE FROM run_metric USING fence WHERE run_metric.run_id = fence.id AND run_metric.key NOT IN (SELECT key FROM kept)),
        started AS (UPDATE attempt SET resumed_from_step = ${step}, trainer_pid = ${trainerPid} FROM fence WHERE attempt.run_id = fence.id AND attempt.attempt = ${token.attempt})
      SELECT pg_notify('run_changed', id::text)::text FROM fence`;
    if (rows.length === 0) throw new LeaseLostError(token);
  }

  /**
   * Progress, metrics with their last values, log lines and events in one fenced statement. A value for a key and step
   * that is there already replaces it.
   * @throws LeaseLostError
   */
  async record(token: Token, progress: Progress): Promise<void> {
    try {
      await this.recordWithin(token, progress, true);
    } catch (error) {
      // The same points came twice at one moment: this time they are looked for.
      if (codeOf(error) !== UNIQUE_VIOLATION) throw error;
      await this.recordWithin(token, progress, false);
    }
  }

  /**
   * `hopeful`: points beyond their key's last are inserted without looking whether they are there, which is half as
   * long. They can only be when another write of the run was under way at the same time, and then nothing is written.
   */
  private async recordWithin(
    token: Token,
    { step, points = [], lines = [], events = [] }: Progress,
    hopeful: boolean,
  ): Promise<void> {
    const { keys, keyOf, steps, values, last } = columnsOf(points);
    const moved = step
      ? Prisma.sql`, step = ${step.step}, total_steps = ${step.totalSteps}, progress_at = now()`
      : Prisma.empty;
    const rows = await this.database.prisma.$queryRaw<unknown[]>`
      WITH fence AS (UPDATE run SET worker_id = worker_id ${moved} WHERE ${held(token)} RETURNING id),
        known AS (SELECT k.place, k.key, m.step FROM unnest(${keys}::text[]) WITH ORDINALITY AS k(key, place) LEFT JOIN run_metric AS m ON m.run_id = ${token.runId}::uuid AND m.key = k.key),
        points AS (
          SELECT fence.id, known.key, p.step, p.value, ${hopeful} AND (known.step IS NULL OR p.step > known.step) AS fresh
          FROM fence, unnest(${keyOf}::text::int[], ${steps}::text::int[], ${values}::text::float8[]) AS p(place, step, value) JOIN known ON known.place = p.place),
        fresh AS (INSERT INTO metric (run_id, key, step, attempt, value) SELECT id, key, step, ${token.attempt}, value FROM points WHERE fresh),
        others AS (
          INSERT INTO metric (run_id, key, step, attempt, value) SELECT id, key, step, ${token.attempt}, value FROM points WHERE NOT fresh
          ON CONFLICT (run_id, key, step) DO UPDATE SET value = excluded.value, attempt = excluded.attempt, seq = excluded.seq, at = excluded.at
          WHERE metric.attempt <= excluded.attempt),
        last AS (
          INSERT INTO run_metric (run_id, key, step, value)
          SELECT fence.id, known.key, p.step, p.value FROM fence, unnest(${last.steps}::text::int[], ${last.values}::text::float8[]) WITH ORDINALITY AS p(step, value, place) JOIN known ON known.place = p.place
          WHERE known.step IS NOT NULL OR known.place <= ${MOST_LAST_VALUES} - (SELECT count(*) FROM run_metric WHERE run_id = ${token.runId}::uuid)
          ON CONFLICT (run_id, key) DO UPDATE SET step = excluded.step, value = excluded.value WHERE run_metric.step <= excluded.step),
        lines AS (
          INSERT INTO log_line (run_id, attempt, level, message)
          SELECT fence.id, ${token.attempt}, l.level, l.message
          FROM fence, unnest(${lines.map(({ level }) => level)}::text[], ${lines.map(({ message }) => message.replaceAll('\0', ''))}::text[]) AS l(level, message)),
        events AS (
          INSERT INTO run_event (run_id, attempt, type, data)
          SELECT fence.id, ${token.attempt}, e.type, e.data FROM fence, jsonb_to_recordset(${JSON.stringify(events)}::jsonb) AS e(type text, data jsonb))
      SELECT pg_notify('run_changed', id::text)::text FROM fence`;
    if (rows.length === 0) throw new LeaseLostError(token);
  }

  /**
   * Makes a file visible that is in the artifact store already. Of checkpoints the newest few stay visible, the newest
   * of those that were the best, and those that another run names.
   * @throws LeaseLostError
   */
  async addArtifact(token: Token, artifact: NewArtifact): Promise<string> {
    const id = randomUUID();
    await this.database.transaction(async (tx) => {
      const rows = await tx.$queryRaw<unknown[]>`
        WITH fence AS (SELECT id FROM run WHERE ${held(token)} FOR UPDATE),
          event AS (INSERT INTO run_event (run_id, attempt, type, data) SELECT id, ${token.attempt}, 'artifact', ${JSON.stringify({ id, name: artifact.name, kind: artifact.kind, step: artifact.step })}::jsonb FROM fence),
          row AS (
            INSERT INTO artifact (id, run_id, attempt, name, kind, mime, size_bytes, sha256, step)
            SELECT ${id}::uuid, id, ${token.attempt}, ${artifact.name}, ${artifact.kind}, ${artifact.mime}, ${artifact.sizeBytes}, ${artifact.sha256}, ${artifact.step}::int FROM fence)
        SELECT pg_notify('run_changed', id::text)::text FROM fence`;
      if (rows.length === 0) throw new LeaseLostError(token);
      if (artifact.kind === 'checkpoint') {
        await tx.$executeRaw`
          WITH kept AS (SELECT coalesce((spec->'checkpoints'->>'keepLast')::int, ${KEPT_CHECKPOINTS}) AS last FROM run WHERE id = ${token.runId}::uuid),
            ranked AS (
              SELECT id, step, name LIKE 'best-%' AS best, row_number() OVER (PARTITION BY name LIKE 'best-%' ORDER BY step DESC, created_at DESC) AS place
              FROM artifact WHERE run_id = ${token.runId}::uuid AND kind = 'checkpoint')
          DELETE FROM artifact USING ranked, kept WHERE artifact.id = ranked.id AND place > CASE WHEN best THEN 1 ELSE kept.last END
            AND NOT EXISTS (SELECT 1 FROM run_dependency d JOIN run child ON child.id = d.run_id WHERE d.parent_id = ${token.runId}::uuid AND (child.spec->>'checkpoint')::int = ranked.step)`;
      }
    });
    return id;
  }

  /**
   * The run is done. A prepared dataset becomes visible in the same transaction, and runs that waited for this one are
   * queued.
   * A run that was cancelled meanwhile ends as cancelled; one that was to pause is done. Returns the status it ended
   * in.
   * @throws LeaseLostError
   */
  async succeed(token: Token, result: RunResult): Promise<RunStatus> {
    return this.database.transaction(async (tx) => {
      const moved = await this.end(tx, token, {
        from: ['running', 'pausing'],
        to: 'succeeded',
        set: [Prisma.sql`result = ${JSON.stringify(result)}::jsonb, step = coalesce(total_steps, step)`],
      });
      if (!moved) return this.stoppedMeanwhile(tx, token);
      if (result.dataset) {
        const { dataset } = result;
        await tx.$executeRaw`
          INSERT INTO dataset (name, digest, manifest, run_id) VALUES (${dataset.name}, ${dataset.digest}, ${JSON.stringify(dataset)}::jsonb, ${token.runId}::uuid)
          ON CONFLICT (name, digest) DO UPDATE SET created_at = now()`;
      }
      return 'succeeded';
    });
  }

  /**
   * The run failed. It is repeated after a while where its failure class and budget allow, from its last checkpoint;
   * one that was to pause is paused instead.
   * Returns the status that it has now.
   * @throws LeaseLostError
   */
  async fail(token: Token, reason: StatusReason, detail: string): Promise<RunStatus> {
    return this.database.transaction(async (tx) => {
      const run = await tx.$queryRaw<
        { status: RunStatus; failures: number }[]
      >`SELECT status::text AS status, failures FROM run WHERE ${held(token)} FOR UPDATE`;
      if (!run[0]) throw new LeaseLostError(token);
      const failures = run[0].failures + 1;
      const again = failures <= (RETRY_BUDGET[reason] ?? 0);
      const to = !again ? 'failed' : run[0].status === 'pausing' ? 'paused' : 'retrying';
      const moved = await this.end(tx, token, {
        from: to === 'retrying' ? ['running'] : to === 'paused' ? ['pausing'] : ['running', 'pausing'],
        to,
        reason,
        detail: detail.replaceAll('\0', ''),
        outcome: 'failed',
        set: [
          Prisma.sql`failures = ${failures}`,
          ...(to === 'retrying' ? [Prisma.sql`next_start_at = now() + ${interval(backoffMs(failures))}`] : []),
        ],
      });
      return moved ? to : this.stoppedMeanwhile(tx, token);
    });
  }

  /**
   * Hands a run back that its worker has stopped, uncharged. One that was to be cancelled or to pause is; any other
   * goes on elsewhere from its last checkpoint. Returns the status that it has now.
   * @throws LeaseLostError
   */
  async release(token: Token): Promise<RunStatus> {
    return this.database.transaction(async (tx) =>
      (await this.end(tx, token, { from: ['running'], to: 'queued', reason: 'preempted', outcome: 'preempted' }))
        ? 'queued'
        : this.stoppedMeanwhile(tx, token),
    );
  }

  /**
   * Hands back a run that has come as far as it was to: it waits with its checkpoint until it is let on. Where it has
   * been let on meanwhile, it goes on at once.
   * @throws LeaseLostError
   */
  async reachRung(token: Token, step: number): Promise<RunStatus> {
    return this.database.transaction(async (tx) => {
      const [run] = await tx.$queryRaw<
        { stopAtStep: number | null }[]
      >`SELECT stop_at_step AS "stopAtStep" FROM run WHERE ${held(token)} FOR UPDATE`;
      const waits = run !== undefined && run.stopAtStep !== null && run.stopAtStep <= step;
      const to = waits ? ('paused' as const) : ('queued' as const);
      const detail = waits ? `it has reached step ${step} and waits for the results of others` : null;
      return (await this.end(tx, token, {
        from: ['running'],
        to,
        reason: waits ? 'rung' : null,
        detail,
        outcome: 'rung',
      }))
        ? to
        : this.stoppedMeanwhile(tx, token);
    });
  }

  /**
   * Leaves a record that somebody asked for these by name, or for a child of theirs: no sweep that started them takes
   * them away.
   */
  private async askFor(tx: Transaction, runIds: readonly string[]): Promise<void> {
    await tx.$executeRaw`
      WITH wanted AS (SELECT id, attempt FROM run WHERE id = ANY(${[...runIds]}::uuid[]) AND status <> 'succeeded' ORDER BY id FOR UPDATE)
      INSERT INTO run_event (run_id, attempt, type) SELECT id, attempt, 'asked' FROM wanted WHERE NOT EXISTS (SELECT 1 FROM run_event e WHERE e.run_id = wanted.id AND e.type = 'asked')`;
  }

  // What sweeps ask of a run

  /** Nobody stops these early any more: somebody needs their result. Those that wait at a rung go on. */
  async needInFull(tx: Transaction, runIds: readonly string[]): Promise<void> {
    const freed = await tx.$queryRaw<
      { id: string }[]
    >`UPDATE run SET stop_at_step = NULL WHERE id = ANY(${[...runIds]}::uuid[]) AND stop_at_step IS NOT NULL RETURNING id`;
    for (const { id } of freed) await this.leaveRung(tx, id);
  }

  /**
   * Lets runs go as far as this step before they are looked at; null: to their end. Nobody is held back who may go
   * further.
   */
  async letOn(tx: Transaction, runId: string, toStep: number | null): Promise<void> {
    if (toStep === null) return this.needInFull(tx, [runId]);
    const moved = await tx.$queryRaw<
      unknown[]
    >`UPDATE run SET stop_at_step = ${toStep} WHERE id = ${runId}::uuid AND stop_at_step < ${toStep} RETURNING id`;
    if (moved.length) await this.leaveRung(tx, runId);
  }

  /** A new run is looked at there first. */
  async stopAt(tx: Transaction, runId: string, step: number): Promise<void> {
    await tx.$executeRaw`UPDATE run SET stop_at_step = ${step} WHERE id = ${runId}::uuid AND attempt = 0`;
  }

  /**
   * It has shown enough: wherever it is, it ends, and so do the runs that wait for it. A worker that holds it hears
   * that its lease is over.
   */
  async stopEarly(tx: Transaction, runId: string, reason: StatusReason, detail: string): Promise<void> {
    const status = await this.lock(tx, runId);
    if (!canMove(status, 'early_stopped')) return;
    const moved = await this.move(tx, {
      runId,
      from: [status],
      to: 'early_stopped',
      reason,
      detail,
      set: [Prisma.sql`lease_until = NULL`],
    });
    if (!moved || !(ACTIVE_STATUSES as readonly RunStatus[]).includes(status)) return;
    await tx.$executeRaw`UPDATE attempt SET ended_at = now(), outcome = 'early_stopped', reason = ${reason}, detail = ${detail} WHERE run_id = ${runId}::uuid AND attempt = ${moved.attempt}`;
    await tx.$executeRaw`SELECT pg_notify('run_control', ${runId})`;
  }

  private async leaveRung(tx: Transaction, runId: string): Promise<void> {
    const waiting = await tx.$queryRaw<
      unknown[]
    >`SELECT id FROM run WHERE id = ${runId}::uuid AND status = 'paused' AND status_reason = 'rung' FOR UPDATE`;
    if (waiting.length)
      await this.move(tx, { runId, from: ['paused'], to: 'queued', reason: null, detail: null, data: { by: 'sweep' } });
  }

  // What the leader does

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
   * a moment.
   */
  async markDispatched(admitted: readonly Admission[]): Promise<void> {
    await this.database.prisma.$executeRaw`
      WITH reached AS (SELECT project, max(tag) AS tag FROM unnest(${admitted.map(({ project }) => project)}::text[], ${admitted.map(({ tag }) => String(tag))}::text[]::float8[]) AS a(project, tag) GROUP BY project),
        moved AS (UPDATE project SET tag = greatest(project.tag, reached.tag) FROM reached WHERE project.name = reached.project)
      UPDATE outbox SET dispatched_at = now() WHERE id = ANY(${admitted.map(({ outboxId }) => String(outboxId))}::text[]::bigint[]) AND not_before <= now()`;
  }

  /**
   * Adds the seconds of attempts that have ended to what their projects have used. Those of the last moments stay
   * apart: they tell how fast runs follow each other.
   */
  async chargeProjects(): Promise<void> {
    for (let charged = CHARGE_BATCH; charged === CHARGE_BATCH;) {
      const [row] = await this.database.prisma.$queryRaw<{ charged: number }[]>`
        WITH batch AS (SELECT run_id, attempt FROM attempt WHERE NOT charged AND ended_at < now() - ${interval(CHARGE_AFTER_MS)} LIMIT ${CHARGE_BATCH} FOR UPDATE SKIP LOCKED),
          ended AS (
            UPDATE attempt SET charged = true FROM batch JOIN run ON run.id = batch.run_id WHERE attempt.run_id = batch.run_id AND attempt.attempt = batch.attempt
            RETURNING run.project, extract(epoch FROM attempt.ended_at - attempt.started_at) AS seconds),
          sums AS (SELECT project, sum(seconds)::float8 AS seconds FROM ended GROUP BY project),
          spent AS (UPDATE project SET spent = spent + sums.seconds FROM sums WHERE project.name = sums.project)
        SELECT count(*)::int AS charged FROM ended`;
      charged = row!.charged;
    }
  }

  /** Runs that were put into Redis more than `ageMs` ago and still wait, by pages of `limit` after `afterOutboxId`. */
  async dispatchedLongAgo(
    ageMs: number,
    afterOutboxId: bigint,
    limit: number,
  ): Promise<(RunJob & { outboxId: bigint })[]> {
    return this.database.prisma.$queryRaw`
      SELECT o.id AS "outboxId", o.run_id AS "runId", o.attempt FROM outbox o JOIN run r ON r.id = o.run_id
      WHERE o.dispatched_at < now() - ${interval(ageMs)} AND r.status IN ('queued', 'retrying') AND r.attempt = o.attempt - 1 AND o.id > ${String(afterOutboxId)}::text::bigint
      ORDER BY o.id LIMIT ${limit}`;
  }

  /** Has the dispatcher put these into Redis once more. */
  async dispatchAgain(outboxIds: readonly bigint[]): Promise<void> {
    await this.database.prisma
      .$executeRaw`UPDATE outbox SET dispatched_at = NULL WHERE id = ANY(${outboxIds.map(String)}::text[]::bigint[])`;
    await this.database.prisma.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /** Frees runs whose worker has been silent for longer than the lease. Returns how many. */
  async recoverLost(): Promise<number> {
    const lost = await this.database.prisma.$queryRaw<{ id: string }[]>`
      SELECT id FROM run WHERE status = ANY(${statuses(ACTIVE_STATUSES)}) AND lease_until < now() ORDER BY lease_until LIMIT 1000`;
    let recovered = 0;
    for (const { id } of lost) if (await this.database.transaction((tx) => this.recoverWithin(tx, id))) recovered++;
    return recovered;
  }

  /** Queues runs whose parents have all succeeded and which nobody has queued. Returns how many. */
  async startReady(): Promise<number> {
    return this.database.transaction((tx) => this.queueChildren(tx, null));
  }

  // Within a transaction

  private lease(): Prisma.Sql {
    return interval(this.options.leaseMs);
  }

  private async lock(tx: Transaction, runId: string): Promise<RunStatus> {
    const rows = await tx.$queryRaw<
      { status: RunStatus }[]
    >`SELECT status::text AS status FROM run WHERE id = ${runId}::uuid FOR UPDATE`;
    if (!rows[0]) throw new RequestError('not_found', `expected the id of a run, got ${runId}: there is no such run`);
    return rows[0].status;
  }

  /** An expired lease ends its attempt. True when there was one. */
  private async recoverWithin(tx: Transaction, runId: string): Promise<boolean> {
    const rows = await tx.$queryRaw<{ status: RunStatus; attempt: number; losses: number; workerId: string }[]>`
      SELECT status::text AS status, attempt, losses, worker_id AS "workerId" FROM run
      WHERE id = ${runId}::uuid AND status = ANY(${statuses(ACTIVE_STATUSES)}) AND lease_until < now() FOR UPDATE`;
    const run = rows[0];
    if (!run) return false;
    const token = { runId, attempt: run.attempt };
    if (run.status === 'cancelling') {
      await this.stoppedMeanwhile(tx, token);
      return true;
    }
    const losses = run.losses + 1;
    const detail = `worker ${run.workerId} was silent for longer than its lease`;
    const to = losses > MAX_LOSSES ? 'failed' : run.status === 'pausing' ? 'paused' : 'queued';
    await this.end(tx, token, {
      from: [run.status],
      to,
      reason: 'worker_lost',
      outcome: to === 'failed' ? 'failed' : 'worker_lost',
      detail: to === 'failed' ? `${detail}, and so were ${MAX_LOSSES} before it` : detail,
      set: [Prisma.sql`losses = ${losses}`],
    });
    return true;
  }

  /** Ends an attempt: whatever the run becomes, its worker no longer holds it. */
  private async end(
    tx: Transaction,
    token: Token,
    ending: Pick<Move, 'from' | 'to' | 'reason' | 'detail' | 'set'> & { outcome?: string },
  ): Promise<boolean> {
    const { outcome = ending.to, ...change } = ending;
    return (
      (await this.move(tx, {
        ...change,
        outcome,
        runId: token.runId,
        attempt: token.attempt,
        set: [Prisma.sql`lease_until = NULL`, ...(change.set ?? [])],
      })) !== undefined
    );
  }

  /**
   * What else can be the matter when a run is no longer `running`: it was cancelled, it was to pause, or the lease is
   * lost.
   */
  private async stoppedMeanwhile(tx: Transaction, token: Token): Promise<'cancelled' | 'paused'> {
    if (await this.end(tx, token, { from: ['cancelling'], to: 'cancelled', reason: 'user_cancel' })) return 'cancelled';
    if (await this.end(tx, token, { from: ['pausing'], to: 'paused', reason: 'user_pause' })) return 'paused';
    throw new LeaseLostError(token);
  }

  /**
   * The one statement that changes a status. Writes the event with it, queues a message where the run has to be
   * dispatched, and carries the change to the runs that depend on this one. Undefined when the run was not where it was
   * expected.
   */
  private async move(
    tx: Transaction,
    { runId, from, to, attempt, reason, detail, set = [], data = {}, outcome }: Move,
  ): Promise<Moved | undefined> {
    for (const status of from)
      if (!canMove(status, to)) throw new TypeError(`expected an allowed transition, got ${status} → ${to}`);
    const ended =
      to === 'succeeded' || to === 'failed' || to === 'cancelled' || to === 'timed_out' || to === 'early_stopped';
    const changes = [
      Prisma.sql`status = ${to}::text::run_status`,
      ...(reason !== undefined ? [Prisma.sql`status_reason = ${reason}`] : []),
      ...(detail !== undefined ? [Prisma.sql`status_detail = ${detail}`] : []),
      ...(ended ? [Prisma.sql`finished_at = now()`] : []),
      ...set,
    ];
    // A message for an attempt that has begun, or that will not begin, is nothing to dispatch any more.
    const [run] = await tx.$queryRaw<Moved[]>`
      WITH moved AS (
          UPDATE run SET ${Prisma.join(changes, ', ')}
          WHERE id = ${runId}::uuid AND status = ANY(${statuses(from)}) AND ${attempt === undefined ? Prisma.sql`true` : Prisma.sql`run.attempt = ${attempt}`}
          RETURNING id, attempt, failures, losses),
        event AS (
          INSERT INTO run_event (run_id, attempt, type, data) SELECT id, attempt, 'status', ${JSON.stringify({ status: to, ...(reason && { reason }), ...(detail && { detail }), ...data })}::jsonb FROM moved),
        forgotten AS (DELETE FROM outbox USING moved WHERE outbox.run_id = moved.id),
        ended AS (
          UPDATE attempt SET ended_at = now(), outcome = ${outcome ?? null}::text, reason = ${reason ?? null}::text, detail = ${detail ?? null}::text
          FROM moved WHERE ${outcome !== undefined} AND attempt.run_id = moved.id AND attempt.attempt = moved.attempt)
      SELECT attempt, failures, losses, pg_notify('run_changed', id::text)::text AS told, CASE WHEN ${ended || to === 'paused'} THEN pg_notify('run_ended', id::text)::text END AS told_end FROM moved`;
    if (!run) return undefined;
    if (to === 'queued' || to === 'retrying') await this.enqueue(tx, [runId]);
    if (to === 'succeeded') await this.queueChildren(tx, runId);
    else if (ended) await this.failChildren(tx, runId, to);
    else if (from.some((status) => (RETRYABLE_STATUSES as readonly RunStatus[]).includes(status)))
      await this.rearmChildren(tx, runId);
    return run;
  }

  private async enqueue(tx: Transaction, runIds: readonly string[]): Promise<void> {
    await tx.$executeRaw`
      INSERT INTO outbox (run_id, attempt, not_before, project, urgency, placement)
      SELECT id, attempt + 1, coalesce(next_start_at, now()), project, 100 - priority, CASE WHEN required_labels = '{}' AND required_gpu IS NULL THEN '' ELSE md5(jsonb_build_array(required_labels, required_gpu)::text) END FROM run WHERE id = ANY(${[...runIds]}::uuid[])
      ON CONFLICT (run_id, attempt) DO UPDATE SET dispatched_at = NULL, not_before = excluded.not_before`;
    await tx.$executeRaw`SELECT pg_notify('outbox', '')`;
  }

  /** `pending` → `queued` for runs whose parents have all succeeded; of one parent, or (null) of any. */
  private async queueChildren(tx: Transaction, parentId: string | null): Promise<number> {
    const ready = await tx.$queryRaw<{ id: string }[]>`
      UPDATE run SET status = 'queued' WHERE status = 'pending'
        AND (${parentId}::uuid IS NULL OR id IN (SELECT run_id FROM run_dependency WHERE parent_id = ${parentId}::uuid))
        AND NOT EXISTS (SELECT 1 FROM run_dependency d JOIN run p ON p.id = d.parent_id WHERE d.run_id = run.id AND p.status <> 'succeeded')
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
      ${this.descendants(parentId)}
      UPDATE run SET status = ${status}::text::run_status, status_reason = ${reason}, status_detail = ${detail}, finished_at = now()
      WHERE status = 'pending' AND id IN (SELECT run_id FROM descendant) RETURNING id`;
    await this.statusEvents(
      tx,
      failed.map(({ id }) => id),
      { status, reason },
    );
  }

  /** `upstream_failed` → `pending` for everything that waited for this run. */
  private async rearmChildren(tx: Transaction, parentId: string): Promise<void> {
    const armed = await tx.$queryRaw<{ id: string }[]>`
      ${this.descendants(parentId)}
      UPDATE run SET status = 'pending', status_reason = NULL, status_detail = NULL, finished_at = NULL
      WHERE status = 'upstream_failed' AND id IN (SELECT run_id FROM descendant) RETURNING id`;
    await this.statusEvents(
      tx,
      armed.map(({ id }) => id),
      { status: 'pending' },
    );
  }

  private descendants(runId: string): Prisma.Sql {
    return Prisma.sql`
      WITH RECURSIVE descendant AS (
        SELECT run_id FROM run_dependency WHERE parent_id = ${runId}::uuid
        UNION SELECT d.run_id FROM run_dependency d JOIN descendant ON d.parent_id = descendant.run_id)`;
  }

  private async statusEvents(tx: Transaction, runIds: readonly string[], data: Record<string, unknown>): Promise<void> {
    if (runIds.length === 0) return;
    await tx.$executeRaw`
      INSERT INTO run_event (run_id, attempt, type, data) SELECT id, attempt, 'status', ${JSON.stringify(data)}::jsonb FROM run WHERE id = ANY(${[...runIds]}::uuid[])`;
    await tx.$executeRaw`SELECT pg_notify('run_changed', id::text) FROM run WHERE id = ANY(${[...runIds]}::uuid[])`;
  }
}

const interval = (milliseconds: number): Prisma.Sql =>
  Prisma.sql`make_interval(secs => ${milliseconds / 1000}::float8)`;

/**
 * Points as Postgres takes them fastest: the keys, and for each point the place of its key (from 1), its step and its
 * value, as array literals in the order of the primary key; and the last of each key. One statement can't touch a row
 * twice: the last value of a key and step wins. What is not finite is left out.
 */
function columnsOf(points: readonly MetricPoint[]) {
  const byKey = new Map<string, Map<number, number>>();
  for (const { key, step, value } of points)
    if (Number.isFinite(value)) (byKey.get(key) ?? byKey.set(key, new Map()).get(key)!).set(step, value);
  const keys = [...byKey.keys()].sort();
  const series = keys.map((key) => [...byKey.get(key)!].sort(([a], [b]) => a - b));
  const literal = (numbers: readonly number[]) => `{${numbers.join()}}`;
  return {
    keys,
    keyOf: literal(series.flatMap((each, i) => each.map(() => i + 1))),
    steps: literal(series.flatMap((each) => each.map(([step]) => step))),
    values: literal(series.flatMap((each) => each.map(([, value]) => value))),
    last: {
      steps: literal(series.map((each) => each.at(-1)![0])),
      values: literal(series.map((each) => each.at(-1)![1])),
    },
  };
}
