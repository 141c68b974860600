import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compressFiles } from '../../../scripts/compress.mjs';
import { serveDashboard } from './dashboard-files.js';

const SCRIPT = 'export const answer = 42;\n'.repeat(1000);
const adapter = new FastifyAdapter();
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'loom-dashboard-'));
  await mkdir(path.join(folder, 'assets'));
  await writeFile(path.join(folder, 'index.html'), `<!doctype html>${'<p>text</p>'.repeat(200)}`);
  await writeFile(path.join(folder, 'assets', 'page-Ab12.js'), SCRIPT);
  await writeFile(path.join(folder, 'assets', 'noise-Cd34.js'), randomBytes(4096));
  await compressFiles(folder);
  const fastify = adapter.getInstance();
  await serveDashboard({ register: fastify.register.bind(fastify) } as unknown as NestFastifyApplication, folder);
  await adapter.init();
});
afterAll(async () => {
  await adapter.close();
  await rm(folder, { recursive: true });
});

const get = (url: string, encodings?: string) =>
  adapter.inject({ url, headers: encodings === undefined ? {} : { 'accept-encoding': encodings } });

test.each([
  ['gzip, deflate, br', 'br', brotliDecompressSync],
  ['gzip', 'gzip', gunzipSync],
])('who takes %s gets a file as %s', async (takes, encoding, unpacked) => {
  const answer = await get('/assets/page-Ab12.js', takes);
  expect(answer.headers).toMatchObject({
    'content-encoding': encoding,
    vary: expect.stringMatching(/accept-encoding/i) as string,
    'content-type': expect.stringContaining('javascript') as string,
  });
  expect(answer.rawPayload.length).toBeLessThan(SCRIPT.length / 20);
  expect(unpacked(answer.rawPayload).toString()).toBe(SCRIPT);
});

test('who takes nothing packed, and what does not get smaller, is sent as it is', async () => {
  expect((await get('/assets/page-Ab12.js')).payload).toBe(SCRIPT);
  const noise = await get('/assets/noise-Cd34.js', 'br, gzip');
  expect(noise.headers).not.toHaveProperty('content-encoding');
  expect(noise.rawPayload).toHaveLength(4096);
});

test('what has its hash in its name is kept for ever, the page itself is asked for again', async () => {
  expect((await get('/assets/page-Ab12.js', 'br')).headers['cache-control']).toMatch(/max-age=31536000, immutable/);
  const page = await get('/', 'br');
  expect(page.headers).toMatchObject({ 'cache-control': 'no-cache', 'content-encoding': 'br' });
  const again = await adapter.inject({
    url: '/',
    headers: { 'accept-encoding': 'br', 'if-none-match': page.headers['etag'] as string },
  });
  expect(again.statusCode).toBe(304);
});
