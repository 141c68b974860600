/** What the paths of files in a folder or an archive tell: samples, their classes and splits. */
import { IMAGE, type Split } from '#libs/contracts';
import { notesOnClasses } from './class-notes.js';
import type { LeftOut, SourceFile } from './containers.js';
import { withoutEnding, type FileName } from './file-name.js';
import { InvalidDataError, named } from './invalid-data.js';
import { withoutMasks } from './mask-names.js';
import { refuseOtherLabels } from './other-labels.js';
import { PLAIN_FOLDER } from './part-folders.js';
import {
  haveWordsOfSplits,
  splitAmongWords,
  splitAround,
  splitFamilies,
  splitNamed,
  splitOfFolder,
  type SplitWord,
} from './split-words.js';

/** Samples with the paths that their parts have in the container, and what gives none. */
export interface Arrangement {
  files: { file: SourceFile; sample: string; mask?: string }[];
  ignored: string[];
  leftOut: LeftOut[];
  lostClasses: LeftOut[];
  /** What else may not be as it was meant. */
  notes?: string[];
}

/** The folders around a file, and its own name. */
export type PartsOf = (name: string) => string[];

/** A sample by the folders around it, those around everything taken off. */
interface Placed {
  name: string;
  split: SplitWord | null;
  /** Folders and the file's own name, without the split's. */
  parts: string[];
}

/**
 * What is a sample of which class: folders around everything are taken off, and a folder called like a split is one
 * and never a class. What fits in nowhere is left out and named, and so are masks that lie beside their images.
 * @param partsOf where a path says more than its folders are called
 * @throws InvalidDataError for splits that have no classes where others have, and for labels that are no folders.
 */
export function arrange(
  names: readonly string[],
  folders: readonly string[],
  media: RegExp,
  fileName: FileName | undefined,
  partsOf: PartsOf = (name) => name.split('/'),
): Arrangement {
  const all = names.filter((name) => media.test(name));
  const ignored = names.filter((name) => !media.test(name));
  const classesInNames = fileName?.hasLabel === true;
  if (!classesInNames) refuseOtherLabels(all, names);
  const { images, masks } = classesInNames || media !== IMAGE ? { images: all, masks: [] } : withoutMasks(all);
  const inside = images.map((name) => ({ name, parts: partsOf(name) }));
  const { placed, prefix, stray, strangers, splits } = placedInSplits(inside, classesInNames ? 2 : 3);
  const labelled = placed.filter(({ split }) => split !== 'unlabelled');
  const onlyUnlabelled = labelled.length === 0;
  const taken = onlyUnlabelled ? placed.map((each) => ({ ...each, split: null })) : labelled;
  const rest = taken.filter((each) => !isNoise(each));
  if (!classesInNames) requireClassesInTrain(rest, strangers);
  const arranged = classesInNames ? byFileName(rest, fileName) : grouped(byFolder(rest, onlyUnlabelled), fileName);
  const others = [...ignored, ...folders.map((folder) => `${folder}/`)].map(partsOf);
  return {
    files: arranged.files,
    ignored: [...ignored, ...stray, ...arranged.ignored],
    leftOut: [
      ...masks,
      ...strangers,
      ...noiseAmong(taken),
      ...(onlyUnlabelled ? [] : withoutLabel(placed)),
      ...arranged.leftOut,
    ],
    notes: [
      ...(classesInNames ? [] : notesOnClasses(arranged.files.map(({ file }) => file))),
      ...foldersOfOneSplit(splits),
    ],
    lostClasses: classesInNames ? [] : lostClassesOf(others, prefix, arranged.files),
  };
}

/** A sample by the folders around it that say something. */
interface Inside {
  name: string;
  parts: string[];
}

const isInFolder = ({ parts }: Inside) => parts.length > 1;

