/**
 * The command line against a real stack: what people see in their terminal, and what scripts read and get as exit
 * codes.
 */
import type { LoomClient, MetricSeries, Run, SweepDetail } from '#libs/contracts';
import { spawnSync } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { freePort } from '../support/processes.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { LONG, prepareStripes, SHORT, small } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';
import { LOOM, piped, terminal as open } from '../support/terminal.js';

let stack: Stack;
let client: LoomClient;
let cwd: string;
const opened: ReturnType<typeof open>[] = [];

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.4' } });
  ({ client } = stack);
  cwd = path.join(stack.dir, 'here');
  await mkdir(cwd);
  await prepareStripes(stack);
}, 90_000);
afterEach(async () => {
  for (const screen of opened.splice(0)) screen.close();
  await stack.clear();
});
afterAll(() => stack?.stop());

const loom = (args: readonly string[], { env = {}, ...more }: { input?: string; env?: Record<string, string> } = {}) =>
  piped(args, { cwd, env: { LOOM_URL: client.url, ...env }, ...more }).ended;
function terminal(
  args: readonly string[],
  { env = {}, ...more }: { columns?: number; rows?: number; env?: Record<string, string> } = {},
) {
  const screen = open(args, { cwd, env: { LOOM_URL: client.url, ...env }, ...more });
  opened.push(screen);
  return screen;
}
const parsed = <Value>(text: string): Value => JSON.parse(text) as Value;
const ESCAPE = '\u001b';
const CTRL_C = '\u0003';

/** The only line about the run, once it has trained at least so far. */
const lineAt = (screen: ReturnType<typeof terminal>, step: number) =>
  eventually(
    async () => {
      const lines = (await screen.lines()).filter((line) => line.startsWith('pretrain'));
      expect(lines, screen.raw()).toHaveLength(1);
      expect(Number(/ (\d+)\/\d+/.exec(lines[0]!)?.[1] ?? 0)).toBeGreaterThanOrEqual(step);
      return lines[0]!;
    },
    { timeoutMs: 40_000 },
  );
const stepOf = (line: string) => Number(/ (\d+)\/\d+/.exec(line)![1]);

/** Room for all that a line has, however long its times and numbers are. */
const WIDE = 160;
const WITH_ALL = /^pretrain +running [█░]+ \d+\/96000 {2}\S+ steps\/s {2}.* left {2}[▁-█]+ {2}loss \d/;

