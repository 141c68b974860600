/** The HTTP contract, against a real Postgres and Redis: files, schemas, operations, the OpenAPI document. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeApi } from '../../apps/api/src/api-document.js';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 30_000);
afterAll(() => api.stop());

test('an editor finds the schemas of files', async () => {
  for (const name of ['sweep', 'run', 'run.json']) {
    const response = await fetch(`${api.url}/schemas/${name}`);
    expect([response.status, response.headers.get('content-type')]).toEqual([
      200,
      'application/schema+json; charset=utf-8',
    ]);
    expect(await response.json()).toMatchObject({
      $schema: 'http://json-schema.org/draft-07/schema#',
      title: expect.stringMatching(name === 'sweep' ? /sweep/ : /run/) as string,
    });
  }
  expect((await fetch(`${api.url}/schemas/..%2fpackage.json`)).status).toBe(404);
});

test('a file comes with its sha256, whole or in part', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 5 });
  const token = (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  const sha256 = '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824';
  await mkdir(path.join(api.dir, 'sha256', '2c'), { recursive: true });
  await writeFile(path.join(api.dir, 'sha256', '2c', sha256), 'hello');
  await api.runs.recorder.addArtifact(token, {
    name: 'a "b".txt',
    kind: 'report',
    mime: 'text/plain',
    sha256,
    sizeBytes: 5,
    step: null,
  });
  const {
    items: [artifact],
  } = await json<{ items: { id: string }[] }>(fetch(`${api.url}/v1/runs/${id}/artifacts`));
  const content = `${api.url}/v1/runs/${id}/artifacts/${artifact!.id}/content`;
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

test('operations: health, readiness, Prometheus', async () => {
  expect((await fetch(`${api.url}/healthz`)).status).toBe(200);
  expect(await json(fetch(`${api.url}/readyz`))).toEqual({ postgres: true, redis: true });
  expect(await (await fetch(`${api.url}/metrics`)).text()).toMatch(/loom_runs\{status="succeeded"\} \d/);
});

test('openapi.json says what is so', async () => {
  const committed = await readFile(path.resolve(import.meta.dirname, '..', '..', 'openapi.json'), 'utf8');
  expect(JSON.parse(JSON.stringify(describeApi(api.app))), 'run `npm run openapi` and commit openapi.json').toEqual(
    JSON.parse(committed),
  );
  expect((await fetch(`${api.url}/openapi.json`)).status).toBe(200);
});
