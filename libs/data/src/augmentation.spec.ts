import { Augmentation, UNLABELLED } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { augment, augmentWithMask } from './augmentation.js';
import { gaussianBlur, gaussianKernel } from './blur.js';
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation } from './colour.js';
import { drawCrop, resampleByPixels } from './crops.js';
import { Random } from './random.js';

await loadTensorFlow({ threads: 1 });

// One image of 2 x 2, by channel; the values that torchvision gives for it in float.
const R = [0.1, 0.9, 0.5, 0.3];
const G = [0.2, 0.4, 0.6, 0.8];
const B = [0.7, 0, 0.25, 1];
const image = tf.tensor4d(
  R.flatMap((r, i) => [r, G[i]!, B[i]!]),
  [1, 2, 2, 3],
);
const channels = (result: tf.Tensor): number[][] => {
  const values = [...result.dataSync()];
  return [0, 1, 2].map((c) => values.filter((_, i) => i % 3 === c));
};
const expectChannels = (result: tf.Tensor, expected: number[][]) =>
  expected.forEach((channel, c) =>
    channel.forEach((value, i) => expect(Math.abs(channels(result)[c]![i]! - value)).toBeLessThan(2e-5)),
  );
const one = (value: number) => Float32Array.of(value);
const noise = (count: number, size: number, seed = 1, depth = 3) => {
  const random = Random.seeded(seed, 'noise');
  return tf.tensor4d(
    Float32Array.from({ length: count * size * size * depth }, () => random.uniform()),
    [count, size, size, depth],
  );
};
const largestDifference = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;

describe('colour operations meet torchvision', () => {
  test('brightness', () =>
    expectChannels(adjustBrightness(image, one(1.5)), [
      [0.15, 1, 0.75, 0.45],
      [0.3, 0.6, 0.9, 1],
      [1, 0, 0.375, 1],
    ]));
  test('contrast blends with the mean gray', () =>
    expectChannels(adjustContrast(image, one(0.5)), [[0.29179, 0.69179, 0.49179, 0.39179]]));
  test('saturation', () =>
    expectChannels(adjustSaturation(image, one(1.5)), [
      [0.036455, 1, 0.484925, 0.113365],
      [0.186455, 0.348095, 0.634925, 0.863365],
      [0.936455, 0, 0.109925, 1],
    ]));
  test('hue', () =>
    expectChannels(adjustHue(image, one(0.1)), [
      [0.36, 0.86, 0.29, 0.3],
      [0.1, 0.9, 0.6, 0.38],
      [0.7, 0, 0.25, 1],
    ]));
  test('hue is the same for large images', () => {
    const large = tf.tile(image, [2, 50, 50, 1]);
    const turned = adjustHue(large, Float32Array.of(0.1, -0.25));
    expect(
      largestDifference(
        turned,
        tf.concat([0.1, -0.25].map((turn) => tf.tile(adjustHue(image, one(turn)), [1, 50, 50, 1]))),
      ),
    ).toBeLessThan(1e-5);
  });
  test('gray', () => {
    const gray = [0.22709, 0.50381, 0.53015, 0.67327];
    expectChannels(augment(image, Augmentation.parse({ grayscale: { p: 1 } }), Random.seeded(0)), [gray, gray, gray]);
  });
  test('strength 1 and a turn of 0 leave an image as it is', () => {
    for (const result of [
      adjustBrightness(image, one(1)),
      adjustContrast(image, one(1)),
      adjustSaturation(image, one(1)),
      adjustHue(image, one(0)),
    ])
      expect(largestDifference(result, image)).toBeLessThan(1e-5);
  });
});

test("crops are distributed like torchvision's on 32 x 32", () => {
  const random = Random.seeded(5, 'crops');
  const crop = Augmentation.parse({ crop: {} }).crop!;
  const boxes = Array.from({ length: 20_000 }, () => drawCrop(32, 32, crop, random));
  const quantiles = (values: number[], ...at: number[]) => {
    const sorted = values.toSorted((x, y) => x - y);
    return at.map((q) => sorted[Math.floor(q * sorted.length)]!);
  };
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const areas = boxes.map(({ width, height }) => (width * height) / 1024);
  const aspects = boxes.map(({ width, height }) => width / height);
  const near = (found: number, expected: number) =>
    expect(Math.abs(found - expected), `${found} for ${expected}`).toBeLessThan(0.015);
  near(mean(areas), 0.4877);
  [0.118, 0.482, 0.878].forEach((expected, i) => near(quantiles(areas, 0.05, 0.5, 0.95)[i]!, expected));
  near(mean(aspects), 1.0146);
  near(mean(aspects.map(Math.log)), 0.0015);
  [0.774, 1.292].forEach((expected, i) => near(quantiles(aspects, 0.05, 0.95)[i]!, expected));
  expect(
    boxes.every(({ top, left, width, height }) => top >= 0 && left >= 0 && top + height <= 32 && left + width <= 32),
  ).toBe(true);
});

