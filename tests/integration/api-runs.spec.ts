/** The HTTP contract, against a real Postgres and Redis: runs, their pages, streams and metrics. */
import type { Problem } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api, type RunView } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 30_000);
afterAll(() => api.stop());

test('submit, plan, reuse, repeat by key, cancel, retry', async () => {
  const spec = { ...pretrain, seed: 77 };
  expect(await json(api.post('/v1/runs?validate_only=true', { spec }))).toMatchObject({
    newRuns: { pretrain: 1 },
    reused: {},
  });
  const key = randomUUID();
  const first = await api.post('/v1/runs', { spec }, { 'idempotency-key': key });
  expect(first.status).toBe(201);
  const run = await json<RunView & { spec: { dataset: string; epochs: number } }>(first);
  expect(first.headers.get('location')).toBe(`/v1/runs/${run.id}`);
  expect(run).toMatchObject({ status: 'queued', spec: { dataset: 'shapes@dddddddddddd', epochs: 8 } });
  const repeated = await api.post('/v1/runs', { spec }, { 'idempotency-key': key });
  expect([repeated.status, (await json<RunView>(repeated)).id]).toEqual([200, run.id]);
  expect((await api.post('/v1/runs', { spec: { ...spec, seed: 78 } }, { 'idempotency-key': key })).status).toBe(422);
  expect((await api.submit(spec)).id).toBe(run.id);
  expect((await api.submit(spec, { onDuplicate: 'replicate' })).id).not.toBe(run.id);
  expect(await json(fetch(`${api.url}/v1/runs/${run.id}/cancel`, { method: 'POST' }))).toMatchObject({
    status: 'cancelled',
    statusReason: 'user_cancel',
  });
  expect(await json(fetch(`${api.url}/v1/runs/${run.id}/retry`, { method: 'POST' }))).toMatchObject({
    status: 'queued',
  });
  const again = await fetch(`${api.url}/v1/runs/${run.id}/retry`, { method: 'POST' });
  expect([again.status, (await json<Problem>(again)).code]).toEqual([409, 'invalid_state']);
});

test('pages hold every run once, in order, whatever comes in between', async () => {
  for (let n = 0; n < 7; n++) await api.submit({ ...pretrain, seed: 1000 + n }, { tags: ['paged'], name: `n${n}` });
  const names: (string | null)[] = [];
  let cursor: string | null = null;
  do {
    const page: { items: RunView[]; nextCursor: string | null } = await json(
      fetch(`${api.url}/v1/runs?tag=paged&limit=3${cursor ? `&cursor=${cursor}` : ''}`),
    );
    names.push(...page.items.map(({ name }) => name));
    cursor = page.nextCursor;
    await api.submit({ ...pretrain, seed: 2000 + names.length }, { tags: ['paged'] });
  } while (cursor);
  expect(names).toEqual(['n6', 'n5', 'n4', 'n3', 'n2', 'n1', 'n0']);
  expect(
    (await json<{ items: RunView[] }>(fetch(`${api.url}/v1/runs?name=N3&status=queued,running&kind=pretrain`))).items,
  ).toHaveLength(1);
});

test('a run that has not changed answers 304', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 3 });
  const etag = (await fetch(`${api.url}/v1/runs/${id}`)).headers.get('etag')!;
  expect((await fetch(`${api.url}/v1/runs/${id}`, { headers: { 'if-none-match': etag } })).status).toBe(304);
  await api.runs.requests.cancel(id);
  expect((await fetch(`${api.url}/v1/runs/${id}`, { headers: { 'if-none-match': etag } })).status).toBe(200);
});

