import { describe, expect, test } from 'vitest';
import { combinationCount, combinations } from './augmentation-algebra.js';
import { notesOnDraws, takesOf } from './field-draws.js';
import { drawn, finiteValues, inOrder, Parameter, uniformNumbers } from './search-space.js';
import { expandSweep } from './sweep-expansion.js';
import { SweepSpec } from './sweep.js';

const faultsOf = (parameter: object) =>
  Parameter.safeParse(parameter).error?.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);

describe('a distribution', () => {
  test.each<[string, object, string]>([
    ['categorical with min', { distribution: 'categorical', values: [1], min: 0 }, 'min: expected no min with'],
    ['categorical with a value', { distribution: 'categorical', value: 1 }, 'value: expected no value with'],
    ['values with uniform', { distribution: 'uniform', values: [1, 2] }, 'values: expected no values with'],
    ['a range with constant', { distribution: 'constant', min: 0, max: 1 }, 'min: expected no min with'],
    ['q with uniform', { distribution: 'uniform', min: 0, max: 1, q: 0.1 }, 'q: expected no q with'],
    ['q with nothing that rounds', { min: 0, max: 1, q: 0.1 }, 'q: expected no q without a distribution that rounds'],
    ['mu with uniform', { distribution: 'uniform', min: 0, max: 1, mu: 0 }, 'mu: expected no mu with'],
    ['min with normal', { distribution: 'normal', mu: 0, sigma: 1, min: 0 }, 'min: expected no min with'],
    ['a with normal', { distribution: 'normal', a: 1 }, 'a: expected no a with'],
    ['a fraction with int_uniform', { distribution: 'int_uniform', min: 0.5, max: 2 }, 'min: expected an integer'],
    ['no probabilities', { distribution: 'categorical_w_probabilities', values: [1] }, 'probabilities: expected'],
  ])('that contradicts its keys is refused with both: %s', (_, parameter, message) => {
    const faults = faultsOf(parameter)!;
    expect(faults[0]).toContain(message);
    if (message.endsWith('with')) expect(faults[0]).toContain((parameter as { distribution: string }).distribution);
  });

  const many = (parameter: object, count = 10_000) => {
    const uniform = uniformNumbers(7);
    return Array.from({ length: count }, () => drawn(Parameter.parse(parameter), uniform) as number);
  };
  const mean = (some: readonly number[]) => some.reduce((sum, x) => sum + x, 0) / some.length;

  test('of Weights & Biases is drawn as it says', () => {
    const normal = many({ distribution: 'normal' });
    expect(mean(normal)).toBeCloseTo(0, 1);
    expect(mean(normal.map((x) => x * x))).toBeCloseTo(1, 1);
    const beta = many({ distribution: 'beta', a: 2, b: 5 });
    expect(mean(beta)).toBeCloseTo(2 / 7, 2);
    expect(mean(beta.map((x) => (x - 2 / 7) ** 2))).toBeCloseTo(10 / (49 * 8), 3);
    expect(mean(many({ distribution: 'beta', a: 0.5, b: 0.5 }))).toBeCloseTo(0.5, 1);
    for (const x of many({ distribution: 'q_beta', a: 2, b: 5, q: 0.25 }, 100)) expect((x * 4) % 1).toBe(0);
    const inverse = many({ distribution: 'inv_log_uniform', min: 2.3, max: 9.2 }).map((x) => Math.log(1 / x));
    expect(Math.min(...inverse)).toBeGreaterThanOrEqual(2.3);
    expect(Math.max(...inverse)).toBeLessThanOrEqual(9.2);
    expect(mean(inverse)).toBeCloseTo(5.75, 1);
    const values = many({ distribution: 'inv_log_uniform_values', min: 1e-4, max: 1e-1 });
    expect(mean(values.map(Math.log10))).toBeCloseTo(-2.5, 1);
    const weighted = many({ distribution: 'categorical_w_probabilities', values: [16, 32], probabilities: [0.7, 0.3] });
    expect(weighted.filter((x) => x === 16).length / weighted.length).toBeCloseTo(0.7, 1);
  });

  test('over few numbers is a list of them', () => {
    expect(finiteValues({ distribution: 'int_uniform', min: 1, max: 3 }, 10)).toEqual([1, 2, 3]);
    expect(finiteValues({ distribution: 'q_uniform', min: 16, max: 64, q: 16 }, 10)).toEqual([16, 32, 48, 64]);
    expect(finiteValues({ min: 0.5, max: 1 }, 10)).toBeUndefined();
    const stages = { p: { kind: 'pretrain', dataset: 'x' } };
    const parameters = { 'p.epochs': { min: 1, max: 3 }, 'p.seed': { distribution: 'int_uniform', min: 0, max: 3 } };
    expect(expandSweep(SweepSpec.parse({ name: 's', stages, parameters }))).toHaveLength(12);
  });
});

