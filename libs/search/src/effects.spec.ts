import { describe, expect, test } from 'vitest';
import { leaveOneOutEffects, pairedDifference, type Outcome } from './effects.js';

const outcome = (combo: string, augmentation: object, pair: string, value: number): Outcome => ({
  combo,
  parameters: { 'pretrain.augmentation': augmentation },
  pair,
  value,
});

test('combinations are compared on the same labels only', () => {
  const some = [
    outcome('a', {}, '1', 0.5),
    outcome('a', {}, '2', 0.7),
    outcome('a', {}, '3', 0.1),
    outcome('b', {}, '1', 0.4),
    outcome('b', {}, '2', 0.5),
    outcome('b', {}, '4', 0.9),
  ];
  const difference = pairedDifference(some, 'a', 'b')!;
  expect(difference.n).toBe(2);
  expect(difference.mean).toBeCloseTo(0.15, 12);
  // t(1) · s / √2, s = 0.05 · √2
  expect(difference.ci95).toBeCloseTo(12.706 * 0.05, 9);
  expect(pairedDifference(some, 'a', 'c')).toBeNull();
});

describe('what an augmentation is worth', () => {
  const all = { crop: {}, flip: {}, blur: {} };
  const [noCrop, noBlur] = [
    { flip: {}, blur: {} },
    { crop: {}, flip: {} },
  ];
  const trials = [
    ...['1', '2'].flatMap((pair, i) => [
      outcome('all', all, pair, 0.8 + i / 10),
      outcome('-crop', noCrop, pair, 0.3 + i / 10),
      outcome('-blur', noBlur, pair, 0.78 + i / 8),
    ]),
  ];

  test('is what all lose without it', () => {
    const effects = leaveOneOutEffects(trials);
    expect(effects.map(({ name }) => name)).toEqual(['crop', 'blur']);
    expect(effects[0]!.effect.mean).toBeCloseTo(0.5, 12);
    expect(effects[1]!.effect.mean).toBeCloseTo(0.0075, 12);
  });

  test('is not told where something else differs too', () => {
    expect(
      leaveOneOutEffects(
        trials.map((each) => ({ ...each, parameters: { ...each.parameters, 'pretrain.temperature': 0.1 } })),
      ),
    ).toEqual([]);
    expect(leaveOneOutEffects(trials.filter(({ combo }) => combo !== 'all'))).toEqual([]);
    const other = [outcome('all', all, '1', 0.8), outcome('weaker', { flip: {}, blur: { p: 0.1 } }, '1', 0.3)];
    expect(leaveOneOutEffects(other)).toEqual([]);
  });
});
