/**
 * Parquet as Hugging Face writes it: a column of structs `{bytes, path}`, a column of labels, the classes' names in the
 * schema.
 */
import type { Split } from '#libs/contracts';
import { parquetSchema, type FileMetaData } from 'hyparquet';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { splitsOfFiles } from './collections.js';
import { nameOfBytes, type Source, type SourceFile } from './containers.js';
import { InvalidDataError, named } from './invalid-data.js';
import { partitionsAmong, type Partitions } from './partitions.js';
import type { Columns } from './roles.js';
import { splitNamed, splitOfFolder } from './split-words.js';
import type { Answer, Question, Value } from './parquet-thread.js';

/** Bytes of a row group's column, which is unpacked at once. */
const MAX_GROUP_BYTES = 2 ** 30;
/** Characters of a cell that a message shows. */
const MOST_SHOWN = 40;
const LABEL_COLUMNS = ['label', 'labels', 'fine_label', 'class'];
/** How long the reading may make no progress: a page is unpacked in moments. */
const PATIENCE_MS = 30_000;

interface Feature {
  _type?: unknown;
  names?: unknown;
}
interface Table {
  name: string;
  path: string;
  column: string;
  groups: { start: number; end: number }[];
  indexOf: Int32Array;
}
type Told = ReturnType<Partitions['of']>;
interface Labelled extends Table {
  label: string | undefined;
  groupColumn: string | undefined;
  splitColumn: string | undefined;
  /** A column that is called as if it had splits; it has where all of it are words of such. */
  maybeSplits: string | undefined;
  names: readonly string[] | undefined;
  split: Split | null;
  /** What the folders around the file say of all of its rows. */
  told: Told;
  /** Columns that nothing is read of, and that hold one value a row. */
  others: readonly string[];
}

/**
 * Splits by the files' names (`train-*`, `validation-*`, `test-*`), or by a column `split` or `subset` that holds
 * nothing but words of splits. Columns can be said by folders: `split=train/label=dog/part-0.parquet`. A negative label
 * is none: such rows are passed over, unless none has a label.
 * @throws InvalidDataError for what is no Parquet, or has no column of images (sounds), for labels in some of the files
 *   only or of a type that names no class, and for a file whose reading makes no progress for `patienceMs`.
 */
export async function openParquet(
  paths: readonly { name: string; path: string }[],
  modality: 'image' | 'audio',
  columns: Columns = {},
  patienceMs = PATIENCE_MS,
): Promise<Source> {
  const partitions = partitionsAmong(
    paths.map(({ name }) => name),
    columns,
  );
  const toldBy = (name: string): Told => partitions?.of(name) ?? { parts: [name] };
  const { taken, leftOut } = splitsOfFiles(paths, (name) => {
    const { split, parts } = toldBy(name);
    return split === undefined ? splitNamed(parts.join('/')) : split;
  });
  const tables: Labelled[] = [];
  let rows: Row[] = [];
  let classNames: readonly string[] | undefined;
  await withReader(patienceMs, async (reader) => {
    for (const { name, path, split } of taken) {
      const table = await open(reader, name, path, modality, columns, toldBy(name));
      if (table.names && classNames && table.names.join('\0') !== classNames.join('\0'))
        throw new InvalidDataError(`expected the same classes in every Parquet file, ${name} has others`);
      classNames ??= table.names;
      tables.push({ ...table, split, indexOf: new Int32Array(table.groups.at(-1)?.end ?? 0).fill(-1) });
    }
    requireLabelsInAll(tables);
    for (const table of tables) rows = rows.concat(await rowsOf(reader, table));
  });
  // Without any label, every row is a sample of a dataset without classes.
  const labelled = rows.some(({ className }) => className !== undefined);
  const files: SourceFile[] = [];
  const ignored: string[] = [];
  for (const { table, row, className, group, split } of rows) {
    const name = `${table.name}, row ${row}`;
    if (labelled && className === undefined) ignored.push(name);
    else {
      table.indexOf[row] = files.length;
      files.push({ name, className: className ?? '', group, split });
    }
  }
  return {
    files,
    ignored,
    leftOut,
    unread: [],
    lostClasses: [],
    notes: [...(labelled ? [] : notesOnColumns(tables)), ...(partitions?.notes ?? [])],
    ...(classNames && labelled && { classNames }),
    read: (visit, signal) =>
      withReader(patienceMs, async (reader) => {
        for (const table of tables) {
          for await (const [row, value] of reader.rows(table)) {
            signal.throwIfAborted();
            const index = table.indexOf[row]!;
            if (index >= 0) await visit(index, bytesIn(value, table.column), 'sample');
          }
        }
      }),
  };
}

