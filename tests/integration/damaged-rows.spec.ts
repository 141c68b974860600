/**
 * Rows that are not as their schema says, because they were edited by hand or written by another version: what is whole
 * is told all the same, and of what is damaged it is said what is wrong.
 */
import { LoomClient, SubmitSweep, type Problem } from '#libs/contracts';
import { SweepStore, type Database } from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { text } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';
import { knowShapes } from '../support/shapes.js';

interface Told {
  items: Record<string, unknown>[];
  damaged?: { resource: string; id: string; field: string; message: string }[];
}

let api: Api;
let database: Database;
let client: LoomClient;
beforeAll(async () => {
  api = await startApi();
  ({ database } = api);
  client = new LoomClient({ url: api.url, retries: 0 });
}, 30_000);
afterAll(() => api.stop());
beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE run, sweep, dataset, worker CASCADE`;
  await knowShapes(api.runs);
});

const get = (path: string) => fetch(api.url + path);
const list = (path: string) => json<Told>(get(path));
const submitted = async (seed: number): Promise<string> => (await api.submit({ ...pretrain, seed })).id;
/** Of an answer that is to be 409. */
const problem = async (answer: Promise<Response>): Promise<Problem> => {
  const response = await answer;
  expect([response.status, response.headers.get('content-type')]).toEqual([
    409,
    'application/problem+json; charset=utf-8',
  ]);
  return json<Problem>(response);
};
const setSpec = (id: string, spec: unknown) =>
  database.prisma.$executeRaw`UPDATE run SET spec = ${JSON.stringify(spec)}::jsonb WHERE id = ${id}::uuid`;

test.each<[what: string, damage: string, field: string, message: RegExp]>([
  ['a field of the spec', `spec = jsonb_set(spec, '{temperature}', '"hot"')`, 'spec.temperature', /got "hot"/],
  ['a spec of no kind', `spec = '{"kind": "dance"}'`, 'spec.kind', /expected one of .*, got "dance"/],
  ['a spec that is a list', `spec = '[1, 2]'`, 'spec', /expected a mapping, got \[1,2\]/],
  ['a result without metrics', `result = '{"metric": 1}'`, 'result.metrics', /expected a mapping/],
  ['labels that are text', `required_labels = '"a100"'`, 'requires.labels', /expected a mapping, got "a100"/],
  ['a reason that is none', `status_reason = 'moonlight'`, 'statusReason', /got "moonlight"/],
])('a run with %s is told of beside those that are whole', async (_, damage, field, message) => {
  const [first, damaged, last] = [await submitted(1), await submitted(2), await submitted(3)];
  await database.prisma.$executeRawUnsafe(`UPDATE run SET ${damage} WHERE id = '${damaged}'`);

  const page = await list('/v1/runs?kind=pretrain');
  expect(page.items.map(({ id }) => id)).toEqual([last, first]);
  const said = { resource: 'run', id: damaged, field, message: expect.stringMatching(message) as string };
  expect(page.damaged).toEqual([said]);
  expect(await list(`/v1/runs/${first}/events`)).not.toHaveProperty('damaged');

  const refused = await problem(get(`/v1/runs/${damaged}`));
  expect(refused).toMatchObject({ code: 'damaged', errors: [{ path: field, message: said.message }] });
  expect(refused.detail).toContain(`run ${damaged} `);

  // What else is known of it is told, and it can be got rid of.
  for (const of of ['metrics', 'events', 'logs', 'artifacts'])
    expect((await get(`/v1/runs/${damaged}/${of}`)).status, of).toBe(200);
  expect((await get(`/v1/runs/${randomUUID()}/events`)).status).toBe(404);
  expect(await client.bulkRuns({ action: 'cancel', filter: {} })).toMatchObject({ done: 3 });
  await client.deleteRun(damaged);
  expect(await list('/v1/runs?kind=pretrain')).not.toHaveProperty('damaged');
});

test('pages go on past damaged rows', async () => {
  const ids: string[] = [];
  for (let seed = 0; seed < 5; seed++) ids.unshift(await submitted(100 + seed));
  for (const damaged of [ids[1]!, ids[2]!]) await setSpec(damaged, {});
  const left: unknown[] = [];
  const read = new LoomClient({ url: api.url, onDamaged: (row) => left.push(row.id) });
  const whole: string[] = [];
  for await (const { id } of read.eachRun({ kind: ['pretrain'], limit: 2 })) whole.push(id);
  expect(whole).toEqual([ids[0], ids[3], ids[4]]);
  expect(left).toEqual([ids[1], ids[2]]);
});

test('a run that waits with a damaged spec fails when a worker takes it, and is offered to no other', async () => {
  const id = await submitted(4);
  await setSpec(id, 'nothing');
  expect(await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w')).toBeUndefined();
  const [run] = await database.prisma.$queryRaw<{ status: string; reason: string; detail: string }[]>`
    SELECT status::text AS status, status_reason AS reason, status_detail AS detail
    FROM run
    WHERE id = ${id}::uuid`;
  expect(run).toMatchObject({ status: 'failed', reason: 'invalid_spec' });
  expect(run!.detail).toContain(`run ${id} can't be told: spec: expected a mapping, got "nothing"`);
});

