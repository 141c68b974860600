/**
 * The folder in which a worker's runs have their files under way. It is locked for as long as its process lives, also
 * where several have one host name and one process id: containers do.
 */
import { lockFile, type FileLock } from '#libs/platform';
import { chown, mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';

const LOCK = 'lock';

export class WorkFolder {
  private lock: FileLock | undefined;

  constructor(readonly path: string) {}

  /**
   * Makes the folder where it is missing, but not the store that it is in, and removes those whose owners are gone.
   * @throws Error of the file system
   */
  async make(): Promise<void> {
    const isNew = await made(path.dirname(this.path)).then(() => made(this.path));
    if (!isNew && this.lock) return;
    this.lock?.release();
    this.lock = lockFile(path.join(this.path, LOCK));
    if (!this.lock) throw new Error(`expected ${this.path} to be this worker's own, another holds it`);
    await this.removeAbandoned();
  }

  /** A folder without a lock is left alone: it is being made, or of a version that had none, and `loom gc` takes it. */
  private async removeAbandoned(): Promise<void> {
    const root = path.dirname(this.path);
    for (const name of await readdir(root)) {
      const folder = path.join(root, name);
      if (folder === this.path || !(await isThere(path.join(folder, LOCK)))) continue;
      const abandoned = lockOf(folder);
      if (abandoned) await rm(folder, { recursive: true, force: true });
      abandoned?.release();
    }
  }

  async remove(): Promise<void> {
    if (!this.lock) return;
    await rm(this.path, { recursive: true, force: true });
    this.lock.release();
    this.lock = undefined;
  }
}

/** The folder of one run in it, which its trainer writes to. */
export class RunFolder {
  /** What tells the folder that was made from another of its name. */
  private madeAs: string | undefined;

  constructor(readonly path: string) {}

  /** @throws Error of the file system */
  async make(user: { uid: number; gid: number } | undefined): Promise<void> {
    await mkdir(this.path, { mode: 0o700 });
    this.madeAs = await inodeOf(this.path);
    if (user) await chown(this.path, user.uid, user.gid);
  }

  /** Whether it was made and is not there any more: removed, or on a volume that is away. */
  async isGone(): Promise<boolean> {
    return this.madeAs !== undefined && (await inodeOf(this.path)) !== this.madeAs;
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

/** Undefined where another has it, and where nobody can tell: what is not known to be abandoned is left alone. */
function lockOf(folder: string): FileLock | undefined {
  try {
    return lockFile(path.join(folder, LOCK));
  } catch {
    return undefined;
  }
}

/** False where it was there. */
const made = (folder: string): Promise<boolean> =>
  mkdir(folder).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
      return false;
    },
  );
const isThere = (file: string): Promise<boolean> =>
  stat(file).then(
    () => true,
    () => false,
  );
/** Device and number of a folder; undefined where none can be found. */
const inodeOf = (folder: string): Promise<string | undefined> =>
  stat(folder, { bigint: true }).then(
    ({ dev, ino }) => `${dev} ${ino}`,
    () => undefined,
  );
