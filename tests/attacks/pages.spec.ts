/** Pages elsewhere, in the browser of somebody who uses the API: DNS rebinding and cross-site requests, by process. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientAt, type Sent } from '../support/addresses.js';
import { knowShapes } from '../support/shapes.js';
import { Database, Runs } from '#libs/platform';
import { startStack, type Stack } from '../support/stack.js';

const LAB = 'https://lab.example';
const EVIL = 'https://evil.example';

let stack: Stack;
let client: ClientAt;
let run: string;

beforeAll(async () => {
  stack = await startStack({
    environment: { LOOM_ALLOWED_ORIGINS: LAB, LOOM_PUBLIC_URL: 'https://loom.example.org,http://api:3000' },
  });
  const database = new Database(stack.database.url);
  await knowShapes(new Runs(database, { dataRoot: stack.dataRoot, leaseMs: 60_000 }));
  await database.close();
  run = await stack.submit({ kind: 'pretrain', dataset: 'shapes', batchSize: 32 });
  client = new ClientAt(stack.client.url, '127.0.0.1');
}, 90_000);
afterAll(async () => {
  client?.close();
  await stack?.stop();
});

const unchanged = async () => expect((await stack.client.run(run)).status).toBe('queued');

describe('a name that was pointed here', () => {
  test.each<[string, Record<string, string>]>([
    ['with an origin of the same name', { host: 'evil.example', origin: 'http://evil.example' }],
    ['that says it was forwarded', { host: 'evil.example', 'x-forwarded-host': 'loom.example.org' }],
    ['with the right name in front', { host: 'loom.example.org.evil.example' }],
    ['with the right name as a user', { host: 'loom.example.org@evil.example' }],
    ['with a name that is too long', { host: 'a'.repeat(300) }],
  ])('%s cancels no run', async (_, headers) => {
    const { status } = await client.ask(`/v1/runs/${run}/cancel`, { method: 'POST', headers });
    expect(status).toBeGreaterThanOrEqual(400);
    await unchanged();
  });

  test('is served where LOOM_PUBLIC_URL has it', async () => {
    for (const host of ['loom.example.org', 'LOOM.example.org:443', 'api:3000'])
      expect((await client.ask('/v1/runs?limit=1', { headers: { host } })).status).toBe(200);
  });
});

describe('a page elsewhere', () => {
  test.each<[string, Sent]>([
    ['by a form', { method: 'POST', headers: { origin: EVIL, 'content-type': 'application/x-www-form-urlencoded' } }],
    ['by a form without an origin', { method: 'POST', headers: { 'content-type': 'text/plain' }, body: '{}' }],
    ['from a file or a sandbox', { method: 'POST', headers: { origin: 'null' } }],
    ['by fetch', { method: 'POST', headers: { origin: EVIL } }],
    ['from another port of this machine', { method: 'POST', headers: { origin: 'http://127.0.0.1:1' } }],
    ['of a name that ends like an allowed one', { method: 'POST', headers: { origin: `${LAB}.evil.example` } }],
  ])('cancels no run %s', async (_, sent) => {
    expect([403, 415]).toContain((await client.ask(`/v1/runs/${run}/cancel`, sent)).status);
    await unchanged();
  });

  test('may not read answers, unless it is allowed to', async () => {
    const origins = await Promise.all(
      [EVIL, LAB].map(async (origin) => (await client.ask('/v1/runs?limit=1', { headers: { origin } })).headers),
    );
    expect(origins.map((headers) => headers['access-control-allow-origin'])).toEqual([undefined, LAB]);
    expect(origins.map(({ vary }) => vary)).toEqual(['Origin', 'Origin']);
    expect(origins[1]!['access-control-expose-headers']).toContain('Retry-After');
  });

  test('that is allowed is told by a preflight what it may do, and one that is not is not', async () => {
    const preflight = (origin: string) =>
      client.ask('/v1/runs', {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'content-type,idempotency-key',
        },
      });
    const allowed = await preflight(LAB);
    expect([allowed.status, allowed.headers['access-control-allow-origin']]).toEqual([204, LAB]);
    expect(allowed.headers['access-control-allow-methods']).toContain('POST');
    expect(String(allowed.headers['access-control-allow-headers']).toLowerCase()).toContain('idempotency-key');
    const refused = await preflight(EVIL);
    expect(refused.status).toBeGreaterThanOrEqual(400);
    expect(refused.headers['access-control-allow-origin']).toBeUndefined();
    const body = JSON.stringify({ spec: { kind: 'pretrain', dataset: 'shapes', batchSize: 32 } });
    const sent = { method: 'POST', headers: { origin: LAB, 'content-type': 'application/json' }, body };
    expect((await client.ask('/v1/runs', sent)).status).toBe(200);
  });
});

test('an id of its own choice does not come into the log', async () => {
  const { headers } = await client.ask('/healthz', { headers: { 'x-request-id': 'forged' } });
  expect(headers['x-request-id']).not.toBe('forged');
});

test('a frame elsewhere shows no dashboard, and no script of another comes into it', async () => {
  const { headers } = await client.ask('/healthz');
  expect(headers['content-security-policy']).toMatch(/default-src 'self'.*frame-ancestors 'none'/);
  expect(headers['x-content-type-options']).toBe('nosniff');
});
