import { expect, test } from 'vitest';
import type { Embed } from '#libs/contracts';
import { inside, momentsOf, nearestTo, normalised, onTheWay, PointGrid, readFeatures } from './latent.js';

test('a map is scaled into -1 to 1 with its proportions kept', () => {
  expect([...normalised({ x: [10, 30, 20], y: [0, 5, 10] })]).toEqual([-1, -0.5, 1, 0, 0, 0.5]);
  expect([...normalised({ x: [7], y: [7] })]).toEqual([0, 0]);
  expect(normalised({ x: [], y: [] })).toHaveLength(0);
  // In the frame of another map: what lies outside of that lies outside.
  expect([...normalised({ x: [40, 20], y: [5, 5] }, { x: [10, 30, 20], y: [0, 5, 10] })]).toEqual([2, 0, 0, 0]);
  expect([...onTheWay(Float32Array.of(0, 2), Float32Array.of(4, 2), 0.25)]).toEqual([1, 2]);
});

test('a lasso holds what lies inside, also where it is concave', () => {
  const points = Float32Array.from([0.5, 0.5, 1.5, 0.2, 1.5, 1.8, 3, 3]);
  // A square from 0 to 2 with a bite from the right: (1.5, 1) to the outside.
  expect(
    inside(points, [
      [0, 0],
      [2, 0],
      [2, 2],
      [0, 2],
    ]),
  ).toEqual([0, 1, 2]);
  expect(
    inside(points, [
      [0, 0],
      [2, 0],
      [1, 1],
      [2, 2],
      [0, 2],
    ]),
  ).toEqual([0, 1, 2]);
  expect(
    inside(Float32Array.from([1.8, 1]), [
      [0, 0],
      [2, 0],
      [1, 1],
      [2, 2],
      [0, 2],
    ]),
  ).toEqual([]);
  expect(
    inside(points, [
      [0, 0],
      [2, 2],
    ]),
  ).toEqual([]);
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
  const distance = (a: number, b: number) =>
    Math.hypot(...[0, 1, 2].map((i) => values[3 * a + i]! - values[3 * b + i]!));
  const naive = Array.from({ length: count }, (_, i) => i)
    .filter((i) => i !== 7)
    .sort((a, b) => distance(7, a) - distance(7, b))
    .slice(0, 6);
  const found = nearestTo(features, [7], 6);
  expect(found.map(({ point }) => point)).toEqual(naive);
  found.forEach(({ point, distance: each }) => expect(each).toBeCloseTo(distance(7, point), 5));
  expect(nearestTo({ values: Float32Array.of(1, 2), width: 2 }, [0], 5)).toEqual([]);
  // Of several, what is nearest to their middle: 3 lies between 0 and 6, 10 far away.
  expect(nearestTo({ values: Float32Array.of(0, 10, 6, 3.5), width: 1 }, [0, 2], 2)).toEqual([
    { point: 3, distance: 0.5 },
    { point: 1, distance: 7 },
  ]);
});

test('the grid finds what a look at every point finds, also at the edge and beyond', () => {
  const points = Float32Array.from({ length: 2 * 3000 }, (_, i) => Math.sin(i * 78.233) * (i % 7 === 0 ? 1.3 : 0.9));
  const grid = new PointGrid(points);
  for (let n = 0; n < 300; n++) {
    const [x, y, radius] = [Math.sin(n * 3.1) * 1.4, Math.cos(n * 1.7) * 1.4, 0.002 * (1 + (n % 40))];
    let expected: number | undefined;
    for (let i = 0; i < 3000; i++) {
      const distance = Math.hypot(points[2 * i]! - x, points[2 * i + 1]! - y);
      if (
        distance < radius &&
        (expected === undefined || distance < Math.hypot(points[2 * expected]! - x, points[2 * expected + 1]! - y))
      )
        expected = i;
    }
    expect(grid.nearest(x, y, radius)).toBe(expected);
  }
  // Of two at one place, the one on top.
  expect(new PointGrid(Float32Array.of(0.5, 0.5, 0.5, 0.5)).nearest(0.5, 0.5, 0.1)).toBe(1);
  expect(new PointGrid(new Float32Array()).nearest(0, 0, 1)).toBeUndefined();
});

test('the moments of a run are its checkpoints and its end, each with its newest map', () => {
  const spec = (more: object = {}) =>
    ({ kind: 'embed', dataset: 'd@1', split: 'val', maxSamples: 100, maps: ['pca'], ...more }) as unknown as Embed;
  const map = (id: number, status: string, more: object = {}) => ({ id, status, spec: spec(more) });
  const maps = [
    map(6, 'failed', { checkpoint: 30 }),
    map(5, 'running', { checkpoint: 20 }),
    map(4, 'succeeded', { checkpoint: 10 }),
    map(3, 'succeeded', { checkpoint: 10 }),
    map(2, 'succeeded', { checkpoint: 15, split: 'test' }),
    map(1, 'succeeded'),
  ];
  // 5 is mapped and its checkpoint is gone since; that of another split is none of ours.
  expect(
    momentsOf(spec(), [...maps, map(0, 'succeeded', { checkpoint: 5 })], [10, 20, 30]).map(({ step, map: found }) => [
      step,
      found?.id,
    ]),
  ).toEqual([
    [5, 0],
    [10, 4],
    [20, 5],
    [30, undefined],
    [null, 1],
  ]);
});

test('another file is refused', () => {
  expect(() => readFeatures(new ArrayBuffer(4))).toThrow('expected a .npy file');
  expect(() => readFeatures(npy('<f8', '(2, 2)', new Uint8Array(32)))).toThrow('expected float32 [N, width]');
});
