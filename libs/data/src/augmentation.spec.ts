import { Augmentation } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { loadTensorFlow } from '../../training/src/tensorflow.js';
import { describe, expect, test } from 'vitest';
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation, augment, drawCrop, gaussianBlur, gaussianKernel } from './augmentation.js';
import { Random } from './random.js';

await loadTensorFlow({ threads: 1 });

// One image of 2 x 2, by channel; the values that torchvision gives for it in float.
const R = [0.1, 0.9, 0.5, 0.3];
const G = [0.2, 0.4, 0.6, 0.8];
const B = [0.7, 0, 0.25, 1];
const image = tf.tensor4d(R.flatMap((r, i) => [r, G[i]!, B[i]!]), [1, 2, 2, 3]);
const channels = (result: tf.Tensor): number[][] => {
  const values = [...result.dataSync()];
  return [0, 1, 2].map((c) => values.filter((_, i) => i % 3 === c));
};
const expectChannels = (result: tf.Tensor, expected: number[][]) => expected.forEach((channel, c) => channel.forEach((value, i) => expect(Math.abs(channels(result)[c]![i]! - value)).toBeLessThan(2e-5)));
const one = (value: number) => Float32Array.of(value);
const noise = (count: number, size: number, seed = 1, depth = 3) => {
  const random = Random.seeded(seed, 'noise');
  return tf.tensor4d(Float32Array.from({ length: count * size * size * depth }, () => random.uniform()), [count, size, size, depth]);
};
const largestDifference = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;

describe('colour operations meet torchvision', () => {
  test('brightness', () => expectChannels(adjustBrightness(image, one(1.5)), [[0.15, 1, 0.75, 0.45], [0.3, 0.6, 0.9, 1], [1, 0, 0.375, 1]]));
  test('contrast blends with the mean gray', () => expectChannels(adjustContrast(image, one(0.5)), [[0.29179, 0.69179, 0.49179, 0.39179]]));
  test('saturation', () => expectChannels(adjustSaturation(image, one(1.5)), [[0.036455, 1, 0.484925, 0.113365], [0.186455, 0.348095, 0.634925, 0.863365], [0.936455, 0, 0.109925, 1]]));
  test('hue', () => expectChannels(adjustHue(image, one(0.1)), [[0.36, 0.86, 0.29, 0.3], [0.1, 0.9, 0.6, 0.38], [0.7, 0, 0.25, 1]]));
  test('hue is the same for large images', () => {
    const large = tf.tile(image, [2, 50, 50, 1]);
    const turned = adjustHue(large, Float32Array.of(0.1, -0.25));
    expect(largestDifference(turned, tf.concat([0.1, -0.25].map((turn) => tf.tile(adjustHue(image, one(turn)), [1, 50, 50, 1]))))).toBeLessThan(1e-5);
  });
  test('gray', () => {
    const gray = [0.22709, 0.50381, 0.53015, 0.67327];
    expectChannels(augment(image, Augmentation.parse({ grayscale: { p: 1 } }), Random.seeded(0)), [gray, gray, gray]);
  });
  test('strength 1 and a turn of 0 leave an image as it is', () => {
    for (const result of [adjustBrightness(image, one(1)), adjustContrast(image, one(1)), adjustSaturation(image, one(1)), adjustHue(image, one(0))]) expect(largestDifference(result, image)).toBeLessThan(1e-5);
  });
});

test('crops are distributed like torchvision\'s on 32 x 32', () => {
  const random = Random.seeded(5, 'crops');
  const crop = Augmentation.parse({ crop: {} }).crop!;
  const boxes = Array.from({ length: 20_000 }, () => drawCrop(32, 32, crop, random));
  const quantiles = (values: number[], ...at: number[]) => { const sorted = values.toSorted((x, y) => x - y); return at.map((q) => sorted[Math.floor(q * sorted.length)]!); };
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const areas = boxes.map(({ width, height }) => (width * height) / 1024);
  const aspects = boxes.map(({ width, height }) => width / height);
  const near = (found: number, expected: number) => expect(Math.abs(found - expected), `${found} for ${expected}`).toBeLessThan(0.015);
  near(mean(areas), 0.4877);
  [0.118, 0.482, 0.878].forEach((expected, i) => near(quantiles(areas, 0.05, 0.5, 0.95)[i]!, expected));
  near(mean(aspects), 1.0146);
  near(mean(aspects.map(Math.log)), 0.0015);
  [0.774, 1.292].forEach((expected, i) => near(quantiles(aspects, 0.05, 0.95)[i]!, expected));
  expect(boxes.every(({ top, left, width, height }) => top >= 0 && left >= 0 && top + height <= 32 && left + width <= 32)).toBe(true);
});

