/** What the user is told of files and classes that did not come as expected: in the log at once, and in the summary. */
import type { DatasetSummary, LogLevel, PrepareDataset, Split } from '#libs/contracts';
import { nounOf } from './classes.js';
import type { LeftOut, Source } from './containers.js';
import type { DarkImages } from './image-depth.js';
import { InvalidDataError, named } from './invalid-data.js';
import type { Row } from './splits.js';

const EXAMPLES = 5;
/** Reasons that are told apart: what a decoder says can hold numbers of each file's own. */
const MOST_REASONS = 30;

export class Report {
  readonly warnings: string[] = [];
  private readonly reasons = new Map<string, string[]>();

  constructor(
    private readonly spec: PrepareDataset,
    private readonly write: (level: LogLevel, message: string) => void,
  ) {}

  readonly log = (level: LogLevel, message: string): void => {
    if (level === 'warn') this.warnings.push(message);
    this.write(level, message);
  };

  get leftOut(): DatasetSummary['leftOut'] {
    return [...this.reasons].map(([reason, names]) => ({
      reason,
      count: names.length,
      examples: names.toSorted().slice(0, EXAMPLES),
    }));
  }

  private leave(reason: string, names: readonly string[]): void {
    const known = this.reasons.has(reason) || this.reasons.size < MOST_REASONS ? reason : 'for other reasons';
    this.reasons.set(known, (this.reasons.get(known) ?? []).concat(names));
  }

  /** Names the files that give no sample, by their reasons, and the classes that vanish with them. */
  leaveOut(source: Source, classes: readonly string[]): void {
    const { ignored, leftOut, lostClasses, notes = [] } = source;
    if (ignored.length) {
      const why = whyIgnored(this.spec);
      this.leave(why.replace(/,$/, ''), ignored);
      this.write('warn', `${ignored.length} files ${why} and were left out: ${named(ignored)}`);
    }
    for (const [reason, those] of Map.groupBy(leftOut, (each) => each.reason)) {
      const names = those.map(({ name }) => name).sort();
      this.leave(reason, names);
      this.write('warn', `${those.length} files were left out: ${named(names)} ${reason}`);
    }
    if (lostClasses.length)
      this.log(
        'warn',
        `${lostClasses.length} folders give no class, for nothing in them is one of the ${nounOf(this.spec)} that ` +
          `are read: ${named(lostClasses.map(({ name, reason }) => `${name} (${reason})`))}`,
      );
    for (const note of [...notes, ...writtenAlike(classes)]) this.log('warn', note);
    if (classes.length === 0) this.log('warn', whyUnlabelled(source, this.spec));
  }

  /**
   * Names the files that could not be decoded. @throws InvalidDataError where they are more than the spec's part of
   * all.
   */
  damaged(files: readonly LeftOut[], total: number): void {
    if (files.length === 0) return;
    const message = this.requireFew(files, total);
    for (const [reason, those] of Map.groupBy(files, (each) => each.reason))
      this.leave(
        `could not be decoded: ${reason}`,
        those.map(({ name }) => name),
      );
    this.write('warn', `${message}; they were left out`);
  }

  /** @throws InvalidDataError where more files are damaged than the spec allows. */
  requireFew(files: readonly LeftOut[], total: number): string {
    const { maxCorruptFraction } = this.spec;
    const shown = files.map(({ name, reason }) => `${name} (${reason})`).sort();
    const message = `${files.length} of ${total} files could not be decoded: ${named(shown)}`;
    if (files.length > maxCorruptFraction * total)
      throw new InvalidDataError(
        `expected at most ${maxCorruptFraction * 100} % of the files to be damaged (maxCorruptFraction), ${message}`,
      );
    return message;
  }

  /** Names the images with masks that viewers show otherwise than they are stored. */
  turned(names: readonly string[]): void {
    if (names.length)
      this.log(
        'warn',
        `the EXIF of ${names.length} images with masks says to turn or mirror them (${named(names)}): they are taken ` +
          'as they are stored, which is right only where their masks were drawn so. Where they were drawn on the ' +
          'upright images, write the turned pixels into the files (ImageMagick: mogrify -auto-orient)',
      );
  }

