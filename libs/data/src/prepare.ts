import { canonicalJson, SPLITS, type DatasetManifest, type DatasetSplit, type ImageShape, type LogLevel, type PrepareDataset, type Split } from '#libs/contracts';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, rm } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { InvalidDataError, NpyWriter } from './npy.js';
import { Random } from './random.js';
import { openSource, type Source } from './sources.js';

/** 100 megapixels: more than any camera takes, and 400 MB when decoded. */
const MAX_PIXELS = 100e6;
/** Decodings under way: enough to keep every core of the decoder's thread pool busy. */
const IN_FLIGHT = 32;
const NAMED = 20;

export interface PrepareContext {
  dataRoot: string;
  /** Where the arrays are written; empty before. */
  workDir: string;
  signal: AbortSignal;
  progress(done: number, total: number): void;
  log(level: LogLevel, message: string): void;
}

export interface PreparedFile { name: string; path: string; sha256: string }

// One image at a time on each thread of the pool, instead of many threads on one image.
sharp.concurrency(1);
sharp.cache(false);

/**
 * Images → arrays: decodes every file, upright, on black where it is transparent, scaled to cover the square and cut to its
 * centre (files of just this size keep their pixels), and writes one pair of arrays a split. Splits that the source lacks are
 * taken from the training images, stratified and seeded. Files that can't be decoded are counted and named.
 * @throws InvalidDataError when the source can't make a dataset; whatever `signal` was aborted with.
 */
export async function prepareDataset(spec: PrepareDataset, context: PrepareContext): Promise<{ manifest: DatasetManifest; files: PreparedFile[] }> {
  const { signal, log, workDir } = context;
  const source = await openSource(spec.path, context.dataRoot);
  const classes = requireClasses(source, spec.path);
  if (source.ignored.length) log('warn', `${source.ignored.length} files are no images or lie in no class folder and were left out: ${named(source.ignored)}`);

  const { height, width } = typeof spec.imageSize === 'number' ? { height: spec.imageSize, width: spec.imageSize } : spec.imageSize;
  const sample: ImageShape = { modality: 'image', height, width, channels: spec.channels };
  const size = height * width * spec.channels;
  const scratchPath = path.join(workDir, 'decoded');
  const scratch = await open(scratchPath, 'w+');
  try {
    const decoded = await decodeAll(source, spec, sample, context, (index, pixels) => scratch.write(pixels, 0, size, index * size));
    const usable = source.files.map((file, index) => ({ index, label: classes.indexOf(file.className), split: file.split })).filter(({ index }) => decoded[index]);
    const rows = assignSplits(usable, classes.length, spec);
    const trained = new Set(rows.train.map(({ label }) => label));
    const without = classes.filter((_, label) => !trained.has(label));
    if (without.length) throw new InvalidDataError(`expected training images of every class, found none that could be decoded of ${named(without)}`);

    const files: PreparedFile[] = [];
    const splits: Partial<Record<Split, DatasetSplit>> = {};
    for (const split of SPLITS) {
      if (rows[split].length === 0) continue;
      const images = { name: `${split}-samples.npy`, path: path.join(workDir, `${split}-samples.npy`) };
      const labels = { name: `${split}-labels.npy`, path: path.join(workDir, `${split}-labels.npy`) };
      const writer = await NpyWriter.create(images.path, '|u1', [height, width, spec.channels]);
      const pixels = new Uint8Array(size);
      for (const { index } of rows[split]) {
        signal.throwIfAborted();
        await scratch.read(pixels, 0, size, index * size);
        await writer.append(pixels);
      }
      await writer.close();
      const labelWriter = await NpyWriter.create(labels.path, '<i4', []);
      await labelWriter.append(Int32Array.from(rows[split], ({ label }) => label));
      await labelWriter.close();
      const countPerClass = classes.map((_, label) => rows[split].filter((row) => row.label === label).length);
      const [imagesSha, labelsSha] = [await sha256Of(images.path), await sha256Of(labels.path)];
      splits[split] = { count: rows[split].length, countPerClass, samples: imagesSha, labels: labelsSha };
      files.push({ ...images, sha256: imagesSha }, { ...labels, sha256: labelsSha });
      log('info', `${split}: ${rows[split].length} images`);
    }
    const content = { sample, classes, splits: splits as DatasetManifest['splits'] };
    const digest = createHash('sha256').update(canonicalJson(content)).digest('hex');
    return { manifest: { name: spec.name, digest, ...content }, files };
  } finally {
    await scratch.close();
    await rm(scratchPath, { force: true });
  }
}

