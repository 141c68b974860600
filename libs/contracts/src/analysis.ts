/**
 * What a sweep's trials say together: what each augmentation is worth, which parameter matters, how combinations differ
 * on the same labels.
 */
import type { Estimate } from './sweep-results.js';
import { Augmentation, AUGMENTATIONS } from './augmentation.js';
import { canonicalJson } from './canonical-json.js';
import { uniformNumbers } from './search-space.js';
import { estimateMean } from './statistics.js';

/**
 * A value that a trial came to. `pair`: trials of different combinations with the same one saw the same labels and
 * seeds.
 */
export interface Outcome {
  combo: string;
  parameters: Record<string, unknown>;
  pair: string;
  value: number;
}

/** Mean of the differences between two combinations on the same labels and seeds; null where they share none. */
export function pairedDifference(outcomes: readonly Outcome[], combo: string, reference: string): Estimate | null {
  const of = (name: string) =>
    new Map(
      [
        ...Map.groupBy(
          outcomes.filter((each) => each.combo === name),
          ({ pair }) => pair,
        ),
      ].map(([pair, some]) => [pair, some.reduce((sum, { value }) => sum + value, 0) / some.length]),
    );
  const baseline = of(reference);
  const differences = [...of(combo)].flatMap(([pair, value]) =>
    baseline.has(pair) ? [value - baseline.get(pair)!] : [],
  );
  return differences.length ? estimateMean(differences) : null;
}

/**
 * What each augmentation adds to all the others: the paired difference between the combination of all that were tried
 * and the one without it. Empty where trials differ in more than augmentations, or no combination of all was tried.
 */
export function leaveOneOutEffects(outcomes: readonly Outcome[]): { name: keyof Augmentation; effect: Estimate }[] {
  const combos = new Map<string, readonly (keyof Augmentation)[]>();
  const settings = new Map<string, string>();
  for (const { combo, parameters } of outcomes) {
    const [path, ...others] = Object.keys(parameters);
    const parsed =
      path?.endsWith('.augmentation') && others.every((other) => other.endsWith('.augmentation'))
        ? Augmentation.safeParse(parameters[path])
        : undefined;
    if (!parsed?.success) return [];
    combos.set(
      combo,
      AUGMENTATIONS.filter((name) => parsed.data[name] !== undefined),
    );
    for (const [name, strength] of Object.entries(parsed.data))
      settings.set(`${combo} ${name}`, canonicalJson(strength));
  }
  const all = AUGMENTATIONS.filter((name) => [...combos.values()].some((names) => names.includes(name)));
  const full = [...combos].find(([, names]) => names.length === all.length)?.[0];
  if (full === undefined) return [];
  return all.flatMap((name) => {
    // The others at the same strength: else it is not this one that makes the difference.
    const without = [...combos].find(
      ([combo, names]) =>
        names.length === all.length - 1 &&
        !names.includes(name) &&
        names.every((other) => settings.get(`${combo} ${other}`) === settings.get(`${full} ${other}`)),
    )?.[0];
    const effect = without === undefined ? null : pairedDifference(outcomes, full, without);
    return effect ? [{ name, effect }] : [];
  });
}

const TREES = 100;
/** Leaves are not split below this. */
const LEAF = 3;
const LEAST_TRIALS = 8;
/**
 * Of more trials so many are looked at, spread evenly, and at each node so many thresholds: the API answers while one
 * waits.
 */
const MOST_TRIALS = 500;
const MOST_THRESHOLDS = 16;

/** A number where all values of a parameter are, else the place among its values. */
interface Column {
  path: string;
  numeric: boolean;
  values: number[];
}
type Tree = { value: number } | { column: Column; at: number; left: Tree; right: Tree };

/**
 * How much each parameter that varies explains of the metric: by how much the error of a random forest on trials that
 * its trees did not see grows when the parameter's values are shuffled among them (Breiman 2001, section 10), relative
 * to the variance of the metric and at least 0.
 * The highest first; empty for fewer than 8 trials or where the metric does not vary. Seeded: the same trials give the
 * same numbers.
 */
