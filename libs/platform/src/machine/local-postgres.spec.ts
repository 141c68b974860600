import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { endLeftover } from './local-postgres.js';
import { LocalServiceError } from './local-server.js';

const NOWHERE = { proc: '/nowhere', ps: '/nowhere/ps' };
let dir: string;
let other: ChildProcess;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-leftover-'));
});
afterEach(async () => {
  other?.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

/** A process under the name of a Postgres, with such arguments, whose id is in the folder's pid file. */
async function pidFileOf(folder: string, ...args: string[]): Promise<void> {
  other = spawn(process.execPath, ['-e', 'console.log("up"); process.stdin.pipe(process.stdout)', '--', ...args], {
    argv0: '/usr/lib/postgresql/bin/postgres',
    cwd: folder,
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => other.stdout!.once('data', resolve));
  await writeFile(path.join(dir, 'postmaster.pid'), `${other.pid}\n${dir}\n`);
}
/** Whether it has come to no signal: one that was sent is there before the answer to a word. */
const lives = async () => {
  const signal = new Promise<boolean>((resolve) => other.once('exit', () => resolve(false)));
  other.stdin!.write('word\n');
  return Promise.race([signal, new Promise<boolean>((resolve) => other.stdout!.once('data', () => resolve(true)))]);
};

const sources: [string, { proc: string; ps: string } | undefined][] = [
  ['as this system tells', undefined],
  ['told by ps', { ...NOWHERE, ps: 'ps' }],
];

test.each(sources)('a Postgres of another folder keeps running, %s', async (_, told) => {
  const others = await mkdtemp(`${dir}-of-others-`);
  await pidFileOf(others, '-D', others, '-p', '1');
  await endLeftover(dir, told);
  // Postgres would not start beside the file.
  expect([await lives(), await readdir(dir)]).toEqual([true, []]);
  await rm(others, { recursive: true });
});

test('a Postgres is known as that of a folder by another path to it, and after the folder was moved', async () => {
  const [link, moved] = [`${dir}-link`, `${dir}-moved`];
  await symlink(dir, link);
  await pidFileOf(dir, '-D', link, '-p', '1');
  await rename(dir, moved);
  const ended = new Promise((resolve) => other.once('exit', (_code, signal) => resolve(signal)));
  await endLeftover(moved);
  expect(await ended).toBe('SIGINT');
  await rm(moved, { recursive: true });
  await rm(link);
});

test('a process that the system says nothing of is not signalled, and the message says what to do', async () => {
  await pidFileOf(dir, '-D', dir, '-p', '1');
  const refused = endLeftover(dir, NOWHERE);
  await expect(refused).rejects.toThrow(LocalServiceError);
  await expect(refused).rejects.toThrow(`end it with \`kill -INT ${other.pid}\` if it is, else remove`);
  expect(await lives()).toBe(true);
});

test.each(sources)('a Postgres of this folder is ended before the next one starts, %s', async (_, told) => {
  await pidFileOf(dir, '-D', dir, '-p', '1');
  const ended = new Promise((resolve) => other.once('exit', (_code, signal) => resolve(signal)));
  await endLeftover(dir, told);
  expect(await ended).toBe('SIGINT');
});
