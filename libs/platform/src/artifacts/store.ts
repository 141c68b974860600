import { createHash, randomUUID } from 'node:crypto';
import { constants, createReadStream, type ReadStream } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, rename, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { requireStore } from './identity.js';
import { openFile, type FilesOf } from './opened-file.js';

export interface StoredFile {
  sha256: string;
  sizeBytes: number;
}

/** Bytes that are on the store's disk whole, and are no file of it until `place`. */
export interface Staged extends StoredFile {
  /**
   * Gives them their place; again, it does no harm.
   * @throws ForeignStoreError when the folder is no longer the store that it has to be.
   */
  place(): Promise<void>;
  /** Removes what has got no place. */
  discard(): Promise<void>;
}

/**
 * What a process has left under way. `sha256`: the name of a file that a collection had put aside, whole; `process`:
 * whose work folder it is.
 */
interface Leftover {
  path: string;
  sizeBytes: number;
  sha256?: string | undefined;
  process?: string | undefined;
}

/** The bytes in the store are not those that were put there. */
export class CorruptArtifactError extends Error {}

const SHA256 = /^[0-9a-f]{64}$/;
/** Between the name of a file and an id: a collection has put it aside, whole. */
const ASIDE = '.aside-';
/** Files that are remembered to be whole. */
const MOST_KNOWN = 10_000;

/**
 * What tells a file from what it was before anything was done to it: the time of the last change to an inode can't be
 * set by anybody. So a sweep's runs read a dataset's bytes once.
 */
const appearance = (file: string): Promise<string | undefined> =>
  stat(file, { bigint: true }).then(
    ({ dev, ino, size, ctimeNs }) => `${dev} ${ino} ${size} ${ctimeNs}`,
    () => undefined,
  );

/** Gives a file its place. Where that is on another device it is copied beside that first, and flushed. */
async function movedInto(file: string, target: string): Promise<void> {
  try {
    await rename(file, target);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV') throw error;
    const beside = `${target}.${randomUUID()}`;
    try {
      await copyFile(file, beside, constants.COPYFILE_EXCL);
      const handle = await open(beside, 'r');
      await handle.sync().finally(() => handle.close());
      await rename(beside, target);
    } finally {
      await rm(beside, { force: true });
    }
  }
}

