/**
 * Checkpoints of TensorFlow: a table of their tensors (`NAME.index`), and the numbers beside it
 * (`NAME.data-00000-of-00001`). TensorFlow's tensor_bundle.proto and table_format.txt say what lies where. Nothing that
 * a file says is believed before it was checked.
 */
import { insideRoot, InvalidDataError, readFully } from '#libs/data';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { BYTES_OF, floatsOf, type TensorEntry, type TensorFile } from './tensor-file.js';

/** Bytes of an index: names and places of tensors, no numbers. */
const LONGEST_INDEX = 64 * 2 ** 20;
const MOST_SHARDS = 10_000;
const FOOTER_BYTES = 48;
const MAGIC = 0xdb4775248b80fb57n;
/** Behind each block: how it is packed, and a checksum. */
const TRAILER_BYTES = 5;
/** DataType of types.proto: those whose numbers are read, and whole numbers such as a count of steps. */
const TYPES: Readonly<Record<number, TensorEntry['dtype']>> = { 1: 'F32', 19: 'F16', 14: 'BF16', 9: 'I64' };

/** Reads numbers of a variable length and texts from bytes, and never beyond them. */
class Cursor {
  at = 0;

  constructor(
    private readonly bytes: Buffer,
    private readonly refused: (why: string) => Error,
  ) {}

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  varint(): number {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (value > BigInt(Number.MAX_SAFE_INTEGER)) break;
        return Number(value);
      }
    }
    throw this.refused('its index is cut off');
  }

  take(length: number): Buffer {
    if (length > this.bytes.length - this.at) throw this.refused('its index is cut off');
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

/** Fields of a protobuf message: numbers by their field, and bytes. */
function fieldsOf(bytes: Buffer, refused: (why: string) => Error): { field: number; value: number | Buffer }[] {
  const cursor = new Cursor(bytes, refused);
  const fields: { field: number; value: number | Buffer }[] = [];
  while (!cursor.done) {
    const tag = cursor.varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    if (wire === 0) fields.push({ field, value: cursor.varint() });
    else if (wire === 2) fields.push({ field, value: cursor.take(cursor.varint()) });
    else if (wire === 5) fields.push({ field, value: cursor.take(4) });
    else if (wire === 1) fields.push({ field, value: cursor.take(8) });
    else throw refused('its index has an entry that is none');
  }
  return fields;
}

/** Key and value of each entry of a block, whose keys begin as those before them. */
function* entriesOf(block: Buffer, refused: (why: string) => Error): Generator<[key: string, value: Buffer]> {
  if (block.length < 4) throw refused('its index has a block without entries');
  const restarts = block.readUInt32LE(block.length - 4);
  if (4 * (restarts + 1) > block.length) throw refused('its index has a block that is cut off');
  const cursor = new Cursor(block.subarray(0, block.length - 4 * (restarts + 1)), refused);
  let key = Buffer.alloc(0);
  while (!cursor.done) {
    const [shared, own, length] = [cursor.varint(), cursor.varint(), cursor.varint()];
    if (shared > key.length) throw refused('its index has a name that begins as none before it');
    key = Buffer.concat([key.subarray(0, shared), cursor.take(own)]);
    yield [key.toString('utf8'), cursor.take(length)];
  }
}

interface Place extends TensorEntry {
  shard: number;
}

export class TensorBundle implements TensorFile {
  readonly metadata = {};

  private constructor(
    private readonly shards: readonly FileHandle[],
    readonly tensors: ReadonlyMap<string, Place>,
  ) {}

  /**
   * @param target the path of the index below the data root
   * @throws InvalidDataError for what is no such checkpoint, is cut off or leads out of the data root
   */
  static async open(target: string, dataRoot: string): Promise<TensorBundle> {
    const refused = (why: string) =>
      new InvalidDataError(`expected ${target} to be the index of a whole checkpoint of TensorFlow: ${why}`);
    const { found } = await insideRoot(dataRoot, target, 'the index of a checkpoint');
    const info = await stat(found);
    if (!info.isFile()) throw refused('it is no file');
    if (info.size < FOOTER_BYTES || info.size > LONGEST_INDEX) throw refused(`it has ${info.size} bytes`);
    const index = Buffer.alloc(info.size);
    const handle = await open(found);
    try {
      await readFully(handle, index, 0);
    } finally {
      await handle.close();
    }
    const { shards: count, entries } = readIndex(index, refused);
    const shards: FileHandle[] = [];
    try {
      const sizes: number[] = [];
      for (let shard = 0; shard < count; shard++) {
        const number = (value: number) => String(value).padStart(5, '0');
        const beside = target.replace(/\.index$/, `.data-${number(shard)}-of-${number(count)}`);
        const data = await insideRoot(dataRoot, beside, 'the numbers of a checkpoint');
        shards.push(await open(data.found));
        sizes.push((await shards.at(-1)!.stat()).size);
      }
      for (const [name, { shard, end }] of entries)
        if (end > (sizes[shard] ?? -1)) throw refused(`${name} lies outside of the files beside it`);
      return new TensorBundle(shards, entries);
    } catch (error) {
      for (const shard of shards) await shard.close();
      throw error;
    }
  }

  async floats(name: string): Promise<Float32Array> {
    const { dtype, begin, end, shard } = this.tensors.get(name)!;
    const bytes = new Uint8Array(end - begin);
    await readFully(this.shards[shard]!, bytes, begin);
    return floatsOf(name, dtype, bytes);
  }

  async close(): Promise<void> {
    for (const shard of this.shards) await shard.close();
  }
}

/** What an index says: how many files of numbers there are, and where each tensor lies. */
function readIndex(index: Buffer, refused: (why: string) => Error): { shards: number; entries: Map<string, Place> } {
  const footer = index.subarray(index.length - FOOTER_BYTES);
  if (footer.readBigUInt64LE(FOOTER_BYTES - 8) !== MAGIC) throw refused('it does not end as one');
  const blockAt = (cursor: Cursor): Buffer => {
    const [offset, size] = [cursor.varint(), cursor.varint()];
    if (offset + size + TRAILER_BYTES > index.length) throw refused('its index is cut off');
    if (index[offset + size] !== 0) throw refused('its index is packed');
    return index.subarray(offset, offset + size);
  };
  const ends = new Cursor(footer, refused);
  ends.varint();
  ends.varint();
  let shards = 0;
  const entries = new Map<string, Place>();
  for (const [, handle] of entriesOf(blockAt(ends), refused))
    for (const [name, value] of entriesOf(blockAt(new Cursor(handle, refused)), refused)) {
      const fields = fieldsOf(value, refused);
      const number = (field: number): number => {
        const found = fields.findLast((each) => each.field === field)?.value ?? 0;
        return typeof found === 'number' ? found : 0;
      };
      if (name === '') {
        shards = number(1);
        if (shards < 1 || shards > MOST_SHARDS || number(2) !== 0)
          throw refused(number(2) === 0 ? `it is of ${shards} files` : 'its numbers have their highest byte first');
        continue;
      }
      const dtype = TYPES[number(1)];
      if (fields.some(({ field }) => field === 7)) throw refused(`${name} lies in slices`);
      // Texts and the like are no weights.
      if (!dtype) continue;
      const dimensions = fields.flatMap(({ field, value: shape }) =>
        field === 2 && typeof shape !== 'number' ? fieldsOf(shape, refused) : [],
      );
      const shape = dimensions.flatMap(({ field, value: side }) => {
        if (field !== 2 || typeof side === 'number') return [];
        const size = fieldsOf(side, refused).find((each) => each.field === 1)?.value ?? 0;
        return typeof size === 'number' ? [size] : [];
      });
      const [begin, size] = [number(4), number(5)];
      const bytes = shape.reduce((product, side) => product * side, BYTES_OF[dtype]);
      if (bytes !== size || !Number.isSafeInteger(begin + size))
        throw refused(`${name} of shape [${shape.join(', ')}] should have ${bytes} bytes, it has ${size}`);
      entries.set(name, { dtype, shape, begin, end: begin + size, shard: number(3) });
    }
  if (shards === 0) throw refused('it does not say of how many files it is');
  return { shards, entries };
}
