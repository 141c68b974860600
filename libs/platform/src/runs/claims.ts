import {
  ACTIVE_STATUSES,
  encoderModelOf,
  WAITING_STATUSES,
  type ArtifactKind,
  type DatasetManifest,
  type Requires,
  type RunSpec,
  type StatusReason,
} from '#libs/contracts';
import { DamagedRowError } from '../checked-row.js';
import { OFFER_AGAIN_MS, OFFER_MUCH_LATER_MS, type Outbox } from '../dispatch/outbox.js';
import type { RunJob } from '../dispatch/queue.js';
import { Prisma, type Database, type Transaction } from '../machine/database.js';
import { manifestOf, specOf } from './records.js';
import type { Leases } from './leases.js';
import { mismatch, newestMigration, SCHEMA } from './schema-version.js';
import { hasStatus, interval, takesRuns } from './sql.js';
import type { Token } from './token.js';
import type { Transitions } from './transitions.js';

/** What a broken GPU does to a run. The attempts that follow go to another one while there is one. */
const GPU_SUSPECT: readonly StatusReason[] = ['gpu_error', 'worker_crash', 'hung'];

export interface ClaimedRun extends Token {
  spec: RunSpec;
  dataset: DatasetManifest | null;
  /** sha256 of the parent run's model. */
  parentModel: string | null;
  /** sha256 of the parent run's checkpoint that the spec names. */
  parentCheckpoint: string | null;
  /** sha256 of the model that the spec's encoder is of. */
  encoderModel: string | null;
  /** sha256 of the maps of the embed run that this one is aligned to. */
  alignTo: string | null;
  /** Checkpoints of earlier attempts, the newest first. */
  checkpoints: { sha256: string; step: number }[];
  /** UUID of the GPU to train on; null where the worker has none. */
  gpu: string | null;
  /** Where it is to stop and wait to be let on; null: it runs in full. */
  stopAtStep: number | null;
  /** How long ago its first attempt began. */
  secondsSinceFirst: number;
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

/** Whether a worker may take a run, and with which GPU; else why not, and after how long it is offered again. */
type Verdict = { gpu: string | null } | { refused: ClaimRefusedError; afterMs: number };

/** How a run that waits becomes a worker's. */
export class Claims {
  constructor(
    private readonly database: Database,
    private readonly transitions: Transitions,
    private readonly leases: Leases,
    private readonly outbox: Outbox,
    private readonly options: { leaseMs: number },
  ) {}

  /**
   * Takes a run that waits, as the attempt that the job names. Undefined when there is nothing to take: the job is a
   * duplicate, or the run was cancelled, or is another worker's.
   * @param gpus UUIDs of the GPUs that the worker has free, one of which it is given.
   * @throws ClaimRefusedError when this worker may not take it: it is draining, lacks a label, or has free only GPUs on
   *   which a trainer of this run has died; or when no worker may, because its project has as many runs under way
   *   as it may; SchemaMismatchError when the database is of another version. The run is offered again.
   */
  async claim(job: RunJob, workerId: string, gpus: readonly string[] = []): Promise<ClaimedRun | undefined> {
    let refused: ClaimRefusedError | undefined;
    const claimed = await this.database.transaction(async (tx) => {
      const verdict = await this.judge(tx, job, workerId, gpus);
      refused = 'refused' in verdict ? verdict.refused : undefined;
      if ('refused' in verdict) {
        await this.outbox.offerAgain(job, tx, verdict.afterMs);
        return undefined;
      }
      const { runId } = job;
      const taken =
        (await this.take(tx, job, workerId)) ||
        ((await this.leases.recoverWithin(tx, runId)) && (await this.take(tx, job, workerId)));
      return taken ? this.begin(tx, job, workerId, verdict.gpu) : undefined;
    });
    if (refused) throw refused;
    return claimed;
  }