test('events and log lines that are damaged stay in their place, in lists and in streams', async () => {
  const id = await submitted(5);
  await database.prisma.$executeRaw`
    INSERT INTO run_event (run_id, attempt, type, data)
    VALUES (${id}::uuid, 0, 'asked', '[1]')`;
  await database.prisma.$executeRaw`
    INSERT INTO log_line (run_id, attempt, level, message)
    VALUES (${id}::uuid, 0, 'loud', 'so it was said')`;
  const [event] = (await list(`/v1/runs/${id}/events`)).items.slice(-1);
  expect(event).toMatchObject({ type: 'asked', data: { damaged: 'data: expected a mapping, got [1]' } });
  const [line] = (await list(`/v1/runs/${id}/logs`)).items;
  expect(line).toMatchObject({
    level: 'error',
    message: expect.stringMatching(/^damaged: level: .*"loud"; so it was said$/) as string,
  });
  await api.runs.requests.cancel(id);
  const stream = await (await get(`/v1/runs/${id}/stream`)).text();
  expect(stream).toContain('"damaged":"data: expected a mapping');
  expect(stream).toContain('so it was said');
});

test('workers and dataset versions that are damaged are told of beside the others', async () => {
  for (const [id, gpus] of [
    ['whole', '[]'],
    ['damaged', '[{"index": "first"}]'],
  ])
    await database.prisma.$executeRaw`
      INSERT INTO worker (id, host, pid, state, slots, versions, labels, gpus)
      VALUES (${id}, 'host', 1, 'running', 1, '{}', '{}', ${gpus}::jsonb)`;
  const workers = await list('/v1/workers');
  expect(workers.items.map(({ id }) => id)).toEqual(['whole']);
  expect(workers.damaged).toMatchObject([{ resource: 'worker', id: 'damaged', field: 'gpus.0.index' }]);
  expect(await (await get('/metrics')).text()).toContain('loom_workers{alive="true"} 2');

  await database.prisma.$executeRaw`
    INSERT INTO dataset (name, digest, manifest, run_id)
    SELECT 'torn', digest, manifest - 'splits', run_id
    FROM dataset
    LIMIT 1`;
  const datasets = await list('/v1/datasets');
  expect(datasets.items.map(({ name }) => name)).toEqual(['shapes']);
  expect(datasets.damaged).toMatchObject([
    {
      resource: 'dataset',
      id: 'torn@dddddddddddd',
      field: 'manifest.splits',
      message: 'expected a mapping, got nothing',
    },
  ]);
  const refused = await problem(get('/v1/datasets/torn'));
  expect(refused.detail).toMatch(/dataset torn@dddddddddddd .*manifest\.splits: expected a mapping/);
  const onIt = await problem(api.post('/v1/runs', { spec: { ...pretrain, dataset: 'torn' } }));
  expect(onIt.code).toBe('damaged');
  expect((await fetch(`${api.url}/v1/datasets/torn@dddddddddddd`, { method: 'DELETE' })).status).toBe(204);
});

