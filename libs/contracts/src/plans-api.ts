/** What a submit would do and cost, and why a run is another's result. */
import { z } from 'zod';

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
