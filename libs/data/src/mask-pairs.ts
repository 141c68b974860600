/** Images and their masks, as the paths of files tell which belong together. */
import { IMAGE, IMAGE_FOLDER, MASK_FOLDER, type Split } from '#libs/contracts';
import type { Arrangement } from './arrangement.js';
import { restOf, splitAmongWords, splitOfFolder, type SplitWord } from './split-words.js';

type Part = 'images' | 'masks';

/** A folder of masks beside the folder of images that it begins like: `trainannot` of CamVid as SegNet has it. */
const ANNOTATED = /^(.+?)[_-]?annot$/i;
const IMAGE_SUFFIX = /(_leftImg8bit|_image|_img|_rgb|_sat)$/i;
/**
 * How names of masks end that otherwise are their images' names: of Cityscapes, CamVid (`_L`), ADE20K (`_seg`) and of
 * tools. Of several masks of an image that with the first of these endings is taken.
 */
const MASK_SUFFIXES = [
  /_gt(fine|coarse)_labelTrainIds$/i,
  /_gt(fine|coarse)_labelIds$/i,
  /_L$/,
  /[_-](seg|segmentation|masks?|labels?|gt|annotation)$/i,
];

interface Placed {
  name: string;
  part: Part | undefined;
  split: Split | undefined;
  /** What is left of the path without the folders of the split and the part, and without the ending. */
  stem: string;
  shown: string;
}

const partOf = (folder: string): Part | undefined => {
  if (IMAGE_FOLDER.test(folder)) return 'images';
  return MASK_FOLDER.test(folder) ? 'masks' : undefined;
};

/** What a folder is whose name says both: `train_masks`, `LabelsVal`, `trainannot` of CamVid as SegNet has it. */
function partOfSplit(folder: string): { part: Part; split: SplitWord } | undefined {
  const annotated = splitOfFolder(ANNOTATED.exec(folder)?.[1]);
  if (annotated) return { part: 'masks', split: annotated };
  const split = splitAmongWords(folder);
  const part = split && partOf(restOf(folder));
  return part && { part, split };
}

/** How many folders around everything there are: each with all that follows in it, and neither a split nor a part. */
function wrapping(names: readonly string[]): number {
  let prefix = 0;
  const first = names[0]?.split('/') ?? [];
  while (
    names.length &&
    !splitOfFolder(first[prefix]) &&
    !partOf(first[prefix] ?? '') &&
    names.every((name) => name.split('/').length - prefix >= 2 && name.split('/')[prefix] === first[prefix])
  )
    prefix++;
  return prefix;
}

const isSamePart = (folder: string, inner: string): boolean =>
  folder.toLowerCase() === inner.toLowerCase() || (partOf(folder) === 'masks' && /^trimaps?$/i.test(inner));

/** Folders that a split's can lie below. */
const DEPTH_OF_SPLITS = 3;

/** Whether a path leads to an image or to a mask, of which split, and what it is called there. */
function placeOf(name: string, prefix: number): Placed | 'unlabelled' {
  const parts = name.split('/').slice(prefix);
  const folders = parts.slice(0, -1);
  const both = folders.map(partOfSplit);
  const plainAt = folders.findIndex((folder) => partOf(folder) !== undefined);
  const partAt = plainAt >= 0 ? plainAt : both.findIndex((each) => each !== undefined);
  const splits = folders
    .slice(0, DEPTH_OF_SPLITS)
    .map((folder, at) => (at === plainAt ? undefined : (splitOfFolder(folder) ?? both[at]?.split)));
  const splitAt = splits.findIndex((split) => split !== undefined);
  const split = splits[splitAt];
  if (split === 'unlabelled') return split;
  const part = partOf(folders[plainAt] ?? '') ?? both[partAt]?.part;
  // `masks/masks`, as archives of folders give, and `annotations/trimaps`.
  const isAgain = (at: number): boolean =>
    partAt >= 0 && at === partAt + 1 && at < folders.length && isSamePart(folders[partAt]!, folders[at]!);
  const rest = parts.filter((_, at) => at !== partAt && at !== splitAt && !isAgain(at));
  return {
    name,
    part,
    split,
    stem: `${split ?? ''}/${withoutEnding(rest.join('/'))}`,
    shown: [...(split ? [split] : []), ...rest].join('/'),
  };
}

/**
 * Images and masks of one name in `images/` and `masks/`, or folders that are called otherwise in known datasets; a
 * split is the folder around both, or one in each of them. Names of masks may go on behind their images' names, by
 * `suffix` or by what is usual; such ones may lie beside their images.
 */
