import { Augmentation, UNLABELLED, type View } from '#libs/contracts';
import { loadTensorFlow, tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { augmentWithMask } from './augmentation.js';
import { gatherMasks, gatherSamples, type SampleSplit } from './dataset.js';
import { inOrder } from './drawn.js';
import { Rows } from './npy.js';
import { Random } from './random.js';
import { DrawnMasks, DrawnViews, viewsOfEach } from './views.js';

await loadTensorFlow({ threads: 1 });

const N = 6;
const random = Random.seeded(3, 'samples');
const bytes = (count: number, below = 256) => Uint8Array.from({ length: count }, () => random.integer(0, below));

function images(height: number, width: number): SampleSplit {
  return {
    count: 10,
    sample: { modality: 'image', height, width, channels: 3 },
    classes: ['a', 'b'],
    samples: Rows.of<'|u1'>([10, height, width, 3], bytes(10 * height * width * 3)),
    labels: undefined,
    masks: Rows.of<'|u1'>([10, height, width], bytes(10 * height * width, 2)),
  };
}
const sounds: SampleSplit = {
  count: 10,
  sample: { modality: 'audio', sampleRate: 8000, length: 1500 },
  classes: [],
  samples: Rows.of<'<i2'>(
    [10, 1500],
    Int16Array.from({ length: 15_000 }, () => random.integer(-20_000, 20_000)),
  ),
  labels: undefined,
  masks: undefined,
};
const rows = Int32Array.of(7, 1, 4, 4, 0, 9);
const largestDifference = (a: tf.Tensor, b: tf.Tensor) => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!;
const shapesOf = (hosts: readonly HostTensor[]) => hosts.map(({ dtype, shape }) => [dtype, ...shape]);

const view = (settings: object, count: number, size?: number): View => ({
  augmentation: Augmentation.parse(settings),
  count,
  ...(size !== undefined && { size }),
});
const colours = { colorJitter: {}, grayscale: {} };
const IMAGES: [string, number, View[][]][] = [
  ['the usual ones', 16, [[view({ crop: {}, flip: {}, ...colours, blur: {} }, 2)]]],
  [
    'all that a graph can have',
    24,
    [
      [
        view(
          {
            ...{ crop: { grid: 'half-pixel' }, flip: {}, rotate: {}, perspective: {}, ...colours, blur: {} },
            ...{ sharpness: {}, solarize: {}, posterize: {}, autocontrast: {}, cutout: {}, erasing: {} },
          },
          1,
        ),
      ],
    ],
  ],
  ['of large images', 100, [[view(colours, 1)]]],
  [
    'of several sizes',
    20,
    [
      [view({ crop: {}, flip: {} }, 2, 12), view({ solarize: { p: 1 } }, 1, 12)],
      [view({ crop: {}, colorJitter: {} }, 3, 8)],
    ],
  ],
  ['that change nothing', 8, [[view({}, 2)]]],
  [
    'by operations that no graph has',
    16,
    [[view({ flip: {}, randAugment: {} }, 1), view({ flip: {}, equalize: {} }, 1)]],
  ],
  ['in an order that is drawn', 16, [[view({ colorJitter: { order: 'random' } }, 2)]]],
];
const SOUNDS: [string, View[][]][] = [
  ['the usual ones', [[view({ shift: {}, gain: {}, noise: {}, timeMask: {}, frequencyMask: {} }, 2)]]],
  ['by pitch, which no graph has', [[view({ shift: {}, pitch: { p: 1 }, timeMask: {} }, 1)]]],
];

/** What was drawn apart and made apart, against what is drawn and made at once. */
function expectSame(split: SampleSplit, sizes: View[][]): void {
  const drawnViews = new DrawnViews(split, sizes, N);
  const [apart, together] = [Random.seeded(5), Random.seeded(5)];
  let shapes: unknown;
  // The shapes of a graph's inputs are the same each time.
  for (let step = 0; step < 3; step++) {
    const before = tf.memory().numTensors;
    const drawn = drawnViews.draw(rows, apart);
    expect(tf.memory().numTensors).toBe(before);
    shapes ??= shapesOf(drawn);
    expect(shapesOf(drawn)).toEqual(shapes);
    tf.tidy(() => {
      const made = drawnViews.make(inOrder(drawn.map(tensorOf)));
      const samples = gatherSamples(split, rows);
      sizes.forEach((alike, i) => {
        const expected = viewsOfEach(split.sample, samples, alike, together);
        expect(made[i]!.shape).toEqual(expected.shape);
        expect(largestDifference(made[i]!, expected)).toBe(0);
      });
    });
    expect(tf.memory().numTensors).toBe(before);
  }
  expect(apart.state()).toEqual(together.state());
}

test.each(IMAGES)('views that are drawn before they are made are those made at once: %s', (_, size, sizes) =>
  expectSame(images(size, size), sizes),
);

test.each(SOUNDS)('views of sounds too: %s', (_, sizes) => expectSame(sounds, sizes));

test.each([
  ['moved', { crop: {}, rotate: { p: 1 }, erasing: {} }],
  ['cropped by pixels', { crop: { grid: 'half-pixel' }, flip: {} }],
  ['by an operation that no graph has', { trivialAugment: {} }],
])('so are images with the classes of their pixels, %s', (_, settings) => {
  const split = images(12, 14);
  const augmentation = Augmentation.parse(settings);
  const drawnMasks = new DrawnMasks(split, augmentation, N);
  const [apart, together] = [Random.seeded(5), Random.seeded(5)];
  tf.tidy(() => {
    const made = drawnMasks.make(inOrder(drawnMasks.draw(rows, apart).map(tensorOf)));
    const expected = augmentWithMask(
      gatherSamples(split, rows) as tf.Tensor4D,
      gatherMasks(split, rows),
      augmentation,
      together,
    );
    expect(largestDifference(made.views, expected.views)).toBe(0);
    expect([...made.masks.dataSync()]).toEqual([...expected.masks.dataSync()]);
    expect(made.masks.dtype).toBe('int32');
    expect(new Set(made.masks.dataSync())).toEqual(
      new Set('crop' in settings && !('rotate' in settings) ? [0, 1] : [0, 1, UNLABELLED]),
    );
  });
});