describe('in a terminal', () => {
  test('a run has one line that is drawn anew in place and follows the width; Ctrl-C leaves the run alone', async () => {
    stack.startWorker();
    const id = await stack.submit(LONG);
    const screen = terminal(['watch', id], { columns: WIDE });
    const first = await lineAt(screen, 1);
    const line = await eventually(async () => {
      const now = await lineAt(screen, stepOf(first) + 1);
      expect(now).toMatch(WITH_ALL);
      return now;
    });
    expect(screen.raw().split(`${ESCAPE}[1A`).length).toBeGreaterThan(2);
    expect(screen.cursorShown()).toBe(false);

    // What was drawn before is wrapped by the terminal, and must be gone all the same.
    screen.resize(50);
    const narrow = await eventually(async () => {
      const now = await lineAt(screen, stepOf(line) + 1);
      expect(now.length).toBeLessThan(50);
      expect(now).toMatch(/^pretrain +running [█░]+ \d+\/96000/);
      expect(now).not.toMatch(WITH_ALL);
      expect(await screen.lines()).toHaveLength(1);
      return now;
    });
    screen.resize(WIDE);
    await eventually(async () => expect(await lineAt(screen, stepOf(narrow) + 1)).toMatch(WITH_ALL));

    screen.type(CTRL_C);
    expect(await screen.exit).toBe(130);
    expect(screen.cursorShown()).toBe(true);
    expect((await screen.lines()).join('')).toContain(`loom cancel ${id}`);
    expect((await client.run(id)).status).toBe('running');
  }, 120_000);

  test('Ctrl-C cancels where that was asked for', async () => {
    stack.startWorker();
    await writeFile(
      path.join(cwd, 'long.json'),
      JSON.stringify({ spec: LONG, onDuplicate: 'replicate', tags: ['long'] }),
    );
    const screen = terminal(['submit', 'long.json', '--watch', '--cancel-on-interrupt']);
    await lineAt(screen, 1);
    screen.type(CTRL_C);
    expect(await screen.exit).toBe(130);
    expect(screen.cursorShown()).toBe(true);
    const [id] = (await client.runs({ tag: 'long' })).items.map((each) => each.id);
    expect((await screen.lines()).join('\n')).toContain(`cancelled ${id}`);
    await stack.ended(id!, 'cancelled');
  }, 90_000);

  test('Ctrl-C on a sweep says how to go on, or cancels it', async () => {
    stack.startWorker();
    await writeFile(
      path.join(cwd, 'sweep.json'),
      JSON.stringify({
        name: 'long',
        stages: { pretrain: LONG },
        parameters: { 'pretrain.seed': { values: [7, 8] } },
        metric: { name: 'eval/knn' },
      }),
    );
    const screen = terminal(['submit', 'sweep.json', '--watch'], { columns: 200 });
    const running = (of: typeof screen) =>
      eventually(async () => expect((await of.lines()).join('\n')).toMatch(/running █*░+ \d/), { timeoutMs: 40_000 });
    await running(screen);
    screen.type(CTRL_C);
    expect(await screen.exit).toBe(130);
    const id = /loom sweep (\S+) --cancel/.exec((await screen.lines()).join(''))![1]!;
    expect((await client.sweep(id)).status).toBe('running');
    const again = terminal(['watch', id, '--cancel-on-interrupt']);
    await running(again);
    again.type(CTRL_C);
    expect(await again.exit).toBe(130);
    await eventually(async () => expect((await client.sweep(id)).status).toBe('cancelled'), { timeoutMs: 30_000 });
  }, 120_000);

  test('there are colours, unless NO_COLOR says otherwise', async () => {
    const coloured = terminal(['runs'], { columns: 160 });
    const plain = terminal(['runs'], { columns: 160, env: { NO_COLOR: '1' } });
    expect(await Promise.all([coloured.exit, plain.exit])).toEqual([0, 0]);
    expect(coloured.raw()).toContain(`${ESCAPE}[32msucceeded${ESCAPE}[39m`);
    expect(plain.raw()).not.toContain(ESCAPE);
    const withoutAge = async (screen: typeof plain) =>
      (await screen.lines()).map((line) => line.replace(/\d+ (s|min)$/, ''));
    expect(await withoutAge(plain)).toEqual(await withoutAge(coloured));
  });

  describe('an API that goes away in the middle', () => {
    let proxy: Proxy & { url: string };
    beforeAll(async () => {
      proxy = await startProxy(client.url);
    });
    afterAll(() => proxy.close());

    test('does not keep Ctrl-C from ending a command', async () => {
      const asked = new Promise<void>((resolve) =>
        proxy.when('GET /v1/runs', () => {
          proxy.freeze();
          resolve();
        }),
      );
      const screen = terminal(['runs'], { env: { LOOM_URL: proxy.url } });
      await asked;
      screen.type(CTRL_C);
      expect(await screen.exit).toBe(130);
      proxy.heal();
    }, 25_000);

    test.each(['freeze', 'cut'] as const)(
      'is told and waited for (%s)',
      async (fault) => {
        stack.startWorker();
        const id = await stack.submit(LONG);
        const screen = terminal(['watch', id, '--timeout', '2'], { columns: 120, env: { LOOM_URL: proxy.url } });
        const before = stepOf(await lineAt(screen, 1));
        proxy[fault]();
        await eventually(
          async () =>
            expect((await screen.lines()).at(-1)).toMatch(
              /^expected an API at http:\/\/127\.0\.0\.1:\d+, got no answer: .*trying again/,
            ),
          { timeoutMs: 30_000 },
        );
        proxy.heal();
        await lineAt(screen, before + 1);
        await eventually(async () => expect((await screen.lines()).join('')).not.toContain('trying again'), {
          timeoutMs: 30_000,
        });
        screen.type(CTRL_C);
        expect(await screen.exit).toBe(130);
      },
      120_000,
    );
  });
});

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

