import { uniformNumbers } from '#libs/contracts';
import { describe, expect, test } from 'vitest';
import { parameterImportance } from './random-forest.js';
import { columnsToTry, numbersBelow } from './random-forest-thread.js';

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

  test('ranks what matters, finds nothing in what does not, and is the same again', async () => {
    const found = await parameterImportance(trials);
    expect(found.map(({ parameter }) => parameter).slice(0, 2)).toEqual(['rate', 'norm']);
    expect(found.map(({ parameter }) => parameter)).not.toContain('fixed');
    const of = (name: string) => found.find(({ parameter }) => parameter === name)!.importance;
    // Shuffling doubles the explained variance as error: the shares are near those of the function, 16/12 and 2/9.
    expect(of('rate')).toBeGreaterThan(0.6);
    expect(of('norm')).toBeGreaterThan(0.05);
    expect(Math.max(of('width'), of('idle'))).toBeLessThan(0.02);
    expect(await parameterImportance(trials)).toEqual(found);
  });

  test('takes a number that does not always apply as one, apart from where it does not', async () => {
    const some = Array.from({ length: 100 }, (_, i) => {
      const rate = uniform();
      return i % 2
        ? { parameters: { method: 'a', rate, idle: uniform() }, value: 1 + 4 * rate }
        : { parameters: { method: 'b', idle: rate }, value: 1 };
    });
    const found = new Map(
      (await parameterImportance(some)).map(({ parameter, importance }) => [parameter, importance]),
    );
    expect(found.get('rate')!).toBeGreaterThan(0.5);
    expect(found.get('idle')!).toBeLessThan(0.1);
  });

  test('needs trials and a metric that varies', async () => {
    expect(await parameterImportance(trials.slice(0, 7))).toEqual([]);
    expect(await parameterImportance(trials.map((each) => ({ ...each, value: 1 })))).toEqual([]);
  });
});

test('the importance of ten thousand trials is told while one waits', async () => {
  const uniform = uniformNumbers(9);
  const many = Array.from({ length: 10_000 }, () => {
    const parameters = { a: uniform(), b: uniform(), c: uniform() };
    return { parameters, value: parameters.a + 0.2 * parameters.b };
  });
  const begun = performance.now();
  expect((await parameterImportance(many)).map(({ parameter }) => parameter)).toEqual(['a', 'b', 'c']);
  expect(performance.now() - begun).toBeLessThan(5000);
});

test('each parameter is looked at as often as any other, wherever it stands', () => {
  const below = numbersBelow(3);
  const columns = Array.from({ length: 12 }, (_, i) => i);
  const looks = columns.map(() => 0);
  for (let node = 0; node < 22_500; node++) for (const column of columnsToTry(columns, below)) looks[column]!++;
  // 4 of 12 at a node: 7,500 each, give or take 71.
  for (const count of looks) expect(Math.abs(count - 7500)).toBeLessThan(4 * 71);
});