/** The bytes of a cell, or what is there in their place. */
function bytesIn(value: Value, column: string): Buffer | Error {
  if (value instanceof Uint8Array) return Buffer.from(value.buffer);
  const found = typeof value === 'string' ? `the text ${JSON.stringify(value.slice(0, MOST_SHOWN))}` : 'nothing';
  return new Error(
    `expected the bytes of a file in the column ${column}, found ${found}: paths are not followed, write the bytes ` +
      'into the table',
  );
}

/** Says which columns may be of labels where none is called so. */
function notesOnColumns(tables: readonly Labelled[]): string[] {
  const [{ name, others } = { name: '', others: [] }] = tables.filter((table) => table.label === undefined);
  if (others.length === 0) return [];
  return [`${name} has no column ${LABEL_COLUMNS.join(', ')}: if it is one of ${named(others)}, columns.label says so`];
}

interface Row {
  table: Labelled;
  row: number;
  className: string | undefined;
  group: string | null;
  split: Split | null;
}

/** The class of every row, where the table has labels, and its group and split, where it has columns of them. */
async function rowsOf(reader: Reader, table: Labelled): Promise<Row[]> {
  const cells = async (column: string | undefined): Promise<Value[]> => {
    const values: Value[] = [];
    if (column !== undefined) for await (const [row, value] of reader.rows({ ...table, column })) values[row] = value;
    return values;
  };
  const labels = await cells(table.label);
  const groups = await cells(table.groupColumn);
  let { splitColumn } = table;
  const splits = await cells(splitColumn ?? table.maybeSplits);
  if (splits.length && splits.every(isSplit)) splitColumn ??= table.maybeSplits;
  const { label: toldLabel, group: toldGroup } = table.told;
  return Array.from(table.indexOf, (_, row) => ({
    table,
    row,
    className: table.label === undefined ? (toldLabel ?? undefined) : classOf(labels[row] ?? null, table.names),
    group: classOf(groups[row] ?? null, undefined) ?? toldGroup ?? null,
    split: splitColumn === undefined ? table.split : splitOf(classOf(splits[row] ?? null, undefined), table.name),
  }));
}

const isSplit = (value: Value): boolean => {
  const split = splitOfFolder(classOf(value, undefined));
  return split !== undefined && split !== 'unlabelled';
};

/** @throws InvalidDataError for a word that names no split */
function splitOf(word: string | undefined, name: string): Split | null {
  const split = splitOfFolder(word);
  if (split === 'unlabelled' || (split === undefined && word !== undefined))
    throw new InvalidDataError(`expected train, val or test as a split in ${name}, got ${word}`);
  return split ?? null;
}

/** @throws InvalidDataError where some files have labels and others have none. */
function requireLabelsInAll(tables: readonly Labelled[]): void {
  const isLabelled = ({ label, told }: Labelled) => label !== undefined || told.label !== undefined;
  const without = tables.find((table) => !isLabelled(table));
  const withLabels = tables.find(isLabelled);
  if (without && withLabels)
    throw new InvalidDataError(
      `expected a column of labels in every Parquet file (${withLabels.name} has ` +
        `${withLabels.label ?? 'one by its folder'}), ${without.name} has none`,
    );
}

