import { Augmentation, AUGMENTATIONS, isOfSounds } from '#libs/contracts';
import { loadTensorFlow, tensorOf } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { describe, expect, test } from 'vitest';
import { augment, OPERATIONS } from './augmentation.js';
import { adjustSharpness } from './blur.js';
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation } from './colour.js';
import { drawErasings, keptOutside } from './covers.js';
import { applyDrawn, RAND, TRIVIAL, type Operation } from './policies.js';
import { Random } from './random.js';
import { autocontrast, equalize, posterize } from './tone.js';
import { drawCorners, perspective, warpEach } from './warps.js';

await loadTensorFlow({ threads: 1 });

// Expected values are torchvision 0.29.2's for floats (transforms.v2.functional), of the same ramps.
const ramp = (height: number, width: number, channels = 1, levels = 37) =>
  tf.tensor4d(
    Float32Array.from({ length: height * width * channels }, (_, i) => ((i * i + 3 * i) % levels) / (levels - 1)),
    [1, height, width, channels],
  );
const rows = (image: tf.Tensor4D) => tf.squeeze(image, [0, 3]).arraySync() as number[][];
const expectRows = (image: tf.Tensor4D, expected: number[][]) =>
  rows(image).forEach((row, y) =>
    row.forEach((value, x) => expect(Math.abs(value - expected[y]![x]!), `${y}, ${x}`).toBeLessThan(2e-5)),
  );
const largestDifference = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;
const noise = (count: number, size: number, depth = 3) => {
  const random = Random.seeded(1, 'noise');
  return tf.tensor4d(
    Float32Array.from({ length: count * size * size * depth }, () => random.uniform()),
    [count, size, size, depth],
  );
};

