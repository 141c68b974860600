/** Files by name: in a folder, or in a tar, tar.gz or zip of one. And what a source of samples made of them is. */
import type { Split } from '#libs/contracts';
import { createReadStream } from 'node:fs';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { openPromise, type ZipFile } from 'yauzl';
import { InvalidDataError } from './invalid-data.js';

/** A sample of a source. Its bytes are read when its turn comes. */
export interface SourceFile {
  /** Relative to the source, with `/`. */
  name: string;
  /** Empty where pixels have the classes. */
  className: string;
  /** Whatever else samples share, such as a speaker; null where the source does not say. */
  group: string | null;
  /** Null where the source does not say. */
  split: Split | null;
}

/** Pixels that need no decoding, row by row. */
export interface RawImage {
  data: Buffer;
  height: number;
  width: number;
  channels: 1 | 3;
}
export type Payload = Buffer | RawImage;
export type Part = 'sample' | 'mask';

export interface Source {
  /** In the order of their names, whatever the order on disk or in the archive. */
  files: SourceFile[];
  /** The order of the classes, where the source has one of its own. */
  classNames?: readonly string[];
  /** Files that are no samples, or have no class. */
  ignored: string[];
  /**
   * Reads every part of every sample once, in an order of the source's own. `visit` may return a promise to slow the
   * reading down.
   */
  read(
    visit: (index: number, payload: Payload, part: Part) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void>;
}

export interface Container {
  names: string[];
  /** Gives each wanted file once, in an order of the container's own. A file that can't be read is an empty one. */
  read(
    wanted: (name: string) => boolean,
    visit: (name: string, bytes: Buffer) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void>;
}

/** The split that a folder of this name, or a file with this word in its name, holds. */
const SPLIT_WORDS = new Map<string, Split>([
  ['train', 'train'],
  ['training', 'train'],
  ['val', 'val'],
  ['valid', 'val'],
  ['validation', 'val'],
  ['test', 'test'],
  ['testing', 'test'],
  ['t10k', 'test'],
]);
export const splitOfFolder = (name: string | undefined): Split | undefined =>
  SPLIT_WORDS.get(name?.toLowerCase() ?? '');
const MAX_FILES = 20_000_000;
/** Bytes of one file: a photograph fits many times over, and what unpacks to more is none. */
const MAX_FILE_BYTES = 256 * 2 ** 20;
const MAX_ARCHIVE_BYTES = 2 ** 40;

/** The split that a file's path names last: `data/test-00000-of-00003.parquet`. */
export const splitNamed = (name: string): Split | null =>
  name
    .split(/[^A-Za-z0-9]+/)
    .map(splitOfFolder)
    .findLast((split) => split !== undefined) ?? null;

/** Refuses links that lead out of the root. */
export function requireInside(file: string, root: string, shown: string): void {
  const relative = path.relative(root, file);
  if (relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative))
    throw new InvalidDataError(`expected ${shown} to stay inside the data root, it leads out of it`);
}

export async function openFolder(folder: string, root: string): Promise<Container> {
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
      const isFolder =
        entry.isDirectory() ||
        (isLink &&
          (await stat(path.join(folder, name)).then(
            (info) => info.isDirectory(),
            () => false,
          )));
      if (isFolder) await walk(name);
      else names.push(name);
      if (names.length > MAX_FILES) throw new InvalidDataError(`expected at most ${MAX_FILES} files in a source`);
    }
  };
  await walk('');
  return {
    names,
    read: async (wanted, visit, signal) => {
      for (const name of names) {
        signal.throwIfAborted();
        // A file that has gone is like one that can't be decoded.
        if (wanted(name)) await visit(name, await readWhole(path.join(folder, name)).catch(() => Buffer.alloc(0)));
      }
    },
  };
}

async function readWhole(file: string): Promise<Buffer> {
  const { size } = await stat(file);
  if (size > MAX_FILE_BYTES) throw new InvalidDataError(`expected at most ${MAX_FILE_BYTES} bytes, got ${size}`);
  return readFile(file);
}

/** Names that leave the archive are refused; folders, links and hidden files are passed over. */
function innerName(name: string, shown: string): string | undefined {
  const inner = name.replace(/^(\.\/)+/, '');
  if (inner.includes('\0') || inner.startsWith('/') || inner.split(/[/\\]/).includes('..'))
    throw new InvalidDataError(`expected names inside the archive ${shown}, got ${JSON.stringify(inner)}`);
  return inner.endsWith('/') || inner.startsWith('__MACOSX/') || path.posix.basename(inner).startsWith('.')
    ? undefined
    : inner;
}

