import { parquetWriteBuffer } from 'hyparquet-writer';
import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, twoClasses, wavOf, zipOf } from '../../../tests/support/sources.js';
import { InvalidDataError } from './npy.js';
import { openParquet } from './parquet.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const png = (r: number, g = 0) => colour(r, g, 0).png().toBuffer();
/** Red of the first pixel of each image, which tells one from another. */
const reds = ({ data: bytes, shape }: { data: number[]; shape: number[] }) =>
  Array.from({ length: shape[0]! }, (_, i) => bytes[i * shape[1]! * shape[2]! * shape[3]!]!);

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(InvalidDataError);
  return (error as Error).message;
}

describe('a zip', () => {
  test('gives what its folder gives', async () => {
    const files = twoClasses();
    const [folder, zip, wrapped] = await Promise.all([
      data.folder('plain', files),
      data.archive('plain.zip', Object.fromEntries(Object.entries(files).reverse())),
      data.archive('mac.zip', {
        ...Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`pets/${name}`, bytes])),
        'pets/': Buffer.alloc(0),
        '__MACOSX/pets/cats/._0.png': Buffer.from('x'),
      }),
    ]);
    const digests = await Promise.all(
      [folder, zip, wrapped].map(async (source) => (await data.prepare(source)).manifest.digest),
    );
    expect(new Set(digests).size).toBe(1);
  });

  test('whose files hold more than it says has damaged files, not more memory', async () => {
    const bomb = await zipOf({ ...twoClasses(), 'cats/bomb.png': Buffer.alloc(8 * 2 ** 20) });
    // The size in the directory, the last place of the bomb's name but for the local header's.
    const entry = bomb.lastIndexOf('cats/bomb.png') - 46;
    bomb.writeUInt32LE(100, entry + 24);
    await writeFile(path.join(data.root, 'bomb.zip'), bomb);
    const { manifest, warnings } = await data.prepare('bomb.zip', { maxCorruptFraction: 0.1 });
    expect(manifest.splits.train.count).toBe(20);
    expect(warnings.join()).toMatch(/1 of 21 files could not be decoded: cats\/bomb\.png/);
  });

  test.each<[string, () => Promise<string>, RegExp]>([
    ['empty', () => data.archive('empty.zip', {}), /images in class folders in empty\.zip, found none: it is empty/],
    [
      'cut short',
      async () => {
        const name = await data.archive('cut.zip', twoClasses());
        await truncate(path.join(data.root, name), 600);
        return name;
      },
      /cut\.zip to be a whole zip archive/,
    ],
    [
      'encrypted',
      () => data.archive('secret.zip', twoClasses(), { flags: 1 }),
      /secret\.zip without encryption, cats\/0\.png is encrypted/,
    ],
    [
      'of an unknown method',
      () => data.archive('lzma.zip', twoClasses(), { method: 14 }),
      /stored or deflated, cats\/0\.png is compressed by method 14/,
    ],
    [
      'with a path out of it',
      () => data.archive('slip.zip', { ...twoClasses(), '../slip.png': png(1) }),
      /names inside the archive slip\.zip, got "\.\.\/slip\.png"/,
    ],
    [
      'with a path from the root',
      () => data.archive('root.zip', { ...twoClasses(), '/etc/slip.png': png(1) }),
      /names inside the archive root\.zip, got "\/etc\/slip\.png"/,
    ],
    [
      'with a path out of it by backslashes',
      () => data.archive('back.zip', { ...twoClasses(), '..\\slip.png': png(1) }),
      /names inside the archive back\.zip/,
    ],
    [
      'with a file that unpacks to a gigabyte',
      () => data.archive('huge.zip', twoClasses(), { claimedSize: 2 ** 30 }),
      /files of at most 268435456 bytes in huge\.zip, cats\/0\.png has 1073741824/,
    ],
  ])('%s is told in one sentence', async (_, make, expected) => {
    expect(await refusal(data.prepare(await make()))).toMatch(expected);
  });
});

