/**
 * Where the TensorFlow runtime is kept, once for all checkouts. Root's is for whoever runs the checkout, and for trainers,
 * which are no root: it is not in root's home, and everybody reads it.
 */
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import path from 'node:path';
import { cache, run } from './step.mjs';

const isRoot = process.getuid?.() === 0;

/** What set-up makes as root others can read, whatever root's umask is. */
export function openUmask() {
  if (isRoot) process.umask(process.umask() & ~0o055);
}

/** The folder that this user's set-up keeps the runtime in. */
export function sharedCache() {
  if (process.env.XDG_CACHE_HOME || !isRoot || process.platform !== 'linux') return cache;
  const shared = '/var/cache/latent-loom';
  try {
    mkdirSync(shared, { recursive: true, mode: 0o755 });
    accessSync(shared, constants.W_OK);
    return shared;
  } catch {
    return cache;
  }
}

const isOpen = (folder) => (statSync(folder).mode & 0o005) === 0o005;

/** Makes what an earlier set-up has left in `folder`, or in the user's own cache, readable for all, where it is there. */
export async function adopt(folder, own = path.join(cache, path.basename(folder))) {
  if (!existsSync(folder) && existsSync(own)) {
    const draft = `${folder}.${process.pid}`;
    try {
      // By links: it takes no room. On another device it is copied.
      await run('cp', ['-al', own, draft]).catch(async () => {
        await rm(draft, { recursive: true, force: true });
        await run('cp', ['-a', own, draft]);
      });
      await rename(draft, folder).catch((error) => {
        // Another set-up was quicker.
        if (!existsSync(folder)) throw error;
      });
    } finally {
      await rm(draft, { recursive: true, force: true });
    }
  }
  if (isRoot && existsSync(folder) && !isOpen(folder)) await run('chmod', ['-R', 'go+rX', folder]);
}
