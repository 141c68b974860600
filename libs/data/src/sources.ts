/** Where samples come from, whatever form they lie in there. */
import { IMAGE, isImageOrSound, SOUND, SPLITS, type PrepareDataset } from '#libs/contracts';
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { arrange, type Arrangement } from './arrangement.js';
import { SOUND_FORMATS } from './audio-file.js';
import { withRenamed } from './classes.js';
import { areCalledLikeClasses, openClassArchives, openParts } from './class-archives.js';
import { requireInside, type Container, type Part, type Source } from './containers.js';
import { fileNameMatcher, type FileName } from './file-name.js';
import { openFolder } from './folder.js';
import { IDX, openIdx } from './idx.js';
import { InvalidDataError, named } from './invalid-data.js';
import { arrangeListed, splitByLists } from './listed.js';
import { arrangePairs } from './mask-pairs.js';
import { openParquet } from './parquet.js';
import { arrangePartitioned, partitionsAmong } from './partitions.js';
import { splitNamed } from './split-words.js';
import { openTar } from './tar.js';
import { formatOfName, refusalOf } from './unread-formats.js';
import { isDescription, isLabel, openShards } from './web-dataset.js';
import { openZip } from './zip.js';

const LIST = /\.(csv|tsv|jsonl?|ndjson|txt|lst)$/i;
const PARQUET = /\.parquet$/i;
/** LZ4 is among them so that it is refused with what to do. */
const TAR = /\.(tar|tar\.(gz|zst|zstd|bz2|xz|lz4)|tgz|tzst|tbz2?|txz)$/i;

type SourceSpec = Pick<
  PrepareDataset,
  'path' | 'audio' | 'masks' | 'fileName' | 'list' | 'splitLists' | 'columns' | 'renameClasses'
>;
type Files = { name: string; path: string }[];

/**
 * Opens the source at `spec.path`, a path in `dataRoot`: a folder or an archive of images or sounds, WebDataset shards,
 * Parquet or IDX files; with the classes that the spec renames. Links that lead out of the root are refused.
 * @throws InvalidDataError naming what was expected and what was found.
 */
export async function openSource(spec: SourceSpec, dataRoot: string): Promise<Source> {
  const source = await openPath(spec, dataRoot);
  return spec.renameClasses ? withRenamed(source, spec.renameClasses) : source;
}

/**
 * The data root, and what lies at `target` in it, both without links. `what` is expected there.
 * @throws InvalidDataError where nothing is there, or it lies outside of the root
 */
export async function insideRoot(
  dataRoot: string,
  target: string,
  what: string,
): Promise<{ root: string; found: string }> {
  const root = await realpath(dataRoot).catch(() => {
    throw new InvalidDataError(`expected the data root ${dataRoot} to exist on the worker`);
  });
  const found = await realpath(path.resolve(root, target)).catch(() => {
    throw new InvalidDataError(`expected ${what} at ${target} in the data root, found nothing`);
  });
  requireInside(found, root, target);
  return { root, found };
}

async function openPath(spec: SourceSpec, dataRoot: string): Promise<Source> {
  const { path: target } = spec;
  const { root, found } = await insideRoot(dataRoot, target, 'a folder or an archive');
  const info = await stat(found);
  const fileName = spec.fileName === undefined ? undefined : fileNameMatcher(spec.fileName);
  const collections = collectionsOf(spec, fileName);
  const alone = [{ name: path.basename(found), path: found }];
  if (info.isFile() && PARQUET.test(found)) return collections.parquet(alone);
  const container = info.isDirectory()
    ? await openFolder(found, root)
    : await openArchive(found, target, info.isFile());
  if (spec.list !== undefined || spec.splitLists) return openListed(spec, container, fileName);
  if (info.isDirectory()) return folderOrCollection(container, found, spec, collections);
  return TAR.test(found) ? archiveOrShard(container, alone, spec, collections) : collections.folder(container);
}

/** Samples whose labels or splits stand in lists among them. */
async function openListed(spec: SourceSpec, container: Container, fileName: FileName | undefined): Promise<Source> {
  const { list, splitLists = {} } = spec;
  const wanted = [...(list === undefined ? [] : [list]), ...Object.values(splitLists)];
  const texts = await readTexts(container, wanted);
  const arranged =
    list === undefined
      ? arrangementOf(spec, container, fileName)
      : arrangeListed(container.names, mediaOf(spec), { name: list, text: texts.get(list)! }, spec);
  const lists = SPLITS.flatMap((split) => {
    const name = splitLists[split];
    return name === undefined ? [] : [{ split, name, text: texts.get(name)! }];
  });
  const placed = lists.length ? splitByLists(arranged, lists) : arranged;
  const isByFolder = list === undefined && !spec.masks && !fileName?.hasLabel;
  return sourceOf(container, placed, mediaOf(spec), isByFolder);
}