  /** Names the TIFFs of which more than the first image was perhaps meant. */
  stacks(names: readonly string[]): void {
    if (names.length)
      this.log(
        'warn',
        `${names.length} TIFFs hold several images, of which the first is taken (${named(names)}): where the others ` +
          'are samples too, write each into a file of its own (ImageMagick: magick FILE.tif FILE-%d.png)',
      );
  }

  /** Names the images whose values are perhaps of fewer bits than they are stored with, where most are such. */
  dark({ names, bits, of }: DarkImages): void {
    if (names.length > 0 && 2 * names.length >= of)
      this.log(
        'warn',
        `${names.length} of ${of} images of 16 bits are dark (${named(names)}): their upper 8 bits are taken, and ` +
          `their values seem to be of ${bits} bits or fewer, as microscopes have them. Where they are, scale them ` +
          `first (ImageMagick: mogrify -evaluate multiply ${2 ** (16 - bits)})`,
      );
  }

  /** Names the classes that a split has no sample of: what is measured there says nothing of them. */
  rareClasses(rows: Record<Split, readonly Row[]>, classes: readonly string[]): void {
    if (this.spec.masks) return;
    for (const split of ['val', 'test'] as const) {
      if (rows[split].length === 0) continue;
      const present = new Set(rows[split].map(({ label }) => label));
      const absent = classes.filter((_, label) => !present.has(label));
      if (absent.length)
        this.log(
          'warn',
          `${split} has no sample of ${absent.length} of ${classes.length} classes: ${named(absent)}. Give it ` +
            `samples of them, or a larger ${split}Fraction where it is drawn`,
        );
    }
  }

  /** Names the classes of masks that no pixel of a split has. */
  absentPixels(splits: DatasetSummary['splits'], classes: readonly string[]): void {
    for (const [split, { pixelsPerClass }] of Object.entries(splits)) {
      const absent = pixelsPerClass ? classes.filter((_, label) => pixelsPerClass[label] === 0) : [];
      if (absent.length)
        this.log(
          'warn',
          `no pixel in the masks of ${split} has ${absent.length} of ${classes.length} classes: ${named(absent)}. ` +
            'Where the masks have other values for them, masks.values says which',
        );
    }
  }
}

/** Says which classes may be one, in two writings. */
const writtenAlike = (classes: readonly string[]): string[] =>
  [...Map.groupBy(classes.toSorted(), (name) => name.normalize('NFC').trim().toLowerCase()).values()]
    .filter((names) => names.length > 1)
    .map(
      (names) =>
        `the classes ${names.map((name) => JSON.stringify(name)).join(' and ')} differ in nothing but how they are ` +
        'written (large letters, spaces, or how accents are coded): merge them with `renameClasses` if they are one',
    );

function whyUnlabelled({ files, ignored }: Source, spec: PrepareDataset): string {
  const tables = spec.list === undefined ? ignored.filter((name) => /\.(csv|tsv|jsonl)$/i.test(name)) : [];
  const [folder] = new Set(files.map(({ className }) => className));
  const why = folder ? `all its ${nounOf(spec)} lie in one folder (${folder})` : `its ${nounOf(spec)} have no labels`;
  return (
    `the dataset has no classes, for ${why}: it is for pretraining and autoencoders, while fine-tuning and ` +
    'evaluation need a dataset with classes; where the names of files tell the class, fileName says how' +
    (tables.length ? `, and where a list of them does, such as ${tables[0]!}, list: ${tables[0]!}` : '')
  );
}

function whyIgnored(spec: PrepareDataset): string {
  if (spec.masks) return 'are no images, or an image without a mask or a mask without an image,';
  if (spec.list !== undefined) return `are no ${nounOf(spec)}`;
  const otherwise =
    spec.fileName === undefined ? 'or lie in no class folder' : `or don't fit the template ${spec.fileName}`;
  return `are no ${nounOf(spec)} ${otherwise}`;
}
