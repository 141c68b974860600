/** Early stopping as a sweep asks for it: by which metric, and by which rule of `libs/search`. */
import { z } from 'zod';

/** What a pretraining may be judged by while it runs, and which way is better. */
export const JUDGES = {
  'eval/knn': 'maximize',
  'eval/probe_accuracy': 'maximize',
  'eval/feature_spread': 'maximize',
  'eval/rank': 'maximize',
  'train/loss': 'minimize',
  'train/contrastive_accuracy': 'maximize',
} as const;
export type Judge = keyof typeof JUDGES;
/** Of the contrastive task itself: what they mean changes with the batch (how many negatives) and the temperature. */
export const CONTRASTIVE_METRICS: readonly string[] = ['train/loss', 'train/contrastive_accuracy'];

const time = z.int().min(1).max(10_000_000);
const judged = {
  metric: z
    .enum(Object.keys(JUDGES) as [Judge, ...Judge[]])
    .optional()
    .describe("Default: the sweep's metric where a pretraining has it, else kNN."),
  time_attr: z
    .enum(['epochs', 'steps'])
    .default('epochs')
    .describe('What the times are counted in. Steps are rounded up to the end of an epoch, where runs are judged.'),
};

export const EarlyTerminate = z
  .discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('asha'),
      grace_period: time.default(1).describe('When the first rung is reached.'),
      reduction_factor: z
        .number()
        .min(1.5)
        .max(100)
        .default(3)
        .describe(
          'Of the runs that reached a rung, one in so many goes on; each rung is so many times as far as the one ' +
            'before.',
        ),
      max_t: time
        .optional()
        .describe(
          "Rungs lie below this, by default below the run's own length. What is promoted from the last one trains " +
            'to its end.',
        ),
      brackets: z
        .int()
        .min(1)
        .max(10)
        .default(1)
        .describe('Runs are dealt to so many brackets by their digest; in each the first rung lies one rung further.'),
      ...judged,
    }),
    z
      .strictObject({
        type: z.literal('hyperband'),
        min_iter: time.optional(),
        max_iter: time.optional(),
        s: z.int().min(1).max(20).optional(),
        eta: z.number().min(1.5).max(100).default(3),
        strict: z
          .boolean()
          .optional()
          .describe('`false`: runs stand by their best value so far instead of the one at the rung.'),
        ...judged,
      })
      .superRefine(({ min_iter: least, max_iter: most, s }, context) => {
        if ((least === undefined) === (most === undefined))
          context.addIssue({
            code: 'custom',
            path: ['min_iter'],
            message: 'expected either min_iter, or max_iter and s',
          });
        if (most !== undefined && s === undefined)
          context.addIssue({
            code: 'custom',
            path: ['s'],
            message: 'expected the number of brackets together with max_iter',
          });
      }),
    z.strictObject({
      type: z.literal('median'),
      grace_period: time.default(1),
      min_trials: z
        .int()
        .min(1)
        .max(1000)
        .default(3)
        .describe('How many other trials have to have come as far before one is stopped.'),
      ...judged,
    }),
  ])
  .describe(
    'Early stopping of pretrainings, in the words of Ray Tune (`asha`, `median`) or of Weights & Biases (`hyperband`).',
  );
export type EarlyTerminate = z.infer<typeof EarlyTerminate>;

/** Which metric pretrainings are judged by. */
export const judgeOf = (policy: EarlyTerminate, sweepMetric: string): Judge =>
  policy.metric ?? (Object.hasOwn(JUDGES, sweepMetric) ? (sweepMetric as Judge) : 'eval/knn');