test('a stream tells everything once, goes on after the last message, and ends with the run', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 4 });
  const token = (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  await api.runs.recorder.record(token, {
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
  const first = await read(await fetch(`${api.url}/v1/runs/${id}/stream`), '"message":"one"');
  expect(first).toContain('"key":"loss"');
  const position = [...first.matchAll(/^id: (.*)$/gm)].at(-1)![1]!;
  const second = fetch(`${api.url}/v1/runs/${id}/stream`, { headers: { 'last-event-id': position } });
  await api.runs.recorder.record(token, {
    points: [{ key: 'loss', step: 2, value: 1 }],
    lines: [{ level: 'info', message: 'two' }],
  });
  await api.runs.leases.succeed(token, { metrics: { loss: 1 } });
  const rest = await (await second).text();
  expect(rest).not.toContain('"message":"one"');
  expect(rest).not.toContain('"step":1,');
  expect(rest).toContain('"message":"two"');
  expect(rest).toContain('"status":"succeeded"');
});

test('a program beside the worker records metrics of the attempt that runs, and of no other', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 4242 });
  const record = (attempt: number, ...points: object[]) => api.post(`/v1/runs/${id}/metrics`, { attempt, points });
  const lossOf = async () =>
    (
      await json<{ items: { key: string; points: { step: number; value: number }[] }[] }>(
        fetch(`${api.url}/v1/runs/${id}/metrics?key=power`),
      )
    ).items[0]?.points.map(({ step, value }) => [step, value]);
  const watts = [
    { key: 'power', step: 0, value: 210 },
    { key: 'power', step: 5, value: 250.5 },
  ];
  // Nobody has begun.
  expect((await record(1, ...watts)).status).toBe(409);
  const token = (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  await api.runs.recorder.begin(token, null, 4711);
  for (let i = 0; i < 2; i++) expect(await json(record(1, ...watts))).toEqual({ points: 2 });
  expect(await lossOf()).toEqual([
    [0, 210],
    [5, 250.5],
  ]);
  expect((await json<{ metrics: object }>(fetch(`${api.url}/v1/runs/${id}`))).metrics).toEqual({ power: 250.5 });
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
  await api.runs.leases.succeed(token, { metrics: { loss: 1 } });
  expect((await record(1, { key: 'power', step: 9, value: 1 })).status).toBe(409);
  expect(await lossOf()).toEqual([
    [0, 210],
    [5, 250.5],
  ]);
  expect((await api.post(`/v1/runs/${randomUUID()}/metrics`, { attempt: 1, points: watts })).status).toBe(404);
});

test('what was recorded before the trainer of an attempt began stays when it begins', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 4243 });
  const token = (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  const points = [0, 3].map((step) => ({ key: 'power', step, value: 200 + step }));
  expect((await api.post(`/v1/runs/${id}/metrics`, { attempt: 1, points })).status).toBe(200);
  await api.runs.recorder.begin(token, null, 4711);
  const told = await json<{ items: { points: { step: number; value: number }[] }[] }>(
    fetch(`${api.url}/v1/runs/${id}/metrics?key=power`),
  );
  expect(told.items[0]?.points.map(({ step, value }) => [step, value])).toEqual([
    [0, 200],
    [3, 203],
  ]);
  expect((await json<{ metrics: object }>(fetch(`${api.url}/v1/runs/${id}`))).metrics).toEqual({ power: 203 });
});

test('runs are listed in either order and by parent, and counted by status', async () => {
  const parent = await api.submit({ ...pretrain, seed: 31 });
  const children = [
    await api.submit({ kind: 'finetune', dataset: pretrain.dataset, from: parent.id, seed: 1 }),
    await api.submit({ kind: 'finetune', dataset: pretrain.dataset, from: parent.id, seed: 2 }),
  ].map(({ id }) => id);
  const ids = async (query: string) =>
    (await json<{ items: { id: string }[] }>(fetch(`${api.url}/v1/runs?${query}`))).items.map(({ id }) => id);
  expect(await ids(`parent=${parent.id}&sort=createdAt`)).toEqual(children);
  expect(await ids(`parent=${parent.id}`)).toEqual(children.toReversed());
  // A cursor goes on in its order.
  const { nextCursor } = await json<{ nextCursor: string }>(
    fetch(`${api.url}/v1/runs?parent=${parent.id}&sort=createdAt&limit=1`),
  );
  expect(await ids(`parent=${parent.id}&sort=createdAt&limit=1&cursor=${nextCursor}`)).toEqual([children[1]]);
  expect(await json(fetch(`${api.url}/v1/runs/counts?parent=${parent.id}`))).toEqual({ counts: { pending: 2 } });
  await fetch(`${api.url}/v1/runs/${parent.id}/cancel`, { method: 'POST' });
});