  /** Whether this worker may take the run. It is locked, so that a claim comes either before a drain or not at all. */
  private async judge(tx: Transaction, job: RunJob, workerId: string, gpus: readonly string[]): Promise<Verdict> {
    const { runId } = job;
    const [worker] = await tx.$queryRaw<{ state: string; labels: Record<string, string>; schema: string }[]>`
      SELECT state, labels, ${newestMigration} AS schema
      FROM worker
      WHERE id = ${workerId}
      FOR SHARE OF worker`;
    const wanted = await tx.run.findUnique({
      where: { id: runId },
      select: { requiredLabels: true, requiredGpu: true, project: true },
    });
    const required = { labels: wanted?.requiredLabels ?? {}, gpu: wanted?.requiredGpu } as Requires;
    const lacking = Object.entries(required.labels).filter(([key, value]) => worker?.labels[key] !== value);
    const { fit, good, elsewhere } = await this.fittingGpus(tx, runId, gpus, required);
    const whyNot = async (): Promise<string | undefined> => {
      if (worker && worker.state !== 'running') return `it is ${worker.state}`;
      if (lacking.length) return `it lacks ${lacking.map((label) => label.join('=')).join(', ')}`;
      if (required.gpu && fit.length === 0) return 'it has no free GPU that is as asked';
      if (gpus.length && good.length === 0 && elsewhere)
        return 'a trainer of this run has died on each GPU that it has free, and there are others';
      if (wanted && !(await this.hasPlace(tx, wanted.project, runId)))
        return `project ${wanted.project} has as many runs under way as it may`;
      return undefined;
    };
    const why = await whyNot();
    const afterMs = lacking.length || worker?.state !== 'running' ? OFFER_AGAIN_MS : OFFER_MUCH_LATER_MS;
    if (worker && worker.schema !== SCHEMA)
      return { refused: new SchemaMismatchError(job, mismatch(worker.schema)), afterMs };
    if (why !== undefined) return { refused: new ClaimRefusedError(job, why), afterMs };
    return { gpu: good[0] ?? fit[0] ?? null };
  }

  /**
   * What the run's trainer needs; undefined where that is damaged: the run has failed then, for no worker could run it.
   */
  private async begin(
    tx: Transaction,
    job: RunJob,
    workerId: string,
    gpu: string | null,
  ): Promise<ClaimedRun | undefined> {
    try {
      return await begun(tx, job, workerId, gpu);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      await this.transitions.end(tx, job, {
        from: ['running'],
        to: 'failed',
        reason: error.row.resource === 'run' ? 'invalid_spec' : 'invalid_data',
        detail: error.message,
        outcome: 'failed',
      });
      return undefined;
    }
  }

  /** The run becomes this worker's where it waits for the attempt that the job names. */
  private async take(tx: Transaction, { runId, attempt }: RunJob, workerId: string): Promise<boolean> {
    const moved = await this.transitions.move(tx, {
      runId,
      attempt: attempt - 1,
      from: WAITING_STATUSES,
      to: 'running',
      reason: null,
      detail: null,
      data: { workerId },
      set: [
        Prisma.sql`attempt = run.attempt + 1`,
        Prisma.sql`written = 0`,
        Prisma.sql`worker_id = ${workerId}`,
        Prisma.sql`lease_until = now() + ${interval(this.options.leaseMs)}`,
        Prisma.sql`started_at = coalesce(started_at, now())`,
        Prisma.sql`progress_at = now()`,
        Prisma.sql`next_start_at = NULL`,
      ],
    });
    return moved !== undefined;
  }

