import { Pretrain } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { newQueue } from './queue.js';

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
});

const spec = Pretrain.parse({ kind: 'pretrain', dataset: 'x', queueSize: 16, projection: { output: 8 } });
/** Directions told apart by their first place, of length 5. */
const outputs = (first: number[]) => tf.tensor2d(first.map((x) => [3 * x, 4, 0, 0, 0, 0, 0, 0]));
const firsts = (rows: tf.Tensor2D) => rows.arraySync().map(([x]) => x!);

test('begins with random directions of length 1, the same for a seed', () => {
  const [queue, again] = [newQueue(spec), newQueue(spec)];
  const lengths = queue.rows.arraySync().map((row) => Math.hypot(...row));
  for (const length of lengths) expect(length).toBeCloseTo(1, 5);
  expect(new Set(firsts(queue.rows)).size).toBe(16);
  expect(firsts(again.rows)).toEqual(firsts(queue.rows));
  expect(firsts(newQueue({ ...spec, seed: 1 }).rows)).not.toEqual(firsts(queue.rows));
});

test('takes the newest in, of length 1, for the oldest', () => {
  const queue = newQueue(spec);
  const before = firsts(queue.rows);
  queue.push(outputs([1, -1, 1]));
  expect(firsts(queue.rows).slice(0, 13)).toEqual(before.slice(3));
  firsts(queue.rows)
    .slice(13)
    .forEach((x, i) => expect(x).toBeCloseTo([0.6, -0.6, 0.6][i]!, 6));
  // Of more than it holds it keeps the last.
  queue.push(outputs(Array.from({ length: 20 }, (_, i) => (i < 4 ? -1 : 1))));
  firsts(queue.rows).forEach((x) => expect(x).toBeCloseTo(0.6, 6));
});
