/** Samples that a list names, with their labels, groups and splits; and lists that say which are of which split. */
import type { PrepareDataset, Split } from '#libs/contracts';
import path from 'node:path';
import type { Arrangement } from './arrangement.js';
import type { LeftOut } from './containers.js';
import { withoutEnding } from './file-name.js';
import { InvalidDataError, named } from './invalid-data.js';
import { USUAL, type Columns, type Role } from './roles.js';
import { splitOfFolder } from './split-words.js';
import { parseTable, type TableFile } from './table-file.js';

const HEAD = new Set(
  Object.values(USUAL)
    .flat()
    .filter((name) => !/^\d$/.test(name)),
);

/** @throws InvalidDataError where the spec names a column that there is not, or no column holds files. */
function columnsOf({ columns }: TableFile, list: string, given: Columns | undefined): Partial<Record<Role, string>> {
  const chosen: Partial<Record<Role, string>> = {};
  const lower = new Map(columns.map((column) => [column.toLowerCase(), column]));
  for (const role of Object.keys(USUAL) as Role[]) {
    const wanted = given?.[role];
    if (wanted !== undefined && !columns.includes(wanted))
      throw new InvalidDataError(`expected a column ${wanted} in ${list} (columns.${role}), found ${named(columns)}`);
    const usual = USUAL[role].find((name) => lower.has(name));
    const column = wanted ?? (usual === undefined ? undefined : lower.get(usual));
    if (column !== undefined) chosen[role] = column;
  }
  if (chosen.sample === undefined)
    throw new InvalidDataError(
      `expected a column of files in ${list} (${USUAL.sample.slice(0, 4).join(', ')}), found ${named(columns)}: ` +
        'columns.sample says which it is',
    );
  return chosen;
}

/**
 * Where a list without a head has its files in another column than the first, such as MXNet's `.lst` (number, label,
 * path): told by the endings of its cells.
 */
function columnsOfFiles(
  { columns, rows }: TableFile,
  media: RegExp,
  given: Columns | undefined,
): Partial<Record<Role, string>> {
  if (given?.sample !== undefined || columns.some((column, i) => column !== String(i + 1))) return {};
  const [sample = '1'] = columns.filter((column) => rows.every((row) => media.test(row.get(column) ?? '')));
  return { sample, ...(given?.label === undefined && sample === '2' && { label: '1' }) };
}

/** A path of another machine, or an address: what it begins with is not here. */
const ELSEWHERE = /^(?:[a-z][a-z\d+.-]*:)?\//i;

/**
 * Finds files by what lists say of them: a path from the list's folder or from anywhere below, with or without its
 * ending, or one of another machine that ends like it.
 */
class Files {
  private readonly byStem = new Map<string, string[]>();
  private readonly names: ReadonlySet<string>;
  /** Paths of other machines by the files that they were taken for. */
  private readonly foreign = new Map<string, string>();

  constructor(
    names: readonly string[],
    private readonly list: string,
  ) {
    this.names = new Set(names);
    for (const name of names) {
      const stem = withoutEnding(path.posix.basename(name));
      this.byStem.set(stem, [...(this.byStem.get(stem) ?? []), name]);
    }
  }

  /** Those that `text` can mean: one, where it is clear. */
  find(text: string, folder: string): string[] {
    const given = path.posix.normalize(text.replaceAll('\\', '/'));
    const beside = path.posix.join(folder, given);
    if (this.names.has(beside)) return [beside];
    if (this.names.has(given)) return [given];
    const tail = given.replace(/^(\.\.?\/|\/)+/, '');
    const ends = (name: string, whole: string) => name === whole || name.endsWith(`/${whole}`);
    const base = path.posix.basename(tail);
    // An ending is one only where a file has it: `0.5_a` has none.
    const candidates = [...(this.byStem.get(withoutEnding(base)) ?? []), ...(this.byStem.get(base) ?? [])];
    const exact = candidates.filter((name) => ends(name, tail));
    if (exact.length) return exact;
    const bare = [...new Set(candidates.filter((name) => ends(withoutEnding(name), tail)))];
    return bare.length || !ELSEWHERE.test(given) ? bare : this.findForeign(given, tail, folder);
  }

