/** The HTTP contract, against a real Postgres and Redis: files, schemas, operations, the OpenAPI document. */
import { mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeApi } from '../../apps/api/src/api-document.js';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 30_000);
afterAll(() => api.stop());

/** By this process, in which the API is, from its start. */
const bytesRead = async () => Number(/^rchar: (\d+)/m.exec(await readFile('/proc/self/io', 'utf8'))![1]);

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

  const ask = (headers: Record<string, string>, method = 'GET') => fetch(content, { method, headers });
  for (const known of [`"${sha256}"`, `W/"${sha256}"`, `"other", W/"${sha256}"`, '*'])
    expect([known, (await ask({ 'if-none-match': known })).status]).toEqual([known, 304]);
  expect((await ask({ 'if-none-match': '"other"' })).status).toBe(200);
  const range = 'bytes=1-3';
  expect((await ask({ range, 'if-range': `"${sha256}"` })).status).toBe(206);
  // A part of another file is no part of this one; a weak tag says nothing of bytes.
  for (const other of ['"other"', `W/"${sha256}"`, 'Wed, 21 Oct 2015 07:28:00 GMT'])
    expect([other, (await ask({ range, 'if-range': other })).status]).toEqual([other, 200]);
});

test('HEAD says how long a file is and does not read it', async () => {
  const { id } = await api.submit({ ...pretrain, seed: 6 });
  const token = (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  const sha256 = 'ab'.repeat(32);
  const file = path.join(api.dir, 'sha256', 'ab', sha256);
  await mkdir(path.dirname(file), { recursive: true });
  // Of no byte that the digest is of: whoever reads it finds that out.
  const sizeBytes = 2 ** 36;
  await (await open(file, 'w')).close();
  await truncate(file, sizeBytes);
  const about = { name: 'm.bin', kind: 'report', mime: 'application/octet-stream', step: null } as const;
  await api.runs.recorder.addArtifact(token, { ...about, sha256, sizeBytes });
  const { items } = await json<{ items: { id: string }[] }>(fetch(`${api.url}/v1/runs/${id}/artifacts`));
  const before = await bytesRead();
  const head = await fetch(`${api.url}/v1/runs/${id}/artifacts/${items[0]!.id}/content`, { method: 'HEAD' });
  expect([head.status, head.headers.get('content-length'), head.headers.get('etag')]).toEqual([
    200,
    String(sizeBytes),
    `"${sha256}"`,
  ]);
  expect((await bytesRead()) - before).toBeLessThan(50_000_000);
  const stream = await fetch(`${api.url}/v1/runs/${id}/stream`, {
    method: 'HEAD',
    signal: AbortSignal.timeout(5000),
  });
  expect([stream.status, stream.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
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
