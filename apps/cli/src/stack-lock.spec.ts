import { spawn, type ChildProcess } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
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

/** As if the process that holds the folder had said another id when it took it. */
async function holderIsTold(text: (own: string) => string): Promise<void> {
  const file = path.join(dir, 'holder');
  await writeFile(file, text(await readFile(file, 'utf8')));
}

test.each([
  ['as this system tells', undefined],
  ['told by ps', BY_PS],
])('a folder is held by one, until it is released, %s', async (_, sources) => {
  const release = await takeLock(dir, sources);
  expect(runningPid(dir, sources)).toBe(process.pid);
  await expect(takeLock(dir, sources)).rejects.toThrow(StackRunningError);
  release();
  expect([runningPid(dir, sources), await stopStack(dir, 1000, sources)]).toEqual([undefined, false]);
  (await takeLock(dir, sources))();
});

test('a copy of a folder that is held is held by nobody: what runs in the first is not ended by it', async () => {
  const release = await takeLock(dir);
  await holderIsTold(() => `${other.pid} \n`);
  const copy = `${dir}-copy`;
  try {
    await cp(dir, copy, { recursive: true });
    expect([runningPid(copy), await stopStack(copy, 1000)]).toEqual([undefined, false]);
    expect(await otherLives()).toBe(true);
    const releaseCopy = await takeLock(copy);
    expect([runningPid(copy), await readFile(path.join(dir, 'holder'), 'utf8')]).toEqual([
      process.pid,
      `${other.pid} \n`,
    ]);
    releaseCopy();
  } finally {
    release();
    await rm(copy, { recursive: true, force: true });
  }
});

test('a folder whose holder is not told by the system is not acted on, and the message says what to do', async () => {
  const release = await takeLock(dir);
  await holderIsTold((own) => own.replace(String(process.pid), String(other.pid)));
  for (const act of [() => stopStack(dir, 1000, NOT_AT_ALL), () => takeLock(dir, NOT_AT_ALL)]) {
    await expect(act()).rejects.toThrow(StackError);
    await expect(act()).rejects.toThrow(`end it with \`kill ${other.pid}\` if it does`);
  }
  expect([runningPid(dir, NOT_AT_ALL), await otherLives()]).toEqual([undefined, true]);
  release();
});

test('what the folder names of a process that is gone is not waited for', async () => {
  await writeFile(path.join(dir, 'holder'), '999999999 1\n');
  expect([runningPid(dir), await stopStack(dir, 1000)]).toEqual([undefined, false]);
  const release = await takeLock(dir);
  expect(runningPid(dir)).toBe(process.pid);
  release();
});

test('a folder that can’t be written to is named', async () => {
  await expect(takeLock(path.join(dir, 'nowhere'))).rejects.toThrow(
    `expected to be able to write in ${path.join(dir, 'nowhere')}: `,
  );
});
