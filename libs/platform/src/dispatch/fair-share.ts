/**
 * Who starts next, and who will when: the shares of projects in the workers. Pure; `waiting-line.ts` reads from
 * Postgres what it goes by.
 *
 * Between projects with runs that wait, slots are shared max-min fairly by weight: one that would not be ahead of
 * another even with one run more comes first. Among those that are within one run of each other, starts are in
 * proportion to the weights by start-time fair queueing (Goyal, Vin and Cheng, 1996): each start moves a project's tag
 * on by 1 / weight, the lowest is next, and a project that has not wanted anything for a while begins at the virtual
 * time that the others have reached. So nobody starves, and nobody saves up starts.
 */

export interface Share {
  name: string;
  weight: number;
  maxRunning: number | null;
  /** GPU seconds that the project's runs may use altogether; null: any number. */
  gpuSeconds: number | null;
  /** Runs that workers hold, and runs that are in Redis for them to take. */
  running: number;
  admitted: number;
  usedSeconds: number;
  /** Start tag of the project's last run, in virtual time. */
  tag: number;
}

/** A run that waits. `urgency` is 100 less its priority; `placement` is '' where any worker will do. */
export interface Waiting {
  project: string;
  placement: string;
  urgency: number;
  /** By the database's clock, in milliseconds since 1970: among equals the first starts first. */
  submittedAt: number;
  runId: string;
}

/** Which quota keeps a project from starting another run. */
export function quotaReached({
  maxRunning,
  gpuSeconds,
  running,
  admitted,
  usedSeconds,
}: Share): 'max_running' | 'gpu_seconds' | null {
  if (gpuSeconds !== null && usedSeconds >= gpuSeconds) return 'gpu_seconds';
  return maxRunning !== null && running + admitted >= maxRunning ? 'max_running' : null;
}

const virtualTime = (shares: readonly Share[]): number => shares.reduce((latest, { tag }) => Math.max(latest, tag), 0);
const nextTag = ({ tag, weight }: Share, now: number): number => Math.max(now, tag + 1 / weight);
function before(a: Waiting, b: Waiting): boolean {
  if (a.urgency !== b.urgency) return a.urgency < b.urgency;
  return a.submittedAt === b.submittedAt ? a.runId < b.runId : a.submittedAt < b.submittedAt;
}

/**
 * Takes at most `places` runs, in the order in which they are to start: of the project whose turn it is the most
 * urgent, of those the one that was submitted first. `placesOf` says of a placement how many runs that ask for it can
 * be taken; '' is not limited.
 * @param waiting of each project and placement at least the first `places`, in any order.
 * @returns with the tag that its project has from then on.
 */
export function chooseNext<Run extends Waiting>(
  shares: readonly Share[],
  waiting: readonly Run[],
  { places, placesOf }: { places: number; placesOf: (placement: string) => number },
): (Run & { tag: number })[] {
  const state = shares.map((share) => ({ ...share }));
  const left = new Map<string, number>();
  const leftOf = (placement: string): number =>
    placement === '' ? Number.POSITIVE_INFINITY : (left.get(placement) ?? placesOf(placement));
  const lanes = Map.groupBy(waiting, ({ project }) => project);
  for (const [project, runs] of lanes)
    lanes.set(
      project,
      runs.toSorted((a, b) => (before(a, b) ? -1 : 1)),
    );
  const chosen: (Run & { tag: number })[] = [];
  while (chosen.length < places) {
    const contenders = state.flatMap((share) => {
      const run = quotaReached(share)
        ? undefined
        : lanes.get(share.name)?.find(({ placement }) => leftOf(placement) > 0);
      return run ? [{ share, run }] : [];
    });
    if (contenders.length === 0) break;
    const level = Math.min(...contenders.map(({ share }) => (share.running + share.admitted + 1) / share.weight));
    const now = virtualTime(state);
    const [next] = contenders
      .filter(({ share }) => (share.running + share.admitted) / share.weight < level)
      .sort(
        (a, b) =>
          nextTag(a.share, now) - nextTag(b.share, now) ||
          a.share.usedSeconds / a.share.weight - b.share.usedSeconds / b.share.weight ||
          (a.share.name < b.share.name ? -1 : 1),
      );
    const { share, run } = next!;
    share.tag = nextTag(share, now);
    share.admitted++;
    if (run.placement !== '') left.set(run.placement, leftOf(run.placement) - 1);
    const lane = lanes.get(share.name)!;
    lane.splice(lane.indexOf(run), 1);
    chosen.push({ ...run, tag: share.tag });
  }
  return chosen;
}

