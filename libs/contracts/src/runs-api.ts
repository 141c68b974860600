/** Submits of runs, runs as the API tells of them, and what they record on their way. */
import { z } from 'zod';
import { DatasetManifest, Name } from './dataset.js';
import { dateTime, list, optionalDateTime, priority, project, tags } from './http-fields.js';
import { RUN_KINDS, RunSpec } from './run-spec.js';
import { RunStatus, StatusReason } from './run-status.js';
import { Labels, Requires } from './workers-api.js';

export const SubmitRun = z
  .strictObject({
    spec: RunSpec,
    name: Name.optional(),
    tags: tags.default([]),
    project,
    /** Of the runs of a project those of a higher priority start first; within one, in the order submitted. */
    priority,
    /** `reuse`: attach to a run of the same digest that is waiting, running or done. `replicate`: always a new run. */
    onDuplicate: z.enum(['reuse', 'replicate']).default('reuse'),
    requires: Requires.optional(),
  })
  .meta({ id: 'SubmitRun' });
export type SubmitRun = z.infer<typeof SubmitRun>;

/**
 * Which labels a run has learnt from: how many, and the sha256 of their rows (uint32 little-endian, in the order
 * drawn).
 */
const LabelsUsed = z.object({ count: z.int(), sha256: z.string() });
/**
 * What a run that is queued waits for: a free `slot`; its project has as many runs under way as it may (`max_running`)
 * or has used up its `gpu_seconds`; no worker that answers has the labels or the GPU it asks for (`placement`); the
 * time of its repeat has not come (`backoff`).
 */
export const WaitsFor = z.enum(['slot', 'max_running', 'gpu_seconds', 'placement', 'backoff']).meta({ id: 'WaitsFor' });
export type WaitsFor = z.infer<typeof WaitsFor>;

export const Run = z
  .object({
    id: z.uuid(),
    name: z.string().nullable(),
    project: z.string(),
    kind: z.enum(RUN_KINDS),
    status: RunStatus,
    statusReason: StatusReason.nullable(),
    /** For people: why the run has its status. */
    statusDetail: z.string().nullable(),
    digest: z.string(),
    spec: RunSpec,
    tags: z.array(z.string()),
    priority: z.int(),
    requires: z.object({ labels: Labels, gpu: Requires.shape.gpu }),
    attempt: z.int(),
    step: z.int(),
    totalSteps: z.int().nullable(),
    /** Last value of each metric, also while it runs. */
    metrics: z.record(z.string(), z.number()),
    /** What it ended with, once it has succeeded. */
    result: z
      .object({
        metrics: z.record(z.string(), z.number()),
        dataset: DatasetManifest.optional(),
        labels: LabelsUsed.optional(),
      })
      .nullable(),
    parents: z.array(z.uuid()),
    workerId: z.string().nullable(),
    createdAt: dateTime,
    startedAt: optionalDateTime,
    finishedAt: optionalDateTime,
    nextStartAt: optionalDateTime,
    /**
     * Of a run that is queued or waits to be repeated, else null: how many runs are to start before it as things stand,
     * of all projects.
     */
    jobsAhead: z.int().nullable(),
    /** When that may be, by how long such runs have taken; null where that can't be said. */
    predictedStartAt: optionalDateTime,
    waitsFor: WaitsFor.nullable(),
  })
  .meta({ id: 'Run' });
export type Run = z.output<typeof Run>;
/** A run as it is read from the database: dates are dates, and the spec is complete. */
export type RunRecord = Omit<z.input<typeof Run>, 'spec'> & { spec: RunSpec };

export const Attempt = z
  .object({
    attempt: z.int(),
    workerId: z.string(),
    startedAt: dateTime,
    endedAt: optionalDateTime,
    /** Step of the checkpoint that the attempt went on from; 0 from the start. */
    resumedFromStep: z.int(),
    outcome: z.string().nullable(),
    reason: z.string().nullable(),
    detail: z.string().nullable(),
    trainerPid: z.int().nullable(),
    /** UUID of the GPU that it trained on; null on a worker without. */
    gpu: z.string().nullable(),
  })
  .meta({ id: 'Attempt' });
export const RunDetail = Run.extend({ attempts: z.array(Attempt) }).meta({ id: 'RunDetail' });
export type RunDetail = z.output<typeof RunDetail>;

export const RunEvent = z
  .object({
    id: z.int(),
    runId: z.uuid(),
    attempt: z.int(),
    type: z.string(),
    data: z.record(z.string(), z.unknown()),
    at: dateTime,
  })
  .meta({ id: 'RunEvent' });
export type RunEvent = z.output<typeof RunEvent>;

/** Points of one key in ascending order of step. */
export const MetricSeries = z
  .object({
    key: z.string(),
    points: z.array(z.object({ step: z.int(), value: z.number(), /** When it was recorded. */ at: dateTime })),
  })
  .meta({ id: 'MetricSeries' });
export type MetricSeries = z.output<typeof MetricSeries>;

export const LogLine = z
  .object({
    id: z.int(),
    attempt: z.int(),
    level: z.enum(['info', 'warn', 'error']),
    message: z.string(),
    at: dateTime,
  })
  .meta({ id: 'LogLine' });
export type LogLine = z.output<typeof LogLine>;

/** What one request can record. */
const MOST_POINTS = 10_000;
export const RecordMetrics = z
  .strictObject({
    /** Of the run: the fencing token. When another attempt has begun, or the run has ended, nothing is recorded. */
    attempt: z.int().min(1),
    /** A value for a key and step that is there already replaces it. */
    points: z
      .array(
        z.strictObject({
          key: z
            .string()
            .min(1)
            .max(128)
            .regex(/^[^<>=,\0]+$/, 'expected a key without < > = , and NUL'),
          step: z
            .int()
            .min(0)
            .max(2 ** 31 - 1),
          value: z.number(),
        }),
      )
      .min(1)
      .max(MOST_POINTS),
  })
  .meta({ id: 'RecordMetrics' });
export type RecordMetrics = z.infer<typeof RecordMetrics>;
export const RecordedMetrics = z.object({ points: z.int() }).meta({ id: 'RecordedMetrics' });

export const ListMetrics = z.strictObject({
  key: list(z.string().min(1).max(128)),
  since: z.coerce.number().int().min(0).optional(),
  /** At most so many points a key: the mean of each bucket of steps. */
  points: z.coerce.number().int().min(2).max(10_000).default(1000),
});
export type ListMetrics = z.output<typeof ListMetrics>;
