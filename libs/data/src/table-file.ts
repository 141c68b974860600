/** Tables of text: CSV (RFC 4180), TSV, JSON Lines, and lists of words without a head. */
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
  if (/\.(jsonl|ndjson)$/i.test(name)) return tableOfJson(name, plain);
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
    const [head = ''] = text.split(/\r?\n/, 1);
    const separator = [',', ';', '\t'].reduce((best, each) =>
      head.split(each).length > head.split(best).length ? each : best,
    );
    return separated(text, separator);
  }
  return text.split(/\r?\n/).map((line) => line.trim().split(/\s+/));
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

function tableOfJson(name: string, text: string): TableFile {
  const columns = new Set<string>();
  const rows: Map<string, string>[] = [];
  for (const [i, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue;
    const row = new Map<string, string>();
    for (const [key, value] of Object.entries(objectIn(line, `line ${i + 1} of ${name}`))) {
      columns.add(key);
      if (['string', 'number', 'boolean'].includes(typeof value)) row.set(key, String(value));
    }
    rows.push(row);
  }
  if (rows.length === 0) throw new InvalidDataError(`expected rows in ${name}, it is empty`);
  return { columns: [...columns], rows };
}

function objectIn(line: string, where: string): object {
  try {
    const value = JSON.parse(line) as unknown;
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Told below, as what is no object.
  }
  throw new InvalidDataError(`expected an object of JSON in ${where}, got ${line.slice(0, 40)}`);
}
