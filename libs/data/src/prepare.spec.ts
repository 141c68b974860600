import { PrepareDataset } from '#libs/contracts';
import { mkdir, mkdtemp, rm, symlink, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, twoClasses, wavOf } from '../../../tests/support/sources.js';
import { InvalidDataError } from './npy.js';
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
    [
      'one class',
      () => folder('one-class', { 'cats/1.png': colour(1, 2, 3).png().toBuffer() }),
      /at least two class folders in one-class, found one: cats/,
    ],
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

describe('sounds', () => {
  const speakers = ['ann', 'ben', 'cem', 'dee', 'eva'];
  /** Two words by five speakers, four times; the first sample tells the speaker, the second the word. */
  const spoken = () =>
    Object.fromEntries(
      speakers.flatMap((speaker, s) =>
        ['no', 'yes'].flatMap((word, w) =>
          Array.from({ length: 4 }, (_, n) => [`words/${word}_${speaker}_${n}.wav`, wavOf([s, w, 7], 1000)] as const),
        ),
      ),
    );
  const audio = { sampleRate: 1000, seconds: 0.0042 };
  const fileName = '{label}_{group}_{}';
  const speakersOf = (samples: { data: number[]; shape: number[] }) =>
    [
      ...new Set(Array.from({ length: samples.shape[0]! }, (_, i) => speakers[samples.data[i * samples.shape[1]!]!])),
    ].sort();

  test('are rows of int16, of the classes in their names; what does not fit the template is named', async () => {
    const { manifest, arrays, warnings } = await data.prepare(
      await archive('words.tar.gz', {
        ...spoken(),
        'words/notes.wav': wavOf([1], 1000),
        'words/readme.txt': Buffer.from('x'),
      }),
      { audio, fileName },
    );
    expect(manifest.sample).toEqual({ modality: 'audio', sampleRate: 1000, length: 4 });
    expect([manifest.classes, manifest.splits.train.countPerClass]).toEqual([
      ['no', 'yes'],
      [20, 20],
    ]);
    const { data: values, shape } = arrays['train-samples']!;
    expect(shape).toEqual([40, 4]);
    expect(values.slice(0, 4)).toEqual([0, 0, 7, 0]);
    expect(arrays['train-labels']!.data).toEqual(Array.from({ length: 40 }, (_, i) => values[4 * i + 1]));
    expect(warnings.join()).toMatch(
      /2 files are no sounds or don't fit the template \{label\}_\{group\}_\{\} and were left out: words\/readme\.txt, words\/notes\.wav/,
    );
  });

  test('of the groups held out are in those splits, and nowhere else', async () => {
    const { arrays } = await data.prepare('words.tar.gz', {
      audio,
      fileName,
      holdOut: { val: ['ben'], test: ['cem', 'eva'] },
      valFraction: 0.1,
      testFraction: 0.1,
    });
    expect(['train', 'val', 'test'].map((split) => speakersOf(arrays[`${split}-samples`]!))).toEqual([
      ['ann', 'dee'],
      ['ben'],
      ['cem', 'eva'],
    ]);
  });

  test('are drawn by whole groups until the fraction is reached, by seed', async () => {
    const drawn = async (seed: number) => {
      const { arrays, infos } = await data.prepare('words.tar.gz', {
        audio,
        fileName,
        seed,
        valFraction: 0.1,
        testFraction: 0.3,
        holdOut: seed === 9 ? { test: ['ann'] } : undefined,
      });
      const groups = ['train', 'val', 'test'].map((split) => speakersOf(arrays[`${split}-samples`]!));
      expect(groups.flat().sort()).toEqual(speakers);
      expect(infos.join()).toContain(`val is made of the groups ${groups[1]!.join(', ')}`);
      return groups;
    };
    const first = await drawn(1);
    expect(first.map((groups) => groups.length)).toEqual([2, 1, 2]);
    expect(await drawn(1)).toEqual(first);
    expect(
      new Set(await Promise.all([1, 2, 3, 4].map(async (seed) => JSON.stringify(await drawn(seed))))).size,
    ).toBeGreaterThan(1);
    expect((await drawn(9))[2]).toEqual(['ann']);
  });

  test('of one group leave nothing to evaluate on, which is told', async () => {
    const { manifest, warnings } = await data.prepare(
      await folder('alone', { 'a_x.wav': wavOf([1], 1000), 'b_x.wav': wavOf([2], 1000) }),
      { audio, fileName: '{label}_{group}', valFraction: 0.5 },
    );
    expect(Object.keys(manifest.splits)).toEqual(['train']);
    expect(warnings.join()).toMatch(/no val split: only one group/);
  });

  test('in class folders and splits need no template', async () => {
    const { manifest, arrays } = await data.prepare(
      await folder('folders', {
        'train/a/1.wav': wavOf([5], 1000),
        'train/b/1.WAV': wavOf([6], 1000),
        'test/a/1.wav': wavOf([7], 1000),
      }),
      { audio },
    );
    expect([manifest.classes, arrays['train-samples']!.data, arrays['test-samples']!.data]).toEqual([
      ['a', 'b'],
      [5, 0, 0, 0, 6, 0, 0, 0],
      [7, 0, 0, 0],
    ]);
  });

  test.each<[string, Parameters<DataRoot['prepare']>[1], RegExp]>([
    [
      'a group that is not there',
      { fileName, holdOut: { test: ['zoe'] } },
      /holdOut to name groups that there are \(ann, ben, cem, dee, eva\), got zoe/,
    ],
    [
      'a group in two splits',
      { fileName, holdOut: { val: ['ann'], test: ['ann'] } },
      /each group of holdOut in one split, got ann in both/,
    ],
    ['every group held out', { fileName, holdOut: { test: speakers } }, /expected training sounds, found none/],
    [
      'a template that nothing fits',
      { fileName: '{label}+{}' },
      /sounds named like \{label\}\+\{\} in words\.tar\.gz, found none \(only/,
    ],
    ['a template of one class', { fileName: 'y{label}_{}' }, /at least two classes in words\.tar\.gz, found one: es/],
    ['an impossible template', { fileName: '{label}{group}' }, /text between the fields/],
    [
      'no template where there are no class folders',
      {},
      /two class folders in words\.tar\.gz, found one: words; where the names of files tell the class, fileName says how/,
    ],
  ])('%s is told in one sentence', async (_, more, expected) => {
    const error = await data.prepare('words.tar.gz', { audio, ...more }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(InvalidDataError);
    expect((error as Error).message).toMatch(expected);
  });

  test('that are damaged are counted and named', async () => {
    const source = await folder('noise', {
      ...spoken(),
      'words/no_ann_9.wav': Buffer.from('garbage'),
      'words/yes_ann_9.mp3': Buffer.from('ID3 garbage'),
      'words/no_ben_9.flac': Buffer.from('fLaC'),
      'words/no_ben_8.ogg': Buffer.from('OggS'),
    });
    const { manifest, warnings } = await data.prepare(source, { audio, fileName, maxCorruptFraction: 0.1 });
    expect(manifest.splits.train.count).toBe(40);
    for (const name of ['no_ann_9.wav', 'yes_ann_9.mp3', 'no_ben_9.flac', 'no_ben_8.ogg'])
      expect(warnings.join()).toContain(name);
    await expect(data.prepare(source, { audio, fileName })).rejects.toThrow(
      /at most 5 % of the files .*4 of 44 files could not be decoded/,
    );
  });
});

test('images, too, may have their class and group in their names', async () => {
  const source = await folder(
    'named',
    Object.fromEntries(
      ['cat', 'dog'].flatMap((label, l) =>
        ['x', 'y'].map((group) => [
          `${label}-${group}.png`,
          colour(l * 100, 0, 0)
            .png()
            .toBuffer(),
        ]),
      ),
    ),
  );
  const { manifest, arrays } = await data.prepare(source, { fileName: '{label}-{group}', holdOut: { test: ['y'] } });
  expect([
    manifest.classes,
    manifest.splits.train.countPerClass,
    manifest.splits.test!.countPerClass,
    arrays['train-samples']!.data[192],
  ]).toEqual([['cat', 'dog'], [1, 1], [1, 1], 100]);
});

test('classes that are numbers are in the order of their value', async () => {
  const source = await folder(
    'numbered',
    Object.fromEntries(['10', '9', '100'].map((label) => [`${label}/1.png`, colour(1, 0, 0).png().toBuffer()])),
  );
  expect((await data.prepare(source)).manifest.classes).toEqual(['9', '10', '100']);
});