export function arrangePairs(names: readonly string[], suffix: string | undefined): Arrangement {
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
    const place = placeOf(name, prefix);
    if (place === 'unlabelled') arranged.leftOut.push({ name, reason: 'lie in a folder of unlabelled images' });
    else places.push(place);
  }
  const { images, masks, others } = partsOf(places, suffix);
  arranged.ignored.push(...others.map(({ name }) => name));
  for (const [image, mask] of paired(images, masks, suffix, arranged)) {
    const file = { name: image.shown, className: '', group: null, split: image.split ?? null };
    arranged.files.push({ sample: image.name, mask: mask.name, file });
  }
  return arranged;
}

/** Where no folder says what is an image and what a mask, their names do. */
function partsOf(
  places: readonly Placed[],
  suffix: string | undefined,
): { images: Placed[]; masks: Placed[]; others: Placed[] } {
  const found = { images: [] as Placed[], masks: [] as Placed[], others: [] as Placed[] };
  const hasMasks = places.some(({ part }) => part === 'masks');
  const hasImages = places.some(({ part }) => part === 'images');
  const stems = new Set(places.map(({ stem }) => stem));
  const maskOf = ({ stem }: Placed): string | undefined => {
    const ending = endingOf(stem, suffix);
    return ending && stems.has(stem.slice(0, -ending.length)) ? stem.slice(0, -ending.length) : undefined;
  };
  const beside = new Set(places.flatMap((place) => maskOf(place) ?? []));
  for (const place of places) {
    if (hasMasks && place.part) found[place.part].push(place);
    // Beside folders of masks alone, all else is an image: `train` and `trainannot`.
    else if (hasMasks) found[hasImages ? 'others' : 'images'].push(place);
    else if (maskOf(place) !== undefined) found.masks.push(place);
    else found[beside.has(place.stem) ? 'images' : 'others'].push(place);
  }
  return found;
}

/** What a mask's name has behind that of its image; undefined where it has nothing that is known. */
function endingOf(stem: string, suffix: string | undefined): string | undefined {
  if (suffix !== undefined) return stem.endsWith(suffix) ? suffix : undefined;
  return MASK_SUFFIXES.map((usual) => usual.exec(stem)?.[0]).find((ending) => ending !== undefined);
}

const rankOf = (ending: string | undefined): number =>
  ending === undefined ? -1 : MASK_SUFFIXES.findIndex((usual) => usual.test(ending));

/** Equal names first, then those without what is usual behind them. What has no partner is ignored. */
function* paired(
  images: readonly Placed[],
  masks: readonly Placed[],
  suffix: string | undefined,
  arranged: Pick<Arrangement, 'ignored' | 'leftOut'>,
): Generator<[Placed, Placed]> {
  const byStem = new Map<string, Placed>();
  const byBase = new Map<string, Placed>();
  for (const mask of masks) {
    const ending = endingOf(mask.stem, suffix);
    if (suffix === undefined && !byStem.has(mask.stem)) byStem.set(mask.stem, mask);
    if (ending === undefined) continue;
    const base = mask.stem.slice(0, -ending.length);
    const other = byBase.get(base);
    if (!other || rankOf(ending) < rankOf(endingOf(other.stem, suffix))) byBase.set(base, mask);
  }
  const taken = new Set<Placed>();
  const bases = new Set<string>();
  for (const image of images) {
    const base = image.stem.replace(IMAGE_SUFFIX, '');
    const mask = byStem.get(image.stem) ?? byBase.get(image.stem) ?? byBase.get(base) ?? byStem.get(base);
    if (!mask || taken.has(mask)) {
      arranged.ignored.push(image.name);
      continue;
    }
    taken.add(mask);
    bases.add(base);
    yield [image, mask];
  }
  for (const mask of masks.filter((each) => !taken.has(each)))
    if (bases.has(baseOf(mask.stem)))
      arranged.leftOut.push({ name: mask.name, reason: 'are of an image that another mask is taken of' });
    else arranged.ignored.push(mask.name);
}

/** What a mask's name has in common with its image's, also of those kinds of Cityscapes that are never taken. */
function baseOf(stem: string): string {
  const ofCityscapes = stem.replace(/_gt(fine|coarse)_\w+$/i, '');
  const ending = endingOf(stem, undefined);
  return ofCityscapes === stem && ending ? stem.slice(0, -ending.length) : ofCityscapes;
}

const withoutEnding = (name: string): string => name.replace(/\.[^./]*$/, '');
