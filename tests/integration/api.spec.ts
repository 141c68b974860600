/** The HTTP contract, against a real Postgres and Redis: what bad input gets, pages, streams, reuse. */
import { LoomClient, type Problem } from '#libs/contracts';
import { Database, loadEnv, Runs } from '#libs/platform';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { parquetReadObjects } from 'hyparquet';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { extract } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { createApplication, describeApi } from '../../apps/api/src/application.js';
import { freshDatabase } from '../support/database.js';
import { knowShapes, shapes } from '../support/shapes.js';

let dir: string;
let home: Awaited<ReturnType<typeof freshDatabase>>;
let app: NestFastifyApplication;
let url: string;
let platform: Runs;
let database: Database;

const { test: _, ...splits } = shapes.splits;
const manifest = { ...shapes, splits };

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-api-'));
  home = await freshDatabase();
  const env = loadEnv({
    DATABASE_URL: home.url,
    REDIS_URL: inject('redisUrl'),
    LOOM_PORT: '0',
    LOOM_LOG_LEVEL: 'silent',
    LOOM_QUEUE: `test-${randomUUID()}`,
    LOOM_ARTIFACTS_DIR: dir,
    LOOM_DATA_ROOT: dir,
  });
  app = await createApplication(env);
  await app.listen(0, '127.0.0.1');
  url = await app.getUrl();
  database = new Database(home.url);
  platform = new Runs(database, env);
  await knowShapes(platform, manifest);
}, 30_000);

afterAll(async () => {
  await app.close();
  await database.close();
  await home.drop();
  await rm(dir, { recursive: true, force: true });
});

