/** Files by name, in a folder or in an archive of one. And what a source of samples made of them is. */
import type { Split } from '#libs/contracts';
import path from 'node:path';
import { InvalidDataError } from './invalid-data.js';

/** A sample of a source. Its bytes are read when its turn comes. */
export interface SourceFile {
  /** Relative to the source, with `/`. */
  name: string;
  /** Empty where pixels have the classes, or nothing has any. */
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
/** Bytes of a file, or why it can't be read. */
export type Bytes = Buffer | Error;
export type Payload = Bytes | RawImage;
export type Part = 'sample' | 'mask';

/** A file or folder that gives no sample, and why. */
export interface LeftOut {
  name: string;
  reason: string;
}

export interface Source {
  /** In the order of their names, whatever the order on disk or in the archive. */
  files: SourceFile[];
  /** The order of the classes, where the source has one of its own. */
  classNames?: readonly string[];
  /** Whether samples have classes by their folders, so that one folder alone is none. */
  classesAreFolders?: boolean;
  /** Files that are no samples, or have no class. */
  ignored: string[];
  /** Other files that are not taken, each for a reason that the user should know. */
  leftOut: LeftOut[];
  /** Files that were meant as samples and are of a format that is not read: they count as damaged. */
  unread: LeftOut[];
  /** What else may not be as it was meant. */
  notes?: string[];
  /** Folders beside those of the classes that give no sample. */
  lostClasses: LeftOut[];
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
  /** Folders without any file in them. */
  emptyFolders: string[];
  leftOut: LeftOut[];
  /** Gives each wanted file once, in an order of the container's own. */
  read(
    wanted: (name: string) => boolean,
    visit: (name: string, bytes: Bytes) => Promise<void> | void,
    signal: AbortSignal,
  ): Promise<void>;
}

export const MAX_FILES = 20_000_000;
/** Bytes of one file of an archive that are unpacked into memory: a photograph fits many times over. */
const MAX_FILE_BYTES = 256 * 2 ** 20;
const MAX_ARCHIVE_BYTES = 2 ** 40;

/** Refuses links that lead out of the root. */
export function requireInside(file: string, root: string, shown: string): void {
  const relative = path.relative(root, file);
  if (relative === '..' || relative.startsWith(`..${path.sep}`) || path.isAbsolute(relative))
    throw new InvalidDataError(`expected ${shown} to stay inside the data root, it leads out of it`);
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** A name as text: bytes that are no UTF-8 are told apart as `\xE9`, so that no two names become one. */
export function nameOfBytes(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    return Array.from(bytes, (byte) =>
      byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16).toUpperCase()}`,
    ).join('');
  }
}

/** Characters of a name in an archive: more than systems take. */
const MOST_NAME = 4096;

/** A name in an archive without `./`; undefined for the archive itself. @throws InvalidDataError where it leaves it. */
export function innerName(name: string, shown: string): string | undefined {
  requireNameLength(name);
  const parts = name.split('/').filter((part, i) => part !== '.' && (part !== '' || i === 0));
  if (name.includes('\0') || name.startsWith('/') || name.split(/[/\\]/).includes('..'))
    throw new InvalidDataError(`expected names inside the archive ${shown}, got ${JSON.stringify(name)}`);
  return parts.join('/') || undefined;
}

export function requireNameLength({ length }: string): void {
  if (length > MOST_NAME)
    throw new InvalidDataError(`expected names of at most ${MOST_NAME} characters in an archive, got one of ${length}`);
}

/** Folders of systems and disk stations, with thumbnails and what was thrown away. */
const OF_SYSTEMS = /(?:^|\/)(?:__MACOSX|@eaDir|#recycle|\$RECYCLE\.BIN|System Volume Information|lost\+found)(?:\/|$)/i;

/** Whether no sample lies there: what programs keep for themselves, such as the checkpoints of notebooks. */
export const isHidden = (name: string): boolean => name.startsWith('.') || name.includes('/.') || OF_SYSTEMS.test(name);

/** Why a file of an archive is not read, where it is too large for that. */
export function tooLarge(size: number): Error | undefined {
  if (size <= MAX_FILE_BYTES) return undefined;
  return new Error(
    `expected files of at most ${MAX_FILE_BYTES} bytes in an archive, it has ${size}: give the unpacked folder`,
  );
}

/** Adds up what an archive unpacks to. */
export function sizeGuard(shown: string): (size: number) => void {
  let total = 0;
  let files = 0;
  return (size) => {
    if ((total += size) > MAX_ARCHIVE_BYTES)
      throw new InvalidDataError(`expected ${shown} to unpack to at most ${MAX_ARCHIVE_BYTES} bytes`);
    if (++files > MAX_FILES) throw new InvalidDataError(`expected at most ${MAX_FILES} files in a source`);
  };
}

/** Those of `folders` that no file lies in. */
export function emptyAmong(folders: Iterable<string>, names: Iterable<string>): string[] {
  const filled = new Set<string>();
  for (const name of names)
    for (let end = name.lastIndexOf('/'); end > 0; end = name.lastIndexOf('/', end - 1)) {
      const folder = name.slice(0, end);
      if (filled.has(folder)) break;
      filled.add(folder);
    }
  return [...new Set(folders)].filter((folder) => !filled.has(folder)).sort();
}
