import { z } from 'zod';
import { DatasetManifest, Name } from './dataset.js';
import { RUN_KINDS, RunSpec } from './run-spec.js';
import { RunStatus, StatusReason, type RunAction } from './run-status.js';
import { CONTROLS, SweepSpec } from './sweep.js';

/** Dates leave the API as ISO 8601 text in UTC. */
const dateTime = z
  .date()
  .transform((date) => date.toISOString())
  .pipe(z.iso.datetime());
const optionalDateTime = dateTime.nullable();
/** Of a run. */
export const MOST_TAGS = 32;
const tags = z.array(Name).max(MOST_TAGS);

/** What a worker is or has, such as `gpu=a100`, and what a run asks for. */
export const Labels = z
  .record(
    z.string(),
    z.string().regex(/^[A-Za-z0-9._-]{1,63}$/, 'expected a value of 1 to 63 letters, digits, ., _ or -'),
  )
  .superRefine((labels, context) => {
    if (Object.keys(labels).length > 16)
      context.addIssue({ code: 'custom', message: `expected at most 16 labels, got ${Object.keys(labels).length}` });
    const wrong = Object.keys(labels).find((key) => !/^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/.test(key));
    if (wrong !== undefined)
      context.addIssue({
        code: 'custom',
        message:
          'expected labels such as gpu=a100, whose keys are 1 to 63 letters, digits, ., _, / or -, got ' +
          `${JSON.stringify(wrong.slice(0, 80))}`,
      });
  });
/** A GPU as a run asks for it: by a part of its name, whatever the case (`A100`), and by its memory. */
const RequiredGpu = z.strictObject({
  name: z.string().min(1).max(100).optional(),
  memoryMiB: z
    .int()
    .min(1)
    .max(2 ** 30)
    .optional(),
});
/**
 * Where a run may run: only on a worker that has all of the labels, on one of its GPUs that is as asked. Of an equal
 * run that exists already it changes nothing.
 */
const Requires = z.strictObject({ labels: Labels.default({}), gpu: RequiredGpu.optional() });
export type Requires = z.output<typeof Requires>;

/** Everybody's, where nothing is said. It is always there. */
export const DEFAULT_PROJECT = 'default';
/**
 * Whose share of the workers it takes. No part of the digest: an equal run is shared across projects, and charged to
 * the one that submitted it first.
 */
const project = Name.default(DEFAULT_PROJECT);

export const SubmitRun = z
  .strictObject({
    spec: RunSpec,
    name: Name.optional(),
    tags: tags.default([]),
    project,
    /** Of the runs of a project those of a higher priority start first; within one, in the order submitted. */
    priority: z.int().min(0).max(100).default(50),
    /** `reuse`: attach to a run of the same digest that is waiting, running or done. `replicate`: always a new run. */
    onDuplicate: z.enum(['reuse', 'replicate']).default('reuse'),
    requires: Requires.optional(),
  })
  .meta({ id: 'SubmitRun' });
export type SubmitRun = z.infer<typeof SubmitRun>;

export const SubmitSweep = z
  .strictObject({
    spec: SweepSpec,
    tags: tags.default([]),
    project,
    priority: z.int().min(0).max(100).default(50),
    requires: Requires.optional(),
  })
  .meta({ id: 'SubmitSweep' });
export type SubmitSweep = z.infer<typeof SubmitSweep>;

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
    requires: z.object({ labels: Labels, gpu: RequiredGpu.optional() }),
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

export const Artifact = z
  .object({
    id: z.uuid(),
    runId: z.uuid(),
    attempt: z.int(),
    name: z.string(),
    kind: z.string(),
    mime: z.string(),
    sizeBytes: z.int(),
    sha256: z.string(),
    step: z.int().nullable(),
    createdAt: dateTime,
  })
  .meta({ id: 'Artifact' });
export type Artifact = z.output<typeof Artifact>;

const amount = z.object({ files: z.int(), bytes: z.int() });
/**
 * Files that nothing names any more and that are gone (or, validate_only, would go), what was left half-written, and
 * what stays.
 */
export const CollectResult = z
  .object({ orphans: amount, leftovers: amount, kept: amount })
  .meta({ id: 'CollectResult' });
export type CollectResult = z.output<typeof CollectResult>;

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

export const Gpu = z
  .object({ index: z.int(), uuid: z.string(), name: z.string(), memoryMiB: z.int(), driver: z.string() })
  .meta({ id: 'Gpu' });
export type Gpu = z.infer<typeof Gpu>;

