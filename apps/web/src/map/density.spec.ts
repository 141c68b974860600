import { describe, expect, test } from 'vitest';
import { clustersOf, contoursOf, densityOf } from './density.js';

/** Two heaps of points, at (-0.5, 0) and (0.5, 0.25), of 300 and 100. */
const heaps = Float32Array.from(
  Array.from({ length: 400 }, (_, i) => {
    const [x, y] = i < 300 ? [-0.5, 0] : [0.5, 0.25];
    return [x + 0.05 * Math.sin(i), y + 0.05 * Math.cos(i * 1.7)];
  }).flat(),
);

describe('density', () => {
  test('the density holds all points, and is highest where they are', () => {
    const density = densityOf(heaps);
    expect(density.reduce((sum, value) => sum + value, 0)).toBeCloseTo(400, 3);
  });

  test('contours are closed lines around the heaps, the higher the nearer', () => {
    const [low, high] = contoursOf(densityOf(heaps), [0.1, 0.6]);
    const around = (lines: Float32Array) =>
      Array.from({ length: lines.length / 2 }, (_, i) => Math.hypot(lines[2 * i]! + 0.5, lines[2 * i + 1]!));
    // The smaller heap is as high as a third of the larger one.
    expect(Math.max(...around(high!))).toBeLessThan(0.2);
    expect(Math.max(...around(low!))).toBeGreaterThan(0.9);
    // Each end of a line is the end of another: what is drawn is closed.
    const ends = new Map<string, number>();
    for (let i = 0; i < high!.length / 2; i++) {
      const end = `${high![2 * i]!.toFixed(4)} ${high![2 * i + 1]!.toFixed(4)}`;
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    expect(ends.size).toBeGreaterThan(8);
    expect([...ends.values()].every((times) => times === 2)).toBe(true);
  });

  test('clusters are where the heaps are, the larger first, with what they are made of', () => {
    const kinds = Array.from({ length: 400 }, (_, i) => (i < 300 ? i % 3 : 2));
    const [first, second, ...others] = clustersOf(heaps, densityOf(heaps), kinds);
    expect(others).toEqual([]);
    expect([first!.count, second!.count]).toEqual([300, 100]);
    for (const [cluster, x, y] of [
      [first!, -0.5, 0],
      [second!, 0.5, 0.25],
    ] as const)
      expect(Math.hypot(cluster.x - x, cluster.y - y)).toBeLessThan(0.06);
    expect(first!.mix).toEqual([0, 1, 2].map((label) => ({ label, count: 100 })));
    expect(second!.mix).toEqual([{ label: 2, count: 100 }]);
    expect(clustersOf(heaps, densityOf(heaps), null)[0]!.mix).toEqual([]);
  });
});
