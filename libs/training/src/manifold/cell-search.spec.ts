import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { beforeAll, expect, test } from 'vitest';
import { nearestByCells } from './cell-search.js';
import { nearest } from './neighbours.js';
import { squaredDistance, type Points } from './points.js';

beforeAll(() => loadTensorFlow({ threads: 1 }));

const now = () => Promise.resolve();
const K = 10;

/** Points of clusters that are no balls, enough for each to be compared with a part of all. */
function clusters(count: number, width: number): Points {
  const random = Random.seeded(4, 'clusters');
  const middles = Float32Array.from({ length: 12 * width }, () => random.normal(0, 3));
  const values = new Float32Array(count * width);
  for (let i = 0; i < count; i++)
    for (let j = 0; j < width; j++)
      values[i * width + j] = middles[(i % 12) * width + j]! + random.normal(0, 1 + j / 2);
  return { values, width };
}

test('of many points most neighbours are found, as far as said, and what part of all is said', async () => {
  const [count, points] = [6000, clusters(6000, 6)];
  const tensors = tf.memory().numTensors;
  const found = await nearestByCells(points, K, Random.seeded(1), now, 1500);
  expect(tf.memory().numTensors).toBe(tensors);
  const exact = await nearest(points, K);
  let hits = 0;
  const faults: string[] = [];
  for (let row = 0; row < count; row++) {
    const own = found.places.subarray(row * K, (row + 1) * K);
    const truth = new Set(exact.places.subarray(row * K, (row + 1) * K));
    if (new Set(own).size < K || own.includes(row)) faults.push(`${row} has ${own.join(' ')}`);
    own.forEach((place, n) => {
      const [far, least] = [found.distances[row * K + n]!, exact.distances[row * K + n]!];
      const said = Math.sqrt(squaredDistance(points.values, 6, row, place));
      // The n-th that is found is never nearer than the n-th of all.
      if (Math.abs(far - said) > 1e-9 || far < least - 1e-9) faults.push(`${row}, ${n}: ${far}, ${said}, ${least}`);
      if (truth.has(place)) hits++;
    });
  }
  expect(faults).toEqual([]);
  const recall = hits / (count * K);
  expect(recall).toBeGreaterThan(0.9);
  expect(recall).toBeLessThan(1);
  // It is of 500 points.
  expect(Math.abs(found.recall - recall)).toBeLessThan(0.01);
  expect(await nearestByCells(points, K, Random.seeded(1), now, 1500)).toEqual(found);
});

test('a point is not its own neighbour among copies of it, and few points are compared with all', async () => {
  const copies: Points = { values: new Float32Array(3 * 1500).fill(2), width: 3 };
  const { places, distances, recall } = await nearestByCells(copies, 3, Random.seeded(2), now);
  places.forEach((place, at) => expect(place).not.toBe(Math.floor(at / 3)));
  expect(Math.max(...distances)).toBe(0);
  // Which of the copies is as good as any.
  expect(recall).toBeLessThanOrEqual(1);
  const few = clusters(300, 5);
  const found = await nearestByCells(few, K, Random.seeded(2), now);
  expect(found.recall).toBe(1);
  expect([...found.places]).toEqual([...(await nearest(few, K)).places]);
});

test('what the pause throws ends the search and leaves no tensor', async () => {
  const points = clusters(2000, 4);
  const tensors = tf.memory().numTensors;
  for (const last of [0, 5, 12]) {
    let pauses = 0;
    const stop = () => (pauses++ < last ? Promise.resolve() : Promise.reject(new Error('stopped')));
    await expect(nearestByCells(points, K, Random.seeded(3), stop)).rejects.toThrow('stopped');
    expect(tf.memory().numTensors).toBe(tensors);
  }
});
