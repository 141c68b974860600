/** The command line without a terminal: what scripts read, and get as exit codes. */
import type { ListedReport, Report, Run } from '#libs/contracts';
import { spawnSync } from 'node:child_process';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { client, cwd, loom, parsed, stack, useCli } from '../support/cli.js';
import { eventually } from '../support/eventually.js';
import { freePort } from '../support/processes.js';
import { LONG, SHORT } from '../support/small-runs.js';
import { LOOM, piped } from '../support/terminal.js';

useCli();

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
    const unsaid = { env: { LOOM_URL: '' } };
    const [plain, json, ...nowhere] = await Promise.all([
      loom(['runs', '--url', url]),
      loom(['runs', '--url', url, '--json']),
      ...['runs', 'status', 'workers'].map((command) => loom([command], unsaid)),
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
    const message = 'expected an address: start a stack here with `loom up`, or give --url or LOOM_URL';
    for (const each of nowhere) expect(each).toEqual({ code: 3, stdout: '', stderr: `loom: ${message}\n` });
    const asJson = await loom(['status', '--json'], unsaid);
    expect([asJson.code, parsed(asJson.stderr)]).toEqual([3, { error: { exitCode: 3, message } }]);
  });

  test.each<[string, string[], object | undefined, string]>([
    ['a file', ['submit', '-'], { ...SHORT, dataset: 'nowhere' }, 'got nowhere'],
    ['a plan', ['plan', '-'], { ...SHORT, evalSplit: 'val', batchSize: 4096 }, 'at most the'],
    ['a condition', ['runs', '--where', 'eval/knn'], undefined, 'expected'],
    ['a sort', ['sweeps', '--sort', 'nothing'], undefined, 'expected'],
    ['a weight', ['projects', 'set', 'a b'], undefined, 'expected'],
  ])('what the API refuses of %s is said once', async (_, args, spec, words) => {
    const { code, stdout, stderr } = await loom(args, spec && { input: JSON.stringify(spec) });
    expect([code, stdout, stderr]).toEqual([2, '', expect.stringContaining(words)]);
    const said = stderr
      .replace(/^loom: /, '')
      .trimEnd()
      .split('\n')
      .map((line) => line.trim());
    // A line of its own for each fault, and no sentence above them that says the same.
    for (const line of said) expect(stderr.split(line.replace(/^[^ ]*: /, ''))).toHaveLength(2);
    expect(stderr).not.toMatch(/Invalid|Too (big|small)|Unrecognized|received/);
  });

  test.each<[string, string[], RegExp]>([
    ['a command', ['rnus'], /^loom: unknown command 'rnus'\n\(Did you mean runs\?\)/],
    ['an option', ['runs', '--sttus', 'x'], /unknown option '--sttus'\n\(Did you mean --status\?\)/],
    ['a status', ['runs', '--status', 'running,qeued'], /qeued is none of them: did you mean queued\?/],
    ['a kind', ['cancel', '--kind', 'pretrian'], /pretrian is none of them: did you mean pretrain\?/],
    ['a number', ['runs', '--limit', 'ten'], /expected a whole number/],
    ['a weight', ['projects', 'set', 'team', '--weight', 'half'], /expected a number above 0/],
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
      ['-c', 'set -o pipefail; "$0" "$1" datasets list --json | head -c 1', process.execPath, LOOM],
      { env: { ...process.env, LOOM_URL: client.url }, encoding: 'utf8' },
    );
    expect([status, stdout, stderr]).toEqual([0, '{', '']);
  });

  test('everything is printed though the reader takes its time, and what can not be written is a failure', async () => {
    const template = await stack.submit(SHORT, { name: 'copied' });
    const database = new pg.Client({ connectionString: stack.database.url });
    await database.connect();
    await database.query(
      `INSERT INTO run
       SELECT (jsonb_populate_record(run, jsonb_build_object('id', gen_random_uuid()))).*
       FROM run, generate_series(2, 300)
       WHERE id = $1`,
      [template],
    );
    await database.end();
    const into = (words: string) =>
      spawnSync(
        'bash',
        ['-c', `set -o pipefail; "$0" "$1" --json runs --name copied --limit 300 ${words}`, process.execPath, LOOM],
        { env: { ...process.env, LOOM_URL: client.url }, encoding: 'utf8', maxBuffer: 2 ** 26 },
      );
    // More than a pipe holds, read in small pieces.
    const whole = into('| dd bs=512 status=none');
    expect([whole.status, whole.stderr, whole.stdout.length > 2 ** 17]).toEqual([0, '', true]);
    expect(parsed<{ items: Run[] }>(whole.stdout).items).toHaveLength(300);
    const full = into('>/dev/full');
    expect([full.status, full.stderr]).toEqual([
      1,
      expect.stringMatching(/^loom: expected to be able to write .*ENOSPC/),
    ]);
  }, 60_000);

  test('as the documents call it, it prints nothing but JSON', () => {
    const { status, stdout } = spawnSync('npx', ['loom', 'runs', '--json'], {
      cwd: path.resolve(import.meta.dirname, '..', '..'),
      env: { ...process.env, LOOM_URL: client.url },
      encoding: 'utf8',
    });
    expect([status, Object.keys(parsed<object>(stdout))]).toEqual([0, ['items']]);
  }, 30_000);

  test('a run that others have submitted too is let go of by Ctrl-C, though it asks to cancel', async () => {
    stack.startWorker();
    await writeFile(path.join(cwd, 'same.json'), JSON.stringify({ spec: { ...LONG, seed: 77 } }));
    const submit = async (told: RegExp) => {
      const started = piped(['submit', 'same.json', '--watch', '--cancel-on-interrupt'], {
        cwd,
        env: { LOOM_URL: client.url },
      });
      await eventually(() => expect(started.soFar.stdout).toMatch(told), { timeoutMs: 40_000 });
      return started;
    };
    const first = await submit(/submitted run[^]*running/);
    const second = await submit(/reused run[^]*running/);
    const [run] = (await client.runs({ status: ['running'] })).items;
    // The one found it there; of the other's run somebody else has asked since.
    for (const { child, ended } of [second, first]) {
      child.kill('SIGINT');
      const { code, stderr } = await ended;
      expect([code, stderr]).toEqual([130, expect.stringContaining(`going on: \`loom watch ${run!.id}\``)]);
      expect((await client.run(run!.id)).status).toBe('running');
    }
  }, 60_000);

  test('what has ended is not acted on, a sweep or what prepared a dataset, and a quota is taken away', async () => {
    stack.startWorker();
    const ended = await loom(['submit', '-', '--watch', '--json'], {
      input: JSON.stringify({
        name: 'done',
        stages: { pretrain: SHORT },
        parameters: { 'pretrain.seed': { values: [91] } },
        metric: { name: 'eval/knn' },
      }),
    });
    const { id } = parsed<{ id: string }>(ended.stdout);
    const refused = await loom(['sweep', id, '--cancel']);
    expect([refused.code, refused.stderr]).toEqual([
      2,
      expect.stringContaining('expected a sweep that has not ended, got one that is succeeded'),
    ]);
    expect((await client.sweep(id)).status).toBe('succeeded');

    // What prepared a dataset has ended as well, and the dataset stays as it is.
    const [prepared] = (await client.runs({ kind: ['prepare-dataset'], status: ['succeeded'] })).items;
    for (const action of ['cancel', 'pause', 'resume', 'retry']) {
      const { code, stdout, stderr } = await loom([action, prepared!.id]);
      expect([action, code, stdout, stderr]).toEqual([
        action,
        2,
        '',
        expect.stringMatching(/^loom: expected a run that/),
      ]);
    }
    expect(await client.run(prepared!.id)).toMatchObject({ status: 'succeeded', finishedAt: prepared!.finishedAt });
    const { digest } = await client.dataset('stripes');
    const needed = await loom(['datasets', 'delete', `stripes@${digest.slice(0, 12)}`]);
    expect([needed.code, needed.stderr]).toEqual([2, expect.stringContaining('that no run is of')]);
    expect((await client.dataset('stripes')).digest).toBe(digest);

    expect((await loom(['projects', 'set', 'team', '--max-running', '2', '--gpu-seconds', '9'])).code).toBe(0);
    const freed = await loom(['projects', 'set', 'team', '--max-running', 'none', '--gpu-seconds', 'none', '--json']);
    expect([freed.stderr, parsed(freed.stdout)]).toEqual([
      '',
      expect.objectContaining({ maxRunning: null, gpuSeconds: null }),
    ]);
  }, 90_000);

  test('a stack that can not be brought up as asked says why, in a sentence', async () => {
    const given = { DATABASE_URL: stack.database.url, REDIS_URL: stack.environment['REDIS_URL']! };
    const up = (args: string[], env: Record<string, string> = {}) =>
      loom(['up', '--dir', path.join(cwd, 'elsewhere'), ...args], { env: { ...given, ...env } });
    expect(await up(['--port', '80000'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected a port, at most 65535') as string,
    });
    expect(await up(['--data-root', 'nowhere'])).toEqual({
      code: 2,
      stdout: '',
      stderr: 'loom: expected --data-root to be a folder that is there, got nowhere: it does not exist\n',
    });
    const { port } = new URL(client.url);
    for (const [args, message] of [
      [['--port', port], `expected port ${port} to be free: choose another with --port`],
      [['--host', '192.0.2.1'], 'expected --host to be an address of this machine, got 192.0.2.1: 127.0.0.1 is for it'],
      [['--host', 'no such host'], 'expected --host to be an address of this machine, got no such host: 127.0.0.1 is'],
    ] as const) {
      const { code, stderr } = await up([...args]);
      expect([code, stderr]).toEqual([3, expect.stringContaining(message)]);
    }
    const noTemporaryFiles = await up([], { TMPDIR: path.join(cwd, 'gone') });
    expect([noTemporaryFiles.code, noTemporaryFiles.stderr]).toEqual([
      3,
      `loom: expected a folder for temporary files that can be written (TMPDIR), got ${path.join(cwd, 'gone')}: ` +
        'it does not exist\n',
    ]);
    const wrong = await up([], { LOOM_SLOTS: 'abc' });
    expect([wrong.code, wrong.stderr]).toEqual([3, expect.stringMatching(/LOOM_SLOTS: .*expected a number/)]);
    expect(wrong.stderr).not.toMatch(/^\s+at |node:|\.js:/m);
  }, 60_000);

  test('the address and the key come from a file', async () => {
    await writeFile(path.join(cwd, 'loom.yaml'), `url: ${client.url}\n`);
    const { code, stdout } = await loom(['status', '--json'], { env: { LOOM_URL: '', LOOM_CONFIG: 'loom.yaml' } });
    expect([code, parsed<{ url: string; ready: boolean; counts: Record<string, number> }>(stdout)]).toEqual([
      0,
      expect.objectContaining({ url: client.url, ready: true }),
    ]);
  });

  test('reports are written from files, shown, saved over what was read, taken out as HTML and deleted', async () => {
    const { items } = await client.runs({ limit: 2, kind: ['prepare-dataset'] });
    const [run] = items;
    const write = (name: string, text: string) => writeFile(path.join(cwd, name), text);
    await write(
      'week.yaml',
      `title: Week 12\nblocks:\n  - {type: table, runs: ['${run!.id.slice(-12)}'], columns: [status]}\n`,
    );
    const added = await loom(['reports', 'add', 'week.yaml', '--json']);
    const report = parsed<Report>(added.stdout);
    expect([added.code, report.blocks]).toEqual([0, [{ type: 'table', runs: [run!.id], columns: ['status'] }]]);
    await write('notes.md', '# Notes of *June*\n\nAll is well.\n');
    expect((await loom(['reports', 'add', 'notes.md'])).stdout).toMatch(/^report [0-9a-f-]{36} written\n$/);
    expect((await loom(['reports', 'show', 'Notes of *June*'])).stdout).toBe('# Notes of *June*\n\nAll is well.\n');
    const listed = parsed<{ items: ListedReport[] }>((await loom(['reports', '--json'])).stdout);
    expect(listed.items.map(({ title }) => title)).toEqual(['Notes of *June*', 'Week 12']);

    // What was read is saved once; again it is an edit of what is no longer there.
    await write('read.json', (await loom(['reports', 'show', report.id, '--json'])).stdout);
    expect(await loom(['reports', 'replace', 'Week 12', 'read.json'])).toMatchObject({
      code: 0,
      stdout: `report ${report.id} saved, version 2\n`,
    });
    expect(await loom(['reports', 'replace', report.id, 'read.json'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected an edit of version 2 of the report, got one of version 1') as string,
    });
    expect((await loom(['reports', 'replace', report.id, 'week.yaml'])).stdout).toContain('version 3');

    const wrong = [
      ['list.yaml', '- a', 'list.yaml: expected a report in YAML or JSON'],
      ['half.yaml', 'title: "a', 'half.yaml: expected a report in YAML or JSON'],
      ['none.yaml', 'title: a\nblocks: [{type: map, run: none-such}]', 'expected the name of a run'],
      ['wrong.yaml', 'title: a\nblocks: [{type: pie}]', 'wrong.yaml: blocks.0.type: '],
    ] as const;
    await Promise.all(
      wrong.map(async ([name, text, message]) => {
        await write(name, text);
        expect(await loom(['reports', 'add', name])).toMatchObject({
          code: 2,
          stderr: expect.stringContaining(message) as string,
        });
      }),
    );
    expect(await loom(['reports', 'show', 'none'])).toMatchObject({
      code: 2,
      stderr: 'loom: expected the id or the title of a report, got none: there is no such one\n',
    });

    const exported = ['reports', 'export', 'Week 12', '--out', 'week.html'];
    expect(await loom(exported)).toMatchObject({ code: 0, stdout: 'week.html written\n' });
    expect(await readFile(path.join(cwd, 'week.html'), 'utf8')).toMatch(/^<!doctype html>\n.*<title>Week 12<\/title>/s);
    expect(await loom(exported)).toMatchObject({
      code: 2,
      stderr: 'loom: expected no file at week.html, there is one: choose another by --out, or --force\n',
    });
    expect((await loom([...exported, '--force'])).code).toBe(0);
    for (const { id } of listed.items) expect((await loom(['reports', 'delete', id])).code).toBe(0);
    expect((await loom(['reports', 'rm', report.id])).code).toBe(2);
  }, 60_000);
});
