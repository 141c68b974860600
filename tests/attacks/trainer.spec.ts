/** A trainer that was taken over by the data that it decodes, and looks around. */
import { spawn } from 'node:child_process';
import { readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
beforeAll(async () => {
  stack = await startStack({ environment: { LAB_API_TOKEN: 'swordfish', PGPASSWORD: 'swordfish' } });
}, 60_000);
afterAll(() => stack?.stop());

test('finds no way to Postgres or Redis and no secret of its worker, and no stack or path of it is told', async () => {
  const program = path.resolve(import.meta.dirname, '../support/seeking-trainer.mjs');
  stack.startWorker({ LOOM_TRAINER: program });
  const id = await stack.submit({ kind: 'prepare-dataset', name: 'x', path: 'x' });
  const { statusDetail } = await stack.ended(id, 'failed');
  expect(statusDetail).not.toContain('/srv/loom');
  const { found, noNewPrivileges } = JSON.parse(statusDetail!) as { found: string[]; noNewPrivileges?: string };
  expect(found).toEqual([]);
  if (process.platform === 'linux') expect(noNewPrivileges).toBe('1');
}, 60_000);

test('another local user can read no folder that is closed, and no environment of a process', async (context) => {
  if (process.getuid?.() !== 0) context.skip('only root can become another user');
  const as = (command: string) =>
    new Promise<number>((resolve) =>
      spawn('sh', ['-c', command], { uid: 65_534, gid: 65_534, stdio: 'ignore' }).on('exit', (code) =>
        resolve(code ?? 1),
      ),
    );
  expect(await as(`cat /proc/${stack.api.pid}/environ`)).not.toBe(0);
  expect(await as(`kill -0 ${stack.api.pid}`)).not.toBe(0);
  // The folder of the stack is its owner's alone, and so is what is in it.
  expect((await stat(stack.dir)).mode & 0o077).toBe(0);
  expect(await as(`ls ${stack.dir}`)).not.toBe(0);
  expect((await readdir(stack.dir)).length).toBeGreaterThan(0);
});