async function withReader(patienceMs: number, work: (reader: Reader) => Promise<void>): Promise<void> {
  const reader = new Reader(patienceMs);
  try {
    await work(reader);
  } finally {
    await reader.close();
  }
}

/**
 * Reads in a thread: bytes changed inside a page can make hyparquet 1.31 read levels for ever, or as many as no memory
 * holds.
 */
class Reader {
  private readonly thread = new Worker(new URL(`./parquet-thread${path.extname(import.meta.url)}`, import.meta.url));

  constructor(private readonly patienceMs: number) {}

  async metadata({ name, path }: { name: string; path: string }): Promise<FileMetaData> {
    return (await this.ask<{ metadata: FileMetaData }>(name, { path })).metadata;
  }

  /** The values of a column, with the numbers of their rows. */
  async *rows({
    name,
    path,
    column,
    groups,
  }: Pick<Table, 'name' | 'path' | 'column' | 'groups'>): AsyncGenerator<[row: number, value: Value]> {
    for (const { start, end } of groups) {
      for (let row = start; row < end;) {
        for (const value of (await this.ask<{ values: Value[] }>(name, { path, column, start: row, end })).values)
          yield [row++, value];
      }
    }
  }

  async close(): Promise<void> {
    await this.thread.terminate();
  }

  /** Whatever goes wrong while a file is unpacked is the file's fault, other than that it can't be read. */
  private async ask<Wanted>(name: string, question: Question): Promise<Wanted> {
    const { thread, patienceMs } = this;
    let timer: NodeJS.Timeout | undefined;
    try {
      const answer = await new Promise<Exclude<Answer, 'alive'>>((resolve, reject) => {
        timer = setTimeout(
          () => reject(new Error(`it could not be read any further in ${patienceMs / 1000} s`)),
          patienceMs,
        );
        thread
          .on('message', (message: Answer) => {
            if (message === 'alive') timer!.refresh();
            else resolve(message);
          })
          .on('error', reject);
        thread.postMessage(question);
      });
      if ('message' in answer) throw Object.assign(new Error(answer.message), { code: answer.code });
      return answer as Wanted;
    } catch (error) {
      const { message, code } = error as NodeJS.ErrnoException;
      if (/^E[A-Z]+$/.test(code ?? '')) throw error;
      throw new InvalidDataError(`expected ${name} to be a whole Parquet file: ${message}`);
    } finally {
      clearTimeout(timer);
      thread.removeAllListeners('message').removeAllListeners('error');
    }
  }
}

async function open(
  reader: Reader,
  name: string,
  path: string,
  modality: 'image' | 'audio',
  given: Columns,
  told: Told,
) {
  const metadata = await reader.metadata({ name, path });
  const features = featuresOf(metadata);
  const columns = parquetSchema(metadata).children;
  const chosen = columnsIn(
    columns.map(({ element }) => element.name),
    name,
    given,
    told,
  );
  const ofType = (type: string) => Object.entries(features).find(([, feature]) => feature._type === type)?.[0];
  const lookFor = (candidates: readonly (string | undefined)[]) =>
    candidates
      .map((candidate) => columns.find(({ element }) => element.name === candidate))
      .find((column) => column !== undefined);
  const find = (what: string, candidates: readonly (string | undefined)[]) => {
    const found = lookFor(candidates);
    if (!found)
      throw new InvalidDataError(
        `expected a column ${candidates.filter((candidate) => candidate !== undefined).join(' or ')} of ${what} ` +
          `in ${name}, found ${columns.map(({ element }) => element.name).join(', ') || 'no column'}: columns.sample ` +
          'says which it is',
      );
    return found;
  };
  const media =
    modality === 'image'
      ? find('images', [chosen.sample, ofType('Image'), 'image', 'img'])
      : find('sounds', [chosen.sample, ofType('Audio'), 'audio', 'sound']);
  const holder = media.children.length ? media.children.find(({ element }) => element.name === 'bytes') : media;
  if (holder?.element.type !== 'BYTE_ARRAY')
    throw new InvalidDataError(
      `expected column ${media.element.name} of ${name} to hold bytes, or structs with a field bytes`,
    );
  const isOfFolders = given.label !== undefined && chosen.label === undefined;
  const labels = isOfFolders ? undefined : lookFor([chosen.label, ...LABEL_COLUMNS, ofType('ClassLabel')]);
  if (labels?.children.length)
    throw new InvalidDataError(
      `expected column ${labels.element.name} of ${name} to hold text, whole numbers or truth values, which name a ` +
        'class, it holds lists or structs: rename the column for a dataset without labels',
    );
  const label = labels?.element.name;
  const names = label === undefined ? undefined : features[label]?.names;
  const groups = groupsOf(metadata, media.element.name, name);
  const maybeSplits = (told.split === undefined ? ['split', 'subset'] : []).find(
    (each) => each !== label && columns.some(({ element, children }) => element.name === each && children.length === 0),
  );
  const read = [media.element.name, label, chosen.group, chosen.split, maybeSplits];
  return {
    name,
    path,
    column: media.element.name,
    groups,
    label,
    groupColumn: chosen.group,
    splitColumn: chosen.split,
    maybeSplits,
    told,
    others: columns.flatMap(({ element, children }) =>
      children.length || read.includes(element.name) ? [] : [element.name],
    ),
    names: Array.isArray(names) && names.every((each) => typeof each === 'string') ? names : undefined,
  };
}

