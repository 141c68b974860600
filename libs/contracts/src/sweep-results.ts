/** The answer of a sweep, and what early stopping made of its pretrainings. */
import { z } from 'zod';
import { damaged } from './http.js';
import { RunStatus } from './run-status.js';
import { TrialStatus } from './sweeps-api.js';

const estimate = z.object({
  mean: z.number(),
  ci95: z.number().nullable().describe('Half width of the 95 % confidence interval over seeds; null with one seed.'),
  n: z.int(),
});
export const SweepTable = z
  .object({
    sweepId: z.uuid(),
    complete: z.boolean(),
    rows: z.array(
      z.object({
        combo: z.string(),
        parameters: z.record(z.string(), z.unknown()),
        knn: estimate.nullable(),
        probe: estimate
          .nullable()
          .describe('Accuracy of a linear probe of the frozen encoder, where the sweep evaluates.'),
        randomProbe: estimate.nullable().describe('The same of an encoder as it was initialised.'),
        accuracy: z.record(z.string(), estimate),
        scratch: z.record(z.string(), estimate),
        gain: z.record(z.string(), estimate),
        behind: z
          .record(z.string(), estimate)
          .describe(
            'By label fraction: difference to the best combination at that fraction, paired by the labels and ' +
              'seeds that both have.',
          ),
      }),
    ),
    composition: z
      .object({
        names: z.array(z.string()),
        measure: z.string(),
        branches: z
          .enum(['both', 'one'])
          .describe(
            'Whether both views had the augmentations of a cell, or one of them, which its order does not tell.',
          ),
        cells: z.array(z.array(estimate.nullable())),
      })
      .nullable()
      .describe(
        'Where augmentations were tried alone and in pairs: how good each is with each, itself alone on the diagonal.',
      ),
    measure: z
      .string()
      .describe(
        "What `effects` and `importance` are of: the sweep's metric at the fewest labels, where something was " +
          'finetuned.',
      ),
    effects: z
      .array(z.object({ name: z.string(), effect: estimate }))
      .describe(
        'Where all augmentations were tried together and all but one: what each adds to the others, paired by ' +
          'labels and seeds.',
      ),
    importance: z
      .array(z.object({ parameter: z.string(), importance: z.number() }))
      .describe(
        'Permutation importance of each parameter that varies in a random forest over the trials, in parts of the ' +
          "metric's variance, the highest first.",
      ),
    best: z
      .object({
        trial: z.int(),
        runId: z.uuid(),
        value: z.number(),
        parameters: z.record(z.string(), z.unknown()),
        reproduce: z.string(),
      })
      .nullable()
      .describe(
        'The trial with the best value of the metric, at the fewest labels where something was finetuned; ' +
          '`reproduce` is the command that trains its run anew.',
      ),
    coordinates: z
      .object({
        axes: z.array(z.string()),
        lines: z.array(
          z.object({ trial: z.int(), status: TrialStatus, values: z.array(z.unknown()), value: z.number().nullable() }),
        ),
      })
      .describe(
        "For parallel coordinates: each trial's value on each parameter's axis (null where it does not apply; " +
          'augmentations by name), and what it came to; of one that was stopped early, the last value.',
      ),
    damaged,
    labels: z
      .array(z.object({ dataset: z.string(), fraction: z.number(), seed: z.int(), count: z.int(), sha256: z.string() }))
      .describe(
        'Which labels were used: the rows that a fraction and a seed give, by their sha256. All trials share them.',
      ),
  })
  .meta({
    id: 'SweepTable',
    description:
      "The answer of a sweep: for each combination (the pretraining's varied fields), kNN accuracy and, per label " +
      'fraction, accuracy after finetuning, of the from-scratch control on the same labels, and their paired ' +
      'difference.',
  });
export type SweepTable = z.output<typeof SweepTable>;
export type Estimate = z.output<typeof estimate>;

export const RungDecision = z.enum(['promoted', 'waiting', 'stopped']).meta({
  id: 'RungDecision',
  description: '`promoted`: the run was let on from the rung; `waiting`: it may still be; `stopped`: it ended there.',
});
export const SweepRungs = z
  .object({
    sweepId: z.uuid(),
    policy: z.enum(['asha', 'hyperband', 'median']),
    metric: z.string(),
    goal: z.enum(['maximize', 'minimize']),
    runs: z.array(
      z.object({
        runId: z.uuid(),
        trials: z.array(z.int()).describe('Indices of the trials that share the pretraining and its fate.'),
        status: RunStatus,
        bracket: z.int(),
        rungs: z
          .array(z.int())
          .describe(
            'Steps at which the pretraining is judged, the ends of epochs; none by the median, which judges ' +
              'everywhere.',
          ),
        reached: z
          .array(z.object({ step: z.int(), value: z.number(), decision: RungDecision }))
          .describe(
            'What the pretraining was worth at the rungs that it has come to, from the first; by the median at ' +
              'the last point that was judged.',
          ),
      }),
    ),
  })
  .meta({
    id: 'SweepRungs',
    description: "What early stopping has seen of a sweep's pretrainings, and what it decided.",
  });
export type SweepRungs = z.output<typeof SweepRungs>;
