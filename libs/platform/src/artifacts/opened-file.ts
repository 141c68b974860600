/** Files that others have made, opened to be stored: what was opened is looked at, and not what its path says. */
import { constants } from 'node:fs';
import { open, readlink, realpath, type FileHandle } from 'node:fs/promises';
import path from 'node:path';

/** What was to be stored is no file: a pipe would never end, a device neither. */
export class NoFileError extends Error {}

/** Whose files may be stored: those in a folder, of a user where that is known. */
export interface FilesOf {
  folder: string;
  uid?: number | undefined;
}

/**
 * Opens a file to read it, and nothing else: opening a pipe would wait for its writer. Where it is said whose file it
 * has to be, that is asked of what was opened: a path can lead elsewhere a moment later.
 * @throws NoFileError
 */
export async function openFile(file: string, of?: FilesOf): Promise<FileHandle> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW).catch(
    (error: NodeJS.ErrnoException) => {
      throw error.code === 'ELOOP' || error.code === 'ENXIO' ? notAFile(file) : error;
    },
  );
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw notAFile(file);
    if (of && ((of.uid ?? found.uid) !== found.uid || !(await isIn(of.folder, handle, file))))
      throw new NoFileError(`expected ${path.basename(file)} to be a file that the run itself has made`);
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}
const notAFile = (file: string) =>
  new NoFileError(`expected ${path.basename(file)} to be a file, got a pipe, a link or something else`);

/** Whether an opened file is in a folder, links followed. Linux says where it is, elsewhere its path does. */
async function isIn(folder: string, handle: FileHandle, file: string): Promise<boolean> {
  const place = await readlink(`/proc/self/fd/${handle.fd}`).catch(() => realpath(file));
  return place.startsWith(`${await realpath(folder)}${path.sep}`);
}
