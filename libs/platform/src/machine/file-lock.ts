/**
 * Files that the kernel locks for as long as a process lives: one that is killed holds nothing, a copy of a file is not
 * locked with it, and process ids that containers share don't matter. Node locks no files itself; SQLite does, by
 * fcntl(2). Nothing is written to the file.
 */
import { existsSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';

const SQLITE_BUSY = 5;
/** A taker waits as long for those that only ask whether the file is locked. */
const ASKING_MS = 100;

export interface FileLock {
  release(): void;
}

/** Takes the lock of a file, made where it is missing; undefined where another has it. @throws Error of SQLite */
export const lockFile = (file: string): FileLock | undefined => locked(file, 'BEGIN EXCLUSIVE', ASKING_MS);

/** Whether somebody has the lock of a file. @throws Error of SQLite */
export function isLocked(file: string): boolean {
  if (!existsSync(file)) return false;
  const shared = locked(file, 'BEGIN; SELECT * FROM sqlite_schema', 0);
  shared?.release();
  return shared === undefined;
}

function locked(file: string, statement: string, timeout: number): FileLock | undefined {
  const database = new DatabaseSync(file, { timeout });
  try {
    database.exec(statement);
    return { release: () => database.close() };
  } catch (error) {
    database.close();
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined;
    throw error;
  }
}
