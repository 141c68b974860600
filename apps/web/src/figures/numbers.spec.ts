import { expect, test } from 'vitest';
import { areLevel, isDrawn, signOf } from './numbers.js';

const estimate = (mean: number, ci95: number | null) => ({ mean, ci95, n: ci95 === null ? 1 : 3 });

test.each([
  [0.61, 0.02, 0.64, 0.02, true],
  [0.61, 0.01, 0.64, 0.01, false],
  [0.64, 0.01, 0.61, 0.01, false],
  [0.64, null, 0.64, null, true],
  [0.64, null, 0.6399, null, false],
  [0.64, null, 0.6, 0.05, true],
])('%f ± %s and %f ± %s are level: %s', (a, ciA, b, ciB, level) =>
  expect(areLevel(estimate(a, ciA), estimate(b, ciB))).toBe(level),
);

test.each([
  [0.05, 0.02, 1],
  [-0.05, 0.02, -1],
  [0.01, 0.02, 0],
  [-0.02, 0.02, 0],
  // Of one seed nobody knows.
  [0.2, null, 0],
])('a difference of %f ± %s has the sign %i', (mean, ci95, sign) => expect(signOf(estimate(mean, ci95))).toBe(sign));

test.each([
  [1, false],
  [2, false],
  [3, true],
])('the interval of %i seeds is drawn: %s', (n, drawn) => expect(isDrawn({ n })).toBe(drawn));
