/** What people delete and what is let go with time: over HTTP, with real files and a leader that does its rounds. */
import { randomUUID } from 'node:crypto';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { writeImageFolder } from '../support/images.js';
import { prepareStripes, SHORT, small } from '../support/small-runs.js';
import { refusal, startStack, type Stack } from '../support/stack.js';

const NO_OP = path.resolve(import.meta.dirname, '..', '..', 'dist', 'bench', 'no-op-trainer.js');
const FINETUNE = { kind: 'finetune', dataset: 'stripes', batchSize: 4, steps: 5, evalSplit: 'test' } as const;
let stack: Stack;
let sql: pg.Client;
/** The run that prepared the dataset `others`. */
let others: string;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_LEASE_MS: '20000', LOOM_HEARTBEAT_MS: '1000' } });
  await prepareStripes(stack);
  await writeImageFolder(path.join(stack.dataRoot, 'others'), { classes: 2, perClass: 12, seed: 5 });
  const real = stack.startWorker();
  others = await stack.submit({ kind: 'prepare-dataset', name: 'others', path: 'others', imageSize: 16 });
  await stack.ended(others);
  await real.kill('SIGTERM');
  stack.startWorker({ LOOM_TRAINER: NO_OP, LOOM_SLOTS: '4' });
  sql = new pg.Client({ connectionString: stack.database.url });
  await sql.connect();
}, 90_000);
afterAll(async () => {
  await sql?.end();
  await stack?.stop();
});

const count = async (table: string, where: string, ...values: unknown[]): Promise<number> =>
  Number((await sql.query<{ n: string }>(`SELECT count(*) AS n FROM ${table} WHERE ${where}`, values)).rows[0]!.n);
/** Points by hand: the trainer here says none. */
const addPoints = (id: string, points: number) =>
  sql.query(
    `INSERT INTO metric (run_id, key, step, attempt, value) SELECT $1, 'train/loss', i, 1, i FROM ` +
      'generate_series(1, $2::int) AS i',
    [id, points],
  );

test('a run that has ended is gone with all that was recorded of it, and an equal submit is trained anew', async () => {
  const { client } = stack;
  const key = randomUUID();
  const { run } = await client.submitRun({ spec: { ...SHORT, seed: 1 } }, key);
  await stack.ended(run.id);
  await addPoints(run.id, 25_000);
  const spent = async () => (await client.projects()).find(({ name }) => name === 'default')!.gpuSecondsUsed;
  const before = await spent();
  await client.deleteRun(run.id);
  expect((await refusal(client.run(run.id))).status).toBe(404);
  expect((await refusal(client.deleteRun(run.id))).status).toBe(404);
  for (const table of ['run_event', 'log_line', 'artifact', 'attempt', 'run_metric', 'outbox'])
    expect(await count(table, 'run_id = $1', run.id), table).toBe(0);
  // A sum of seconds that is taken in another order differs in its last bit.
  expect(await spent()).toBeGreaterThanOrEqual(before - 1e-9);
  const again = await client.submitRun({ spec: { ...SHORT, seed: 1 } }, key);
  expect(again).toMatchObject({ created: true });
  expect(again.run.id).not.toBe(run.id);
  await stack.ended(again.run.id);
});

test(
  'a run that has not ended, that another hangs on or that prepared a dataset stays, and what needs ' + 'it is named',
  async () => {
    const { client } = stack;
    const parent = await stack.submit({ ...SHORT, seed: 2 });
    await stack.ended(parent);
    const child = await stack.submit({ ...FINETUNE, from: parent });
    await stack.ended(child);
    const needed = await refusal(client.deleteRun(parent));
    expect(needed.status).toBe(409);
    expect(needed.message).toContain(child);
    const waiting = await stack.submit({ ...SHORT, seed: 3 }, { requires: { labels: { nobody: 'has' } } });
    expect((await refusal(client.deleteRun(waiting))).message).toContain('got one that is queued: cancel it first');
    const { runId } = await client.dataset('stripes');
    expect((await refusal(client.deleteRun(runId))).message).toContain('was prepared by it');
    await client.cancelRun(waiting);
    await client.deleteRun(waiting);
    await client.deleteRun(child);
    await client.deleteRun(parent);
    expect((await refusal(client.run(parent))).status).toBe(404);
  },
);