export const Worker = z
  .object({
    id: z.string(),
    host: z.string(),
    state: z.enum(['starting', 'running', 'draining', 'stopped']),
    slots: z.int(),
    pid: z.int(),
    versions: z.record(z.string(), z.string()),
    labels: Labels,
    gpus: z.array(Gpu),
    /** Of its machine; null of a worker that does not tell. */ memoryMiB: z.int().nullable(),
    startedAt: dateTime,
    heartbeatAt: dateTime,
    /** False when the last heartbeat is older than the lease. */
    alive: z.boolean(),
  })
  .meta({ id: 'Worker' });
export type Worker = z.output<typeof Worker>;

export const Project = z
  .object({
    name: z.string(),
    weight: z.number(),
    maxRunning: z.int().nullable(),
    gpuSeconds: z.number().nullable(),
    /** Runs that workers hold, and runs that are queued or wait to be repeated. */
    running: z.int(),
    waiting: z.int(),
    /** How long workers have worked on its runs, finished or not. */
    gpuSecondsUsed: z.number(),
    createdAt: dateTime,
  })
  .meta({ id: 'Project' });
export type Project = z.output<typeof Project>;
/** What is left out stays as it is, in a new project as said here; null lifts a quota. */
export const ProjectSettings = z
  .strictObject({
    /** Where several projects have runs that wait, each gets starts and slots in proportion to its weight (1). */
    weight: z.number().min(0.001).max(1e6).optional(),
    /** How many of its runs may be under way at once (null: any number). 0 starts none. */
    maxRunning: z.int().min(0).max(1e6).nullable().optional(),
    /** What its runs may have used altogether (null: any amount): then no other starts, and those under way go on. */
    gpuSeconds: z.number().min(0).max(1e12).nullable().optional(),
  })
  .meta({ id: 'ProjectSettings' });
export type ProjectSettings = z.infer<typeof ProjectSettings>;

export const Dataset = z
  .object({ name: z.string(), digest: z.string(), manifest: DatasetManifest, runId: z.uuid(), createdAt: dateTime })
  .meta({ id: 'Dataset' });
export type Dataset = z.output<typeof Dataset>;

/** What new runs will take, from what such runs have taken. */
export const Estimation = z
  .object({
    /** Seconds of workers, all runs together. */
    gpuSeconds: z.number(),
    /** On the slots that are there; null while there are none. */
    wallSeconds: z.number().nullable(),
    slots: z.int(),
    /** By kind: how many seconds, and from how many runs at least each was estimated. */
    basis: z.record(z.string(), z.object({ runs: z.int(), seconds: z.number() })),
    /** Runs of kinds of which none has succeeded yet: they are not counted. */
    unknown: z.record(z.string(), z.int()),
  })
  .meta({ id: 'Estimation' });
export type Estimation = z.output<typeof Estimation>;

/** Why a run is another's result, or what keeps it from being so. */
export const Why = z
  .object({
    /** Null for a submission. */
    runId: z.uuid().nullable(),
    /** What it was compared with; null where there is nothing of its kind. */
    against: z.uuid().nullable(),
    digest: z.string(),
    againstDigest: z.string().nullable(),
    reused: z.boolean(),
    reason: z.string(),
    /**
     * Fields of the spec, the dataset and parents by digest, and `code` where an older version of the training code
     * made one of them.
     */
    differences: z.array(z.object({ field: z.string(), here: z.unknown(), there: z.unknown() })),
  })
  .meta({ id: 'Why' });
export type Why = z.output<typeof Why>;
export const AskWhy = z.strictObject({ against: z.uuid('expected the id of a run').optional() });
export type AskWhy = z.output<typeof AskWhy>;

/** What the new runs need, against the memory of the workers that are there. */
export const MemoryFit = z
  .object({
    /**
     * Of the largest; null where nothing is known of any. An upper estimate: at least what was measured, at most twice
     * the tensors of that.
     */
    neededMiB: z.int().nullable(),
    /** Of the largest of each kind. */
    kinds: z.record(z.string(), z.int()),
    /** Null where no worker that could take it is there. */
    fits: z.boolean().nullable(),
    /** The roomiest place: a GPU, or a slot's part of a machine's memory. */
    on: z.string().nullable(),
    /** Which trials have a run that does not fit. */
    trials: z.array(z.int()),
  })
  .meta({ id: 'MemoryFit' });
export type MemoryFit = z.output<typeof MemoryFit>;

