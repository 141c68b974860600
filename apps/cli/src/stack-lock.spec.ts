import { createHash } from 'node:crypto';
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { runningPid, StackError, StackRunningError, stopStack, takeLock } from './stack-lock.js';

const BY_PS = { proc: '/nowhere', ps: 'ps' };
const NOT_AT_ALL = { proc: '/nowhere', ps: '/nowhere/ps' };
let dir: string;
let other: ChildProcess;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-lock-'));
  other = spawn(process.execPath, ['-e', 'console.log("up"); process.stdin.pipe(process.stdout)'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => other.stdout!.once('data', resolve));
});
afterEach(async () => {
  other.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

/** Whether the other process has come to no signal: one that was sent is there before the answer to a word. */
const otherLives = async () => {
  const ended = new Promise<boolean>((resolve) => other.once('exit', () => resolve(false)));
  other.stdin!.write('word\n');
  return Promise.race([ended, new Promise<boolean>((resolve) => other.stdout!.once('data', () => resolve(true)))]);
};

describe.each([
  ['as this system tells', undefined],
  ['told by ps', BY_PS],
])('the lock of a folder, %s', (_, sources) => {
  test('is held by one, until it is released', async () => {
    const release = await takeLock(dir, sources);
    expect(runningPid(dir, sources)).toBe(process.pid);
    await expect(takeLock(dir, sources)).rejects.toThrow(StackRunningError);
    release();
    expect([runningPid(dir, sources), await readdir(dir)]).toEqual([undefined, []]);
  });

  test('whose process id was given out again is nobody’s: its process is not signalled', async () => {
    await takeLock(dir, sources);
    const text = await readFile(path.join(dir, 'lock'), 'utf8');
    await writeFile(path.join(dir, 'lock'), text.replace(String(process.pid), String(other.pid)));
    expect([runningPid(dir, sources), await stopStack(dir, 1000, sources)]).toEqual([undefined, false]);
    expect(await otherLives()).toBe(true);
    const release = await takeLock(dir, sources);
    expect([runningPid(dir, sources), await readdir(dir)]).toEqual([process.pid, ['lock']]);
    release();
  });
});

test('a lock that does not say which process it means is not acted on, and the message says what to do', async () => {
  // As it was written where there is no /proc.
  await writeFile(path.join(dir, 'lock'), `${other.pid} \n`);
  for (const act of [() => stopStack(dir, 1000), () => takeLock(dir)]) {
    await expect(act()).rejects.toThrow(StackError);
    await expect(act()).rejects.toThrow(`end it with \`kill ${other.pid}\` if it does, else remove ${dir}/lock`);
  }
  expect([runningPid(dir), await otherLives()]).toEqual([undefined, true]);
});

test('nor is one where the system says nothing of the process', async () => {
  const release = await takeLock(dir);
  const text = await readFile(path.join(dir, 'lock'), 'utf8');
  await writeFile(path.join(dir, 'lock'), text.replace(String(process.pid), String(other.pid)));
  await expect(stopStack(dir, 1000, NOT_AT_ALL)).rejects.toThrow(StackError);
  expect(await otherLives()).toBe(true);
  release();
});

test('a claim on a stale lock holds while its starter lives, and is followed as a lock is when it died', async () => {
  const stale = '999999999 1\n';
  const claim = path.join(dir, `lock.${createHash('sha256').update(stale).digest('hex').slice(0, 16)}`);
  await takeLock(dir);
  await rename(path.join(dir, 'lock'), claim);
  await writeFile(path.join(dir, 'lock'), stale);
  expect(runningPid(dir)).toBe(process.pid);
  await expect(takeLock(dir)).rejects.toThrow(StackRunningError);

  await writeFile(claim, '999999998 1\n');
  const release = await takeLock(dir);
  expect([runningPid(dir), await readdir(dir)]).toEqual([process.pid, ['lock']]);
  release();
});
