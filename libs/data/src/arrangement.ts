/** What the paths of files in a folder or an archive tell: samples, their classes and splits. */
import type { Split } from '#libs/contracts';
import { splitOfFolder, type SourceFile } from './containers.js';
import type { FileName } from './file-name.js';

export const IMAGE = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;

/** Samples with the paths that their parts have in the container. */
export interface Arrangement {
  files: { file: SourceFile; sample: string; mask?: string }[];
  ignored: string[];
}

/**
 * How many folders around everything there are: each with all that follows in it, and neither a split nor one of
 * `kept`.
 */
function wrapping(names: readonly string[], depth: number, kept: readonly string[] = []): number {
  let prefix = 0;
  const first = names[0]?.split('/') ?? [];
  while (
    names.length &&
    !splitOfFolder(first[prefix]) &&
    !kept.includes(first[prefix]!.toLowerCase()) &&
    names.every((name) => name.split('/').length - prefix >= depth && name.split('/')[prefix] === first[prefix])
  )
    prefix++;
  return prefix;
}

/** What is a sample of which class: folders around everything are taken off, `train`, `val` and `test` are splits. */
export function arrange(names: readonly string[], media: RegExp, fileName: FileName | undefined): Arrangement {
  const samples = names.filter((name) => media.test(name));
  const ignored = names.filter((name) => !media.test(name));
  // A split or a wrapping folder is one around class folders, or around files whose names tell the class.
  const depth = fileName ? 2 : 3;
  const prefix = wrapping(samples, depth);
  const inSplits =
    samples.length > 0 &&
    samples.every((name) => name.split('/').length - prefix >= depth && splitOfFolder(name.split('/')[prefix]));
  const files: Arrangement['files'] = [];
  for (const name of samples) {
    const parts = name.split('/').slice(prefix);
    const split = inSplits ? splitOfFolder(parts.shift())! : null;
    const inFolder = parts.length < 2 ? undefined : { label: parts[0]!, group: null };
    const told = fileName ? fileName(withoutEnding(parts.at(-1)!)) : inFolder;
    if (!told) ignored.push(name);
    else
      files.push({
        sample: name,
        file: {
          name: [...(split ? [split] : []), ...parts].join('/'),
          className: told.label,
          group: told.group,
          split,
        },
      });
  }
  return { files, ignored };
}

/**
 * Images and masks of one name in `images/` and `masks/`; a split is the folder around both, or the one in each of
 * them.
 */
export function arrangePairs(names: readonly string[]): Arrangement {
  const samples = names.filter((name) => IMAGE.test(name));
  const ignored = names.filter((name) => !IMAGE.test(name));
  const prefix = wrapping(samples, 2, ['images', 'masks']);
  const pairs = new Map<string, { split: Split | null; name: string; images?: string; masks?: string }>();
  for (const name of samples) {
    const parts = name.split('/').slice(prefix);
    const place = placeOfPart(parts);
    if (!place) {
      ignored.push(name);
      continue;
    }
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
  return { files, ignored };
}

/** Whether a path leads to an image or to a mask, of which split, and what it is called there. */
function placeOfPart(
  parts: readonly string[],
): { folder: 'images' | 'masks'; split: Split | undefined; rest: string[] } | undefined {
  const [outer, inner] = parts;
  const folder = [outer, inner]
    .map((part) => part?.toLowerCase())
    .find((part) => part === 'images' || part === 'masks');
  const isOuter = outer?.toLowerCase() === folder;
  const split = splitOfFolder(isOuter ? inner : outer);
  const rest = parts.slice(split || !isOuter ? 2 : 1);
  if (!folder || rest.length === 0 || (!isOuter && !split)) return undefined;
  return { folder, split, rest };
}

const withoutEnding = (name: string): string => name.replace(/\.[^./]*$/, '');
