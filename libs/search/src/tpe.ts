/**
 * The tree-structured Parzen estimator (Bergstra et al. 2011), with the defaults of Optuna's TPESampler: each parameter
 * on its own, two densities from the better and the worse trials, and of the candidates drawn from the first the one
 * where their ratio is highest. Pure and seeded: the same results give the same suggestion.
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
import { densityOf } from './parzen.js';

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

/**
 * A new assignment of all parameters that apply. `ranked`: what is known, the best first. The densities of one that
 * does not always apply are made of the trials that had it (Bergstra et al. 2011, section 4: a tree). `choices`:
 * candidates for what is chosen among values.
 */
export function suggest(
  parameters: Record<string, Parameter>,
  ranked: readonly Observation[],
  uniform: () => number,
  choices = CANDIDATES,
): Record<string, unknown> {
  if (ranked.length < TPE_STARTUP) return drawAll(parameters, uniform);
  const cut = betterCount(ranked.length);
  const inTime = (some: readonly Observation[]) => some.toSorted((a, b) => a.order - b.order);
  const [better, worse] = [inTime(ranked.slice(0, cut)), inTime(ranked.slice(cut))];
  const suggestion: Record<string, unknown> = {};
  for (const [path, parameter] of drawingOrder(parameters)) {
    if (!isActive(parameter, suggestion)) continue;
    if (distributionOf(parameter) === 'constant') {
      suggestion[path] = parameter.value;
      continue;
    }
    const density = (some: readonly Observation[]) =>
      densityOf(
        parameter,
        some.flatMap((each) => (each.parameters[path] === undefined ? [] : [each.parameters[path]])),
      );
    const [good, bad] = [density(better), density(worse)];
    let best: { value: unknown; score: number } | undefined;
    for (let i = 0; i < (distributionOf(parameter) === 'categorical' ? choices : CANDIDATES); i++) {
      const value = good.draw(uniform);
      const score = good.log(value) - bad.log(value);
      if (!best || score > best.score) best = { value, score };
    }
    suggestion[path] = best!.value;
  }
  return suggestion;
}

/**
 * The draw with number `place` of a search that never tries an assignment twice: the model's, or where that has been
 * tried another at random. Null where nothing is left to try.
 */
export function nextDraw(
  parameters: Record<string, Parameter>,
  {
    seed,
    place,
    ranked,
    tried,
  }: { seed: number; place: number; ranked: readonly Observation[]; tried: ReadonlySet<string> },
): Record<string, unknown> | null {
  const uniform = uniformNumbers(seed, place + 1);
  const isNew = (draw: Record<string, unknown>) => !tried.has(canonicalJson(draw));
  for (let i = 0; i < CANDIDATES; i++) {
    // A choice that leads to what was tried would be made again and again: of fewer candidates the second best has its
    // turn.
    const draw = suggest(parameters, ranked, uniform, Math.max(1, CANDIDATES >> i));
    if (isNew(draw)) return draw;
  }
  const cells = cellsOf(parameters);
  if (cells) {
    const left = cells.filter(isNew);
    return left.length ? left[Math.floor(uniform() * left.length)]! : null;
  }
  for (let i = 0; i < STALE_DRAWS; i++) {
    const draw = drawAll(parameters, uniform);
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
