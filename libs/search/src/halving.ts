/**
 * Successive halving: at which steps pretrainings are judged, and which of them may go on from there. Pure: the sweep's
 * steering asks and acts.
 */
import type { EarlyTerminate, Pretrain } from '#libs/contracts';

/** Which way a metric is better. */
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
