import { expect, test } from 'vitest';
import { compositionOf } from './composition.js';

test('a composition matrix has each augmentation alone on its diagonal and pairs beside it', () => {
  const estimate = (mean: number) => ({ mean, ci95: null, n: 1 });
  const row = (augmentation: object, one: number, more: object = {}) => ({
    parameters: { 'pretrain.augmentation': { flip: {}, ...augmentation }, ...more },
    knn: estimate(one / 2),
    accuracy: { '0.1': estimate(0.9), '0.01': estimate(one) },
    scratch: {},
    gain: {},
  });
  const rows = [
    row({ crop: {} }, 0.4),
    row({ blur: {} }, 0.2),
    row({ crop: {}, blur: {} }, 0.5),
    row({ crop: {}, cutout: {}, blur: {} }, 0.6),
  ];
  const composition = compositionOf(rows)!;
  expect(composition).toMatchObject({ names: ['crop', 'blur'], measure: 'accuracy 0.01' });
  expect(composition.cells.map((line) => line.map((cell) => cell?.mean))).toEqual([
    [0.4, 0.5],
    [0.5, 0.2],
  ]);
  expect(compositionOf(rows.map((each) => ({ ...each, accuracy: {} })))!.cells[0]![1]!.mean).toBe(0.25);
  expect(compositionOf([row({ crop: {} }, 1), row({ blur: {} }, 1)])).toBeNull();
  expect(
    compositionOf(rows.map((each) => ({ ...each, parameters: { ...each.parameters, 'pretrain.temperature': 0.1 } }))),
  ).toBeNull();
});
