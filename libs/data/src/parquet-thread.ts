/**
 * Unpacks Parquet in a thread of its own, which the one that asks can end. It imports none of our modules: Node runs it
 * as it is, from the sources too.
 */
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  snappyUncompress,
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

/** What pages may unpack to beyond what the metadata promises: some writers count otherwise. */
const UNPROMISED_BYTES = 64 * 2 ** 20;

type Unpack = (bytes: Uint8Array, options: { maxOutputLength: number }) => Uint8Array;
const bounded = (unpack: Unpack) => (bytes: Uint8Array, length: number) =>
  unpack(bytes, { maxOutputLength: Math.max(length, 1) });
const UNPACKERS = {
  SNAPPY: (bytes: Uint8Array, length: number) => {
    const unpacked = new Uint8Array(length);
    snappyUncompress(bytes, unpacked);
    return unpacked;
  },
  GZIP: bounded(gunzipSync),
  ZSTD: bounded(zstdDecompressSync),
  BROTLI: bounded(brotliDecompressSync),
  LZ4_RAW: unpackLz4,
  LZ4: unpackLz4OfHadoop,
};

/**
 * For pages of one column in one row group: what they say of their sizes is held against what the metadata says of all
 * of them, which the one that asks has bounded, before memory is taken for it.
 */
function compressorsFor(column: string, { row_groups: groups }: FileMetaData): Compressors {
  const promised = groups.map(({ columns }) =>
    columns.reduce(
      (sum, { meta_data: meta }) =>
        sum + (meta?.path_in_schema[0] === column ? Number(meta.total_uncompressed_size) : 0),
      0,
    ),
  );
  const most = UNPROMISED_BYTES + Math.max(0, ...promised);
  let taken = 0;
  const within = (unpack: (bytes: Uint8Array, length: number) => Uint8Array) => (bytes: Uint8Array, length: number) => {
    taken += length;
    if (taken > most)
      throw new Error(`its pages unpack to ${taken} bytes, its metadata promises ${most - UNPROMISED_BYTES} at most`);
    return unpack(bytes, length);
  };
  return Object.fromEntries(Object.entries(UNPACKERS).map(([codec, unpack]) => [codec, within(unpack)]));
}

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
        compressors: compressorsFor(column, metadata),
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

/** Bytes that one of LZ4 unpacks to at most. */
const MOST_OF_LZ4 = 256;

/** A block of LZ4: runs of bytes as they are, each followed by a copy of bytes that were unpacked before. */
function unpackLz4(packed: Uint8Array, length: number): Uint8Array {
  if (length > MOST_OF_LZ4 * packed.length) throw new Error('LZ4: the block is damaged');
  const bytes = new Uint8Array(length);
  let [from, to] = [0, 0];
  const next = (): number => {
    if (from >= packed.length) throw new Error('LZ4: the block ends early');
    return packed[from++]!;
  };
  /** Fifteen goes on with further bytes, up to the first that is not 255. */
  const lengthOf = (nibble: number): number => {
    let sum = nibble;
    for (let byte = nibble === 15 ? 255 : 0; byte === 255;) sum += byte = next();
    return sum;
  };
  while (from < packed.length) {
    const token = next();
    const literals = lengthOf(token >> 4);
    if (from + literals > packed.length || to + literals > length) throw new Error('LZ4: the block is damaged');
    bytes.set(packed.subarray(from, from + literals), to);
    from += literals;
    to += literals;
    if (from === packed.length) break;
    const offset = next() | (next() << 8);
    const copied = lengthOf(token & 15) + 4;
    if (offset === 0 || offset > to || to + copied > length) throw new Error('LZ4: the block is damaged');
    for (let i = 0; i < copied; i++, to++) bytes[to] = bytes[to - offset]!;
  }
  if (to !== length) throw new Error(`LZ4: expected ${length} bytes, got ${to}`);
  return bytes;
}

/** Blocks with both of their lengths before them, or, as some writers have it, one without. */
function unpackLz4OfHadoop(packed: Uint8Array, length: number): Uint8Array {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  if (length > MOST_OF_LZ4 * packed.length) throw new Error('LZ4: the block is damaged');
  const bytes = new Uint8Array(length);
  let [from, to] = [0, 0];
  while (from + 8 <= packed.length && to < length) {
    const [unpackedBytes, packedBytes] = [view.getUint32(from), view.getUint32(from + 4)];
    if (from + 8 + packedBytes > packed.length || to + unpackedBytes > length) return unpackLz4(packed, length);
    bytes.set(unpackLz4(packed.subarray(from + 8, from + 8 + packedBytes), unpackedBytes), to);
    from += 8 + packedBytes;
    to += unpackedBytes;
  }
  return to === length ? bytes : unpackLz4(packed, length);
}