/** What a submit would do, before anything is spent. */
export const Plan = z
  .object({
    trials: z.int(),
    /** New runs by kind, and how many places in the trials a shared or finished run fills. */
    newRuns: z.record(z.string(), z.int()),
    reused: z.record(z.string(), z.int()),
    summary: z.string(),
    /** Absent in what a sweep keeps of its plan. */
    estimate: Estimation.optional(),
    memory: MemoryFit.optional(),
  })
  .meta({ id: 'Plan' });
export type Plan = z.output<typeof Plan>;

export const SweepStatus = z
  .enum(['running', 'paused', 'succeeded', 'failed', 'cancelled'])
  .meta({ id: 'SweepStatus' });
/** `held`: not started yet; `waiting`: it has reached a rung and waits for the results of others. */
export const TrialStatus = z
  .enum(['held', 'running', 'waiting', 'paused', 'succeeded', 'failed', 'cancelled', 'early_stopped'])
  .meta({ id: 'TrialStatus' });
export type TrialStatus = z.output<typeof TrialStatus>;
export const TrialView = z
  .object({
    index: z.int(),
    parameters: z.record(z.string(), z.unknown()),
    status: TrialStatus,
    /** Why it was not started and will not be. */
    fault: z.string().nullable(),
    runs: z.array(
      z.object({
        stage: z.string(),
        control: z.enum(CONTROLS).nullable(),
        runId: z.uuid(),
        reused: z.boolean(),
        status: RunStatus,
      }),
    ),
  })
  .meta({ id: 'Trial' });
export const Sweep = z
  .object({
    id: z.uuid(),
    name: z.string(),
    project: z.string(),
    status: SweepStatus,
    spec: SweepSpec,
    tags: z.array(z.string()),
    createdAt: dateTime,
    /** How many runs (each counted once) are in each status. */
    runCounts: z.record(z.string(), z.int()),
    /**
     * Which limit was reached, so that no further trial is started: `max_failed_trials`, `budget_gpu_seconds`,
     * `budget_wall_seconds`.
     */
    haltReason: z.string().nullable(),
    plan: Plan,
  })
  .meta({ id: 'Sweep' });
export type Sweep = z.output<typeof Sweep>;
export const SweepDetail = Sweep.extend({
  trials: z.array(TrialView),
  trialCounts: z.partialRecord(TrialStatus, z.int()),
  /** How long workers have worked on the runs that it started, finished or not. */
  gpuSeconds: z.number(),
}).meta({ id: 'SweepDetail' });
export type SweepDetail = z.output<typeof SweepDetail>;

export const CloneSweep = z
  .strictObject({
    /** Keys at the top of the spec, such as `name`, that the clone has otherwise. */
    changes: z.record(z.string(), z.unknown()).default({}),
  })
  .meta({ id: 'CloneSweep' });
export type CloneSweep = z.infer<typeof CloneSweep>;

const estimate = z.object({
  mean: z.number(),
  /** Half width of the 95 % confidence interval over seeds; null with one seed. */ ci95: z.number().nullable(),
  n: z.int(),
});
/**
 * The answer of a sweep: for each combination (the pretraining's varied fields), kNN accuracy and, per label fraction,
 * accuracy after finetuning, of the from-scratch control on the same labels, and their paired difference.
 */
export const SweepTable = z
  .object({
    sweepId: z.uuid(),
    complete: z.boolean(),
    rows: z.array(
      z.object({
        combo: z.string(),
        parameters: z.record(z.string(), z.unknown()),
        knn: estimate.nullable(),
        /** Linear probe of the frozen encoder, and of one as it was initialised, where the sweep evaluates. */
        probe: estimate.nullable(),
        randomProbe: estimate.nullable(),
        accuracy: z.record(z.string(), estimate),
        scratch: z.record(z.string(), estimate),
        gain: z.record(z.string(), estimate),
        /**
         * By label fraction: difference to the best combination at that fraction, paired by the labels and seeds that
         * both have.
         */
        behind: z.record(z.string(), estimate),
      }),
    ),
    /** Where augmentations were tried alone and in pairs: how good each is with each, itself alone on the diagonal. */
    composition: z
      .object({ names: z.array(z.string()), measure: z.string(), cells: z.array(z.array(estimate.nullable())) })
      .nullable(),
    /**
     * What `effects` and `importance` are of: the sweep's metric at the fewest labels, where something was finetuned.
     */
    measure: z.string(),
    /**
     * Where all augmentations were tried together and all but one: what each adds to the others, paired by labels and
     * seeds.
     */
    effects: z.array(z.object({ name: z.string(), effect: estimate })),
    /**
     * Permutation importance of each parameter that varies in a random forest over the trials, in parts of the metric's
     * variance, the highest first.
     */
    importance: z.array(z.object({ parameter: z.string(), importance: z.number() })),
    /**
     * The trial with the best value of the metric, at the fewest labels where something was finetuned; `reproduce` is
     * the command that trains its run anew.
     */
    best: z
      .object({
        trial: z.int(),
        runId: z.uuid(),
        value: z.number(),
        parameters: z.record(z.string(), z.unknown()),
        reproduce: z.string(),
      })
      .nullable(),
    /**
     * For parallel coordinates: each trial's value on each parameter's axis (null where it does not apply;
     * augmentations by name), and what it came to; of one that was stopped early, the last value.
     */
    coordinates: z.object({
      axes: z.array(z.string()),
      lines: z.array(
        z.object({ trial: z.int(), status: TrialStatus, values: z.array(z.unknown()), value: z.number().nullable() }),
      ),
    }),
    /** Which labels were used: the rows that a fraction and a seed give, by their sha256. All trials share them. */
    labels: z.array(
      z.object({ dataset: z.string(), fraction: z.number(), seed: z.int(), count: z.int(), sha256: z.string() }),
    ),
  })
  .meta({ id: 'SweepTable' });
