import { execFile, type ExecFileOptions } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';

const MODULE = pathToFileURL(path.join(import.meta.dirname, 'shared-cache.mjs')).href;
const isRoot = process.getuid?.() === 0;
let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-cache-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** What a program prints that works with the module, as set-up does: `words` are its `process.argv[1…]`. */
async function setUp(program: string, words: string[], more: ExecFileOptions = {}): Promise<string> {
  const text = `import { adopt, openUmask, sharedCache } from '${MODULE}'; ${program}`;
  const { XDG_CACHE_HOME: _, ...environment } = process.env;
  const env = { ...environment, HOME: dir, ...more.env };
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', text, ...words], {
    ...more,
    env,
  });
  return stdout.toString();
}
const modeOf = async (...names: string[]) => (await stat(path.join(dir, ...names))).mode & 0o777;

test('the runtime is kept where others can read it: not in the home of root', async (context) => {
  if (!isRoot || process.platform !== 'linux')
    context.skip('only root can become another user, and sets up for others');
  const PRINT = 'process.stdout.write(sharedCache())';
  expect(await setUp(PRINT, [])).toBe('/var/cache/latent-loom');
  expect((await stat('/var/cache/latent-loom')).mode & 0o005).toBe(0o005);
  expect(await setUp(PRINT, [], { env: { XDG_CACHE_HOME: '/opt' } })).toBe('/opt/latent-loom');
  expect(await setUp(PRINT, [], { uid: 65_534, gid: 65_534 })).toBe(path.join(dir, '.cache', 'latent-loom'));
});

test('one that an earlier set-up has closed to others is taken over, and read by them', async (context) => {
  if (!isRoot) context.skip('only root sets up for others');
  await mkdir(path.join(dir, 'home', 'tensorflow'), { recursive: true, mode: 0o700 });
  await writeFile(path.join(dir, 'home', 'tensorflow', 'library.so'), 'code', { mode: 0o600 });
  const words = [path.join(dir, 'shared'), path.join(dir, 'home')];
  await setUp('await adopt(process.argv[1], process.argv[2])', words);
  expect([await modeOf('shared'), await modeOf('shared', 'tensorflow')]).toEqual([0o755, 0o755]);
  expect(await modeOf('shared', 'tensorflow', 'library.so')).toBe(0o644);
  await chmod(dir, 0o711);
  const as = { uid: 65_534, gid: 65_534 };
  const { stdout } = await promisify(execFile)('cat', [path.join(dir, 'shared', 'tensorflow', 'library.so')], as);
  expect(stdout).toBe('code');
});

test('what root makes under a closed umask is open all the same', async (context) => {
  if (!isRoot) context.skip('only root sets up for others');
  const program = `import { mkdirSync } from 'node:fs'; process.umask(0o077); openUmask(); mkdirSync(process.argv[1])`;
  await setUp(program, [path.join(dir, 'made')]);
  expect(await modeOf('made')).toBe(0o755);
});