test(
  'in bulk children go before their parents, and what stays is counted by what needs it; a plan ' + 'says it before',
  async () => {
    const { client } = stack;
    const family = async (seed: number, tags: string[]) => {
      const parent = await stack.submit({ ...SHORT, seed }, { tags: ['bulk'] });
      await stack.ended(parent);
      const child = await stack.submit({ ...FINETUNE, from: parent, seed }, { tags });
      await stack.ended(child);
      return { parent, child };
    };
    const whole = await family(10, ['bulk']);
    const half = await family(11, ['other']);
    const waiting = await stack.submit(
      { ...SHORT, seed: 12 },
      { tags: ['bulk'], requires: { labels: { nobody: 'has' } } },
    );
    const request = { action: 'delete', filter: { tag: 'bulk' } } as const;
    const expected = { done: 2, skipped: { has_children: 1, queued: 1 } };
    expect(await client.bulkRuns(request, { validateOnly: true })).toEqual(expected);
    expect(await client.bulkRuns(request)).toEqual(expected);
    for (const id of [whole.parent, whole.child]) expect((await refusal(client.run(id))).status).toBe(404);
    expect((await client.run(half.parent)).status).toBe('succeeded');
    await client.cancelRun(waiting);
    await client.bulkRuns({ action: 'delete', filter: { tag: 'other' } });
    expect(await client.bulkRuns(request)).toEqual({ done: 2, skipped: {} });
  },
);

test(
  'a sweep that has come to its end goes, and with it, if asked, those of its runs that nothing ' + 'else needs',
  async () => {
    const { client } = stack;
    const submit = async (name: string, values: number[]) => {
      const { sweep } = await client.submitSweep({
        spec: {
          name,
          controls: [],
          parameters: { 'pretrain.temperature': { values } },
          stages: {
            pretrain: { kind: 'pretrain', dataset: 'stripes', batchSize: 8, epochs: 1, ...small },
            finetune: { ...FINETUNE, from: 'pretrain' },
          },
        },
      });
      return sweep.id;
    };
    const ended = (id: string) =>
      eventually(async () => expect((await client.sweep(id)).status).toBe('succeeded'), { timeoutMs: 60_000 });
    const first = await submit('first', [0.31, 0.32, 0.33]);
    expect((await refusal(client.deleteSweep(first))).message).toContain('cancel it first');
    await ended(first);
    const second = await submit('second', [0.33, 0.34]);
    await ended(second);
    const runs = (await client.sweep(first)).trials.flatMap(({ runs: each }) => each.map(({ runId }) => runId));
    expect((await refusal(client.deleteRun(runs[0]!))).message).toContain(`part of sweep ${first}`);
    // The pretraining and the finetuning at 0.33 are the second's as well.
    expect(await client.deleteSweep(first, { runs: true })).toEqual({ deleted: 4, kept: 2 });
    expect((await refusal(client.sweep(first))).status).toBe(404);
    expect((await client.sweep(second)).trials).toHaveLength(2);
    expect(await client.deleteSweep(second)).toEqual({ deleted: 0, kept: 0 });
    expect(await count('run', 'id = ANY($1::uuid[])', runs)).toBe(2);
  },
);

test('what was archived is in no list, is reused as before, and comes back when it goes on', async () => {
  const { client } = stack;
  const tag = 'shelf';
  const ended = await stack.submit({ ...SHORT, seed: 40 }, { tags: [tag] });
  await stack.ended(ended);
  const waiting = await stack.submit({ ...SHORT, seed: 41 }, { tags: [tag], requires: { labels: { nobody: 'has' } } });
  const refused = await refusal(client.archiveRun(waiting));
  expect([refused.status, refused.message]).toEqual([409, expect.stringContaining('what goes on is not archived')]);
  const request = { action: 'archive', filter: { tag } } as const;
  const expected = { done: 1, skipped: { queued: 1 } };
  expect(await client.bulkRuns(request, { validateOnly: true })).toEqual(expected);
  expect(await client.bulkRuns(request)).toEqual(expected);
  expect(await client.bulkRuns(request)).toEqual({ done: 0, skipped: { queued: 1 } });

  const listed = async (archived?: 'no' | 'yes' | 'all') =>
    (await client.runs({ tag, archived })).items.map(({ id }) => id);
  expect(await Promise.all([listed(), listed('no'), listed('yes'), listed('all')])).toEqual([
    [waiting],
    [waiting],
    [ended],
    [waiting, ended],
  ]);
  expect(await client.runCounts({ tag })).toEqual({ queued: 1 });
  expect((await client.runGroups({ tag, by: ['status'] })).groups).toMatchObject([{ runs: 1 }]);
  expect((await client.runs({ id: [ended] })).items).toMatchObject([{ archivedAt: expect.any(String) as string }]);
  expect(await client.submitRun({ spec: { ...SHORT, seed: 40 } })).toMatchObject({
    created: false,
    run: { id: ended, archivedAt: expect.any(String) as string },
  });

  await client.cancelRun(waiting);
  expect((await client.archiveRun(waiting)).archivedAt).not.toBeNull();
  expect(await listed()).toEqual([]);
  expect(await client.retryRun(waiting)).toMatchObject({ status: 'queued', archivedAt: null });
  await client.cancelRun(waiting);
  expect(await client.bulkRuns({ action: 'unarchive', filter: { tag } })).toEqual({ done: 1, skipped: {} });
  expect(await listed()).toEqual([waiting, ended]);
});

