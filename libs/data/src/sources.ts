/** Where images come from: a folder, or a tar or tar.gz of one, with a folder for each class. */
import type { Split } from '#libs/contracts';
import { createReadStream } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { InvalidDataError } from './npy.js';

/** A file that may be an image. Its bytes are read when its turn comes. */
export interface SourceFile {
  /** Relative to the source, with `/`. */
  name: string;
  className: string;
  /** Null where the source does not say. */
  split: Split | null;
}

export interface Source {
  /** In the order of their names, whatever the order on disk or in the archive. */
  files: SourceFile[];
  /** Files that are no images, or lie in no class folder. */
  ignored: string[];
  /** Reads every file once, in an order of the source's own. `visit` may return a promise to slow the reading down. */
  read(visit: (index: number, bytes: Buffer) => Promise<void> | void, signal: AbortSignal): Promise<void>;
}

const IMAGE = /\.(jpe?g|png|webp|gif|tiff?|avif)$/i;
const SPLIT_FOLDERS: Record<string, Split> = { train: 'train', training: 'train', val: 'val', valid: 'val', validation: 'val', test: 'test', testing: 'test' };
const MAX_FILES = 20_000_000;
/** One photograph fits many times over; a file that unpacks to more is not one. */
const MAX_FILE_BYTES = 256 * 2 ** 20;
const MAX_ARCHIVE_BYTES = 2 ** 40;

/**
 * Opens the source at `target`, a path in `dataRoot`. Links that lead out of the root are refused.
 * @throws InvalidDataError naming what was expected and what was found.
 */
export async function openSource(target: string, dataRoot: string): Promise<Source> {
  const root = await realpath(dataRoot).catch(() => { throw new InvalidDataError(`expected the data root ${dataRoot} to exist on the worker`); });
  const found = await realpath(path.resolve(root, target)).catch(() => { throw new InvalidDataError(`expected a folder or an archive at ${target} in the data root, found nothing`); });
  requireInside(found, root, target);
  const info = await stat(found);
  if (info.isDirectory()) return openFolder(found, root);
  if (info.isFile() && /\.(tar|tar\.gz|tgz)$/i.test(found)) return openArchive(found, target);
  throw new InvalidDataError(`expected a folder, or a file that ends in .tar, .tar.gz or .tgz, got ${target}`);
}

function requireInside(file: string, root: string, shown: string): void {
  const relative = path.relative(root, file);
  if (relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative)) throw new InvalidDataError(`expected ${shown} to stay inside the data root, it leads out of it`);
}

