/** A folder of artifacts that can be taken away from under who uses it, and be made read-only. */
import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rename, rm, rmdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Hindrance } from './own-postgres.js';

const run = promisify(execFile);

export interface OwnStore {
  dir: string;
  /** The volume drops: an empty folder is left where it was mounted, or none where nothing can be mounted. */
  gone: Hindrance;
  readOnly: Hindrance;
  /** After those who use it have ended. */
  remove(): Promise<void>;
}

/**
 * Mounts a folder over another, read-only from the first moment: what is mounted so is made so in a place where nobody
 * has a file open for writing. A second mount over the first, where files are.
 */
export async function mountReadOnly(folder: string, over: string): Promise<void> {
  const aside = await mkdtemp(path.join(tmpdir(), 'loom-read-only-'));
  await run('mount', ['--bind', folder, aside]);
  try {
    await run('mount', ['-o', 'remount,ro,bind', aside]);
    await run('mount', ['--bind', aside, over]);
  } finally {
    await run('umount', ['-l', aside]);
    await rmdir(aside);
  }
}

/** A folder that is mounted where that is allowed (to root), and one that is moved away and back where it is not. */
export async function ownStore(): Promise<OwnStore> {
  const home = await mkdtemp(path.join(tmpdir(), 'loom-store-'));
  const [dir, volume, away] = [path.join(home, 'artifacts'), path.join(home, 'volume'), path.join(home, 'away')];
  await mkdir(dir);
  await mkdir(volume);
  const mount = async () => void (await run('mount', ['--bind', volume, dir]));
  const unmount = async () => void (await run('umount', ['-l', dir]));
  const mounted = await mount().then(
    () => true,
    () => false,
  );
  const remove = async () => {
    if (mounted) await unmount();
    await rm(home, { recursive: true, force: true });
  };
  if (!mounted)
    return {
      dir,
      gone: { begin: () => rename(dir, away), end: () => rename(away, dir) },
      readOnly: { begin: () => chmod(dir, 0o555), end: () => chmod(dir, 0o755) },
      remove,
    };
  return {
    dir,
    gone: { begin: unmount, end: mount },
    readOnly: {
      begin: () => mountReadOnly(volume, dir),
      end: unmount,
    },
    remove,
  };
}