  /**
   * Whether a project may have one more run under way. Claims of a project with such a quota wait here for each other,
   * so that it is not exceeded whoever has admitted them.
   */
  private async hasPlace(tx: Transaction, project: string, runId: string): Promise<boolean> {
    const [limited] = await tx.$queryRaw<{ most: number }[]>`
      SELECT max_running AS most
      FROM project
      WHERE name = ${project} AND max_running IS NOT NULL
      FOR NO KEY UPDATE`;
    if (!limited) return true;
    const [{ held } = { held: 0 }] = await tx.$queryRaw<{ held: number }[]>`
      SELECT count(*)::int AS held
      FROM run
      WHERE project = ${project} AND ${hasStatus(ACTIVE_STATUSES)} AND id <> ${runId}::uuid`;
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
      SELECT g->>'uuid' AS uuid
      FROM worker w, jsonb_array_elements(w.gpus) AS g
      WHERE ${takesRuns(this.options.leaseMs, 'w')} AND w.labels @> ${JSON.stringify(labels)}::jsonb
        AND ${gpuFits(Prisma.sql`${JSON.stringify(gpu ?? {})}::jsonb`)}`;
    const fit = gpus.filter((uuid) => able.some((each) => each.uuid === uuid));
    return {
      fit,
      good: fit.filter((uuid) => !suspects.includes(uuid)),
      elsewhere: able.some(({ uuid }) => !suspects.includes(uuid)),
    };
  }
}

/** Whether `g`, a GPU of a worker, is as a run asks. */
const gpuFits = (asked: Prisma.Sql) => Prisma.sql`
  (${asked}->>'name' IS NULL OR position(lower(${asked}->>'name') IN lower(g->>'name')) > 0)
  AND coalesce((${asked}->>'memoryMiB')::int, 0) <= (g->>'memoryMiB')::int`;

/**
 * Writes the attempt down, and reads what its trainer needs: in one statement, because claims are many.
 * @throws DamagedRowError where the spec or the dataset's manifest is damaged
 */
async function begun(
  tx: Transaction,
  { runId, attempt }: RunJob,
  workerId: string,
  gpu: string | null,
): Promise<ClaimedRun> {
  const [run] = await tx.$queryRaw<
    (Pick<ClaimedRun, 'stopAtStep' | 'checkpoints' | 'secondsSinceFirst'> & {
      spec: unknown;
      dataset: Parameters<typeof manifestOf>[0] | null;
    })[]
  >`
    WITH begun AS (
      INSERT INTO attempt (run_id, attempt, worker_id, gpu)
      VALUES (${runId}::uuid, ${attempt}, ${workerId}, ${gpu}))
    SELECT
      spec,
      stop_at_step AS "stopAtStep",
      coalesce(
        (SELECT extract(epoch FROM now() - min(started_at)) FROM attempt WHERE run_id = run.id), 0)::float8
        AS "secondsSinceFirst",
      (
        SELECT jsonb_build_object('name', name, 'digest', digest, 'manifest', manifest)
        FROM dataset
        WHERE dataset.digest = run.dataset_digest
        LIMIT 1) AS dataset,
      (
        SELECT coalesce(
          jsonb_agg(
            jsonb_build_object('sha256', sha256, 'step', coalesce(step, 0))
            ORDER BY step DESC, created_at DESC),
          '[]')
        FROM artifact
        WHERE run_id = run.id AND kind = 'checkpoint') AS checkpoints
    FROM run
    WHERE id = ${runId}::uuid`;
  const { dataset, ...rest } = run!;
  const spec = specOf({ id: runId, spec: rest.spec });
  const newest = async (id: string | null | undefined, kind: ArtifactKind, step?: number) => {
    if (!id) return null;
    const found = await tx.artifact.findFirst({
      where: { runId: id, kind, ...(step !== undefined && { step }) },
      orderBy: { createdAt: 'desc' },
    });
    return found?.sha256 ?? null;
  };
  return {
    ...rest,
    spec,
    dataset: dataset && manifestOf(dataset),
    runId,
    attempt,
    gpu,
    parentModel: await newest('from' in spec ? spec.from : null, 'model'),
    parentCheckpoint:
      'checkpoint' in spec && spec.checkpoint !== undefined
        ? await newest(spec.from, 'checkpoint', spec.checkpoint)
        : null,
    encoderModel: await newest(encoderModelOf(spec), 'model'),
    alignTo: await newest('alignTo' in spec ? spec.alignTo : null, 'embedding'),
  };
}
