import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readSettings } from './settings.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-settings-'));
  await mkdir(path.join(dir, 'config', 'loom'), { recursive: true });
  await writeFile(
    path.join(dir, 'config', 'loom', 'config.yaml'),
    'url: https://loom.example/base\nkey: file\ntimeout: 7\n',
  );
  await writeFile(path.join(dir, 'state.json'), JSON.stringify({ url: 'http://127.0.0.1:4000' }));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** A variable that is empty says nothing. */
const nothing = () => ({
  LOOM_URL: '',
  LOOM_KEY: '',
  LOOM_TIMEOUT: '',
  LOOM_CONFIG: '',
  XDG_CONFIG_HOME: path.join(dir, 'none'),
});
const file = () => ({ XDG_CONFIG_HOME: path.join(dir, 'config') });

test('flags win over variables, these over the file, and it over the stack that was started here', async () => {
  expect(await readSettings({ dir }, nothing())).toEqual({
    url: 'http://127.0.0.1:4000',
    key: undefined,
    timeoutMs: 30_000,
  });
  expect(await readSettings({ dir }, file())).toEqual({
    url: 'https://loom.example/base',
    key: 'file',
    timeoutMs: 7000,
  });
  const variables = { ...file(), LOOM_URL: 'https://loom.example', LOOM_KEY: 'variable', LOOM_TIMEOUT: '3' };
  expect(await readSettings({ dir }, variables)).toEqual({
    url: 'https://loom.example',
    key: 'variable',
    timeoutMs: 3000,
  });
  expect(await readSettings({ dir, url: 'http://[::1]:1', key: 'flag', timeout: 1 }, variables)).toEqual({
    url: 'http://[::1]:1',
    key: 'flag',
    timeoutMs: 1000,
  });
});

test('the key of the file goes to the address of the file only', async () => {
  expect((await readSettings({ dir, url: 'https://loom.example/other' }, file())).key).toBe('file');
  expect((await readSettings({ dir, url: 'http://loom.example' }, file())).key).toBeUndefined();
  expect((await readSettings({ dir, url: 'https://evil.example' }, file())).key).toBeUndefined();
});

test("what can't be used is told", async () => {
  const named = path.join(dir, 'named.yaml');
  const told = async (text: string) => {
    await writeFile(named, text);
    return readSettings({ dir }, { LOOM_CONFIG: named });
  };
  await expect(told('ulr: http://x\n')).rejects.toThrow(`${named}: ulr: unknown field: did you mean url?`);
  await expect(told('url: loom.example\n')).rejects.toThrow(`${named}: url: expected a URL, got "loom.example"`);
  await expect(told('- a\n')).rejects.toThrow(`${named}: document: `);
  await expect(told('a: [\n')).rejects.toThrow(`${named}: expected YAML`);
  await expect(readSettings({ dir }, { LOOM_CONFIG: path.join(dir, 'gone.yaml') })).rejects.toThrow(
    'it does not exist',
  );
  await expect(readSettings({ dir, url: 'localhost:3000' }, nothing())).rejects.toThrow(
    'expected an address such as http://127.0.0.1:3000, got localhost:3000',
  );
  await expect(readSettings({ dir }, { ...nothing(), LOOM_TIMEOUT: 'soon' })).rejects.toThrow(
    'expected LOOM_TIMEOUT in seconds',
  );
  await expect(readSettings({ dir: path.join(dir, 'elsewhere') }, nothing())).rejects.toThrow(
    'start a stack here with `loom up`',
  );
});
