import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pngOf } from '../../../tests/support/png.js';
import { colour, DataRoot, type Files } from '../../../tests/support/sources.js';
import { InvalidDataError } from './invalid-data.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const grid = (height: number, width: number, value: (y: number, x: number) => number) =>
  Array.from({ length: height }, (_, y) => Array.from({ length: width }, (__, x) => value(y, x)));
/** Pairs of an image and this mask. */
const pairs = (given: Record<string, Buffer>): Files =>
  Object.fromEntries(
    Object.entries(given).flatMap(([name, bytes]): [string, Files[string]][] => [
      [`images/${name}.png`, colour(1, 2, 3).png().toBuffer()],
      [`masks/${name}.png`, bytes],
    ]),
  );
const masks = { classes: ['sky', 'road', 'car'], unlabelled: 9 };

describe('masks', () => {
  test('keep the places of a palette, whatever its colours are, and gray levels, of any depth', async () => {
    const ids = grid(8, 8, (y, x) => (y + x) % 3);
    const [binary, palette] = [grid(8, 8, (y, x) => (y + x) % 2), [9, 9, 9, 200, 0, 0, 9, 9, 9, 0, 0, 255]];
    const files = {
      gray8: pngOf(ids),
      gray2: pngOf(ids, { depth: 2 }),
      gray1: pngOf(binary, { depth: 1 }),
      palette8: pngOf(ids, { palette }),
      palette4: pngOf(ids, { depth: 4, palette }),
      palette2: pngOf(ids, { depth: 2, palette }),
    };
    const source = await data.folder('depths', pairs(files));
    const { manifest, arrays, warnings } = await data.prepare(source, { masks });
    expect(warnings).toEqual([]);
    expect(manifest.classes).toEqual(['sky', 'road', 'car']);
    expect(manifest.splits.train).toEqual({
      count: 6,
      samples: expect.any(String) as string,
      masks: expect.any(String) as string,
    });
    expect(arrays['train-masks']!.shape).toEqual([6, 8, 8]);
    // By name, gray1 first.
    expect(arrays['train-masks']!.data).toEqual([binary, ids, ids, ids, ids, ids].flat(2));
  });

  test.each([
    [24, 16],
    [16, 24],
    [33, 16],
    [50, 21],
    [37, 29],
    [6, 5],
    [9, 5],
    [7, 7],
    [10, 8],
  ])('of %i x %i lie on their images', async (height, width) => {
    // The image's red and green say where a pixel comes from, and so do the ids.
    const pixels = Buffer.from(grid(height, width, (y, x) => [4 * x, 4 * y, 0] as unknown as number).flat(2));
    const image = sharp(pixels, { raw: { height, width, channels: 3 } })
      .png()
      .toBuffer();
    const places = { classes: Array.from({ length: 50 }, (_, id) => `${id}`) };
    const source = await data.folder(`sized ${height} ${width}`, {
      'images/x.png': image,
      'images/y.png': image,
      'masks/x.png': pngOf(grid(height, width, (_, x) => x)),
      'masks/y.png': pngOf(grid(height, width, (y) => y)),
    });
    const { arrays } = await data.prepare(source, { masks: places, imageSize: { height: 10, width: 8 } });
    const [shown, ids] = [arrays['train-samples']!.data, arrays['train-masks']!.data];
    for (let i = 0; i < 80; i++) {
      expect(Math.abs(shown[3 * i]! / 4 - ids[i]!)).toBeLessThan(0.8);
      expect(Math.abs(shown[3 * (80 + i) + 1]! / 4 - ids[80 + i]!)).toBeLessThan(0.8);
    }
  });

  test('are paired by name, in their splits; what has no partner is named', async () => {
    const image = () => colour(1, 2, 3).jpeg().toBuffer();
    const mask = pngOf(grid(8, 8, () => 1));
    const source = await data.archive('paired.zip', {
      'town/train/images/a.jpg': image(),
      'town/train/masks/a.png': mask,
      'town/train/images/deep/b.jpg': image(),
      'town/train/masks/deep/b.png': mask,
      'town/val/images/a.jpg': image(),
      'town/val/masks/a.png': pngOf(grid(8, 8, () => 9)),
      'town/train/images/alone.jpg': image(),
      'town/val/masks/lost.png': mask,
      'town/readme.txt': Buffer.from('x'),
    });
    const { manifest, arrays, warnings } = await data.prepare(source, { masks });
    expect([manifest.splits.train.count, manifest.splits.val!.count]).toEqual([2, 1]);
    expect(arrays['val-masks']!.data).toEqual(Array(64).fill(255));
    expect(warnings.join()).toMatch(/3 files .*readme\.txt, .*alone\.jpg, .*lost\.png/);
    const outside = await data.folder('outside', {
      'images/train/a.jpg': image(),
      'images/val/b.jpg': image(),
      'masks/train/a.png': mask,
      'masks/val/b.png': mask,
    });
    expect((await data.prepare(outside, { masks })).manifest.splits.val!.count).toBe(1);
  });

  test('take their splits from all images where the source has none', async () => {
    const source = await data.folder(
      'many',
      Object.fromEntries(
        Array.from({ length: 10 }, (_, n): [string, Files[string]][] => [
          [`images/${n}.png`, colour(n, 0, 0).png().toBuffer()],
          [`masks/${n}.png`, pngOf(grid(8, 8, () => n % 3))],
        ]).flat(),
      ),
    );
    const { manifest, arrays } = await data.prepare(source, { masks, valFraction: 0.2, testFraction: 0.1 });
    expect([manifest.splits.train.count, manifest.splits.val!.count, manifest.splits.test!.count]).toEqual([7, 2, 1]);
    for (const split of ['train', 'val', 'test'])
      arrays[`${split}-masks`]!.data.forEach((id, i) => {
        if (i % 64 === 0) expect(id).toBe(arrays[`${split}-samples`]!.data[3 * i]! % 3);
      });
  });

  test('that are damaged are counted and named', async () => {
    const whole = grid(8, 8, () => 0);
    const cut = pngOf(grid(64, 64, (y, x) => (y * x) % 3));
    const bad: Record<string, [Buffer, RegExp]> = {
      stranger: [pngOf(grid(8, 8, (y) => (y === 7 ? 5 : 0))), /expected class ids of 0 to 2 and 9, got 5/],
      sized: [pngOf(grid(8, 9, () => 0)), /a mask of the size of its image, got 8 x 8 and 9 x 8|got 9 x 8 and 8 x 8/],
      colourful: [await colour(1, 2, 3).png().toBuffer(), /gray or with a palette, got 8 bits of colour/],
      jpeg: [await colour(0, 0, 0).jpeg().toBuffer(), /expected a PNG/],
      deep: [
        pngOf(
          grid(8, 8, () => 300),
          { depth: 16 },
        ),
        /expected class ids of 0 to 2 and 9, got 300/,
      ],
      cut: [cut.subarray(0, cut.length - 30), /ends early/],
      empty: [Buffer.alloc(0), /empty/],
    };
    const source = await data.folder(
      'bad',
      pairs({ ...Object.fromEntries(Object.entries(bad).map(([name, [bytes]]) => [name, bytes])), fine: pngOf(whole) }),
    );
    const { manifest, warnings } = await data.prepare(source, { masks, maxCorruptFraction: 0.9 });
    expect(manifest.splits.train.count).toBe(1);
    expect(warnings.join()).toMatch(/7 of 8 files could not be decoded/);
    for (const [name, [, why]] of Object.entries(bad))
      expect(warnings.join()).toMatch(new RegExp(`${name}\\.png \\([^()]*${why.source}`));
    await expect(data.prepare(source, { masks })).rejects.toThrow(InvalidDataError);
    await expect(
      data.prepare(await data.folder('unpaired', { 'images/a.png': colour(1, 2, 3).png().toBuffer() }), { masks }),
    ).rejects.toThrow(
      /images and masks of the same names in folders images and masks in unpaired, found none \(only images\/a\.png\)/,
    );
  });
});
