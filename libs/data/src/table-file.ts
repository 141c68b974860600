/** Tables of text: CSV (RFC 4180), TSV, JSON and JSON Lines, and lists of words without a head. */
import { isImageOrSound } from '#libs/contracts';
import { InvalidDataError } from './invalid-data.js';

/** Rows by the names of their columns; what a row lacks is empty. */
export interface TableFile {
  columns: readonly string[];
  rows: ReadonlyMap<string, string>[];
}

/** Names that `columnsOfHead` knows as the head of a table rather than its first row. */
type IsHead = (cells: readonly string[]) => boolean;

/**
 * By the file's ending; columns without a head are called 1, 2 and so on.
 * @throws InvalidDataError for text that is no table of its kind.
 */
export function parseTable(name: string, text: string, isHead: IsHead): TableFile {
  const plain = text.replace(/^\ufeff/, '');
  if (/\.(jsonl|ndjson)$/i.test(name)) return tableOfLines(name, plain);
  if (/\.json$/i.test(name)) return tableOfJson(name, plain);
  const records = recordsIn(name, plain).filter((cells) => cells.some((cell) => cell !== ''));
  const [first, ...rest] = records;
  if (!first) throw new InvalidDataError(`expected rows in ${name}, it is empty`);
  const hasHead = isHead(first);
  const columns = hasHead ? first.map((cell) => cell.trim()) : first.map((_, i) => String(i + 1));
  const rows = (hasHead ? rest : records).map((cells) => new Map(columns.map((column, i) => [column, cells[i] ?? ''])));
  return { columns, rows };
}

function recordsIn(name: string, text: string): string[][] {
  if (/\.tsv$/i.test(name)) return separated(text, '\t');
  if (/\.csv$/i.test(name)) {
    // The line in which Excel says it.
    const [line, told] = /^sep=([^\r\n])(?:\r?\n|$)/i.exec(text) ?? [];
    if (line !== undefined) return separated(text.slice(line.length), told!);
    const [head = ''] = text.split(/\r?\n/, 1);
    const separator = [',', ';', '\t', '|'].reduce((best, each) =>
      head.split(each).length > head.split(best).length ? each : best,
    );
    return separated(text, separator);
  }
  const lines = text
    .split(/\r\n?|\n/)
    .map((line) => line.trim())
    .filter((line) => line !== '');
  return cellsOf(lines, /\t+/) ?? cellsOf(lines, /,/, 1) ?? lines.map((line) => line.split(/\s+/));
}

/**
 * Cells with anything else than this separator in them, such as blanks; undefined where not every line, but for a head,
 * has a file among the first `most` of them.
 */
function cellsOf(lines: readonly string[], separator: RegExp, most?: number): string[][] | undefined {
  const cells = lines.map((line) => line.split(separator).map((cell) => cell.trim()));
  const fits = (line: readonly string[]) => line.length > 1 && line.slice(0, most).some(isImageOrSound);
  return cells.every((line, i) => (i === 0 && lines.length > 1 ? line.length > 1 : fits(line))) ? cells : undefined;
}

/** Cells may be quoted, with separators, line ends and doubled quotes in them. */
function separated(text: string, separator: string): string[][] {
  const records: string[][] = [];
  let record: string[] = [];
  let at = 0;
  while (at < text.length) {
    let cell = '';
    if (text[at] === '"') {
      for (at++; at < text.length; at++) {
        if (text[at] !== '"') cell += text[at];
        else if (text[at + 1] === '"') cell += text[at++];
        else break;
      }
      at++;
    }
    const start = at;
    while (at < text.length && text[at] !== separator && text[at] !== '\n' && text[at] !== '\r') at++;
    record.push(cell + text.slice(start, at).trim());
    if (text[at] === separator && at + 1 < text.length) at++;
    else {
      if (text[at] === separator) record.push('');
      at += text[at] === '\r' && text[at + 1] === '\n' ? 2 : 1;
      records.push(record);
      record = [];
    }
  }
  if (record.length) records.push(record);
  return records;
}

function tableOfLines(name: string, text: string): TableFile {
  const given = [...text.split('\n').entries()].filter(([, line]) => line.trim() !== '');
  return tableOfObjects(
    name,
    given.map(([i, line]) => objectIn(line, `line ${i + 1} of ${name}`)),
  );
}

/** A list of objects, or one object of files and their labels. @throws InvalidDataError for anything else */
function tableOfJson(name: string, text: string): TableFile {
  const content = parsedJson(text);
  const isValue = (value: unknown) => value === null || writtenOf(value) !== undefined;
  if (Array.isArray(content) && content.every((each) => typeof each === 'object' && each !== null))
    return tableOfObjects(name, content as object[]);
  const isTable = typeof content === 'object' && content !== null && !Array.isArray(content);
  if (!isTable || !Object.values(content).every(isValue))
    throw new InvalidDataError(
      `expected a list of objects, or an object of files and their labels, in ${name}: write it so, or as a CSV with ` +
        'the columns file_name and label',
    );
  return tableOfObjects(
    name,
    Object.entries(content).map(([file, label]) => ({ 1: file, 2: label as unknown })),
  );
}

/** Types of values that are written as texts. */
const WRITTEN = ['string', 'number', 'boolean'];
/** A value of JSON as a cell or a label; undefined for what is none, such as a list. */
export const writtenOf = (value: unknown): string | undefined =>
  WRITTEN.includes(typeof value) ? String(value) : undefined;

function tableOfObjects(name: string, objects: readonly object[]): TableFile {
  const columns = new Set<string>();
  const rows = objects.map((object) => {
    const row = new Map<string, string>();
    for (const [key, value] of Object.entries(object)) {
      columns.add(key);
      const written = writtenOf(value);
      if (written !== undefined) row.set(key, written);
    }
    return row;
  });
  if (rows.length === 0) throw new InvalidDataError(`expected rows in ${name}, it is empty`);
  return { columns: [...columns], rows };
}

function objectIn(line: string, where: string): object {
  const value = parsedJson(line);
  if (typeof value === 'object' && value !== null) return value;
  throw new InvalidDataError(`expected an object of JSON in ${where}, got ${line.slice(0, 40)}`);
}

/** Whether a number may be another one than was written. */
const isRounded = (value: number): boolean => Math.abs(value) > Number.MAX_SAFE_INTEGER;

/**
 * JSON in which numbers of more digits than a number holds are texts, so that no two of them become one. Undefined for
 * what is none.
 */
export function parsedJson(text: string): unknown {
  try {
    return JSON.parse(text, (_, value: unknown, context?: { source?: string }) =>
      typeof value === 'number' && isRounded(value) ? (context?.source ?? value) : value,
    );
  } catch {
    return undefined;
  }
}