const named = (names: readonly string[]): string => names.slice(0, NAMED).join(', ') + (names.length > NAMED ? ` and ${names.length - NAMED} more` : '');

function requireClasses(source: Source, shown: string): string[] {
  if (source.files.length === 0) {
    throw new InvalidDataError(`expected images in class folders in ${shown}, found none${source.ignored.length ? ` (only ${named(source.ignored)})` : ': it is empty'}`);
  }
  const classesOf = (of: (split: Split | null) => boolean) => [...new Set(source.files.filter(({ split }) => of(split)).map(({ className }) => className))].sort();
  const classes = classesOf((split) => split === null || split === 'train');
  if (classes.length === 0) throw new InvalidDataError(`expected a train folder in ${shown}, found only ${[...new Set(source.files.map(({ split }) => split))].join(', ')}`);
  if (classes.length === 1) throw new InvalidDataError(`expected at least two class folders in ${shown}, found one: ${classes[0]}`);
  const strangers = classesOf((split) => split === 'val' || split === 'test').filter((name) => !classes.includes(name));
  if (strangers.length) throw new InvalidDataError(`expected the classes of train in val and test, found others: ${named(strangers)}`);
  return classes;
}

/** Decodes as the source reads, a bounded number at a time. Tells for each file whether it could be decoded. */
async function decodeAll(source: Source, spec: PrepareDataset, sample: ImageShape, { signal, progress, log }: PrepareContext, keep: (index: number, pixels: Buffer) => Promise<unknown>): Promise<boolean[]> {
  const total = source.files.length;
  const decoded: boolean[] = new Array<boolean>(total).fill(false);
  const corrupt: string[] = [];
  const pending = new Set<Promise<void>>();
  let fault: unknown;
  let done = 0;
  await source.read(async (index, bytes) => {
    if (fault) throw fault;
    const work = decode(bytes, sample).then(async (pixels) => {
      await keep(index, pixels);
      decoded[index] = true;
    }, (error: Error) => {
      corrupt.push(`${source.files[index]!.name} (${error.message.split('\n')[0]})`);
    }).catch((error: unknown) => { fault ??= error; }).finally(() => {
      pending.delete(work);
      done++;
      if (done % 100 === 0 || done === total) progress(done, total);
    });
    pending.add(work);
    if (pending.size >= IN_FLIGHT) await Promise.race(pending);
  }, signal);
  await Promise.all(pending);
  if (fault) throw fault;
  if (corrupt.length) {
    corrupt.sort();
    const message = `${corrupt.length} of ${total} files could not be decoded: ${named(corrupt)}`;
    if (corrupt.length > spec.maxCorruptFraction * total) throw new InvalidDataError(`expected at most ${spec.maxCorruptFraction * 100} % of the files to be damaged (maxCorruptFraction), ${message}`);
    log('warn', `${message}; they were left out`);
  }
  return decoded;
}

async function decode(bytes: Buffer, { height, width, channels }: ImageShape): Promise<Buffer> {
  if (bytes.length === 0) throw new Error('the file is empty or can\'t be read');
  const image = sharp(bytes, { failOn: 'error', limitInputPixels: MAX_PIXELS, autoOrient: true }).flatten({ background: 'black' });
  const { data, info } = await image
    .resize(width, height, { fit: 'cover' })
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw({ depth: 'uchar' }).toBuffer({ resolveWithObject: true });
  if (info.channels !== channels) throw new Error(`expected ${channels} channels after decoding, got ${info.channels}`);
  return data;
}

interface Row { index: number; label: number; split: Split | null }

/** The source's own splits, and those it lacks taken from train, class by class. */
function assignSplits(usable: readonly Row[], classCount: number, spec: PrepareDataset): Record<Split, Row[]> {
  const rows: Record<Split, Row[]> = { train: [], val: [], test: [] };
  for (const row of usable) rows[row.split ?? 'train'].push(row);
  // Both fractions are of what the source gives to train.
  const counts = Array.from({ length: classCount }, (_, label) => rows.train.filter((row) => row.label === label).length);
  for (const [split, fraction] of [['test', spec.testFraction], ['val', spec.valFraction]] as const) {
    if (rows[split].length > 0 || fraction === 0) continue;
    const taken = new Set<Row>();
    for (let label = 0; label < classCount; label++) {
      const members = rows.train.filter((row) => row.label === label);
      const order = Random.seeded(spec.seed, `${split} ${label}`).permutation(members.length);
      for (const place of order.subarray(0, Math.round(fraction * counts[label]!))) taken.add(members[place]!);
    }
    rows[split] = rows.train.filter((row) => taken.has(row));
    rows.train = rows.train.filter((row) => !taken.has(row));
  }
  return rows;
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
