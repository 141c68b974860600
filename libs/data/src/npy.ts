/**
 * The .npy format (NumPy Enhancement Proposal 1), for the types that datasets and embeddings are made of. Strict, and writing as it
 * goes, so that a file can be larger than memory.
 */
import { open, readFile, type FileHandle } from 'node:fs/promises';

/** The data that a user gave is at fault. The run fails with this message and the worker goes on. */
export class InvalidDataError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'InvalidDataError';
  }
}

const TYPES = { '|u1': Uint8Array, '<i2': Int16Array, '<i4': Int32Array, '<f4': Float32Array } as const;
export type NpyType = keyof typeof TYPES;
export type NpyData<Type extends NpyType> = InstanceType<(typeof TYPES)[Type]>;
export interface NpyArray<Type extends NpyType> { shape: number[]; data: NpyData<Type> }

const MAGIC = Buffer.from('\x93NUMPY\x01\x00', 'latin1');
/** Room for any shape, so that the count can be written at the end. */
const HEADER_BYTES = 128;

function header(type: NpyType, shape: readonly number[]): Buffer {
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape.join(', ')}${shape.length === 1 ? ',' : ''}), }`;
  const padded = text.padEnd(HEADER_BYTES - MAGIC.length - 2 - 1, ' ') + '\n';
  const length = Buffer.alloc(2);
  length.writeUInt16LE(padded.length);
  return Buffer.concat([MAGIC, length, Buffer.from(padded, 'latin1')]);
}

/** Appends items of one shape to a file whose first dimension grows. */
export class NpyWriter {
  private count = 0;
  private constructor(private readonly file: FileHandle, private readonly type: NpyType, private readonly itemShape: readonly number[]) {}

  static async create(path: string, type: NpyType, itemShape: readonly number[]): Promise<NpyWriter> {
    const writer = new NpyWriter(await open(path, 'wx'), type, itemShape);
    await writer.file.write(header(type, [0, ...itemShape]));
    return writer;
  }

  /** `items` holds a whole number of items, one after the other. */
  async append(items: NpyData<NpyType>): Promise<void> {
    const size = this.itemShape.reduce((product, side) => product * side, 1);
    if (items.length % size !== 0) throw new RangeError(`expected whole items of ${size} numbers, got ${items.length}`);
    this.count += items.length / size;
    await this.file.writeFile(new Uint8Array(items.buffer, items.byteOffset, items.byteLength));
  }

  /** Writes the shape, flushes to disk and closes. */
  async close(): Promise<void> {
    await this.file.write(header(this.type, [this.count, ...this.itemShape]), 0, HEADER_BYTES, 0);
    await this.file.sync();
    await this.file.close();
  }
}

/** Reads a whole array. @throws InvalidDataError for another format, type, order or length. */
export async function readNpy<Type extends NpyType>(path: string, type: Type): Promise<NpyArray<Type>> {
  const bytes = await readFile(path);
  if (bytes.length < 10 || !bytes.subarray(0, 6).equals(MAGIC.subarray(0, 6)) || bytes[6] !== 1) throw new InvalidDataError(`expected ${path} to be a .npy file of version 1`);
  const start = 10 + bytes.readUInt16LE(8);
  const text = bytes.subarray(10, start).toString('latin1');
  const found = /'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \(([0-9, ]*)\)/.exec(text);
  if (!found) throw new InvalidDataError(`expected ${path} to have a .npy header, got ${JSON.stringify(text.slice(0, 80))}`);
  if (found[1] !== type || found[2] !== 'False') throw new InvalidDataError(`expected ${path} to hold ${type} in C order, got ${found[1]}${found[2] === 'True' ? ' in Fortran order' : ''}`);
  const shape = found[3]!.split(',').map((side) => side.trim()).filter(Boolean).map(Number);
  const length = shape.reduce((product, side) => product * side, 1);
  const { BYTES_PER_ELEMENT: width } = TYPES[type];
  if (bytes.length - start !== length * width) throw new InvalidDataError(`expected ${path} to hold ${length} numbers of shape [${shape.join(', ')}], its data has ${bytes.length - start} bytes`);
  // Typed arrays need an aligned start; the header has a length that gives one, but only in files of ours.
  const data = bytes.byteOffset % width === 0 && start % width === 0 ? bytes.buffer : new Uint8Array(bytes).buffer;
  const offset = data === bytes.buffer ? bytes.byteOffset + start : start;
  return { shape, data: new TYPES[type](data, offset, length) as NpyData<Type> };
}