describe('WebDataset shards', () => {
  const sample = (key: string, red: number, label: string | object) => ({
    [`${key}.png`]: png(red),
    ...(typeof label === 'string'
      ? { [`${key}.cls`]: Buffer.from(label) }
      : { [`${key}.json`]: Buffer.from(JSON.stringify(label)) }),
  });

  test("give samples by key, classes by .cls or .json, splits by the shards' names", async () => {
    await data.archive('shards/pets-train-000001.tar', {
      ...sample('deep/003', 40, { label: 10, caption: 'x' }),
      ...sample('deep/004', 50, { label: 9 }),
      '005.png': png(60),
      '006.cls': Buffer.from('1'),
      'deep/007.png': png(1),
      'deep/007.json': Buffer.from('{no'),
    });
    await data.archive('shards/pets-val-000000.tar.gz', { ...sample('000', 70, '9'), '__key__.txt': Buffer.from('x') });
    await data.archive('shards/pets-train-000000.tar', {
      '000.x.png': png(10),
      '000.cls': Buffer.from('9'),
      ...sample('001', 20, '10\n'),
      ...sample('002', 30, '9'),
    });
    const { manifest, arrays, warnings } = await data.prepare('shards');
    // Numbers in the order of their value.
    expect(manifest.classes).toEqual(['9', '10']);
    expect(reds(arrays['train-samples']!)).toEqual([10, 20, 30, 40, 50]);
    expect(arrays['train-labels']!.data).toEqual([0, 1, 0, 1, 0]);
    expect([reds(arrays['val-samples']!), arrays['val-labels']!.data]).toEqual([[70], [0]]);
    expect(warnings.join()).toMatch(/4 files .*pets-train-000001\.tar\/005\.png, .*006, .*007\.png, .*__key__/);
  });

  test('are taken from one tar as well, and from keys by template', async () => {
    await data.archive('one.tar', { ...sample('a_1', 1, 'cat'), ...sample('b_1', 2, 'dog') });
    expect((await data.prepare('one.tar')).manifest.classes).toEqual(['cat', 'dog']);
    expect((await data.prepare('one.tar', { fileName: '{label}_{}' })).manifest.classes).toEqual(['a', 'b']);
  });

  test('hold sounds, too', async () => {
    await data.archive(
      'words/0.tar',
      Object.fromEntries(
        ['yes', 'no'].flatMap((word, i) => [
          [`${i}.wav`, wavOf([i + 1, i + 2], 1000)],
          [`${i}.cls`, Buffer.from(word)],
        ]),
      ),
    );
    const { arrays } = await data.prepare('words', { audio: { sampleRate: 1000, seconds: 0.003 } });
    expect(arrays['train-samples']!.data).toEqual([1, 2, 0, 2, 3, 0]);
    expect(arrays['train-labels']!.data).toEqual([1, 0]);
  });

  test('that are cut short are told, and masks are not looked for in them', async () => {
    await data.archive('cut/0.tar', { ...sample('0', 1, 'a'), ...sample('1', 2, 'b') });
    await truncate(path.join(data.root, 'cut/0.tar'), 1000);
    expect(await refusal(data.prepare('cut'))).toMatch(/0\.tar to be a whole tar archive/);
    expect(await refusal(data.prepare('shards', { masks: { classes: ['a', 'b'] } }))).toMatch(
      /folders images and masks, .* got WebDataset shards at shards/,
    );
  });
});

