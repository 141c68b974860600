/** Files that outside programs add to runs: over HTTP, on a real Postgres and a real store. */
import { LoomClient, type Artifact, type Problem } from '#libs/contracts';
import { createHash } from 'node:crypto';
import { readdir, readFile, rename } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';
import { eventually } from '../support/eventually.js';

const MIB = 2 ** 20;
let api: Api;
let client: LoomClient;
let run: string;
let seed = 100;
beforeAll(async () => {
  api = await startApi({ LOOM_LARGEST_UPLOAD_MIB: '1' });
  client = new LoomClient({ url: api.url, retries: 0 });
}, 30_000);
afterAll(() => api.stop());
beforeEach(async () => {
  run = (await api.submit({ ...pretrain, seed: seed++ })).id;
});

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');
type Body = string | Uint8Array<ArrayBuffer> | ReadableStream;
const put = (name: string, body: Body, headers: Record<string, string> = {}, query = '') => {
  const request: RequestInit & { duplex?: 'half' } = {
    method: 'PUT',
    body,
    headers: { 'content-type': 'application/octet-stream', ...headers },
    ...(body instanceof ReadableStream && { duplex: 'half' }),
  };
  return fetch(`${api.url}/v1/runs/${run}/artifacts/${name}${query}`, request);
};
const refused = async (answer: Promise<Response>) => {
  const response = await answer;
  return { status: response.status, detail: (await json<Problem>(response)).detail };
};
const files = async () => (await client.artifacts(run)).items;
/** Names of the files in the store, half-written ones too. */
const stored = async () =>
  (await readdir(api.dir, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && entry.name !== 'store-id')
    .map(({ name }) => name)
    .sort();

test('a file is there once, with its sha256, its media type and an event', async () => {
  const answer = await put('scores.csv', 'a,b\n1,2\n', {}, '?mime=text/csv');
  expect(answer.status).toBe(201);
  const added = await json<Artifact>(answer);
  expect(added).toMatchObject({
    runId: run,
    name: 'scores.csv',
    kind: 'attachment',
    mime: 'text/csv',
    sizeBytes: 8,
    sha256: sha256('a,b\n1,2\n'),
    step: null,
  });
  const again = await put('scores.csv', 'a,b\n1,2\n');
  expect([again.status, await again.json()]).toEqual([200, added]);
  expect(await client.addArtifact(run, 'scores.csv', new Blob(['a,b\n1,2\n']), { sha256: added.sha256 })).toEqual(
    added,
  );
  expect(await files()).toEqual([added]);
  const content = await fetch(`${api.url}/v1/runs/${run}/artifacts/${added.id}/content`);
  expect([await content.text(), content.headers.get('content-type')]).toEqual(['a,b\n1,2\n', 'text/csv']);
  const { items } = await client.events(run);
  expect(items.filter(({ type }) => type === 'artifact').map(({ data }) => data)).toEqual([
    { id: added.id, name: 'scores.csv', kind: 'attachment', step: null },
  ]);
});

test('of the same file at one moment there is one row', async () => {
  const answers = await Promise.all(Array.from({ length: 6 }, () => put('notes.md', 'the same')));
  expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 200, 201]);
  expect(await files()).toHaveLength(1);
});

test('another file of a name, names of trainers and what is no name are refused', async () => {
  await put('plot.svg', 'one');
  expect(await refused(put('plot.svg', 'two'))).toEqual({
    status: 409,
    detail: expect.stringMatching(/^expected a name of which the run has no other file, got plot\.svg/) as string,
  });
  const token = (await api.runs.claims.claim({ runId: run, attempt: 1 }, 'w'))!;
  const own = { name: 'own.json', kind: 'report', mime: 'application/json', sizeBytes: 1, step: null };
  await api.runs.recorder.addArtifact(token, { ...own, sha256: 'a'.repeat(64) });
  expect((await refused(put('own.json', 'x'))).status).toBe(409);
  const before = await stored();
  for (const name of ['classification.json', 'model-12.safetensors', 'reconstruction-0.wav', 'encoder.onnx'])
    expect([name, (await refused(put(name, 'x'))).status]).toEqual([name, 422]);
  for (const name of ['..%2f..%2fstore-id', '%2e%2e%2fx', '.hidden', 'a%00b', 'a%5cb'])
    expect([name, (await put(name, 'x')).status]).toEqual([name, 422]);
  expect((await put('a'.repeat(101), 'x')).status).toBeGreaterThanOrEqual(400);
  expect((await put('x', 'y', {}, '?mime=nonsense')).status).toBe(422);
  run = '019a0000-0000-7000-8000-000000000000';
  expect((await refused(put('x', 'y'))).status).toBe(404);
  expect(await stored()).toEqual(before);
});

