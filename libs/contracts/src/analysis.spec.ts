import { describe, expect, test } from 'vitest';
import { leaveOneOutEffects, pairedDifference, parameterImportance, type Outcome } from './analysis.js';
import { uniformNumbers } from './search-space.js';

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

describe('importance', () => {
  const uniform = uniformNumbers(4);
  const trials = Array.from({ length: 120 }, () => {
    const parameters = {
      rate: uniform(),
      width: Math.floor(4 * uniform()),
      norm: ['batch', 'layer', { group: 4 }][Math.floor(3 * uniform())],
      idle: uniform(),
      fixed: 1,
    };
    // Uniform on [0, 1] has variance 1/12: the rate explains by far the most.
    return {
      parameters,
      value: 4 * parameters.rate + (typeof parameters.norm === 'object' ? 1 : 0) + 0.05 * uniform(),
    };
  });

  test('ranks what matters, finds nothing in what does not, and is the same again', () => {
    const found = parameterImportance(trials);
    expect(found.map(({ parameter }) => parameter).slice(0, 2)).toEqual(['rate', 'norm']);
    expect(found.map(({ parameter }) => parameter)).not.toContain('fixed');
    const of = (name: string) => found.find(({ parameter }) => parameter === name)!.importance;
    // Shuffling doubles the explained variance as error: the shares are near those of the function, 16/12 and 2/9.
    expect(of('rate')).toBeGreaterThan(0.6);
    expect(of('norm')).toBeGreaterThan(0.05);
    expect(Math.max(of('width'), of('idle'))).toBeLessThan(0.02);
    expect(parameterImportance(trials)).toEqual(found);
  });

  test('takes a number that does not always apply as one, apart from where it does not', () => {
    const some = Array.from({ length: 100 }, (_, i) => {
      const rate = uniform();
      return i % 2
        ? { parameters: { method: 'a', rate, idle: uniform() }, value: 1 + 4 * rate }
        : { parameters: { method: 'b', idle: rate }, value: 1 };
    });
    const found = new Map(parameterImportance(some).map(({ parameter, importance }) => [parameter, importance]));
    expect(found.get('rate')!).toBeGreaterThan(0.5);
    expect(found.get('idle')!).toBeLessThan(0.1);
  });

  test('needs trials and a metric that varies', () => {
    expect(parameterImportance(trials.slice(0, 7))).toEqual([]);
    expect(parameterImportance(trials.map((each) => ({ ...each, value: 1 })))).toEqual([]);
  });
});

test('the importance of ten thousand trials is told while one waits', () => {
  const uniform = uniformNumbers(9);
  const many = Array.from({ length: 10_000 }, () => {
    const parameters = { a: uniform(), b: uniform(), c: uniform() };
    return { parameters, value: parameters.a + 0.2 * parameters.b };
  });
  const begun = performance.now();
  expect(parameterImportance(many).map(({ parameter }) => parameter)).toEqual(['a', 'b', 'c']);
  expect(performance.now() - begun).toBeLessThan(5000);
});
