import type { SweepSpec } from '#libs/contracts';
import { expect, test } from 'vitest';
import { isLogarithmic } from './parameter-scale.js';

type Parameter = NonNullable<SweepSpec['parameters']>[string];

test.each<[string, number[], Parameter | undefined, boolean]>([
  ['learning rates of a list', [0.001, 0.003, 0.01], { values: [0.001, 0.003, 0.01] }, true],
  ['numbers of a list that are evenly apart', [0.1, 0.2, 0.3, 0.4], { values: [0.1, 0.2, 0.3, 0.4] }, false],
  ['batch sizes', [64, 128, 256], { values: [64, 128, 256] }, true],
  ['what was drawn by its logarithm', [0.01, 0.02], { distribution: 'log_uniform_values', min: 0.01, max: 0.02 }, true],
  ['the inverse of that', [0.01, 0.02], { distribution: 'inv_log_uniform', min: 1, max: 2 }, true],
  ['what was drawn evenly', [0.001, 0.04, 0.9], { min: 0, max: 1 }, false],
  ['what was drawn about a middle', [0.001, 0.04, 0.9], { mu: 0.5, sigma: 0.2 }, false],
  ['label fractions, of which no parameter tells', [0.01, 0.1, 1], undefined, true],
  ['two values', [0.1, 0.4], undefined, false],
  ['numbers from 0 on', [0, 0.001, 1], { values: [0, 0.001, 1] }, false],
])('%s: %j', (_, values, parameter, logarithmic) =>
  expect(isLogarithmic(values, 'p.x', parameter ? { 'p.x': parameter } : {})).toBe(logarithmic),
);

test('a metric has a logarithmic axis where its values are far apart, not by how they lie', () => {
  expect(isLogarithmic([0.1, 0.2, 0.4], 'eval/knn', {})).toBe(false);
  expect(isLogarithmic([0.01, 0.1, 10], 'eval/loss', {})).toBe(true);
});