describe('blur', () => {
  test('has SimCLR\'s kernel', () => {
    [0.27406862, 0.45186276, 0.27406862].forEach((expected, i) => expect(gaussianKernel(1, 1)[i]).toBeCloseTo(expected, 7));
    [0, 1e-8, 0.00026387, 0.10645077, 0.78657071].forEach((expected, i) => expect(gaussianKernel(0.5, 4)[i]).toBeCloseTo(expected, 7));
  });

  test('is a convolution with it, with zeros outside', () => {
    const images = noise(2, 70);
    const blurred = gaussianBlur(images, Float32Array.of(1, 0.4)).arraySync();
    const pixels = images.arraySync();
    for (const [n, sigma] of [1, 0.4].entries()) {
      const kernel = gaussianKernel(sigma, 3);
      // 64 begins another block of rows.
      for (const [y, x] of [[0, 0], [7, 69], [63, 3], [64, 64]] as const) {
        let expected = 0;
        for (let dy = -3; dy <= 3; dy++) for (let dx = -3; dx <= 3; dx++) expected += kernel[dy + 3]! * kernel[dx + 3]! * (pixels[n]![y + dy]?.[x + dx]?.[1] ?? 0);
        expect(blurred[n]![y]![x]![1]).toBeCloseTo(expected, 5);
      }
    }
  });
});

describe('a view', () => {
  const everything = Augmentation.parse({ crop: {}, flip: {}, rotate: {}, colorJitter: {}, grayscale: {}, blur: {}, solarize: {}, cutout: {} });

  test('has the shape and range of its image, and is the same for the same seed', () => {
    const images = noise(16, 24);
    const [first, again, other] = [3, 3, 4].map((seed) => augment(images, everything, Random.seeded(seed))) as [tf.Tensor4D, tf.Tensor4D, tf.Tensor4D];
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

  test.each(Object.keys(everything) as (keyof Augmentation)[])('%s leaves alone the images that it does not fall on', (name) => {
    const images = noise(40, 8);
    const p = name === 'flip' ? { p: 0.5 } : { p: 0.5, ...(name === 'crop' && { maxArea: 0.3, minArea: 0.2 }) };
    const views = augment(images, Augmentation.parse({ [name]: p }), Random.seeded(9)).arraySync();
    const originals = images.arraySync();
    const untouched = views.filter((view, i) => JSON.stringify(view) === JSON.stringify(originals[i])).length;
    // 20 expected of 40; 8 lies four standard deviations below.
    expect(untouched).toBeGreaterThan(7);
    expect(untouched).toBeLessThan(33);
  });

  test('flip mirrors left and right, rotation turns about the centre, cutout blackens a square', () => {
    const images = noise(1, 6);
    expect(largestDifference(augment(images, Augmentation.parse({ flip: { p: 1 } }), Random.seeded(0)), tf.reverse(images, 2))).toBeLessThan(1e-5);
    const cross = tf.tensor4d([0, 1, 0, 1, 1, 1, 0, 1, 0], [1, 3, 3, 1]);
    const turned = augment(cross, Augmentation.parse({ rotate: { maxDegrees: 180 } }), Random.seeded(2)).arraySync()[0]!;
    expect(turned[1]![1]![0]).toBeCloseTo(1, 5);
    expect(turned[0]![1]![0]).toBeCloseTo(turned[2]![1]![0]!, 4);
    expect(turned[1]![0]![0]).toBeCloseTo(turned[1]![2]![0]!, 4);
    const cut = augment(tf.ones([1, 8, 8, 3]), Augmentation.parse({ cutout: { size: 0.5 } }), Random.seeded(0));
    expect(tf.sum(cut).dataSync()[0]).toBe((64 - 16) * 3);
  });

  test('of one channel has no colour to change', () => {
    const gray = noise(2, 8, 1, 1);
    expect(augment(gray, Augmentation.parse({ crop: {}, colorJitter: { saturation: 0, hue: 0 }, blur: {} }), Random.seeded(0)).shape).toEqual([2, 8, 8, 1]);
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
