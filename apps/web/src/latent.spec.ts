import { expect, test } from 'vitest';
import { inside, nearestTo, normalised, readFeatures } from './latent.js';

test('a map is scaled into -1 to 1 with its proportions kept', () => {
  expect([...normalised({ x: [10, 30, 20], y: [0, 5, 10] })]).toEqual([-1, -0.5, 1, 0, 0, 0.5]);
  expect([...normalised({ x: [7], y: [7] })]).toEqual([0, 0]);
  expect(normalised({ x: [], y: [] })).toHaveLength(0);
});

test('a lasso holds what lies inside, also where it is concave', () => {
  const points = Float32Array.from([0.5, 0.5, 1.5, 0.2, 1.5, 1.8, 3, 3]);
  // A square from 0 to 2 with a bite from the right: (1.5, 1) to the outside.
  expect(inside(points, [[0, 0], [2, 0], [2, 2], [0, 2]])).toEqual([0, 1, 2]);
  expect(inside(points, [[0, 0], [2, 0], [1, 1], [2, 2], [0, 2]])).toEqual([0, 1, 2]);
  expect(inside(Float32Array.from([1.8, 1]), [[0, 0], [2, 0], [1, 1], [2, 2], [0, 2]])).toEqual([]);
  expect(inside(points, [[0, 0], [2, 2]])).toEqual([]);
});

const npy = (descr: string, shape: string, data: Uint8Array) => {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': ${shape}, }`.padEnd(117) + '\n';
  const file = new Uint8Array(10 + header.length + data.length);
  file.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  file.set(new TextEncoder().encode(header), 10);
  file.set(data, 10 + header.length);
  return file.buffer;
};

test('features are read from .npy and neighbours found as a naive search finds them', () => {
  const count = 40;
  const values = Float32Array.from({ length: count * 3 }, (_, i) => Math.sin(i * 12.9898) * 5);
  const features = readFeatures(npy('<f4', `(${count}, 3)`, new Uint8Array(values.buffer)));
  expect(features.width).toBe(3);
  expect([...features.values]).toEqual([...values]);
  const distance = (a: number, b: number) => Math.hypot(...[0, 1, 2].map((i) => values[3 * a + i]! - values[3 * b + i]!));
  const naive = Array.from({ length: count }, (_, i) => i).filter((i) => i !== 7).sort((a, b) => distance(7, a) - distance(7, b)).slice(0, 6);
  const found = nearestTo(features, 7, 6);
  expect(found.map(({ point }) => point)).toEqual(naive);
  found.forEach(({ point, distance: each }) => expect(each).toBeCloseTo(distance(7, point), 5));
  expect(nearestTo({ values: Float32Array.of(1, 2), width: 2 }, 0, 5)).toEqual([]);
});

test('another file is refused', () => {
  expect(() => readFeatures(new ArrayBuffer(4))).toThrow('expected a .npy file');
  expect(() => readFeatures(npy('<f8', '(2, 2)', new Uint8Array(32)))).toThrow('expected float32 [N, width]');
});