describe('meets torchvision:', () => {
  test('sharpness', () => {
    expectRows(adjustSharpness(ramp(5, 5), Float32Array.of(0)), [
      [0.0, 0.11111, 0.27778, 0.5, 0.77778],
      [0.08333, 0.41026, 0.61752, 0.5641, 0.94444],
      [0.52778, 0.34188, 0.58974, 0.57692, 0.44444],
      [0.30556, 0.39744, 0.36966, 0.39744, 0.30556],
      [0.44444, 0.63889, 0.88889, 0.16667, 0.52778],
    ]);
    expectRows(adjustSharpness(ramp(5, 5), Float32Array.of(2)), [
      [0.0, 0.11111, 0.27778, 0.5, 0.77778],
      [0.08333, 0.53419, 1.0, 0.21368, 0.94444],
      [0.52778, 0.0, 1.0, 0.70085, 0.44444],
      [0.30556, 0.04701, 0.01923, 0.04701, 0.30556],
      [0.44444, 0.63889, 0.88889, 0.16667, 0.52778],
    ]);
    expect(largestDifference(adjustSharpness(ramp(5, 5), Float32Array.of(1)), ramp(5, 5))).toBe(0);
    expect(largestDifference(adjustSharpness(ramp(2, 5), Float32Array.of(0)), ramp(2, 5))).toBe(0);
  });

  test('posterize', () => {
    expectRows(posterize(ramp(5, 5), [3]), [
      [0.0, 0.0, 0.25, 0.5, 0.75],
      [0.0, 0.375, 0.875, 0.375, 0.875],
      [0.5, 0.125, 0.875, 0.625, 0.375],
      [0.25, 0.125, 0.125, 0.125, 0.25],
      [0.375, 0.625, 0.875, 0.125, 0.5],
    ]);
  });

  test('autocontrast, where a flat channel stays', () => {
    expectRows(autocontrast(tf.add(tf.mul(ramp(5, 5), 0.6), 0.2)), [
      [0.0, 0.11765, 0.29412, 0.52941, 0.82353],
      [0.08824, 0.5, 0.97059, 0.41176, 1.0],
      [0.55882, 0.17647, 0.94118, 0.67647, 0.47059],
      [0.32353, 0.23529, 0.20588, 0.23529, 0.32353],
      [0.47059, 0.67647, 0.94118, 0.17647, 0.55882],
    ]);
    const flat = tf.fill<tf.Rank.R4>([1, 2, 2, 1], 0.3);
    expect(largestDifference(autocontrast(flat), flat)).toBe(0);
  });

  test('equalize, where few pixels are only put on the levels', () => {
    expectRows(equalize(ramp(5, 5)), [
      [0.0, 0.1098, 0.27843, 0.49804, 0.78039],
      [0.08235, 0.47059, 0.91765, 0.38824, 0.9451],
      [0.52941, 0.16471, 0.8902, 0.63922, 0.44314],
      [0.30588, 0.21961, 0.19216, 0.21961, 0.30588],
      [0.44314, 0.63922, 0.8902, 0.16471, 0.52941],
    ]);
    const equalized = equalize(tf.square(ramp(24, 24, 2, 251)));
    expect(tf.sum(equalized).dataSync()[0]).toBeCloseTo(631.9687, 2);
    const values = [...equalized.dataSync()].filter((_, i) => i % 127 === 0);
    [0.0, 0.870588, 0.098039, 1.0, 0.290196, 0.082353, 0.498039, 0.392157, 0.807843, 0.729412].forEach((expected, i) =>
      expect(values[i]).toBeCloseTo(expected, 5),
    );
  });

  test('perspective', () => {
    const warp = perspective(
      [
        [1, 0],
        [5, 1],
        [4, 4],
        [0, 5],
      ],
      6,
      6,
    );
    expectRows(warpEach(ramp(6, 6), [warp], 'BILINEAR'), [
      [0.0, 0.0, 0.05648, 0.09587, 0.02066, 0.0],
      [0.14323, 0.40507, 0.61468, 0.44643, 0.68718, 0.0],
      [0.40104, 0.76989, 0.59437, 0.41361, 0.22569, 0.0],
      [0.21482, 0.27683, 0.42749, 0.74347, 0.07866, 0.0],
      [0.44481, 0.76703, 0.31383, 0.01768, 0.0, 0.0],
      [0.50035, 0.07095, 0.0, 0.0, 0.0, 0.0],
    ]);
  });

  /** The sums, weighted by place, of what each makes: of magnitudes 9, its negative, 22 and its negative. */
  const POLICIES: [Operation, number[], number[]][] = [
    ['identity', [15643.369, 15643.369], [15643.369, 15643.369]],
    ['shearX', [14973.725, 15052.019, 13996.899, 14043.47], [13465.835, 13453.606, 10399.731, 10438.725]],
    ['shearY', [14854.183, 14864.03, 13724.313, 13760.179], [13100.962, 13092.923, 9388.049, 9403.851]],
    ['translateX', [13719.731, 13773.309, 10635.14, 10488.19], [12340.843, 12395.821, 7536.519, 7486.003]],
    ['translateY', [13728.227, 13681.003, 10574.869, 10555.957], [12131.046, 12132.902, 6638.991, 6634.567]],
    ['rotate', [14740.003, 14559.778, 13592.475, 13543.138], [12949.263, 12986.879, 14225.934, 14252.971]],
    ['brightness', [18999.698, 11419.66, 21951.595, 5318.746], [19262.287, 10997.289, 22323.906, 4286.283]],
    ['color', [15630.636, 15631.795, 15605.744, 15615.077], [15630.835, 15630.638, 15605.257, 15612.248]],
    ['contrast', [15638.894, 15625.383, 15626.548, 15599.402], [15638.93, 15623.584, 15616.272, 15595.005]],
    ['sharpness', [15627.879, 15642.9, 15608.251, 15642.223], [15625.991, 15642.853, 15604.526, 15642.108]],
    ['posterize', [15520.242, 15142.156], [15395.594, 14650.0]],
    ['solarize', [9270.911, 9663.181], [9270.911, 9663.181]],
    ['autocontrast', [15643.369, 15643.369], [15643.369, 15643.369]],
    ['equalize', [17943.256, 17943.256], [17943.256, 17943.256]],
  ];
  test.each(POLICIES)('%s of RandAugment and TrivialAugment', (operation, rand, trivial) => {
    const image = ramp(40, 44, 3, 1009);
    const weights = Float32Array.from({ length: image.size }, (_, i) => ((i * 7) % 11) + 1);
    const signs = rand.length === 4 ? [1, -1] : [1];
    for (const [ranges, expected] of [
      [RAND, rand],
      [TRIVIAL, trivial],
    ] as const) {
      const found = [9, 22].flatMap((magnitude) =>
        signs.map((sign) => {
          const { views } = applyDrawn({ views: image }, [{ operation, part: (sign * magnitude) / 30 }], ranges);
          return views.dataSync<'float32'>().reduce((sum, value, i) => sum + value * weights[i]!, 0);
        }),
      );
      found.forEach((sum, i) => expect(Math.abs(sum - expected[i]!), `${i}: ${sum}`).toBeLessThan(0.02));
    }
  });
});

