/** The median rule: which runs have shown too little, by the curves of the others. Pure, as `halving.ts`. */
import type { Goal } from './halving.js';

/** Values of a run's metric along the way, in ascending time. */
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
