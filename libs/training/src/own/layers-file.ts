/**
 * The files of a layers model: a JSON file (model.json), and beside it the numbers of its weights in as many pieces as
 * it says.
 * Nothing that it says is believed before it was checked.
 */
import { insideRoot, InvalidDataError, named, readFully } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { open, stat } from 'node:fs/promises';
import path from 'node:path';

/** Bytes of a description, without weights. */
const LONGEST_JSON = 64 * 2 ** 20;
const MOST_WEIGHTS = 100_000;
const MOST_DIMENSIONS = 8;

/** How many bytes a number has, as it lies there. */
const BYTES_OF = { float32: 4, float16: 2, uint16: 2, uint8: 1 };

/** Numbers of other types, which no layer here has: counters of an optimiser, seeds of a dropout. */
const OTHER_BYTES = { int32: 4, bool: 1 };

interface Entry {
  spec: tf.io.WeightsManifestEntry;
  shape: number[];
  /** What it is of instead of float32. */
  other: string | undefined;
  /** Which group of pieces, and where in it. */
  group: number;
  begin: number;
  end: number;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const areCounts = (value: unknown): value is number[] =>
  Array.isArray(value) &&
  value.length <= MOST_DIMENSIONS &&
  value.every((each) => Number.isSafeInteger(each) && each >= 0);

/**
 * The folders in which a `.keras` file keeps the weights of layers that lie beside each other: the class of each, and
 * from the second of a class on its number.
 */
export function foldersOf(classNames: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return classNames.map((className) => {
    const word = className
      .replace(/(.)([A-Z][a-z]+)/g, '$1_$2')
      .replace(/([a-z])([A-Z])/g, '$1_$2')
      .toLowerCase();
    const count = seen.get(word) ?? 0;
    seen.set(word, count + 1);
    return count > 0 ? `${word}_${count}` : word;
  });
}

/** The content of a file of JSON. @throws InvalidDataError for one that is too long or no JSON */
export async function readJson(file: string, shown: string): Promise<unknown> {
  const info = await stat(file);
  if (!info.isFile()) throw new InvalidDataError(`expected a file at ${shown} in the data root, found something else`);
  const { size } = info;
  if (size > LONGEST_JSON)
    throw new InvalidDataError(
      `expected ${shown} to have at most ${LONGEST_JSON} bytes without its weights, got ${size}`,
    );
  const handle = await open(file);
  try {
    const bytes = Buffer.alloc(size);
    await readFully(handle, bytes, 0);
    return JSON.parse(bytes.toString('utf8')) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError)
      throw new InvalidDataError(`expected ${shown} to be JSON: ${error.message}`);
    throw error;
  } finally {
    await handle.close();
  }
}

/** The weights of a layers model by their names, read one by one. */
export class LayersWeights {
  private constructor(
    private readonly entries: ReadonlyMap<string, Entry>,
    private readonly groups: readonly { path: string; size: number }[][],
    private readonly shown: string,
  ) {}

  /**
   * Looks where each weight lies: the pieces are in the data root and as long as the weights in them say.
   * @param target the path of model.json below the data root
   */
  static async of(json: unknown, target: string, dataRoot: string): Promise<LayersWeights> {
    const manifest = isObject(json) ? json['weightsManifest'] : undefined;
    if (!Array.isArray(manifest)) throw refused(target, 'it has no weightsManifest');
    const entries = new Map<string, Entry>();
    const groups: { path: string; size: number }[][] = [];
    for (const [group, given] of manifest.entries()) {
      const { paths, weights } = isObject(given) ? given : {};
      if (!Array.isArray(paths) || !Array.isArray(weights) || paths.some((each) => typeof each !== 'string'))
        throw refused(target, 'a group of its weightsManifest has no paths and weights');
      if (entries.size + weights.length > MOST_WEIGHTS)
        throw refused(target, `it has more than ${MOST_WEIGHTS} weights`);
      let begin = 0;
      for (const weight of weights) {
        const entry = entryOf(weight, group, begin, target);
        if (entries.has(entry.spec.name)) throw refused(target, `two of its weights have the name ${entry.spec.name}`);
        entries.set(entry.spec.name, entry);
        begin = entry.end;
      }
      groups.push(await piecesOf(paths as string[], begin, target, dataRoot));
    }
    return new LayersWeights(entries, groups, target);
  }

  get names(): string[] {
    return [...this.entries.keys()];
  }

  shapeOf(name: string): readonly number[] | undefined {
    return this.entries.get(name)?.shape;
  }