describe('Parquet', () => {
  type Codec = 'UNCOMPRESSED' | 'SNAPPY' | 'GZIP' | 'ZSTD';
  const schemaOf = (label: 'INT64' | 'BYTE_ARRAY', media = 'image') => [
    { name: 'root', num_children: 2 },
    { name: media, num_children: 2, repetition_type: 'OPTIONAL' as const },
    { name: 'bytes', type: 'BYTE_ARRAY' as const, repetition_type: 'OPTIONAL' as const },
    {
      name: 'path',
      type: 'BYTE_ARRAY' as const,
      converted_type: 'UTF8' as const,
      repetition_type: 'OPTIONAL' as const,
    },
    {
      name: 'label',
      type: label,
      repetition_type: 'OPTIONAL' as const,
      ...(label === 'BYTE_ARRAY' && { converted_type: 'UTF8' as const }),
    },
  ];
  const table = (
    images: (Buffer | null)[],
    labels: (bigint | string | null)[],
    {
      codec = 'SNAPPY',
      names,
      media = 'image',
      rowGroupSize = 2,
    }: { codec?: Codec; names?: string[]; media?: string; rowGroupSize?: number } = {},
  ): Buffer =>
    Buffer.from(
      parquetWriteBuffer({
        schema: schemaOf(typeof labels[0] === 'string' ? 'BYTE_ARRAY' : 'INT64', media),
        codec,
        rowGroupSize,
        compressors: {
          GZIP: (bytes: Uint8Array) => gzipSync(bytes),
          ZSTD: (bytes: Uint8Array) => zstdCompressSync(bytes),
        },
        columnData: [
          {
            name: media,
            data: images.map((bytes, i) => ({ bytes: bytes && new Uint8Array(bytes), path: `${i}.png` })),
          },
          { name: 'label', data: labels },
        ],
        ...(names && {
          kvMetadata: [
            {
              key: 'huggingface',
              value: JSON.stringify({
                info: { features: { image: { _type: 'Image' }, label: { names, _type: 'ClassLabel' } } },
              }),
            },
          ],
        }),
      }),
    );

  test('as Hugging Face has it: names of the classes, splits by file, rows without a label passed over', async () => {
    const images = await Promise.all([10, 20, 30, 40, 50].map((red) => png(red)));
    const names = ['zebra', 'ape', 'unseen'];
    await data.folder('hub', {
      'data/train-00000-of-00002.parquet': table(images.slice(0, 3), [0n, 1n, 0n], { names }),
      'data/train-00001-of-00002.parquet': table(images.slice(3), [1n, -1n], { names, codec: 'ZSTD' }),
      'data/validation-00000-of-00001.parquet': table([images[0]!], [1n], { names, codec: 'GZIP' }),
      'data/test-00000-of-00001.parquet': table([images[1]!], [0n], { names, codec: 'UNCOMPRESSED' }),
      'README.md': Buffer.from('x'),
    });
    const { manifest, arrays, warnings } = await data.prepare('hub');
    expect(manifest.classes).toEqual(['zebra', 'ape']);
    expect([reds(arrays['train-samples']!), arrays['train-labels']!.data]).toEqual([
      [10, 20, 30, 40],
      [0, 1, 0, 1],
    ]);
    expect([
      reds(arrays['val-samples']!),
      arrays['val-labels']!.data,
      reds(arrays['test-samples']!),
      arrays['test-labels']!.data,
    ]).toEqual([[10], [1], [20], [0]]);
    expect(warnings.join()).toMatch(/1 files .*train-00001-of-00002\.parquet, row 1/);
  });

  test('with labels that are text, in one file, and a row whose image is damaged', async () => {
    await data.folder('.', {
      'words.parquet': table(
        [await png(1), await png(2), null, Buffer.from('no image'), await png(5)],
        ['dog', 'cat', 'cat', 'dog', 'cat'],
        { media: 'img' },
      ),
    });
    const { manifest, arrays, warnings } = await data.prepare('words.parquet', { maxCorruptFraction: 0.5 });
    expect([manifest.classes, reds(arrays['train-samples']!), arrays['train-labels']!.data]).toEqual([
      ['cat', 'dog'],
      [1, 2, 5],
      [1, 0, 0],
    ]);
    expect(warnings.join()).toMatch(/2 of 5 files could not be decoded: words\.parquet, row 2 .*words\.parquet, row 3/);
  });

  test('that holds sounds', async () => {
    await data.folder('.', {
      'sounds.parquet': table([wavOf([1, 2], 1000), wavOf([3, 4], 1000)], ['a', 'b'], { media: 'audio' }),
    });
    expect(
      (await data.prepare('sounds.parquet', { audio: { sampleRate: 1000, seconds: 0.002 } })).arrays['train-samples']!
        .data,
    ).toEqual([1, 2, 3, 4]);
  });

  test('of row groups that come in several answers gives each row once, with its own bytes', async () => {
    const count = 60;
    await data.folder('.', {
      'large.parquet': table(
        Array.from({ length: count }, (_, i) => Buffer.alloc(2 ** 20, i)),
        Array.from({ length: count }, (_, i) => BigInt(i % 2)),
        { codec: 'UNCOMPRESSED', rowGroupSize: 20 },
      ),
    });
    const source = await openParquet([{ name: 'large.parquet', path: path.join(data.root, 'large.parquet') }], 'image');
    const seen: number[] = [];
    await source.read((index, payload) => {
      expect((payload as Buffer).equals(Buffer.alloc(2 ** 20, index))).toBe(true);
      // Not a part of what the whole row group was unpacked to.
      expect((payload as Buffer).buffer.byteLength).toBe(2 ** 20);
      seen.push(index);
    }, new AbortController().signal);
    expect(seen).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  // A level's run that never ends: hyparquet reads on and on.
  test('that is changed inside a page ends the reading, and the name of the file is told', async () => {
    const whole = table([Buffer.alloc(20, 1), Buffer.alloc(20, 2)], [0n, 1n], { codec: 'UNCOMPRESSED' });
    const file = path.join(data.root, 'changed.parquet');
    for (const [place, byte] of [
      [21, 0],
      [12, 128],
    ] as const) {
      const changed = Buffer.from(whole);
      changed[place] = byte;
      await writeFile(file, changed);
      const reading = openParquet([{ name: 'changed.parquet', path: file }], 'image', 2000).then((source) =>
        source.read(() => {}, new AbortController().signal),
      );
      expect(await refusal(reading)).toBe(
        'expected changed.parquet to be a whole Parquet file: it could not be read any further in 2 s',
      );
    }
  });

  test('that is none, or lacks what is needed, is told in one sentence', async () => {
    const whole = table(await Promise.all([png(1), png(2)]), [0n, 1n]);
    const damaged = Buffer.from(whole);
    damaged.fill(0xff, 4, 60);
    await data.folder('.', {
      'cut.parquet': whole.subarray(0, whole.length - 20),
      'text.parquet': Buffer.from('no parquet'),
      'none.parquet': Buffer.alloc(0),
      'damaged.parquet': damaged,
      'one.parquet': table([await png(1)], ['cat']),
    });
    for (const name of ['cut', 'text', 'none', 'damaged'])
      expect(await refusal(data.prepare(`${name}.parquet`))).toMatch(
        new RegExp(`${name}\\.parquet to be a whole Parquet file`),
      );
    expect(await refusal(data.prepare('one.parquet'))).toMatch(/at least two class.* in one\.parquet, found one: cat/);
    expect(await refusal(data.prepare('one.parquet', { audio: {} }))).toMatch(
      /a column audio or sound of sounds in one\.parquet, found image, label/,
    );
    expect(await refusal(data.prepare('one.parquet', { fileName: '{label}' }))).toMatch(
      /files with names, which fileName needs, got Parquet/,
    );
  });
});

describe('IDX', () => {
  const idx = (dimensions: number[], bytes: ArrayLike<number>) => {
    const header = Buffer.alloc(4 + 4 * dimensions.length);
    header.set([0, 0, 8, dimensions.length]);
    dimensions.forEach((side, i) => header.writeUInt32BE(side, 4 + 4 * i));
    return Buffer.concat([header, Buffer.from(Array.from(bytes))]);
  };
  const pixels = (count: number, channels = 1) =>
    Array.from({ length: count * 64 * channels }, (_, i) => Math.floor(i / (64 * channels)) * 10 + (i % channels));

  test("gives MNIST's splits and keeps its pixels", async () => {
    await data.folder('mnist/MNIST/raw', {
      'train-images-idx3-ubyte': idx([4, 8, 8], pixels(4)),
      'train-images-idx3-ubyte.gz': gzipSync(idx([4, 8, 8], pixels(4))),
      'train-labels-idx1-ubyte': idx([4], [7, 10, 7, 10]),
      't10k-images-idx3-ubyte.gz': gzipSync(idx([2, 8, 8], pixels(2))),
      't10k-labels-idx1-ubyte.gz': gzipSync(idx([2], [10, 7])),
    });
    const { manifest, arrays } = await data.prepare('mnist', { channels: 1 });
    expect([manifest.classes, arrays['train-labels']!.data, arrays['test-labels']!.data]).toEqual([
      ['7', '10'],
      [0, 1, 0, 1],
      [1, 0],
    ]);
    expect(arrays['train-samples']).toEqual({ shape: [4, 8, 8, 1], data: pixels(4) });
    expect(reds((await data.prepare('mnist')).arrays['test-samples']!)).toEqual([0, 10]);
  });

  test('of four dimensions is in colour', async () => {
    await data.folder('colour', {
      'train-images.idx4-ubyte': idx([2, 8, 8, 3], pixels(2, 3)),
      'train-labels.idx1-ubyte': idx([2], [0, 1]),
    });
    expect((await data.prepare('colour')).arrays['train-samples']!.data).toEqual(pixels(2, 3));
  });

  test.each<[string, Record<string, Buffer>, RegExp]>([
    [
      'images only',
      { 'train-images-idx3-ubyte': idx([1, 8, 8], pixels(1)) },
      /both images and labels, found only train-images-idx3-ubyte/,
    ],
    [
      'fewer labels',
      { 'train-images-idx3-ubyte': idx([2, 8, 8], pixels(2)), 'train-labels-idx1-ubyte': idx([1], [1]) },
      /as many labels as the 2 images/,
    ],
    [
      'images cut short',
      {
        'train-images-idx3-ubyte': idx([2, 8, 8], pixels(2)).subarray(0, 100),
        'train-labels-idx1-ubyte': idx([2], [0, 1]),
      },
      /whole IDX file, it ends early/,
    ],
    [
      'no IDX',
      { 'train-images-idx3-ubyte': Buffer.from('hello world'), 'train-labels-idx1-ubyte': idx([2], [0, 1]) },
      /an IDX file of bytes, it begins with 68656c6c/,
    ],
    [
      'a gzip cut short',
      {
        'train-images-idx3-ubyte.gz': gzipSync(idx([2, 8, 8], pixels(2))).subarray(0, 20),
        'train-labels-idx1-ubyte': idx([2], [0, 1]),
      },
      /whole gzip file/,
    ],
    [
      'absurd sides',
      { 'train-images-idx3-ubyte': idx([2, 4e9, 4e9], []), 'train-labels-idx1-ubyte': idx([2], [0, 1]) },
      /dimensions count, height, width .*got 2 x 4000000000 x 4000000000/,
    ],
    [
      'absurd counts',
      { 'train-images-idx3-ubyte': idx([4e9, 8, 8], []), 'train-labels-idx1-ubyte': idx([4e9], []) },
      /at most 20000000 items/,
    ],
  ])('%s is told in one sentence', async (name, files, expected) => {
    expect(await refusal(data.prepare(await data.folder(`idx ${name}`, files)))).toMatch(expected);
  });
});