const post = (to: string, body: unknown, headers: Record<string, string> = {}) =>
  fetch(url + to, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const json = async <T>(response: Response | Promise<Response>): Promise<T> => (await (await response).json()) as T;
interface RunView {
  id: string;
  status: string;
  name: string | null;
}
const submit = async (spec: object, more: object = {}) => json<RunView>(post('/v1/runs', { spec, ...more }));
const pretrain = { kind: 'pretrain', dataset: 'shapes', batchSize: 32 };
const countRuns = async () => (await json<{ items: unknown[] }>(fetch(`${url}/v1/runs?limit=500`))).items.length;

describe('bad input gets its field, what was expected and what came, and nothing is queued', () => {
  test.each<[string, object, string, RegExp]>([
    ['an unknown key', { ...pretrain, epoch: 3 }, 'spec.epoch', /unknown/],
    ['a wrong type', { ...pretrain, epochs: 'many' }, 'spec.epochs', /expected number, got "many"/],
    ['a number out of range', { ...pretrain, temperature: -1 }, 'spec.temperature', />=0\.01, got -1/],
    ['a number that is no integer', { ...pretrain, epochs: 1.5 }, 'spec.epochs', /got 1\.5/],
    ['an unknown kind', { kind: 'dance' }, 'spec.kind', /expected one of prepare-dataset, .*got "dance"/],
    ['an unknown augmentation', { ...pretrain, augmentation: { sparkle: {} } }, 'spec.augmentation.sparkle', /unknown/],
    [
      'bounds the wrong way round',
      { ...pretrain, augmentation: { crop: { minArea: 0.9, maxArea: 0.2 } } },
      'spec.augmentation.crop.minArea',
      /at most maxArea/,
    ],
    [
      'a batch larger than the dataset',
      { ...pretrain, batchSize: 500 },
      'spec.batchSize',
      /at most the 400 training samples of shapes@dddddddddddd, got 500/,
    ],
    ['a split that the dataset lacks', { ...pretrain, evalSplit: 'test' }, 'spec.evalSplit', /\(val\), got test/],
    [
      'a label fraction that leaves a class without an example',
      { kind: 'finetune', dataset: 'shapes', from: null, labelFraction: 0.001, batchSize: 2 },
      'spec.labelFraction',
      /at least 0\.005/,
    ],
    [
      'an unknown dataset',
      { ...pretrain, dataset: 'nowhere' },
      'spec.dataset',
      /prepared dataset \(shapes\), got nowhere/,
    ],
    [
      'an unknown parent',
      { kind: 'finetune', dataset: 'shapes', from: '00000000-0000-4000-8000-000000000000' },
      'spec.from',
      /no such run/,
    ],
    [
      'a path that leaves the data root',
      { kind: 'prepare-dataset', name: 'x', path: 'a/../../etc' },
      'spec.path',
      /inside the data root/,
    ],
    ['a path with NUL', { kind: 'prepare-dataset', name: 'x', path: 'a\0b' }, 'spec.path', /NUL/],
    ['a name that is a path', { kind: 'prepare-dataset', name: '../x', path: 'a' }, 'spec.name', /letter or digit/],
  ])('%s', async (_, spec, field, expected) => {
    const before = await countRuns();
    const response = await post('/v1/runs', { spec });
    const problem = await json<Problem>(response);
    expect(response.status).toBe(422);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
    expect(problem).toMatchObject({ status: 422, code: 'invalid_request', instance: '/v1/runs' });
    expect(problem.errors!.find(({ path: each }) => each === field)?.message, JSON.stringify(problem.errors)).toMatch(
      expected,
    );
    expect(await countRuns()).toBe(before);
  });

  test.each<[string, () => Promise<Response>, number, string]>([
    ['text that is no JSON', () => post('/v1/runs', '{"spec":'), 400, 'invalid_request'],
    ['no body', () => fetch(`${url}/v1/runs`, { method: 'POST' }), 422, 'invalid_request'],
    ['a list', () => post('/v1/runs', []), 422, 'invalid_request'],
    [
      'another content type',
      () => post('/v1/runs', 'spec=1', { 'content-type': 'application/x-www-form-urlencoded' }),
      415,
      'unsupported_media_type',
    ],
    ['three megabytes', () => post('/v1/runs', { spec: 'x'.repeat(3e6) }), 413, 'payload_too_large'],
    ['an id that is none', () => fetch(`${url}/v1/runs/17`), 422, 'invalid_request'],
    ['an unknown run', () => fetch(`${url}/v1/runs/${randomUUID()}`), 404, 'not_found'],
    ['an unknown sweep', () => fetch(`${url}/v1/sweeps/${randomUUID()}/cancel`, { method: 'POST' }), 404, 'not_found'],
    ['an unknown route', () => fetch(`${url}/v2/runs`), 404, 'not_found'],
    ['an unknown filter', () => fetch(`${url}/v1/runs?colour=red`), 422, 'invalid_request'],
    ['an unknown status', () => fetch(`${url}/v1/runs?status=happy`), 422, 'invalid_request'],
    ['a cursor that is none', () => fetch(`${url}/v1/runs?cursor=abc`), 422, 'invalid_request'],
    [
      'a stream from a place that is none',
      async () => fetch(`${url}/v1/runs/${(await submit(pretrain)).id}/stream`, { headers: { 'last-event-id': 'x' } }),
      422,
      'invalid_request',
    ],
    [
      'a key with spaces',
      () => post('/v1/runs', { spec: pretrain }, { 'idempotency-key': 'a b' }),
      422,
      'invalid_request',
    ],
    ['an unknown bulk action', () => post('/v1/runs/bulk', { action: 'dance', filter: {} }), 422, 'invalid_request'],
    ['a bulk action that says not on what', () => post('/v1/runs/bulk', { action: 'cancel' }), 422, 'invalid_request'],
    [
      'a bulk action by an unknown status',
      () => post('/v1/runs/bulk', { action: 'cancel', filter: { status: 'happy' } }),
      422,
      'invalid_request',
    ],
    [
      'a drain of an unknown worker',
      () => fetch(`${url}/v1/workers/nobody/drain`, { method: 'POST' }),
      404,
      'not_found',
    ],
    [
      'a pause of an unknown run',
      () => fetch(`${url}/v1/runs/${randomUUID()}/pause`, { method: 'POST' }),
      404,
      'not_found',
    ],
    [
      'a page of another origin',
      () => post('/v1/runs', { spec: pretrain }, { origin: 'http://elsewhere.example' }),
      403,
      'forbidden',
    ],
  ])('%s', async (_, request, status, code) => {
    const response = await request();
    expect(response.status).toBe(status);
    expect(await json<Problem>(response)).toMatchObject({ status, code });
  });

  test('a label that is none', async () => {
    const problem = await json<Problem>(post('/v1/runs', { spec: pretrain, requires: { labels: { 'a b': 'c' } } }));
    expect(problem).toMatchObject({
      status: 422,
      errors: [{ path: 'requires.labels', message: expect.stringMatching(/keys are .*, got "a b"$/) as string }],
    });
    expect(
      await json<Problem>(post('/v1/runs', { spec: pretrain, requires: { labels: { gpu: 'a b' } } })),
    ).toMatchObject({ status: 422, errors: [{ path: 'requires.labels.gpu' }] });
  });

  test('a sweep names the parameter and the value', async () => {
    const response = await post('/v1/sweeps', {
      spec: {
        name: 's',
        stages: { p: pretrain },
        parameters: { 'p.temperature': { values: [0.1, 99] }, 'q.x': { value: 1 } },
      },
    });
    expect((await json<Problem>(response)).errors).toEqual([
      { path: 'spec.parameters.q.x', message: 'expected <stage>.<field> with a stage of p' },
    ]);
    const second = await post('/v1/sweeps', {
      spec: { name: 's', stages: { p: pretrain }, parameters: { 'p.temperature': { values: [0.1, 99] } } },
    });
    expect((await json<Problem>(second)).errors![0]).toMatchObject({
      path: 'spec.parameters.p.temperature',
      message: expect.stringContaining('(trial 1: 99)') as string,
    });
  });
});

test('submit, plan, reuse, repeat by key, cancel, retry', async () => {
  const spec = { ...pretrain, seed: 77 };
  expect(await json(post('/v1/runs?validate_only=true', { spec }))).toMatchObject({
    newRuns: { pretrain: 1 },
    reused: {},
  });
  const key = randomUUID();
  const first = await post('/v1/runs', { spec }, { 'idempotency-key': key });
  expect(first.status).toBe(201);
  const run = await json<RunView & { spec: { dataset: string; epochs: number } }>(first);
  expect(first.headers.get('location')).toBe(`/v1/runs/${run.id}`);
  expect(run).toMatchObject({ status: 'queued', spec: { dataset: 'shapes@dddddddddddd', epochs: 8 } });
  const repeated = await post('/v1/runs', { spec }, { 'idempotency-key': key });
  expect([repeated.status, (await json<RunView>(repeated)).id]).toEqual([200, run.id]);
  expect((await post('/v1/runs', { spec: { ...spec, seed: 78 } }, { 'idempotency-key': key })).status).toBe(409);
  expect((await submit(spec)).id).toBe(run.id);
  expect((await submit(spec, { onDuplicate: 'replicate' })).id).not.toBe(run.id);
  expect(await json(fetch(`${url}/v1/runs/${run.id}/cancel`, { method: 'POST' }))).toMatchObject({
    status: 'cancelled',
    statusReason: 'user_cancel',
  });
  expect(await json(fetch(`${url}/v1/runs/${run.id}/retry`, { method: 'POST' }))).toMatchObject({ status: 'queued' });
  const again = await fetch(`${url}/v1/runs/${run.id}/retry`, { method: 'POST' });
  expect([again.status, (await json<Problem>(again)).code]).toEqual([409, 'invalid_state']);
});

test('pages hold every run once, in order, whatever comes in between', async () => {
  for (let n = 0; n < 7; n++) await submit({ ...pretrain, seed: 1000 + n }, { tags: ['paged'], name: `n${n}` });
  const names: (string | null)[] = [];
  let cursor: string | null = null;
  do {
    const page: { items: RunView[]; nextCursor: string | null } = await json(
      fetch(`${url}/v1/runs?tag=paged&limit=3${cursor ? `&cursor=${cursor}` : ''}`),
    );
    names.push(...page.items.map(({ name }) => name));
    cursor = page.nextCursor;
    await submit({ ...pretrain, seed: 2000 + names.length }, { tags: ['paged'] });
  } while (cursor);
  expect(names).toEqual(['n6', 'n5', 'n4', 'n3', 'n2', 'n1', 'n0']);
  expect(
    (await json<{ items: RunView[] }>(fetch(`${url}/v1/runs?name=N3&status=queued,running&kind=pretrain`))).items,
  ).toHaveLength(1);
});

test('a run that has not changed answers 304', async () => {
  const { id } = await submit({ ...pretrain, seed: 3 });
  const etag = (await fetch(`${url}/v1/runs/${id}`)).headers.get('etag')!;
  expect((await fetch(`${url}/v1/runs/${id}`, { headers: { 'if-none-match': etag } })).status).toBe(304);
  await platform.requests.cancel(id);
  expect((await fetch(`${url}/v1/runs/${id}`, { headers: { 'if-none-match': etag } })).status).toBe(200);
});

test('a stream tells everything once, goes on after the last message, and ends with the run', async () => {
  const { id } = await submit({ ...pretrain, seed: 4 });
  const token = (await platform.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  await platform.recorder.record(token, {
    points: [{ key: 'loss', step: 1, value: 2 }],
    lines: [{ level: 'info', message: 'one' }],
  });
  const read = async (response: Response, until: string) => {
    let text = '';
    const decoder = new TextDecoder();
    for await (const chunk of response.body!) {
      text += decoder.decode(chunk as Uint8Array, { stream: true });
      if (text.includes(until)) break;
    }
    return text;
  };
  const first = await read(await fetch(`${url}/v1/runs/${id}/stream`), '"message":"one"');
  expect(first).toContain('"key":"loss"');
  const position = [...first.matchAll(/^id: (.*)$/gm)].at(-1)![1]!;
  const second = fetch(`${url}/v1/runs/${id}/stream`, { headers: { 'last-event-id': position } });
  await platform.recorder.record(token, {
    points: [{ key: 'loss', step: 2, value: 1 }],
    lines: [{ level: 'info', message: 'two' }],
  });
  await platform.leases.succeed(token, { metrics: { loss: 1 } });
  const rest = await (await second).text();
  expect(rest).not.toContain('"message":"one"');
  expect(rest).not.toContain('"step":1,');
  expect(rest).toContain('"message":"two"');
  expect(rest).toContain('"status":"succeeded"');
});

test('a program beside the worker records metrics of the attempt that runs, and of no other', async () => {
  const { id } = await submit({ ...pretrain, seed: 4242 });
  const record = (attempt: number, ...points: object[]) => post(`/v1/runs/${id}/metrics`, { attempt, points });
  const lossOf = async () =>
    (
      await json<{ items: { key: string; points: { step: number; value: number }[] }[] }>(
        fetch(`${url}/v1/runs/${id}/metrics?key=power`),
      )
    ).items[0]?.points.map(({ step, value }) => [step, value]);
  const watts = [
    { key: 'power', step: 0, value: 210 },
    { key: 'power', step: 5, value: 250.5 },
  ];
  // Nobody has begun.
  expect((await record(1, ...watts)).status).toBe(409);
  const token = (await platform.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  await platform.recorder.begin(token, null, 4711);
  for (let i = 0; i < 2; i++) expect(await json(record(1, ...watts))).toEqual({ points: 2 });
  expect(await lossOf()).toEqual([
    [0, 210],
    [5, 250.5],
  ]);
  expect((await json<{ metrics: object }>(fetch(`${url}/v1/runs/${id}`))).metrics).toEqual({ power: 250.5 });
  const another = await record(2, { key: 'power', step: 9, value: 1 });
  expect([another.status, (await json<Problem>(another)).detail]).toEqual([
    409,
    expect.stringContaining('got attempt 2'),
  ]);
  for (const point of [
    { key: 'a>b', step: 1, value: 1 },
    { key: 'power', step: -1, value: 1 },
    { key: 'power', step: 1, value: 'NaN' },
  ])
    expect((await record(1, ...watts, point)).status).toBe(422);
  await platform.leases.succeed(token, { metrics: { loss: 1 } });
  expect((await record(1, { key: 'power', step: 9, value: 1 })).status).toBe(409);
  expect(await lossOf()).toEqual([
    [0, 210],
    [5, 250.5],
  ]);
  expect((await post(`/v1/runs/${randomUUID()}/metrics`, { attempt: 1, points: watts })).status).toBe(404);
});

test('a sweep is planned, changed, paused, resumed, cloned and cancelled; a run says why it is no other', async () => {
  const client = new LoomClient({ url });
  const stage = { ...pretrain, kind: 'pretrain' as const, seed: 7777 };
  const spec = {
    name: 'live',
    parallel_trials: 1,
    stages: { p: stage },
    parameters: { 'p.temperature': { values: [0.1, 0.2, 0.3] } },
  };
  expect(await client.planSweep({ spec })).toMatchObject({
    trials: 3,
    newRuns: { pretrain: 3 },
    estimate: { slots: 0, wallSeconds: null },
  });
  const { sweep } = await client.submitSweep({ spec });
  expect(await client.sweep(sweep.id)).toMatchObject({
    status: 'running',
    trialCounts: { running: 1, held: 2 },
    gpuSeconds: 0,
    haltReason: null,
  });
  expect((await client.pauseSweep(sweep.id)).status).toBe('paused');
  expect((await client.changeSweep(sweep.id, { parallel_trials: 2 })).spec.parallel_trials).toBe(2);
  await expect(client.changeSweep(sweep.id, { parallel_trials: 0 })).rejects.toThrow(
    /parallel_trials: expected number to be >=1, got 0/,
  );
  expect((await client.resumeSweep(sweep.id)).status).toBe('running');
  await expect
    .poll(async () => (await client.sweep(sweep.id)).trialCounts, { timeout: 10_000 })
    .toEqual({ running: 2, held: 1 });
  expect(await client.retrySweep(sweep.id)).toEqual({ done: 0, skipped: {} });
  const clone = await client.cloneSweep(sweep.id, {
    name: 'twin',
    parameters: { 'p.temperature': { values: [0.1, 0.4] } },
  });
  expect(clone).toMatchObject({
    created: true,
    sweep: { name: 'twin', plan: { newRuns: { pretrain: 1 }, reused: { pretrain: 1 } } },
  });
  await expect(client.cloneSweep(sweep.id, { method: 'dance' })).rejects.toThrow(/changes\.method/);
  const [one, two] = (await client.sweep(sweep.id)).trials.flatMap(({ runs }) => runs.map(({ runId }) => runId));
  expect(await client.why(one!, two)).toMatchObject({
    reused: false,
    differences: [{ field: 'temperature', here: 0.1, there: 0.2 }],
  });
  expect(await client.whySubmission({ spec: { ...stage, temperature: 0.2 } })).toMatchObject({
    against: two,
    reused: true,
  });
  expect((await client.sweepCsv(sweep.id)).split('\r\n')[0]).toBe('trial,status,p.temperature,p:run,p:reused,p:status');
  expect((await fetch(`${url}/v1/sweeps/${sweep.id}/trials.csv`)).headers.get('content-type')).toBe(
    'text/csv; charset=utf-8',
  );
  const exported = async (file: Parameters<LoomClient['exportSweep']>[1]) =>
    Buffer.from(await new Response(await client.exportSweep(sweep.id, file)).arrayBuffer());
  expect(JSON.parse((await exported('trials.json')).toString())).toMatchObject([
    { trial: 0, 'p.temperature': 0.1, 'p:run': one },
    { trial: 1, 'p:run': two },
    { trial: 2, status: 'held' },
  ]);
  const rows: Record<string, unknown>[] = await parquetReadObjects({
    file: new Uint8Array(await exported('trials.parquet')).buffer,
  });
  expect(rows.map((row) => row['p.temperature'])).toEqual([0.1, 0.2, 0.3]);
  const files = new Map<string, string>();
  for await (const entry of Readable.from([await exported('mlflow.tar')]).pipe(extract()))
    files.set(entry.header.name, await text(entry));
  expect([...files.keys()].filter((name) => name.endsWith('/meta.yaml'))).toHaveLength(1 + 3 + 2);
  expect([...files].find(([name]) => name.endsWith(`${one!.replaceAll('-', '')}/params/temperature`))?.[1]).toBe('0.1');
  for (const file of ['trials.csv', 'trials.json', 'trials.parquet', 'mlflow.tar'] as const)
    await expect(client.exportSweep(one!, file)).rejects.toMatchObject({ code: 'not_found' });
  for (const id of [sweep.id, clone.sweep.id]) await client.cancelSweep(id);
  expect((await client.sweep(sweep.id)).status).toBe('cancelled');
});

test('an editor finds the schemas of files', async () => {
  for (const name of ['sweep', 'run', 'run.json']) {
    const response = await fetch(`${url}/schemas/${name}`);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'application/schema+json; charset=utf-8',
    ]);
    expect(await response.json()).toMatchObject({
      $schema: 'http://json-schema.org/draft-07/schema#',
      title: expect.stringMatching(name === 'sweep' ? /sweep/ : /run/) as string,
    });
  }
  expect((await fetch(`${url}/schemas/..%2fpackage.json`)).status).toBe(404);
});

test('a file comes with its sha256, whole or in part', async () => {
  const { id } = await submit({ ...pretrain, seed: 5 });
  const token = (await platform.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  const sha256 = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';
  await mkdir(path.join(dir, 'sha256', '2c'), { recursive: true });
  await writeFile(path.join(dir, 'sha256', '2c', sha256), 'hello');
  await platform.recorder.addArtifact(token, {
    name: 'a "b".txt',
    kind: 'report',
    mime: 'text/plain',
    sha256,
    sizeBytes: 5,
    step: null,
  });
  const {
    items: [artifact],
  } = await json<{ items: { id: string }[] }>(fetch(`${url}/v1/runs/${id}/artifacts`));
  const content = `${url}/v1/runs/${id}/artifacts/${artifact!.id}/content`;
  const whole = await fetch(content);
  expect([
    await whole.text(),
    whole.headers.get('etag'),
    whole.headers.get('content-disposition'),
    whole.headers.get('x-content-type-options'),
  ]).toEqual(['hello', `"${sha256}"`, 'attachment; filename="a__b_.txt"', 'nosniff']);
  const part = await fetch(content, { headers: { range: 'bytes=1-3' } });
  expect([part.status, await part.text(), part.headers.get('content-range')]).toEqual([206, 'ell', 'bytes 1-3/5']);
  expect((await fetch(content, { headers: { range: 'bytes=9-' } })).status).toBe(416);
});

test('runs are listed in either order and by parent, and counted by status', async () => {
  const parent = await submit({ ...pretrain, seed: 31 });
  const children = [
    await submit({ kind: 'finetune', dataset: pretrain.dataset, from: parent.id, seed: 1 }),
    await submit({ kind: 'finetune', dataset: pretrain.dataset, from: parent.id, seed: 2 }),
  ].map(({ id }) => id);
  const ids = async (query: string) =>
    (await json<{ items: { id: string }[] }>(fetch(`${url}/v1/runs?${query}`))).items.map(({ id }) => id);
  expect(await ids(`parent=${parent.id}&sort=createdAt`)).toEqual(children);
  expect(await ids(`parent=${parent.id}`)).toEqual(children.toReversed());
  // A cursor goes on in its order.
  const { nextCursor } = await json<{ nextCursor: string }>(
    fetch(`${url}/v1/runs?parent=${parent.id}&sort=createdAt&limit=1`),
  );
  expect(await ids(`parent=${parent.id}&sort=createdAt&limit=1&cursor=${nextCursor}`)).toEqual([children[1]]);
  expect(await json(fetch(`${url}/v1/runs/counts?parent=${parent.id}`))).toEqual({ counts: { pending: 2 } });
  await fetch(`${url}/v1/runs/${parent.id}/cancel`, { method: 'POST' });
});

test('projects are made, changed and listed; runs and sweeps are submitted to them, and to no other', async () => {
  const api = new LoomClient({ url, retries: 0 });
  expect(await api.putProject('vision', { weight: 2.5, maxRunning: 4 })).toMatchObject({
    name: 'vision',
    weight: 2.5,
    maxRunning: 4,
    gpuSeconds: null,
    running: 0,
    waiting: 0,
    gpuSecondsUsed: 0,
  });
  await expect(api.putProject('vision', { weight: 0 })).rejects.toMatchObject({
    status: 422,
    problem: { errors: [{ path: 'weight' }] },
  });
  await expect(api.putProject('no/name', {})).rejects.toMatchObject({ status: 422 });
  const { run } = await api.submitRun({ project: 'vision', spec: { ...pretrain, seed: 71 } as never });
  expect(run).toMatchObject({ project: 'vision', status: 'queued', waitsFor: 'slot' });
  expect(run.jobsAhead).toBeGreaterThanOrEqual(0);
  expect((await api.runs({ project: 'vision' })).items.map(({ id }) => id)).toEqual([run.id]);
  expect((await api.projects()).map(({ name, waiting }) => [name, waiting])).toContainEqual(['vision', 1]);
  const refused = await post('/v1/runs', { spec: { ...pretrain, seed: 72 }, project: 'nobody' });
  expect([refused.status, (await json<Problem>(refused)).errors]).toEqual([
    422,
    [{ path: 'project', message: expect.stringMatching(/\(default, vision\), got nobody/) as string }],
  ]);
  const etag = async () => (await fetch(`${url}/v1/runs/${run.id}`)).headers.get('etag');
  expect(await etag()).toBe(await etag());
  expect((await api.cancelRun(run.id)).waitsFor).toBeNull();
  expect(await (await fetch(`${url}/metrics`)).text()).toMatch(
    /loom_project_runs\{project="vision",state="waiting"\} 0/,
  );
});

test('operations: health, readiness, Prometheus', async () => {
  expect((await fetch(`${url}/healthz`)).status).toBe(200);
  expect(await json(fetch(`${url}/readyz`))).toEqual({ postgres: true, redis: true });
  expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/loom_runs\{status="succeeded"\} \d/);
});

test('openapi.json says what is so', async () => {
  const committed = await readFile(path.resolve(import.meta.dirname, '..', '..', 'openapi.json'), 'utf8');
  expect(JSON.parse(JSON.stringify(describeApi(app))), 'run `npm run openapi` and commit openapi.json').toEqual(
    JSON.parse(committed),
  );
  expect((await fetch(`${url}/openapi.json`)).status).toBe(200);
});