/** The row groups of a file by the rows in them. @throws InvalidDataError for one whose `column` is too large */
function groupsOf({ row_groups: found, num_rows: promised }: FileMetaData, column: string, name: string) {
  let end = 0;
  const groups = found.map(({ num_rows: rows, columns: chunks }) => {
    const bytes = chunks.reduce(
      (sum, { meta_data: meta }) =>
        sum + (meta?.path_in_schema[0] === column ? Number(meta.total_uncompressed_size) : 0),
      0,
    );
    if (bytes > MAX_GROUP_BYTES)
      throw new InvalidDataError(
        `expected row groups of at most ${MAX_GROUP_BYTES} bytes in ${name}, got one of ${bytes}: write the file ` +
          'with smaller ones (row_group_size)',
      );
    return { start: end, end: (end += Number(rows)) };
  });
  if (end > Number(promised) || end > 2 ** 31 - 1)
    throw new InvalidDataError(`expected ${promised} rows in ${name}, its row groups have ${end}`);
  return groups;
}

/** Those of the chosen columns that are in a file, and not said by its folders. @throws InvalidDataError for others */
function columnsIn(columns: readonly string[], name: string, given: Columns, told: Told): Columns {
  const byFolders: Readonly<Record<string, unknown>> = { label: told.label, group: told.group, split: told.split };
  const isIn = (column: string | undefined) => columns.some((each) => each === column);
  for (const [role, column] of Object.entries(given))
    if (!isIn(column) && byFolders[role] === undefined)
      throw new InvalidDataError(
        `expected a column ${column} in ${name} (columns.${role}), found ${columns.join(', ')}`,
      );
  return Object.fromEntries(Object.entries(given).filter(([, column]) => isIn(column)));
}

function featuresOf({ key_value_metadata: pairs }: FileMetaData): Record<string, Feature> {
  try {
    const { info } = JSON.parse(pairs?.find(({ key }) => key === 'huggingface')?.value ?? '{}') as {
      info?: { features?: Record<string, Feature> };
    };
    return info?.features ?? {};
  } catch {
    return {};
  }
}

function classOf(value: Value, names: readonly string[] | undefined): string | undefined {
  // Text that the schema does not call so comes as bytes.
  if (typeof value === 'string' || value instanceof Uint8Array) return nameOfBytes(Buffer.from(value)) || undefined;
  if (value === null) return undefined;
  if (typeof value !== 'boolean' && (value < 0 || Number.isNaN(Number(value)))) return undefined;
  return names && typeof value !== 'boolean' ? names[Number(value)] : String(value);
}