/** Adds up what an archive unpacks to. */
function sizeGuard(shown: string): (name: string, size: number) => void {
  let total = 0;
  let files = 0;
  return (name, size) => {
    if (size > MAX_FILE_BYTES)
      throw new InvalidDataError(`expected files of at most ${MAX_FILE_BYTES} bytes in ${shown}, ${name} has ${size}`);
    if ((total += size) > MAX_ARCHIVE_BYTES)
      throw new InvalidDataError(`expected ${shown} to unpack to at most ${MAX_ARCHIVE_BYTES} bytes`);
    if (++files > MAX_FILES) throw new InvalidDataError(`expected at most ${MAX_FILES} files in a source`);
  };
}

export async function openTar(file: string, shown: string): Promise<Container> {
  const names: string[] = [];
  await scanTar(file, shown, ({ name }) => {
    names.push(name);
    return false;
  });
  return {
    names,
    read: async (wanted, visit, signal) => {
      const seen = new Set<string>();
      await scanTar(file, shown, ({ name }, bytes) => {
        signal.throwIfAborted();
        // Of a name that comes twice the first counts.
        if (!bytes) return wanted(name) && !seen.has(name);
        seen.add(name);
        return visit(name, bytes);
      });
    },
  };
}

type VisitTar = (header: Header, bytes?: Buffer) => boolean | Promise<void> | void;

/**
 * Streams through a tar or tar.gz. `visit` is asked for each file whether its bytes are wanted, and then given them.
 */
export async function scanTar(file: string, shown: string, visit: VisitTar): Promise<void> {
  const archive = extract();
  const gzipped = /gz$/i.test(file);
  const guard = sizeGuard(shown);
  let fault: unknown;
  const reading = (async () => {
    for await (const entry of archive) {
      const { header } = entry;
      const name = header.type === 'file' ? innerName(header.name, shown) : undefined;
      if (name === undefined) {
        entry.resume();
        continue;
      }
      header.name = name;
      guard(name, header.size ?? 0);
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
    await (gzipped
      ? pipeline(createReadStream(file), createGunzip(), archive)
      : pipeline(createReadStream(file), archive));
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

export async function openZip(file: string, shown: string): Promise<Container> {
  const names: string[] = [];
  const guard = sizeGuard(shown);
  await scanZip(file, shown, async (name, entry) => {
    guard(name, entry.uncompressedSize);
    if (entry.isEncrypted())
      throw new InvalidDataError(
        `expected ${shown} without encryption, ${name} is encrypted: unpack it and give the folder`,
      );
    if (!entry.canDecodeFileData())
      throw new InvalidDataError(
        `expected files in ${shown} that are stored or deflated, ${name} is compressed by method ` +
          `${entry.compressionMethod}: unpack it and give the folder`,
      );
    names.push(name);
  });
  return {
    names,
    read: async (wanted, visit, signal) => {
      const seen = new Set<string>();
      await scanZip(file, shown, async (name, entry, zip) => {
        signal.throwIfAborted();
        if (!wanted(name) || seen.has(name)) return;
        seen.add(name);
        const chunks: Buffer[] = [];
        try {
          // Ends with an error as soon as more comes than the directory says.
          for await (const chunk of await zip.openReadStreamPromise(entry)) chunks.push(chunk as Buffer);
        } catch {
          chunks.length = 0;
        }
        await visit(name, Buffer.concat(chunks));
      });
    },
  };
}

type ZipEntry = Parameters<ZipFile['openReadStreamPromise']>[0];

async function scanZip(
  file: string,
  shown: string,
  visit: (name: string, entry: ZipEntry, zip: ZipFile) => Promise<void>,
): Promise<void> {
  const broken = (error: unknown): never => {
    const { message, code } = error as NodeJS.ErrnoException;
    if (code) throw error;
    if (/relative path|absolute path|invalid characters in fileName/.test(message))
      throw new InvalidDataError(
        `expected names inside the archive ${shown}, got ${JSON.stringify(message.replace(/^.*?: /, ''))}`,
      );
    throw new InvalidDataError(`expected ${shown} to be a whole zip archive: ${message}`);
  };
  const zip = await openPromise(file, { autoClose: false }).catch(broken);
  try {
    const entries = zip.eachEntry();
    for (;;) {
      const next = await entries.next().catch(broken);
      if (next.done) return;
      const name = innerName(next.value.fileName, shown);
      if (name !== undefined) await visit(name, next.value, zip);
    }
  } finally {
    zip.close();
  }
}
