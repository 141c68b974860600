import { spawn, type ChildProcess } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { commandLineOf, identityOf, isStill } from './process-identity.js';

let dir: string;
let child: ChildProcess;
let later: ChildProcess;
const started = async () => {
  const process_ = spawn('sleep', ['600']);
  await new Promise((resolve) => process_.once('spawn', resolve));
  return process_;
};

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-identity-'));
  [child, later] = [await started(), await started()];
});
afterAll(async () => {
  for (const each of [child, later]) each.kill('SIGKILL');
  await rm(dir, { recursive: true, force: true });
});

describe.each([
  ['as this system tells', undefined],
  ['told by ps', { proc: '/nowhere', ps: 'ps' }],
])('a process, %s', (_, sources) => {
  test('is known again, by one word', () => {
    const identity = identityOf(child.pid!, sources);
    expect(identity).toMatch(/^\S+$/);
    expect(isStill(child.pid!, identity, sources)).toBe(true);
  });

  test('is not the one that had its id before, and not one that is gone', async () => {
    const gone = await started();
    const identity = identityOf(gone.pid!, sources);
    const exit = new Promise((resolve) => gone.once('exit', resolve));
    gone.kill('SIGKILL');
    await exit;
    expect(isStill(gone.pid!, identity, sources)).toBe(false);
    expect(isStill(process.pid, identity, sources)).toBe(false);
  });

  test('has a command line', () => expect(commandLineOf(child.pid!, sources)).toBe('sleep 600'));
});

test('ps tells processes apart by their start and by their command', async () => {
  const ps = path.join(dir, 'ps');
  const answer = async (text: string) => {
    await writeFile(ps, `#!/bin/sh\necho '${text}'\n`);
    await chmod(ps, 0o755);
  };
  const sources = { proc: '/nowhere', ps };
  await answer('Sun Nov  9 02:16:28 2025 node main.js up');
  const identity = identityOf(child.pid!, sources);
  expect(isStill(child.pid!, identity, sources)).toBe(true);
  await answer('Sun Nov  9 02:16:29 2025 node main.js up');
  expect(isStill(child.pid!, identity, sources)).toBe(false);
  await answer('Sun Nov  9 02:16:28 2025 vim main.js');
  expect(isStill(child.pid!, identity, sources)).toBe(false);
});

test('where nothing tells, nothing is claimed', () => {
  const nowhere = { proc: '/nowhere', ps: '/nowhere/ps' };
  expect(isStill(child.pid!, identityOf(child.pid!), nowhere)).toBeUndefined();
  expect(isStill(child.pid!, '')).toBeUndefined();
  expect(commandLineOf(child.pid!, nowhere)).toBeUndefined();
});
