/**
 * The .npy format (NumPy Enhancement Proposal 1), for the types that datasets and embeddings are made of. Strict, and
 * writing as it goes, so that a file can be larger than memory.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { InvalidDataError } from './invalid-data.js';
import { readFully, writeFully } from './positioned-io.js';

const TYPES = { '|u1': Uint8Array, '<i2': Int16Array, '<i4': Int32Array, '<f4': Float32Array } as const;
export type NpyType = keyof typeof TYPES;
export type NpyData<Type extends NpyType> = InstanceType<(typeof TYPES)[Type]>;
export interface NpyArray<Type extends NpyType> {
  shape: number[];
  data: NpyData<Type>;
}

const MAGIC = Buffer.from('\x93NUMPY\x01\x00', 'latin1');
/** Room for any shape, so that the count can be written at the end. */
const HEADER_BYTES = 128;
/** Magic, version and length, then as many bytes as the length can say. */
const MAX_HEADER_BYTES = 10 + 0xffff;

function header(type: NpyType, shape: readonly number[]): Buffer {
  const sides = shape.join(', ') + (shape.length === 1 ? ',' : '');
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${sides}), }`;
  const padded = text.padEnd(HEADER_BYTES - MAGIC.length - 2 - 1, ' ') + '\n';
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  return Buffer.concat([MAGIC, length, Buffer.from(padded, 'latin1')]);
}

/** Appends items of one shape to a file whose first dimension grows. */
export class NpyWriter {
  private count = 0;
  private constructor(
    private readonly file: FileHandle,
    private readonly type: NpyType,
    private readonly itemShape: readonly number[],
  ) {}

  static async create(path: string, type: NpyType, itemShape: readonly number[]): Promise<NpyWriter> {
    const writer = new NpyWriter(await open(path, 'wx'), type, itemShape);
    await writeFully(writer.file, [header(type, [0, ...itemShape])]);
    return writer;
  }

  /** `items` holds a whole number of items, one after the other. */
  async append(items: NpyData<NpyType>): Promise<void> {
    const size = this.itemShape.reduce((product, side) => product * side, 1);
    if (items.length % size !== 0) throw new RangeError(`expected whole items of ${size} numbers, got ${items.length}`);
    this.count += items.length / size;
    await writeFully(this.file, [new Uint8Array(items.buffer, items.byteOffset, items.byteLength)]);
  }

  /** Writes the shape, flushes to disk and closes. */
  async close(): Promise<void> {
    await writeFully(this.file, [header(this.type, [this.count, ...this.itemShape])], 0);
    await this.file.sync();
    await this.file.close();
  }
}

/**
 * What the beginning of a file says of the rest. @throws InvalidDataError for another format, type, order or length.
 */
function describe(
  path: string,
  type: NpyType,
  beginning: Buffer,
  fileBytes: number,
): { shape: number[]; start: number; length: number } {
  if (beginning.length < 10 || !beginning.subarray(0, 6).equals(MAGIC.subarray(0, 6)) || beginning[6] !== 1)
    throw new InvalidDataError(`expected ${path} to be a .npy file of version 1`);
  const start = 10 + beginning.readUInt16LE(8);
  const text = beginning.subarray(10, start).toString('latin1');
  const found = /'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\)/.exec(text);
  if (!found)
    throw new InvalidDataError(`expected ${path} to have a .npy header, got ${JSON.stringify(text.slice(0, 80))}`);
  if (found[1] !== type || found[2] !== 'False')
    throw new InvalidDataError(
      `expected ${path} to hold ${type} in C order, got ${found[1]}${found[2] === 'True' ? ' in Fortran order' : ''}`,
    );
  const shape = found[3]!
    .split(',')
    .map((side) => side.trim())
    .filter(Boolean)
    .map(Number);
  const length = shape.reduce((product, side) => product * side, 1);
  if (fileBytes - start !== length * TYPES[type].BYTES_PER_ELEMENT)
    throw new InvalidDataError(
      `expected ${path} to hold ${length} numbers of shape [${shape.join(', ')}], its data has ` +
        `${fileBytes - start} bytes`,
    );
  return { shape, start, length };
}

/** What an open file says of its array. */
async function describeFile(
  path: string,
  type: NpyType,
  file: FileHandle,
): Promise<{ shape: number[]; start: number; length: number }> {
  const { size } = await file.stat();
  const beginning = Buffer.alloc(Math.min(size, MAX_HEADER_BYTES));
  await readFully(file, beginning, 0);
  return describe(path, type, beginning, size);
}

/** Reads a whole array. @throws InvalidDataError for another format, type, order or length. */
export async function readNpy<Type extends NpyType>(path: string, type: Type): Promise<NpyArray<Type>> {
  const file = await open(path);
  try {
    const { shape, start, length } = await describeFile(path, type, file);
    const data = new TYPES[type](length) as NpyData<Type>;
    await readFully(file, new Uint8Array(data.buffer), start);
    return { shape, data };
  } finally {
    await file.close();
  }
}

/** Arrays of at most so many bytes are read at once and kept; of larger ones each row is read when it is asked for. */
export const MEMORY_LIMIT = 512 * 2 ** 20;

/**
 * An array whose rows (along its first dimension) are read one by one: from memory, or by position from an open file,
 * where the system's page cache keeps what is read often. Whoever opened it closes it.
 */
export class Rows<Type extends NpyType = NpyType> {
  /** How many numbers a row has. */
  readonly size: number;

  private constructor(
    readonly shape: readonly number[],
    private readonly kept: NpyData<Type> | undefined,
    private readonly file?: { path: string; descriptor: number; start: number; row: NpyData<Type>; bytes: Uint8Array },
  ) {
    this.size = shape.slice(1).reduce((product, side) => product * side, 1);
  }

  static of<Type extends NpyType>(shape: readonly number[], data: NpyData<Type>): Rows<Type> {
    return new Rows<Type>(shape, data);
  }

  /** @throws InvalidDataError for another format, type, order or length. */
  static async open<Type extends NpyType>(path: string, type: Type, memoryLimit = MEMORY_LIMIT): Promise<Rows<Type>> {
    const handle = await open(path);
    try {
      const { size: fileBytes } = await handle.stat();
      if (fileBytes <= memoryLimit) {
        const { shape, data } = await readNpy(path, type);
        return new Rows<Type>(shape, data);
      }
      const { shape, start, length } = await describeFile(path, type, handle);
      const row = new TYPES[type](shape[0] === 0 ? 0 : length / shape[0]!) as NpyData<Type>;
      return new Rows<Type>(shape, undefined, {
        path,
        descriptor: openSync(path, 'r'),
        start,
        row,
        bytes: new Uint8Array(row.buffer),
      });
    } finally {
      await handle.close();
    }
  }

  /** One row. What it returns is valid until the next call. @throws RangeError where there is no such row. */
  read(row: number): NpyData<Type> {
    const { kept, file, size } = this;
    if (!file) {
      this.requireRow(row);
      return kept!.subarray(row * size, (row + 1) * size) as NpyData<Type>;
    }
    this.readBytes(row, file.bytes);
    return file.row;
  }

  /**
   * One row, into `into` from its number `at` on: from a file without a copy in between.
   * @throws RangeError where there is no such row.
   */
  readInto(row: number, into: NpyData<Type>, at: number): void {
    const { kept, file, size } = this;
    if (file) {
      const { BYTES_PER_ELEMENT: width } = into;
      this.readBytes(row, new Uint8Array(into.buffer, into.byteOffset + at * width, size * width));
      return;
    }
    this.requireRow(row);
    into.set(kept!.subarray(row * size, (row + 1) * size), at);
  }

  private requireRow(row: number): void {
    if (!(row >= 0 && row < this.shape[0]!))
      throw new RangeError(`expected a row from 0 to ${this.shape[0]! - 1}, got ${row}`);
  }

  private readBytes(row: number, into: Uint8Array): void {
    this.requireRow(row);
    const { path, start, descriptor } = this.file!;
    for (let done = 0; done < into.length;) {
      const read = readSync(descriptor, into, done, into.length - done, start + row * into.length + done);
      if (read === 0)
        throw new InvalidDataError(`expected ${path} to stay as it was when it was opened, row ${row} is gone`);
      done += read;
    }
  }

  close(): void {
    if (this.file) closeSync(this.file.descriptor);
  }
}
