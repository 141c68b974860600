import { Random, Rows, type SampleSplit } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { expect, test } from 'vitest';
import { CompiledMap } from './compiled-map.js';
import { collect, representation } from './evaluation.js';
import { buildEncoder } from './networks/encoder.js';
import { initialise, weightsOf } from './networks/weights.js';

await loadTensorFlow({ threads: 1 });

/** Five batches of 512, and some. */
const COUNT = 5 * 512 + 100;
const random = Random.seeded(1, 'samples');
const split: SampleSplit = {
  count: COUNT,
  sample: { modality: 'image', height: 8, width: 8, channels: 3 },
  classes: [],
  samples: Rows.of<'|u1'>(
    [COUNT, 8, 8, 3],
    Uint8Array.from({ length: COUNT * 192 }, () => random.integer(0, 256)),
  ),
  labels: undefined,
  masks: undefined,
};
const encoder = buildEncoder({ name: 'small-resnet', width: 4 }, [8, 8, 3]);
initialise([encoder], Random.seeded(1, 'weights'));
const map = representation(encoder);
const rows = Int32Array.from({ length: COUNT }, (_, i) => (i * 7) % COUNT);
const largestDifference = (a: tf.Tensor, b: tf.Tensor) => tf.tidy(() => tf.max(tf.abs(tf.sub(a, b))).dataSync()[0]!);

test('features of many batches come from a graph as one by one, also when weights have changed', async () => {
  const compiled = new CompiledMap(map, [encoder]);
  const before = tf.memory().numTensors;
  for (let epoch = 0; epoch < 2; epoch++) {
    const expected = await collect(split, rows, map);
    const found = await collect(split, rows, compiled);
    expect(found.shape).toEqual([COUNT, 16]);
    expect(largestDifference(found, expected)).toBeLessThan(1e-5);
    expect(tf.tidy(() => tf.max(found).dataSync()[0]!)).toBeGreaterThan(0.1);
    // Once there is a graph, a batch is enough for it.
    expect([compiled.pays(split, 600, 512), compiled.pays(split, 500, 512)]).toEqual([true, false]);
    tf.dispose([expected, found]);
    expect(tf.memory().numTensors).toBe(before);
    for (const { variable } of weightsOf(encoder)) tf.tidy(() => variable.assign(tf.mul(variable, 1.1)));
  }
  compiled.dispose();
});

test('what a pause throws ends it, when the batch that is computed is done', async () => {
  const compiled = new CompiledMap(map, [encoder]);
  let calls = 0;
  const pause = async () => {
    if (++calls === 3) throw new Error('stopped');
  };
  await expect(collect(split, rows, compiled, pause)).rejects.toThrow('stopped');
  compiled.dispose();
});
