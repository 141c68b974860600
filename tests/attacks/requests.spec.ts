/** Requests that mean harm, to the API over real connections. */
import type { Problem } from '#libs/contracts';
import { request } from 'node:http';
import { connect } from 'node:net';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { json, pretrain, startApi, type Api } from '../support/api.js';

let api: Api;
beforeAll(async () => {
  api = await startApi();
}, 60_000);
afterAll(() => api.stop());

/** `fetch` sets Host by itself: here it is what the attacker sets. */
const withHeaders = (path: string, headers: Record<string, string>, method = 'GET', body = '') =>
  new Promise<{ status: number; headers: Record<string, unknown> }>((resolve, reject) => {
    const sent = request(api.url + path, { method, headers, setHost: headers['host'] === undefined }, (response) => {
      response.resume();
      resolve({ status: response.statusCode!, headers: response.headers });
    });
    sent.on('error', reject);
    sent.end(body);
  });

describe('a page elsewhere', () => {
  test.each(['rebound.example', 'localhost.rebound.example', '127.0.0.1.nip.example', 'localhost:1:2', ''])(
    'that has pointed the name "%s" here gets nothing',
    async (host) => {
      expect((await withHeaders('/v1/runs', { host })).status).toBeGreaterThanOrEqual(400);
    },
  );

  test('can change nothing with an origin of its own', async () => {
    const { status } = await withHeaders('/v1/runs', { origin: 'https://evil.example' }, 'POST');
    expect(status).toBe(403);
  });
});

describe('text and numbers that Postgres does not take are refused', () => {
  test.each<[string, () => Promise<Response>]>([
    ['NUL in a name', () => api.post('/v1/runs', { spec: pretrain, name: 'a\0b' })],
    ['half of a surrogate pair', () => api.post('/v1/runs', { spec: pretrain, name: 'a\ud800' })],
    ['half of a pair in a key', () => api.post('/v1/runs', { spec: { ...pretrain, 'a\ud800': 1 } })],
    ['NUL in a query', () => fetch(`${api.url}/v1/runs?tag=a%00b`)],
    ['NUL in a path', () => fetch(`${api.url}/v1/runs/a%00b`)],
    ['a number beyond 32 bits', () => fetch(`${api.url}/v1/runs?limit=99999999999`)],
    ['30,000 nested lists', () => api.post('/v1/runs', `{"spec":${'['.repeat(30_000)}${']'.repeat(30_000)}}`)],
    [
      'a condition of 60,000 digits',
      () => api.post('/v1/runs/bulk', { filter: { where: `a>${'1'.repeat(60_000)}x` } }),
    ],
  ])('%s', async (_, send) => {
    const response = await send();
    expect(response.status).toBe(422);
    expect(await json<Problem>(response)).toMatchObject({ code: 'invalid_request' });
  });
});

describe('what is no request of the API', () => {
  test('a compressed body is refused before it is read', async () => {
    const body = gzipSync(JSON.stringify({ spec: pretrain }));
    const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
    expect((await fetch(`${api.url}/v1/runs`, { method: 'POST', headers, body })).status).toBe(415);
  });

  test('a method that a path does not take is told which it does', async () => {
    const response = await fetch(`${api.url}/v1/runs`, { method: 'DELETE' });
    expect(response.status).toBe(405);
    expect(response.headers.get('allow')).toBe('GET, HEAD, POST');
    expect((await fetch(`${api.url}/v1/nothing`, { method: 'DELETE' })).status).toBe(404);
  });

  test('bytes that are no HTTP get a problem document', async () => {
    const { hostname, port } = new URL(api.url);
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = connect(Number(port), hostname, () => socket.write('NONSENSE\r\n\r\n'));
      let text = '';
      socket.on('data', (chunk) => (text += chunk.toString()));
      socket.on('end', () => resolve(text));
      socket.on('error', reject);
    });
    expect(answer).toMatch(/^HTTP\/1\.1 400 .*application\/problem\+json/s);
  });

  test('a path that is no text gets a problem document', async () => {
    const response = await fetch(`${api.url}/v1/runs/%E0%A4%A`);
    expect(response.status).toBe(400);
    expect(response.headers.get('content-type')).toContain('application/problem+json');
  });
});
