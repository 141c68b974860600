import { expect, test } from 'vitest';
import { estimateMean } from './statistics.js';

test("a mean has Student's interval", () => {
  expect(estimateMean([2])).toEqual({ mean: 2, ci95: null, n: 1 });
  const { mean, ci95, n } = estimateMean([1, 2, 3, 4]);
  expect([mean, n]).toEqual([2.5, 4]);
  expect(ci95).toBeCloseTo((3.182 * Math.sqrt(5 / 3)) / 2, 9);
  expect(
    estimateMean(Array.from({ length: 61 }, (_, i) => i % 2)).ci95! /
      (Math.sqrt((((60 / 4 / 60) * 61) / 60) * (60 / 61)) / Math.sqrt(61)),
  ).toBeCloseTo(2.0003, 1);
  expect(() => estimateMean([])).toThrow(RangeError);
});