  /**
   * By as much of the path's end as there is: a folder and a name anywhere, or a name alone in the source's or the
   * list's own folder. @throws InvalidDataError where two paths end alike
   */
  private findForeign(given: string, tail: string, folder: string): string[] {
    const names = this.byStem.get(withoutEnding(path.posix.basename(tail))) ?? [];
    for (let at = tail.indexOf('/'); at >= 0; at = tail.indexOf('/', at + 1)) {
      const rest = tail.slice(at + 1);
      const isName = !rest.includes('/');
      const found = names.filter(
        (name) => name === rest || name === path.posix.join(folder, rest) || (!isName && name.endsWith(`/${rest}`)),
      );
      if (found.length === 0) continue;
      const [first] = found as [string];
      const before = this.foreign.get(first) ?? given;
      if (before !== given)
        throw new InvalidDataError(
          `expected each path in ${this.list} to mean a file of its own, both ${before} and ${given} end like ` +
            `${first}: write paths from the source on`,
        );
      this.foreign.set(first, given);
      return found;
    }
    return [];
  }
}

/** The one file that a text means. */
function only(found: readonly string[], text: string, list: string): string | undefined {
  if (found.length > 1)
    throw new InvalidDataError(`expected ${text} in ${list} to mean one file, it can mean ${named(found.toSorted())}`);
  return found[0];
}

interface Listed {
  name: string;
  text: string;
}

/** What a row is read with. */
interface Reading {
  list: string;
  files: Files;
  columns: Partial<Record<Role, string>>;
  isLabelled: boolean;
  hasMasks: boolean;
}

type ListedSample = Arrangement['files'][number];

/** The sample that a row describes, or why it gives none. */
function sampleIn(row: ReadonlyMap<string, string>, reading: Reading): ListedSample | LeftOut {
  const { list, files, columns, isLabelled, hasMasks } = reading;
  // A column may have no name: the numbers of rows, as pandas writes them.
  const cell = (role: Role): string => (columns[role] === undefined ? '' : (row.get(columns[role]) ?? ''));
  const fileIn = (role: Role) => only(files.find(cell(role), path.posix.dirname(list)), cell(role), list);
  const sample = fileIn('sample');
  const mask = hasMasks ? fileIn('mask') : undefined;
  if (sample === undefined || (hasMasks && mask === undefined))
    return { name: cell('sample'), reason: `are named in ${list}, but are not there` };
  if (isLabelled && cell('label') === '') return { name: sample, reason: `have no label in ${list}` };
  const split = splitIn(cell('split'), list);
  if (split === 'unlabelled') return { name: sample, reason: `are unlabelled, as ${list} says` };
  const file = { name: sample, className: isLabelled ? cell('label') : '', group: cell('group') || null, split };
  return { sample, file, ...(mask !== undefined && { mask }) };
}

/** @throws InvalidDataError where a file has two labels or splits */
function requireSame({ sample, file }: ListedSample, before: ListedSample | undefined, list: string): void {
  if (!before || (before.file.className === file.className && before.file.split === file.split)) return;
  const shown = [before.file, file].map(({ className, split }) => [className, split].filter(Boolean).join(' in '));
  throw new InvalidDataError(`expected ${sample} once in ${list}, found it as ${shown.join(' and as ')}`);
}

/**
 * The samples of a list. Files that it does not name, and lines that name none, are left out.
 * @throws InvalidDataError for lists that can't be read, and for files with several labels or splits.
 */