describe('blur', () => {
  test("has SimCLR's kernel", () => {
    [0.27406862, 0.45186276, 0.27406862].forEach((expected, i) =>
      expect(gaussianKernel(1, 1)[i]).toBeCloseTo(expected, 7),
    );
    [0, 1e-8, 0.00026387, 0.10645077, 0.78657071].forEach((expected, i) =>
      expect(gaussianKernel(0.5, 4)[i]).toBeCloseTo(expected, 7),
    );
  });

  test('is a convolution with it, with zeros outside', () => {
    const images = noise(2, 70);
    const blurred = gaussianBlur(images, Float32Array.of(1, 0.4)).arraySync();
    const pixels = images.arraySync();
    for (const [n, sigma] of [1, 0.4].entries()) {
      const kernel = gaussianKernel(sigma, 3);
      // 64 begins another block of rows.
      for (const [y, x] of [
        [0, 0],
        [7, 69],
        [63, 3],
        [64, 64],
      ] as const) {
        let expected = 0;
        for (let dy = -3; dy <= 3; dy++)
          for (let dx = -3; dx <= 3; dx++)
            expected += kernel[dy + 3]! * kernel[dx + 3]! * (pixels[n]![y + dy]?.[x + dx]?.[1] ?? 0);
        expect(blurred[n]![y]![x]![1]).toBeCloseTo(expected, 5);
      }
    }
  });
});

describe('a view', () => {
  const everything = Augmentation.parse({
    crop: {},
    flip: {},
    rotate: {},
    perspective: {},
    randAugment: {},
    trivialAugment: {},
    colorJitter: { order: 'random' },
    grayscale: {},
    blur: {},
    sharpness: {},
    solarize: {},
    posterize: {},
    autocontrast: {},
    equalize: {},
    cutout: {},
    erasing: {},
  });

  test('has the shape and range of its image, and is the same for the same seed', () => {
    const images = noise(16, 24);
    const [first, again, other] = [3, 3, 4].map((seed) => augment(images, everything, Random.seeded(seed))) as [
      tf.Tensor4D,
      tf.Tensor4D,
      tf.Tensor4D,
    ];
    expect(first.shape).toEqual([16, 24, 24, 3]);
    expect(tf.min(first).dataSync()[0]).toBeGreaterThanOrEqual(0);
    expect(tf.max(first).dataSync()[0]).toBeLessThanOrEqual(1);
    expect(largestDifference(first, again)).toBe(0);
    expect(largestDifference(first, other)).toBeGreaterThan(0.1);
  });

  test('is the image itself, and a tensor of its own, where nothing is on', () => {
    const images = noise(2, 8);
    const views = augment(images, {}, Random.seeded(0));
    expect(largestDifference(views, images)).toBe(0);
    views.dispose();
    expect(images.isDisposed).toBe(false);
  });

  test.each(Object.keys(everything) as (keyof Augmentation)[])(
    '%s leaves alone the images that it does not fall on',
    (name) => {
      const images = noise(40, 8);
      const p = name === 'flip' ? { p: 0.5 } : { p: 0.5, ...(name === 'crop' && { maxArea: 0.3, minArea: 0.2 }) };
      const views = augment(images, Augmentation.parse({ [name]: p }), Random.seeded(9)).arraySync();
      const originals = images.arraySync();
      const untouched = views.filter((view, i) => JSON.stringify(view) === JSON.stringify(originals[i])).length;
      // 20 expected of 40; 8 lies four standard deviations below.
      expect(untouched).toBeGreaterThan(7);
      expect(untouched).toBeLessThan(33);
    },
  );

  test('flip mirrors left and right, rotation turns about the centre, cutout blackens a square', () => {
    const images = noise(1, 6);
    expect(
      largestDifference(
        augment(images, Augmentation.parse({ flip: { p: 1 } }), Random.seeded(0)),
        tf.reverse(images, 2),
      ),
    ).toBeLessThan(1e-5);
    const cross = tf.tensor4d([0, 1, 0, 1, 1, 1, 0, 1, 0], [1, 3, 3, 1]);
    const turned = augment(
      cross,
      Augmentation.parse({ rotate: { maxDegrees: 180 } }),
      Random.seeded(2),
    ).arraySync()[0]!;
    expect(turned[1]![1]![0]).toBeCloseTo(1, 5);
    expect(turned[0]![1]![0]).toBeCloseTo(turned[2]![1]![0]!, 4);
    expect(turned[1]![0]![0]).toBeCloseTo(turned[1]![2]![0]!, 4);
    const cut = augment(tf.ones([1, 8, 8, 3]), Augmentation.parse({ cutout: { size: 0.5 } }), Random.seeded(0));
    expect(tf.sum(cut).dataSync()[0]).toBe((64 - 16) * 3);
  });

  test('of one channel has no colour to change', () => {
    const gray = noise(2, 8, 1, 1);
    expect(
      augment(
        gray,
        Augmentation.parse({ crop: {}, colorJitter: { saturation: 0, hue: 0 }, blur: {} }),
        Random.seeded(0),
      ).shape,
    ).toEqual([2, 8, 8, 1]);
    expect(() => augment(gray, Augmentation.parse({ grayscale: {} }), Random.seeded(0))).toThrow('three channels');
  });

  test('leaves no tensor behind', () => {
    const images = noise(8, 16);
    augment(images, everything, Random.seeded(1)).dispose();
    const before = tf.memory().numTensors;
    augment(images, everything, Random.seeded(2)).dispose();
    expect(tf.memory().numTensors).toBe(before);
  });
});

