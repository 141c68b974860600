/** Archives of one class each, as ImageNet has them: `n01440764.tar`. */
import path from 'node:path';
import type { Container, LeftOut } from './containers.js';
import { splitNamed } from './split-words.js';
import { openTar } from './tar.js';

/**
 * Whether archives are called like classes and not like shards of one whole: by words that differ, or like a synset of
 * WordNet, in every folder.
 */
export function areCalledLikeClasses(names: readonly string[]): boolean {
  const folders = [...Map.groupBy(names, (name) => path.posix.dirname(name)).values()];
  return folders.every((inside) => inside.length > 1 && differInWords(inside.map(stemOf)));
}

function differInWords(stems: readonly string[]): boolean {
  if (stems.some((stem) => splitNamed(stem) !== null)) return false;
  if (stems.every((stem) => /^n\d{8}$/.test(stem))) return true;
  const words = stems.map((stem) => stem.replace(/\d+/g, ''));
  return new Set(words).size === stems.length;
}

const stemOf = (name: string): string => path.posix.basename(name).replace(/\.(tar(\.\w+)?|t\w+)$/i, '');

/** Archives as if each were a folder of its name. */
export const openClassArchives = (files: Archives): Promise<Container> =>
  openArchives(files, (folder, name) => `${folder}/${name}`);

/** Archives as if all were unpacked into one folder. Names of files begin with those of their archives. */
export const openParts = (files: Archives): Promise<Container> =>
  openArchives(files, (folder, name) =>
    path.posix.join(path.posix.dirname(name), `${folder.replaceAll('/', '-')}-${path.posix.basename(name)}`),
  );

type Archives = readonly { name: string; path: string }[];

async function openArchives(files: Archives, nameIn: (folder: string, name: string) => string): Promise<Container> {
  const inside = await Promise.all(
    files.map(async ({ name, path: file }) => {
      const folder = path.posix.join(path.posix.dirname(name), stemOf(name));
      return { folder, tar: await openTar(file, name) };
    }),
  );
  return {
    names: inside.flatMap(({ folder, tar }) => tar.names.map((name) => nameIn(folder, name))),
    emptyFolders: inside.flatMap(({ folder, tar }) => (tar.names.length ? [] : [folder])),
    leftOut: inside.flatMap(({ folder, tar }) =>
      tar.leftOut.map(({ name, reason }): LeftOut => ({ name: nameIn(folder, name), reason })),
    ),
    read: async (wanted, visit, signal) => {
      for (const { folder, tar } of inside)
        await tar.read(
          (name) => wanted(nameIn(folder, name)),
          (name, bytes) => visit(nameIn(folder, name), bytes),
          signal,
        );
    },
  };
}
