/** Datasets of somebody who means harm: links and names that leave the data root, files that are more than they say. */
import { parquetMetadata } from 'hyparquet';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { crc32, deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DataRoot, reds, refusal, twoClasses } from '../support/sources.js';

/** What no dataset may have: its red is told from all others. */
const SECRET_RED = 111;
const secret = async () => {
  const { colour } = await import('../support/sources.js');
  return colour(SECRET_RED, 1, 1).png().toBuffer();
};

let data: DataRoot;
let outside: string;
beforeAll(async () => {
  data = await DataRoot.create();
  outside = await mkdtemp(path.join(tmpdir(), 'loom-outside-'));
  await mkdir(path.join(outside, 'cats'), { recursive: true });
  await writeFile(path.join(outside, 'cats', '1.png'), await secret());
});
afterAll(async () => {
  await data.remove();
  await rm(outside, { recursive: true, force: true });
});

/** A PNG whose header says that it is so large. */
function pngOf(width: number, height: number): Buffer {
  const chunk = (type: string, bytes: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), bytes]);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(bytes.length);
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32(body));
    return Buffer.concat([length, body, sum]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.writeUInt8(8, 8);
  header.writeUInt8(0, 9);
  const signature = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1');
  const pixels = deflateSync(Buffer.alloc(1000));
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', pixels), chunk('IEND', Buffer.alloc(0))]);
}

describe('a path that leaves the data root is refused', () => {
  test.each(['../..', '..', '/etc', 'a/../../b', './../x'])('%s', async (given) => {
    const told = await data.prepare(given).then(
      () => 'taken',
      (error: Error) => error.message,
    );
    expect(told).not.toBe('taken');
    expect(told).not.toContain('root:');
  });

  test('by a link', async () => {
    await symlink(outside, path.join(data.root, 'leads-out'));
    expect(await refusal(data.prepare('leads-out'))).not.toContain(outside);
  });
});

describe('what a link in a dataset leads to outside of the data root is not read', () => {
  const expectWithoutSecret = async (name: string) => {
    const found = await data.prepare(name).catch((error: Error) => error);
    if (!(found instanceof Error)) expect(reds(found.arrays['train-samples']!)).not.toContain(SECRET_RED);
  };

  test('of a file', async () => {
    const name = await data.folder('linked-file', twoClasses());
    await symlink(path.join(outside, 'cats', '1.png'), path.join(data.root, name, 'cats', 'link.png'));
    await expectWithoutSecret(name);
  });

  test('of a folder', async () => {
    const name = await data.folder('linked-folder', twoClasses());
    await symlink(path.join(outside, 'cats'), path.join(data.root, name, 'birds'));
    await expectWithoutSecret(name);
  });

  test.each([
    ['symlink', { type: 'symlink' as const }],
    ['hard link', { type: 'link' as const }],
  ])('of a %s in a tar', async (_, { type }) => {
    const tar = pack();
    for (const [file, bytes] of Object.entries(twoClasses())) tar.entry({ name: file }, await bytes);
    tar.entry({ name: 'cats/link.png', type, linkname: path.join(outside, 'cats', '1.png') });
    tar.entry({ name: 'cats/up.png', type, linkname: `../../../../../../..${outside}/cats/1.png` });
    tar.finalize();
    const name = `${type}.tar`;
    const chunks: Buffer[] = [];
    for await (const chunk of tar) chunks.push(chunk as Buffer);
    await writeFile(path.join(data.root, name), Buffer.concat(chunks));
    await expectWithoutSecret(name);
  });
});

describe('names in an archive', () => {
  test.each(['evil.zip', 'evil.tar'])('of %s write nothing outside', async (name) => {
    const evil = {
      ...twoClasses(),
      '../../../../../../../../tmp/loom-escaped.png': secret(),
      '/tmp/loom-escaped.png': secret(),
      'cats/../../../tmp/loom-escaped.png': secret(),
    };
    await data.archive(name, evil);
    await data.prepare(name).catch(() => undefined);
    const { existsSync } = await import('node:fs');
    expect(existsSync('/tmp/loom-escaped.png')).toBe(false);
    expect(existsSync(path.join(data.root, '..', 'loom-escaped.png'))).toBe(false);
  });
});

describe('a file that is more than it says', () => {
  const residentMiB = () => process.memoryUsage().rss / 2 ** 20;

  test('a picture of 60,000 by 60,000 pixels is left out before it is allocated', async () => {
    const name = await data.folder('bomb', { ...twoClasses(), 'cats/bomb.png': pngOf(60_000, 60_000) });
    const before = residentMiB();
    const { warnings } = await data.prepare(name, { maxCorruptFraction: 0.5 });
    expect(residentMiB() - before).toBeLessThan(500);
    expect(warnings.join('\n')).toContain('bomb.png');
  });

  test('a zip whose entry is larger than it says is not unpacked without an end', async () => {
    const name = await data.archive('bomb.zip', { 'cats/1.png': Buffer.alloc(100_000_000) }, { claimedSize: 1000 });
    const before = residentMiB();
    await data.prepare(name).catch(() => undefined);
    expect(residentMiB() - before).toBeLessThan(500);
  });

  /** A number of Thrift's compact form, in as many bytes as the one in whose place it comes. */
  function varint(value: number, bytes = 1): Buffer {
    const parts: number[] = [];
    for (let rest = BigInt(2 * value); rest > 0n || parts.length < bytes; rest >>= 7n)
      parts.push(Number(rest & 127n) | 128);
    parts[parts.length - 1]! &= 127;
    return Buffer.from(parts);
  }

  test.each(['SNAPPY', 'ZSTD', 'GZIP'] as const)(
    'a page of Parquet (%s) that unpacks to more than its metadata says is refused before it is allocated',
    async (codec) => {
      const bytes = parquetWriteBuffer({
        codec,
        compressors: { GZIP: (page) => gzipSync(page), ZSTD: (page) => zstdCompressSync(page) },
        columnData: [
          { name: 'image', data: [new Uint8Array(100_000_000), new Uint8Array(9)], type: 'BYTE_ARRAY' },
          { name: 'label', data: ['a', 'b'], type: 'STRING' },
        ],
      });
      const lying = Buffer.from(bytes);
      const size = Number(parquetMetadata(bytes).row_groups[0]!.columns[0]!.meta_data!.total_uncompressed_size);
      expect(size).toBeGreaterThan(99_999_999);
      const told = varint(size);
      const at = lying.lastIndexOf(told);
      expect(at).toBeGreaterThan(lying.length - 1000);
      varint(1000, told.length).copy(lying, at);
      await data.folder(`lying-${codec}`, { 'x.parquet': lying });
      expect(await refusal(data.prepare(`lying-${codec}`))).toMatch(
        /its pages unpack to 1\d{8} bytes, its metadata promises 1000 at most/,
      );
    },
  );
});

test('a drawing that is called a picture, and may name other files, is not drawn', async () => {
  const image = `<image href="file://${outside}/cats/1.png"/>`;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8">${image}</svg>`;
  const name = await data.folder('drawn', { ...twoClasses(), 'cats/drawing.png': Buffer.from(svg) });
  const { warnings } = await data.prepare(name, { maxCorruptFraction: 0.5 });
  expect(warnings.join('\n')).toMatch(/cats\/drawing\.png \(expected JPEG, .*found SVG/);
});
