import { mkdir, readdir, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import path from 'node:path';

/** Where this process keeps what its runs have under way: a folder of the artifacts' named by host and process. */
export const workFolderOf = (artifactsDir: string): string =>
  path.join(artifactsDir, 'work', `${hostname()}.${process.pid}`);

/** Makes the work folder, and removes those of processes of this host that are gone. */
export async function makeWorkFolder(folder: string): Promise<void> {
  const root = path.dirname(folder);
  const names = await readdir(root).catch(() => []);
  for (const name of names) {
    const [, pid] = /^(?:.*)\.(\d+)$/.exec(name) ?? [];
    if (!name.startsWith(`${hostname()}.`) || !pid || isAlive(Number(pid))) continue;
    await rm(path.join(root, name), { recursive: true, force: true });
  }
  await mkdir(folder, { recursive: true });
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
