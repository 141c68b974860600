/** Which sample goes into which split. */
import type { LogLevel, PrepareDataset, Split } from '#libs/contracts';
import { InvalidDataError, named } from './invalid-data.js';
import { Random } from './random.js';

/** A sample that could be decoded. */
export interface Row {
  index: number;
  /** Name of the file that it is from, in its source. */
  name: string;
  label: number;
  group: string | null;
  split: Split | null;
}

/**
 * The source's own splits and the groups held out, and those that are lacking taken from train: class by class, or,
 * where samples have groups, by whole groups until the fraction is reached.
 * @throws InvalidDataError where the spec holds out groups that there are not, or one in two splits.
 */
export function assignSplits(
  usable: readonly Row[],
  spec: PrepareDataset,
  log: (level: LogLevel, message: string) => void,
): Record<Split, Row[]> {
  const heldOut = heldOutGroups(usable, spec);
  const rows: Record<Split, Row[]> = { train: [], val: [], test: [] };
  for (const row of usable) rows[heldOut.get(row.group) ?? row.split ?? 'train'].push(row);
  // Both fractions are of what the source gives to train.
  const given = rows.train.length;
  const counts = new Map(
    [...gathered(rows.train, ({ label }) => label)].map(([label, members]) => [label, members.length]),
  );
  for (const [split, fraction] of [
    ['test', spec.testFraction],
    ['val', spec.valFraction],
  ] as const) {
    if (rows[split].length > 0 || fraction === 0) continue;
    let taken: ReadonlySet<Row>;
    if (rows.train.some(({ group }) => group !== null)) {
      const byGroup = drawGroups(rows.train, Math.round(fraction * given), Random.seeded(spec.seed, `${split} groups`));
      if (byGroup.names.length) log('info', `${split} is made of the groups ${named(byGroup.names)}`);
      else log('warn', `there is no ${split} split: only one group is left to train on`);
      taken = byGroup.taken;
    } else {
      taken = drawByClass(
        rows.train,
        (label) => Math.round(fraction * counts.get(label)!),
        (label) => Random.seeded(spec.seed, `${split} ${label}`),
      );
    }
    rows[split] = rows.train.filter((row) => taken.has(row));
    rows.train = rows.train.filter((row) => !taken.has(row));
  }
  return rows;
}

/** The groups that the spec holds out, each with its split. */
function heldOutGroups(usable: readonly Row[], { holdOut }: PrepareDataset): Map<string | null, Split> {
  const { val = [], test = [] } = holdOut ?? {};
  const groups = new Set(usable.map(({ group }) => group));
  const absent = [...val, ...test].filter((group) => !groups.has(group));
  if (absent.length)
    throw new InvalidDataError(
      `expected holdOut to name groups that there are (${named([...groups].map(String).sort())}), got ${named(absent)}`,
    );
  const both = val.filter((group) => test.includes(group));
  if (both.length)
    throw new InvalidDataError(`expected each group of holdOut in one split, got ${named(both)} in both`);
  return new Map<string | null, Split>([
    ...val.map((group) => [group, 'val'] as const),
    ...test.map((group) => [group, 'test'] as const),
  ]);
}

/** Whole groups of `rows`, in random order, until `wanted` rows are taken; one group is always left to train on. */
function drawGroups(rows: readonly Row[], wanted: number, random: Random): { names: string[]; taken: Set<Row> } {
  const byGroup = [...gathered(rows, ({ group }) => group!)].sort(([a], [b]) => (a < b ? -1 : 1));
  const taken = new Set<Row>();
  const names: string[] = [];
  for (const place of random.permutation(byGroup.length)) {
    if (taken.size >= wanted || names.length === byGroup.length - 1) break;
    const [group, members] = byGroup[place]!;
    names.push(group);
    for (const row of members) taken.add(row);
  }
  return { names: names.sort(), taken };
}

/** So many rows of each class, each class in a random order of its own. */
function drawByClass(
  rows: readonly Row[],
  wantedOf: (label: number) => number,
  randomOf: (label: number) => Random,
): Set<Row> {
  const taken = new Set<Row>();
  for (const [label, members] of gathered(rows, (row) => row.label)) {
    const order = randomOf(label).permutation(members.length);
    for (const place of order.subarray(0, wantedOf(label))) taken.add(members[place]!);
  }
  return taken;
}

function gathered<Key>(rows: readonly Row[], keyOf: (row: Row) => Key): Map<Key, Row[]> {
  const result = new Map<Key, Row[]>();
  for (const row of rows) {
    const members = result.get(keyOf(row));
    if (members) members.push(row);
    else result.set(keyOf(row), [row]);
  }
  return result;
}