describe('a view with its mask', () => {
  const random = Random.seeded(6, 'masks');
  const [count, height, width] = [12, 20, 26];
  const masks = tf.tensor3d(
    Int32Array.from({ length: count * height * width }, (_, i) =>
      Math.floor(i / 4) % 7 === 6 ? UNLABELLED : Math.floor(i / 4) % 7,
    ),
    [count, height, width],
    'int32',
  );
  const images = tf.tensor4d(
    Float32Array.from({ length: count * height * width * 3 }, () => random.uniform()),
    [count, height, width, 3],
  );
  const everything = Augmentation.parse({
    crop: {},
    flip: {},
    rotate: { p: 0.5 },
    perspective: { p: 0.2 },
    randAugment: {},
    trivialAugment: {},
    colorJitter: {},
    grayscale: {},
    blur: {},
    solarize: {},
    sharpness: {},
    equalize: {},
    cutout: { p: 0.5 },
    erasing: {},
  });

  test('is the very view that there is without one, from the same draws', () => {
    const [alone, together] = [Random.seeded(3), Random.seeded(3)];
    const { views, masks: moved } = augmentWithMask(images, masks, everything, together);
    expect(views.dataSync()).toEqual(augment(images, everything, alone).dataSync());
    expect(together.state()).toEqual(alone.state());
    expect([moved.shape, moved.dtype]).toEqual([masks.shape, 'int32']);
  });

  // What is drawn in the image by the mask has to lie where the mask says, wherever the geometry takes both.
  test.each([
    [{ flip: { p: 1 } }, 0.01],
    [{ crop: {}, flip: {} }, 0.01],
    [{ rotate: { maxDegrees: 40, p: 0.6 } }, 0.01],
    [{ perspective: { p: 0.6 } }, 0.01],
    [{ erasing: {} }, 0.01],
    // Rounding twice, the mask may go the other way where the image still mixes both parts.
    [{ crop: { minArea: 0.3 }, flip: {}, rotate: {}, cutout: { size: 0.4, p: 0.7 } }, 0.45],
  ])('%j: the mask goes where the image goes', (augmentation, mixed) => {
    // Left and right part of an image. Its first channel says what is image at all, the second one which part.
    const parts = tf.tensor3d(
      Int32Array.from({ length: count * height * width }, (_, i) => (i % width < 10 ? 1 : 0)),
      [count, height, width],
      'int32',
    );
    const channel = tf.expandDims(tf.cast(parts, 'float32'), 3);
    const { views, masks: moved } = augmentWithMask(
      tf.concat([tf.onesLike(channel), channel, channel], 3) as tf.Tensor4D,
      parts,
      Augmentation.parse(augmentation),
      Random.seeded(5),
    );
    const [seen, labels] = [views.dataSync(), moved.dataSync()];
    const counts: Record<number, number> = { 0: 0, 1: 0, [UNLABELLED]: 0 };
    labels.forEach((label, i) => {
      counts[label]!++;
      const [inside, part] = [seen[i * 3]!, seen[i * 3 + 1]!];
      // Neither at the border, where an image mixes with what lies outside, nor just between the parts.
      if ((inside > 0 && inside < 0.999) || Math.abs(part - 0.5) < mixed) return;
      const expected = part > 0.5 ? 1 : 0;
      expect(label, `${i}: ${inside}, ${part}`).toBe(inside === 0 ? UNLABELLED : expected);
    });
    expect(counts[0]).toBeGreaterThan(500);
    expect(counts[1]).toBeGreaterThan(500);
    if (['rotate', 'perspective', 'erasing'].some((name) => name in augmentation))
      expect(counts[UNLABELLED]).toBeGreaterThan(50);
  });

  test('has the colours changed and the mask left alone', () => {
    const { views, masks: moved } = augmentWithMask(
      images,
      masks,
      Augmentation.parse({ colorJitter: { p: 1 }, grayscale: {}, blur: { p: 1 }, solarize: {} }),
      Random.seeded(3),
    );
    expect(moved.dataSync()).toEqual(masks.dataSync());
    expect(largestDifference(views, images)).toBeGreaterThan(0.1);
  });

  test('leaves no tensor behind, and its arguments with their owner', () => {
    tf.dispose({ ...augmentWithMask(images, masks, everything, Random.seeded(1)) });
    const before = tf.memory().numTensors;
    tf.dispose({ ...augmentWithMask(images, masks, everything, Random.seeded(2)) });
    tf.dispose({ ...augmentWithMask(images, masks, {}, Random.seeded(2)) });
    expect(tf.memory().numTensors).toBe(before);
    expect([images.isDisposed, masks.isDisposed]).toEqual([false, false]);
  });
});