/** Takes folders around everything off and looks for those of splits. */
function placedInSplits(
  samples: readonly Inside[],
  depth: number,
): {
  placed: Placed[];
  prefix: string[];
  stray: string[];
  strangers: LeftOut[];
  /** Of folders; none where their names say classes, too: then several are of one split. */
  splits: ReadonlyMap<string, SplitWord | undefined>;
} {
  const { inside, prefix, stray } = unwrapped(samples, depth);
  const { splits, classOf } = splitsAmong(inside);
  const found = new Set(splits.values());
  const hasSplits = found.has('train') || found.has('val') || found.has('test');
  // Beside `train` there are splits only; without it, what lies beside `test` is trained on.
  const hasTrain = found.has('train');
  const placed: Placed[] = [];
  const strangers: LeftOut[] = [];
  for (const { name, parts } of withoutRepeated(inside, splits)) {
    const split = parts.length > 1 ? splits.get(parts[0]!) : undefined;
    const className = classOf.get(parts[0]!);
    if (split) placed.push({ name, split, parts: [...(className ? [className] : []), ...parts.slice(1)] });
    else if (hasSplits && (hasTrain || parts.length === 1))
      strangers.push({ name, reason: `lie beside the folders of splits (${splitFolders(splits)}), in none of them` });
    else placed.push({ name, split: null, parts });
  }
  return { placed, prefix, stray, strangers, splits: classOf.size > 0 ? new Map() : splits };
}

/** Takes folders around everything off (`prefix`); what lies beside them is stray. */
function unwrapped(
  samples: readonly Inside[],
  depth: number,
): { inside: readonly Inside[]; prefix: string[]; stray: string[] } {
  const prefix: string[] = [];
  const stray: string[] = [];
  let inside = samples;
  for (;;) {
    const inFolders = inside.filter(isInFolder);
    const tops = new Set(inFolders.map(({ parts }) => parts[0]!));
    const [top] = tops;
    if (tops.size !== 1 || splitOfFolder(top)) break;
    const nextIsSplit = inFolders.some(({ parts }) => parts.length > 2 && splitOfFolder(parts[1]));
    const deep = inFolders.every(({ parts }) => parts.length >= depth);
    const plain = PLAIN_FOLDER.test(top!);
    if (!nextIsSplit && !deep && !plain) break;
    stray.push(...inside.filter((each) => !isInFolder(each)).map(({ name }) => name));
    inside = inFolders.map(({ name, parts }) => ({ name, parts: parts.slice(1) }));
    prefix.push(top!);
  }
  return { inside, prefix, stray };
}

/**
 * The split of each folder, and its class where its name says both: `catTrain`, `catTest`, `dogTrain` and `dogTest`,
 * where nothing else is. Where each folder has the word of a split in its name, and those of train have folders below,
 * they are splits: `train-clean-100`, `dev-clean`, `dev-other`.
 */
function splitsAmong(inside: readonly Inside[]): {
  splits: Map<string, SplitWord | undefined>;
  classOf: Map<string, string>;
} {
  const inFolders = inside.filter(isInFolder);
  const tops = [...new Set(inFolders.map(({ parts }) => parts[0]!))];
  const trained = inFolders.filter(({ parts }) => splitAmongWords(parts[0]!) === 'train');
  const deep = (trained.length ? trained : inFolders).every(({ parts }) => parts.length > 2);
  const areSplits = deep && haveWordsOfSplits(tops);
  const splits = new Map(tops.map((top) => [top, splitAround(top) ?? (areSplits ? splitAmongWords(top) : undefined)]));
  const classOf = new Map<string, string>();
  const families = splitFamilies(tops);
  const areClasses = families.length > 1 && inside.every(({ parts }) => parts.length <= 2);
  for (const family of areClasses ? families : families.slice(0, 1))
    for (const [top, { split, rest }] of family) {
      splits.set(top, split);
      if (areClasses) classOf.set(top, rest);
    }
  return { splits, classOf };
}

/**
 * `seg_train/seg_train/cat` is `seg_train/cat`: all there is in a folder, and of the same split, says nothing more. Nor
 * does `images` in `train/images/cat`.
 */
function withoutRepeated(
  inside: readonly Inside[],
  splits: ReadonlyMap<string, SplitWord | undefined>,
): readonly Inside[] {
  const below = Map.groupBy(inside, ({ parts }) => parts[0]!);
  const repeats = new Set(
    [...below].flatMap(([top, those]) => {
      const [next, ...more] = new Set(those.map(({ parts }) => (parts.length > 2 ? parts[1]! : undefined)));
      if (next === undefined || more.length > 0) return [];
      const isPlain = splits.get(top) && PLAIN_FOLDER.test(next) && those.every(({ parts }) => parts.length > 3);
      const split = splitNamed(top);
      return isPlain || (split !== null && splitNamed(next) === split) ? [top] : [];
    }),
  );
  return inside.map((each) =>
    repeats.has(each.parts[0]!) ? { name: each.name, parts: each.parts.toSpliced(1, 1) } : each,
  );
}