/** @throws InvalidDataError where one is not there */
async function readTexts(container: Container, wanted: readonly string[]): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  const names = new Set(wanted.map((name) => path.posix.normalize(name)));
  const absent = [...names].filter((name) => !container.names.includes(name));
  if (absent.length)
    throw new InvalidDataError(
      `expected the lists ${named(absent)} among the files of the source, found ` +
        `${named(container.names.filter((name) => LIST.test(name))) || 'none'}`,
    );
  await container.read(
    (name) => names.has(name),
    (name, bytes) => {
      if (bytes instanceof Error) throw new InvalidDataError(`expected to be able to read ${name}: ${bytes.message}`);
      texts.set(name, textOf(name, bytes));
    },
    new AbortController().signal,
  );
  return new Map(wanted.map((name) => [name, texts.get(path.posix.normalize(name))!]));
}

/** @throws InvalidDataError for bytes that are no text: names that differ in an accent would become one */
function textOf(name: string, bytes: Buffer): string {
  const mark = bytes.toString('hex', 0, 2);
  const wide: Readonly<Record<string, string>> = { fffe: 'utf-16le', feff: 'utf-16be' };
  try {
    return new TextDecoder(wide[mark] ?? 'utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new InvalidDataError(
      `expected ${name} to be text in UTF-8, or in UTF-16 with a mark at its beginning: write it so ` +
        '(iconv -f latin1 -t utf-8)',
    );
  }
}

function arrangementOf(
  spec: SourceSpec,
  { names, emptyFolders }: Container,
  fileName: FileName | undefined,
): Arrangement {
  const { masks, columns } = spec;
  if (masks) return arrangePairs(names, masks.suffix);
  const media = mediaOf(spec);
  const partitions = partitionsAmong(
    names.filter((name) => media.test(name)),
    columns,
  );
  return partitions
    ? arrangePartitioned(partitions, names, emptyFolders, media, fileName, columns)
    : arrange(names, emptyFolders, media, fileName);
}

type Collections = ReturnType<typeof collectionsOf>;

/** Files of many samples each count where no file is a sample with a class by itself. */
async function folderOrCollection(
  container: Container,
  found: string,
  spec: SourceSpec,
  collections: Collections,
): Promise<Source> {
  const those = (pattern: RegExp): Files =>
    container.names
      .filter((name) => pattern.test(name))
      .sort()
      .map((name) => ({ name, path: path.join(found, name) }));
  const [tables, arrays, shards] = [those(PARQUET), those(IDX), those(TAR)];
  const inFolders = collections.folder(container);
  if (inFolders.files.some(({ className }) => spec.masks || className !== '')) return inFolders;
  if (tables.length) return collections.parquet(tables);
  if (arrays.length) return collections.idx(arrays);
  if (shards.length === 0) return inFolders;
  if (areCalledLikeClasses(shards.map(({ name }) => name))) {
    const archives = await openClassArchives(shards);
    if (!archives.names.some(isLabel)) return collections.folder(archives);
  }
  const source = await collections.shards(shards);
  return source.files.some(({ className }) => className !== '')
    ? source
    : ((await byFolders(shards, spec, collections)) ?? source);
}

/**
 * Archives in which classes are folders: of one split each, `train.tar` and `val.tar`, or parts of a whole that were
 * packed one by one. Undefined for what is none.
 */
async function byFolders(
  files: Files,
  { fileName }: SourceSpec,
  collections: Collections,
): Promise<Source | undefined> {
  const splits = files.map(({ name }) => splitNamed(path.posix.basename(name)));
  if (splits.every((split) => split === null))
    return fileName === undefined ? byFoldersOfParts(files, collections) : undefined;
  if (splits.includes(null)) return undefined;
  const archives = await openClassArchives(files);
  const classes = new Set(archives.names.flatMap((name) => (isImageOrSound(name) ? [path.posix.dirname(name)] : [])));
  return classes.size > files.length ? collections.folder(archives) : undefined;
}

async function byFoldersOfParts(files: Files, collections: Collections): Promise<Source | undefined> {
  const parts = await openParts(files);
  const keyOf = (name: string) => name.replace(/\.[^/]*$/, '');
  const keys = new Set(parts.names.filter(isImageOrSound).map(keyOf));
  // Of a shard several files can be one sample.
  if (parts.names.some((name) => !isImageOrSound(name) && keys.has(keyOf(name)))) return undefined;
  const source = collections.folder(parts);
  return new Set(source.files.map(({ className }) => className)).size > 1 ? source : undefined;
}

/**
 * A tar is a shard where it has labels such as `.cls`, or describes every sample in JSON, whatever folders its keys lie
 * in.
 */
async function archiveOrShard(
  container: Container,
  alone: Files,
  spec: SourceSpec,
  collections: Collections,
): Promise<Source> {
  const { names } = container;
  if (names.some(isLabel)) return collections.shards(alone);
  const inFolders = collections.folder(container);
  if (spec.masks || spec.fileName !== undefined || !names.some(isDescription)) return inFolders;
  const shard = await collections.shards(alone);
  const described = shard.files.filter(({ className }) => className !== '').length;
  return described > 0 && described >= inFolders.files.length ? shard : inFolders;
}

