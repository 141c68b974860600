/**
 * A random forest in a thread of its own: it takes a second of a processor where there are many trials. It imports none
 * of our modules: Node runs it as it is, from the sources too.
 */
import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { mersenne } from 'pure-rand/generator/mersenne';
import { parentPort, workerData } from 'node:worker_threads';

/** Values of one parameter, one for each trial: numbers as they are, else the place among its values. */
export interface Column {
  numeric: boolean;
  values: Float64Array;
}
/** What `y` is explained by. */
export interface Trials {
  columns: Column[];
  y: Float64Array;
}

/** A whole number of 0 to n − 1. */
type Below = (n: number) => number;
type Tree = { value: number } | { column: Column; at: number; left: Tree; right: Tree };

const TREES = 100;
/** Least trials in a leaf. */
const LEAF = 3;
/** Most thresholds that are tried of a column at a node. */
const MOST_THRESHOLDS = 16;

/**
 * For each column, by how much the squared error of a forest's trees on trials that they did not see grows when the
 * column's values are shuffled among them (Breiman 2001, section 10): relative to twice the variance of y, and at
 * least 0. Seeded: the same trials give the same numbers.
 */
function importances({ columns, y }: Trials): number[] {
  const below = numbersBelow(y.length);
  const mean = y.reduce((sum, value) => sum + value, 0) / y.length;
  const variance = y.reduce((sum, value) => sum + (value - mean) ** 2, 0) / y.length;
  const grown = columns.map(() => 0);
  let judged = 0;
  for (let t = 0; t < TREES; t++) {
    const drawn = Array.from(y, () => below(y.length));
    const seen = new Set(drawn);
    const unseen = Array.from(y, (_, row) => row).filter((row) => !seen.has(row));
    if (unseen.length < 2) continue;
    const tree = grow(drawn, columns, y, below);
    judged += unseen.length;
    const errors = unseen.map((row) => (predict(tree, row) - y[row]!) ** 2);
    for (const [i, column] of columns.entries()) {
      const shuffled = drawWithoutReplacement(unseen, unseen.length, below);
      grown[i]! += unseen.reduce(
        (sum, row, place) => sum + (predict(tree, row, column, shuffled[place]) - y[row]!) ** 2 - errors[place]!,
        0,
      );
    }
  }
  return grown.map((sum) => (judged ? Math.max(0, sum / judged / (2 * variance)) : 0));
}

/** Whole numbers that are the same for a seed. */
export function numbersBelow(seed: number): Below {
  const generator = mersenne(seed);
  return (n) => uniformInt(generator, 0, n - 1);
}

/**
 * So many of some, in random order: the first steps of a Fisher-Yates shuffle, so that each is as likely as any other.
 */
export function drawWithoutReplacement<Item>(items: readonly Item[], count: number, below: Below): Item[] {
  const rest = items.slice();
  for (let i = 0; i < count; i++) {
    const j = i + below(rest.length - i);
    [rest[i], rest[j]] = [rest[j]!, rest[i]!];
  }
  return rest.slice(0, count);
}

/** The columns that are tried at a node: a third of them, but at least two. */
export const columnsToTry = <Item>(columns: readonly Item[], below: Below): Item[] =>
  drawWithoutReplacement(columns, Math.min(columns.length, Math.max(2, Math.ceil(columns.length / 3))), below);

/** Columns of numbers are split at a threshold, others into one value and all else. */
const goesLeft = ({ numeric, values }: Column, row: number, at: number): boolean =>
  numeric ? values[row]! <= at : values[row] === at;

/** A tree's prediction for a trial; of one column with the value of trial `by` instead. */
function predict(tree: Tree, row: number, replaced?: Column, by?: number): number {
  for (let node = tree; ;) {
    if ('value' in node) return node.value;
    node = goesLeft(node.column, node.column === replaced ? by! : row, node.at) ? node.left : node.right;
  }
}

/** A regression tree: at each node the split that lowers the squared error most. */
function grow(rows: readonly number[], columns: readonly Column[], y: Float64Array, below: Below): Tree {
  const split = rows.length < 2 * LEAF ? undefined : bestSplit(rows, columnsToTry(columns, below), y);
  if (!split) return { value: rows.reduce((total, row) => total + y[row]!, 0) / rows.length };
  const { column, at } = split;
  const side = (left: boolean) =>
    grow(
      rows.filter((row) => goesLeft(column, row, at) === left),
      columns,
      y,
      below,
    );
  return { column, at, left: side(true), right: side(false) };
}

/** Undefined where no split leaves enough trials on both sides, or none lowers the error. */
function bestSplit(
  rows: readonly number[],
  columns: readonly Column[],
  y: Float64Array,
): { column: Column; at: number } | undefined {
  const sum = rows.reduce((total, row) => total + y[row]!, 0);
  let best: { column: Column; at: number; gain: number } | undefined;
  for (const column of columns) {
    const values = [...new Set(rows.map((row) => column.values[row]!))].sort((a, b) => a - b);
    const stride = column.numeric ? Math.max(1, values.length / MOST_THRESHOLDS) : 1;
    for (let place = 0; place < values.length; place += stride) {
      const at = values[Math.floor(place)]!;
      const left = rows.filter((row) => goesLeft(column, row, at));
      if (left.length < LEAF || rows.length - left.length < LEAF) continue;
      const part = left.reduce((total, row) => total + y[row]!, 0);
      const gain = part ** 2 / left.length + (sum - part) ** 2 / (rows.length - left.length) - sum ** 2 / rows.length;
      if (gain > 1e-12 && (!best || gain > best.gain)) best = { column, at, gain };
    }
  }
  return best;
}

parentPort?.postMessage(importances(workerData as Trials));
