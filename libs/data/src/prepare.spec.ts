import { PrepareDataset, type LogLevel } from '#libs/contracts';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { crc32, createGzip } from 'node:zlib';
import sharp from 'sharp';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { readNpy, InvalidDataError } from './npy.js';
import { prepareDataset } from './prepare.js';

let root: string;
beforeAll(async () => { root = await mkdtemp(path.join(tmpdir(), 'loom-prepare-')); });
afterAll(() => rm(root, { recursive: true, force: true }));

const colour = (r: number, g: number, b: number, size = 8) => sharp({ create: { width: size, height: size, channels: 3, background: { r, g, b } } });

async function folder(name: string, files: Record<string, Buffer | Promise<Buffer>>): Promise<string> {
  for (const [file, bytes] of Object.entries(files)) {
    await mkdir(path.join(root, name, path.dirname(file)), { recursive: true });
    await writeFile(path.join(root, name, file), await bytes);
  }
  return name;
}

async function archive(name: string, files: Record<string, Buffer | Promise<Buffer>>): Promise<string> {
  const tar = pack();
  for (const [file, bytes] of Object.entries(files)) tar.entry({ name: file }, await bytes);
  tar.finalize();
  await (name.endsWith('gz') ? pipeline(tar, createGzip(), createWriteStream(path.join(root, name))) : pipeline(tar, createWriteStream(path.join(root, name))));
  return name;
}

async function prepare(source: string, more: Partial<z.input<typeof PrepareDataset>> = {}) {
  const lines: { level: LogLevel; message: string }[] = [];
  const workDir = await mkdtemp(path.join(tmpdir(), 'loom-work-'));
  try {
    const spec = PrepareDataset.parse({ kind: 'prepare-dataset', name: 'x', path: source, imageSize: 8, valFraction: 0, testFraction: 0, ...more });
    const { manifest, files } = await prepareDataset(spec, { dataRoot: root, workDir, signal: new AbortController().signal, progress: () => {}, log: (level, message) => lines.push({ level, message }) });
    const images = await readNpy(files[0]!.path, '|u1');
    return { manifest, images, labels: (await readNpy(files[1]!.path, '<i4')).data, warnings: lines.filter(({ level }) => level === 'warn').map(({ message }) => message) };
  } finally {
    await rm(workDir, { recursive: true, force: true });
  }
}

const twoClasses = () => Object.fromEntries(['cats', 'dogs'].flatMap((name, label) =>
  Array.from({ length: 10 }, (_, n) => [`${name}/${n}.png`, colour(label * 200, n * 20, 50).png().toBuffer()] as const)));

describe('a dataset version', () => {
  test('holds the pixels of images that have its size, with classes and labels by folder', async () => {
    const { manifest, images, labels } = await prepare(await folder('plain', twoClasses()));
    expect(manifest.classes).toEqual(['cats', 'dogs']);
    expect(images.shape).toEqual([20, 8, 8, 3]);
    expect([...images.data.subarray(0, 3)]).toEqual([0, 0, 50]);
    expect([...labels]).toEqual([...Array<number>(10).fill(0), ...Array<number>(10).fill(1)]);
  });

  test('has one digest, from a folder, a tar or a tar.gz, wrapped or not, in any order', async () => {
    const files = twoClasses();
    const reversed = Object.fromEntries(Object.entries(files).reverse());
    const wrapped = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`./animals/v2/${name}`, bytes]));
    const digests = await Promise.all([folder('one', files), archive('two.tar', reversed), archive('three.tar.gz', wrapped)].map(async (source) => (await prepare(await source)).manifest.digest));
    expect(new Set(digests).size).toBe(1);
  });

  test('takes its own splits from the source, and those that it lacks from train', async () => {
    const inSplits = Object.fromEntries(Object.entries(twoClasses()).flatMap(([name, bytes]) => [[`data/train/${name}`, bytes], [`data/test/${name}`, bytes]]));
    const { manifest } = await prepare(await folder('splits', inSplits), { valFraction: 0.2, testFraction: 0.5 });
    expect(manifest.splits.train.countPerClass).toEqual([8, 8]);
    expect(manifest.splits.val!.countPerClass).toEqual([2, 2]);
    expect(manifest.splits.test!.countPerClass).toEqual([10, 10]);
    const carved = await prepare('plain', { valFraction: 0.1, testFraction: 0.2, seed: 1 });
    expect([carved.manifest.splits.train.count, carved.manifest.splits.val!.count, carved.manifest.splits.test!.count]).toEqual([14, 2, 4]);
    expect((await prepare('plain', { valFraction: 0.1, testFraction: 0.2, seed: 1 })).manifest.digest).toBe(carved.manifest.digest);
    expect((await prepare('plain', { valFraction: 0.1, testFraction: 0.2, seed: 2 })).manifest.digest).not.toBe(carved.manifest.digest);
  });

  test('reads what cameras and tools write: CMYK, 16 bits, gray, transparency, turned, odd names', async () => {
    const turned = await sharp({ create: { width: 4, height: 8, channels: 3, background: 'white' } }).composite([{ input: await colour(0, 0, 0, 4).png().toBuffer(), top: 0, left: 0 }]).withMetadata({ orientation: 3 }).jpeg().toBuffer();
    const source = await folder('odd', {
      'ä b/CMYK.JPG': colour(10, 200, 30).toColourspace('cmyk').jpeg().toBuffer(), 'ä b/deep.png': colour(10, 200, 30).toColourspace('rgb16').png().toBuffer(),
      'ä b/gray.png': colour(90, 90, 90).grayscale().png().toBuffer(), 'z/clear.png': sharp({ create: { width: 8, height: 8, channels: 4, background: { r: 255, g: 0, b: 0, alpha: 0 } } }).png().toBuffer(),
      'z/turned.jpeg': turned, 'z/web.webp': colour(1, 2, 3).webp().toBuffer(), 'z/gif.gif': colour(1, 2, 3).gif().toBuffer(),
    });
    const { images, warnings } = await prepare(source);
    expect(warnings).toEqual([]);
    expect(images.shape[0]).toBe(7);
    const gray = await prepare(source, { channels: 1 });
    expect(gray.images.shape).toEqual([7, 8, 8, 1]);
    const first = (n: number) => [...images.data.subarray(n * 192, n * 192 + 3)];
    // By name: z/clear, z/gif, z/turned, z/web, then ä b.
    expect(first(0)).toEqual([0, 0, 0]);
    expect(first(2).every((value) => value > 240)).toBe(true);
  });
});