async function openFolder(folder: string, root: string): Promise<Source> {
  const names: string[] = [];
  const visited = new Set<string>();
  const walk = async (relative: string): Promise<void> => {
    const absolute = await realpath(path.join(folder, relative));
    requireInside(absolute, root, relative || '.');
    // A link to a folder above would go round for ever.
    if (visited.has(absolute)) return;
    visited.add(absolute);
    for (const entry of await readdir(absolute, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const name = relative ? `${relative}/${entry.name}` : entry.name;
      const isLink = entry.isSymbolicLink();
      if (isLink) requireInside(await realpath(path.join(folder, name)).catch(() => folder), root, name);
      const isFolder = entry.isDirectory() || (isLink && await stat(path.join(folder, name)).then((info) => info.isDirectory(), () => false));
      if (isFolder) await walk(name);
      else names.push(name);
      if (names.length > MAX_FILES) throw new InvalidDataError(`expected at most ${MAX_FILES} files in a source`);
    }
  };
  await walk('');
  const { files, ignored } = arrange(names);
  return {
    files: files.map(({ file }) => file), ignored,
    read: async (visit, signal) => {
      for (const [index, { path: name }] of files.entries()) {
        signal.throwIfAborted();
        // A file that has gone, or can't be read, is like one that can't be decoded.
        await visit(index, await readFile(path.join(folder, name)).catch(() => Buffer.alloc(0)));
      }
    },
  };
}

async function openArchive(file: string, shown: string): Promise<Source> {
  const names: string[] = [];
  await readArchive(file, shown, (header) => {
    names.push(header.name);
    return false;
  });
  const { files, ignored } = arrange(names);
  const indexOf = new Map(files.map(({ path: name }, index) => [name, index]));
  return {
    files: files.map(({ file: each }) => each), ignored,
    read: async (visit, signal) => {
      const seen = new Set<number>();
      await readArchive(file, shown, (header, bytes) => {
        signal.throwIfAborted();
        const index = indexOf.get(header.name);
        // Of a name that comes twice the first counts.
        if (index === undefined || seen.has(index)) return false;
        if (!bytes) return true;
        seen.add(index);
        return visit(index, bytes);
      });
    },
  };
}

type Visit = (header: Header, bytes?: Buffer) => boolean | Promise<void> | void;

/** Streams through an archive. `visit` is asked for each file whether its bytes are wanted, and then given them. */
async function readArchive(file: string, shown: string, visit: Visit): Promise<void> {
  const archive = extract();
  const gzipped = /gz$/i.test(file);
  let total = 0;
  let fault: unknown;
  const reading = (async () => {
    for await (const entry of archive) {
      const { header } = entry;
      const skip = header.type !== 'file' || path.posix.basename(header.name).startsWith('.');
      if (skip) {
        entry.resume();
        continue;
      }
      header.name = header.name.replace(/^(\.\/)+/, '');
      if (header.name.includes('\0') || header.name.startsWith('/') || header.name.split('/').includes('..')) throw new InvalidDataError(`expected names inside the archive ${shown}, got ${JSON.stringify(header.name)}`);
      total += header.size ?? 0;
      if ((header.size ?? 0) > MAX_FILE_BYTES) throw new InvalidDataError(`expected files of at most ${MAX_FILE_BYTES} bytes in ${shown}, ${header.name} has ${header.size}`);
      if (total > MAX_ARCHIVE_BYTES) throw new InvalidDataError(`expected ${shown} to unpack to at most ${MAX_ARCHIVE_BYTES} bytes`);
      if (visit(header) !== true) {
        entry.resume();
        continue;
      }
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      await visit(header, Buffer.concat(chunks));
    }
  })().catch((error: unknown) => {
    fault = error;
    archive.destroy(error as Error);
  });
  try {
    await (gzipped ? pipeline(createReadStream(file), createGunzip(), archive) : pipeline(createReadStream(file), archive));
    await reading;
  } catch (error) {
    await reading;
    fault ??= error;
  }
  if (!fault) return;
  const { code, message } = fault as NodeJS.ErrnoException;
  if (fault instanceof InvalidDataError || !(fault instanceof Error)) throw fault;
  if (code?.startsWith('Z_') || /unexpected end of (file|data)|invalid tar|unknown format/i.test(message)) {
    throw new InvalidDataError(`expected ${shown} to be a whole ${gzipped ? 'tar.gz' : 'tar'} archive: ${message}`);
  }
  throw fault;
}

/** What is an image of which class: folders around everything are taken off, `train`, `val` and `test` are splits. */
function arrange(names: readonly string[]): { files: { path: string; file: SourceFile }[]; ignored: string[] } {
  const images = names.filter((name) => IMAGE.test(name));
  const ignored = names.filter((name) => !IMAGE.test(name));
  let prefix = 0;
  const part = (name: string, place: number) => name.split('/')[place]!;
  const depth = (name: string) => name.split('/').length;
  while (images.length > 0 && images.every((name) => depth(name) - prefix >= 3 && part(name, prefix) === part(images[0]!, prefix)) && !(part(images[0]!, prefix).toLowerCase() in SPLIT_FOLDERS)) prefix++;
  const inSplits = images.length > 0 && images.every((name) => depth(name) - prefix >= 3 && part(name, prefix).toLowerCase() in SPLIT_FOLDERS);
  const files: { path: string; file: SourceFile }[] = [];
  for (const name of images) {
    const parts = name.split('/').slice(prefix);
    const split = inSplits ? SPLIT_FOLDERS[parts.shift()!.toLowerCase()]! : null;
    if (parts.length < 2) ignored.push(name);
    else files.push({ path: name, file: { name: [...(split ? [split] : []), ...parts].join('/'), className: parts[0]!, split } });
  }
  files.sort((a, b) => (a.file.name < b.file.name ? -1 : a.file.name > b.file.name ? 1 : 0));
  return { files, ignored };
}