test('a damaged sweep is told of beside the others, and can be cancelled and deleted', async () => {
  const spec = (name: string) => ({
    name,
    stages: { p: { ...pretrain, kind: 'pretrain' as const } },
    parameters: { 'p.seed': { values: [1, 2] } },
  });
  const [damaged, whole] = [
    (await client.submitSweep({ spec: spec('torn') })).sweep.id,
    (await client.submitSweep({ spec: spec('whole') })).sweep.id,
  ];
  await database.prisma.$executeRaw`UPDATE sweep SET plan = '{"trials": "two"}' WHERE id = ${damaged}::uuid`;
  const page = await list('/v1/sweeps');
  expect(page.items.map(({ id }) => id)).toEqual([whole]);
  expect(page.damaged).toMatchObject([{ resource: 'sweep', id: damaged, field: 'plan.trials' }]);
  expect((await problem(get(`/v1/sweeps/${damaged}`))).code).toBe('damaged');
  await problem(api.post(`/v1/sweeps/${damaged}/cancel`, {}));
  await problem(get(`/v1/sweeps/${damaged}/results`));
  await database.prisma.$executeRaw`UPDATE run SET status = 'cancelled' WHERE status <> 'succeeded'`;
  await client.deleteSweep(damaged, { runs: false });
  expect(await list('/v1/sweeps')).not.toHaveProperty('damaged');
});

test('damaged runs of a sweep are left out of its table and its exports, where it says so', async () => {
  const sweeps = new SweepStore(database, api.runs);
  const { sweepId } = await sweeps.submit(
    SubmitSweep.parse({
      spec: {
        name: 'three',
        stages: { p: { ...pretrain, kind: 'pretrain' } },
        parameters: { 'p.temperature': { values: [0.1, 0.2, 0.3] } },
        metric: { name: 'eval/knn' },
      },
    }),
  );
  await database.prisma.$executeRaw`
    UPDATE run
    SET status = 'succeeded', started_at = now(), finished_at = now(), result = '{"metrics": {"eval/knn": 0.5}}'`;
  const runOf = async (index: number): Promise<string> =>
    (await database.prisma.trialRun.findFirstOrThrow({ where: { sweepId, index } })).runId;
  const [torn, last] = [await runOf(1), await runOf(2)];
  await database.prisma.$executeRaw`
    UPDATE run
    SET result = '{"metrics": {"eval/knn": "good"}}'
    WHERE id = ${torn}::uuid`;
  await database.prisma
    .$executeRaw`UPDATE trial SET parameters = '"none"' WHERE sweep_id = ${sweepId}::uuid AND index = 2`;

  const { trials } = await client.sweep(sweepId);
  expect(trials.map(({ status }) => status)).toEqual(['succeeded', 'succeeded', 'succeeded']);
  expect(trials[2]).toMatchObject({
    parameters: {},
    fault: expect.stringContaining('parameters: expected a mapping') as string,
  });

  const table = await client.sweepResults(sweepId);
  expect(table.damaged).toEqual([
    { resource: 'run', id: torn, field: 'value', message: 'expected a number, got "good"' },
    { resource: 'trial', id: '2', field: 'parameters', message: 'expected a mapping, got "none"' },
  ]);
  expect(table.coordinates.lines.map(({ value }) => value)).toEqual([0.5, null, 0.5]);

  const csv = await text(await client.exportSweep(sweepId, 'trials.csv'));
  expect(csv.split('\r\n')[0]!.split(',')).toContain('p:damaged');
  expect(csv).toContain(`result.metrics.eval/knn: expected a number, got ""good""`);
  const [, second] = JSON.parse(await text(await client.exportSweep(sweepId, 'trials.json'))) as object[];
  expect(second).toMatchObject({ 'p:run': torn, 'p:status': 'succeeded' });
  expect(second).not.toHaveProperty(['p:eval/knn']);
  expect((await get(`/v1/sweeps/${sweepId}/trials.parquet`)).status).toBe(200);

  const entries = new Map<string, string>();
  const tar = extract();
  Readable.fromWeb((await client.exportSweep(sweepId, 'mlflow.tar')) as never).pipe(tar);
  for await (const entry of tar) entries.set(entry.header.name, await text(entry));
  const tags = [...entries].filter(([name]) => name.endsWith('/tags/loom.damaged'));
  expect(tags.map(([, said]) => said)).toEqual([expect.stringContaining(`run ${torn} can't be told`)]);
  expect([...entries.keys()].some((name) => name.includes(last.replaceAll('-', '')))).toBe(true);

  // What was put right by hand is told.
  await database.prisma.$executeRaw`
    UPDATE run
    SET result = '{"metrics": {"eval/knn": 0.75}}'
    WHERE id = ${torn}::uuid`;
  await database.prisma.$executeRaw`UPDATE trial SET parameters = '{}' WHERE sweep_id = ${sweepId}::uuid`;
  const mended = await client.sweepResults(sweepId);
  expect(mended).not.toHaveProperty('damaged');
  expect(mended.best!.value).toBe(0.75);
});
