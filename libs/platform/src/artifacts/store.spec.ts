import { mkdtemp, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ArtifactStore, CorruptArtifactError } from './store.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-artifacts-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('a file found whole is read again once anything was done to it, whatever its size and date say', async () => {
  const store = new ArtifactStore(path.join(dir, 'store'));
  await writeFile(path.join(dir, 'file'), 'what was made');
  const { sha256 } = await store.put(path.join(dir, 'file'));
  const file = await store.verified(sha256);
  expect(await store.verified(sha256)).toBe(file);

  const { atime, mtime } = await stat(file);
  const bytes = await readFile(file);
  await rm(file);
  await writeFile(file, 'what was mode');
  await utimes(file, atime, mtime);
  await expect(store.verified(sha256)).rejects.toThrow(CorruptArtifactError);
  await expect(store.verified(sha256)).rejects.toThrow(/it was changed on disk/);
  await writeFile(file, bytes);
  expect(await store.verified(sha256)).toBe(file);
  await rm(file);
  await expect(store.verified(sha256)).rejects.toThrow(/found no such file/);
});
