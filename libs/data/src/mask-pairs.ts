/** Images and their masks, as the paths of files tell which belong together. */
import type { Split } from '#libs/contracts';
import { IMAGE, type Arrangement } from './arrangement.js';
import { splitOfFolder } from './split-words.js';

const isPart = (folder: string | undefined): boolean => /^(images|masks)$/i.test(folder ?? '');

/** How many folders around everything there are: each with all that follows in it, and neither a split nor a part. */
function wrapping(names: readonly string[]): number {
  let prefix = 0;
  const first = names[0]?.split('/') ?? [];
  while (
    names.length &&
    !splitOfFolder(first[prefix]) &&
    !isPart(first[prefix]) &&
    names.every((name) => name.split('/').length - prefix >= 2 && name.split('/')[prefix] === first[prefix])
  )
    prefix++;
  return prefix;
}

/**
 * Images and masks of one name in `images/` and `masks/`; a split is the folder around both, or the one in each of
 * them.
 */
export function arrangePairs(names: readonly string[]): Arrangement {
  const samples = names.filter((name) => IMAGE.test(name));
  const ignored = names.filter((name) => !IMAGE.test(name));
  const leftOut: Arrangement['leftOut'] = [];
  const prefix = wrapping(samples);
  const pairs = new Map<string, { split: Split | null; name: string; images?: string; masks?: string }>();
  for (const name of samples) {
    const place = placeOfPart(name.split('/').slice(prefix));
    if (place === undefined) ignored.push(name);
    else if (place === 'unlabelled') leftOut.push({ name, reason: 'lie in a folder of unlabelled images' });
    if (place === undefined || place === 'unlabelled') continue;
    const { folder, split, rest } = place;
    const shown = [...(split ? [split] : []), ...rest].join('/');
    const key = `${split ?? ''}/${withoutEnding(rest.join('/'))}`;
    let pair = pairs.get(key);
    if (!pair) pairs.set(key, (pair = { split: split ?? null, name: shown }));
    if (pair[folder] === undefined) pair[folder] = name;
    else ignored.push(name);
    if (folder === 'images') pair.name = shown;
  }
  const files: Arrangement['files'] = [];
  for (const { split, name, images, masks } of pairs.values()) {
    if (images !== undefined && masks !== undefined)
      files.push({ sample: images, mask: masks, file: { name, className: '', group: null, split } });
    else ignored.push(images ?? masks!);
  }
  return { files, ignored, leftOut, lostClasses: [] };
}

/** Whether a path leads to an image or to a mask, of which split, and what it is called there. */
function placeOfPart(
  parts: readonly string[],
): { folder: 'images' | 'masks'; split: Split | undefined; rest: string[] } | 'unlabelled' | undefined {
  const [outer, inner] = parts;
  const folder = [outer, inner]
    .map((part) => part?.toLowerCase())
    .find((part) => part === 'images' || part === 'masks');
  const isOuter = outer?.toLowerCase() === folder;
  const split = splitOfFolder(isOuter ? inner : outer);
  if (split === 'unlabelled') return split;
  const rest = parts.slice(split || !isOuter ? 2 : 1);
  if (!folder || rest.length === 0 || (!isOuter && !split)) return undefined;
  return { folder, split, rest };
}

const withoutEnding = (name: string): string => name.replace(/\.[^./]*$/, '');
