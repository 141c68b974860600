/** Commands of the command line against a real stack. */
import type { MetricSeries, Run, SavedView, SweepDetail } from '#libs/contracts';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import pg from 'pg';
import { describe, expect, test } from 'vitest';
import { client, cwd, loom, parsed, stack, useCli } from '../support/cli.js';
import { SHORT, small } from '../support/small-runs.js';

useCli();

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

  test('a run from standard input is compared with another, and its files, logs and curves are there', async () => {
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

    expect((await loom(['runs', '--sort', '-metric:eval/knn'])).stdout).toMatch(/age +eval\/knn\n.* [01](\.\d+)?\n/);
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

  test('a run that is there is found by the name it is submitted with, or it is said what it is called', async () => {
    const submit = (more: object) =>
      loom(['submit', '-'], { input: JSON.stringify({ spec: { ...SHORT, seed: 30 }, ...more }) });
    await submit({});
    expect((await submit({ name: 'baseline' })).stdout).toMatch(/^reused run [0-9a-f-]{36} \(\w+\)\n$/);
    expect((await loom(['run', 'baseline', '--json'])).code).toBe(0);
    const { stdout } = await submit({ name: 'other' });
    expect(stdout).toMatch(/^reused run (.{36}) \(\w+\)\n {2}it is called baseline, and not other: /);
    expect(stdout).toMatch(/loom change (.{36}) --name other renames it\n$/);
  });

  test('a file of this machine is added to a run, and one that is not there is named', async () => {
    const id = await stack.submit({ ...SHORT, seed: 29 });
    await writeFile(path.join(cwd, 'report.html'), '<p>seen</p>');
    const added = await loom(['artifacts', id, '--add', 'report.html', '--mime', 'text/html']);
    expect([added.code, added.stdout]).toEqual([
      0,
      expect.stringMatching(/^added report\.html \(.*, [0-9a-f]{64}\)\n$/),
    ]);
    expect((await client.artifacts(id)).items).toMatchObject([
      { name: 'report.html', mime: 'text/html', sizeBytes: 11 },
    ]);
    expect(await loom(['artifacts', id, '--add', 'nowhere.html'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('expected a file, got nowhere.html') as string,
    });
  });

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

  test('what has ended is archived by name or by a filter, and listed when it is asked for', async () => {
    const id = await stack.submit({ ...SHORT, seed: 33 }, { tags: ['shelf'] });
    expect(await loom(['archive', id])).toMatchObject({ code: 2, stderr: expect.stringContaining('queued') as string });
    await client.cancelRun(id);
    expect((await loom(['archive', '--tag', 'shelf', '--dry-run'])).stdout).toBe('archive would change 1 run\n');
    expect((await loom(['archive', id])).stdout).toBe(`${id} cancelled\n`);
    const listed = async (...more: string[]) =>
      parsed<{ items: { id: string }[] }>((await loom(['runs', '--tag', 'shelf', ...more, '--json'])).stdout).items;
    expect(await listed()).toEqual([]);
    expect(await listed('--archived', 'yes')).toMatchObject([{ id }]);
    expect((await loom(['unarchive', '--tag', 'shelf'])).stdout).toBe('unarchive changed 1 run\n');
    expect(await listed()).toMatchObject([{ id }]);
    expect((await loom(['runs', '--archived', 'maybe'])).code).toBe(2);
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
    expect((await loom(['sweep', found.id, '--archive', '--with-runs'])).stdout).toBe(
      `archived sweep ${found.id} and 2 runs\n`,
    );
    const sweeps = async (...more: string[]) => (await loom(['sweeps', ...more])).stdout.includes(found.id);
    expect([await sweeps(), await sweeps('--archived', 'all')]).toEqual([false, true]);
    expect((await loom(['sweep', found.id, '--unarchive', '--with-runs'])).stdout).toMatch(/and 2 runs\n$/);
    expect((await loom(['sweep', found.id, '--archive', '--unarchive'])).code).toBe(2);

    const { best } = await client.sweepResults(found.id);
    const table = await loom(['sweep', 'two']);
    expect([table.code, table.stdout]).toEqual([0, expect.stringContaining(`\`loom run ${best!.runId}\` shows it`)]);
    const shown = await loom(['run', 'best:two', '--json']);
    expect([shown.stderr, parsed<Run>(shown.stdout).id]).toEqual(['', best!.runId]);
    expect(parsed<{ items: Run[] }>((await loom(['runs', '--sweep', 'two', '--json'])).stdout).items).toHaveLength(2);
    expect((await loom(['watch', found.id.slice(-12)])).stdout).toMatch(/kNN\n/);
  }, 90_000);

  test('a run is meant by its name, or by the beginning or end of its id', async () => {
    const submit = async (name: string, seed: number) =>
      (await client.submitRun({ spec: { ...SHORT, seed }, name })).run.id;
    const [alpha, ...twins] = [await submit('alpha', 51), await submit('twin', 52), await submit('twin', 53)];
    for (const text of ['alpha', alpha.slice(-8), alpha.slice(0, 30).toUpperCase()]) {
      const { code, stderr, stdout } = await loom(['run', text, '--json']);
      expect([text, code, stderr, code === 0 && parsed<Run>(stdout).id]).toEqual([text, 0, '', alpha]);
    }
    const several = await loom(['cancel', 'twin']);
    expect([several.code, several.stderr]).toEqual([
      2,
      `loom: expected one run, but twin may be any of these: ${twins
        .reverse()
        .map((id) => `${id} (twin)`)
        .join(', ')}\n`,
    ]);
    const none = await loom(['logs', 'nobody']);
    expect([none.code, none.stderr]).toEqual([2, expect.stringContaining('got nobody: there is no such one')]);

    const spec = { kind: 'finetune', dataset: 'stripes', batchSize: 16, steps: 20, evalSplit: 'test' };
    const child = await loom(['submit', '-', '--json'], { input: JSON.stringify({ ...spec, from: 'alpha' }) });
    expect([child.stderr, parsed<Run>(child.stdout).parents]).toEqual(['', [alpha]]);
    const orphan = await loom(['submit', '-'], { input: JSON.stringify({ ...spec, from: 'nobody' }) });
    expect([orphan.code, orphan.stderr]).toEqual([2, expect.stringMatching(/^loom: stdin:1:\d+: from: .*got nobody/)]);
    const map = { kind: 'embed', dataset: 'stripes', split: 'test', from: 'alpha', alignTo: 'nobody' };
    const unaligned = await loom(['submit', '-'], { input: JSON.stringify(map) });
    expect([unaligned.code, unaligned.stderr]).toEqual([2, expect.stringMatching(/: alignTo: .*got nobody/)]);
    expect((await loom(['cancel', 'alpha'])).stdout).toBe(`${alpha} cancelled\n`);
  }, 60_000);

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

  test('views of the list of runs are saved, listed, used and deleted', async () => {
    const set = await loom(['views', 'set', 'prepared', '--status', 'succeeded', '--kind', 'prepare-dataset']);
    expect([set.code, set.stdout, set.stderr]).toEqual([0, 'view prepared saved\n', '']);
    const { items } = parsed<{ items: SavedView[] }>((await loom(['views', '--json'])).stdout);
    expect(items.map(({ name, query }) => [name, query])).toEqual([
      ['prepared', { status: 'succeeded', kind: 'prepare-dataset' }],
    ]);
    const listed = parsed<{ items: Run[] }>((await loom(['runs', '--view', 'prepared', '--json'])).stdout);
    expect(listed.items.map(({ kind }) => kind)).toEqual(['prepare-dataset']);
    expect(await loom(['runs', '--view', 'none-such'])).toMatchObject({
      code: 2,
      stderr: 'loom: expected a saved view, got none-such: there are prepared\n',
    });
    expect((await loom(['views', 'set', 'wrong', '--where', 'eval/knn'])).code).toBe(2);
    expect((await loom(['views', 'delete', 'prepared'])).code).toBe(0);
    expect((await loom(['views', 'delete', 'prepared'])).code).toBe(2);
  });

  test('what is kept by name is listed and deleted by the same words, and by the short ones', async () => {
    for (const kept of ['datasets', 'models', 'views', 'reports'])
      for (const [word, short] of [
        [
          ['list', '--json'],
          ['ls', '--json'],
        ],
        [
          ['delete', 'none-such@0123456789ab'],
          ['rm', 'none-such@0123456789ab'],
        ],
      ]) {
        const [long, brief] = [await loom([kept, ...word!]), await loom([kept, ...short!])];
        expect([kept, word, brief]).toEqual([kept, word, long]);
        expect([kept, word, long.code]).toEqual([kept, word, word![0] === 'list' ? 0 : 2]);
      }
  });

  test('what others have written is no order to a terminal, and is what it is in JSON', async () => {
    const notes = 'x\u001b]0;owned\u0007\u001b[2J';
    const { run } = await client.submitRun({ spec: { ...SHORT, seed: 777 }, name: 'noted' });
    await client.changeRun(run.id, { notes });
    const [text, json] = [await loom(['run', run.id]), await loom(['run', run.id, '--json'])];
    expect(text.stdout).toContain('notes     x\\x1b]0;owned\\x07\\x1b[2J\n');
    for (const { stdout, stderr } of [text, json])
      for (const order of '\u001b\u0007') expect(stdout + stderr).not.toContain(order);
    expect(parsed<{ notes: string }>(json.stdout).notes).toBe(notes);
  });

  test('a worker that takes no runs says why', async () => {
    const worker = stack.startWorker({ LOOM_WORKER_NAME: 'narrow', LOOM_MIN_FREE_MIB: String(2 ** 30) });
    const told = /narrow-.*running, takes no runs: too little space is left where artifacts are stored/;
    await expect.poll(async () => (await loom(['workers'])).stdout, { timeout: 60_000 }).toMatch(told);
    await worker.kill('SIGTERM');
  }, 90_000);

  test('the data root is listed', async () => {
    const { stdout, code } = await loom(['datasets', 'browse', 'stripes']);
    expect(code).toBe(0);
    expect(stdout).toContain('class0/');
    expect(stdout).toContain('240 images, 0 sounds, 0 others');
    expect((await loom(['datasets', 'browse', '..'])).code).toBe(2);
  });
});
