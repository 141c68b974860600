import {
  canonicalJson,
  SPLITS,
  type DatasetManifest,
  type DatasetSplit,
  type DatasetSummary,
  type LogLevel,
  type PrepareDataset,
  type SampleShape,
  type Split,
  type SummarySplit,
  UNLABELLED,
} from '#libs/contracts';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { nounOf, requireClasses } from './classes.js';
import type { Part, Source } from './containers.js';
import { decodeAll, type DecodingContext } from './decoding.js';
import { InvalidDataError, named } from './invalid-data.js';
import { NpyWriter, type NpyType } from './npy.js';
import { Preview, type PreviewFile } from './preview.js';
import { Report } from './report.js';
import { Scratch } from './scratch.js';
import { openSource } from './sources.js';
import { assignSplits, type Row } from './splits.js';

export interface PrepareContext extends DecodingContext {
  dataRoot: string;
  /** Where the arrays are written; empty before. */
  workDir: string;
  log(level: LogLevel, message: string): void;
}

export interface PreparedFile {
  name: string;
  path: string;
  sha256: string;
}

/** Decoded samples, and masks where there are any, each at its place in the order of the source. */
type Decoded = Record<Part, Scratch | undefined>;

/** A version, unless it was only looked at, and what became of the source's files. */
export interface Prepared {
  manifest?: DatasetManifest;
  files: PreparedFile[];
  summary: DatasetSummary;
  /** Some samples of each class, of a source that was only looked at. */
  preview: PreviewFile[];
}

/**
 * Files → arrays, one set a split. Images: upright, on black where they are transparent, scaled to cover the size asked
 * for and cut to its centre (files of just this size keep their pixels). Sounds: mono, resampled, cut or filled with
 * silence, or all windows of them. Masks: like their images, whose pixels are then taken as they are stored, but each
 * pixel from the nearest. Splits that the source lacks are taken from the training samples, stratified and seeded, or
 * by whole groups where file names tell them. Files that can't be decoded are counted and named. A dry run decodes
 * everything and keeps nothing.
 * @throws InvalidDataError when the source can't make a dataset; whatever `signal` was aborted with.
 */
export async function prepareDataset(spec: PrepareDataset, context: PrepareContext): Promise<Prepared> {
  const report = new Report(spec, context.log);
  const source = await openSource(spec, context.dataRoot);
  const classes = requireClasses(source, spec);
  report.leaveOut(source, classes);
  const sample = shapeOf(spec);
  const decoded = await scratchOf(spec, sample, context.workDir);
  const places = new Places(spec.audio?.windows !== undefined);
  const preview = spec.dryRun ? new Preview(source, classes, spec, sample) : undefined;
  try {
    const { usable, sounds, turned, stacks, dark } = await decodeAll(
      source,
      spec,
      sample,
      report,
      context,
      async (part, index, arrays) => {
        const at = places.take(index, arrays.length);
        for (const [i, array] of arrays.entries()) await decoded[part]?.write(at + i, array);
        await preview?.keep(part, index, arrays);
      },
    );
    report.turned(turned);
    report.stacks(stacks);
    report.dark(dark);
    const rows = places.spread(assignSplits(rowsOf(source, spec, classes, usable), spec, report.log));
    requireTrained(rows.train, spec, classes);
    report.rareClasses(rows, classes);

    const files: PreparedFile[] = [];
    const splits: Partial<Record<Split, DatasetSplit>> = {};
    const summarised: Partial<DatasetSummary['splits']> = {};
    for (const split of SPLITS) {
      if (rows[split].length === 0) continue;
      summarised[split] = await summaryOf(rows[split], decoded, classes, context.signal);
      context.log('info', `${split}: ${rows[split].length} ${nounOf(spec)}`);
      if (spec.dryRun) continue;
      const stored = await storeSplit(split, rows[split], decoded, classes, context);
      splits[split] = stored.described;
      files.push(...stored.files);
    }
    report.absentPixels(summarised as DatasetSummary['splits'], classes);
    const summary: DatasetSummary = {
      dryRun: spec.dryRun ?? false,
      sample,
      classes,
      splits: summarised as DatasetSummary['splits'],
      ...(sample.modality === 'audio' && { sounds }),
      leftOut: report.leftOut,
      warnings: report.warnings,
    };
    if (preview) return { files, summary, preview: await preview.files() };
    const content = { sample, classes, splits: splits as DatasetManifest['splits'] };
    const digest = createHash('sha256').update(canonicalJson(content)).digest('hex');
    return { manifest: { name: spec.name, digest, ...content }, files, summary, preview: [] };
  } finally {
    await decoded.sample?.remove();
    await decoded.mask?.remove();
  }
}

/** Where the samples of each file lie among all. */
class Places {
  private readonly ofFile = new Map<number, { first: number; count: number }>();
  private next = 0;

  /** `areMany`: whether a file can have several samples, so that its own place among the files is not theirs. */
  constructor(private readonly areMany: boolean) {}

  /** The first of so many places for the samples of a file. */
  take(file: number, count: number): number {
    const first = this.areMany ? this.next : file;
    this.next += count;
    this.ofFile.set(file, { first, count });
    return first;
  }