describe('what is drawn', () => {
  test('corners lie up to half a side inwards, and every place is drawn', () => {
    const random = Random.seeded(2);
    const corners = Array.from({ length: 400 }, () => drawCorners(8, 12, { distortion: 0.5, p: 1 }, random));
    const places = (corner: number, axis: 0 | 1) =>
      [...new Set(corners.map((each) => each[corner]![axis]))].sort((a, b) => a - b);
    expect([places(0, 0), places(0, 1)]).toEqual([
      [0, 1, 2, 3],
      [0, 1, 2],
    ]);
    expect([places(2, 0), places(2, 1)]).toEqual([
      [8, 9, 10, 11],
      [5, 6, 7],
    ]);
  });

  test('erased boxes have the areas and aspects of RandomErasing', () => {
    const settings = Augmentation.parse({ erasing: { p: 1 } }).erasing!;
    const boxes = drawErasings({ count: 300, height: 64, width: 64, channels: 3 }, settings, Random.seeded(3));
    const masks = keptOutside(tensorOf(boxes), 64, 64).arraySync();
    const shares = masks.map((mask) => mask.flat(2).filter((value) => value === 0).length / 4096);
    expect(Math.min(...shares)).toBeGreaterThan(0.012);
    expect(Math.max(...shares)).toBeLessThan(0.35);
    // Uniform between 0.02 and 0.33, less the wide and high ones that do not fit.
    expect(Math.abs(shares.reduce((sum, share) => sum + share, 0) / 300 - 0.17)).toBeLessThan(0.02);
  });

  test('the order of colour jitter, by each image, then the same factors as without', () => {
    const images = noise(24, 6);
    const settings = Augmentation.parse({ colorJitter: { p: 1, order: 'random' } });
    const found = augment(images, settings, Random.seeded(5));
    const random = Random.seeded(5);
    for (let i = 0; i < 24; i++) random.bernoulli(1);
    const orders = Array.from({ length: 24 }, () => [...random.permutation(4)]);
    const draws = [0.4, 0.4, 0.4].map((s) => Array.from({ length: 24 }, () => random.uniform(1 - s, 1 + s)));
    draws.push(Array.from({ length: 24 }, () => random.uniform(-0.1, 0.1)));
    const parts = [adjustBrightness, adjustContrast, adjustSaturation, adjustHue];
    const expected = orders.map((order, i) =>
      order.reduce<tf.Tensor4D>(
        (image, part) => parts[part]!(image, Float32Array.of(draws[part]![i]!)),
        tf.slice4d(images, [i, 0, 0, 0], [1, -1, -1, -1]),
      ),
    );
    expect(largestDifference(found, tf.concat4d(expected, 0))).toBeLessThan(1e-5);
    expect(new Set(orders.map((order) => order.join())).size).toBeGreaterThan(10);
  });

  test('a policy gives each image its own operations', () => {
    const images = tf.tile<tf.Tensor4D>(noise(1, 16), [40, 1, 1, 1]);
    for (const policy of [{ randAugment: {} }, { trivialAugment: {} }]) {
      const views = augment(images, Augmentation.parse(policy), Random.seeded(1)).arraySync();
      expect(new Set(views.map((view) => JSON.stringify(view))).size).toBeGreaterThan(15);
    }
  });
});

describe('specs of before', () => {
  /** States of the random numbers after the views of eight images, and some of their values, before there were more. */
  const BEFORE: [object, number[], number[]][] = [
    [
      { crop: {}, flip: {}, rotate: {}, colorJitter: {}, grayscale: {}, blur: {}, solarize: {}, cutout: {} },
      [1790516210, 1597436533, -2113662933, -1603758317],
      [0.30627, 0.24432, 0.10946, 0.09322, 0.21671, 0.37625, 0.34712, 0.3093],
    ],
    [
      { crop: { grid: 'half-pixel' }, flip: {}, colorJitter: {}, grayscale: {} },
      [-1363398680, 693211636, -859104402, -1197597420],
      [1, 0.83196, 0.22531, 0.01856, 0.28527, 0.43187, 0.63969, 0.81589],
    ],
    [
      { rotate: { p: 0.5 }, cutout: { p: 0.5 } },
      [-72888512, 863213740, 1712846087, 28302027],
      [0, 0.7843, 0.93772, 0, 0.0788, 0.44804, 0.50193, 0.14648],
    ],
  ];
  test.each(BEFORE)('%j gives the views that it gave', (augmentation, state, values) => {
    const random = Random.seeded(11);
    const views = augment(noise(8, 24), Augmentation.parse(augmentation), random).dataSync();
    expect(random.state()).toEqual(state);
    const some = [...views].filter((_, i) => i % 1733 === 0);
    values.forEach((value, i) => expect(Math.abs(some[i]! - value)).toBeLessThan(2e-5));
  });

  test('operations are applied in the order in which augmentations are named', () => {
    expect(['crop', 'flip', ...Object.keys(OPERATIONS)]).toEqual(AUGMENTATIONS.filter((name) => !isOfSounds(name)));
  });
});
