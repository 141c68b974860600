/** What a submit would do and cost, and why a run is another's result. */
import { z } from 'zod';

export const Estimation = z
  .object({
    gpuSeconds: z.number().describe('Seconds that workers spend, on all runs together.'),
    wallSeconds: z
      .number()
      .nullable()
      .describe('Seconds until all runs are done on the slots that are there; null while there are none.'),
    slots: z.int(),
    basis: z
      .record(z.string(), z.object({ runs: z.int(), seconds: z.number() }))
      .describe('By kind: how many seconds its runs take, and from how many runs at least each was estimated.'),
    unknown: z
      .record(z.string(), z.int())
      .describe('How many runs are of kinds of which none has succeeded yet: they are not counted in.'),
  })
  .meta({ id: 'Estimation', description: 'What new runs will take, from what such runs have taken.' });
export type Estimation = z.output<typeof Estimation>;

export const MemoryFit = z
  .object({
    neededMiB: z
      .int()
      .nullable()
      .describe(
        'Memory that the largest run needs; null where nothing is known of any. An upper estimate: at least what ' +
          'was measured, at most twice the tensors of that.',
      ),
    kinds: z.record(z.string(), z.int()).describe('Memory in MiB that the largest run of each kind needs.'),
    fits: z
      .boolean()
      .nullable()
      .describe('Whether the largest run fits; null where no worker that could take it is there.'),
    on: z.string().nullable().describe("The roomiest place: a GPU, or a slot's part of a machine's memory."),
    trials: z.array(z.int()).describe('Which trials have a run that does not fit.'),
  })
  .meta({ id: 'MemoryFit', description: 'What the new runs need, against the memory of the workers that are there.' });
export type MemoryFit = z.output<typeof MemoryFit>;

export const Plan = z
  .object({
    trials: z.int(),
    newRuns: z.record(z.string(), z.int()).describe('How many new runs, by kind.'),
    stoppedBefore: z
      .record(z.string(), z.int())
      .optional()
      .describe(
        'How many of the new runs a sweep stopped early before, by kind: they are trained anew. Absent where there ' +
          'is none.',
      ),
    reused: z
      .record(z.string(), z.int())
      .describe('How many places in the trials a shared or finished run fills, by kind.'),
    existing: z
      .record(z.string(), z.int())
      .optional()
      .describe(
        'How many runs that are there already are taken, by kind; the rest of `reused` is shared between the trials. ' +
          'Absent in what older sweeps keep of their plan.',
      ),
    summary: z.string(),
    notes: z.array(z.string()).optional().describe('What of the spec is to be known before it is submitted.'),
    estimate: Estimation.optional().describe('What the new runs will take; absent in what a sweep keeps of its plan.'),
    memory: MemoryFit.optional(),
  })
  .meta({ id: 'Plan', description: 'What a submit would do, before anything is spent.' });
export type Plan = z.output<typeof Plan>;

export const Why = z
  .object({
    runId: z.uuid().nullable().describe('The run that is explained; null for a submission.'),
    against: z.uuid().nullable().describe('The run that it was compared with; null where there is none of its kind.'),
    digest: z.string(),
    againstDigest: z.string().nullable(),
    reused: z.boolean(),
    reason: z.string(),
    differences: z
      .array(z.object({ field: z.string(), here: z.unknown(), there: z.unknown() }))
      .describe(
        'Fields of the spec, the dataset and parents by digest, and `code` where an older version of the training ' +
          'code made one of them.',
      ),
  })
  .meta({ id: 'Why', description: "Why a run is another's result, or what keeps it from being so." });
export type Why = z.output<typeof Why>;
export const AskWhy = z.strictObject({ against: z.uuid('expected the id of a run').optional() });
export type AskWhy = z.output<typeof AskWhy>;
