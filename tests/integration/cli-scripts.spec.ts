/** The command line without a terminal: what scripts read, and get as exit codes. */
import type { LoomClient, Run } from '#libs/contracts';
import { spawnSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { freePort } from '../support/processes.js';
import { LONG, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';
import { LOOM, piped } from '../support/terminal.js';

let stack: Stack;
let client: LoomClient;
let cwd: string;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.4' } });
  ({ client } = stack);
  cwd = path.join(stack.dir, 'here');
  await mkdir(cwd);
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack.clear());
afterAll(() => stack?.stop());

const loom = (args: readonly string[], { env = {}, ...more }: { input?: string; env?: Record<string, string> } = {}) =>
  piped(args, { cwd, env: { LOOM_URL: client.url, ...env }, ...more }).ended;
const parsed = <Value>(text: string): Value => JSON.parse(text) as Value;
const ESCAPE = '\u001b';

describe('without a terminal', () => {
  test('a run is told in plain lines, and its failure by the exit code', async () => {
    stack.startWorker();
    const id = await stack.submit(SHORT);
    const { code, stdout, stderr } = await loom(['watch', id]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).not.toContain(ESCAPE);
    expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^pretrain +succeeded loss \d/);
    const failing = await loom(['submit', '-', '--watch', '--json'], {
      input: 'spec: {kind: prepare-dataset, name: none, path: nowhere}',
    });
    expect([failing.code, parsed<Run[]>(failing.stdout).map(({ status }) => status)]).toEqual([1, ['failed']]);
  }, 90_000);

  test('a signal ends it as Ctrl-C does', async () => {
    stack.startWorker();
    const id = await stack.submit(LONG);
    const { child, soFar, ended } = piped(['watch', id], { cwd, env: { LOOM_URL: client.url } });
    await eventually(() => expect(soFar.stdout).toContain('running'), { timeoutMs: 40_000 });
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ code: 130, stderr: expect.stringContaining(`loom watch ${id}`) as string });
    expect((await client.run(id)).status).toBe('running');
  }, 60_000);

  test('an API that is not there is exit code 3, and said', async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    const [plain, json, nowhere] = await Promise.all([
      loom(['runs', '--url', url]),
      loom(['runs', '--url', url, '--json']),
      loom(['runs'], { env: { LOOM_URL: '' } }),
    ]);
    expect(plain).toEqual({
      code: 3,
      stdout: '',
      stderr: expect.stringMatching(`^loom: expected an API at ${url}, got no answer: .*ECONNREFUSED`) as string,
    });
    expect([json.code, json.stdout, parsed<{ error: object }>(json.stderr).error]).toEqual([
      3,
      '',
      { exitCode: 3, message: expect.stringContaining(url) as string },
    ]);
    expect([nowhere.code, nowhere.stderr]).toEqual([
      2,
      'loom: expected an address: start a stack here with `loom up`, or give --url or LOOM_URL\n',
    ]);
  });

  test.each<[string, string[], RegExp]>([
    ['a command', ['rnus'], /^loom: unknown command 'rnus'\n\(Did you mean runs\?\)/],
    ['an option', ['runs', '--sttus', 'x'], /unknown option '--sttus'\n\(Did you mean --status\?\)/],
    ['a status', ['runs', '--status', 'running,qeued'], /qeued is none of them: did you mean queued\?/],
    ['a kind', ['cancel', '--kind', 'pretrian'], /pretrian is none of them: did you mean pretrain\?/],
    ['a number', ['runs', '--limit', 'ten'], /expected a whole number/],
    ['a missing run', ['run', '00000000-0000-4000-8000-000000000000'], /there is no such run/],
    ['a missing file', ['submit', 'nothing.yaml'], /it does not exist/],
    ['runs to compare', ['compare', 'one'], /expected 2 to 20 different runs, got one/],
  ])('%s: what is wrong is exit code 2, and said', async (_, args, expected) => {
    const { code, stdout, stderr } = await loom(args);
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringMatching(expected)]);
  });

  test('what is wrong is JSON where that was asked for', async () => {
    const [word, refused] = await Promise.all([
      loom(['runs', '--kind', 'pretrian', '--json']),
      loom(['run', '00000000-0000-4000-8000-000000000000', '--json']),
    ]);
    expect([word.code, word.stdout, parsed(word.stderr)]).toEqual([
      2,
      '',
      { error: { exitCode: 2, message: expect.stringContaining('did you mean pretrain?') as string } },
    ]);
    expect([refused.code, refused.stdout, parsed(refused.stderr)]).toEqual([
      2,
      '',
      {
        error: {
          exitCode: 2,
          message: expect.stringContaining('there is no such run') as string,
          problem: expect.objectContaining({ status: 404, code: 'not_found' }) as object,
        },
      },
    ]);
  });

  test('a reader that has enough is no error', () => {
    const { status, stderr, stdout } = spawnSync(
      'bash',
      ['-c', 'set -o pipefail; "$0" "$1" datasets ls --json | head -c 1', process.execPath, LOOM],
      { env: { ...process.env, LOOM_URL: client.url }, encoding: 'utf8' },
    );
    expect([status, stdout, stderr]).toEqual([0, '{', '']);
  });

  test('the address and the key come from a file', async () => {
    await writeFile(path.join(cwd, 'loom.yaml'), `url: ${client.url}\n`);
    const { code, stdout } = await loom(['status', '--json'], { env: { LOOM_URL: '', LOOM_CONFIG: 'loom.yaml' } });
    expect([code, parsed<{ url: string; ready: boolean; counts: Record<string, number> }>(stdout)]).toEqual([
      0,
      expect.objectContaining({ url: client.url, ready: true }),
    ]);
  });
});
