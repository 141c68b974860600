/**
 * Safetensors files of other programs: 8 bytes of little-endian length, a JSON header, the tensors one behind another.
 * Nothing that a file says is believed before it was checked.
 */
import { InvalidDataError, readFully } from '#libs/data';
import { open, type FileHandle } from 'node:fs/promises';
import { BYTES_OF, floatsOf, type Dtype, type TensorEntry, type TensorFile } from './tensor-file.js';

/** Bytes of a header, as the format's own reader has it. */
const LONGEST_HEADER = 100_000_000;
const MOST_DIMENSIONS = 8;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const areCounts = (value: unknown): value is number[] =>
  Array.isArray(value) && value.every((each) => Number.isSafeInteger(each) && (each as number) >= 0);

export class SafetensorsFile implements TensorFile {
  private constructor(
    private readonly handle: FileHandle,
    private readonly dataStart: number,
    readonly tensors: ReadonlyMap<string, TensorEntry>,
    readonly metadata: Readonly<Record<string, string>>,
  ) {}

  /**
   * Opens a file and checks its header against its size: tensors lie one behind another and fill it.
   * @param shown what the file is called in messages
   * @throws InvalidDataError for a file of another format, one that is cut off, and types of numbers that are not read
   */
  static async open(file: string, shown: string): Promise<SafetensorsFile> {
    const handle = await open(file);
    try {
      const { size } = await handle.stat();
      const { header, dataStart } = await headerOf(handle, size, shown);
      const { __metadata__: metadata = {}, ...entries } = header;
      const tensors = new Map(
        Object.entries(entries).map(([name, entry]) => [name, checkedEntry(name, entry, size - dataStart, shown)]),
      );
      requireFilled([...tensors.values()], size - dataStart, shown);
      if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== 'string'))
        throw refused(shown, 'its __metadata__ is no map of texts');
      return new SafetensorsFile(handle, dataStart, tensors, metadata as Record<string, string>);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async floats(name: string): Promise<Float32Array> {
    const { dtype, begin, end } = this.tensors.get(name)!;
    const bytes = new Uint8Array(end - begin);
    await readFully(this.handle, bytes, this.dataStart + begin);
    return floatsOf(name, dtype, bytes);
  }

  close = (): Promise<void> => this.handle.close();
}

const refused = (shown: string, why: string) =>
  new InvalidDataError(`expected ${shown} to be a whole safetensors file: ${why}`);

async function headerOf(
  handle: FileHandle,
  size: number,
  shown: string,
): Promise<{ header: Record<string, unknown>; dataStart: number }> {
  if (size < 8) throw refused(shown, `it has ${size} bytes`);
  const eight = Buffer.alloc(8);
  await readFully(handle, eight, 0);
  const length = Number(eight.readBigUInt64LE());
  if (length > Math.min(LONGEST_HEADER, size - 8))
    throw refused(shown, `its header should have ${length} bytes, it has ${size} in all`);
  const json = Buffer.alloc(length);
  await readFully(handle, json, 8);
  let header: unknown;
  try {
    header = JSON.parse(json.toString('utf8'));
  } catch {
    throw refused(shown, 'its header is no JSON');
  }
  if (!isObject(header)) throw refused(shown, 'its header is no JSON object');
  return { header, dataStart: 8 + length };
}

/** An entry of the header, whose bytes are as many as its shape says and lie in the file. */
function checkedEntry(name: string, entry: unknown, available: number, shown: string): TensorEntry {
  if (!isObject(entry)) throw refused(shown, `${name} is no description of a tensor`);
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Object.hasOwn(BYTES_OF, dtype))
    throw refused(shown, `${name} has numbers of type ${String(dtype)}, expected ${Object.keys(BYTES_OF).join(', ')}`);
  if (!areCounts(shape) || shape.length > MOST_DIMENSIONS) throw refused(shown, `the shape of ${name} is none`);
  if (!areCounts(offsets) || offsets.length !== 2) throw refused(shown, `the place of ${name} is none`);
  const [begin, end] = offsets as [number, number];
  const bytes = shape.reduce((product, side) => product * side, BYTES_OF[dtype as Dtype]);
  if (begin > end || end > available) throw refused(shown, `${name} lies outside of it`);
  if (bytes !== end - begin)
    throw refused(shown, `${name} of shape [${shape.join(', ')}] should have ${bytes} bytes, it has ${end - begin}`);
  return { dtype: dtype as Dtype, shape, begin, end };
}

/** Tensors have no gap between them, share no byte, and leave none over. */
function requireFilled(entries: readonly TensorEntry[], available: number, shown: string): void {
  let filled = 0;
  for (const { begin, end } of entries.toSorted((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== filled) throw refused(shown, `its tensors overlap or leave a gap at byte ${filled} of its data`);
    filled = end;
  }
  if (filled !== available) throw refused(shown, `its tensors have ${filled} bytes of the ${available} that are there`);
}