describe("a crop on torchvision's grid", () => {
  /** Rows 1 to 3 and columns 2 to 5 of the ramp at 6 x 6, as OpenCV and torchvision have it without antialiasing. */
  const RESIZED = [
    [27.0, 17.0, 10.1667, 22.8333, 18.0, 10.0],
    [23.0, 14.5, 9.6667, 24.3333, 21.5, 15.0],
    [15.0, 9.5, 8.6667, 27.3333, 28.5, 25.0],
    [15.75, 13.25, 13.3333, 23.6667, 25.75, 25.25],
    [25.25, 25.75, 23.6667, 13.3333, 13.25, 15.75],
    [30.0, 32.0, 28.8333, 8.1667, 7.0, 11.0],
  ];
  /** Rows 1 to 5 and columns 0 to 4, each from the nearest. */
  const NEAREST = [
    [36, 12, 27, 27, 7, 26],
    [33, 21, 11, 11, 3, 34],
    [28, 28, 30, 30, 34, 3],
    [28, 28, 30, 30, 34, 3],
    [21, 33, 10, 10, 26, 7],
    [12, 36, 25, 25, 16, 9],
  ];
  const ramp = tf.tensor4d(
    Float32Array.from({ length: 36 }, (_, i) => (i * i) % 37),
    [1, 6, 6, 1],
  );
  const window = { top: 1, left: 2, height: 3, width: 4, mirrored: false };
  const valuesOf = (result: tf.Tensor4D) =>
    (result.squeeze([0, 3]).arraySync() as number[][]).map((row) => row.map((value) => Math.round(value * 1e4) / 1e4));

  test('has the values of resized_crop, and mirrored those mirrored', () => {
    expect(valuesOf(resampleByPixels(ramp, [window], 'bilinear'))).toEqual(RESIZED);
    expect(valuesOf(resampleByPixels(ramp, [{ ...window, mirrored: true }], 'bilinear'))).toEqual(
      RESIZED.map((row) => row.toReversed()),
    );
  });

  test('of a mask has the nearest classes', () => {
    expect(valuesOf(resampleByPixels(ramp, [{ ...window, left: 0, height: 5, width: 5 }], 'nearest'))).toEqual(NEAREST);
  });

  test('of the whole image is the image, and a view is the same for the same seed, in range', () => {
    const images = noise(5, 12);
    const whole = Augmentation.parse({ crop: { minArea: 1, minAspect: 1, maxAspect: 1, grid: 'half-pixel' } });
    expect(largestDifference(augment(images, whole, Random.seeded(1)), images)).toBeLessThan(1e-6);
    const crop = Augmentation.parse({ crop: { grid: 'half-pixel' }, flip: {} });
    const [view, again] = [1, 1].map((seed) => augment(images, crop, Random.seeded(seed)));
    expect(largestDifference(view!, again!)).toBe(0);
    const corners = augment(images, Augmentation.parse({ crop: {}, flip: {} }), Random.seeded(1));
    expect(tf.mean(tf.abs(tf.sub(view!, corners))).dataSync()[0]).toBeGreaterThan(0.005);
    expect([tf.min(view!).dataSync()[0]! >= 0, tf.max(view!).dataSync()[0]! <= 1 + 1e-6]).toEqual([true, true]);
  });
});

test('a crop never reaches beyond the image: white stays white', () => {
  const white = tf.ones<tf.Rank.R4>([512, 32, 32, 1]);
  const views = augment(white, Augmentation.parse({ crop: {}, flip: {} }), Random.seeded(3));
  expect(tf.min(views).dataSync()[0]).toBeGreaterThan(1 - 1e-5);
});
