import {
  canonicalJson,
  SPLITS,
  type DatasetManifest,
  type DatasetSplit,
  type ImageShape,
  type LogLevel,
  type PrepareDataset,
  type SampleShape,
  type Split,
} from '#libs/contracts';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm, type FileHandle } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { decodeSound } from './audio-file.js';
import type { Part, Payload, Source } from './containers.js';
import { decodeMask } from './mask-file.js';
import { InvalidDataError, NpyWriter, type NpyType } from './npy.js';
import { Random } from './random.js';
import { openSource } from './sources.js';

/** 100 megapixels: more than any camera takes, and 400 MB when decoded. */
const MAX_PIXELS = 100e6;
/** Decodings under way: enough to keep every core of the decoder's thread pool busy, and no more bytes than fit. */
const IN_FLIGHT = 32;
const MAX_BYTES_IN_FLIGHT = 512 * 2 ** 20;
const NAMED = 20;

export interface PrepareContext {
  dataRoot: string;
  /** Where the arrays are written; empty before. */
  workDir: string;
  signal: AbortSignal;
  progress(done: number, total: number): void;
  log(level: LogLevel, message: string): void;
}

export interface PreparedFile {
  name: string;
  path: string;
  sha256: string;
}

// One image at a time on each thread of the pool, instead of many threads on one image.
sharp.concurrency(1);
sharp.cache(false);

/**
 * Files → arrays, one set a split. Images: upright, on black where they are transparent, scaled to cover the size asked
 * for and cut to its centre (files of just this size keep their pixels). Sounds: mono, resampled, cut or filled with
 * silence. Masks: like their images, whose pixels are then taken as they are stored, but each pixel from the nearest.
 * Splits that the source lacks are taken from the training samples, stratified and seeded, or by whole groups where
 * file names tell them. Files that can't be decoded are counted and named.
 * @throws InvalidDataError when the source can't make a dataset; whatever `signal` was aborted with.
 */
export async function prepareDataset(
  spec: PrepareDataset,
  context: PrepareContext,
): Promise<{ manifest: DatasetManifest; files: PreparedFile[] }> {
  const { signal, log, workDir } = context;
  const noun = spec.audio ? 'sounds' : 'images';
  const source = await openSource(spec, context.dataRoot);
  const classes = requireClasses(source, spec, noun);
  if (source.ignored.length) {
    const why = spec.masks
      ? 'are no images, or an image without a mask or a mask without an image,'
      : spec.fileName !== undefined
        ? `are no ${noun} or don't fit the template ${spec.fileName}`
        : `are no ${noun} or lie in no class folder`;
    log('warn', `${source.ignored.length} files ${why} and were left out: ${named(source.ignored)}`);
  }

  const sample = shapeOf(spec);
  const [type, shape]: [NpyType, number[]] =
    sample.modality === 'image' ? ['|u1', [sample.height, sample.width, sample.channels]] : ['<i2', [sample.length]];
  const size = shape.reduce((product, side) => product * side, type === '|u1' ? 1 : 2);
  const maskShape = shape.slice(0, 2);
  const scratch: Record<Part, Scratch | undefined> = {
    sample: await Scratch.create(path.join(workDir, 'decoded'), size),
    mask: spec.masks && (await Scratch.create(path.join(workDir, 'decoded-masks'), maskShape[0]! * maskShape[1]!)),
  };
  try {
    const decoded = await decodeAll(source, spec, sample, context, (part, index, data) =>
      scratch[part]!.write(index, data),
    );
    const labelOf = new Map(classes.map((name, label) => [name, label]));
    const usable = source.files
      .map(({ className, group, split }, index) => ({
        index,
        label: spec.masks ? 0 : labelOf.get(className)!,
        group,
        split,
      }))
      .filter(({ index }) => decoded[index]);
    const rows = assignSplits(usable, spec, log);
    if (rows.train.length === 0)
      throw new InvalidDataError(`expected training ${noun}, found none that could be decoded`);
    const trained = new Set(rows.train.map(({ label }) => label));
    const without = spec.masks ? [] : classes.filter((_, label) => !trained.has(label));
    if (without.length)
      throw new InvalidDataError(
        `expected training ${noun} of every class, found none that could be ` +
          `decoded${spec.fileName?.includes('{group}') ? ' and is not held out' : ''} of ${named(without)}`,
      );

    const files: PreparedFile[] = [];
    const splits: Partial<Record<Split, DatasetSplit>> = {};
    for (const split of SPLITS) {
      if (rows[split].length === 0) continue;
      const store = async (
        what: string,
        as: NpyType,
        itemShape: readonly number[],
        append: (writer: NpyWriter) => Promise<void>,
      ): Promise<string> => {
        const file = { name: `${split}-${what}.npy`, path: path.join(workDir, `${split}-${what}.npy`) };
        const writer = await NpyWriter.create(file.path, as, itemShape);
        await append(writer);
        await writer.close();
        const sha256 = await sha256Of(file.path);
        files.push({ ...file, sha256 });
        return sha256;
      };
      const copied = (from: Scratch) => async (writer: NpyWriter) => {
        for (const { index } of rows[split]) {
          signal.throwIfAborted();
          await writer.append(await from.read(index, type === '<i2' && from === scratch.sample));
        }
      };
      const stored: DatasetSplit = {
        count: rows[split].length,
        samples: await store('samples', type, shape, copied(scratch.sample!)),
      };
      if (scratch.mask) stored.masks = await store('masks', '|u1', maskShape, copied(scratch.mask));
      else {
        stored.labels = await store('labels', '<i4', [], (writer) =>
          writer.append(Int32Array.from(rows[split], ({ label }) => label)),
        );
        const countPerClass = new Array<number>(classes.length).fill(0);
        for (const { label } of rows[split]) countPerClass[label]!++;
        stored.countPerClass = countPerClass;
      }
      splits[split] = stored;
      log('info', `${split}: ${rows[split].length} ${noun}`);
    }
    const content = { sample, classes, splits: splits as DatasetManifest['splits'] };
    const digest = createHash('sha256').update(canonicalJson(content)).digest('hex');
    return { manifest: { name: spec.name, digest, ...content }, files };
  } finally {
    await scratch.sample?.remove();
    await scratch.mask?.remove();
  }
}

