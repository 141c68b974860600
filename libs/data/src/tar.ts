/** Files in a tar, plain or compressed, as unpacking it with `tar -x` would give them. */
import { createReadStream } from 'node:fs';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import {
  emptyAmong,
  innerName,
  nameOfBytes,
  sizeGuard,
  tooLarge,
  type Bytes,
  type Container,
  type LeftOut,
} from './containers.js';
import { InvalidDataError } from './invalid-data.js';
import { DamagedPacking, packingOf } from './packings.js';

export interface Tar extends Container {
  /** Bytes of the files that `keep` asked for. */
  kept: Map<string, Buffer>;
}

/** A file's entry by its place in the archive, or a symbolic link by where it leads. */
type Meaning = { place: number } | { link: string };

/**
 * Of a name that comes twice the last counts, hard links are what they are linked to, and symbolic ones are followed to
 * files of the archive.
 * @param keep which small files' bytes are read at once, without another pass through the archive
 * @throws InvalidDataError for what is no whole tar, and for names that lead out of it.
 */
export async function openTar(
  file: string,
  shown: string,
  keep: (name: string, size: number) => boolean = () => false,
): Promise<Tar> {
  const meanings = new Map<string, Meaning>();
  const kept = new Map<string, Buffer>();
  const folders: string[] = [];
  const leftOut: LeftOut[] = [];
  await scan(file, shown, (entry, bytes) => {
    const { name, type, place } = entry;
    if (bytes) {
      if (!(bytes instanceof Error)) kept.set(name, bytes);
      return;
    }
    if (type === 'directory') {
      folders.push(name);
      return;
    }
    if (type !== 'symlink') kept.delete(name);
    if (type === 'symlink') meanings.set(name, { link: entry.linkName });
    else if (type === 'file') {
      meanings.set(name, { place });
      return keep(name, entry.size);
    } else if (type === 'link') {
      const target = innerName(entry.linkName, shown);
      const meaning = target === undefined ? undefined : meanings.get(target);
      if (meaning) meanings.set(name, meaning);
      else leftOut.push({ name, reason: `is a hard link to ${entry.linkName}, which is not in the archive before it` });
      const bytesOfTarget = target === undefined ? undefined : kept.get(target);
      if (bytesOfTarget) kept.set(name, bytesOfTarget);
    } else leftOut.push({ name, reason: type });
  });
  const { places, lost } = resolved(meanings);
  const namesAt = Map.groupBy(places.keys(), (name) => places.get(name)!);
  return {
    names: [...places.keys()],
    emptyFolders: emptyAmong(folders, places.keys()),
    leftOut: [...leftOut, ...lost],
    kept,
    read: (wanted, visit, signal) =>
      scan(file, shown, async ({ place, type }, bytes) => {
        signal.throwIfAborted();
        if (type !== 'file') return;
        const names = namesAt.get(place)?.filter(wanted) ?? [];
        if (!bytes) return names.length > 0;
        for (const name of names) await visit(name, bytes);
      }),
  };
}

const MOST_LINKS = 40;

/** The file that each name stands for once its links are followed, and the links that lead to none. */
function resolved(meanings: ReadonlyMap<string, Meaning>): { places: Map<string, number>; lost: LeftOut[] } {
  const places = new Map<string, number>();
  const lost: LeftOut[] = [];
  for (const name of meanings.keys()) {
    let at = name;
    let meaning = meanings.get(at);
    for (let links = 0; meaning && 'link' in meaning && links < MOST_LINKS; links++) {
      at = path.posix.join(path.posix.dirname(at), meaning.link);
      meaning = path.posix.isAbsolute(meaning.link) ? undefined : meanings.get(at);
    }
    if (meaning && 'place' in meaning) places.set(name, meaning.place);
    else {
      const { link } = meanings.get(name) as { link: string };
      lost.push({ name, reason: `is a symbolic link to ${link}, which is no file of the archive` });
    }
  }
  return { places, lost };
}

interface Entry {
  name: string;
  linkName: string;
  size: number;
  place: number;
  /** Or, for all else, why it gives no file. */
  type: 'file' | 'directory' | 'link' | 'symlink' | (string & {});
}

type Visit = (entry: Entry, bytes?: Bytes) => boolean | undefined | void | Promise<boolean | undefined | void>;

/** Streams through the archive. `visit` is asked for each entry whether its bytes are wanted, and then given them. */
async function scan(file: string, shown: string, visit: Visit): Promise<void> {
  // Names as bytes, whatever their encoding; headers of Unix V7, which have no magic, are known by their checksum.
  const archive = extract({ filenameEncoding: 'latin1', allowUnknownFormat: true } as object);
  const packing = await packingOf(file, shown);
  const guard = sizeGuard(shown);
  let fault: unknown;
  const reading = (async () => {
    let place = 0;
    for await (const stream of archive) {
      const { header } = stream;
      const name = innerName(nameIn(header), shown);
      const entry: Entry | undefined =
        name === undefined
          ? undefined
          : {
              name,
              type: typeOf(header),
              linkName: textOf(header.linkname ?? '', paxOf(header)['linkpath']),
              size: header.size ?? 0,
              place: place++,
            };
      if (entry?.type === 'file') guard(entry.size);
      if (!entry || (await visit(entry)) !== true) {
        stream.resume();
        continue;
      }
      const refused = tooLarge(entry.size);
      if (refused) {
        stream.resume();
        await visit(entry, refused);
        continue;
      }
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk as Buffer);
      await visit(entry, Buffer.concat(chunks));
    }
  })().catch((error: unknown) => {
    fault = error;
    archive.destroy(error as Error);
  });
  try {
    await (packing
      ? pipeline(createReadStream(file), packing.unpack(), archive)
      : pipeline(createReadStream(file), archive));
    await reading;
  } catch (error) {
    await reading;
    fault ??= error;
  }
  if (!fault) return;
  const { code, message } = fault as NodeJS.ErrnoException;
  if (fault instanceof InvalidDataError || !(fault instanceof Error)) throw fault;
  if (
    fault instanceof DamagedPacking ||
    /^(Z|ERR_ZSTD|ZSTD)_/.test(code ?? '') ||
    /unexpected end of (file|data)|invalid (tar|header)|unknown format/i.test(message)
  )
    throw new InvalidDataError(
      `expected ${shown} to be a whole ${/gz$/i.test(file) ? 'tar.gz' : (packing?.name ?? 'tar')} archive: ${message}`,
    );
  throw fault;
}

/** Extended attributes, whose text is UTF-8. */
const paxOf = ({ pax }: Header): Record<string, string | undefined> => (pax ?? {}) as Record<string, string>;

const textOf = (latin1: string, pax: string | undefined): string => pax ?? nameOfBytes(Buffer.from(latin1, 'latin1'));

/** Sparse files of newer archives have their own name among the extended attributes. */
function nameIn(header: Header): string {
  const pax = paxOf(header);
  return textOf(header.name, pax['GNU.sparse.name'] ?? pax['path']);
}

const SPARSE = 'is a sparse file, which is not read: pack it without --sparse';

function typeOf(header: Header): Entry['type'] {
  const { type } = header;
  if (Object.keys(paxOf(header)).some((key) => key.startsWith('GNU.sparse'))) return SPARSE;
  if (type === 'file' || type === 'contiguous-file') return 'file';
  if (type === 'directory' || type === 'link' || type === 'symlink') return type;
  // `S`, the sparse file of older archives, is the only other type with an image in it.
  return type === null || type === undefined ? SPARSE : `is a ${type}, not a file`;
}
