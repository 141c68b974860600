import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { fetchCifar10 } from './cifar10.js';

let dir: string;
let archive: Buffer;
const server = createServer((_, response) => response.end(archive));

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-cifar-'));
  const record = (label: number, [r, g, b]: [number, number, number]) =>
    Buffer.concat([Buffer.of(label), Buffer.alloc(1024, r), Buffer.alloc(1024, g), Buffer.alloc(1024, b)]);
  const tar = pack();
  tar.entry({ name: 'cifar-10-batches-bin/readme.html' }, 'x');
  tar.entry(
    { name: 'cifar-10-batches-bin/data_batch_1.bin' },
    Buffer.concat([record(3, [10, 20, 30]), record(9, [1, 2, 3])]),
  );
  tar.entry({ name: 'cifar-10-batches-bin/test_batch.bin' }, record(0, [7, 8, 9]));
  tar.finalize();
  const chunks: Buffer[] = [];
  for await (const chunk of tar) chunks.push(chunk as Buffer);
  archive = gzipSync(Buffer.concat(chunks));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  server.close();
  await rm(dir, { recursive: true, force: true });
});

const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

test('the published archive becomes class folders, after its checksum was compared', async () => {
  const folder = path.join(dir, 'cifar10');
  await fetchCifar10(folder, { url: url(), md5: createHash('md5').update(archive).digest('hex') });
  expect(await readdir(path.join(folder, 'train', 'cat'))).toEqual(['data_batch_1-00000.png']);
  const { data, info } = await sharp(path.join(folder, 'train', 'cat', 'data_batch_1-00000.png'))
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect([info.width, info.height, [...data.subarray(0, 3)]]).toEqual([32, 32, [10, 20, 30]]);
  expect(await readdir(path.join(folder, 'test', 'airplane'))).toHaveLength(1);
});

test('another archive is refused, and nothing of it is left', async () => {
  await expect(fetchCifar10(path.join(dir, 'other'), { url: url(), md5: '0'.repeat(32) })).rejects.toThrow('md5 000');
  await expect(fetchCifar10(path.join(dir, 'other'), { url: 'http://127.0.0.1:1/', md5: '' })).rejects.toThrow(
    'give its path',
  );
  expect(await readdir(dir)).toEqual(['cifar10']);
});
