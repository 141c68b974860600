/** The answer of a sweep, and what early stopping made of its pretrainings. */
import { z } from 'zod';
import { RunStatus } from './run-status.js';
import { TrialStatus } from './sweeps-api.js';

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
