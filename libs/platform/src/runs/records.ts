/** From rows of Postgres to what is told of them: the one place where what a column holds is given its type. */
import type {
  Artifact,
  Dataset,
  LogLine,
  MetricSeries,
  Requires,
  RunDetail,
  RunEvent,
  RunRecord,
  RunSpec,
  Worker,
} from '#libs/contracts';
import type { z } from 'zod';
import type { Prisma } from '../machine/database.js';

/** What is read, with dates as dates; the API's schemas turn it into what is sent. */
export type Complete<Record, Spec> = Omit<Record, 'spec'> & { spec: Spec };
export type RunDetailRecord = Complete<z.input<typeof RunDetail>, RunSpec>;
export type RunEventRecord = z.input<typeof RunEvent>;
export type ArtifactRecord = z.input<typeof Artifact>;
export type LogLineRecord = z.input<typeof LogLine>;
export type DatasetRecord = z.input<typeof Dataset>;
export type WorkerRecord = z.input<typeof Worker>;
export type MetricSeriesRecord = z.input<typeof MetricSeries>;

export const withParents = {
  parents: { select: { parentId: true } },
  lastMetrics: { select: { key: true, value: true } },
} satisfies Prisma.RunInclude;
type RunRow = Prisma.RunGetPayload<{ include: typeof withParents }>;

/** What waits is told by `RunQueries.inLine`. */
export const runRecord = (row: RunRow): RunRecord => ({
  id: row.id,
  name: row.name,
  project: row.project,
  kind: row.kind as RunRecord['kind'],
  status: row.status,
  statusReason: row.statusReason as RunRecord['statusReason'],
  statusDetail: row.statusDetail,
  digest: row.digest,
  spec: row.spec as unknown as RunRecord['spec'],
  tags: row.tags,
  priority: row.priority,
  requires: {
    labels: row.requiredLabels as Record<string, string>,
    ...(row.requiredGpu !== null && { gpu: row.requiredGpu as NonNullable<Requires['gpu']> }),
  },
  maxSeconds: row.maxSeconds,
  attempt: row.attempt,
  step: row.step,
  totalSteps: row.totalSteps,
  result: row.result as unknown as RunRecord['result'],
  metrics: Object.fromEntries(row.lastMetrics.map(({ key, value }) => [key, value])),
  parents: row.parents.map(({ parentId }) => parentId),
  workerId: row.workerId,
  createdAt: row.createdAt,
  startedAt: row.startedAt,
  finishedAt: row.finishedAt,
  nextStartAt: row.nextStartAt,
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
