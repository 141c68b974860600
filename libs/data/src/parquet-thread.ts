/**
 * Unpacks Parquet in a thread of its own, which the one that asks can end. It imports none of our modules: Node runs it
 * as it is, from the sources too.
 */
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
} from 'hyparquet';
import { parentPort } from 'node:worker_threads';
import { brotliDecompressSync, gunzipSync, zstdDecompressSync } from 'node:zlib';

/**
 * The metadata of a file, or values of a column: of the rows from `start`, which lie in a row group that ends at `end`,
 * as many as fit into one answer.
 */
export type Question =
  { path: string; column?: undefined } | { path: string; column: string; start: number; end: number };
/** Bytes (in a struct or not), text, a number, a truth value, null for all else. */
export type Value = Uint8Array | string | number | bigint | boolean | null;
/** `alive` comes any number of times before the answer. */
export type Answer =
  'alive' | { metadata: FileMetaData } | { values: Value[] } | { message: string; code: string | undefined };

const ANSWER_BYTES = 8 * 2 ** 20;
const VALUE_BYTES = 32;

type Unpack = (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
const bounded = (unpack: Unpack) => (bytes: Uint8Array, length: number) =>
  unpack(bytes, { maxOutputLength: Math.max(length, 1) });
/** Snappy is in hyparquet itself. */
const compressors: Compressors = {
  GZIP: bounded(gunzipSync),
  ZSTD: bounded(zstdDecompressSync),
  BROTLI: bounded(brotliDecompressSync),
};

const port = parentPort!;
const say = (answer: Answer, transfer: ArrayBuffer[] = []): void => port.postMessage(answer, transfer);
/** The file and the row group that were asked for last. */
let opened: { path: string; file: AsyncBuffer; metadata: FileMetaData } | undefined;
let unpacked: { path: string; column: string; start: number; end: number; rows: Record<string, unknown>[] } | undefined;

async function open(path: string): Promise<NonNullable<typeof opened>> {
  if (opened?.path === path) return opened;
  const file = await asyncBufferFromFile(path);
  return (opened = { path, file, metadata: await parquetMetadataAsync(file) });
}

async function answer(question: Question): Promise<void> {
  const { path, column } = question;
  const { file, metadata } = await open(path);
  if (column === undefined) return say({ metadata });
  const { start, end } = question;
  if (unpacked?.path !== path || unpacked.column !== column || unpacked.end !== end || unpacked.start > start) {
    // Not two at a time.
    unpacked = undefined;
    unpacked = {
      path,
      column,
      start,
      end,
      rows: await parquetReadObjects({
        file,
        metadata,
        compressors,
        columns: [column],
        rowStart: start,
        rowEnd: end,
        utf8: false,
        onPage: () => say('alive'),
      }),
    };
  }
  const values: Value[] = [];
  const transfer: ArrayBuffer[] = [];
  for (let row = start, size = 0; row < end && size < ANSWER_BYTES; row++) {
    const value = valueOf(unpacked.rows[row - unpacked.start]![column]);
    values.push(value);
    size += VALUE_BYTES;
    if (!(value instanceof Uint8Array)) continue;
    size += value.length;
    transfer.push(value.buffer as ArrayBuffer);
  }
  say({ values }, transfer);
}

/** Bytes are copied out of their page, which others lie in, too. */
function valueOf(cell: unknown): Value {
  if (typeof cell === 'string' || typeof cell === 'number' || typeof cell === 'bigint' || typeof cell === 'boolean')
    return cell;
  const bytes = cell instanceof Uint8Array ? cell : (cell as { bytes?: unknown } | null | undefined)?.bytes;
  return bytes instanceof Uint8Array ? new Uint8Array(bytes) : null;
}

port.on('message', (question: Question) => {
  void answer(question).catch(({ message, code }: NodeJS.ErrnoException) => say({ message, code }));
});