/**
 * How many runs of other projects are to start before the one that has `ahead` of its own before it, by their tags as
 * they stand.
 */
export function othersAhead(
  shares: readonly Share[],
  project: string,
  ahead: number,
  waitingIn: (project: string) => number,
): number {
  const now = virtualTime(shares);
  const own = shares.find(({ name }) => name === project)!;
  const tag = nextTag(own, now) + ahead / own.weight;
  return shares.reduce((sum, share) => {
    if (share.name === project || quotaReached(share) === 'gpu_seconds') return sum;
    // Tags are sums of fractions: two that differ by rounding alone count as equal.
    const starts = Math.ceil((tag - nextTag(share, now)) * share.weight - 1e-6);
    return sum + Math.min(waitingIn(share.name), Math.max(0, starts));
  }, 0);
}

/**
 * When runs start on slots that are free in some seconds, each run taking `each` seconds: a slot that is free at f
 * starts one at f, f + each, f + 2 each, … Counted in rounds of `each` seconds from the first start on: in a round,
 * every slot that has joined starts one.
 */
export class Starts {
  /** Seconds until each slot is free, ascending. */
  private readonly free: number[];
  /** `joins[i]`: the round from which on slot i starts runs; `joined[i]`: the sum of `joins` over those before i. */
  private readonly joins: number[];
  private readonly joined: number[];
  /** By a number of slots: the seconds into a round at which the first so many start a run, ascending. */
  private readonly withinRound = new Map<number, number[]>();

  /** @param slots Seconds until each slot is free: 0 for one that is, Infinity where that is not known. */
  constructor(
    private readonly each: number,
    slots: readonly number[],
  ) {
    this.free = slots.filter((seconds) => seconds < Number.POSITIVE_INFINITY).sort((a, b) => a - b);
    // Seconds are sums of fractions: two that differ by rounding alone count as equal.
    this.joins = this.free.map((free) => Math.floor((free - this.free[0]!) / each + 1e-9));
    this.joined = [0];
    for (const join of this.joins) this.joined.push(this.joined.at(-1)! + join);
  }

  /** Seconds until a run starts that has `ahead` others before it; Infinity where there is no slot. */
  in(ahead: number): number {
    const { free, each, joined } = this;
    const first = free[0] ?? Number.POSITIVE_INFINITY;
    if (ahead < free.length && free[ahead]! <= first + each) return free[ahead]!;
    if (free.length === 0 || each === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY;
    const there = this.thereBy(ahead);
    const round = Math.floor((ahead + joined[there]!) / there);
    return first + round * each + this.startsWithin(there)[ahead + joined[there]! - round * there]!;
  }

  /** How many slots start runs in the round in which a run starts that has `ahead` others before it. */
  private thereBy(ahead: number): number {
    const { joins, joined } = this;
    let [least, most] = [1, joins.length];
    while (least < most) {
      const middle = Math.floor((least + most) / 2);
      // What `middle` slots have started when the next one joins them.
      if (middle * joins[middle]! - joined[middle]! > ahead) most = middle;
      else least = middle + 1;
    }
    return least;
  }

  private startsWithin(there: number): number[] {
    const known = this.withinRound.get(there);
    if (known) return known;
    const { free, joins, each } = this;
    const starts = joins.slice(0, there).map((join, i) => Math.max(0, free[i]! - free[0]! - join * each));
    starts.sort((a, b) => a - b);
    this.withinRound.set(there, starts);
    return starts;
  }
}
