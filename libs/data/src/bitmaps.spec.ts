/** BMP, Netpbm and JPEG under other names. */
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pngOf } from '../../../tests/support/png.js';
import { colour, DataRoot, reds, refusal, type Files } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const SIDE = 8;
type Rgb = readonly [number, number, number];
/** Another colour at each place, so that rows and columns in a wrong order are seen. */
const PIXELS: Rgb[] = Array.from({ length: SIDE * SIDE }, (_, i) => [8 * (i % SIDE), 8 * Math.floor(i / SIDE), 248]);
let made = 0;
const prepared = async (bytes: Buffer | Promise<Buffer>, name: string, more = {}) => {
  const files: Files = { [`a/${name}`]: bytes, 'b/plain.png': colour(1, 2, 3).png().toBuffer() };
  return data.prepare(await data.folder(`bitmaps-${made++}`, files), more);
};
const pixelsOf = async (bytes: Buffer | Promise<Buffer>, name: string, more = {}) => {
  const { arrays, warnings } = await prepared(bytes, name, more);
  expect(warnings).toEqual([]);
  const { data: values, shape } = arrays['train-samples']!;
  return values.slice(0, SIDE * SIDE * shape[3]!);
};

interface Bmp {
  bits: number;
  rows: (row: number) => number[];
  palette?: number[];
  masks?: number[];
  isTopDown?: boolean;
  header?: 12 | 40 | 108;
  compression?: number;
}

function bmpOf({ bits, rows, palette = [], masks = [], isTopDown = false, header = 40, compression }: Bmp): Buffer {
  const head = Buffer.alloc(14 + header);
  head.write('BM', 0, 'latin1');
  head.writeUInt32LE(header, 14);
  if (header === 12) {
    head.writeUInt16LE(SIDE, 18);
    head.writeUInt16LE(SIDE, 20);
    head.writeUInt16LE(bits, 24);
  } else {
    head.writeInt32LE(SIDE, 18);
    head.writeInt32LE(isTopDown ? -SIDE : SIDE, 22);
    head.writeUInt16LE(bits, 28);
    head.writeUInt32LE(compression ?? (masks.length ? 3 : 0), 30);
  }
  const fields = Buffer.alloc(4 * masks.length);
  masks.forEach((mask, i) => (header > 40 ? head : fields).writeUInt32LE(mask, header > 40 ? 54 + 4 * i : 4 * i));
  const order = Array.from({ length: SIDE }, (_, y) => (isTopDown ? y : SIDE - 1 - y));
  const body = order.map((y) => {
    const row = Buffer.from(rows(y));
    return Buffer.concat([row, Buffer.alloc((4 - (row.length % 4)) % 4)]);
  });
  const start = Buffer.concat([head, header > 40 ? Buffer.alloc(0) : fields, Buffer.from(palette)]);
  start.writeUInt32LE(start.length, 10);
  return Buffer.concat([start, ...body]);
}

const row = (y: number): Rgb[] => PIXELS.slice(y * SIDE, (y + 1) * SIDE);
const bgr = (y: number): number[] => row(y).flatMap(([r, g, b]) => [b, g, r]);
const short = (value: number): number[] => [value & 255, value >> 8];

describe('BMP', () => {
  test.each<[string, Bmp]>([
    ['24 bits', { bits: 24, rows: bgr }],
    ['24 bits from the top down', { bits: 24, rows: bgr, isTopDown: true }],
    ['24 bits of OS/2', { bits: 24, rows: bgr, header: 12 }],
    ['32 bits', { bits: 32, rows: (y) => row(y).flatMap(([r, g, b]) => [b, g, r, 0]) }],
    [
      '32 bits with masks',
      { bits: 32, rows: (y) => row(y).flatMap(([r, g, b]) => [0, r, g, b]), masks: [0xff00, 0xff0000, 0xff000000] },
    ],
    [
      '32 bits with alpha',
      {
        bits: 32,
        header: 108,
        rows: (y) => row(y).flatMap(([r, g, b]) => [b, g, r, 255]),
        masks: [0xff0000, 0xff00, 0xff, 0xff000000],
      },
    ],
  ])('of %s is read pixel by pixel', async (_, bmp) => {
    expect(await pixelsOf(bmpOf(bmp), 'x.bmp')).toEqual(PIXELS.flat());
  });

  test.each<[number, number[] | undefined]>([
    [5, undefined],
    [6, [0xf800, 0x7e0, 0x1f]],
  ])('of 16 bits, %i of green, is scaled to bytes', async (greenBits, masks) => {
    const rows = (y: number) =>
      row(y).flatMap(([r, g, b]) => short(((r >> 3) << (5 + greenBits)) | ((g >> (8 - greenBits)) << 5) | (b >> 3)));
    const found = await pixelsOf(bmpOf({ bits: 16, rows, ...(masks && { masks }) }), 'x.bmp');
    found.forEach((value, i) => expect(Math.abs(value - PIXELS.flat()[i]!)).toBeLessThanOrEqual(8));
    expect(found.slice(0, 3)).toEqual([0, 0, 255]);
  });

  test.each([1, 4, 8])('of %i bits has the colours of its palette', async (bits) => {
    const rows = (y: number) => {
      const packed = new Array<number>(bits).fill(0);
      for (let x = 0; x < SIDE; x++) packed[(x * bits) >> 3]! |= (y & 1) << (8 - bits - ((x * bits) & 7));
      return packed;
    };
    const found = await pixelsOf(bmpOf({ bits, rows, palette: [1, 2, 3, 0, 30, 20, 10, 0] }), 'x.dib');
    expect(found).toEqual(PIXELS.flatMap((_, i) => (i & SIDE ? [10, 20, 30] : [3, 2, 1])));
  });

  test.each<[string, Buffer, RegExp]>([
    ['packed', bmpOf({ bits: 8, rows: () => [1], compression: 1 }), /without compression, got method 1 of 8 bits/],
    ['cut', bmpOf({ bits: 24, rows: bgr }).subarray(0, -5), /ends early/],
  ])('that is %s is named', async (_, bytes, why) => {
    expect(await refusal(prepared(bytes, 'x.bmp'))).toMatch(why);
  });
});

