import { PrepareDataset } from '#libs/contracts';
import { mkdir, mkdtemp, rm, symlink, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withFileSizeLimit } from '../../../tests/support/file-size-limit.js';
import { colour, DataRoot, twoClasses } from '../../../tests/support/sources.js';
import { InvalidDataError } from './invalid-data.js';
import { prepareDataset } from './prepare.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const folder: DataRoot['folder'] = (...given) => data.folder(...given);
const archive: DataRoot['archive'] = (...given) => data.archive(...given);

async function prepare(...given: Parameters<DataRoot['prepare']>) {
  const { arrays, ...rest } = await data.prepare(...given);
  return { ...rest, images: arrays['train-samples']!, labels: arrays['train-labels']!.data };
}

describe('a dataset version', () => {
  test('holds the pixels of images that have its size, with classes and labels by folder', async () => {
    const { manifest, images, labels } = await prepare(await folder('plain', twoClasses()));
    expect(manifest.classes).toEqual(['cats', 'dogs']);
    expect(images.shape).toEqual([20, 8, 8, 3]);
    expect(images.data.slice(0, 3)).toEqual([0, 0, 50]);
    expect(labels).toEqual([...Array<number>(10).fill(0), ...Array<number>(10).fill(1)]);
  });

  test('keeps beside its samples which file each is from', async () => {
    const source = await folder('named', twoClasses());
    const { images, paths } = await prepare(source, { valFraction: 0.2, testFraction: 0.2, seed: 3 });
    expect([paths['train']!.length, paths['val']!.length, paths['test']!.length]).toEqual([12, 4, 4]);
    expect([...paths['train']!, ...paths['val']!, ...paths['test']!].toSorted()).toEqual(
      Object.keys(twoClasses()).toSorted(),
    );
    // Each image is of a colour of its own.
    const whole = await prepare(source);
    const colours = ({ data: bytes, shape }: typeof images) =>
      Array.from({ length: shape[0]! }, (_, i) => bytes.slice(i * 8 * 8 * 3, i * 8 * 8 * 3 + 2).join());
    const byName = new Map(whole.paths['train']!.map((name, i) => [name, colours(whole.images)[i]]));
    expect(new Set(byName.values()).size).toBe(20);
    expect(paths['train']!.map((name) => byName.get(name))).toEqual(colours(images));
  });

  test('has one digest, from a folder, a tar or a tar.gz, wrapped or not, in any order', async () => {
    const files = twoClasses();
    const reversed = Object.fromEntries(Object.entries(files).reverse());
    const wrapped = Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`./animals/v2/${name}`, bytes]));
    const digests = await Promise.all(
      [folder('one', files), archive('two.tar', reversed), archive('three.tar.gz', wrapped)].map(
        async (source) => (await prepare(await source)).manifest.digest,
      ),
    );
    expect(new Set(digests).size).toBe(1);
  });

  test('takes its own splits from the source, and those that it lacks from train', async () => {
    const inSplits = Object.fromEntries(
      Object.entries(twoClasses()).flatMap(([name, bytes]) => [
        [`data/train/${name}`, bytes],
        [`data/test/${name}`, bytes],
      ]),
    );
    const { manifest } = await prepare(await folder('splits', inSplits), { valFraction: 0.2, testFraction: 0.5 });
    expect(manifest.splits.train.countPerClass).toEqual([8, 8]);
    expect(manifest.splits.val!.countPerClass).toEqual([2, 2]);
    expect(manifest.splits.test!.countPerClass).toEqual([10, 10]);
    const carved = await prepare('plain', { valFraction: 0.1, testFraction: 0.2, seed: 1 });
    expect([
      carved.manifest.splits.train.count,
      carved.manifest.splits.val!.count,
      carved.manifest.splits.test!.count,
    ]).toEqual([14, 2, 4]);
    expect((await prepare('plain', { valFraction: 0.1, testFraction: 0.2, seed: 1 })).manifest.digest).toBe(
      carved.manifest.digest,
    );
    expect((await prepare('plain', { valFraction: 0.1, testFraction: 0.2, seed: 2 })).manifest.digest).not.toBe(
      carved.manifest.digest,
    );
  });

  test('reads what cameras and tools write: CMYK, 16 bits, gray, transparency, turned, odd names', async () => {
    const turned = await sharp({ create: { width: 4, height: 8, channels: 3, background: 'white' } })
      .composite([{ input: await colour(0, 0, 0, 4).png().toBuffer(), top: 0, left: 0 }])
      .withMetadata({ orientation: 3 })
      .jpeg()
      .toBuffer();
    const source = await folder('odd', {
      'ä b/CMYK.JPG': colour(10, 200, 30).toColourspace('cmyk').jpeg().toBuffer(),
      'ä b/deep.png': colour(10, 200, 30).toColourspace('rgb16').png().toBuffer(),
      'ä b/gray.png': colour(90, 90, 90).grayscale().png().toBuffer(),
      'z/clear.png': sharp({
        create: { width: 8, height: 8, channels: 4, background: { r: 255, g: 0, b: 0, alpha: 0 } },
      })
        .png()
        .toBuffer(),
      'z/turned.jpeg': turned,
      'z/web.webp': colour(1, 2, 3).webp().toBuffer(),
      'z/gif.gif': colour(1, 2, 3).gif().toBuffer(),
    });
    const { images, warnings } = await prepare(source);
    expect(warnings).toEqual([]);
    expect(images.shape[0]).toBe(7);
    const gray = await prepare(source, { channels: 1 });
    expect(gray.images.shape).toEqual([7, 8, 8, 1]);
    const first = (n: number) => images.data.slice(n * 192, n * 192 + 3);
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
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    chunk('IHDR', header),
    chunk('IDAT', Buffer.from('789c030000000001', 'hex')),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

describe('damage', () => {
  test('below the limit is counted and named', async () => {
    const whole = await colour(1, 2, 3, 64).jpeg().toBuffer();
    const source = await folder('damaged', {
      ...twoClasses(),
      'cats/truncated.jpg': whole.subarray(0, whole.length / 2),
      'cats/huge.png': hugePng(30_000),
      'dogs/text.jpg': Buffer.from('no image'),
      'dogs/nothing.png': Buffer.alloc(0),
      'dogs/notes.txt': Buffer.from('x'),
      'readme.md': Buffer.from('x'),
    });
    const { manifest, warnings } = await prepare(source, { maxCorruptFraction: 0.2 });
    expect(manifest.splits.train.count).toBe(20);
    expect(warnings.join('\n')).toMatch(/2 files are no images.*readme\.md/);
    for (const name of ['cats/truncated.jpg', 'cats/huge.png', 'dogs/text.jpg', 'dogs/nothing.png'])
      expect(warnings.join('\n')).toContain(name);
    await expect(prepare(source, { maxCorruptFraction: 0.1 })).rejects.toThrow(
      /expected at most 10 % .*4 of 24 files could not be decoded: .*cats\/huge\.png/,
    );
  });

  test.each<[string, () => Promise<string>, RegExp]>([
    [
      'an empty folder',
      async () => {
        await mkdir(path.join(data.root, 'empty'));
        return 'empty';
      },
      /found none: it is empty/,
    ],
    ['no images', () => folder('texts', { 'a/x.txt': Buffer.from('x') }), /found none \(only a\/x\.txt\)/],
    ['no endings', () => folder('bare', { 'a/1': Buffer.from('x') }), /found none \(only a\/1\)/],
    ['sounds', () => folder('tones', { 'a/1.wav': Buffer.from('x') }), /only a\/1\.wav\): with audio, sounds are read/],
    ['nothing there', async () => 'absent', /found nothing/],
    [
      'a file that is no archive',
      async () => {
        await folder('.', { 'x.rar': Buffer.from('Rar') });
        return 'x.rar';
      },
      /ends in \.tar, \.tar\.gz, \.tgz, \.zip or \.parquet, got x\.rar/,
    ],
    [
      'a class whose images are all damaged',
      () => folder('all-damaged', { ...twoClasses(), 'birds/1.png': Buffer.from('x') }),
      /every class, found none that could be decoded of birds/,
    ],
    [
      'a class of test that train lacks',
      () =>
        folder('strangers', {
          ...Object.fromEntries(Object.entries(twoClasses()).map(([name, bytes]) => [`train/${name}`, bytes])),
          'test/birds/1.png': colour(1, 2, 3).png().toBuffer(),
        }),
      /found others: birds/,
    ],
    [
      'an archive with a path out of it',
      () => archive('evil.tar', { ...twoClasses(), '../evil.png': colour(1, 2, 3).png().toBuffer() }),
      /names inside the archive evil\.tar, got "\.\.\/evil\.png"/,
    ],
    [
      'an archive cut short',
      async () => {
        const name = await archive('cut.tar.gz', twoClasses());
        await truncate(path.join(data.root, name), 200);
        return name;
      },
      /cut\.tar\.gz to be a whole tar\.gz archive/,
    ],
    [
      'a tar that is none',
      async () => {
        await folder('.', { 'fake.tar.gz': Buffer.from('no gzip at all') });
        return 'fake.tar.gz';
      },
      /fake\.tar\.gz to be a whole tar\.gz archive/,
    ],
    ['a path out of the root', async () => '../..', /inside the data root/],
    [
      'a link out of the root',
      async () => {
        const outside = await mkdtemp(path.join(tmpdir(), 'loom-outside-'));
        await symlink(outside, path.join(data.root, 'link'));
        return 'link';
      },
      /inside the data root/,
    ],
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
    await expect(
      prepareDataset(spec, { dataRoot: data.root, workDir, signal: stop.signal, progress: () => {}, log: () => {} }),
    ).rejects.toBe('cancel');
    await rm(workDir, { recursive: true });
  });
});

test('classes that are numbers are in the order of their value', async () => {
  const source = await folder(
    'numbered',
    Object.fromEntries(['10', '9', '100'].map((label) => [`${label}/1.png`, colour(1, 0, 0).png().toBuffer()])),
  );
  expect((await data.prepare(source)).manifest.classes).toEqual(['9', '10', '100']);
});

test('a file that is written in part only makes no dataset', async (context) => {
  const source = await folder('for-a-full-disk', twoClasses());
  // The last of twenty decoded images lacks its end. Half of them go into each split's files, which have room.
  const limited = await withFileSizeLimit(20 * 8 * 8 * 3 - 10, () =>
    expect(prepare(source, { valFraction: 0.5 })).rejects.toThrow(/EFBIG|file too large/),
  );
  if (!limited) context.skip('the size of files can be limited on Linux only');
});
