import { createHash, randomUUID } from 'node:crypto';
import { createReadStream, createWriteStream, type ReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat, utimes } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';

export interface StoredFile { sha256: string; sizeBytes: number }

/** The bytes in the store are not those that were put there. */
export class CorruptArtifactError extends Error {}

const SHA256 = /^[0-9a-f]{64}$/;

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try { await handle.sync(); } finally { await handle.close(); }
}

/**
 * A folder of files named by their sha256. A file is there whole or not at all: it is written under a temporary name,
 * flushed to disk and renamed. The database row that makes it visible is written after that.
 */
export class ArtifactStore {
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
    try { return (await stat(this.path(sha256))).size; } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Copies a file into the store. Throws what the file system throws, ENOSPC for one; nothing is left behind then. */
  async put(file: string): Promise<StoredFile> {
    const temporary = path.join(this.dir, 'tmp', randomUUID());
    await mkdir(path.dirname(temporary), { recursive: true });
    try {
      const hash = createHash('sha256');
      let sizeBytes = 0;
      await pipeline(createReadStream(file), async function* (chunks: AsyncIterable<Buffer>) {
        for await (const chunk of chunks) {
          hash.update(chunk);
          sizeBytes += chunk.length;
          yield chunk;
        }
      }, createWriteStream(temporary, { flags: 'wx', flush: true }));
      const sha256 = hash.digest('hex');
      const target = this.path(sha256);
      await mkdir(path.dirname(target), { recursive: true });
      await rename(temporary, target);
      // A file that was there already counts as new, so that a collection of orphans leaves it alone until its row is in.
      await utimes(target, new Date(), new Date());
      await syncFolder(path.dirname(target));
      return { sha256, sizeBytes };
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /**
   * The path of a stored file whose bytes were read and compared with its name.
   * @throws CorruptArtifactError when the file is missing or its bytes differ.
   */
  async verified(sha256: string): Promise<string> {
    const file = this.path(sha256);
    const hash = createHash('sha256');
    try { for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer); } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      throw new CorruptArtifactError(`expected artifact ${sha256} in the store, found no such file`);
    }
    const found = hash.digest('hex');
    if (found !== sha256) throw new CorruptArtifactError(`expected artifact ${sha256}, its file has sha256 ${found}: it was changed on disk`);
    return file;
  }
}
