/** Images and their masks, as the paths of files tell which belong together. */
import { IMAGE, type Split } from '#libs/contracts';
import type { Arrangement } from './arrangement.js';
import { withoutEnding } from './file-name.js';
import { baseOfImage, baseOfMask, ofOneBase, otherBaseOf } from './mask-names.js';
import { partByWords, partOf, type Part } from './part-folders.js';
import { splitOfFolder, type SplitWord } from './split-words.js';

/** A folder of masks beside the folder of images that it begins like: `trainannot` of CamVid as SegNet has it. */
const ANNOTATED = /^(.+?)[_-]?annot$/i;

interface Placed {
  name: string;
  part: Part | undefined;
  split: Split | undefined;
  /** What is left of the path without the folders of the split and the part, and without the ending. */
  stem: string;
  /** Whether it lies in a folder of the part within another: `labels/sem_seg/masks`. */
  isWithin: boolean;
  shown: string;
}

/** What a folder is whose name says more than the part: `train_masks`, or `trainannot` of CamVid as SegNet has it. */
function partAmongWords(folder: string): { part: Part; split: SplitWord | undefined; rest: string } | undefined {
  const annotated = splitOfFolder(ANNOTATED.exec(folder)?.[1]);
  return annotated ? { part: 'masks', split: annotated, rest: '' } : partByWords(folder);
}

/**
 * How many folders around everything there are, each with all that follows in it, other than those of splits. One that
 * is called like a part says nothing: all lies in it.
 */
function wrapping(names: readonly string[]): number {
  let prefix = 0;
  const first = names[0]?.split('/') ?? [];
  while (
    names.length &&
    !splitOfFolder(first[prefix]) &&
    names.every((name) => name.split('/').length - prefix >= 2 && name.split('/')[prefix] === first[prefix])
  )
    prefix++;
  return prefix;
}

const isSamePart = (folder: string, inner: string): boolean =>
  folder.toLowerCase() === inner.toLowerCase() || (partOf(folder) === 'masks' && /^trimaps?$/i.test(inner));

/** Folders that a split's can lie below. */
const DEPTH_OF_SPLITS = 3;

/**
 * What an image and its mask have in common beside their own names: all folders with the other words of such as
 * `stage1_masks`, the folders alone, or nothing.
 */
type Alike = 'words' | 'folders' | 'own names';

/** Whether a path leads to an image or to a mask, of which split, and what it is called there. */
function placeOf(name: string, prefix: number, alike: Alike): Placed | 'unlabelled' {
  const parts = name.split('/').slice(prefix);
  const folders = parts.slice(0, -1);
  const both = folders.map(partAmongWords);
  const plainAt = folders.findIndex((folder) => partOf(folder) !== undefined);
  const partAt = plainAt >= 0 ? plainAt : both.findIndex((each) => each !== undefined);
  const splits = folders
    .slice(0, alike === 'own names' ? undefined : DEPTH_OF_SPLITS)
    .map((folder, at) => (at === plainAt ? undefined : (splitOfFolder(folder) ?? both[at]?.split)));
  const splitAt = splits.findIndex((split) => split !== undefined);
  const split = splits[splitAt];
  if (split === 'unlabelled') return split;
  const part = partOf(folders[plainAt] ?? '') ?? both[partAt]?.part;
  // `masks/masks`, as archives of folders give, and `annotations/trimaps`.
  const isAgain = (at: number): boolean =>
    partAt >= 0 && at === partAt + 1 && at < folders.length && isSamePart(folders[partAt]!, folders[at]!);
  const words = plainAt < 0 && alike === 'words' ? both[partAt]?.rest : undefined;
  const rest = parts
    .map((folder, at) => (at === partAt ? words : folder))
    .filter((folder, at) => folder && (at === partAt || (at !== splitAt && !isAgain(at))));
  return {
    name,
    part,
    split,
    stem: `${split ?? ''}/${withoutEnding(alike === 'own names' ? parts.at(-1)! : rest.join('/'))}`,
    isWithin: part !== undefined && folders.slice(partAt + 1).some((folder) => partOf(folder) === part),
    shown: [...(split ? [split] : []), ...rest].join('/'),
  };
}

/**
 * Images and masks of one name in `images/` and `masks/`, or folders that are called otherwise in known datasets; a
 * split is the folder around both, or one in each of them. Names of masks may have something behind their images'
 * names, by `suffix` or by what is usual, or before them; such ones may lie beside their images.
 */
export function arrangePairs(names: readonly string[], suffix: string | undefined): Arrangement {
  const arranged = arrangedBy(names, suffix, 'words');
  if (arranged.files.length > 0) return arranged;
  // Folders of ISIC's training are called after different tasks.
  const byFolders = arrangedBy(names, suffix, 'folders');
  if (byFolders.files.length > 0) return byFolders;
  // The archives of Cityscapes unpack to folders of their own, those of BDD100K to trees that differ.
  const byOwnNames = arrangedBy(names, suffix, 'own names');
  return byOwnNames.files.length > 0 ? byOwnNames : byFolders;
}

