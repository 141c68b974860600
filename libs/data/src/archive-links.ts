/** Links in archives, followed as a folder that they were unpacked into would have it. */
import { isHidden, requireNameLength, type LeftOut } from './containers.js';
import { InvalidDataError } from './invalid-data.js';

/** A file of an archive by its place, or a symbolic link by where it leads. */
export type Meaning = { place: number } | { link: string };
type Folder = Map<string, Folder | Meaning>;
/** A folder of the archive behind those that it lies in, the root first. */
type Path = readonly Folder[];

/** Links on the way of one, as Linux has it, and characters of where one leads. */
const [MOST_LINKS, MOST_TARGET] = [40, 4096];
/** Names beyond those of the archive's own entries: links to folders with links to folders multiply. */
const MOST_MORE_NAMES = 1_000_000;

/**
 * The place of the file that each name stands for, but for hidden names. Links are followed to files and folders of the
 * archive, hidden ones among them; those that lead to none are lost.
 */
export function followLinks(meanings: ReadonlyMap<string, Meaning>): { places: Map<string, number>; lost: LeftOut[] } {
  const places = new Map<string, number>();
  const lost: LeftOut[] = [];
  const most = meanings.size + MOST_MORE_NAMES;
  let names = 0;

  const walk = (path: Path, folderName: string, above: Path): void => {
    for (const [part, given] of path.at(-1)!) {
      const name = folderName ? `${folderName}/${part}` : part;
      if (isHidden(name)) continue;
      requireNameLength(name);
      if (++names > most)
        throw new InvalidDataError(`expected links to at most ${MOST_MORE_NAMES} files and folders in an archive`);
      const found = given instanceof Map ? [...path, given] : targetOf(given, path);
      if (!found)
        lost.push({ name, reason: `is a symbolic link to ${linkOf(given)}, which is no file of the archive` });
      else if (!Array.isArray(found)) places.set(name, found.place);
      else if (above.includes(found.at(-1)!)) lost.push({ name, reason: 'is a link to a folder that it lies in' });
      else walk(found, name, [...above, found.at(-1)!]);
    }
  };

  const hasLinks = [...meanings.values()].some((meaning) => 'link' in meaning);
  // Without links whole names do as well as folders.
  const root: Folder = hasLinks ? treeOf(meanings) : new Map(meanings);
  walk([root], '', [root]);
  return { places, lost };
}

/** Names as folders in each other. Of a file and a folder of one name the folder stays, as it would on a disk. */
function treeOf(meanings: ReadonlyMap<string, Meaning>): Folder {
  const root: Folder = new Map();
  for (const [name, meaning] of meanings) {
    const parts = name.split('/');
    const last = parts.pop()!;
    let folder = root;
    for (const part of parts) {
      const there = folder.get(part);
      const next: Folder = there instanceof Map ? there : new Map<string, Folder | Meaning>();
      folder.set(part, next);
      folder = next;
    }
    if (!(folder.get(last) instanceof Map)) folder.set(last, meaning);
  }
  return root;
}

/** The file, or the folder, that a meaning leads to from the folder at `from`; undefined where that is none. */
function targetOf(meaning: Meaning, from: Path): { place: number } | Folder[] | undefined {
  if (!('link' in meaning)) return meaning;
  const at = [...from];
  const parts: string[] = [];
  let links = 0;
  const enter = ({ link }: { link: string }): boolean => {
    if (++links > MOST_LINKS || link.length > MOST_TARGET || link.startsWith('/')) return false;
    parts.push(...link.split('/').reverse());
    return true;
  };
  if (!enter(meaning)) return undefined;
  while (parts.length) {
    const part = parts.pop()!;
    if (part === '' || part === '.') continue;
    if (part === '..') {
      at.pop();
      if (at.length === 0) return undefined;
      continue;
    }
    const next = at.at(-1)!.get(part);
    if (next instanceof Map) at.push(next);
    else if (next && 'place' in next) return parts.length === 0 ? next : undefined;
    else if (!next || !enter(next)) return undefined;
  }
  return at;
}

const linkOf = (given: Folder | Meaning): string => (given instanceof Map || 'place' in given ? '' : given.link);