describe('a draw that its field does not take', () => {
  const sweep = (parameter: object, method = 'random') =>
    SweepSpec.parse({
      name: 's',
      method,
      run_cap: 50,
      metric: { name: 'eval/knn' },
      stages: { p: { kind: 'pretrain', dataset: 'x' } },
      parameters: { 'p.temperature': parameter },
    });

  test('is drawn again, and the plan says how many are', () => {
    const spec = sweep({ distribution: 'normal', mu: 0.01, sigma: 1 });
    expect(notesOnDraws(spec)).toEqual([expect.stringMatching(/^p\.temperature: about (49|50|51) % of draws/)]);
    for (const { runs } of expandSweep(spec))
      expect((runs[0]!.spec as { temperature: number }).temperature).toBeGreaterThanOrEqual(0.01);
    expect(takesOf(spec)('p.temperature', -1)).toBe(false);
    expect(notesOnDraws(sweep({ min: 0, max: 1, distribution: 'uniform' }))).toHaveLength(1);
    expect(notesOnDraws(sweep({ min: 0.01, max: 1 }))).toEqual([]);
  });

  test('is refused where hardly any is taken', () => {
    const spec = sweep({ distribution: 'normal', mu: -9, sigma: 1 });
    expect(notesOnDraws(spec)).toEqual([]);
    expect(() => expandSweep(spec)).toThrow(/p\.temperature: expected at least 0.01, got -/);
  });
});

test('random draws differ, or are independent where unique is false', () => {
  const sweep = (more: object) =>
    SweepSpec.parse({
      name: 's',
      method: 'random',
      run_cap: 12,
      metric: { name: 'eval/knn' },
      stages: { p: { kind: 'pretrain', dataset: 'x' } },
      parameters: { 'p.seed': { values: [1, 2, 3] } },
      ...more,
    });
  expect(expandSweep(sweep({}))).toHaveLength(3);
  expect(expandSweep(sweep({ unique: true }))).toHaveLength(3);
  const independent = expandSweep(sweep({ unique: false })).map(({ parameters }) => parameters['p.seed']);
  expect([independent.length, new Set(independent).size]).toEqual([12, 3]);
  expect(() => expandSweep(sweep({ unique: false, method: 'tpe' }))).toThrow(/unique: expected method random/);
});

describe('a small request', () => {
  const stages = { p: { kind: 'pretrain', dataset: 'x' } };
  const of = ['crop', 'flip', 'blur', 'grayscale', 'cutout'] as const;

  test('for millions of augmentations is refused before they are made', () => {
    const strengths = Object.fromEntries(of.map((name) => [name, Array.from({ length: 100 }, () => ({}))]));
    const sweep = SweepSpec.parse({
      name: 's',
      stages,
      augmentations: { subsets: { of: [...of], size: 5 }, strengths },
    });
    const started = performance.now();
    expect(() => expandSweep(sweep)).toThrow(/at most 10000 trials, got 10000000000/);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('has as many combinations as are counted', () => {
    const strengths = { crop: [{}, { minArea: 0.5 }], blur: [{}, {}, {}] };
    for (const algebra of [
      { subsets: { of: [...of], size: [1, 3] as [number, number] }, strengths },
      { pairs: { of: [...of] }, strengths },
      { leave_one_out: { of: [...of] }, strengths: {} },
    ])
      expect(combinationCount(algebra)).toBe(combinations(algebra).length);
  });

  test('with thousands of conditions, the last first, is in order at once', () => {
    const count = 20_000;
    const parameters = Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `p.x${i}`,
        { values: [1], ...(i < count - 1 && { when: { [`p.x${i + 1}`]: 1 } }) },
      ]),
    );
    const started = performance.now();
    expect(
      inOrder(parameters)
        .map(([path]) => path)
        .slice(0, 2),
    ).toEqual([`p.x${count - 1}`, `p.x${count - 2}`]);
    expect(performance.now() - started).toBeLessThan(1000);
  });

  test('has its parameters after those that they depend on, else as given', () => {
    const order = inOrder({
      a: { value: 1, when: { d: 1 } },
      b: { value: 1, when: { b: 1 } },
      c: { value: 1 },
      d: { value: 1, when: { c: 1 } },
      e: { value: 1, when: { a: 1 } },
      f: { value: 1, when: { unknown: 1 } },
    });
    expect(order.map(([path]) => path)).toEqual(['c', 'd', 'a', 'e']);
  });
});
