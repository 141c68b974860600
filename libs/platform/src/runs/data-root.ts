/** The folder from which datasets are prepared, as the API sees it. */
import { IMAGE, IMAGE_FOLDER, MASK_FOLDER, SOUND, type DataFolder } from '#libs/contracts';
import type { Dirent } from 'node:fs';
import { opendir, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { RequestError } from '../request-error.js';

/** Entries of one folder that are told of, and that are read to find these. */
const MOST_ENTRIES = 1000;
const MOST_READ = 2000;
/** Files and folders below that are counted, and how deep they may lie. */
const MOST_COUNTED = 3000;
const DEEPEST = 5;

type Found = DataFolder['found'];

/** Whether a path leads out of a folder, as far as its text says. */
export function leadsOut(folder: string, file: string): boolean {
  const relative = path.relative(folder, file);
  return relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative);
}

export class DataRoot {
  constructor(private readonly root: string) {}

  /**
   * What lies in a folder, and what kinds of files are in it and below. Links are followed inside the data root; others
   * are not told of. @throws RequestError where it is no folder in there
   */
  async browse(relative: string): Promise<DataFolder> {
    const { root, folder } = await this.folderAt(relative);
    const { entries, more } = await entriesOf(folder, MOST_READ);
    const told: DataFolder['entries'] = [];
    for (const entry of entries) {
      const at = await inside(root, folder, entry);
      if (at) told.push({ name: entry.name, kind: at.isFolder ? 'folder' : 'file', sizeBytes: at.sizeBytes });
    }
    told.sort((a, b) => Number(b.kind === 'folder') - Number(a.kind === 'folder') || compare(a.name, b.name));
    return {
      path: path.relative(root, folder).replaceAll(path.sep, '/'),
      entries: told.slice(0, MOST_ENTRIES),
      more: more || told.length > MOST_ENTRIES,
      found: await count(folder),
    };
  }

  private async folderAt(relative: string): Promise<{ root: string; folder: string }> {
    const root = await realpath(this.root).catch(() => this.root);
    const wanted = path.resolve(root, relative);
    const refused = (message: string) => RequestError.invalid([{ path: ['path'], message }]);
    const outside = () => refused(`expected a path inside the data root, got ${relative}`);
    if (leadsOut(root, wanted)) throw outside();
    const folder = await realpath(wanted).catch(() => undefined);
    if (folder !== undefined && leadsOut(root, folder)) throw outside();
    const info = folder === undefined ? undefined : await stat(folder).catch(() => undefined);
    if (folder === undefined || !info?.isDirectory())
      throw refused(
        `expected a folder of the API's data root, got ${relative || 'the root itself'}: there is none. Where only ` +
          'workers have the data, name its path',
      );
    return { root, folder };
  }
}

const compare = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true });

/** So many entries at most that are not hidden; none of a folder that can't be read. */
async function entriesOf(folder: string, most: number): Promise<{ entries: Dirent[]; more: boolean }> {
  const entries: Dirent[] = [];
  try {
    for await (const entry of await opendir(folder)) {
      if (entry.name.startsWith('.')) continue;
      if (entries.length === most) return { entries, more: true };
      entries.push(entry);
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== 'EACCES' && code !== 'EPERM' && code !== 'ENOENT' && code !== 'ENOTDIR') throw error;
  }
  return { entries, more: false };
}

/** What an entry is; undefined for a link that leads out or nowhere, and for what is neither file nor folder. */
async function inside(
  root: string,
  folder: string,
  entry: Dirent,
): Promise<{ isFolder: boolean; sizeBytes: number | null } | undefined> {
  try {
    const own = path.join(folder, entry.name);
    const at = entry.isSymbolicLink() ? await realpath(own) : own;
    if (leadsOut(root, at)) return undefined;
    const info = await stat(at);
    if (info.isDirectory()) return { isFolder: true, sizeBytes: null };
    return info.isFile() ? { isFolder: false, sizeBytes: info.size } : undefined;
  } catch {
    return undefined;
  }
}

/** Kinds of files in a folder and below, folder by folder, without following links. */
async function count(folder: string): Promise<Found> {
  const found: Found = { images: 0, sounds: 0, masks: false, others: 0, all: true };
  const ahead = [{ folder, depth: 0 }];
  let left = MOST_COUNTED;
  for (let next = ahead.shift(); next; next = ahead.shift()) {
    const { entries, more } = await entriesOf(next.folder, left);
    left -= entries.length;
    if (more) found.all = false;
    const folders = entries.filter((entry) => entry.isDirectory());
    for (const { name } of entries.filter((entry) => entry.isFile())) found[kindOf(name)]++;
    if (folders.some(({ name }) => MASK_FOLDER.test(name)) && folders.some(({ name }) => IMAGE_FOLDER.test(name)))
      found.masks = true;
    if (next.depth === DEEPEST && folders.length > 0) found.all = false;
    else ahead.push(...folders.map(({ name }) => ({ folder: path.join(next.folder, name), depth: next.depth + 1 })));
  }
  return found;
}

function kindOf(name: string): 'images' | 'sounds' | 'others' {
  if (IMAGE.test(name)) return 'images';
  return SOUND.test(name) ? 'sounds' : 'others';
}