export function parameterImportance(
  all: readonly Pick<Outcome, 'parameters' | 'value'>[],
): { parameter: string; importance: number }[] {
  const outcomes =
    all.length <= MOST_TRIALS
      ? all
      : Array.from({ length: MOST_TRIALS }, (_, i) => all[Math.floor((i * all.length) / MOST_TRIALS)]!);
  const y = outcomes.map(({ value }) => value);
  const mean = y.reduce((sum, value) => sum + value, 0) / y.length;
  const variance = y.reduce((sum, value) => sum + (value - mean) ** 2, 0) / y.length;
  if (y.length < LEAST_TRIALS || !(variance > 0)) return [];
  const columns = [...new Set(outcomes.flatMap(({ parameters }) => Object.keys(parameters)))]
    .map((path): Column => {
      const given = outcomes.map(({ parameters }) => parameters[path] ?? null);
      // A number that does not apply lies apart from all that do.
      if (given.some((value) => value !== null) && given.every((value) => value === null || typeof value === 'number'))
        return { path, numeric: true, values: given.map((value) => value ?? Number.NEGATIVE_INFINITY) };
      const keys = [...new Set(given.map((value) => canonicalJson(value)))].sort();
      return { path, numeric: false, values: given.map((value) => keys.indexOf(canonicalJson(value))) };
    })
    .filter(({ values }) => new Set(values).size > 1);
  const uniform = uniformNumbers(0, y.length);
  const below = (n: number) => Math.floor(uniform() * n);
  const grown = new Map(columns.map(({ path }) => [path, 0]));
  let judged = 0;
  for (let t = 0; t < TREES; t++) {
    const drawn = y.map(() => below(y.length));
    const seen = new Set(drawn);
    const unseen = y.map((_, i) => i).filter((i) => !seen.has(i));
    if (unseen.length < 2) continue;
    const tree = grow(drawn, columns, y, uniform);
    judged += unseen.length;
    for (const column of columns) {
      const shuffled = unseen.slice();
      for (let i = shuffled.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!];
      }
      const increase = unseen.reduce(
        (sum, row, i) =>
          sum + (predict(tree, row, column, shuffled[i]) - y[row]!) ** 2 - (predict(tree, row) - y[row]!) ** 2,
        0,
      );
      grown.set(column.path, grown.get(column.path)! + increase);
    }
  }
  return [...grown]
    .map(([parameter, sum]) => ({ parameter, importance: judged ? Math.max(0, sum / judged / (2 * variance)) : 0 }))
    .sort((a, b) => b.importance - a.importance || (a.parameter < b.parameter ? -1 : 1));
}

const goesLeft = ({ numeric, values }: Column, row: number, at: number): boolean =>
  numeric ? values[row]! <= at : values[row] === at;

function predict(tree: Tree, row: number, replaced?: Column, by?: number): number {
  for (let node = tree; ;) {
    if ('value' in node) return node.value;
    node = goesLeft(node.column, node.column === replaced ? by! : row, node.at) ? node.left : node.right;
  }
}

/** A regression tree: the split that lowers the squared error most, among a third of the columns but at least two. */
function grow(rows: readonly number[], columns: readonly Column[], y: readonly number[], uniform: () => number): Tree {
  const sum = rows.reduce((total, row) => total + y[row]!, 0);
  const mean = sum / rows.length;
  if (rows.length < 2 * LEAF) return { value: mean };
  const tried = columns.toSorted(() => uniform() - 0.5).slice(0, Math.max(2, Math.ceil(columns.length / 3)));
  let best: { column: Column; at: number; gain: number } | undefined;
  for (const column of tried) {
    const values = [...new Set(rows.map((row) => column.values[row]!))].sort((a, b) => a - b);
    const stride = column.numeric ? Math.max(1, values.length / MOST_THRESHOLDS) : 1;
    for (let place = 0; place < values.length; place += stride) {
      const at = values[Math.floor(place)]!;
      let [count, part] = [0, 0];
      for (const row of rows) {
        if (!goesLeft(column, row, at)) continue;
        count++;
        part += y[row]!;
      }
      if (count < LEAF || rows.length - count < LEAF) continue;
      const gain = part ** 2 / count + (sum - part) ** 2 / (rows.length - count) - sum ** 2 / rows.length;
      if (gain > 1e-12 && (!best || gain > best.gain)) best = { column, at, gain };
    }
  }
  if (!best) return { value: mean };
  const { column, at } = best;
  return {
    column,
    at,
    left: grow(
      rows.filter((row) => goesLeft(column, row, at)),
      columns,
      y,
      uniform,
    ),
    right: grow(
      rows.filter((row) => !goesLeft(column, row, at)),
      columns,
      y,
      uniform,
    ),
  };
}