export type SweepTable = z.output<typeof SweepTable>;
export type Estimate = z.output<typeof estimate>;

/** `promoted`: it was let on from there; `waiting`: it may still be; `stopped`: it ended there. */
export const RungDecision = z.enum(['promoted', 'waiting', 'stopped']).meta({ id: 'RungDecision' });
/** What early stopping has seen of a sweep's pretrainings, and what it made of it. */
export const SweepRungs = z
  .object({
    sweepId: z.uuid(),
    policy: z.enum(['asha', 'hyperband', 'median']),
    metric: z.string(),
    goal: z.enum(['maximize', 'minimize']),
    runs: z.array(
      z.object({
        runId: z.uuid(),
        /** By their index; those of one pretraining share its fate. */ trials: z.array(z.int()),
        status: RunStatus,
        bracket: z.int(),
        /** Steps at which it is judged, the ends of epochs; none by the median, which judges everywhere. */
        rungs: z.array(z.int()),
        /**
         * What it was worth at those that it has come to, from the first; by the median at the last point that was
         * judged.
         */
        reached: z.array(z.object({ step: z.int(), value: z.number(), decision: RungDecision })),
      }),
    ),
  })
  .meta({ id: 'SweepRungs' });
export type SweepRungs = z.output<typeof SweepRungs>;

/** Keyset page: pass `nextCursor` as `cursor` for what follows; null at the end. */
export const page = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

const limit = z.coerce.number().int().min(1).max(500).default(50);
const cursor = z.string().max(1024).optional();
/** `a,b` or the parameter repeated. */
const list = <T extends z.ZodType<string, string>>(item: T, most = 100) =>
  z
    .union([z.string(), z.array(z.string())])
    .transform((given) => [given].flat().flatMap((text) => text.split(',')))
    .pipe(z.array(item).max(most))
    .optional();

/** A metric's key where it stands in a condition or a sort. */
const CONDITION = /^([^<>=,\0]{1,128}?)(<=|>=|<|>|=)(-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)$/i;
/** What runs can be sorted by, beside `metric:KEY`. `duration` is that of runs that have ended. */
export const RUN_SORTS = ['createdAt', 'startedAt', 'finishedAt', 'name', 'duration', 'priority'] as const;
const SORT = new RegExp(`^-?(${RUN_SORTS.join('|')}|metric:[^<>=,\\0]{1,128})$`);

export interface MetricCondition {
  key: string;
  operator: '<' | '<=' | '>' | '>=' | '=';
  value: number;
}
/** `eval/knn>0.5`: the last value of a metric, an operator, a number. Undefined for what is none. */
export function parseCondition(text: string): MetricCondition | undefined {
  const [, key, operator, value] = CONDITION.exec(text) ?? [];
  return key === undefined
    ? undefined
    : { key, operator: operator as MetricCondition['operator'], value: Number(value) };
}

export interface RunSort {
  by: (typeof RUN_SORTS)[number] | 'metric';
  /** Where it is by a metric. */ key: string;
  descending: boolean;
}
/** `-metric:eval/knn`: what by, with a leading - the largest first. */
export function parseSort(text: string): RunSort {
  const [by = '', key = ''] = text.replace(/^-/, '').split(/:(.*)/s);
  return { by: by as RunSort['by'], key, descending: text.startsWith('-') };
}

