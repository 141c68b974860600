import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { lockFile } from './file-lock.js';
import { folderWhileAlive } from './temporary-folder.js';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-temporary-'));
  vi.stubEnv('TMPDIR', dir);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(dir, { recursive: true });
});

const longAgo = new Date(Date.now() - 3_600_000);

/** As a process makes one that holds its lock until it is killed. */
async function folderOfAnother(name: string) {
  const folder = path.join(dir, name);
  await mkdir(folder);
  await writeFile(path.join(folder, 'code'), 'compiled');
  const program =
    "const { DatabaseSync } = await import('node:sqlite');" +
    "new DatabaseSync(process.argv[1]).exec('BEGIN EXCLUSIVE');" +
    "process.stdout.write('locked'); setInterval(() => 0, 1000);";
  const child = spawn(process.execPath, ['--input-type=module', '-e', program, path.join(folder, 'lock')]);
  await once(child.stdout, 'data');
  await utimes(folder, longAgo, longAgo);
  return { folder, child };
}

test('a folder is there until it is removed', async () => {
  const mine = await folderWhileAlive('loom-of-');
  expect(existsSync(mine.path)).toBe(true);
  await mine.remove();
  expect(existsSync(mine.path)).toBe(false);
});

test('what a process has left that was killed goes when the next one starts, and not before', async () => {
  const { folder, child } = await folderOfAnother('loom-of-1');
  await (await folderWhileAlive('loom-of-')).remove();
  expect(existsSync(folder)).toBe(true);
  child.kill('SIGKILL');
  await once(child, 'exit');
  await (await folderWhileAlive('loom-of-')).remove();
  expect(existsSync(folder)).toBe(false);
});

test('what others have put there is left: other names, links, and folders without a lock or just made', async () => {
  const other = path.join(dir, 'other');
  await mkdir(other);
  lockFile(path.join(other, 'lock'))?.release();
  await symlink(other, path.join(dir, 'loom-of-link'));
  await mkdir(path.join(dir, 'loom-of-bare'));
  const young = path.join(dir, 'loom-of-young');
  await mkdir(young);
  lockFile(path.join(young, 'lock'))?.release();
  for (const each of ['other', 'loom-of-bare']) await utimes(path.join(dir, each), longAgo, longAgo);
  await (await folderWhileAlive('loom-of-')).remove();
  for (const each of [other, young, path.join(dir, 'loom-of-link'), path.join(dir, 'loom-of-bare')])
    expect(existsSync(each), each).toBe(true);
  expect(existsSync(path.join(other, 'lock'))).toBe(true);
});
