import { Augmentation } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { augment } from './augmentation.js';
import { resampleByPixels, resizedWhole } from './crops.js';
import { Random } from './random.js';

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

/** 12 rows of 10 places: ((37 row + 91 column) mod 101) / 100. */
const picture = () =>
  tf.tensor4d(
    Float32Array.from({ length: 120 }, (_, i) => ((Math.floor(i / 10) * 37 + (i % 10) * 91) % 101) / 100),
    [1, 12, 10, 1],
  );
const valuesOf = (images: tf.Tensor4D) => images.arraySync()[0]!.map((row) => row.map(([x]) => x!));
const expectClose = (found: number[][], expected: number[][]) =>
  expected.forEach((row, y) => row.forEach((value, x) => expect(found[y]![x]!).toBeCloseTo(value, 5)));

// torchvision 0.29.2: transforms.v2.functional.resized_crop(image, top, left, height, width, size, antialias=True).
test.each([
  [
    'smaller',
    { top: 1, left: 2, height: 9, width: 7 },
    [
      [0.442054, 0.568686, 0.459714, 0.53083],
      [0.495447, 0.46999, 0.587512, 0.470604],
      [0.447526, 0.518166, 0.547005, 0.467259],
      [0.393769, 0.5204, 0.556869, 0.457809],
    ],
  ],
  [
    'larger',
    { top: 0, left: 0, height: 3, width: 4 },
    [
      [0, 0.637, 0.86, 0.78, 0.71],
      [0.148, 0.5022, 0.604, 0.524, 0.454],
      [0.37, 0.3, 0.22, 0.14, 0.07],
      [0.592, 0.522, 0.442, 0.362, 0.292],
      [0.74, 0.67, 0.59, 0.51, 0.44],
    ],
  ],
  [
    'smaller one way and larger the other',
    { top: 2, left: 0, height: 10, width: 3 },
    [
      [0.421364, 0.358864, 0.438807, 0.634546],
      [0.5248, 0.4623, 0.40245, 0.3652],
      [0.6088, 0.5463, 0.4713, 0.4088],
      [0.394545, 0.532898, 0.578409, 0.515909],
    ],
  ],
])('a view %s than its crop is torchvision’s, antialiased', (_, box, expected) => {
  const [view, mirrored] = [false, true].map((each) =>
    valuesOf(resampleByPixels(picture(), [{ ...box, mirrored: each }], 'bilinear', expected.length)),
  ) as [number[][], number[][]];
  expectClose(view, expected);
  expectClose(
    mirrored,
    expected.map((row) => row.toReversed()),
  );
});

test('a whole picture is resized as the square in its middle, in a view without a crop too', () => {
  // torchvision 0.29.2: resize(center_crop(image, 10), 4, antialias=True)
  const expected = [
    [0.427149, 0.494964, 0.496382, 0.561859],
    [0.4386, 0.483664, 0.546784, 0.484164],
    [0.474855, 0.469088, 0.52736, 0.487364],
    [0.475455, 0.416727, 0.517309, 0.541302],
  ];
  expectClose(valuesOf(resizedWhole(picture(), 4)), expected);
  expectClose(valuesOf(augment(picture(), {}, Random.seeded(0), 4)), expected);
});

test('crops of a size are drawn as those without, come from the whole picture and leave no tensor behind', () => {
  const random = Random.seeded(5);
  const images = tf.tensor4d(
    Float32Array.from({ length: 4 * 24 * 20 * 3 }, () => random.uniform()),
    [4, 24, 20, 3],
  );
  const crop = Augmentation.parse({ crop: { grid: 'half-pixel' }, flip: {}, blur: { p: 1 } });
  const before = tf.memory().numTensors;
  const [states, views] = [[] as unknown[], [] as tf.Tensor4D[]];
  for (const size of [undefined, 9, 33]) {
    const own = Random.seeded(1);
    views.push(augment(images, crop, own, size));
    states.push(own.state());
  }
  expect(tf.memory().numTensors).toBe(before + 3);
  expect(views.map(({ shape }) => shape)).toEqual([
    [4, 24, 20, 3],
    [4, 9, 9, 3],
    [4, 33, 33, 3],
  ]);
  expect(states[1]).toEqual(states[0]);
  expect(states[2]).toEqual(states[0]);
  // The mean of a view hardly depends on its size.
  const means = views.map((view) => tf.mean(view, [1, 2]).dataSync());
  for (const each of means) each.forEach((mean, i) => expect(Math.abs(mean - means[0]![i]!)).toBeLessThan(0.06));
});
