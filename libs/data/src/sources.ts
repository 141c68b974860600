/** Where samples come from, whatever form they lie in there. */
import type { PrepareDataset } from '#libs/contracts';
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { arrange, arrangePairs, IMAGE, type Arrangement } from './arrangement.js';
import { openFolder, openTar, openZip, requireInside, type Container, type Part, type Source } from './containers.js';
import { fileNameMatcher, type FileName } from './file-name.js';
import { IDX, openIdx } from './idx.js';
import { InvalidDataError } from './invalid-data.js';
import { openParquet } from './parquet.js';
import { openShards } from './web-dataset.js';

const SOUND = /\.(wave?|flac|mp3|ogg|oga)$/i;
const PARQUET = /\.parquet$/i;
const TAR = /\.(tar|tar\.gz|tgz)$/i;

type SourceSpec = Pick<PrepareDataset, 'path' | 'audio' | 'masks' | 'fileName'>;
type Files = { name: string; path: string }[];

/**
 * Opens the source at `spec.path`, a path in `dataRoot`: a folder or an archive of images or sounds, WebDataset shards,
 * Parquet or IDX files. Links that lead out of the root are refused.
 * @throws InvalidDataError naming what was expected and what was found.
 */
export async function openSource(spec: SourceSpec, dataRoot: string): Promise<Source> {
  const { path: target, masks } = spec;
  const root = await realpath(dataRoot).catch(() => {
    throw new InvalidDataError(`expected the data root ${dataRoot} to exist on the worker`);
  });
  const found = await realpath(path.resolve(root, target)).catch(() => {
    throw new InvalidDataError(`expected a folder or an archive at ${target} in the data root, found nothing`);
  });
  requireInside(found, root, target);
  const info = await stat(found);
  const fileName = spec.fileName === undefined ? undefined : fileNameMatcher(spec.fileName);
  const collections = collectionsOf(spec, fileName);
  const alone = [{ name: path.basename(found), path: found }];
  if (info.isFile() && PARQUET.test(found)) return collections.parquet(alone);
  const container = info.isDirectory()
    ? await openFolder(found, root)
    : await openArchive(found, target, info.isFile());
  const { names } = container;
  if (info.isFile() && TAR.test(found) && names.some((name) => /\.cls$/i.test(name))) return collections.shards(alone);
  const arranged = masks ? arrangePairs(names) : arrange(names, mediaOf(spec), fileName);
  if (arranged.files.length === 0 && info.isDirectory()) {
    const those = (pattern: RegExp): Files =>
      names
        .filter((name) => pattern.test(name))
        .sort()
        .map((name) => ({ name, path: path.join(found, name) }));
    const [tables, arrays, shards] = [those(PARQUET), those(IDX), those(TAR)];
    if (tables.length) return collections.parquet(tables);
    if (arrays.length) return collections.idx(arrays);
    if (shards.length) return collections.shards(shards);
  }
  return sourceOf(container, arranged);
}

const mediaOf = ({ audio }: SourceSpec): RegExp => (audio ? SOUND : IMAGE);

/** Opens files that hold many samples each. @throws InvalidDataError where the spec asks for what they can't have. */
function collectionsOf(spec: SourceSpec, fileName: FileName | undefined) {
  const { path: target, audio, masks } = spec;
  const requirePlain = (what: string) => {
    if (masks)
      throw new InvalidDataError(`expected folders images and masks, which masks need, got ${what} at ${target}`);
    if (fileName && what !== 'WebDataset shards')
      throw new InvalidDataError(`expected files with names, which fileName needs, got ${what} at ${target}`);
  };
  return {
    parquet: (files: Files): Promise<Source> => {
      requirePlain('Parquet');
      return openParquet(files, audio ? 'audio' : 'image');
    },
    idx: (files: Files): Promise<Source> => {
      requirePlain('IDX');
      if (audio) throw new InvalidDataError(`expected sounds at ${target}, got IDX files, which hold images`);
      return openIdx(files);
    },
    shards: (files: Files): Promise<Source> => {
      requirePlain('WebDataset shards');
      return openShards(files, mediaOf(spec), fileName);
    },
  };
}

async function openArchive(found: string, target: string, isFile: boolean): Promise<Container> {
  if (isFile && TAR.test(found)) return openTar(found, target);
  if (isFile && /\.zip$/i.test(found)) return openZip(found, target);
  throw new InvalidDataError(
    `expected a folder, or a file that ends in .tar, .tar.gz, .tgz, .zip or .parquet, got ${target}`,
  );
}

function sourceOf(container: Container, { files, ignored }: Arrangement): Source {
  files.sort(({ file: a }, { file: b }) => Number(a.name > b.name) - Number(a.name < b.name));
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
