/** What the names of images and of their masks have in common. */
import type { LeftOut } from './containers.js';
import { withoutEnding } from './file-name.js';

/** Behind the names of images, where those of their masks end otherwise (`_0000`: nnU-Net's first channel). */
const IMAGE_SUFFIX = /[_-](?:leftImg8bit|image|img|rgb|sat|0000)$/i;
/** Before them, where those of their masks begin otherwise: `image_0001` and `mask_0001`, or `img1` and `mask1`. */
const IMAGE_PREFIX = /^(?:images?|imgs?|im|rgb|sat|photo|frame|input)(?:[_. -]|(?=\d))/i;
/**
 * How names of masks end that otherwise are their images' names: of Cityscapes, CamVid (`_L`), ADE20K (`_seg`) and of
 * tools. Of several masks of an image that with the first of these endings is taken.
 */
const MASK_SUFFIXES = [
  /_gt(fine|coarse)_labelTrainIds$/i,
  /_gt(fine|coarse)_labelIds$/i,
  /_L$/,
  /[_. -](seg|segmentation|masks?|labels?|gt|groundtruth|annotation)$/i,
];
/** How they begin, of those that end like their images. */
const MASK_PREFIX = /^(?:seg|segmentation|masks?|labels?|gt|groundtruth|annotation)(?:[_. -]|(?=\d))/i;

/** A path that begins with its folders, and ends with a file's own name. */
const cut = (stem: string): [folders: string, own: string] => {
  const at = stem.lastIndexOf('/') + 1;
  return [stem.slice(0, at), stem.slice(at)];
};

/** The name of an image without what images have and masks have not. */
export function baseOfImage(stem: string): string {
  const [folders, own] = cut(stem);
  const before = own.replace(IMAGE_SUFFIX, '');
  return folders + ((before === own ? own.replace(IMAGE_PREFIX, '') : before) || own);
}

/**
 * The name of a mask without what is behind its image's name, `suffix` or what is usual, or before it: the less `rank`,
 * the rather it is taken. Undefined where it has nothing that is known.
 */
export function baseOfMask(stem: string, suffix?: string): { base: string; rank: number } | undefined {
  if (suffix !== undefined) return stem.endsWith(suffix) ? { base: stem.slice(0, -suffix.length), rank: 0 } : undefined;
  for (const [rank, usual] of MASK_SUFFIXES.entries()) {
    const ending = usual.exec(stem)?.[0];
    if (ending !== undefined) return { base: stem.slice(0, -ending.length), rank };
  }
  const [folders, own] = cut(stem);
  const rest = own.replace(MASK_PREFIX, '');
  return rest === own || rest === '' ? undefined : { base: folders + rest, rank: MASK_SUFFIXES.length };
}

/** What a mask's name has in common with its image's, also of those kinds of Cityscapes that are never taken. */
export function otherBaseOf(stem: string): string {
  const ofCityscapes = stem.replace(/_gt(fine|coarse)_\w+$/i, '');
  return ofCityscapes === stem ? (baseOfMask(stem)?.base ?? stem) : ofCityscapes;
}

/**
 * Which of these names are of masks and which of the images that they are of, where both lie in one folder: a mask is
 * called like an image but for what is known of masks, and, if need be, of images.
 */
export function ofOneBase(stems: readonly string[], suffix?: string): Map<string, 'images' | 'masks'> {
  const all = new Set(stems);
  const images = new Map<string, string[]>();
  for (const stem of all) {
    const base = baseOfImage(stem);
    if (base !== stem && !baseOfMask(stem, suffix)) images.set(base, [...(images.get(base) ?? []), stem]);
  }
  const found = new Map<string, 'images' | 'masks'>();
  for (const stem of all) {
    const base = baseOfMask(stem, suffix)?.base;
    if (base === undefined) continue;
    const those = all.has(base) ? [base] : (images.get(base) ?? []);
    if (those.length > 0) found.set(stem, 'masks');
    for (const image of those) if (found.get(image) !== 'masks') found.set(image, 'images');
  }
  return found;
}

const ARE_MASKS = 'are masks of the images beside them, as their names say: `masks` makes a dataset of both';

/** Images, and the masks among them that nobody asked for: those of half of the images at least, by their names. */
export function withoutMasks(names: readonly string[]): { images: readonly string[]; masks: LeftOut[] } {
  const found = ofOneBase(names.map(withoutEnding));
  const of = (part: 'images' | 'masks') => names.filter((name) => found.get(withoutEnding(name)) === part);
  const masks = new Set(of('masks'));
  const images = names.filter((name) => !masks.has(name));
  return 2 * of('images').length >= images.length
    ? { images, masks: [...masks].map((name) => ({ name, reason: ARE_MASKS })) }
    : { images: names, masks: [] };
}
