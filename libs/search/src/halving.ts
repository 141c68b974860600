/**
 * Successive halving: at which steps pretrainings are judged, and which of them may go on from there. Pure: the sweep's
 * steering asks and acts.
 */
import type { EarlyTerminate, Pretrain } from '#libs/contracts';

/** Which way a metric is better. */
export type Goal = 'maximize' | 'minimize';
export interface Halving {
  /** Times of the rungs from the first, ascending; undefined behind the last. */
  timeOf: (rung: number) => number | undefined;
  factor: number;
  brackets: number;
  timeAttr: 'epochs' | 'steps';
  /** Whether runs stand by their best value so far instead of the one at the rung. */
  byBest: boolean;
}

/** Successive halving as asked for; null for the median rule. */
export function halvingOf(policy: EarlyTerminate): Halving | null {
  if (policy.type === 'median') return null;
  if (policy.type === 'asha') {
    const { grace_period: first, reduction_factor: factor, max_t: end = Number.POSITIVE_INFINITY } = policy;
    const timeOf = (rung: number) => below(Math.round(first * factor ** rung), end);
    return { timeOf, factor, brackets: policy.brackets, timeAttr: policy.time_attr, byBest: false };
  }
  return {
    timeOf: bandsOf(policy),
    factor: policy.eta,
    brackets: 1,
    timeAttr: policy.time_attr,
    byBest: policy.strict === false,
  };
}

const below = (time: number, end: number): number | undefined => (time < end ? time : undefined);

/**
 * The bands of Weights & Biases: whole parts of min_iter · eta^k, or of max_iter / eta^k for k up to s, as far as they
 * are 1 or more.
 */
function bandsOf({
  min_iter: least,
  max_iter: most = 0,
  s = 0,
  eta,
}: Extract<EarlyTerminate, { type: 'hyperband' }>): Halving['timeOf'] {
  if (least !== undefined) return (rung) => Math.floor(least * eta ** rung);
  const bands = Array.from({ length: s }, (_, k) => Math.floor(most / eta ** (k + 1))).filter((band) => band >= 1);
  return (rung) => bands.toReversed()[rung];
}

/** Steps in an epoch: a last batch that is not full is left out. */
export const stepsPerEpoch = ({ batchSize }: Pick<Pretrain, 'batchSize'>, trainCount: number): number =>
  Math.max(1, Math.floor(trainCount / batchSize));

/** A time of the policy as the step at the end of an epoch where it is judged. */
export const judgedStep = (time: number, timeAttr: 'epochs' | 'steps', perEpoch: number): number =>
  timeAttr === 'epochs' ? time * perEpoch : Math.ceil(time / perEpoch) * perEpoch;

/** Where a pretraining is judged: ascending steps, each the end of an epoch before its last. */
export function rungsOf(
  { timeOf, timeAttr }: Halving,
  spec: Pick<Pretrain, 'batchSize' | 'epochs'>,
  trainCount: number,
  bracket: number,
): number[] {
  const perEpoch = stepsPerEpoch(spec, trainCount);
  const rungs: number[] = [];
  for (let k = bracket; ; k++) {
    const time = timeOf(k);
    if (time === undefined) return rungs;
    const step = judgedStep(time, timeAttr, perEpoch);
    if (step >= spec.epochs * perEpoch) return rungs;
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
