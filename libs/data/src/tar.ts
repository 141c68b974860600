/** Files in a tar, plain or compressed, as unpacking it with `tar -x` would give them. */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { followLinks, type Meaning } from './archive-links.js';
import { emptyAmong, innerName, isHidden, sizeGuard, type Container, type LeftOut } from './containers.js';
import { InvalidDataError } from './invalid-data.js';
import { DamagedPacking, packingOf } from './packings.js';
import { DamagedTar, tarEntries, type TarEntry } from './tar-entries.js';

export interface Tar extends Container {
  /** Bytes of the files that `keep` asked for. */
  kept: Map<string, Buffer>;
}

/**
 * Of a name that comes twice the last counts, hard links are what they are linked to, symbolic ones are followed to
 * files and folders of the archive, and sparse files have their holes.
 * @param keep which small files' bytes are read at once, without another pass through the archive
 * @throws InvalidDataError for what is no whole tar, and for names that lead out of it.
 */
export async function openTar(
  file: string,
  shown: string,
  keep: (name: string, size: number) => boolean = () => false,
): Promise<Tar> {
  const meanings = new Map<string, Meaning>();
  const keptAt = new Map<number, Buffer>();
  const folders: string[] = [];
  const leftOut: LeftOut[] = [];
  await scan(file, shown, async (name, { type, linkName, size, read }, place) => {
    if (type === 'directory') {
      folders.push(name);
      return;
    }
    const meaning = type === 'link' ? meanings.get(innerName(linkName, shown) ?? '') : meaningOf(type, linkName, place);
    if (meaning) meanings.set(name, meaning);
    else {
      meanings.delete(name);
      const isLost = `is a hard link to ${linkName}, which is not in the archive before it`;
      leftOut.push({ name, reason: type === 'link' ? isLost : type });
    }
    if (type === 'file' && keep(name, size)) {
      const bytes = await read();
      if (!(bytes instanceof Error)) keptAt.set(place, bytes);
    }
  });
  const { places, lost } = followLinks(meanings);
  const namesAt = Map.groupBy(places.keys(), (name) => places.get(name)!);
  const seen = <T>(all: readonly T[], nameOf: (each: T) => string) => all.filter((each) => !isHidden(nameOf(each)));
  return {
    names: [...places.keys()],
    emptyFolders: emptyAmong(
      seen(folders, (name) => name),
      places.keys(),
    ),
    leftOut: seen([...leftOut, ...lost], ({ name }) => name),
    kept: new Map([...places].flatMap(([name, place]) => (keptAt.has(place) ? [[name, keptAt.get(place)!]] : []))),
    read: (wanted, visit, signal) =>
      scan(file, shown, async (_, { read }, place) => {
        signal.throwIfAborted();
        const names = namesAt.get(place)?.filter(wanted) ?? [];
        if (names.length === 0) return;
        const bytes = await read();
        for (const name of names) await visit(name, bytes);
      }),
  };
}

function meaningOf(type: TarEntry['type'], link: string, place: number): Meaning | undefined {
  if (type === 'file') return { place };
  return type === 'symlink' ? { link } : undefined;
}

/** Streams through the archive, and gives each entry with its place among all. */
async function scan(
  file: string,
  shown: string,
  visit: (name: string, entry: TarEntry, place: number) => Promise<void>,
): Promise<void> {
  const packing = await packingOf(file, shown);
  const guard = sizeGuard(shown);
  const readAll = async (source: AsyncIterable<Uint8Array>): Promise<void> => {
    let place = 0;
    for await (const entry of tarEntries(source)) {
      const name = innerName(entry.name, shown);
      if (entry.type === 'file') guard(entry.size);
      if (name !== undefined) await visit(name, entry, place);
      place++;
    }
  };
  try {
    await (packing
      ? pipeline(createReadStream(file), packing.unpack(), readAll)
      : pipeline(createReadStream(file), readAll));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (
      error instanceof DamagedTar ||
      error instanceof DamagedPacking ||
      /^(Z|ERR_ZSTD|ZSTD)_/.test(code ?? '') ||
      /unexpected end of file/i.test(message)
    )
      throw new InvalidDataError(
        `expected ${shown} to be a whole ${/gz$/i.test(file) ? 'tar.gz' : (packing?.name ?? 'tar')} archive: ${message}`,
      );
    throw error;
  }
}