function arrangedBy(names: readonly string[], suffix: string | undefined, alike: Alike): Arrangement {
  const samples = names.filter((name) => IMAGE.test(name));
  const arranged: Arrangement = {
    files: [],
    ignored: names.filter((name) => !IMAGE.test(name)),
    leftOut: [],
    lostClasses: [],
  };
  const prefix = wrapping(samples);
  const places: Placed[] = [];
  for (const name of samples) {
    const place = placeOf(name, prefix, alike);
    if (place === 'unlabelled') arranged.leftOut.push({ name, reason: 'lie in a folder of unlabelled images' });
    else places.push(place);
  }
  const parts = partsOf(places, suffix);
  const { images, masks, others } = alike === 'own names' ? toldApart(parts) : parts;
  arranged.ignored.push(...others.map(({ name }) => name));
  for (const [image, mask] of paired(images, masks, suffix, arranged)) {
    const file = { name: image.shown, className: '', group: null, split: image.split ?? null };
    arranged.files.push({ sample: image.name, mask: mask.name, file });
  }
  return arranged;
}

type Parts = Record<Part | 'others', Placed[]>;

/**
 * Images and masks that their names alone can pair: none where several are called alike, so that an image would get the
 * mask of another. Of masks in several forms, as `labels/sem_seg/masks` and `labels/sem_seg/colormaps`, those that are
 * called so.
 */
function toldApart({ images, masks: all, others }: Parts): Parts {
  const { within = [], beside = [] } = Object.groupBy(all, ({ isWithin }) => (isWithin ? 'within' : 'beside'));
  const masks = within.length > 0 ? within : beside;
  const areApart = [images, masks].every((some) => new Set(some.map(({ stem }) => stem)).size === some.length);
  if (!areApart) return { images: [], masks: [], others: [] };
  return { images, masks, others: within.length > 0 ? [...others, ...beside] : others };
}

/** Where no folder says what is an image and what a mask, their names do. */
function partsOf(places: readonly Placed[], suffix: string | undefined): Parts {
  const found: Parts = { images: [], masks: [], others: [] };
  const hasMasks = places.some(({ part }) => part === 'masks');
  const hasImages = places.some(({ part }) => part === 'images');
  const byName = hasMasks
    ? undefined
    : ofOneBase(
        places.map(({ stem }) => stem),
        suffix,
      );
  for (const place of places) {
    if (hasMasks && place.part) found[place.part].push(place);
    // Beside folders of masks alone, all else is an image: `train` and `trainannot`.
    else if (hasMasks) found[hasImages ? 'others' : 'images'].push(place);
    else found[byName!.get(place.stem) ?? 'others'].push(place);
  }
  return found;
}

/** Masks by their names, where there is no suffix that they have to have, and the best of each by the images' names. */
function byNames(
  masks: readonly Placed[],
  suffix: string | undefined,
): { byStem: Map<string, Placed>; byBase: Map<string, { mask: Placed; rank: number }> } {
  const byStem = new Map<string, Placed>();
  const byBase = new Map<string, { mask: Placed; rank: number }>();
  for (const mask of masks) {
    const told = baseOfMask(mask.stem, suffix);
    if (suffix === undefined && !byStem.has(mask.stem)) byStem.set(mask.stem, mask);
    const other = told && byBase.get(told.base);
    if (told && (!other || told.rank < other.rank)) byBase.set(told.base, { mask, rank: told.rank });
  }
  return { byStem, byBase };
}

/** Equal names first, then those without what is usual behind or before them. What has no partner is ignored. */
function* paired(
  images: readonly Placed[],
  masks: readonly Placed[],
  suffix: string | undefined,
  arranged: Pick<Arrangement, 'ignored' | 'leftOut'>,
): Generator<[Placed, Placed]> {
  const { byStem, byBase } = byNames(masks, suffix);
  const taken = new Set<Placed>();
  const bases = new Set<string>();
  const take = (image: Placed, mask: Placed | undefined): Placed | undefined => {
    if (mask === undefined || taken.has(mask)) return undefined;
    taken.add(mask);
    bases.add(baseOfImage(image.stem));
    return mask;
  };
  const alone: Placed[] = [];
  for (const image of images) {
    const mask = take(image, byStem.get(image.stem) ?? byBase.get(image.stem)?.mask);
    if (mask) yield [image, mask];
    else alone.push(image);
  }
  for (const image of alone) {
    const base = baseOfImage(image.stem);
    const mask = take(image, byBase.get(base)?.mask ?? byStem.get(base));
    if (mask) yield [image, mask];
    else arranged.ignored.push(image.name);
  }
  for (const mask of masks.filter((each) => !taken.has(each)))
    if (bases.has(otherBaseOf(mask.stem)))
      arranged.leftOut.push({ name: mask.name, reason: 'are of an image that another mask is taken of' });
    else arranged.ignored.push(mask.name);
}
