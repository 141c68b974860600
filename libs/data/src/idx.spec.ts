import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DataRoot, reds, refusal } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

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

  test('may lie in folders that are called like its files, as Kaggle gives it, and beside them', async () => {
    const files = (folder: (name: string) => string) => ({
      [folder('train-images-idx3-ubyte')]: idx([2, 8, 8], pixels(2)),
      [folder('train-labels-idx1-ubyte')]: idx([2], [4, 5]),
      [folder('t10k-images-idx3-ubyte')]: idx([1, 8, 8], pixels(1)),
      [folder('t10k-labels-idx1-ubyte')]: idx([1], [5]),
    });
    const nested = files((name) => `archive/${name}/${name}`);
    for (const [source, all] of Object.entries({
      nested,
      both: { ...nested, ...files((name) => `archive/${name.replace('-idx', '.idx')}`) },
    })) {
      const { arrays } = await data.prepare(await data.folder(source, all));
      expect([arrays['train-labels']!.data, arrays['test-labels']!.data]).toEqual([[0, 1], [1]]);
    }
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
