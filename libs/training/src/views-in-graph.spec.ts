import { Augmentation, type View } from '#libs/contracts';
import { DrawnViews, gatherSamples, inOrder, Random, Rows, viewsOfEach, type SampleSplit } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { CompiledStep } from './compiled-step.js';

await loadTensorFlow({ threads: 1 });

const SIZE = 24;
const N = 16;
const random = Random.seeded(0, 'samples');
const split: SampleSplit = {
  count: N,
  sample: { modality: 'image', height: SIZE, width: SIZE, channels: 3 },
  classes: [],
  samples: Rows.of<'|u1'>(
    [N, SIZE, SIZE, 3],
    Uint8Array.from({ length: N * SIZE * SIZE * 3 }, () => random.integer(0, 256)),
  ),
  labels: undefined,
  masks: undefined,
};
const rows = Int32Array.from({ length: N }, (_, i) => (i * 5) % N);

/** By how much the views of a graph differ from those that `viewsOfEach` makes, at most. */
async function differenceOf(view: View): Promise<number> {
  const drawn = new DrawnViews(split, [[view]], N);
  const graph = new CompiledStep((inputs) => ({ views: drawn.make(inOrder(inputs))[0]! }), []);
  let largest = 0;
  for (let step = 0; step < 2; step++) {
    const { values } = await graph.compute(drawn.draw(rows, Random.seeded(step)));
    const expected = tf.tidy(() =>
      viewsOfEach(split.sample, gatherSamples(split, rows), [view], Random.seeded(step)).dataSync(),
    );
    values.forEach((value, i) => (largest = Math.max(largest, Math.abs(value - expected[i]!))));
  }
  graph.dispose();
  return largest;
}

const usual = { crop: {}, flip: {}, colorJitter: {}, grayscale: {} };
test.each<[string, object]>([
  ['crop, flip, colours', usual],
  ['and blur', { ...usual, blur: {}, solarize: {} }],
  ['warps and covers', { rotate: {}, perspective: {}, cutout: {}, erasing: {} }],
])("views that are part of a graph are augment's, bit for bit: %s", async (_, settings) =>
  expect(await differenceOf({ augmentation: Augmentation.parse(settings), count: 2 })).toBe(0),
);

test.each<[string, View]>([
  ['of another size', { augmentation: Augmentation.parse({ crop: {}, flip: {} }), count: 2, size: 16 }],
  [
    "of tone, and on torchvision's grid",
    {
      augmentation: Augmentation.parse({
        crop: { grid: 'half-pixel' },
        sharpness: {},
        posterize: {},
        autocontrast: {},
      }),
      count: 1,
    },
  ],
])('views %s are to within rounding', async (_, view) => expect(await differenceOf(view)).toBeLessThan(1e-6));