test('every name that trainers give is one that others do not', async () => {
  const folder = path.resolve(import.meta.dirname, '../../libs/training/src');
  const sources = (await readdir(folder, { recursive: true })).filter((name) => /(?<!spec)\.ts$/.test(name));
  const texts = await Promise.all(sources.map((name) => readFile(path.join(folder, name), 'utf8')));
  const names = texts.flatMap((text) =>
    [...text.matchAll(/['`]([\w${}.-]+\.(json|png|webp|wav|npy|safetensors|onnx|bin))['`]/g)].map(([, name]) =>
      name!.replace(/^\$\{.*?\}/, 'sample').replace(/\$\{.*?\}/g, '1'),
    ),
  );
  expect(names.length).toBeGreaterThan(15);
  for (const name of names) expect([name, (await put(name, 'x')).status]).toEqual([name, 422]);
});

test('of a file that is refused nothing stays, however late that is known', async () => {
  await put('taken.txt', 'first');
  const before = await stored();
  // The name is taken; the bytes are others than was said.
  expect((await put('taken.txt', 'second')).status).toBe(409);
  const other = createHash('sha256').update('what was said').digest('base64');
  expect((await put('new.txt', 'what came', { 'content-digest': `sha-256=:${other}:` })).status).toBe(422);
  expect(await stored()).toEqual(before);
  // Of several files of one name at one moment the others are only refused when all have come.
  const texts = Array.from({ length: 6 }, (_, i) => `file ${i}`);
  const answers = await Promise.all(texts.map((text) => put('contested.txt', text)));
  expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409, 409, 409]);
  const kept = (await files()).find(({ name }) => name === 'contested.txt')!;
  expect(texts.map(sha256)).toContain(kept.sha256);
  expect(await stored()).toEqual([...before, kept.sha256].sort());
});

test('bytes that are not those of Content-Digest, and bodies of other types, are refused', async () => {
  const digest = (text: string) => `sha-256=:${createHash('sha256').update(text).digest('base64')}:`;
  expect((await put('right.txt', 'right', { 'content-digest': digest('right') })).status).toBe(201);
  expect(await refused(put('wrong.txt', 'wrong', { 'content-digest': digest('right') }))).toEqual({
    status: 422,
    detail: `Content-Digest: expected bytes of sha256 ${sha256('right')}, got ${sha256('wrong')}`,
  });
  expect((await put('x.txt', 'x', { 'content-digest': 'md5=:AAAA:' })).status).toBe(422);
  for (const type of ['application/json', 'text/plain'])
    expect([type, (await put('x.txt', '{}', { 'content-type': type })).status]).toEqual([type, 415]);
  expect((await put('x.txt', 'x', { 'content-encoding': 'gzip' })).status).toBe(415);
  expect((await api.post('/v1/runs', 'x', { 'content-type': 'application/octet-stream' })).status).toBe(415);
  expect((await files()).map(({ name }) => name)).toEqual(['right.txt']);
});

test('what is too large is refused, however it comes, and nothing of it stays', async () => {
  expect((await put('most.bin', new Uint8Array(MIB))).status).toBe(201);
  const before = await stored();
  expect(await refused(put('more.bin', new Uint8Array(MIB + 1)))).toEqual({
    status: 413,
    detail: `expected a file of at most ${MIB} bytes (LOOM_LARGEST_UPLOAD_MIB)`,
  });
  const unsaid = new ReadableStream({
    start(controller) {
      for (let i = 0; i < 5; i++) controller.enqueue(new Uint8Array(MIB / 4));
      controller.close();
    },
  });
  expect((await put('unsaid.bin', unsaid)).status).toBe(413);
  expect(await stored()).toEqual(before);
  expect((await files()).map(({ name }) => name)).toEqual(['most.bin']);
});

test.each([
  ['of a said length', 'content-length: 1000', 'half of it'],
  ['in chunks', 'transfer-encoding: chunked', '4\r\nhalf\r\n'],
])('of a body that breaks off, %s, nothing is left', async (_, header, part) => {
  const before = await stored();
  const { port, host } = new URL(api.url);
  const socket = connect(Number(port), '127.0.0.1');
  socket.write(
    `PUT /v1/runs/${run}/artifacts/cut.bin HTTP/1.1\r\nhost: ${host}\r\n` +
      `content-type: application/octet-stream\r\n${header}\r\n\r\n${part}`,
  );
  await eventually(async () => expect(await stored()).toHaveLength(before.length + 1));
  socket.destroy();
  await eventually(async () => expect(await stored()).toEqual(before));
  expect(await files()).toEqual([]);
});

test('while the store is away nothing is added, and it is said that it may be tried again', async () => {
  await put('before.txt', 'before');
  await rename(api.dir, `${api.dir}-away`);
  const answer = await put('later.txt', 'later');
  await rename(`${api.dir}-away`, api.dir);
  expect([answer.status, answer.headers.get('retry-after'), (await json<Problem>(answer)).detail]).toEqual([
    503,
    expect.stringMatching(/^\d+$/) as string,
    'the artifact store cannot be written: nothing was added, try again',
  ]);
  expect((await files()).map(({ name }) => name)).toEqual(['before.txt']);
  expect((await put('later.txt', 'later')).status).toBe(201);
});