  /** Rows of files → rows of their samples, in the same order. */
  spread(rows: Record<Split, readonly Row[]>): Record<Split, Row[]> {
    const samplesOf = (row: Row): Row[] => {
      const { first, count } = this.ofFile.get(row.index)!;
      return Array.from({ length: count }, (_, i) => ({ ...row, index: first + i }));
    };
    return {
      train: rows.train.flatMap(samplesOf),
      val: rows.val.flatMap(samplesOf),
      test: rows.test.flatMap(samplesOf),
    };
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

/** A dry run needs masks only, whose pixels are counted. */
async function scratchOf({ masks, dryRun }: PrepareDataset, sample: SampleShape, workDir: string): Promise<Decoded> {
  const file = path.join(workDir, 'decoded');
  if (dryRun && !masks) return { sample: undefined, mask: undefined };
  if (sample.modality === 'audio')
    return { sample: await Scratch.create(file, '<i2', [sample.length]), mask: undefined };
  const { height, width, channels } = sample;
  return {
    sample: dryRun ? undefined : await Scratch.create(file, '|u1', [height, width, channels]),
    mask: masks && (await Scratch.create(`${file}-masks`, '|u1', [height, width])),
  };
}

/** The samples that could be decoded, with their labels: all are one class where samples have none. */
function rowsOf(
  { files }: Source,
  { masks }: PrepareDataset,
  classes: readonly string[],
  usable: readonly boolean[],
): Row[] {
  const labelOf = new Map(classes.map((name, label) => [name, label]));
  return files
    .map(({ name, className, group, split }, index) => ({
      index,
      name,
      label: masks || classes.length === 0 ? 0 : labelOf.get(className)!,
      group,
      split,
    }))
    .filter(({ index }) => usable[index]);
}

/** @throws InvalidDataError where train lacks samples, or those of a class. */
function requireTrained(train: readonly Row[], spec: PrepareDataset, classes: readonly string[]): void {
  if (train.length === 0)
    throw new InvalidDataError(`expected training ${nounOf(spec)}, found none that could be decoded`);
  if (spec.masks || classes.length === 0) return;
  const trained = new Set(train.map(({ label }) => label));
  const without = classes.filter((_, label) => !trained.has(label));
  if (without.length)
    throw new InvalidDataError(
      `expected training ${nounOf(spec)} of every class, found none that could be ` +
        `decoded${spec.fileName?.includes('{group}') ? ' and is not held out' : ''} of ${named(without)}`,
    );
}

function countsPerClass(rows: readonly Row[], classes: readonly string[]): number[] {
  const counts = new Array<number>(classes.length).fill(0);
  for (const { label } of rows) counts[label]!++;
  return counts;
}

/** How many samples of each class a split has, or how many pixels. */
async function summaryOf(
  rows: readonly Row[],
  { mask }: Decoded,
  classes: readonly string[],
  signal: AbortSignal,
): Promise<SummarySplit> {
  const count = rows.length;
  if (!mask) return { count, ...(classes.length > 0 && { countPerClass: countsPerClass(rows, classes) }) };
  const pixels = new Array<number>(256).fill(0);
  for (const { index } of rows) {
    signal.throwIfAborted();
    for (const id of await mask.read(index)) pixels[id]!++;
  }
  return { count, pixelsPerClass: pixels.slice(0, classes.length), unlabelledPixels: pixels[UNLABELLED]! };
}

/**
 * Writes the arrays of a split, and beside them which file each sample is from, a line each. These are no part of the
 * version: where files lie does not change what is learnt from them.
 */
async function storeSplit(
  split: Split,
  rows: readonly Row[],
  { sample, mask }: Decoded,
  classes: readonly string[],
  { workDir, signal }: PrepareContext,
): Promise<{ described: DatasetSplit; files: PreparedFile[] }> {
  const files: PreparedFile[] = [];
  const store = async (
    what: string,
    type: NpyType,
    itemShape: readonly number[],
    append: (writer: NpyWriter) => Promise<void>,
  ): Promise<string> => {
    const name = `${split}-${what}.npy`;
    const file = path.join(workDir, name);
    const writer = await NpyWriter.create(file, type, itemShape);
    await append(writer);
    await writer.close();
    const sha256 = await sha256Of(file);
    files.push({ name, path: file, sha256 });
    return sha256;
  };
  const copy = (what: string, from: Scratch) =>
    store(what, from.type, from.itemShape, async (writer) => {
      for (const { index } of rows) {
        signal.throwIfAborted();
        await writer.append(await from.read(index));
      }
    });
  const described: DatasetSplit = { count: rows.length, samples: await copy('samples', sample!) };
  if (mask) described.masks = await copy('masks', mask);
  else if (classes.length > 0) {
    described.labels = await store('labels', '<i4', [], (writer) =>
      writer.append(Int32Array.from(rows, ({ label }) => label)),
    );
    described.countPerClass = countsPerClass(rows, classes);
  }
  const name = `${split}-paths.txt`;
  const file = path.join(workDir, name);
  await writeFile(file, linesOf(rows));
  files.push({ name, path: file, sha256: await sha256Of(file) });
  return { described, files };
}

/** Lines that are written at once. */
const LINES = 4096;

function* linesOf(rows: readonly Row[]): Generator<string> {
  for (let from = 0; from < rows.length; from += LINES)
    yield rows
      .slice(from, from + LINES)
      .map(({ name }) => `${name.replaceAll(/[\r\n]/g, ' ')}\n`)
      .join('');
}

async function sha256Of(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
