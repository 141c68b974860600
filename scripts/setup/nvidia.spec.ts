import { spawnSync } from 'node:child_process';
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';

const NVIDIA = pathToFileURL(path.join(import.meta.dirname, 'nvidia.mjs')).href;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-nvidia-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** What set-up makes of an `nvidia-smi` with such a script, where there is a sign of a driver or none. */
async function asked(script: string, signs: string[]): Promise<string> {
  const program = path.join(dir, 'nvidia-smi');
  await writeFile(program, `#!/bin/sh\n${script}\n`);
  await chmod(program, 0o755);
  const code = `
    const { driverAnswers } = await import(${JSON.stringify(NVIDIA)});
    try { console.log(driverAnswers({ signs: ${JSON.stringify(signs)}, timeoutMs: 1000 })); }
    catch (error) { console.log(error.message); }`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    env: { ...process.env, PATH: `${dir}:${process.env['PATH']}` },
    encoding: 'utf8',
    timeout: 20_000,
  });
  return stdout.trim();
}

test('a driver that answers is one, and a driver that fails is none', async () => {
  expect(await asked('exit 0', [dir])).toBe('true');
  expect(await asked('exit 9', [dir])).toBe('false');
});

test.runIf(process.platform === 'linux')('where there is no sign of a driver, nobody is asked', async () => {
  expect(await asked(`touch ${dir}/asked; exit 0`, [path.join(dir, 'nothing')])).toBe('false');
  expect(spawnSync('ls', [path.join(dir, 'asked')]).status).not.toBe(0);
});

test('a driver that hangs is waited for only so long, and the message says what to do', async () => {
  expect(await asked('exec sleep 600', [dir])).toMatch(/^nvidia-smi did not answer within 1 s: set LOOM_TENSORFLOW/);
});
