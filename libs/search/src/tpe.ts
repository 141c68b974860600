/**
 * The tree-structured Parzen estimator (Bergstra et al. 2011), multivariate as by default in Optuna 5: two joint
 * densities from the better and the worse trials, and of the candidates drawn from the first the one where their ratio
 * is highest. The better ones count by their rank. Parameters that apply under the same conditions have a density
 * together, the groups one after the other. Pure and seeded: the same results give the same suggestion. After thousands
 * of trials a suggestion takes a second of a processor, so that all of it is made in pieces.
 */
import {
  canonicalJson,
  distributionOf,
  drawAll,
  drawingOrder,
  everyAssignment,
  finiteValues,
  isActive,
  STALE_DRAWS,
  TPE_STARTUP,
  uniformNumbers,
  type Parameter,
} from '#libs/contracts';
import { densityOf, weightsByRank, weightsByTime } from './parzen.js';
import type { InPieces } from './pieces.js';

const CANDIDATES = 24;
/** A finite space of up to so many cells is known cell by cell. */
const MOST_CELLS = 10_000;

export interface Observation {
  parameters: Record<string, unknown>;
  /** Its place in time: of more than 25 trials of a side the older ones weigh less. */
  order: number;
}

/** How many of n trials count as the better ones. */
export const betterCount = (n: number): number => Math.min(Math.ceil(0.1 * n), 25);

const assigned = ({ parameters }: Observation) => parameters;

type Takes = (path: string, value: unknown) => boolean;
type Group = [string, Parameter][];

/** Parameters that apply together, a group after those that it depends on. */
const groupsOf = (parameters: Record<string, Parameter>): Group[] => [
  ...Map.groupBy(drawingOrder(parameters), ([, { when = {} }]) => canonicalJson(when)).values(),
];

export interface Suggesting {
  /** Candidates for each group. */
  candidates?: number;
  /** Whether the field of a parameter takes a value: candidates with others are none. */
  takes?: Takes;
}

/**
 * A new assignment of all parameters that apply. `ranked`: what is known, the best first. The densities of a group that
 * does not always apply are made of the trials that had it, the better of those (Bergstra et al. 2011, section 4: a
 * tree).
 */
export function* suggest(
  parameters: Record<string, Parameter>,
  ranked: readonly Observation[],
  uniform: () => number,
  { candidates = CANDIDATES, takes = () => true }: Suggesting = {},
): InPieces<Record<string, unknown>> {
  if (ranked.length < TPE_STARTUP) return drawAll(parameters, uniform, takes);
  const best = new Set(ranked.slice(0, betterCount(ranked.length)));
  const suggestion: Record<string, unknown> = {};
  for (const group of groupsOf(parameters)) {
    if (!isActive(group[0]![1], suggestion)) continue;
    const { constant = [], varied = [] } = Object.groupBy(group, ([, parameter]) =>
      distributionOf(parameter) === 'constant' ? 'constant' : 'varied',
    );
    for (const [path, { value }] of constant) suggestion[path] = value;
    const had = ranked.filter(({ parameters: of }) => varied.every(([path]) => of[path] !== undefined));
    // The better of all trials, and at least as many as would be the better of those alone.
    const cut = Math.max(betterCount(had.length), had.filter((each) => best.has(each)).length);
    const [better, worse] = [had.slice(0, cut), had.slice(cut).sort((a, b) => a.order - b.order)];
    const good = yield* densityOf(varied, better.map(assigned), weightsByRank(better.length));
    const bad = yield* densityOf(varied, worse.map(assigned), weightsByTime(worse.length));
    let chosen: { values: Record<string, unknown>; score: number } | undefined;
    for (let i = 0; i < candidates; i++) {
      const values = good.draw(uniform);
      if (Object.entries(values).some(([path, value]) => !takes(path, value))) continue;
      const score = (yield* good.log(values)) - (yield* bad.log(values));
      if (!chosen || score > chosen.score) chosen = { values, score };
    }
    const unconditional = varied.map(([path, { when: _, ...parameter }]) => [path, parameter] as const);
    Object.assign(suggestion, chosen?.values ?? drawAll(Object.fromEntries(unconditional), uniform, takes));
  }
  return suggestion;
}

/**
 * The draw with number `place` of a search that never tries an assignment twice: the model's, or where that has been
 * tried another at random. Null where nothing is left to try.
 */
export function* nextDraw(
  parameters: Record<string, Parameter>,
  {
    seed,
    place,
    ranked,
    tried,
    takes = () => true,
  }: { seed: number; place: number; ranked: readonly Observation[]; tried: ReadonlySet<string>; takes?: Takes },
): InPieces<Record<string, unknown> | null> {
  const uniform = uniformNumbers(seed, place + 1);
  const isNew = (draw: Record<string, unknown>) => !tried.has(canonicalJson(draw));
  for (let i = 0; i < CANDIDATES; i++) {
    // A choice that leads to what was tried would be made again and again: of fewer candidates the second best has its
    // turn.
    const draw = yield* suggest(parameters, ranked, uniform, { candidates: Math.max(1, CANDIDATES >> i), takes });
    if (isNew(draw)) return draw;
  }
  const cells = cellsOf(parameters);
  if (cells) {
    const left = cells.filter(isNew);
    return left.length ? left[Math.floor(uniform() * left.length)]! : null;
  }
  for (let i = 0; i < STALE_DRAWS; i++) {
    const draw = drawAll(parameters, uniform, takes);
    if (isNew(draw)) return draw;
  }
  return null;
}

/** Every assignment of a space that is finite and small enough to count. */
function cellsOf(parameters: Record<string, Parameter>): Record<string, unknown>[] | null {
  const known = new Map(
    drawingOrder(parameters).map(([, parameter]) => [parameter, finiteValues(parameter, MOST_CELLS)]),
  );
  return [...known.values()].includes(undefined)
    ? null
    : everyAssignment(drawingOrder(parameters), (parameter) => known.get(parameter)!, MOST_CELLS);
}