  /**
   * The name by which a layer's weight lies here: its own, whatever that stands behind, or, of the converter's
   * `keras_keras`, its number in the folder of its layer. Undefined where there is none.
   */
  nameOf(layer: string, weight: string, folder: string | undefined, number: number): string | undefined {
    // What tfjs and Keras 2 call depthwise_kernel is a kernel in Keras 3.
    const words = weight === 'depthwise_kernel' ? [weight, 'kernel'] : [weight];
    const owns = words.map((word) => `${layer}/${word}`);
    const found = [...owns.flatMap((own) => [own, `${own}:0`]), `${folder}/vars/${number}`].find((name) =>
      this.entries.has(name),
    );
    if (found !== undefined) return found;
    const behind = this.names.filter((name) => owns.some((own) => name.replace(/:0$/, '').endsWith(`/${own}`)));
    return behind.length === 1 ? behind[0] : undefined;
  }

  /** @throws InvalidDataError for what is not finite */
  async values(name: string): Promise<Float32Array> {
    const { spec, other, group, begin, end } = this.entries.get(name)!;
    if (other !== undefined) throw refused(this.shown, `${name} is of ${other}, expected float32`);
    const bytes = new Uint8Array(end - begin);
    let start = 0;
    for (const { path: file, size } of this.groups[group]!) {
      const [from, to] = [Math.max(begin, start), Math.min(end, start + size)];
      if (from < to) {
        const handle = await open(file);
        try {
          await readFully(handle, bytes.subarray(from - begin, to - begin), from - start);
        } finally {
          await handle.close();
        }
      }
      start += size;
    }
    const decoded = tf.io.decodeWeights(bytes.buffer, [spec])[name]!;
    const values = (await decoded.data()) as Float32Array;
    decoded.dispose();
    const at = values.findIndex((value) => !Number.isFinite(value));
    if (at >= 0)
      throw new InvalidDataError(`expected finite values in ${name} of ${this.shown}, found ${values[at]} at ${at}`);
    return values;
  }
}

const refused = (target: string, why: string) =>
  new InvalidDataError(`expected ${target} to be a layers model with its weights: ${why}`);

/** How many bytes a number of a type may have as it lies there. Undefined for a type that no file here has. */
function sizesOf(dtype: unknown): Readonly<Record<string, number>> | undefined {
  if (dtype === 'float32') return BYTES_OF;
  return typeof dtype === 'string' && Object.hasOwn(OTHER_BYTES, dtype) ? OTHER_BYTES : undefined;
}
const otherThanFloat = (dtype: unknown): string | undefined => (dtype === 'float32' ? undefined : String(dtype));

function entryOf(given: unknown, group: number, begin: number, target: string): Entry {
  const { name, shape, dtype, quantization } = isObject(given) ? given : {};
  if (typeof name !== 'string' || !areCounts(shape))
    throw refused(target, `a weight has no name and shape: ${JSON.stringify(given).slice(0, 200)}`);
  const sizes = sizesOf(dtype);
  if (!sizes) throw refused(target, `${name} is of ${String(dtype)}, expected float32`);
  const { dtype: packed = dtype, min, scale } = isObject(quantization) ? quantization : {};
  const isScaled = packed === 'uint8' || packed === 'uint16';
  if (typeof packed !== 'string' || !Object.hasOwn(sizes, packed))
    throw refused(target, `${name} is packed as ${String(packed)}, expected ${Object.keys(sizes).join(', ')}`);
  if (isScaled && (!Number.isFinite(min) || !Number.isFinite(scale)))
    throw refused(target, `${name} is packed without a scale and a minimum`);
  const bytes = shape.reduce((product, side) => product * side, sizes[packed]!);
  if (!Number.isSafeInteger(begin + bytes)) throw refused(target, `${name} has the shape [${shape.join(', ')}]`);
  const scaled = { dtype: packed as 'uint8' | 'uint16', min: min as number, scale: scale as number };
  const half = { dtype: 'float16' as const };
  const spec: tf.io.WeightsManifestEntry = {
    name,
    shape,
    dtype: 'float32',
    ...(isScaled && { quantization: scaled }),
    ...(packed === 'float16' && { quantization: half }),
  };
  return { spec, shape, other: otherThanFloat(dtype), group, begin, end: begin + bytes };
}

/** Files beside the description, in the data root, as long together as their weights. */
async function piecesOf(
  paths: string[],
  wanted: number,
  target: string,
  dataRoot: string,
): Promise<{ path: string; size: number }[]> {
  const pieces: { path: string; size: number }[] = [];
  for (const each of paths) {
    if (each.includes('\0')) throw refused(target, 'a path of its weights has a NUL character');
    const { found } = await insideRoot(dataRoot, path.join(path.dirname(target), each), 'weights');
    const info = await stat(found);
    if (!info.isFile()) throw new InvalidDataError(`expected a file of weights at ${each} beside ${target}`);
    pieces.push({ path: found, size: info.size });
  }
  const size = pieces.reduce((sum, piece) => sum + piece.size, 0);
  if (size !== wanted) throw refused(target, `its weights have ${wanted} bytes, ${named(paths) || 'no file'} ${size}`);
  return pieces;
}