/** Says where several folders are one split, such as `dev` and `eval`, which may not have been meant. */
const foldersOfOneSplit = (splits: ReadonlyMap<string, SplitWord | undefined>): string[] =>
  [...Map.groupBy(splits.keys(), (top) => splits.get(top))].flatMap(([split, tops]) =>
    split && split !== 'unlabelled' && new Set(tops.map((top) => top.replaceAll(/\d+/g, ''))).size > 1
      ? [`the folders ${tops.toSorted().join(' and ')} are all taken for ${split}: rename one, or leave it out, if not`]
      : [],
  );

const splitFolders = (splits: ReadonlyMap<string, SplitWord | undefined>): string =>
  [...splits]
    .flatMap(([top, split]) => (split ? [top] : []))
    .sort()
    .join(', ');

const withoutLabel = (placed: readonly Placed[]): LeftOut[] =>
  placed
    .filter(({ split }) => split === 'unlabelled')
    .map(({ name }) => ({ name, reason: 'lie in a folder of unlabelled samples, which is no class' }));

/** Recordings among those of words that are there to be mixed with them, as Speech Commands has them. */
const NOISE = '_background_noise_';
const isNoise = ({ parts }: Placed): boolean => parts.length > 1 && parts[0] === NOISE;
const noiseAmong = (placed: readonly Placed[]): LeftOut[] =>
  placed.filter(isNoise).map(({ name }) => ({ name, reason: `lie in ${NOISE}, which is to be mixed in and no class` }));

type Arranged = Pick<Arrangement, 'files' | 'ignored' | 'leftOut'>;

function byFileName(placed: readonly Placed[], fileName: FileName): Arranged {
  const files: Arrangement['files'] = [];
  const ignored: string[] = [];
  for (const { name, split, parts } of placed) {
    const told = fileName(withoutEnding(name));
    if (told) files.push(sampleOf(name, split as Split | null, parts, told.label!, told.group));
    else ignored.push(name);
  }
  return { files, ignored, leftOut: [] };
}

/** Groups by names where classes are by folders. */
export function grouped(arranged: Arranged, fileName: FileName | undefined): Arranged {
  if (!fileName) return arranged;
  const told = arranged.files.map((each) => ({ each, group: fileName(withoutEnding(each.sample))?.group ?? null }));
  const fitting = told.filter(({ group }) => group !== null);
  return {
    ...arranged,
    files: fitting.map(({ each, group }) => ({ ...each, file: { ...each.file, group } })),
    ignored: [...arranged.ignored, ...told.flatMap(({ each, group }) => (group === null ? [each.sample] : []))],
  };
}

/** Classes by folders; no class for anything where there are no folders, or `asOne`. */
function byFolder(placed: readonly Placed[], asOne: boolean): Arranged {
  const flat = new Set<Placed>();
  for (const inSplit of Map.groupBy(placed, ({ split }) => split).values()) {
    const tops = new Set(inSplit.filter(({ parts }) => parts.length > 1).map(({ parts }) => parts[0]!));
    const onlyPlain = tops.size === 1 && PLAIN_FOLDER.test([...tops][0]!);
    for (const each of inSplit) if (asOne || onlyPlain || each.parts.length < 2) flat.add(each);
  }
  const unlabelled = flat.size === placed.length;
  const withClasses = new Set(placed.filter((each) => !flat.has(each)).map(({ split }) => split));
  const arranged: Arranged = { files: [], ignored: [], leftOut: [] };
  for (const each of placed) {
    const { name, split, parts } = each;
    if (unlabelled) arranged.files.push(sampleOf(name, split as Split | null, parts, '', null));
    else if (!flat.has(each)) arranged.files.push(inClassFolder(each));
    else if (withClasses.has(split)) arranged.ignored.push(name);
    else if (split === 'test')
      arranged.leftOut.push({ name, reason: 'are of the test split, which has no class folders while train has' });
    else refuseFlat(split ?? 'train', placed, flat);
  }
  return withoutBeside(arranged);
}

