/** The HTTP contract, against a real Postgres and Redis: files, reports, schemas, operations, the OpenAPI document. */
import type { BlockContent, ListedReport, Problem, Report } from '#libs/contracts';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
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

describe('reports', () => {
  const text = { type: 'text', markdown: '**Crop** with colour' };
  const put = (id: string, body: unknown) =>
    fetch(`${api.url}/v1/reports/${id}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    });
  const written = async (body: unknown) => json<Report>(api.post('/v1/reports', body));
  const listed = async (query = '') =>
    json<{ items: ListedReport[]; nextCursor: string | null }>(fetch(`${api.url}/v1/reports${query}`));

  test('a report is written, listed, read, saved, deleted; an edit of an older version changes nothing', async () => {
    const created = await api.post('/v1/reports', { title: 'Views', blocks: [text] });
    const report = await json<Report>(created);
    expect([created.status, created.headers.get('location')]).toEqual([201, `/v1/reports/${report.id}`]);
    expect(report).toMatchObject({ title: 'Views', blocks: [text], version: 1 });
    const other = await written({ title: 'Another', blocks: [] });
    expect((await listed()).items.map(({ title }) => title)).toEqual(['Another', 'Views']);

    const chart = { type: 'chart', metric: 'eval/knn', runs: [randomUUID()] };
    const saves = await Promise.all(
      ['mine', 'yours'].map((title) => put(report.id, { title, blocks: [chart], version: 1 })),
    );
    expect(saves.map(({ status }) => status).sort()).toEqual([200, 409]);
    const refused = await json<Problem>(saves.find(({ status }) => status === 409)!);
    expect(refused).toMatchObject({
      code: 'conflict',
      detail: expect.stringContaining('expected an edit of version 2 of the report, got one of version 1') as string,
    });
    const saved = await json<Report>(fetch(`${api.url}/v1/reports/${report.id}`));
    expect(saved).toEqual(await json<Report>(saves.find(({ status }) => status === 200)!));
    expect(saved.blocks).toEqual([{ ...chart, axis: 'step', log: false, smoothing: 0 }]);

    // The one that was changed last is the first; pages hold each once.
    const first = await listed('?limit=1');
    const second = await listed(`?limit=1&cursor=${first.nextCursor}`);
    expect([first, second].map(({ items }) => items.map(({ id }) => id))).toEqual([[report.id], [other.id]]);
    expect(second.nextCursor).toBeNull();
    expect((await listed('?cursor=none')) as unknown).toMatchObject({ status: 422, errors: [{ path: 'cursor' }] });

    for (const { id } of [report, other])
      expect((await fetch(`${api.url}/v1/reports/${id}`, { method: 'DELETE' })).status).toBe(204);
    expect((await listed()).items).toEqual([]);
    for (const answer of [
      await fetch(`${api.url}/v1/reports/${report.id}`),
      await fetch(`${api.url}/v1/reports/${report.id}/html`),
      await put(report.id, { title: 'gone', blocks: [], version: 2 }),
      await fetch(`${api.url}/v1/reports/${report.id}`, { method: 'DELETE' }),
    ])
      expect([answer.status, (await json<Problem>(answer)).detail]).toEqual([
        404,
        `expected the id of a report, got ${report.id}: there is no such report`,
      ]);
  });

  const id = '0193a6b2-7c10-7000-8000-000000000000';
  test.each<[string, object, string, RegExp]>([
    ['no title', { blocks: [] }, 'title', /expected a text/],
    ['a title of spaces', { title: ' ', blocks: [] }, 'title', /got spaces alone/],
    ['a title of two lines', { title: 'a\nb', blocks: [] }, 'title', /one line of text/],
    ['NUL', { title: 'a', blocks: [{ type: 'text', markdown: 'a\0b' }] }, 'blocks.0.markdown', /without NUL/],
    [
      'half a surrogate pair',
      { title: 'a', blocks: [{ type: 'text', markdown: '\ud800' }] },
      'blocks.0.markdown',
      /surrogate/,
    ],
    ['an unknown block', { title: 'a', blocks: [{ type: 'script', text: '1' }] }, 'blocks.0.type', /script/],
    ['HTML in a metric', { title: 'a', blocks: [{ ...text, html: '<b>' }] }, 'blocks.0.html', /unknown/],
    ['no run', { title: 'a', blocks: [{ type: 'chart', metric: 'x', runs: [] }] }, 'blocks.0.runs', /1/],
    [
      'what is no id',
      { title: 'a', blocks: [{ type: 'chart', metric: 'x', runs: ['best'] }] },
      'blocks.0.runs.0',
      /expected the id of a run/,
    ],
    [
      'a run twice',
      { title: 'a', blocks: [{ type: 'table', columns: ['status'], runs: [id, id] }] },
      'blocks.0.runs',
      /each run once/,
    ],
    [
      'an unknown column',
      { title: 'a', blocks: [{ type: 'table', columns: ['beauty'], runs: [id] }] },
      'blocks.0.columns.0',
      /metric:KEY or spec:FIELD/,
    ],
    [
      'an unknown figure',
      { title: 'a', blocks: [{ type: 'sweep', sweep: id, figure: 'pie' }] },
      'blocks.0.figure',
      /composition/,
    ],
    ['too many blocks', { title: 'a', blocks: Array.from({ length: 51 }, () => text) }, 'blocks', /50/],
    [
      'too much text',
      { title: 'a', blocks: Array.from({ length: 5 }, () => ({ type: 'text', markdown: 'x'.repeat(45_000) })) },
      'blocks',
      /200,000 characters/,
    ],
  ])('%s is refused, and nothing is written', async (_, body, field, message) => {
    const answer = await api.post('/v1/reports', body);
    const { errors } = await json<Problem>(answer);
    expect([answer.status, errors!.map(({ path }) => path)]).toEqual([
      422,
      expect.arrayContaining([field]) as string[],
    ]);
    expect(errors!.find(({ path }) => path === field)!.message).toMatch(message);
    expect((await listed()).items).toEqual([]);
  });

  test('a report is written once however often its writing is repeated with its key', async () => {
    const keyed = (body: unknown, key = 'report-1') => api.post('/v1/reports', body, { 'idempotency-key': key });
    const answers = await Promise.all([1, 2, 3].map(() => keyed({ title: 'Once', blocks: [text] })));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 201]);
    const ids = await Promise.all(answers.map(async (answer) => (await json<Report>(answer)).id));
    const id = ids[0]!;
    expect(new Set(ids).size).toBe(1);
    expect((await listed()).items).toHaveLength(1);
    // As it is now, not as it was written.
    expect((await put(id, { title: 'Edited', blocks: [], version: 1 })).status).toBe(200);
    const repeated = await keyed({ title: 'Once', blocks: [text] });
    expect([repeated.status, repeated.headers.get('location')]).toEqual([200, `/v1/reports/${id}`]);
    expect(await json<Report>(repeated)).toMatchObject({ id, title: 'Edited', version: 2 });
    const other = await keyed({ title: 'Another', blocks: [text] });
    expect([other.status, (await json<Problem>(other)).code]).toEqual([422, 'idempotency_mismatch']);
    expect(await json<Problem>(keyed({ title: 'Once', blocks: [] }, 'a b'))).toMatchObject({
      status: 422,
      errors: [{ path: 'Idempotency-Key' }],
    });
    // The keys of runs are others.
    const run = { spec: { ...pretrain, seed: 7 } };
    expect((await api.post('/v1/runs', run, { 'idempotency-key': 'report-1' })).status).toBe(201);
    // What was deleted is written anew.
    expect((await fetch(`${api.url}/v1/reports/${id}`, { method: 'DELETE' })).status).toBe(204);
    const anew = await keyed({ title: 'Once', blocks: [text] });
    const second = await json<Report>(anew);
    expect([anew.status, second.version]).toEqual([201, 1]);
    expect(second.id).not.toBe(id);
    expect((await fetch(`${api.url}/v1/reports/${second.id}`, { method: 'DELETE' })).status).toBe(204);
  });

  test('the file of a report has what it shows, says what is gone, and no text gets out of its place', async () => {
    const trained = await api.submit({ ...pretrain, seed: 77 }, { name: 'trained' });
    const claim = (await api.runs.claims.claim({ runId: trained.id, attempt: 1 }, 'w'))!;
    await api.runs.recorder.begin(claim, null, 10);
    const values = [0.25, 0.5, 0.75];
    await api.runs.recorder.record(claim, {
      points: values.map((value, i) => ({ key: 'eval/knn', step: i + 1, value })),
      lines: [],
    });
    const markdown = '</script><script>alert(1)</script><!-- <script> ]]> & "';
    const { id: report } = await written({
      title: '</title><script>alert(1)</script> & "Views"',
      blocks: [
        { type: 'text', markdown },
        { type: 'chart', metric: 'eval/knn', runs: [trained.id, id] },
        { type: 'table', columns: ['status', 'metric:eval/knn', 'spec:batchSize'], runs: [trained.id, id] },
        { type: 'sweep', sweep: id, figure: 'composition' },
        { type: 'map', run: trained.id },
      ],
    });
    const answer = await fetch(`${api.url}/v1/reports/${report}/html`);
    expect([answer.status, answer.headers.get('content-type'), answer.headers.get('content-disposition')]).toEqual([
      200,
      'text/html; charset=utf-8',
      `attachment; filename="report-${report}.html"`,
    ]);
    const html = await answer.text();
    expect(html.match(/<title>(.*?)<\/title>/)![1]).toBe(
      '&lt;/title&gt;&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;Views&quot;',
    );
    const [, content, program] = /<script type="application\/json" id="report">(.*?)<\/script>\n(.*)$/s.exec(html)!;
    expect(content).not.toContain('<');
    const offline = JSON.parse(content!) as { report: Report; contents: BlockContent[]; dashboard: string };
    expect(offline.report.blocks[0]).toEqual({ type: 'text', markdown });
    expect(offline.dashboard).toBe(api.url);
    const gone = `Run ${id} is not shown: there is no such run any more`;
    expect(offline.contents.slice(1)).toMatchObject([
      { runs: [{ label: 'trained', points: values.map((value, i) => ({ step: i + 1, value })) }], absent: [gone] },
      { rows: [{ label: 'trained', cells: ['running', '0.75', '32'] }], absent: [gone] },
      { absent: [`Sweep ${id} is not shown: there is no such sweep any more`] },
      { absent: ['trained has no map yet.'] },
    ]);
    // One program, which the policy of the file names by its hash and which alone may run.
    const [, script] = /^<script type="module">(.*)<\/script>\n<\/html>\n$/s.exec(program!)!;
    expect(/<\/?script|<!--/i.exec(script!)).toBeNull();
    const hash = createHash('sha256').update(script!).digest('base64');
    expect(html).toContain(`content="default-src 'none'; script-src 'sha256-${hash}';`);
    await fetch(`${api.url}/v1/reports/${report}`, { method: 'DELETE' });
  });
});