/** Decoded samples in the order of the source, where each has its place. */
class Scratch {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly size: number,
  ) {}

  static async create(file: string, size: number): Promise<Scratch> {
    return new Scratch(file, await open(file, 'w+'), size);
  }

  async write(index: number, data: Uint8Array): Promise<void> {
    await this.file.write(data, 0, this.size, index * this.size);
  }

  async read(index: number, asInt16: boolean): Promise<Uint8Array<ArrayBuffer> | Int16Array<ArrayBuffer>> {
    const bytes = new Uint8Array(this.size);
    await this.file.read(bytes, 0, this.size, index * this.size);
    return asInt16 ? new Int16Array(bytes.buffer) : bytes;
  }

  async remove(): Promise<void> {
    await this.file.close();
    await rm(this.path, { force: true });
  }
}

function shapeOf({ imageSize, channels, audio }: PrepareDataset): SampleShape {
  if (audio)
    return {
      modality: 'audio',
      sampleRate: audio.sampleRate,
      length: Math.max(1, Math.round(audio.seconds * audio.sampleRate)),
    };
  return {
    modality: 'image',
    ...(typeof imageSize === 'number' ? { height: imageSize, width: imageSize } : imageSize),
    channels,
  };
}

const named = (names: readonly string[]): string =>
  names.slice(0, NAMED).join(', ') + (names.length > NAMED ? ` and ${names.length - NAMED} more` : '');

