import { expect, test } from 'vitest';
import { expandSweep, SweepSpec } from '#libs/contracts';
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
  expect(composition).toMatchObject({ names: ['crop', 'blur'], measure: 'accuracy 0.01', branches: 'both' });
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

test('pairs on one branch are planned as views of which one has them, and their matrix says so', () => {
  const trials = expandSweep(
    SweepSpec.parse({
      name: 'figure-5',
      stages: { pretrain: { kind: 'pretrain', dataset: 'x' } },
      augmentations: { pairs: { of: ['flip', 'blur', 'grayscale'], branches: 'one' }, always: ['crop'] },
    }),
  );
  const made = trials.map(({ runs: [run] }) => {
    const { spec } = run!;
    if (spec.kind !== 'pretrain' || typeof spec.views !== 'object')
      throw new Error('expected a pretraining with views');
    expect(spec.augmentation).toBeUndefined();
    return spec.views.map(({ augmentation }) => Object.keys(augmentation).sort().join('+'));
  });
  expect(made).toEqual([
    ['crop+flip', 'crop'],
    ['crop+grayscale', 'crop'],
    ['blur+crop', 'crop'],
    ['crop+flip+grayscale', 'crop'],
    ['blur+crop+flip', 'crop'],
    ['blur+crop+grayscale', 'crop'],
  ]);
  const rows = trials.map(({ parameters }, i) => ({
    parameters,
    knn: { mean: i / 10, ci95: null, n: 1 },
    accuracy: {},
  }));
  const composition = compositionOf(rows)!;
  expect(composition).toMatchObject({ names: ['flip', 'grayscale', 'blur'], measure: 'kNN', branches: 'one' });
  // The order of application is one and the same, so that both halves are.
  expect(composition.cells.map((line) => line.map((cell) => cell?.mean))).toEqual([
    [0, 0.3, 0.4],
    [0.3, 0.1, 0.5],
    [0.4, 0.5, 0.2],
  ]);
  const mixed = { ...rows[0]!, parameters: { 'pretrain.augmentation': { crop: {} } } };
  expect(compositionOf([...rows, mixed])).toBeNull();
});