const mediaOf = ({ audio }: SourceSpec): RegExp => (audio ? SOUND : IMAGE);

/** Opens files that hold many samples each. @throws InvalidDataError where the spec asks for what they can't have. */
function collectionsOf(spec: SourceSpec, fileName: FileName | undefined) {
  const { path: target, audio, masks } = spec;
  const requirePlain = (what: string) => {
    if (masks)
      throw new InvalidDataError(`expected folders images and masks, which masks need, got ${what} at ${target}`);
    for (const field of ['list', 'splitLists'] as const)
      if (spec[field])
        throw new InvalidDataError(`expected files with names, which ${field} needs, got ${what} at ${target}`);
    if (fileName && what !== 'WebDataset shards')
      throw new InvalidDataError(`expected files with names, which fileName needs, got ${what} at ${target}`);
  };
  return {
    folder: (container: Container): Source =>
      sourceOf(container, arrangementOf(spec, container, fileName), mediaOf(spec), !masks && !fileName?.hasLabel),
    parquet: (files: Files): Promise<Source> => {
      requirePlain('Parquet');
      return openParquet(files, audio ? 'audio' : 'image', spec.columns);
    },
    idx: (files: Files): Promise<Source> => {
      requirePlain('IDX');
      if (audio) throw new InvalidDataError(`expected sounds at ${target}, got IDX files, which hold images`);
      return openIdx(files);
    },
    shards: (files: Files): Promise<Source> => {
      requirePlain('WebDataset shards');
      return openShards(files, mediaOf(spec), fileName, spec.columns?.label);
    },
  };
}

async function openArchive(found: string, target: string, isFile: boolean): Promise<Container> {
  if (isFile && TAR.test(found)) return openTar(found, target);
  if (isFile && /\.zip$/i.test(found)) return openZip(found, target);
  throw new InvalidDataError(
    'expected a folder, a .tar.zst, .tar.bz2 or .tar.xz, or a file that ends in .tar, .tar.gz, .tgz, .zip or ' +
      `.parquet, got ${target}`,
  );
}

/** Notes, lists and programs that lie among samples, and were never meant as one. */
const NOTE =
  /\.(txt|md|rst|json|jsonl|geojson|csv|tsv|xml|ya?ml|toml|html?|pdf|docx?|xlsx?|db|ini|log|lnk|url|py|ipynb|sh|m|mat|pkl|npy|npz|h5|names|cls|zip|tar|tgz|gz|parquet|sha\d*|md5)$/i;
/** Such as say so by their names alone. What only begins so (`version1.dcm`) may have been meant as a sample. */
const CALLED_NOTE = /(?:^|\/)(?:readme|licen[cs]e|copying|authors|citation|notice|change(?:log|s)|version|makefile)$/i;

const isNote = (name: string): boolean => NOTE.test(name) || CALLED_NOTE.test(name);

const whyUnread = (name: string, media: RegExp): string =>
  media === SOUND ? `expected ${SOUND_FORMATS}: write it as FLAC` : refusalOf(formatOfName(name));

/** Files in folders that are no samples, no notes, and don't belong to a sample by their name. */
function unreadAmong(ignored: readonly string[], media: RegExp, arranged: Arrangement): string[] {
  const stem = (name: string) => name.replace(/\.[^/]*$/, '').toLowerCase();
  const taken = new Set(arranged.files.map(({ sample }) => stem(sample)));
  return ignored.filter((name) => name.includes('/') && !media.test(name) && !isNote(name) && !taken.has(stem(name)));
}

function sourceOf(container: Container, arranged: Arrangement, media: RegExp, classesAreFolders: boolean): Source {
  const { files, ignored } = arranged;
  const inOrder = (a: string, b: string): number => Number(a > b) - Number(a < b);
  files.sort((a, b) => inOrder(a.file.name, b.file.name) || inOrder(a.sample, b.sample));
  const places = new Map<string, [number, Part]>();
  for (const [index, { sample, mask }] of files.entries()) {
    places.set(sample, [index, 'sample']);
    if (mask !== undefined) places.set(mask, [index, 'mask']);
  }
  const unread = new Set(unreadAmong(ignored, media, arranged));
  const isMedia = ({ name }: { name: string }) => media.test(name);
  return {
    files: files.map(({ file }) => file),
    classesAreFolders,
    ignored: ignored.filter((name) => !unread.has(name)),
    leftOut: [...container.leftOut.filter((each) => !isMedia(each)), ...arranged.leftOut],
    unread: [
      ...[...unread].map((name) => ({ name, reason: whyUnread(name, media) })),
      ...container.leftOut.filter(isMedia),
    ],
    notes: arranged.notes ?? [],
    lostClasses: arranged.lostClasses,
    read: (visit, signal) =>
      container.read(
        (name) => places.has(name),
        (name, bytes) => visit(places.get(name)![0], bytes, places.get(name)![1]),
        signal,
      ),
  };
}
