/** Submits of runs, runs as the API tells of them, and what they record on their way. */
import { z } from 'zod';
import { DatasetSummary } from './dataset-summary.js';
import { DatasetManifest, Name } from './dataset.js';
import { dateTime, list, maxSeconds, optionalDateTime, priority, project, tags } from './http-fields.js';
import { ModelManifest } from './model.js';
import { RUN_KINDS, RunSpec } from './run-spec.js';
import { RunStatus, StatusReason } from './run-status.js';
import { isUsage } from './usage-metrics.js';
import { Labels, Requires } from './workers-api.js';

export const SubmitRun = z
  .strictObject({
    spec: RunSpec,
    name: Name.optional(),
    tags: tags.default([]),
    project,
    priority: priority.describe(
      'Of the runs of a project those of a higher priority start first; within one, in the order submitted.',
    ),
    onDuplicate: z
      .enum(['reuse', 'replicate'])
      .default('reuse')
      .describe(
        '`reuse`: attach to a run of the same digest that is waiting, running or done. `replicate`: always a new run.',
      ),
    requires: Requires.optional(),
    maxSeconds: maxSeconds.optional(),
  })
  .meta({ id: 'SubmitRun' });
export type SubmitRun = z.infer<typeof SubmitRun>;

const LabelsUsed = z
  .object({ count: z.int(), sha256: z.string() })
  .describe(
    'Which labels a run has learnt from: how many, and the sha256 of their rows (uint32 little-endian, in the ' +
      'order drawn).',
  );
export const WaitsFor = z.enum(['slot', 'max_running', 'gpu_seconds', 'placement', 'backoff']).meta({
  id: 'WaitsFor',
  description:
    'What a run that is queued waits for: a free `slot`; its project has as many runs under way as it may ' +
    '(`max_running`) or has used up its `gpu_seconds`; no worker that answers has the labels or the GPU it asks ' +
    'for (`placement`); the time of its repeat has not come (`backoff`).',
});
export type WaitsFor = z.infer<typeof WaitsFor>;

export const Run = z
  .object({
    id: z.uuid(),
    name: z.string().nullable(),
    project: z.string(),
    kind: z.enum(RUN_KINDS),
    status: RunStatus,
    statusReason: StatusReason.nullable(),
    statusDetail: z.string().nullable().describe('For people: why the run has its status.'),
    digest: z.string(),
    spec: RunSpec,
    tags: z.array(z.string()),
    priority: z.int(),
    requires: z.object({ labels: Labels, gpu: Requires.shape.gpu }),
    maxSeconds: z
      .number()
      .nullable()
      .describe(
        'Seconds that its attempts may take together since it was submitted or last retried; null: any number.',
      ),
    attempt: z.int(),
    step: z.int(),
    totalSteps: z.int().nullable(),
    metrics: z
      .record(z.string(), z.number())
      .describe('Last value of each metric but those of its machine (`system/…`), also while it runs.'),
    result: z
      .object({
        metrics: z.record(z.string(), z.number()),
        dataset: DatasetManifest.optional(),
        summary: DatasetSummary.optional(),
        model: ModelManifest.optional(),
        labels: LabelsUsed.optional(),
      })
      .nullable()
      .describe('What it ended with, once it has succeeded.'),
    parents: z.array(z.uuid()),
    workerId: z.string().nullable(),
    createdAt: dateTime,
    startedAt: optionalDateTime,
    finishedAt: optionalDateTime,
    archivedAt: optionalDateTime.describe('Since when lists leave it out; null for a run that they have.'),
    nextStartAt: optionalDateTime,
    jobsAhead: z
      .int()
      .nullable()
      .describe(
        'How many runs, of all projects, are to start before this one as things stand; null for a run that ' +
          'neither is queued nor waits to be repeated.',
      ),
    predictedStartAt: optionalDateTime.describe(
      "When the run may start, by how long such runs have taken; null where that can't be said.",
    ),
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
    resumedFromStep: z.int().describe('Step of the checkpoint that the attempt went on from; 0 from the start.'),
    outcome: z.string().nullable(),
    reason: z.string().nullable(),
    detail: z.string().nullable(),
    trainerPid: z.int().nullable(),
    gpu: z.string().nullable().describe('UUID of the GPU that it trained on; null on a worker without.'),
  })
  .meta({ id: 'Attempt' });
export const RunDetail = Run.extend({
  notes: z.string().nullable().describe('What people have written about it.'),
  attempts: z.array(Attempt),
}).meta({ id: 'RunDetail' });
export type RunDetail = z.output<typeof RunDetail>;

const LONGEST_NOTES = 10_000;
export const RunChanges = z
  .strictObject({
    name: Name.nullable().optional(),
    notes: z.string().max(LONGEST_NOTES).nullable().optional().describe('Any text about the run.'),
    tags: tags.optional().describe('All tags that the run then has.'),
    priority: z.int().min(0).max(100).optional().describe('Its place in the line; only of a run that has not ended.'),
  })
  .refine((changes) => Object.keys(changes).length > 0, 'expected at least one of name, notes, tags and priority')
  .meta({ id: 'RunChanges', description: 'What is to be otherwise; null takes away the name or the notes.' });
export type RunChanges = z.infer<typeof RunChanges>;

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

export const MetricSeries = z
  .object({
    key: z.string(),
    points: z.array(z.object({ step: z.int(), value: z.number(), at: dateTime.describe('When it was recorded.') })),
  })
  .meta({
    id: 'MetricSeries',
    description:
      'Points of one key in ascending order of step. Of keys that begin with `system/`, what the trainer used of its ' +
      'machine, the step is in seconds since the first attempt of the run began.',
  });
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

/** Most points that one request can record. */
const MOST_POINTS = 10_000;
export const RecordMetrics = z
  .strictObject({
    attempt: z
      .int()
      .min(1)
      .max(2 ** 31 - 1)
      .describe(
        'Attempt of the run, the fencing token: when another attempt has begun, or the run has ended, nothing is ' +
          'recorded.',
      ),
    points: z
      .array(
        z.strictObject({
          key: z
            .string()
            .min(1)
            .max(128)
            .regex(/^[^<>=,\0]+$/, 'expected a key without < > = , and NUL')
            .refine((key) => !isUsage(key), 'expected a key that does not begin with system/: workers record these'),
          step: z
            .int()
            .min(0)
            .max(2 ** 31 - 1),
          value: z.number(),
        }),
      )
      .min(1)
      .max(MOST_POINTS)
      .describe('A value for a key and step that is there already replaces it.'),
  })
  .meta({ id: 'RecordMetrics' });
export type RecordMetrics = z.infer<typeof RecordMetrics>;
export const RecordedMetrics = z.object({ points: z.int() }).meta({ id: 'RecordedMetrics' });

export const ListMetrics = z.strictObject({
  key: list(z.string().min(1).max(128)),
  since: z.coerce
    .number()
    .int()
    .min(0)
    .max(2 ** 31 - 1)
    .optional(),
  points: z.coerce
    .number()
    .int()
    .min(2)
    .max(10_000)
    .default(1000)
    .describe('At most so many points a key: the mean of each bucket of steps.'),
});
export type ListMetrics = z.output<typeof ListMetrics>;