function requireClasses(
  { files, ignored, classNames }: Source,
  { path: shown, masks, fileName }: PrepareDataset,
  noun: string,
): string[] {
  if (files.length === 0) {
    const where = masks
      ? 'images and masks of the same names in folders images and masks'
      : fileName === undefined
        ? `${noun} in class folders`
        : `${noun} named like ${fileName}`;
    throw new InvalidDataError(
      `expected ${where} in ${shown}, found none${ignored.length ? ` (only ${named(ignored)})` : ': it is empty'}`,
    );
  }
  if (masks) {
    if (new Set(masks.classes).size < masks.classes.length)
      throw new InvalidDataError(`expected masks.classes to be different names, got ${named(masks.classes)}`);
    return [...masks.classes];
  }
  const classesOf = (of: (split: Split | null) => boolean) =>
    new Set(files.filter(({ split }) => of(split)).map(({ className }) => className));
  const trained = classesOf((split) => split === null || split === 'train');
  const sorted = [...trained].sort();
  const classes =
    classNames?.filter((name) => trained.has(name)) ??
    (sorted.every((name) => /^\d{1,15}$/.test(name)) ? sorted.sort((a, b) => Number(a) - Number(b)) : sorted);
  if (classes.length === 0)
    throw new InvalidDataError(
      `expected a train folder in ${shown}, found only ${[...new Set(files.map(({ split }) => split))].join(', ')}`,
    );
  if (classes.length === 1)
    throw new InvalidDataError(
      `expected at least two ${fileName === undefined ? 'class folders' : 'classes'} in ${shown}, found one: ` +
        `${classes[0]}${fileName === undefined ? '; where the names of files tell the class, fileName says how' : ''}`,
    );
  const strangers = [...classesOf((split) => split === 'val' || split === 'test')]
    .filter((name) => !trained.has(name))
    .sort();
  if (strangers.length)
    throw new InvalidDataError(`expected the classes of train in val and test, found others: ${named(strangers)}`);
  return classes;
}

/** Decodes as the source reads, a bounded number at a time. Tells for each file whether it could be decoded. */
async function decodeAll(
  source: Source,
  spec: PrepareDataset,
  sample: SampleShape,
  { signal, progress, log }: PrepareContext,
  keep: (part: Part, index: number, data: Uint8Array) => Promise<void>,
): Promise<boolean[]> {
  const parts = spec.masks ? 2 : 1;
  const total = source.files.length;
  const whole = new Uint8Array(total);
  const sizes = new Map<number, string>();
  const corrupt = new Map<number, string>();
  const pending = new Set<Promise<void>>();
  let bytesInFlight = 0;
  let fault: unknown;
  let done = 0;
  const convert = async (index: number, payload: Payload, part: Part): Promise<Uint8Array> => {
    if (sample.modality === 'audio')
      return new Uint8Array((await decodeSound(payload as Buffer, sample.sampleRate, sample.length)).buffer);
    const { data, size } =
      part === 'mask'
        ? await decodeMask(payload as Buffer, sample, spec.masks!, MAX_PIXELS)
        : await decodeImage(payload, sample, parts === 2);
    if (parts === 2 && (sizes.get(index) ?? size) !== size)
      throw new Error(`expected a mask of the size of its image, got ${[sizes.get(index), size].join(' and ')}`);
    sizes.set(index, size);
    return data;
  };
  await source.read(async (index, payload, part) => {
    if (fault) throw fault;
    const bytes = 'data' in payload ? payload.data.length : payload.length;
    bytesInFlight += bytes;
    const work = convert(index, payload, part)
      .then(
        async (data) => {
          await keep(part, index, data);
          whole[index]!++;
        },
        (error: Error) => {
          corrupt.set(
            index,
            `${source.files[index]!.name} (${part === 'mask' ? 'mask: ' : ''}${error.message.split('\n')[0]})`,
          );
        },
      )
      .catch((error: unknown) => {
        fault ??= error;
      })
      .finally(() => {
        pending.delete(work);
        bytesInFlight -= bytes;
        done++;
        if (done % 100 === 0 || done === total * parts) progress(Math.floor(done / parts), total);
      });
    pending.add(work);
    while (pending.size >= IN_FLIGHT || (pending.size > 0 && bytesInFlight > MAX_BYTES_IN_FLIGHT))
      await Promise.race(pending);
  }, signal);
  await Promise.all(pending);
  if (fault) throw fault;
  if (corrupt.size) {
    const message = `${corrupt.size} of ${total} files could not be decoded: ${named([...corrupt.values()].sort())}`;
    if (corrupt.size > spec.maxCorruptFraction * total)
      throw new InvalidDataError(
        `expected at most ${spec.maxCorruptFraction * 100} % of the files to be damaged (maxCorruptFraction), ` +
          `${message}`,
      );
    log('warn', `${message}; they were left out`);
  }
  return Array.from(whole, (count) => count === parts);
}

/**
 * With `asStored`, an image lies as its pixels do, whatever it says about its orientation: masks say nothing of theirs.
 */
