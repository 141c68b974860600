/** `loom reproduce` against a real stack. */
import pg from 'pg';
import { expect, test } from 'vitest';
import { client, loom, parsed, stack, useCli } from '../support/cli.js';
import { SHORT, small } from '../support/small-runs.js';

useCli();

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
