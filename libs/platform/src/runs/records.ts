/** What is read of runs and of what belongs to them, as it is told. */
import {
  Artifact,
  Dataset,
  LogLine,
  Model,
  Run,
  RunEvent,
  Worker,
  type DatasetManifest,
  type MetricSeries,
  type ModelManifest,
  type RunDetail,
  type RunRecord,
  type RunSpec,
} from '#libs/contracts';
import type { z } from 'zod';
import { checkedRow, damageOf, intactRows, type IntactRows, type RecordOf } from '../checked-row.js';
import type { Prisma, Transaction } from '../machine/database.js';

export type RunDetailRecord = RunRecord & Pick<z.input<typeof RunDetail>, 'notes' | 'attempts'>;
export type RunEventRecord = RecordOf<typeof RunEvent>;
export type ArtifactRecord = RecordOf<typeof Artifact>;
export type LogLineRecord = RecordOf<typeof LogLine>;
export type DatasetRecord = RecordOf<typeof Dataset>;
export type ModelRecord = RecordOf<typeof Model>;
export type WorkerRecord = RecordOf<typeof Worker>;
export type MetricSeriesRecord = z.input<typeof MetricSeries>;

/** A run as it is read: what JSON columns hold has no type yet. */
interface RunRow {
  id: string;
  requiredLabels: unknown;
  requiredGpu: unknown;
  metrics: unknown;
}

/**
 * Runs with their parents and the last values of their metrics, in any order. One statement: a page of runs with what
 * belongs to them in statements of their own took three times as long.
 */
export async function runsById(tx: Transaction, ids: readonly string[]): Promise<IntactRows<RunRecord>> {
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
      measured.metrics,
      coalesce(depending.parents, '{}') AS parents,
      worker_id AS "workerId",
      created_at AS "createdAt",
      started_at AS "startedAt",
      finished_at AS "finishedAt",
      archived_at AS "archivedAt",
      next_start_at AS "nextStartAt"
    FROM run
      LEFT JOIN (
        SELECT run_id, json_object_agg(key, value) AS metrics
        FROM run_metric
        WHERE run_id = ANY(${[...ids]}::uuid[])
        GROUP BY run_id) AS measured ON measured.run_id = run.id
      LEFT JOIN (
        SELECT run_id, array_agg(parent_id) AS parents
        FROM run_dependency
        WHERE run_id = ANY(${[...ids]}::uuid[])
        GROUP BY run_id) AS depending ON depending.run_id = run.id
    WHERE id = ANY(${[...ids]}::uuid[])`;
  return intactRows(rows, runRecord);
}

/** A run without its place in the line, which `RunQueries` adds. */
const runRecord = ({ requiredLabels, requiredGpu, metrics, ...row }: RunRow): RunRecord =>
  checkedRow(
    Run,
    { resource: 'run', id: row.id },
    {
      ...row,
      requires: { labels: requiredLabels, ...(requiredGpu !== null && { gpu: requiredGpu }) },
      metrics: metrics ?? {},
      jobsAhead: null,
      predictedStartAt: null,
      waitsFor: null,
    },
  );

/** What a run was asked to do, where nothing else is read of it. @throws DamagedRowError */
export const specOf = (row: { id: string; spec: unknown }): RunSpec =>
  checkedRow(StoredSpec, { resource: 'run', id: row.id }, row).spec;
const StoredSpec = Run.pick({ spec: true });

export const artifactRecord = (row: Prisma.ArtifactGetPayload<object>): ArtifactRecord =>
  checkedRow(Artifact, { resource: 'artifact', id: row.id }, { ...row, sizeBytes: Number(row.sizeBytes) });

export type DatasetRow = Prisma.DatasetGetPayload<object>;
export const datasetRecord = (row: DatasetRow): DatasetRecord =>
  checkedRow(Dataset, { resource: 'dataset', id: versionId(row) }, row);

/** What is stored of a dataset version's samples. @throws DamagedRowError */
export const manifestOf = (row: { name: string; digest: string; manifest: unknown }): DatasetManifest =>
  checkedRow(StoredManifest, { resource: 'dataset', id: versionId(row) }, row).manifest;
const StoredManifest = Dataset.pick({ manifest: true });

export type ModelRow = Prisma.ModelGetPayload<object>;
export const modelRecord = (row: ModelRow): ModelRecord =>
  checkedRow(Model, { resource: 'model', id: versionId(row) }, row);

/** The model that a run took in. @throws DamagedRowError */
export const modelOfRun = ({ id, result }: { id: string; result: unknown }): ModelManifest | undefined =>
  checkedRow(StoredResult, { resource: 'run', id }, { result: result ?? null }).result?.model;
const StoredResult = Run.pick({ result: true });

/** `name@digest` with as much of the digest as tells a version. */
const versionId = ({ name, digest }: { name: string; digest: string }): string => `${name}@${digest.slice(0, 12)}`;

export const workerRecord = (row: { id: string }): WorkerRecord =>
  checkedRow(Worker, { resource: 'worker', id: row.id }, row);

/** An event has its place in a sequence, which readers follow: a damaged one says so itself. */
export function eventRecord({ id, ...row }: Prisma.RunEventGetPayload<object>): RunEventRecord {
  const damage = damageOf(StoredEvent, row);
  return {
    ...row,
    id: Number(id),
    data: damage ? { damaged: `${damage.field}: ${damage.message}` } : (row.data as Record<string, unknown>),
  };
}
const StoredEvent = RunEvent.pick({ data: true });

/** The same of a log line: what it says is told, whatever its level. */
export function logLineRecord({ id, attempt, level, message, at }: Prisma.LogLineGetPayload<object>): LogLineRecord {
  const damage = damageOf(StoredLevel, { level });
  const told = damage
    ? { level: 'error' as const, message: `damaged: ${damage.field}: ${damage.message}; ${message}` }
    : { level: level as LogLineRecord['level'], message };
  return { id: Number(id), attempt, ...told, at };
}
const StoredLevel = LogLine.pick({ level: true });