describe('commands', () => {
  test('the sweep to start from can be submitted as it is', async () => {
    const written = await loom(['init', '--dataset', 'stripes']);
    expect([written.code, written.stderr]).toEqual([0, '']);
    expect(await readFile(path.join(cwd, 'sweep.yaml'), 'utf8')).toContain('dataset: stripes');
    const plan = await loom(['plan', 'sweep.yaml', '--json']);
    expect([plan.stderr, parsed(plan.stdout)]).toEqual([
      '',
      expect.objectContaining({ trials: 6, newRuns: { pretrain: 3, finetune: 8 } }),
    ]);
    expect(await loom(['init'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'loom: expected no file at sweep.yaml, there is one: choose another name, or --force\n',
    });
    expect((await loom(['init', '--force'])).code).toBe(0);
  });

  test('a run is submitted from standard input, compared with another, and its files, logs and curves are there', async () => {
    stack.startWorker();
    const submit = async (spec: object) => {
      const { code, stdout } = await loom(['submit', '-', '--quiet'], {
        input: JSON.stringify({ spec, onDuplicate: 'replicate' }),
      });
      expect([code, stdout]).toEqual([0, expect.stringMatching(/^[0-9a-f-]{36}\n$/)]);
      return stdout.trim();
    };
    const [a, b] = [await submit(SHORT), await submit({ ...SHORT, temperature: 0.5 })];
    const logs = loom(['logs', b, '--follow']);
    expect((await loom(['watch', a, b])).code).toBe(0);
    const { items } = await client.logs(b);
    expect((await logs).stdout).toBe(items.map(({ at, level, message }) => `${at} ${level} ${message}\n`).join(''));

    const text = await loom(['compare', a, b]);
    expect([text.code, text.stderr]).toEqual([0, '']);
    expect(text.stdout).toMatch(/metric +1 pretrain +2 pretrain +difference\n/);
    expect(text.stdout).toMatch(/train\/loss +[▁-█]{24} +[▁-█]{24}\n/);
    expect(text.stdout).toMatch(/spec +1 pretrain +2 pretrain\ntemperature +0\.1 +0\.5\n$/);
    const { metrics, curves, spec } = parsed<{
      metrics: Record<string, number[]>;
      curves: Record<string, MetricSeries['points'][]>;
      spec: { path: string; differs: boolean }[];
    }>((await loom(['compare', a, b, '--json'])).stdout);
    expect(metrics['eval/knn']).toEqual([
      (await client.run(a)).result!.metrics['eval/knn'],
      (await client.run(b)).result!.metrics['eval/knn'],
    ]);
    expect(curves['train/loss']!.map((points) => points.length)).toEqual([24, 24]);
    expect(spec.filter(({ differs }) => differs).map((field) => field.path)).toEqual(['temperature']);

    expect((await loom(['run', a])).stdout).toMatch(/^train\/loss +[▁-█]{24} /m);
    const fetched = parsed<{ path: string; sha256: string }[]>(
      (await loom(['artifacts', a, '--download', 'files', '--json'])).stdout,
    );
    expect(fetched.map(({ sha256 }) => sha256).sort()).toEqual(
      (await client.artifacts(a)).items.map(({ sha256 }) => sha256).sort(),
    );
    expect((await loom(['why', a, b])).stdout).toContain('1 field differs: temperature');
    expect(
      parsed<Run[]>((await loom(['cancel', await stack.submit({ ...SHORT, epochs: 4000 }), '--json'])).stdout).map(
        ({ status }) => status,
      ),
    ).toEqual([expect.stringMatching(/^cancell/)]);
  }, 120_000);

  test('runs are tagged by name or by a filter, after it was said how many', async () => {
    const ids = [await stack.submit({ ...SHORT, seed: 31 }), await stack.submit({ ...SHORT, seed: 32 })];
    const tagged = async (tag: string) => (await client.runs({ tag })).items.map(({ id }) => id).sort();
    expect(await loom(['tag', ids[0]!, '--add', 'good,keep'])).toEqual({
      code: 0,
      stdout: 'tagged 1 run\n',
      stderr: '',
    });
    expect(await tagged('keep')).toEqual([ids[0]]);
    expect((await loom(['tag', '--status', 'queued', '--add', 'waits', '--dry-run'])).stdout).toBe(
      'would tag 2 runs\n',
    );
    expect(await tagged('waits')).toEqual([]);
    expect((await loom(['tag', '--status', 'queued', '--add', 'waits', '--remove', 'good'])).stdout).toBe(
      'tagged 2 runs\n',
    );
    expect([await tagged('waits'), await tagged('good'), await tagged('keep')]).toEqual([
      [...ids].sort(),
      [],
      [ids[0]],
    ]);
    expect(await loom(['tag', ids[0]!])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected --add or --remove') as string,
    });
    expect(await loom(['tag', '--add', 'x'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected ids, or a filter') as string,
    });
  }, 60_000);

  test('a sweep is followed to its end, and prints what it found', async () => {
    stack.startWorker();
    const sweep = {
      name: 'two',
      stages: { pretrain: { ...SHORT, optimizer: { name: 'adam' } } },
      parameters: { 'pretrain.seed': { values: [1, 2] } },
      metric: { name: 'eval/knn' },
    };
    const { code, stdout, stderr } = await loom(['submit', '-', '--watch', '--json'], { input: JSON.stringify(sweep) });
    expect([code, stderr]).toEqual([0, '']);
    const found = parsed<SweepDetail & { results: { rows: { knn: { n: number } }[] } }>(stdout);
    expect([found.status, found.results.rows.map(({ knn }) => knn.n)]).toEqual(['succeeded', [2]]);
    expect((await loom(['watch', found.id])).stdout).toMatch(/kNN\n/);
  }, 90_000);

  test('a run is reproduced with what it was made from, or what differs is said', async () => {
    stack.startWorker();
    const pretraining = await stack.submit(SHORT);
    const finetuning = await stack.submit({
      kind: 'finetune',
      dataset: 'stripes',
      from: pretraining,
      labelFraction: 0.25,
      batchSize: 16,
      steps: 20,
      evalSplit: small.evalSplit,
    });
    await stack.ended(finetuning);
    interface Reproduction {
      reproduced: boolean;
      runs: {
        original: string;
        again: string;
        kind: string;
        within: boolean;
        metrics: { key: string; difference: number }[];
      }[];
    }

    // One thread: the same bit for bit.
    const same = await loom(['reproduce', finetuning, '--tolerance', '0', '--json']);
    const { reproduced, runs } = parsed<Reproduction>(same.stdout);
    expect([same.code, same.stderr, reproduced]).toEqual([0, '', true]);
    expect(runs.map(({ original, kind }) => [original, kind])).toEqual([
      [pretraining, 'pretrain'],
      [finetuning, 'finetune'],
    ]);
    expect(runs.flatMap(({ metrics }) => metrics.map(({ key }) => key))).toEqual(
      expect.arrayContaining(['eval/knn', 'eval/accuracy', 'train/loss']),
    );
    const again = await client.run(runs[1]!.again);
    expect([again.parents, again.digest, again.id === finetuning]).toEqual([
      [runs[0]!.again],
      (await client.run(finetuning)).digest,
      false,
    ]);

    const script = await loom(['reproduce', finetuning, '--print']);
    expect([script.code, script.stdout.match(/loom submit --quiet -/g)]).toEqual([
      0,
      Array(2).fill('loom submit --quiet -'),
    ]);

    const database = new pg.Client({ connectionString: stack.environment['DATABASE_URL']! });
    await database.connect();
    try {
      await database.query(`UPDATE run SET result = jsonb_set(result, '{metrics,train/loss}', '9') WHERE id = $1`, [
        finetuning,
      ]);
      const other = await loom(['reproduce', finetuning]);
      expect([other.code, other.stderr]).toEqual([1, '']);
      expect(other.stdout).toMatch(/train\/loss +9 +\S+ +differs by \S+, too much/);
      expect(other.stdout).toContain('1 of 2 runs not reproduced within 0.02');
      await database.query(`UPDATE run SET digest = repeat('0', 64) WHERE id = $1`, [finetuning]);
      expect(await loom(['reproduce', finetuning])).toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringContaining('the training code is of another version') as string,
      });
      await database.query(`UPDATE dataset SET name = 'moved' WHERE name = 'stripes'`);
      expect(await loom(['reproduce', finetuning])).toMatchObject({
        code: 2,
        stdout: '',
        stderr: expect.stringMatching(/its dataset version stripes@[0-9a-f]{12} is gone/) as string,
      });
    } finally {
      await database.query(`UPDATE dataset SET name = 'stripes' WHERE name = 'moved'`);
      await database.end();
    }
  }, 240_000);
});