async function decodeImage(
  payload: Payload,
  { height, width, channels }: ImageShape,
  asStored: boolean,
): Promise<{ data: Uint8Array; size: string }> {
  if ('length' in payload && payload.length === 0) throw new Error("the file is empty or can't be read");
  const image =
    'data' in payload
      ? sharp(payload.data, { raw: { height: payload.height, width: payload.width, channels: payload.channels } })
      : sharp(payload, { failOn: 'error', limitInputPixels: MAX_PIXELS, autoOrient: !asStored });
  const stored = asStored ? await image.metadata() : undefined;
  const { data, info } = await image
    .flatten({ background: 'black' })
    .resize(width, height, { fit: 'cover' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw({ depth: 'uchar' })
    .toBuffer({ resolveWithObject: true });
  if (info.channels !== channels) throw new Error(`expected ${channels} channels after decoding, got ${info.channels}`);
  return { data, size: `${stored?.width} x ${stored?.height}` };
}

interface Row {
  index: number;
  label: number;
  group: string | null;
  split: Split | null;
}

/**
 * The source's own splits and the groups held out, and those that are lacking taken from train: class by class, or,
 * where samples have groups, by whole groups until the fraction is reached.
 */
function assignSplits(usable: readonly Row[], spec: PrepareDataset, log: PrepareContext['log']): Record<Split, Row[]> {
  const { val = [], test = [] } = spec.holdOut ?? {};
  const groups = new Set(usable.map(({ group }) => group));
  const absent = [...val, ...test].filter((group) => !groups.has(group));
  if (absent.length)
    throw new InvalidDataError(
      `expected holdOut to name groups that there are (${named([...groups].map(String).sort())}), got ${named(absent)}`,
    );
  const both = val.filter((group) => test.includes(group));
  if (both.length)
    throw new InvalidDataError(`expected each group of holdOut in one split, got ${named(both)} in both`);
  const heldOut = new Map<string | null, Split>([
    ...val.map((group) => [group, 'val'] as const),
    ...test.map((group) => [group, 'test'] as const),
  ]);

  const rows: Record<Split, Row[]> = { train: [], val: [], test: [] };
  for (const row of usable) rows[heldOut.get(row.group) ?? row.split ?? 'train'].push(row);
  // Both fractions are of what the source gives to train.
  const given = rows.train.length;
  const counts = new Map(
    [...gathered(rows.train, ({ label }) => label)].map(([label, members]) => [label, members.length]),
  );
  for (const [split, fraction] of [
    ['test', spec.testFraction],
    ['val', spec.valFraction],
  ] as const) {
    if (rows[split].length > 0 || fraction === 0) continue;
    const taken = new Set<Row>();
    if (rows.train.some(({ group }) => group !== null)) {
      const byGroup = [...gathered(rows.train, ({ group }) => group!)].sort(([a], [b]) => (a < b ? -1 : 1));
      const drawn: string[] = [];
      for (const place of Random.seeded(spec.seed, `${split} groups`).permutation(byGroup.length)) {
        // One group is always left to train on.
        if (taken.size >= Math.round(fraction * given) || drawn.length === byGroup.length - 1) break;
        const [group, members] = byGroup[place]!;
        drawn.push(group);
        for (const row of members) taken.add(row);
      }
      if (drawn.length) log('info', `${split} is made of the groups ${named(drawn.sort())}`);
      else log('warn', `there is no ${split} split: only one group is left to train on`);
    } else {
      for (const [label, members] of gathered(rows.train, (row) => row.label)) {
        const order = Random.seeded(spec.seed, `${split} ${label}`).permutation(members.length);
        for (const place of order.subarray(0, Math.round(fraction * counts.get(label)!))) taken.add(members[place]!);
      }
    }
    rows[split] = rows.train.filter((row) => taken.has(row));
    rows.train = rows.train.filter((row) => !taken.has(row));
  }
  return rows;
}

function gathered<Key>(rows: readonly Row[], keyOf: (row: Row) => Key): Map<Key, Row[]> {
  const result = new Map<Key, Row[]>();
  for (const row of rows) {
    const members = result.get(keyOf(row));
    if (members) members.push(row);
    else result.set(keyOf(row), [row]);
  }
  return result;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