/** Where a class has a folder `train`, what lies beside it in none of a split, such as `ground_truth`, is left out. */
function withoutBeside({ files, ignored, leftOut }: Arranged): Arranged {
  const withTrain = new Set(files.flatMap(({ file }) => (file.split === 'train' ? [file.className] : [])));
  const isBeside = ({ file }: Arrangement['files'][number]) => file.split === null && withTrain.has(file.className);
  const reason = 'lie beside the folders of splits in the folder of their class';
  return {
    files: files.filter((each) => !isBeside(each)),
    ignored,
    leftOut: [...leftOut, ...files.filter(isBeside).map(({ sample }) => ({ name: sample, reason }))],
  };
}

/** The split can be inside the class's folder: `cat/train/1.png`. */
function inClassFolder({ name, split, parts }: Placed): Arrangement['files'][number] {
  const [className, next, ...rest] = parts as [string, ...string[]];
  const inner = split === null && rest.length > 0 ? splitOfFolder(next) : undefined;
  if (!inner || inner === 'unlabelled') return sampleOf(name, split as Split | null, parts, className, null);
  return sampleOf(name, inner, [className, ...rest], className, null);
}

/** @throws InvalidDataError where train has no class folders, and there are some beside it. */
function requireClassesInTrain(placed: readonly Placed[], strangers: readonly LeftOut[]): void {
  const trained = placed.filter(({ split }) => split === 'train');
  const beside = [...new Set(strangers.flatMap(({ name }) => (name.includes('/') ? [name.split('/').at(-2)!] : [])))];
  if (trained.length === 0 || beside.length === 0 || trained.some(({ parts }) => parts.length > 1)) return;
  throw new InvalidDataError(
    `expected class folders in train, found files in none (${named(trained.map(({ name }) => name).sort())}), and ` +
      `beside train the folders ${named(beside.sort())}: a folder called train is a split and never a class. Rename ` +
      'it where it is a class, else give the folder train alone',
  );
}

/** @throws InvalidDataError saying which split lacks class folders and which has them. */
function refuseFlat(split: SplitWord, placed: readonly Placed[], flat: ReadonlySet<Placed>): never {
  const found = placed.filter((each) => flat.has(each) && (each.split ?? 'train') === split).map(({ name }) => name);
  const others = placed
    .filter((each) => !flat.has(each))
    .map(({ split: other, parts }) => [other, parts[0]].filter(Boolean).join('/'));
  throw new InvalidDataError(
    `expected class folders in ${split} as there are elsewhere (${named([...new Set(others)].sort())}), found files ` +
      `in none: ${named(found.sort())}. Move them into folders of their classes or give them out of the source; a ` +
      `folder called ${split} is a split and never a class`,
  );
}

const sampleOf = (
  sample: string,
  split: Split | null,
  parts: readonly string[],
  className: string,
  group: string | null,
): Arrangement['files'][number] => ({
  sample,
  file: { name: [...(split ? [split] : []), ...parts].join('/'), className, group, split },
});

/**
 * Folders beside those of the classes in which nothing is a sample. `others`: other files by the folders around them,
 * and folders with an empty name in them.
 */
function lostClassesOf(
  others: readonly (readonly string[])[],
  prefix: readonly string[],
  files: Arrangement['files'],
): LeftOut[] {
  const classes = new Set(files.map(({ file }) => file.className));
  classes.delete('');
  if (classes.size === 0) return [];
  const inSplits = files.some(({ file }) => file.split !== null);
  const lost = new Map<string, string[]>();
  for (const parts of others) {
    if (prefix.some((folder, i) => parts[i] !== folder)) continue;
    const inside = parts.slice(prefix.length);
    if (inSplits && !splitOfFolder(inside[0])) continue;
    const isPlain = inSplits && PLAIN_FOLDER.test(inside[1] ?? '') && !classes.has(inside[1]!);
    const at = Number(inSplits) + Number(isPlain);
    const className = inside[at];
    if (inside.length < at + 2 || !className || classes.has(className) || splitOfFolder(className)) continue;
    if (className === NOISE) continue;
    lost.set(className, [...(lost.get(className) ?? []), ...(inside.at(-1) ? [inside.at(-1)!] : [])]);
  }
  return saidToBeLost(lost);
}

/** Classes without samples, by the files that lie in each. */
export const saidToBeLost = (lost: ReadonlyMap<string, readonly string[]>): LeftOut[] =>
  [...lost]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, found]) => ({ name, reason: found.length ? `only ${named([...found].sort())}` : 'empty' }));