/** Writes a new file and flushes it to disk. */
async function writtenTo(file: string, source: AsyncIterable<Buffer>, onRead?: () => void): Promise<StoredFile> {
  // Opened before anything can fail: a stream that opens it by itself could do so after it was removed.
  const handle = await open(file, 'wx');
  try {
    const hash = createHash('sha256');
    let sizeBytes = 0;
    await pipeline(
      source,
      async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          sizeBytes += chunk.length;
          onRead?.();
          yield chunk;
        }
      },
      handle.createWriteStream({ flush: true }),
    );
    return { sha256: hash.digest('hex'), sizeBytes };
  } finally {
    await handle.close();
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/**
 * A folder of files named by their sha256. A file is there whole or not at all: it is written under a temporary name,
 * flushed to disk and renamed. The database row that makes it visible is written after that.
 */
export class ArtifactStore {
  /** Which store this has to be; undefined where nobody has said (see `identify`). */
  id: string | undefined;
  /** How files looked that were found whole, by sha256. */
  private readonly whole = new Map<string, string>();

  constructor(readonly dir: string) {}

  /** Where the file with this sha256 is, if it is stored. */
  path(sha256: string): string {
    if (!SHA256.test(sha256)) throw new TypeError(`expected a sha256 in hex, got ${JSON.stringify(sha256)}`);
    return path.join(this.dir, 'sha256', sha256.slice(0, 2), sha256);
  }

  open(sha256: string, range: { start?: number; end?: number } = {}): ReadStream {
    return createReadStream(this.path(sha256), range);
  }

  async size(sha256: string): Promise<number | undefined> {
    try {
      return (await stat(this.path(sha256))).size;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /**
   * Resolves when the folder is the store that it has to be.
   * @throws ForeignStoreError
   */
  async checkIdentity(): Promise<void> {
    if (this.id !== undefined) await requireStore(this.dir, this.id);
  }

  /**
   * Resolves when all of these files are in the store that it has to be.
   * @throws ForeignStoreError, CorruptArtifactError
   */
  async checkHolds(files: readonly StoredFile[]): Promise<void> {
    await this.checkIdentity();
    for (const { sha256, sizeBytes } of files) {
      const size = await this.size(sha256);
      if (size !== sizeBytes)
        throw new CorruptArtifactError(
          `expected artifact ${sha256} of ${sizeBytes} bytes in the store, found ${size ?? 'no such file'}`,
        );
    }
  }

  /** A folder of the store, made where it is missing. The store itself is never made where it has to be a known one. */
  private async folder(...names: string[]): Promise<string> {
    if (this.id === undefined) await mkdir(this.dir, { recursive: true });
    let folder = this.dir;
    for (const name of names) {
      folder = path.join(folder, name);
      await mkdir(folder).catch((error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      });
    }
    return folder;
  }

  /**
   * Copies a file into the store; `onRead` is called for each piece of it. Throws what the file system throws, ENOSPC
   * for one; nothing is left behind then.
   * @throws ForeignStoreError when the folder is not the store that it has to be, before or after the file was written;
   *   NoFileError when `file` is a pipe, a device or a link, or none of those that `of` says.
   */
  async put(file: string, onRead?: () => void, of?: FilesOf): Promise<StoredFile> {
    await this.checkIdentity();
    const source = await openFile(file, of);
    try {
      const { sha256, sizeBytes, place, discard } = await this.stage(
        source.createReadStream({ autoClose: false }),
        onRead,
      );
      await place().finally(discard);
      return { sha256, sizeBytes };
    } finally {
      await source.close();
    }
  }

  /**
   * Writes bytes as they come, to be placed or discarded; where they break off, nothing is left behind.
   * @throws as `put`
   */
  async stage(bytes: AsyncIterable<Buffer>, onRead?: () => void): Promise<Staged> {
    await this.checkIdentity();
    const temporary = path.join(await this.folder('tmp'), randomUUID());
    const discard = () => rm(temporary, { force: true });
    try {
      const file = await writtenTo(temporary, bytes, onRead);
      let placed: Promise<void> | undefined;
      return { ...file, place: () => (placed ??= this.place(temporary, file.sha256)), discard };
    } catch (error) {
      await discard();
      throw error;
    }
  }

  private async place(temporary: string, sha256: string): Promise<void> {
    await this.folder('sha256', sha256.slice(0, 2));
    const target = this.path(sha256);
    // A file that was there already counts as new, so that a collection of orphans leaves it alone until its row is in.
    await utimes(temporary, new Date(), new Date());
    await movedInto(temporary, target);
    await syncFolder(path.dirname(target));
    await this.checkIdentity();
  }
  /**
   * The path of a stored file whose bytes were read and compared with its name: by this process, since anything was
   * done to the file. `onRead` is called for each piece that was read.
   * @throws CorruptArtifactError when the file is missing or its bytes differ.
   */
  async verified(sha256: string, onRead?: () => void): Promise<string> {
    const file = this.path(sha256);
    if (await this.isKnownWhole(sha256)) return file;
    for await (const _ of this.checked(sha256, onRead)) void _;
    return file;
  }

  /** Whether the bytes were compared with their name by this process, since anything was done to the file. */
  async isKnownWhole(sha256: string): Promise<boolean> {
    const seen = await appearance(this.path(sha256));
    return seen !== undefined && this.whole.get(sha256) === seen;
  }

  /**
   * The bytes of a stored file, compared with its name on the way: the last piece comes only where they are its own.
   * `onRead` is called for each piece that was read.
   * @throws CorruptArtifactError instead of the last piece when the file is missing or its bytes differ.
   */
  async *checked(sha256: string, onRead?: () => void): AsyncGenerator<Buffer> {
    const file = this.path(sha256);
    const hash = createHash('sha256');
    const seen = await appearance(file);
    let held: Buffer | undefined;
    try {
      for await (const piece of createReadStream(file) as AsyncIterable<Buffer>) {
        hash.update(piece);
        onRead?.();
        if (held) yield held;
        held = piece;
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new CorruptArtifactError(`expected artifact ${sha256} in the store, found no such file`);
    }
    const found = hash.digest('hex');
    if (found !== sha256)
      throw new CorruptArtifactError(
        `expected artifact ${sha256}, its file has sha256 ${found}: it was changed on disk`,
      );
    if (this.whole.size >= MOST_KNOWN) this.whole.clear();
    if (seen !== undefined) this.whole.set(sha256, seen);
    if (held) yield held;
  }

  // For the collection of what nobody names any more; times in milliseconds since 1970

  /** All files, a folder's at a time. */
  async *stored(): AsyncGenerator<(StoredFile & { modifiedAt: number })[]> {
    const root = path.join(this.dir, 'sha256');
    for (const folder of (await namesIn(root)).sort()) {
      const files = await Promise.all(
        (await namesIn(path.join(root, folder)))
          .filter((name) => SHA256.test(name))
          .map(async (sha256) => {
            const found = await lookAt(path.join(root, folder, sha256));
            return found ? [{ sha256, sizeBytes: found.size, modifiedAt: found.mtimeMs }] : [];
          }),
      );
      yield files.flat();
    }
  }

  /** Removes a file unless it was stored (again) after `before`. True when it is gone by this. */
  async removeOld(sha256: string, before: number): Promise<boolean> {
    const target = this.path(sha256);
    // In its own folder: that for what is under way may be on another device.
    const aside = `${target}${ASIDE}${randomUUID()}`;
    if (!(await moved(target, aside))) return false;
    // Only now nobody can store it anew under our hands: had somebody just done so, it goes back.
    const found = await lookAt(aside);
    if (found && found.mtimeMs >= before) {
      await this.putBack(aside, sha256);
      return false;
    }
    await rm(aside, { force: true });
    return true;
  }

  /** Gives a file its name again that had been put aside, unless it is stored anew already. Always true. */
  async putBack(aside: string, sha256: string): Promise<true> {
    await link(aside, this.path(sha256)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') absent(error);
    });
    await rm(aside, { force: true });
    return true;
  }

  /** What lies about unfinished and was not touched after `before`. */
  async *leftovers(before: number): AsyncGenerator<Leftover> {
    // Version 0.1 put aside here.
    yield* this.filesLeft(path.join(this.dir, 'tmp'), before, '.');
    const root = path.join(this.dir, 'sha256');
    // A copy from another device that was broken off has part of a file.
    for (const folder of await namesIn(root)) yield* this.filesLeft(path.join(root, folder), before, ASIDE);
    for (const name of await namesIn(path.join(this.dir, 'work'))) {
      const folder = path.join(this.dir, 'work', name);
      const inside = await Promise.all(
        (await readdir(folder, { recursive: true }).catch(() => [])).map((each) => lookAt(path.join(folder, each))),
      );
      const all = [await lookAt(folder), ...inside].filter((found) => found !== undefined);
      if (all.length && all.every(({ mtimeMs }) => mtimeMs < before))
        yield {
          path: folder,
          process: name,
          sizeBytes: all.reduce((sum, found) => sum + (found.isFile() ? found.size : 0), 0),
        };
    }
  }

  /** Files of a folder that have not got their place. `aside`: what follows the name of one that was put aside. */
  private async *filesLeft(folder: string, before: number, aside: string): AsyncGenerator<Leftover> {
    for (const name of await namesIn(folder)) {
      if (SHA256.test(name)) continue;
      const file = path.join(folder, name);
      const found = await lookAt(file);
      const [sha256 = '', id] = name.split(aside);
      if (found && found.mtimeMs < before)
        yield { path: file, sizeBytes: found.size, ...(id !== undefined && SHA256.test(sha256) && { sha256 }) };
    }
  }

  async removeLeftover(file: string): Promise<void> {
    await rm(file, { recursive: true, force: true });
  }
}

const absent = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT') throw error;
};
const namesIn = async (folder: string): Promise<string[]> => (await readdir(folder).catch(absent)) ?? [];
const lookAt = (file: string) => stat(file).catch(absent);
const moved = (from: string, to: string): Promise<boolean> =>
  rename(from, to).then(
    () => true,
    (error: NodeJS.ErrnoException) => absent(error) ?? false,
  );