test('a sweep is archived with its own runs when it has ended, and comes back when one of them goes on', async () => {
  const { client } = stack;
  const submit = async (name: string, seeds: number[]) =>
    (
      await client.submitSweep({
        spec: {
          name,
          method: 'grid',
          parameters: { 'pretrain.seed': { values: seeds } },
          metric: { name: 'eval/knn', goal: 'maximize' },
          stages: { pretrain: { kind: 'pretrain', dataset: 'stripes', batchSize: 8, epochs: 1, ...small } },
        },
        ...(name === 'stuck' && { requires: { labels: { nobody: 'has' } } }),
      })
    ).sweep.id;
  const [stuck, done] = [await submit('stuck', [50, 51]), await submit('done', [52, 53])];
  expect((await refusal(client.archiveSweep(stuck))).message).toContain('got one that is running');
  await eventually(async () => expect((await client.sweep(done)).status).toBe('succeeded'), { timeoutMs: 60_000 });
  const other = await submit('other', [53]);
  expect(await client.archiveSweep(done, { runs: true })).toEqual({ runs: 1 });
  const names = async (archived?: 'yes' | 'all') =>
    (await client.sweeps({ archived, name: 'one', sort: 'name' })).items.map(({ name }) => name);
  expect(await Promise.all([names(), names('yes'), names('all')])).toEqual([[], ['done'], ['done']]);
  // What the other has too stays in the list, and a sweep has all of its runs.
  const seeds = async (query: object) =>
    (await client.runs({ ...query, where: ['spec:seed>=52', 'spec:seed<54'] })).items.map(({ spec }) =>
      'seed' in spec ? spec.seed : undefined,
    );
  expect(await seeds({})).toEqual([53]);
  expect((await seeds({ sweep: done })).sort()).toEqual([52, 53]);
  expect((await client.sweepResults(done)).rows.length).toBeGreaterThan(0);
  expect(await client.unarchiveSweep(done, { runs: true })).toEqual({ runs: 1 });
  expect([await names(), (await seeds({})).sort()]).toEqual([['done'], [52, 53]]);
  expect((await client.sweep(other)).status).toBe('succeeded');

  const [first] = (await client.runs({ sweep: stuck })).items;
  await client.bulkRuns({ action: 'cancel', filter: { sweep: stuck } });
  await client.archiveSweep(stuck, { runs: true });
  expect(await client.sweep(stuck)).toMatchObject({ archivedAt: expect.any(String) as string });
  await client.retryRun(first!.id);
  expect(await client.sweep(stuck)).toMatchObject({ status: 'running', archivedAt: null });
  await client.cancelSweep(stuck);
});

test('a dataset version goes when no run is of it, and then the run that prepared it', async () => {
  const { client } = stack;
  const { digest } = await client.dataset('others');
  const reference = `others@${digest.slice(0, 12)}`;
  expect((await refusal(client.deleteDataset('others'))).message).toContain('got a name alone');
  const run = await stack.submit(
    { ...SHORT, dataset: 'others', seed: 20 },
    { requires: { labels: { nobody: 'has' } } },
  );
  const needed = await refusal(client.deleteDataset(reference));
  expect(needed.status).toBe(409);
  expect(needed.message).toContain(run);
  await client.cancelRun(run);
  await client.deleteRun(run);
  await client.deleteDataset(reference);
  expect((await refusal(client.dataset('others'))).status).toBe(404);
  await client.deleteRun(others);
});

