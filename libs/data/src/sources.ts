/** Where samples come from, whatever form they lie in there. */
import type { PrepareDataset, Split } from '#libs/contracts';
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import {
  openFolder,
  openTar,
  openZip,
  requireInside,
  splitOfFolder,
  type Container,
  type Part,
  type Source,
  type SourceFile,
} from './containers.js';
import { fileNameMatcher, type FileName } from './file-name.js';
import { IDX, openIdx } from './idx.js';
import { InvalidDataError } from './npy.js';
import { openParquet } from './parquet.js';
import { openShards } from './web-dataset.js';

const IMAGE = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;
const SOUND = /\.(wave?|flac|mp3|ogg|oga)$/i;
const TAR = /\.(tar|tar\.gz|tgz)$/i;

/**
 * Opens the source at `spec.path`, a path in `dataRoot`: a folder or an archive of images or sounds, WebDataset shards,
 * Parquet or
 * IDX files. Links that lead out of the root are refused.
 * @throws InvalidDataError naming what was expected and what was found.
 */
export async function openSource(
  spec: Pick<PrepareDataset, 'path' | 'audio' | 'masks' | 'fileName'>,
  dataRoot: string,
): Promise<Source> {
  const { path: target, masks } = spec;
  const root = await realpath(dataRoot).catch(() => {
    throw new InvalidDataError(`expected the data root ${dataRoot} to exist on the worker`);
  });
  const found = await realpath(path.resolve(root, target)).catch(() => {
    throw new InvalidDataError(`expected a folder or an archive at ${target} in the data root, found nothing`);
  });
  requireInside(found, root, target);
  const info = await stat(found);
  const media = spec.audio ? SOUND : IMAGE;
  const modality = spec.audio ? 'audio' : 'image';
  const fileName = spec.fileName === undefined ? undefined : fileNameMatcher(spec.fileName);
  const alone = [{ name: path.basename(found), path: found }];
  const plain = (what: string) => {
    if (masks)
      throw new InvalidDataError(`expected folders images and masks, which masks need, got ${what} at ${target}`);
    if (fileName && what !== 'WebDataset shards')
      throw new InvalidDataError(`expected files with names, which fileName needs, got ${what} at ${target}`);
  };
  if (info.isFile() && /\.parquet$/i.test(found)) {
    plain('Parquet');
    return openParquet(alone, modality);
  }
  const container = info.isDirectory()
    ? await openFolder(found, root)
    : info.isFile() && TAR.test(found)
      ? await openTar(found, target)
      : info.isFile() && /\.zip$/i.test(found)
        ? await openZip(found, target)
        : undefined;
  if (!container)
    throw new InvalidDataError(
      `expected a folder, or a file that ends in .tar, .tar.gz, .tgz, .zip or .parquet, got ${target}`,
    );
  const { names } = container;
  if (info.isFile() && TAR.test(found) && names.some((name) => /\.cls$/i.test(name))) {
    plain('WebDataset shards');
    return openShards(alone, media, fileName);
  }
  const arranged = masks ? arrangePairs(names) : arrange(names, media, fileName);
  if (arranged.files.length === 0 && info.isDirectory()) {
    const those = (pattern: RegExp) =>
      names
        .filter((name) => pattern.test(name))
        .sort()
        .map((name) => ({ name, path: path.join(found, name) }));
    const [tables, arrays, shards] = [those(/\.parquet$/i), those(IDX), those(TAR)];
    if (tables.length) {
      plain('Parquet');
      return openParquet(tables, modality);
    }
    if (arrays.length) {
      plain('IDX');
      if (spec.audio) throw new InvalidDataError(`expected sounds at ${target}, got IDX files, which hold images`);
      return openIdx(arrays);
    }
    if (shards.length) {
      plain('WebDataset shards');
      return openShards(shards, media, fileName);
    }
  }
  return sourceOf(container, arranged);
}

interface Arranged {
  files: { file: SourceFile; sample: string; mask?: string }[];
  ignored: string[];
}

function sourceOf(container: Container, { files, ignored }: Arranged): Source {
  files.sort((a, b) => (a.file.name < b.file.name ? -1 : a.file.name > b.file.name ? 1 : 0));
  const places = new Map<string, [number, Part]>();
  for (const [index, { sample, mask }] of files.entries()) {
    places.set(sample, [index, 'sample']);
    if (mask !== undefined) places.set(mask, [index, 'mask']);
  }
  return {
    files: files.map(({ file }) => file),
    ignored,
    read: (visit, signal) =>
      container.read(
        (name) => places.has(name),
        (name, bytes) => visit(places.get(name)![0], bytes, places.get(name)![1]),
        signal,
      ),
  };
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
function arrange(names: readonly string[], media: RegExp, fileName: FileName | undefined): Arranged {
  const samples = names.filter((name) => media.test(name));
  const ignored = names.filter((name) => !media.test(name));
  // A split or a wrapping folder is one around class folders, or around files whose names tell the class.
  const depth = fileName ? 2 : 3;
  const prefix = wrapping(samples, depth);
  const inSplits =
    samples.length > 0 &&
    samples.every((name) => name.split('/').length - prefix >= depth && splitOfFolder(name.split('/')[prefix]));
  const files: Arranged['files'] = [];
  for (const name of samples) {
    const parts = name.split('/').slice(prefix);
    const split = inSplits ? splitOfFolder(parts.shift())! : null;
    const told = fileName
      ? fileName(withoutEnding(parts.at(-1)!))
      : parts.length < 2
        ? undefined
        : { label: parts[0]!, group: null };
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
function arrangePairs(names: readonly string[]): Arranged {
  const samples = names.filter((name) => IMAGE.test(name));
  const ignored = names.filter((name) => !IMAGE.test(name));
  const prefix = wrapping(samples, 2, ['images', 'masks']);
  const pairs = new Map<string, { split: Split | null; name: string; images?: string; masks?: string }>();
  for (const name of samples) {
    const parts = name.split('/').slice(prefix);
    const [outer, inner] = [parts[0], parts[1]];
    const folder = [outer, inner]
      .map((part) => part?.toLowerCase())
      .find((part) => part === 'images' || part === 'masks');
    const isOuter = outer?.toLowerCase() === folder;
    const split = splitOfFolder(isOuter ? inner : outer);
    const rest = parts.slice(split || !isOuter ? 2 : 1);
    if (!folder || rest.length === 0 || (!isOuter && !split)) {
      ignored.push(name);
      continue;
    }
    const key = `${split ?? ''}/${withoutEnding(rest.join('/'))}`;
    let pair = pairs.get(key);
    if (!pair) pairs.set(key, (pair = { split: split ?? null, name: [...(split ? [split] : []), ...rest].join('/') }));
    if (pair[folder] === undefined) pair[folder] = name;
    else ignored.push(name);
    if (folder === 'images') pair.name = [...(split ? [split] : []), ...rest].join('/');
  }
  const files: Arranged['files'] = [];
  for (const { split, name, images, masks } of pairs.values()) {
    if (images !== undefined && masks !== undefined)
      files.push({ sample: images, mask: masks, file: { name, className: '', group: null, split } });
    else ignored.push(images ?? masks!);
  }
  return { files, ignored };
}

const withoutEnding = (name: string): string => name.replace(/\.[^./]*$/, '');
