/** Folders that say a column and its value, as Hive, Spark and Arrow write them: `split=train/label=dog`. */
import { IMAGE } from '#libs/contracts';
import { arrange, grouped, saidToBeLost, type Arrangement } from './arrangement.js';
import type { FileName } from './file-name.js';
import { InvalidDataError, named } from './invalid-data.js';
import { withoutMasks } from './mask-names.js';
import { USUAL, type Columns } from './roles.js';
import { splitAround, splitOfFolder, type SplitWord } from './split-words.js';

type Role = 'label' | 'group' | 'split';

const ROLES: Readonly<Record<Role, readonly string[]>> = {
  label: [...USUAL.label, 'labels', 'cls'],
  group: [...USUAL.group, 'subject_id'],
  split: USUAL.split,
};
/** What stands for a value that is none. */
const NULL = '__HIVE_DEFAULT_PARTITION__';
const PARTITION = /^([\p{L}_][^=]*)=(.*)$/su;

interface Partition {
  key: string;
  value: string | null;
}

/** What the folders around a file say. What no folder says is undefined, and null where one says that there is none. */
interface Told {
  label?: string | null;
  group?: string | null;
  split?: SplitWord | null;
  /** The path without these folders, but for those of splits, which stand there as their words. */
  parts: string[];
}

export interface Partitions {
  /** The column of each role, where folders say it. */
  keys: Readonly<Record<Role, string | undefined>>;
  /** All columns that folders say. */
  columns: readonly string[];
  of(name: string): Told;
  notes: string[];
}

/** Escaped bytes stand for themselves; what is no escape, or no UTF-8, stays as it is. */
const unescaped = (text: string): string =>
  text.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) => {
    try {
      return decodeURIComponent(bytes);
    } catch {
      return bytes;
    }
  });

function partitionIn(folder: string): Partition | undefined {
  const [, key, value] = PARTITION.exec(folder) ?? [];
  if (key === undefined || value === undefined) return undefined;
  const text = unescaped(value);
  return { key: unescaped(key), value: text === NULL || text === '' ? null : text };
}

/** Folders by the one that they lie in. */
function siblingsAmong(names: readonly string[]): Map<string, Set<string>> {
  const siblings = new Map<string, Set<string>>();
  for (const name of names)
    for (let from = 0, at = name.indexOf('/'); at >= 0; from = at + 1, at = name.indexOf('/', from)) {
      const above = name.slice(0, from);
      const inside = siblings.get(above) ?? new Set();
      siblings.set(above, inside.add(name.slice(from, at)));
    }
  return siblings;
}

/**
 * Columns that folders say, with their values: those of a known name, and those of several folders beside each other,
 * or of all. One folder alone among others that is called `x=y` is called so.
 */
function keysAmong(names: readonly string[], known: ReadonlySet<unknown>): Map<string, Set<string | null>> {
  const values = new Map<string, Set<string | null>>();
  for (const folders of siblingsAmong(names).values()) {
    const found = [...folders].flatMap((folder) => partitionIn(folder) ?? []);
    for (const [key, those] of Map.groupBy(found, (each) => each.key)) {
      if (!known.has(key.toLowerCase()) && !known.has(key) && those.length < 2 && those.length < folders.size) continue;
      const before = values.get(key) ?? new Set();
      values.set(key, before);
      for (const { value } of those) before.add(value);
    }
  }
  return values;
}

/**
 * What the folders of these files say, of columns that are called as usual or that the spec chooses; undefined where
 * they say none.
 * @throws InvalidDataError for splits some of which are none
 */
export function partitionsAmong(names: readonly string[], columns: Columns = {}): Partitions | undefined {
  if (!names.some((name) => name.includes('='))) return undefined;
  const known = new Set<unknown>([...Object.values(ROLES).flat(), ...Object.values(columns)]);
  const values = keysAmong(names, known);
  if (values.size === 0) return undefined;
  const keyOf = (role: Role): string | undefined => {
    const chosen = columns[role];
    if (chosen !== undefined) return values.has(chosen) ? chosen : undefined;
    const others = [...values.keys()].filter((key) => !Object.values(columns).includes(key));
    const lower = new Map(others.map((key) => [key.toLowerCase(), key]));
    return lower.get(ROLES[role].find((usual) => lower.has(usual)) ?? '');
  };
  const split = keyOf('split');
  const hasSplits = split !== undefined && areSplits(split, values.get(split)!, columns.split !== undefined);
  const keys: Partitions['keys'] = {
    label: keyOf('label'),
    group: keyOf('group'),
    split: hasSplits ? split : undefined,
  };
  const all = [...values.keys()].sort();
  const others = all.filter((key) => !Object.values(keys).includes(key));
  return { keys, columns: all, of: (name) => toldBy(name, keys, values), notes: others.map(noteOn) };
}

const noteOn = (key: string): string =>
  `the folders ${key}=… are taken for neither classes, groups nor splits: if ${key} is one of them, columns says so ` +
  `(columns.label: ${key})`;