/** A PNG whose header promises what its data does not hold. */
function hugePng(side: number): Buffer {
  const chunk = (type: string, data: Buffer) => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
    const frame = Buffer.alloc(8);
    frame.writeUInt32BE(data.length, 0);
    frame.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([frame.subarray(0, 4), body, frame.subarray(4)]);
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'), chunk('IHDR', header), chunk('IDAT', Buffer.from('789c030000000001', 'hex')), chunk('IEND', Buffer.alloc(0))]);
}

describe('damage', () => {
  test('below the limit is counted and named', async () => {
    const whole = await colour(1, 2, 3, 64).jpeg().toBuffer();
    const source = await folder('damaged', {
      ...twoClasses(), 'cats/truncated.jpg': whole.subarray(0, whole.length / 2), 'cats/huge.png': hugePng(30_000), 'dogs/text.jpg': Buffer.from('no image'), 'dogs/nothing.png': Buffer.alloc(0),
      'dogs/notes.txt': Buffer.from('x'), 'readme.md': Buffer.from('x'),
    });
    const { manifest, warnings } = await prepare(source, { maxCorruptFraction: 0.2 });
    expect(manifest.splits.train.count).toBe(20);
    expect(warnings.join('\n')).toMatch(/2 files are no images.*readme\.md/);
    for (const name of ['cats/truncated.jpg', 'cats/huge.png', 'dogs/text.jpg', 'dogs/nothing.png']) expect(warnings.join('\n')).toContain(name);
    await expect(prepare(source, { maxCorruptFraction: 0.1 })).rejects.toThrow(/expected at most 10 % .*4 of 24 files could not be decoded: .*cats\/huge\.png/);
  });

  test.each<[string, () => Promise<string>, RegExp]>([
    ['an empty folder', async () => { await mkdir(path.join(root, 'empty')); return 'empty'; }, /found none: it is empty/],
    ['no images', () => folder('texts', { 'a/x.txt': Buffer.from('x') }), /found none \(only a\/x\.txt\)/],
    ['one class', () => folder('one-class', { 'cats/1.png': colour(1, 2, 3).png().toBuffer() }), /at least two class folders in one-class, found one: cats/],
    ['nothing there', async () => 'absent', /found nothing/],
    ['a file that is no archive', async () => { await folder('.', { 'x.zip': Buffer.from('PK') }); return 'x.zip'; }, /ends in \.tar, \.tar\.gz or \.tgz/],
    ['a class whose images are all damaged', () => folder('all-damaged', { ...twoClasses(), 'birds/1.png': Buffer.from('x') }), /every class, found none that could be decoded of birds/],
    ['a class of test that train lacks', () => folder('strangers', { ...Object.fromEntries(Object.entries(twoClasses()).map(([name, bytes]) => [`train/${name}`, bytes])), 'test/birds/1.png': colour(1, 2, 3).png().toBuffer() }), /found others: birds/],
    ['an archive with a path out of it', () => archive('evil.tar', { ...twoClasses(), '../evil.png': colour(1, 2, 3).png().toBuffer() }), /names inside the archive evil\.tar, got "\.\.\/evil\.png"/],
    ['an archive cut short', async () => { const name = await archive('cut.tar.gz', twoClasses()); await truncate(path.join(root, name), 200); return name; }, /cut\.tar\.gz to be a whole tar\.gz archive/],
    ['a tar that is none', async () => { await folder('.', { 'fake.tar.gz': Buffer.from('no gzip at all') }); return 'fake.tar.gz'; }, /fake\.tar\.gz to be a whole tar\.gz archive/],
    ['a path out of the root', async () => '../..', /inside the data root/],
    ['a link out of the root', async () => { const outside = await mkdtemp(path.join(tmpdir(), 'loom-outside-')); await symlink(outside, path.join(root, 'link')); return 'link'; }, /inside the data root/],
  ])('%s is told in one sentence', async (_, make, expected) => {
    const error = await prepare(await make(), { maxCorruptFraction: 0.5 }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(InvalidDataError);
    expect((error as Error).message).toMatch(expected);
  });

  test('a stop is obeyed in the middle', async () => {
    const stop = new AbortController();
    const workDir = await mkdtemp(path.join(tmpdir(), 'loom-work-'));
    const spec = PrepareDataset.parse({ kind: 'prepare-dataset', name: 'x', path: 'plain', imageSize: 8 });
    stop.abort('cancel');
    await expect(prepareDataset(spec, { dataRoot: root, workDir, signal: stop.signal, progress: () => {}, log: () => {} })).rejects.toBe('cancel');
    await rm(workDir, { recursive: true });
  });
});
