/** Files in a folder. Links are followed inside the data root. */
import type { Dirent, Stats } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import {
  emptyAmong,
  isHidden,
  MAX_FILES,
  nameOfBytes,
  requireInside,
  type Bytes,
  type Container,
  type LeftOut,
} from './containers.js';
import { InvalidDataError } from './invalid-data.js';

/** Bytes of one file, which is read into memory as a whole. */
const MAX_BYTES = 2 * 2 ** 30 - 1;

/**
 * Every file below `folder` but the hidden ones and those of systems. What is neither file nor folder, such as a named
 * pipe, is never opened.
 * @throws InvalidDataError for a link out of `root` and for a folder that can't be read.
 */
export async function openFolder(folder: string, root: string): Promise<Container> {
  const names: string[] = [];
  const folders: string[] = [];
  const leftOut: LeftOut[] = [];
  /** Paths of names that are no UTF-8. */
  const paths = new Map<string, Buffer>();
  const at = (name: string): Buffer | string => paths.get(name) ?? path.join(folder, name);

  const walk = async (relative: string, above: readonly string[]): Promise<void> => {
    const here = at(relative);
    const absolute = await realpath(here);
    requireInside(absolute, root, relative || '.');
    if (above.includes(absolute)) {
      leftOut.push({ name: relative, reason: 'is a link to a folder that it lies in' });
      return;
    }
    if (relative) folders.push(relative);
    for (const entry of await entriesOf(here, relative)) {
      const own = nameOfBytes(entry.name);
      if (isHidden(own)) continue;
      const name = relative ? `${relative}/${own}` : own;
      if (paths.has(relative) || !entry.name.equals(Buffer.from(own)))
        paths.set(name, Buffer.concat([Buffer.from(here), Buffer.from(path.sep), entry.name]));
      if (entry.isSymbolicLink()) requireInside(await realpath(at(name)).catch(() => folder), root, name);
      const kind = entry.isSymbolicLink() ? await stat(at(name)).catch(() => undefined) : entry;
      if (kind?.isDirectory()) await walk(name, [...above, absolute]);
      // A link to nothing is like a file that can't be decoded.
      else if (!kind || kind.isFile()) names.push(name);
      else leftOut.push({ name, reason: `is ${kindOf(kind)}, not a file` });
      if (names.length > MAX_FILES) throw new InvalidDataError(`expected at most ${MAX_FILES} files in a source`);
    }
  };
  await walk('', []);
  return {
    names,
    emptyFolders: emptyAmong(folders, names),
    leftOut,
    read: async (wanted, visit, signal) => {
      for (const name of names) {
        signal.throwIfAborted();
        if (wanted(name)) await visit(name, await readWhole(at(name)));
      }
    },
  };
}

async function entriesOf(here: Buffer | string, relative: string): Promise<Dirent<Buffer>[]> {
  try {
    return await readdir(here, { withFileTypes: true, encoding: 'buffer' });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    throw new InvalidDataError(
      `expected folders that the worker may read, ${relative || 'the source'} is none (${code}): change its ` +
        'permissions',
    );
  }
}

function kindOf(entry: Pick<Stats, 'isFIFO' | 'isSocket'>): string {
  if (entry.isFIFO()) return 'a named pipe';
  return entry.isSocket() ? 'a socket' : 'a device';
}

/** A file that has gone, or that may not be read, is like one that can't be decoded. */
async function readWhole(file: Buffer | string): Promise<Bytes> {
  try {
    const info = await stat(file);
    if (!info.isFile()) return new Error('it is no file any more');
    if (info.size > MAX_BYTES) return new Error(`expected at most ${MAX_BYTES} bytes, the file has ${info.size}`);
    return await readFile(file);
  } catch {
    return Buffer.alloc(0);
  }
}
