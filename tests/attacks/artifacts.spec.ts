/** Files of the store that somebody changed on disk, asked for over HTTP. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 60_000);
afterAll(() => api.stop());

const sha256Of = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

/** A run's file of these bytes. Where it lies in the store, and where it is served. */
async function stored(bytes: Buffer, seed: number): Promise<{ file: string; url: string }> {
  const { id } = await api.submit({ ...pretrain, seed });
  const token = (await api.runs.claims.claim({ runId: id, attempt: 1 }, 'w'))!;
  const sha256 = sha256Of(bytes);
  const file = path.join(api.dir, 'sha256', sha256.slice(0, 2), sha256);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, bytes);
  const about = { name: 'model.bin', kind: 'report', mime: 'application/octet-stream', step: null } as const;
  await api.runs.recorder.addArtifact(token, { ...about, sha256, sizeBytes: bytes.length });
  const { items } = await json<{ items: { id: string }[] }>(fetch(`${api.url}/v1/runs/${id}/artifacts`));
  return { file, url: `${api.url}/v1/runs/${id}/artifacts/${items[0]!.id}/content` };
}

test('a small file that was changed on disk is a fault of the server and names no digest', async () => {
  const { file, url } = await stored(Buffer.from('genuine'), 11);
  await writeFile(file, 'forgery');
  const response = await fetch(url);
  expect(response.status).toBe(500);
  for (const name of ['etag', 'content-digest', 'repr-digest', 'cache-control'])
    expect([name, response.headers.get(name)]).toEqual([name, null]);
  expect(await response.text()).not.toContain('forgery');
});

test('a large file that was changed on disk never arrives whole', async () => {
  const bytes = randomBytes(3_000_000);
  const { file, url } = await stored(bytes, 12);
  expect(sha256Of(Buffer.from(await (await fetch(url)).arrayBuffer()))).toBe(sha256Of(bytes));
  bytes[7]! ^= 1;
  await writeFile(file, bytes);
  await expect(fetch(url).then((response) => response.arrayBuffer())).rejects.toThrow();
  expect((await fetch(`${api.url}/healthz`)).status).toBe(200);
});

test('a part has a digest of the whole only where the whole was read as it lies there', async () => {
  const { file, url } = await stored(Buffer.from('a part of it'), 13);
  const part = () => fetch(url, { headers: { range: 'bytes=2-5' } });
  expect((await part()).headers.get('repr-digest')).toBeNull();
  await (await fetch(url)).text();
  const known = await part();
  expect([known.status, await known.text(), known.headers.get('content-digest')]).toEqual([206, 'part', null]);
  expect(known.headers.get('repr-digest')).toMatch(/^sha-256=:/);
  await writeFile(file, 'a fort of it');
  expect((await part()).headers.get('repr-digest')).toBeNull();
});