/** @throws InvalidDataError where some are words of splits and others not */
function areSplits(key: string, values: ReadonlySet<string | null>, isChosen: boolean): boolean {
  const strange = [...values].filter((value) => value !== null && splitOfFolder(value) === undefined);
  const isNone = strange.length === [...values].filter((value) => value !== null).length;
  if (strange.length === 0 || (isNone && !isChosen)) return !isNone;
  throw new InvalidDataError(
    `expected train, val or test as a split in the folders ${key}=…, got ${named(strange.map(String).sort())}`,
  );
}

function toldBy(name: string, keys: Partitions['keys'], values: ReadonlyMap<string, unknown>): Told {
  const folders = name.split('/');
  const own = folders.pop()!;
  const told: Told = { parts: [] };
  for (const folder of folders) {
    const { key, value } = partitionIn(folder) ?? { key: undefined, value: null };
    if (key === undefined || !values.has(key)) told.parts.push(folder);
    else if (key === keys.label) told.label = value;
    else if (key === keys.group) told.group = value;
    else if (key === keys.split) {
      told.split = splitOfFolder(value ?? undefined) ?? null;
      if (told.split) told.parts.push(told.split);
    }
  }
  told.parts.push(own);
  return told;
}

/**
 * Samples by what their folders say; where these say no class, by other folders or by their names.
 * @throws InvalidDataError where the spec names a column that no folder says
 */
export function arrangePartitioned(
  partitions: Partitions,
  names: readonly string[],
  folders: readonly string[],
  media: RegExp,
  fileName: FileName | undefined,
  columns: Columns = {},
): Arrangement {
  const { keys, of, notes } = partitions;
  for (const role of ['label', 'group', 'split'] as const)
    if (columns[role] !== undefined && keys[role] === undefined)
      throw new InvalidDataError(
        `expected folders ${columns[role]}=… (columns.${role}), found those of ${named(partitions.columns)}`,
      );
  const arranged =
    keys.label === undefined || fileName?.hasLabel
      ? arrange(names, folders, media, fileName, (name) => of(name).parts)
      : byLabel(partitions, keys.label, names, folders, media, fileName);
  return {
    ...arranged,
    files: arranged.files.map((each) => ({
      ...each,
      file: { ...each.file, name: each.sample, group: each.file.group ?? of(each.sample).group ?? null },
    })),
    notes: [...(arranged.notes ?? []), ...notes],
  };
}

/** The split that a partition or a folder says. */
function splitOf({ split, parts }: Told): SplitWord | null {
  if (split !== undefined) return split;
  return (
    parts
      .slice(0, -1)
      .map(splitAround)
      .find((each) => each !== undefined) ?? null
  );
}

function byLabel(
  { of }: Partitions,
  key: string,
  names: readonly string[],
  folders: readonly string[],
  media: RegExp,
  fileName: FileName | undefined,
): Arrangement {
  const all = names.filter((name) => media.test(name));
  const { images, masks } = media === IMAGE ? withoutMasks(all) : { images: all, masks: [] };
  const samples = images.map((name) => {
    const told = of(name);
    return { name, label: told.label, split: splitOf(told) };
  });
  const isLabelled = samples.some(({ label }) => typeof label === 'string');
  const onlyUnlabelled = samples.every(({ split }) => split === 'unlabelled');
  const hasTrain = samples.some(({ split }) => split === 'train');
  const arranged: Arrangement = {
    files: [],
    ignored: names.filter((name) => !media.test(name)),
    leftOut: [...masks],
    lostClasses: [],
  };
  for (const { name, label, split: told } of samples) {
    const split = onlyUnlabelled ? null : told;
    const leave = (reason: string) => arranged.leftOut.push({ name, reason });
    if (split === 'unlabelled') leave('lie in a folder of unlabelled samples, which is no class');
    else if (isLabelled && label === null) leave(`have no label: their folder says ${key}=${NULL}`);
    else if (isLabelled && label === undefined) leave(`lie in no folder ${key}=…, which would say their class`);
    else if (split === null && hasTrain) leave('lie beside the folders of splits, in none of them');
    else arranged.files.push({ sample: name, file: { name, className: label ?? '', group: null, split } });
  }
  const others = [...arranged.ignored, ...folders.map((folder) => `${folder}/`)];
  return {
    ...arranged,
    ...grouped(arranged, fileName),
    lostClasses: isLabelled ? lostLabels(others, of, new Set(samples.map(({ label }) => label))) : [],
  };
}

function lostLabels(
  others: readonly string[],
  of: Partitions['of'],
  found: ReadonlySet<unknown>,
): Arrangement['lostClasses'] {
  const lost = Map.groupBy(
    others.map((name) => of(name)).filter(({ label }) => typeof label === 'string' && !found.has(label)),
    ({ label }) => label!,
  );
  return saidToBeLost(
    new Map([...lost].map(([name, those]) => [name, those.map(({ parts }) => parts.at(-1)!).filter(Boolean)])),
  );
}