describe('Netpbm', () => {
  const text = (magic: string, most: string, values: readonly (number | string)[]) =>
    Buffer.from(`${magic}\n# made by hand\n${SIDE} ${SIDE}\n${most}${values.join(' ')}\n`);
  const bytes = (magic: string, most: string, values: readonly number[]) =>
    Buffer.concat([Buffer.from(`${magic}\n# made\n${SIDE} ${SIDE}\n${most}`), Buffer.from(values)]);
  const gray = PIXELS.map((_, i) => 4 * i);

  test('is read as text and as bytes, of colours, grays and bits', async () => {
    const one = { channels: 1 };
    expect(await pixelsOf(text('P3', '255\n', PIXELS.flat()), 'x.ppm')).toEqual(PIXELS.flat());
    expect(await pixelsOf(bytes('P6', '255\n', PIXELS.flat()), 'x.pnm')).toEqual(PIXELS.flat());
    expect(await pixelsOf(text('P2', '255\n', gray), 'x.pgm', one)).toEqual(gray);
    expect(await pixelsOf(bytes('P5', '255\n', gray), 'x.pgm', one)).toEqual(gray);
    const wide = bytes(
      'P5',
      '65535\n',
      gray.flatMap((value) => [value, value]),
    );
    expect(await pixelsOf(wide, 'x.pgm', one)).toEqual(gray);
    const bits = PIXELS.map((_, i) => (i & 1 ? 0 : 255));
    expect(await pixelsOf(bytes('P4', '', new Array<number>(SIDE).fill(0x55)), 'x.pbm', one)).toEqual(bits);
    expect(await pixelsOf(text('P1', '', [bits.map((value) => (value ? 0 : 1)).join('')]), 'x.pbm', one)).toEqual(bits);
  });

  test.each<[string, Buffer, RegExp]>([
    ['a cut file', bytes('P6', '255\n', [1, 2, 3]), /ends early/],
    ['a cut text', text('P2', '255\n', [1, 2]), /ends early/],
    ['a foreign kind', bytes('P7', '255\n', []), /got P7 \(PAM or PFM\): write it as PNG/],
    ['no number', text('P2', '255\n', ['x']), /expected a whole number, got x/],
    ['a huge one', Buffer.from('P5\n100000 100000\n255\n'), /at most 100000000 pixels, got 100000 x 100000/],
  ])('names %s', async (_, file, why) => {
    expect(await refusal(prepared(file, 'x.pgm'))).toMatch(why);
  });
});

test.each(['jfif', 'jpe', 'MPO'])('JPEG called .%s is read', async (ending) => {
  const jpeg = await sharp(Buffer.from(PIXELS.flat()), { raw: { width: SIDE, height: SIDE, channels: 3 } })
    .jpeg()
    .toBuffer();
  const behind = Buffer.concat([jpeg, ending === 'MPO' ? await colour(0, 0, 0).jpeg().toBuffer() : Buffer.alloc(0)]);
  expect(await pixelsOf(behind, `x.${ending}`)).toHaveLength(SIDE * SIDE * 3);
});

describe('PNG of 16 bits', () => {
  const rows = (value: number) => Array.from({ length: SIDE }, () => new Array<number>(SIDE).fill(value));
  const deep = (value: number, significant?: number) =>
    pngOf(rows(value), { depth: 16, ...(significant !== undefined && { significant }) });
  const byNames = async (files: Files) => {
    const all: Files = { 'a/plain.png': colour(1, 2, 3).png().toBuffer(), ...files };
    const { arrays, warnings } = await data.prepare(await data.folder(`deep-${made++}`, all));
    return { reds: reds(arrays['train-samples']!), warnings };
  };

  test('gives its upper 8 bits, however many are significant, as libpng and Pillow give them', async () => {
    // The book has 12 bits scaled to 16: 0xfff is 0xffff.
    const found = await byNames({ 'b/1.png': deep(40_000), 'b/2.png': deep(0xabca, 12), 'b/3.png': deep(4000, 12) });
    expect(found).toEqual({ reds: [1, 156, 0xab, 15], warnings: [] });
  });

  test.each<[string, Buffer, number, RegExp]>([
    ['of 12 bits', deep(4095), 15, /seem to be of 12 bits.*multiply 16\)/],
    ['of 8 bits', deep(255), 0, /seem to be of 12 bits.*multiply 16\)/],
    ['that are said to be of 12 bits', deep(4095, 12), 15, /seem to be of 12 bits.*multiply 16\)/],
    ['that are said to be of 14 bits', deep(16_383, 14), 63, /seem to be of 14 bits.*multiply 4\)/],
  ])('is dark where values are %s, which is said', async (_, png, expected, warned) => {
    const found = await byNames({ 'b/1.png': png, 'b/2.png': deep(30_000) });
    expect(found.reds).toEqual([1, expected, 117]);
    expect(found.warnings).toEqual([expect.stringMatching(/^1 of 2 images of 16 bits are dark \(b\/1\.png\): /)]);
    expect(found.warnings[0]).toMatch(warned);
  });
});
