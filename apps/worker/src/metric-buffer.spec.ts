import { expect, test } from 'vitest';
import { MetricBuffer } from './metric-buffer.js';

const curve = (key: string, from: number, to: number) =>
  Array.from({ length: to - from }, (_, i) => ({ key, step: from + i, value: i }));

test('everything comes out once and in order while it fits', () => {
  const buffer = new MetricBuffer(100);
  buffer.add([...curve('loss', 1, 51), ...curve('rate', 1, 51)]);
  expect(buffer.take()).toEqual({ points: [...curve('loss', 1, 51), ...curve('rate', 1, 51)], stride: 1 });
  expect(buffer.take()).toEqual({ points: [], stride: 1 });
});

test(
  'a flood is thinned to multiples of a stride, its newest point and rare keys stay, and it never outgrows its ' +
    'capacity',
  () => {
    const buffer = new MetricBuffer(100);
    buffer.add([{ key: 'eval/knn', step: 7, value: 0.5 }]);
    for (const point of curve('loss', 1, 1000)) {
      buffer.add([point]);
      expect(buffer.size).toBeLessThanOrEqual(100);
    }
    const { points, stride } = buffer.take();
    expect(stride).toBeGreaterThan(1);
    expect(points).toContainEqual({ key: 'eval/knn', step: 7, value: 0.5 });
    expect(points.at(-1)).toMatchObject({ key: 'loss', step: 999 });
    const loss = points.filter(({ key }) => key === 'loss').map(({ step }) => step);
    // Those that were thinned lie on the stride; those that came after the last thinning are whole.
    const old = loss.slice(
      0,
      loss.findIndex((step, i) => loss[i + 1] === step + 1),
    );
    expect(old.length).toBeGreaterThan(10);
    expect(old.every((step) => step % stride === 0)).toBe(true);
  },
);

test('more keys than places: the newest stay', () => {
  const buffer = new MetricBuffer(10);
  buffer.add(Array.from({ length: 50 }, (_, i) => ({ key: `key${i}`, step: 1, value: i })));
  const { points } = buffer.take();
  expect(points.length).toBeLessThanOrEqual(10);
  expect(points.at(-1)!.key).toBe('key49');
});