export function arrangeListed(
  names: readonly string[],
  media: RegExp,
  { name: list, text }: Listed,
  spec: Pick<PrepareDataset, 'columns' | 'masks'>,
): Arrangement {
  const samples = names.filter((name) => media.test(name));
  const given = new Set(Object.values(spec.columns ?? {}));
  const table = parseTable(list, text, (cells) =>
    cells.some((cell) => given.has(cell.trim()) || HEAD.has(cell.trim().toLowerCase())),
  );
  const columns = { ...columnsOf(table, list, spec.columns), ...columnsOfFiles(table, media, spec.columns) };
  const hasMasks = spec.masks !== undefined;
  if (hasMasks && columns.mask === undefined)
    throw new InvalidDataError(`expected a column mask in ${list} (columns.mask), found ${named(table.columns)}`);
  const isLabelled = !hasMasks && columns.label !== undefined && table.rows.some((row) => row.get(columns.label!));
  const reading = { list, files: new Files(samples, list), columns, isLabelled, hasMasks };
  const arranged = new Map<string, ListedSample>();
  const leftOut: LeftOut[] = [];
  for (const row of table.rows) {
    const found = sampleIn(row, reading);
    if ('reason' in found) leftOut.push(found);
    else {
      requireSame(found, arranged.get(found.sample), list);
      arranged.set(found.sample, found);
    }
  }
  const files = [...arranged.values()];
  if (files.length === 0 && leftOut.length > 0)
    throw new InvalidDataError(
      `expected files of the source in ${list}, found none of those that it names ` +
        `(${named(leftOut.map(({ name }) => name))}); the source has ${named(samples.toSorted()) || 'none'}`,
    );
  const told = new Set([
    ...leftOut.map(({ name }) => name),
    ...files.flatMap(({ sample, mask = '' }) => [sample, mask]),
  ]);
  const others = samples.filter((name) => !told.has(name));
  return {
    files,
    ignored: names.filter((name) => !media.test(name) && name !== list),
    leftOut: [...leftOut, ...others.map((name) => ({ name, reason: `are not named in ${list}` }))],
    lostClasses: [],
    notes: isLabelled || hasMasks ? [] : withoutLabels(table, list, columns),
  };
}

/** Says which columns a list has where none is of labels, and others than those that were read. */
function withoutLabels(table: TableFile, list: string, columns: Partial<Record<Role, string>>): string[] {
  const read = new Set(Object.values(columns));
  const others = table.columns.filter((column) => column !== '' && !read.has(column));
  if (columns.label !== undefined || others.length === 0) return [];
  const usual = USUAL.label.slice(0, 4).join(', ');
  return [`${list} has no column ${usual}: if it is one of ${named(others)}, columns.label says so`];
}

/** @throws InvalidDataError for a word that names no split. */
function splitIn(word: string, list: string): Split | 'unlabelled' | null {
  if (word === '') return null;
  const split = splitOfFolder(word);
  if (split === undefined) throw new InvalidDataError(`expected train, val or test as a split in ${list}, got ${word}`);
  return split;
}

/**
 * Gives samples the split of the list that names them; the others are of train where no list is of it, else left out.
 * @throws InvalidDataError for samples in two lists.
 */
export function splitByLists(arranged: Arrangement, lists: readonly (Listed & { split: Split })[]): Arrangement {
  const samples = arranged.files.map(({ sample }) => sample);
  const splits = new Map<string, Split>();
  const leftOut = [...arranged.leftOut];
  for (const { split, name: list, text } of lists) {
    const files = new Files(samples, list);
    for (const line of text.split(/\r?\n/).map((each) => each.trim())) {
      if (line === '') continue;
      const whole = files.find(line, path.posix.dirname(list));
      // What follows behind a blank is a label, or a flag of VOC.
      const [first = ''] = line.split(/\s/, 1);
      const sample = only(whole.length ? whole : files.find(first, path.posix.dirname(list)), line, list);
      if (sample === undefined) leftOut.push({ name: line, reason: `are named in ${list}, but are no sample` });
      else if ((splits.get(sample) ?? split) !== split)
        throw new InvalidDataError(`expected each sample in one list of splits, found ${sample} in two`);
      else splits.set(sample, split);
    }
  }
  const hasTrain = lists.some(({ split }) => split === 'train');
  const kept = arranged.files.filter(({ sample }) => !hasTrain || splits.has(sample));
  for (const { sample } of arranged.files)
    if (hasTrain && !splits.has(sample)) leftOut.push({ name: sample, reason: 'are in none of the lists of splits' });
  return {
    ...arranged,
    leftOut,
    files: kept.map((each) => ({ ...each, file: { ...each.file, split: splits.get(each.sample) ?? 'train' } })),
  };
}