export const ListRuns = z.strictObject({
  status: list(RunStatus),
  kind: list(z.enum(RUN_KINDS)),
  tag: Name.optional(),
  sweep: z.uuid().optional(),
  name: z
    .string()
    .max(128)
    .regex(/^[^\0]*$/, 'expected text without NUL')
    .optional(),
  project: Name.optional(),
  /** Exactly these. */
  id: list(z.uuid(), 500),
  /** Runs that take the result of this one. */
  parent: z.uuid().optional(),
  /** Conditions on last values of metrics, such as `eval/knn>0.5`: all have to hold. */
  where: list(
    z
      .string()
      .refine(
        (text) => parseCondition(text) !== undefined,
        'expected a metric, one of < <= > >= = and a number, such as eval/knn>0.5',
      ),
    8,
  ),
  /**
   * By the time they were submitted, the newest first, unless it says otherwise; a leading - turns the order. Runs that
   * lack it come last.
   */
  sort: z
    .string()
    .regex(SORT, `expected one of ${RUN_SORTS.join(', ')} or metric:KEY, with a leading - for the largest first`)
    .default('-createdAt'),
  limit,
  cursor,
});
export type ListRuns = z.output<typeof ListRuns>;
/** As a query: a schema with an id would not be spread over its parameters. */
export const CountRuns = ListRuns.omit({ sort: true, limit: true, cursor: true });
export type CountRuns = z.output<typeof CountRuns>;
export const RunFilter = CountRuns.meta({ id: 'RunFilter' });
export type RunFilter = z.output<typeof RunFilter>;

/** How many runs a filter names, by status. */
export const RunCounts = z.object({ counts: z.partialRecord(RunStatus, z.int()) }).meta({ id: 'RunCounts' });
export type RunCounts = z.output<typeof RunCounts>;

export const BulkRuns = z
  .strictObject({
    action: z.enum(['cancel', 'pause', 'resume', 'retry', 'tag'] satisfies (RunAction | 'tag')[]),
    /** As in the list; `{}` means all runs. */
    filter: RunFilter,
    /** Of `tag`, and needed there: what each run is given and what it loses. */
    tags: z
      .strictObject({ add: tags.default([]), remove: tags.default([]) })
      .refine(({ add, remove }) => add.length + remove.length > 0, 'expected at least one tag to add or to remove')
      .optional(),
    /** `nextCursor` of an answer that did not come to the end. */
    cursor,
  })
  .superRefine(({ action, tags: given }, context) => {
    if ((action === 'tag') !== (given !== undefined))
      context.addIssue({
        code: 'custom',
        path: ['tags'],
        message: action === 'tag' ? 'expected tags to add or to remove' : `expected no tags for ${action}`,
      });
  })
  .meta({ id: 'BulkRuns' });
export type BulkRuns = z.infer<typeof BulkRuns>;
const bulkCounts = z.object({
  done: z.int(),
  /**
   * Runs that the filter names and that were left as they are, by the status which does not allow the action,
   * `parent_failed` where the parent has to be retried, or of tags `unchanged` and `too_many_tags`.
   */
  skipped: z.record(z.string(), z.int()),
});
/** Of exactly the runs that failed. */
export const RetryResult = bulkCounts.meta({ id: 'RetryResult' });
export type RetryResult = z.output<typeof RetryResult>;
export const BulkResult = bulkCounts
  .extend({
    /** Not null where the request took its share of time before the end: ask again with it as `cursor`. */
    nextCursor: z.string().nullable(),
  })
  .meta({ id: 'BulkResult' });
export type BulkResult = z.output<typeof BulkResult>;

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

export const ListPage = z.strictObject({ limit, cursor });
export type ListPage = z.output<typeof ListPage>;
export const ListMetrics = z.strictObject({
  key: list(z.string().min(1).max(128)),
  since: z.coerce.number().int().min(0).optional(),
  /** At most so many points a key: the mean of each bucket of steps. */
  points: z.coerce.number().int().min(2).max(10_000).default(1000),
});
export type ListMetrics = z.output<typeof ListMetrics>;
const flag = z
  .enum(['true', 'false', '1', '0', ''])
  .default('false')
  .transform((value) => value === 'true' || value === '1' || value === '');
export const SubmitOptions = z.strictObject({ validate_only: flag });

/** RFC 9457. `code` is stable for programs; `errors` names the fields at fault. */
export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    instance: z.string().optional(),
    requestId: z.string().optional(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.output<typeof Problem>;
