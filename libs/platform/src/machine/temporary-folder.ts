/** Folders for what does not outlive a process. */
import { lstat, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { lockFile } from './file-lock.js';

/** What says that the process of a folder lives: it is locked as long. */
const LOCK = 'lock';
/** One that is younger may be about to be locked. */
const YOUNG_MS = 60_000;

export interface TemporaryFolder {
  path: string;
  remove(): Promise<void>;
}

/** Makes a folder of this process' own. @throws Error that says what stands against it */
export async function temporaryFolder(prefix: string): Promise<string> {
  const dir = tmpdir();
  return mkdtemp(path.join(dir, prefix)).catch((error: NodeJS.ErrnoException) => {
    const why = error.code === 'ENOENT' ? 'it does not exist' : error.message;
    throw new Error(`expected a folder for temporary files that can be written (TMPDIR), got ${dir}: ${why}`);
  });
}

/**
 * A folder that `remove` takes away, or else whoever of this user asks next for one of the same prefix: a process that
 * is killed can't.
 * @throws Error that says what stands against it
 */
export async function folderWhileAlive(prefix: string): Promise<TemporaryFolder> {
  await removeLeft(prefix);
  const folder = await temporaryFolder(prefix);
  const lock = lockFile(path.join(folder, LOCK));
  return {
    path: folder,
    async remove() {
      await rm(folder, { recursive: true, force: true });
      lock?.release();
    },
  };
}

/** Removes folders of processes of this user that are gone. What can't be looked at, or removed, is left. */
async function removeLeft(prefix: string): Promise<void> {
  const names = await readdir(tmpdir()).catch(() => []);
  for (const name of names.filter((each) => each.startsWith(prefix))) {
    const folder = path.join(tmpdir(), name);
    try {
      // Others may have put anything there, a link too.
      const found = await lstat(folder);
      if (!found.isDirectory() || found.uid !== process.getuid?.() || Date.now() - found.mtimeMs < YOUNG_MS) continue;
      if (!(await lstat(path.join(folder, LOCK))).isFile()) continue;
      const lock = lockFile(path.join(folder, LOCK));
      if (!lock) continue;
      await rm(folder, { recursive: true, force: true });
      lock.release();
    } catch {
      /* Another is removing it, or it is none of ours. */
    }
  }
}