test(
  'the leader lets go of points of deleted runs, workers long gone, old keys, lines and events, and ' +
    'of nothing else',
  async () => {
    const old = await stack.submit({ ...SHORT, seed: 30 });
    const young = await stack.submit({ ...SHORT, seed: 31 });
    for (const id of [old, young]) await stack.ended(id);
    await sql.query(`INSERT INTO log_line (run_id, attempt, level, message) SELECT id, 1, 'info', 'a line' FROM run`);
    await sql.query(`INSERT INTO run_event (run_id, attempt, type, data) SELECT id, 1, 'artifact', '{}' FROM run`);
    await sql.query(`UPDATE run SET finished_at = now() - interval '400 days' WHERE id = $1`, [old]);
    for (const table of ['log_line', 'run_event'])
      await sql.query(`UPDATE ${table} SET at = now() - interval '400 days' WHERE run_id = ANY($1::uuid[])`, [
        [old, young],
      ]);
    await sql.query(
      `INSERT INTO worker (id, host, pid, state, slots, versions, started_at, heartbeat_at)
     SELECT 'gone-' || i, 'h', 1, 'stopped', 1, '{}', now() - make_interval(days => i), now() - make_interval(days => i)
     FROM generate_series(1, 20) AS i`,
    );
    await sql.query(
      `INSERT INTO idempotency_key (key, request_hash, resource_id, created_at)
     VALUES ('old', '', $1, now() - interval '31 days'), ('young', '', $1, now() - interval '29 days')`,
      [young],
    );
    const statusEvents = await count('run_event', `run_id = $1 AND type IN ('submitted', 'status')`, old);
    // A leader begins with a round.
    await stack.startApi();
    await stack.api.kill('SIGTERM');
    await eventually(
      async () => {
        expect(await count('deleted_run', 'true')).toBe(0);
        expect(await count('metric', 'run_id NOT IN (SELECT id FROM run)')).toBe(0);
        expect(await count('log_line', 'run_id = $1', old)).toBe(0);
        expect(await count('run_event', 'run_id = $1', old)).toBe(statusEvents);
        expect(await count('worker', `id LIKE 'gone-%'`)).toBe(6);
        expect(await count('idempotency_key', `key IN ('old', 'young')`)).toBe(1);
      },
      { timeoutMs: 30_000 },
    );
    expect(await count('log_line', 'run_id = $1', young)).toBeGreaterThan(0);
    expect(await count('run_event', `run_id = $1 AND type = 'artifact'`, young)).toBeGreaterThan(0);
    expect(statusEvents).toBeGreaterThan(1);
  },
);

test('a worker that answers is in the list however many have come and gone after it', async () => {
  const api = await stack.startApi();
  const alive = (await api.client.workers()).filter((worker) => worker.alive).length;
  expect(alive).toBeGreaterThan(0);
  await sql.query(
    `INSERT INTO worker (id, host, pid, state, slots, versions, started_at, heartbeat_at)
     SELECT 'short-' || i, 'h', 1, 'stopped', 1, '{}', now(), now()
     FROM generate_series(1, 600) AS i`,
  );
  const listed = await api.client.workers();
  expect(listed.filter((worker) => worker.alive)).toHaveLength(alive);
  const counted = async (answers: boolean) => {
    const text = await (await fetch(`${api.client.url}/metrics`)).text();
    return Number(new RegExp(`loom_workers\\{alive="${answers}"\\} (\\d+)`).exec(text)![1]);
  };
  expect(await counted(true)).toBe(alive);

  // Whoever was sent away is missed by nobody; an alarm on one that fell silent ends when it is let go of.
  const missed = await counted(false);
  await sql.query(
    `INSERT INTO worker (id, host, pid, state, slots, versions, started_at, heartbeat_at)
     SELECT state, 'h', 1, state, 1, '{}', now(), now() - interval '1 hour'
     FROM unnest('{running, draining, stopped}'::text[]) AS state`,
  );
  expect(await counted(false)).toBe(missed + 1);
  await api.client.drainWorker('running');
  expect(await counted(false)).toBe(missed);
});
