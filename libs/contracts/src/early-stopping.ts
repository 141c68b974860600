/**
 * Which runs go on and which have shown enough, from the values that they had along the way. Pure: the sweep controller
 * asks and acts.
 */
import { z } from 'zod';
import type { Pretrain } from './training-spec.js';

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
          .describe('For specs written for Weights & Biases: rungs are always strict here.'),
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

export type Goal = 'maximize' | 'minimize';
export interface Halving {
  gracePeriod: number;
  factor: number;
  maxT: number;
  brackets: number;
  timeAttr: 'epochs' | 'steps';
}

/** Successive halving as asked for; null for the median rule. */
export function halvingOf(policy: EarlyTerminate): Halving | null {
  if (policy.type === 'median') return null;
  if (policy.type === 'asha')
    return {
      gracePeriod: policy.grace_period,
      factor: policy.reduction_factor,
      maxT: policy.max_t ?? Number.POSITIVE_INFINITY,
      brackets: policy.brackets,
      timeAttr: policy.time_attr,
    };
  const { min_iter: least, max_iter: most = Number.POSITIVE_INFINITY, s = 1, eta } = policy;
  return {
    gracePeriod: least ?? Math.max(1, Math.round(most / eta ** s)),
    factor: eta,
    maxT: most,
    brackets: 1,
    timeAttr: policy.time_attr,
  };
}

/** Which metric pretrainings are judged by. */
export const judgeOf = (policy: EarlyTerminate, sweepMetric: string): Judge =>
  policy.metric ?? (Object.hasOwn(JUDGES, sweepMetric) ? (sweepMetric as Judge) : 'eval/knn');

/** Steps in an epoch: a last batch that is not full is left out. */
export const stepsPerEpoch = ({ batchSize }: Pick<Pretrain, 'batchSize'>, trainCount: number): number =>
  Math.max(1, Math.floor(trainCount / batchSize));

/** A time of the policy as the step at the end of an epoch where it is judged. */
export const judgedStep = (time: number, timeAttr: 'epochs' | 'steps', perEpoch: number): number =>
  timeAttr === 'epochs' ? time * perEpoch : Math.ceil(time / perEpoch) * perEpoch;

/** Where a pretraining is judged: ascending steps, each the end of an epoch before its last. */
export function rungsOf(
  { gracePeriod, factor, maxT, timeAttr }: Halving,
  spec: Pick<Pretrain, 'batchSize' | 'epochs'>,
  trainCount: number,
  bracket: number,
): number[] {
  const perEpoch = stepsPerEpoch(spec, trainCount);
  const rungs: number[] = [];
  for (let k = bracket; ; k++) {
    const time = Math.round(gracePeriod * factor ** k);
    const step = judgedStep(time, timeAttr, perEpoch);
    if (time >= maxT || step >= spec.epochs * perEpoch) return rungs;
    if (step !== rungs.at(-1)) rungs.push(step);
  }
}

/** A run in a bracket. */
export interface Standing {
  id: string;
  bracket: number;
  /** Its values at the rungs that it has reached, from the first. */
  values: readonly number[];
  /** From how many rungs it was let on: the next it is judged at has this index. */
  promoted: number;
}

const better =
  (goal: Goal) =>
  (a: { id: string; value: number }, b: { id: string; value: number }): number =>
    (goal === 'maximize' ? b.value - a.value : a.value - b.value) || (a.id < b.id ? -1 : 1);

/**
 * Asynchronous successive halving (Li et al. 2020, algorithm 2): who may go on now, from the highest rung down and the
 * best first.
 * Of the n runs of a bracket that have reached a rung, the best ⌊n/factor⌋ may.
 */
export function promotable(standings: readonly Standing[], factor: number, goal: Goal): { id: string; rung: number }[] {
  const found: { id: string; rung: number; value: number }[] = [];
  for (const bracket of Map.groupBy(standings, (standing) => standing.bracket).values()) {
    for (let rung = Math.max(0, ...bracket.map(({ values }) => values.length)) - 1; rung >= 0; rung--) {
      const reached = bracket
        .filter(({ values }) => values.length > rung)
        .map((standing) => ({ ...standing, value: standing.values[rung]! }))
        .sort(better(goal));
      found.push(
        ...reached
          .slice(0, Math.floor(reached.length / factor))
          .filter(({ promoted }) => promoted <= rung)
          .map(({ id, value }) => ({ id, rung, value })),
      );
    }
  }
  return found.sort((a, b) => b.rung - a.rung || better(goal)(a, b)).map(({ id, rung }) => ({ id, rung }));
}

/**
 * The best at the highest rung that any has reached: who is trained to the end where too few runs were there for any to
 * be promoted so far.
 */
export function champion(standings: readonly Standing[], goal: Goal): string | undefined {
  const highest = Math.max(0, ...standings.map(({ values }) => values.length));
  if (highest === 0) return undefined;
  return standings
    .filter(({ values }) => values.length === highest)
    .map(({ id, values }) => ({ id, value: values[highest - 1]! }))
    .sort(better(goal))[0]!.id;
}

/** What a run was worth along the way, in ascending time. */
export interface Curve {
  id: string;
  points: readonly { time: number; value: number }[];
}

/**
 * The median rule (Golovin et al. 2017, section 3.2.1): a run is stopped where its best value so far is worse than the
 * median of the running averages of the others, up to the same time. Looks at each run's last point; others count that
 * have come as far.
 * @returns ids of `judged`
 */
export function belowMedian(
  curves: readonly Curve[],
  judged: ReadonlySet<string>,
  { gracePeriod, minTrials }: { gracePeriod: number; minTrials: number },
  goal: Goal,
): string[] {
  const sign = goal === 'maximize' ? 1 : -1;
  return curves
    .filter(({ id, points }) => {
      const now = points.at(-1)?.time;
      if (!judged.has(id) || now === undefined || now < gracePeriod) return false;
      const averages = curves
        .filter((other) => other.id !== id && (other.points.at(-1)?.time ?? 0) >= now)
        .map((other) => {
          const upTo = other.points.filter(({ time }) => time <= now);
          return (sign * upTo.reduce((sum, { value }) => sum + value, 0)) / upTo.length;
        })
        .filter((average) => !Number.isNaN(average))
        .sort((a, b) => a - b);
      if (averages.length < minTrials) return false;
      const median =
        (averages[Math.floor((averages.length - 1) / 2)]! + averages[Math.floor(averages.length / 2)]!) / 2;
      return Math.max(...points.map(({ value }) => sign * value)) < median;
    })
    .map(({ id }) => id);
}
