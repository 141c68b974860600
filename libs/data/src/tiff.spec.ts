import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

/** An uncompressed TIFF of 8 x 8 equal pixels, little-endian. `format`: 1 unsigned, 2 signed, 3 floating point. */
function tiffOf(
  pixel: Buffer,
  bits: number,
  format: number,
  samples = 1,
  extra: number[] = [],
  photometric = samples >= 3 ? 2 : 1,
): Buffer {
  const side = 8;
  const content = Buffer.concat(Array.from({ length: side * side }, () => pixel));
  const lists: Buffer[] = [];
  let end = 0;
  const listed = (values: number[]): Buffer => {
    const shorts = Buffer.from(Uint16Array.from(values).buffer);
    if (shorts.length <= 4) return Buffer.concat([shorts, Buffer.alloc(4 - shorts.length)]);
    const at = Buffer.alloc(4);
    at.writeUInt32LE(end);
    lists.push(shorts);
    end += shorts.length;
    return at;
  };
  const tags: [tag: number, values: number[]][] = [
    [256, [side]],
    [257, [side]],
    [258, new Array<number>(samples).fill(bits)],
    [259, [1]],
    [262, [photometric]],
    [273, [0]],
    [277, [samples]],
    [278, [side]],
    [279, [content.length]],
    ...(extra.length ? [[338, extra] as [number, number[]]] : []),
    [339, new Array<number>(samples).fill(format)],
  ];
  const header = 8 + 2 + 12 * tags.length + 4;
  end = header;
  const entries = tags.map(([tag, values]) => {
    const head = Buffer.alloc(8);
    head.writeUInt16LE(tag, 0);
    head.writeUInt16LE(3, 2);
    head.writeUInt32LE(values.length, 4);
    return Buffer.concat([head, listed(values)]);
  });
  entries[tags.findIndex(([tag]) => tag === 273)]!.writeUInt16LE(end, 8);
  const start = Buffer.from('II*\0\x08\0\0\0\0\0', 'latin1');
  start.writeUInt16LE(tags.length, 8);
  return Buffer.concat([start, ...entries, Buffer.alloc(4), ...lists, content]);
}

const int16 = (value: number) => Buffer.from(Int16Array.of(value).buffer);
const firstPixel = async (name: string, tiff: Buffer) => {
  const source = await data.folder(name, { 'a/x.tif': tiff, 'b/good.png': colour(77, 77, 77).png().toBuffer() });
  const { arrays } = await data.prepare(source);
  return arrays['train-samples']!.data.slice(0, 3);
};

/** A BigTIFF of one gray pixel; what it leaves out is usual. */
function bigTiffOf(content: Buffer, bits: number, format: number): Buffer {
  const tags = [
    [256, 1],
    [257, 1],
    [258, bits],
    [259, 1],
    [262, 1],
    [273, 16 + 8 + 20 * 10 + 8],
    [277, 1],
    [278, 1],
    [279, content.length],
    [339, format],
  ] as const;
  const bytes = Buffer.alloc(16 + 8 + 20 * tags.length + 8);
  bytes.write('II+\0\x08\0\0\0', 0, 'latin1');
  bytes.writeBigUInt64LE(16n, 8);
  bytes.writeBigUInt64LE(BigInt(tags.length), 16);
  tags.forEach(([tag, value], i) => {
    bytes.writeUInt16LE(tag, 24 + 20 * i);
    bytes.writeUInt16LE(3, 26 + 20 * i);
    bytes.writeBigUInt64LE(1n, 28 + 20 * i);
    bytes.writeBigUInt64LE(BigInt(value), 36 + 20 * i);
  });
  return Buffer.concat([bytes, content]);
}

