/**
 * The folder in which a worker's runs have their files under way. It is locked by the kernel for as long as its process
 * lives, also where several have one host name and one process id: containers do. Node locks no files itself; SQLite
 * does.
 */
import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import { DatabaseSync } from 'node:sqlite';

const LOCK = 'lock';

/** Undefined where another process has it. */
function lock(folder: string): DatabaseSync | undefined {
  const file = new DatabaseSync(path.join(folder, LOCK), { timeout: 0 });
  try {
    file.exec('BEGIN EXCLUSIVE');
    return file;
  } catch {
    file.close();
    return undefined;
  }
}

export class WorkFolder {
  private lock: DatabaseSync | undefined;

  constructor(readonly path: string) {}

  /**
   * Makes the folder where it is missing, but not the store that it is in, and removes those whose owners are gone.
   * @throws Error of the file system
   */
  async make(): Promise<void> {
    const isNew = await made(path.dirname(this.path)).then(() => made(this.path));
    if (!isNew && this.lock) return;
    this.lock?.close();
    this.lock = lock(this.path);
    if (!this.lock) throw new Error(`expected ${this.path} to be this worker's own, another holds it`);
    await this.removeAbandoned();
  }

  /** A folder without a lock is left alone: it is being made, or of a version that had none, and `loom gc` takes it. */
  private async removeAbandoned(): Promise<void> {
    const root = path.dirname(this.path);
    for (const name of await readdir(root)) {
      const folder = path.join(root, name);
      if (folder === this.path || !(await isThere(path.join(folder, LOCK)))) continue;
      const abandoned = lock(folder);
      if (abandoned) await rm(folder, { recursive: true, force: true });
      abandoned?.close();
    }
  }

  async remove(): Promise<void> {
    if (!this.lock) return;
    await rm(this.path, { recursive: true, force: true });
    this.lock.close();
    this.lock = undefined;
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
