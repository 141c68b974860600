/** The HTTP contract, against a real Postgres and Redis: what bad input gets. */
import type { Problem } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 30_000);
afterAll(() => api.stop());

const countRuns = async () => (await json<{ items: unknown[] }>(fetch(`${api.url}/v1/runs?limit=500`))).items.length;

describe('bad input gets its field, what was expected and what came, and nothing is queued', () => {
  test.each<[string, object, string, RegExp]>([
    ['an unknown key', { ...pretrain, epoch: 3 }, 'spec.epoch', /unknown/],
    ['a wrong type', { ...pretrain, epochs: 'many' }, 'spec.epochs', /expected a number, got "many"/],
    ['a number out of range', { ...pretrain, temperature: -1 }, 'spec.temperature', /^expected at least 0\.01, got -1/],
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
      'a parent that is no id',
      { kind: 'finetune', dataset: 'shapes', from: 'pp' },
      'spec.from',
      /^expected the id of a run, or `model` with its name, got "pp"$/,
    ],
    ['a teacher that is no id', { kind: 'distill', dataset: 'shapes', from: 'pp' }, 'spec.from', /^expected the id of/],
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
    const response = await api.post('/v1/runs', { spec });
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
    [
      'a name that JavaScript has for itself',
      () => api.post('/v1/runs', '{"spec":{"kind":"pretrain","dataset":"shapes","__proto__":{"epochs":3}}}'),
      400,
      'invalid_request',
    ],
    ['text that is no JSON', () => api.post('/v1/runs', '{"spec":'), 400, 'invalid_request'],
    ['no body', () => fetch(`${api.url}/v1/runs`, { method: 'POST' }), 422, 'invalid_request'],
    ['a list', () => api.post('/v1/runs', []), 422, 'invalid_request'],
    [
      'another content type',
      () => api.post('/v1/runs', 'spec=1', { 'content-type': 'application/x-www-form-urlencoded' }),
      415,
      'unsupported_media_type',
    ],
    ['three megabytes', () => api.post('/v1/runs', { spec: 'x'.repeat(3e6) }), 413, 'payload_too_large'],
    ['an id that is none', () => fetch(`${api.url}/v1/runs/17`), 422, 'invalid_request'],
    ['an unknown run', () => fetch(`${api.url}/v1/runs/${randomUUID()}`), 404, 'not_found'],
    [
      'an unknown sweep',
      () => fetch(`${api.url}/v1/sweeps/${randomUUID()}/cancel`, { method: 'POST' }),
      404,
      'not_found',
    ],
    ['an unknown route', () => fetch(`${api.url}/v2/runs`), 404, 'not_found'],
    ['an unknown filter', () => fetch(`${api.url}/v1/runs?colour=red`), 422, 'invalid_request'],
    ['an unknown status', () => fetch(`${api.url}/v1/runs?status=happy`), 422, 'invalid_request'],
    ['a cursor that is none', () => fetch(`${api.url}/v1/runs?cursor=abc`), 422, 'invalid_request'],
    [
      'a stream from a place that is none',
      async () =>
        fetch(`${api.url}/v1/runs/${(await api.submit(pretrain)).id}/stream`, { headers: { 'last-event-id': 'x' } }),
      422,
      'invalid_request',
    ],
    [
      'a key with spaces',
      () => api.post('/v1/runs', { spec: pretrain }, { 'idempotency-key': 'a b' }),
      422,
      'invalid_request',
    ],
    [
      'an unknown bulk action',
      () => api.post('/v1/runs/bulk', { action: 'dance', filter: {} }),
      422,
      'invalid_request',
    ],
    [
      'a bulk action that says not on what',
      () => api.post('/v1/runs/bulk', { action: 'cancel' }),
      422,
      'invalid_request',
    ],
    [
      'a bulk action by an unknown status',
      () => api.post('/v1/runs/bulk', { action: 'cancel', filter: { status: 'happy' } }),
      422,
      'invalid_request',
    ],
    [
      'a drain of an unknown worker',
      () => fetch(`${api.url}/v1/workers/nobody/drain`, { method: 'POST' }),
      404,
      'not_found',
    ],
    [
      'a pause of an unknown run',
      () => fetch(`${api.url}/v1/runs/${randomUUID()}/pause`, { method: 'POST' }),
      404,
      'not_found',
    ],
    [
      'a page of another origin',
      () => api.post('/v1/runs', { spec: pretrain }, { origin: 'http://elsewhere.example' }),
      403,
      'forbidden',
    ],
  ])('%s', async (_, request, status, code) => {
    const response = await request();
    expect(response.status).toBe(status);
    expect(await json<Problem>(response)).toMatchObject({ status, code });
  });

  test('a filter that names no status at all names no run', async () => {
    await api.submit({ ...pretrain, seed: 808 });
    const body = { action: 'tag', filter: { status: [], kind: [], id: [] }, tags: { add: ['x'] } };
    for (const query of ['', '?validate_only=true'])
      expect(await json(api.post(`/v1/runs/bulk${query}`, body))).toEqual({ done: 0, skipped: {}, nextCursor: null });
  });

  test('a label that is none', async () => {
    const problem = await json<Problem>(api.post('/v1/runs', { spec: pretrain, requires: { labels: { 'a b': 'c' } } }));
    expect(problem).toMatchObject({
      status: 422,
      errors: [{ path: 'requires.labels', message: expect.stringMatching(/keys are .*, got "a b"$/) as string }],
    });
    expect(
      await json<Problem>(api.post('/v1/runs', { spec: pretrain, requires: { labels: { gpu: 'a b' } } })),
    ).toMatchObject({ status: 422, errors: [{ path: 'requires.labels.gpu' }] });
  });

  test('a sweep names the parameter and the value', async () => {
    const response = await api.post('/v1/sweeps', {
      spec: {
        name: 's',
        stages: { p: pretrain },
        parameters: { 'p.temperature': { values: [0.1, 99] }, 'q.x': { value: 1 } },
      },
    });
    expect((await json<Problem>(response)).errors).toEqual([
      { path: 'spec.parameters.q.x', message: 'expected <stage>.<field> with a stage of p' },
    ]);
    const second = await api.post('/v1/sweeps', {
      spec: { name: 's', stages: { p: pretrain }, parameters: { 'p.temperature': { values: [0.1, 99] } } },
    });
    expect((await json<Problem>(second)).errors![0]).toMatchObject({
      path: 'spec.parameters.p.temperature',
      message: expect.stringContaining('(trial 1: 99)') as string,
    });
  });

  test('a name as long as names may be is read as one, however it is written in an address', async () => {
    const reference = `${'d'.repeat(128)}@${'0'.repeat(64)}`;
    const encoded = [...reference].map((each) => `%${each.charCodeAt(0).toString(16)}`).join('');
    for (const each of [reference, encoded]) {
      const { status, detail } = await json<Problem>(fetch(`${api.url}/v1/datasets/${each}`));
      expect([status, detail]).toEqual([404, expect.stringContaining(reference)]);
    }
    const longer = await json<Problem>(fetch(`${api.url}/v1/datasets/${'d'.repeat(2000)}`));
    expect(longer).toMatchObject({ status: 414 });
  });
});
