/** From rows of Postgres to what is told of them: the one place where what a column holds is given its type. */
import type {
  Artifact,
  Dataset,
  LogLine,
  MetricSeries,
  RunDetail,
  RunEvent,
  RunRecord,
  RunSpec,
  Worker,
} from '#libs/contracts';
import type { z } from 'zod';
import type { Prisma, Transaction } from '../machine/database.js';

/** What is read, with dates as dates; the API's schemas turn it into what is sent. */
export type Complete<Record, Spec> = Omit<Record, 'spec'> & { spec: Spec };
export type RunDetailRecord = Complete<z.input<typeof RunDetail>, RunSpec>;
export type RunEventRecord = z.input<typeof RunEvent>;
export type ArtifactRecord = z.input<typeof Artifact>;
export type LogLineRecord = z.input<typeof LogLine>;
export type DatasetRecord = z.input<typeof Dataset>;
export type WorkerRecord = z.input<typeof Worker>;
export type MetricSeriesRecord = z.input<typeof MetricSeries>;

/** As it is read: what JSON columns hold has no type yet. */
type RunRow = Omit<
  RunRecord,
  'spec' | 'requires' | 'result' | 'metrics' | 'jobsAhead' | 'predictedStartAt' | 'waitsFor'
> & {
  spec: unknown;
  requiredLabels: unknown;
  requiredGpu: unknown;
  result: unknown;
  metrics: Record<string, number> | null;
};

/**
 * Runs with their parents and the last values of their metrics, in any order. One statement: a page of runs with what
 * belongs to them in statements of their own took three times as long.
 */
export async function runsById(tx: Transaction, ids: readonly string[]): Promise<RunRecord[]> {
  const rows = await tx.$queryRaw<RunRow[]>`
    SELECT
      id,
      name,
      project,
      kind,
      status::text AS status,
      status_reason AS "statusReason",
      status_detail AS "statusDetail",
      digest,
      spec,
      tags,
      priority,
      required_labels AS "requiredLabels",
      required_gpu AS "requiredGpu",
      max_seconds AS "maxSeconds",
      attempt,
      step,
      total_steps AS "totalSteps",
      result,
      (SELECT json_object_agg(key, value) FROM run_metric WHERE run_id = run.id) AS metrics,
      ARRAY(SELECT parent_id FROM run_dependency WHERE run_id = run.id) AS parents,
      worker_id AS "workerId",
      created_at AS "createdAt",
      started_at AS "startedAt",
      finished_at AS "finishedAt",
      next_start_at AS "nextStartAt"
    FROM run
    WHERE id = ANY(${[...ids]}::uuid[])`;
  return rows.map(runRecord);
}

/** What waits is told by `RunQueries`. */
const runRecord = ({ requiredLabels, requiredGpu, spec, result, metrics, ...row }: RunRow): RunRecord => ({
  ...row,
  spec: spec as RunSpec,
  requires: {
    labels: requiredLabels as Record<string, string>,
    ...(requiredGpu !== null && { gpu: requiredGpu }),
  },
  result: result as RunRecord['result'],
  metrics: metrics ?? {},
  jobsAhead: null,
  predictedStartAt: null,
  waitsFor: null,
});

export const artifactRecord = (row: Prisma.ArtifactGetPayload<object>): ArtifactRecord => ({
  id: row.id,
  runId: row.runId,
  attempt: row.attempt,
  name: row.name,
  kind: row.kind,
  mime: row.mime,
  sizeBytes: Number(row.sizeBytes),
  sha256: row.sha256,
  step: row.step,
  createdAt: row.createdAt,
});

export const eventRecord = (row: Prisma.RunEventGetPayload<object>): RunEventRecord => ({
  id: Number(row.id),
  runId: row.runId,
  attempt: row.attempt,
  type: row.type,
  data: row.data as Record<string, unknown>,
  at: row.at,
});

export const logLineRecord = (row: Prisma.LogLineGetPayload<object>): LogLineRecord => ({
  id: Number(row.id),
  attempt: row.attempt,
  level: row.level as LogLineRecord['level'],
  message: row.message,
  at: row.at,
});

export const datasetRecord = (row: Prisma.DatasetGetPayload<object>): DatasetRecord => ({
  name: row.name,
  digest: row.digest,
  manifest: row.manifest as unknown as DatasetRecord['manifest'],
  runId: row.runId,
  createdAt: row.createdAt,
});