describe('a TIFF', () => {
  test('of the big form is looked into as the classic one is', async () => {
    expect(await firstPixel('big', bigTiffOf(Buffer.of(100), 8, 1))).toEqual([100, 100, 100]);
    const floats = bigTiffOf(Buffer.from(Float32Array.of(0.5).buffer), 32, 3);
    await expect(firstPixel('big floats', floats)).rejects.toThrow(/got floating-point numbers of 32 bits/);
  });

  test('of several images is the first of them, which is said; smaller versions of it are none', async () => {
    const one = tiffOf(Buffer.of(100), 8, 1);
    /** Followed by its directory again, which says what kind of image it is of. */
    const followedBy = (kind: number): Buffer => {
      const entries = one.readUInt16LE(8);
      const directory = Buffer.from(one.subarray(8, 10 + 12 * entries + 4));
      const subfile = Buffer.of(254, 0, 4, 0, 1, 0, 0, 0, kind, 0, 0, 0);
      directory.writeUInt16LE(entries + 1, 0);
      const first = Buffer.from(one);
      first.writeUInt32LE(one.length, 10 + 12 * entries);
      return Buffer.concat([first, directory.subarray(0, 2), subfile, directory.subarray(2)]);
    };
    for (const [name, kind, warned] of [
      ['stack', 0, 1],
      ['page', 2, 1],
      ['thumbnail', 1, 0],
    ] as const) {
      const source = await data.folder(name, { 'a/x.tif': followedBy(kind), 'b/y.tif': one });
      const { arrays, warnings } = await data.prepare(source);
      expect(arrays['train-samples']!.data[0]).toBe(100);
      expect(warnings.filter((each) => /1 TIFFs hold several images, .*\(a\/x\.tif\)/.test(each))).toHaveLength(warned);
      expect(warnings).toHaveLength(warned);
    }
  });

  test('of whole numbers is read, 16 bits by their upper 8', async () => {
    expect(await firstPixel('u8', tiffOf(Buffer.of(100), 8, 1))).toEqual([100, 100, 100]);
    expect(await firstPixel('u16', tiffOf(Buffer.from(Uint16Array.of(40_000).buffer), 16, 1))).toEqual([156, 156, 156]);
  });

  test('of 16 bits whose values are of 12 is dark, which is said, and none of 12 bits is read', async () => {
    const source = await data.folder('microscope', {
      'a/x.tif': tiffOf(Buffer.from(Uint16Array.of(4095).buffer), 16, 1),
      'b/y.png': colour(9, 9, 9).png().toBuffer(),
    });
    const { arrays, warnings } = await data.prepare(source);
    expect(arrays['train-samples']!.data[0]).toBe(15);
    expect(warnings).toEqual([expect.stringMatching(/1 of 1 images of 16 bits are dark \(a\/x\.tif\).*of 12 bits/)]);
  });

  test('whose fourth channel is not alpha keeps its colours', async () => {
    expect(await firstPixel('infrared', tiffOf(Buffer.of(200, 100, 50, 0), 8, 1, 4, [0]))).toEqual([200, 100, 50]);
    expect(await firstPixel('alpha', tiffOf(Buffer.of(200, 100, 50, 0), 8, 1, 4, [2]))).toEqual([0, 0, 0]);
  });

  test('keeps its colours beside values that it says nothing of', async () => {
    expect(await firstPixel('untold', tiffOf(Buffer.of(200, 100, 50, 0), 8, 1, 4))).toEqual([200, 100, 50]);
    const deep = Buffer.from(Uint16Array.of(51_400, 25_700, 12_850, 0).buffer);
    expect(await firstPixel('untold deep', tiffOf(deep, 16, 1, 4))).toEqual([200, 100, 50]);
    expect(await firstPixel('untold gray', tiffOf(Buffer.of(200, 0), 8, 1, 2))).toEqual([200, 200, 200]);
    expect(await firstPixel('print', tiffOf(Buffer.of(0, 0, 0, 0), 8, 1, 4, [], 5))).toEqual([255, 255, 255]);
  });

  test.each<[string, Buffer, RegExp]>([
    [
      '12 bits',
      tiffOf(Buffer.of(0x88, 0x88, 0x88), 12, 1),
      /whole numbers of 1, 2, 4, 8, 16 bits .*got 12 bits: scale it to 16/,
    ],
    ['several grays', tiffOf(Buffer.of(1, 2, 3, 4), 8, 1, 4, [], 1), /at most one more value per pixel .*got 3/],
    ['floats', tiffOf(Buffer.from(Float32Array.of(0.5).buffer), 32, 3), /got floating-point numbers of 32 bits: scale/],
    ['signed numbers', tiffOf(int16(-1000), 16, 2), /got signed whole numbers of 16 bits/],
    ['32 bits', tiffOf(Buffer.from(Uint32Array.of(1e9).buffer), 32, 1), /got whole numbers of 32 bits/],
    ['five channels', tiffOf(Buffer.of(1, 2, 3, 4, 5), 8, 1, 5, [0, 0]), /at most one more value per pixel .*got 2/],
  ])('of %s is left out and named', async (name, tiff, expected) => {
    const source = await data.folder(name, {
      'a/x.tif': tiff,
      'a/y.png': colour(1, 1, 1).png().toBuffer(),
      'b/good.png': colour(77, 77, 77).png().toBuffer(),
    });
    const { manifest, warnings } = await data.prepare(source, { maxCorruptFraction: 0.5 });
    expect(manifest.splits.train.count).toBe(2);
    expect(warnings.join()).toMatch(expected);
  });
});
