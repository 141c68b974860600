/**
 * IDX, the format of MNIST: `*-images-idx3-ubyte` and `*-labels-idx1-ubyte`, also gzipped; four dimensions for colour.
 */
import { createReadStream } from 'node:fs';
import { createGunzip } from 'node:zlib';
import { splitsOfFiles } from './collections.js';
import type { Source, SourceFile } from './containers.js';
import { InvalidDataError, named } from './invalid-data.js';
import { withoutSplit } from './split-words.js';

export const IDX = /(^|[-_./])(images|labels)[-.]idx\d-ubyte(\.gz)?$/i;
const MAX_COUNT = 20_000_000;
const MAX_SIDE = 10_000;

/** What images and labels of one set have in common. A file can lie in a folder that is called like it. */
function keyOf(name: string): string {
  const parts = name.split('/');
  if (IDX.test(parts.at(-2) ?? '')) parts.splice(-2, 1);
  return parts.join('/').replace(/(images|labels)[-.]idx\d-ubyte(\.gz)?$/i, '');
}

interface Pair {
  name: string;
  images: string;
  labels: string;
  index: number;
  shape: [number, number, 1 | 3];
}

/**
 * `train-` and `t10k-` (or `test-`) are splits. @throws InvalidDataError for files that are damaged or don't belong
 * together, and for those of several datasets.
 */
export async function openIdx(paths: readonly { name: string; path: string }[]): Promise<Source> {
  const byKind = (kind: string) =>
    new Map(
      paths
        .filter(({ name }) => IDX.exec(name)?.[2]!.toLowerCase() === kind)
        // Where a file is there packed and unpacked, the unpacked one comes last and stays.
        .sort((a, b) => Number(/\.gz$/i.test(b.name)) - Number(/\.gz$/i.test(a.name)))
        .map((file) => [keyOf(file.name), file] as const),
    );
  const [images, labels] = [byKind('images'), byKind('labels')];
  const lone = [...images].find(([key]) => !labels.has(key)) ?? [...labels].find(([key]) => !images.has(key));
  if (lone) throw new InvalidDataError(`expected both images and labels, found only ${lone[1].name}`);
  requireOneSet([...images.keys()]);
  const { taken, leftOut } = splitsOfFiles([...images].map(([key, file]) => ({ ...file, key })));
  const files: SourceFile[] = [];
  const pairs: Pair[] = [];
  for (const { key, name, path, split } of taken.sort((a, b) => (a.key < b.key ? -1 : 1))) {
    const values = await read(labels.get(key)!, 1);
    const { dimensions } = await read({ name, path }, 0);
    const [count, height, width, channels = 1] = dimensions;
    if (
      dimensions.length < 3 ||
      dimensions.length > 4 ||
      !height ||
      !width ||
      height > MAX_SIDE ||
      width > MAX_SIDE ||
      (channels !== 1 && channels !== 3)
    )
      throw new InvalidDataError(
        `expected ${name} to have the dimensions count, height, width (and channels, 1 or 3), got ` +
          `${dimensions.join(' x ')}`,
      );
    if (values.dimensions.join() !== String(count))
      throw new InvalidDataError(
        `expected as many labels as the ${count} images of ${name}, got ${values.dimensions.join(' x ')}`,
      );
    pairs.push({
      name,
      images: path,
      labels: labels.get(key)!.path,
      index: files.length,
      shape: [height, width, channels],
    });
    for (const [row, label] of values.items[0]!.entries())
      files.push({ name: `${name}, row ${row}`, className: String(label), group: null, split });
  }
  return {
    files,
    ignored: [],
    leftOut,
    unread: [],
    lostClasses: [],
    read: async (visit, signal) => {
      for (const {
        name,
        images: path,
        index,
        shape: [height, width, channels],
      } of pairs) {
        await stream({ name, path }, height * width * channels, (row, data) => {
          signal.throwIfAborted();
          return visit(index + row, { data, height, width, channels }, 'sample');
        });
      }
    },
  };
}

/** @throws InvalidDataError where the files are of more than one dataset, such as those of EMNIST. */
function requireOneSet(keys: readonly string[]): void {
  const sets = [...new Set(keys.map(withoutSplit))].sort();
  if (sets.length > 1)
    throw new InvalidDataError(
      `expected the IDX files of one dataset, found those of ${sets.length} ` +
        `(${named(sets.map((set) => set || 'no name'))}): give each a folder of its own`,
    );
}

/** The dimensions, and `wanted` times everything behind them. */
async function read(
  file: { name: string; path: string },
  wanted: 0 | 1,
): Promise<{ dimensions: number[]; items: Buffer[] }> {
  const items: Buffer[] = [];
  const dimensions = await stream(
    file,
    undefined,
    wanted === 0
      ? undefined
      : (_, data) => {
          items.push(data);
        },
  );
  return { dimensions, items };
}

/** Reads items of so many bytes, by default all as one; only the header without `visit`. */
async function stream(
  { name, path }: { name: string; path: string },
  itemBytes: number | undefined,
  visit?: (row: number, item: Buffer) => Promise<void> | void,
): Promise<number[]> {
  const bytes = chunksOf(name, path);
  let pending: Buffer = Buffer.alloc(0);
  const take = async (length: number): Promise<Buffer> => {
    const parts: Buffer[] = [pending];
    for (let have = pending.length; have < length;) {
      const { done, value } = await bytes.next();
      if (done) throw new InvalidDataError(`expected ${name} to be a whole IDX file, it ends early`);
      parts.push(value);
      have += value.length;
    }
    const all = parts.length === 1 ? pending : Buffer.concat(parts);
    pending = all.subarray(length);
    return all.subarray(0, length);
  };
  try {
    const magic = await take(4);
    if (magic[0] !== 0 || magic[1] !== 0 || magic[2] !== 8 || magic[3]! < 1 || magic[3]! > 4)
      throw new InvalidDataError(
        `expected ${name} to be an IDX file of bytes, it begins with ${magic.toString('hex')}`,
      );
    const header = await take(4 * magic[3]!);
    const dimensions = Array.from({ length: magic[3]! }, (_, i) => header.readUInt32BE(4 * i));
    if (dimensions[0]! > MAX_COUNT)
      throw new InvalidDataError(`expected at most ${MAX_COUNT} items in ${name}, got ${dimensions[0]}`);
    if (visit) {
      const rows = itemBytes === undefined ? 1 : dimensions[0]!;
      const length = itemBytes ?? dimensions[0]!;
      for (let row = 0; row < rows; row++) await visit(row, await take(length));
    }
    return dimensions;
  } finally {
    await bytes.return(undefined);
  }
}

async function* chunksOf(name: string, path: string): AsyncGenerator<Buffer, undefined> {
  const file = createReadStream(path);
  const unpacked = /\.gz$/i.test(path) ? file.pipe(createGunzip()) : file;
  file.on('error', (error) => unpacked.destroy(error));
  try {
    for await (const chunk of unpacked) yield chunk as Buffer;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!code?.startsWith('Z_')) throw error;
    throw new InvalidDataError(`expected ${name} to be a whole gzip file: ${message}`);
  } finally {
    file.destroy();
  }
  return undefined;
}
