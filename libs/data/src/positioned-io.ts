/**
 * Reads and writes of an open file that are whole or fail. One call of the system may move less than it was asked for
 * (a disk that fills up, a limit, two gigabytes), and says so in its result only.
 */
import { open, type FileHandle } from 'node:fs/promises';

/** What one call of the system moves at most: Node refuses 2 GiB and more. */
const MOST_AT_ONCE = 2 ** 30;

/**
 * Writes all parts one after the other, from `position` on; without one, where the file stands.
 * @throws Error of the file system, ENOSPC for one; Error where it takes nothing more and doesn't say why.
 */
export async function writeFully(
  file: Pick<FileHandle, 'write'>,
  parts: Iterable<Uint8Array>,
  position: number | null = null,
): Promise<void> {
  let written = 0;
  for (const part of parts) {
    for (let done = 0; done < part.length;) {
      const wanted = Math.min(part.length - done, MOST_AT_ONCE);
      const { bytesWritten } = await file.write(part, done, wanted, position === null ? null : position + written);
      if (bytesWritten === 0)
        throw new Error(`expected ${wanted} bytes to be written after the first ${written}, none was`);
      done += bytesWritten;
      written += bytesWritten;
    }
  }
}

/** Fills `into` with what lies in the file from `position` on. @throws Error where the file ends before. */
export async function readFully(file: Pick<FileHandle, 'read'>, into: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < into.length;) {
    const wanted = Math.min(into.length - done, MOST_AT_ONCE);
    const { bytesRead } = await file.read(into, done, wanted, position + done);
    if (bytesRead === 0)
      throw new Error(`expected ${into.length} bytes at ${position}, the file ends ${into.length - done} before`);
    done += bytesRead;
  }
}

/** A whole file of any size, in a buffer of its own. */
export async function readWhole(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const file = await open(path);
  try {
    const bytes = new Uint8Array((await file.stat()).size);
    await readFully(file, bytes, 0);
    return bytes;
  } finally {
    await file.close();
  }
}
