import { describe, expect, test } from 'vitest';
import { canonicalJson, drawAll, draws, uniformNumbers, type Parameter } from '#libs/contracts';
import { PROBLEMS, regretOf, uniform, type Problem } from '../../../tests/support/search-spaces.js';
import { bandwidths, weightsByRank, weightsByTime } from './parzen.js';
import { atOnce, type InPieces } from './pieces.js';
import * as tpe from './tpe.js';
import { betterCount, type Observation } from './tpe.js';

const suggest = (...args: Parameters<typeof tpe.suggest>) => atOnce(tpe.suggest(...args));
const nextDraw = (...args: Parameters<typeof tpe.nextDraw>) => atOnce(tpe.nextDraw(...args));

const mean = (numbers: number[]) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

const SEEDS = Array.from({ length: 20 }, (_, seed) => seed);

const BOWL: Problem = {
  space: Object.fromEntries('abcd'.split('').map((name) => [name, uniform(-5, 5)])),
  loss: (x) => Object.values(x).reduce<number>((sum, each) => sum + ((each as number) - 1) ** 2, 0),
  least: 0,
};
// A choice that is no text is one as well.
const MIXED = { ...PROBLEMS['mixed']!.space, norm: { values: ['none', { batch: true }, 'group', 'layer'] } };

test.each<[string, Problem]>([
  ['a bowl of four numbers', BOWL],
  ['Branin', PROBLEMS['branin']!],
  ['a learning rate by its logarithm, a width in steps, and a choice', { ...PROBLEMS['mixed']!, space: MIXED }],
])('ends nearer to the best than chance at the same budget: %s', (_, problem) => {
  const { space, loss, least } = problem;
  const model = SEEDS.map((seed) => regretOf(problem, 60, seed));
  const chance = SEEDS.map((seed) => Math.min(...draws(space, 60, seed).map(loss)) - least);
  const wins = SEEDS.filter((seed) => model[seed]! < chance[seed]!).length;
  expect(wins, `${mean(model)} against ${mean(chance)}`).toBeGreaterThanOrEqual(15);
  expect(mean(model)).toBeLessThan(0.7 * mean(chance));
});

// What Optuna 5.0.0 came to by default in as many trials, as the mean over 300 seeds (`npm run bench -- search`).
test.each([
  ['branin', 0.167],
  ['hartmann6', 0.38],
  ['mixed', 0.299],
  ['conditional', 0.369],
] as const)('comes nearer to the least value than Optuna: %s', (name, optuna) => {
  expect(mean(SEEDS.map((seed) => regretOf(PROBLEMS[name]!, 60, seed)))).toBeLessThan(optuna);
});

const seen = (values: unknown[]): Observation[] => values.map((value, order) => ({ parameters: { x: value }, order }));

test('splits trials and weighs the worse ones as Optuna does by default, the better ones by rank', () => {
  expect([1, 10, 11, 100, 250, 1000].map(betterCount)).toEqual([1, 1, 2, 10, 25, 25]);
  expect(weightsByTime(3)).toEqual([1, 1, 1]);
  expect(weightsByTime(26)).toEqual([1 / 26, ...Array.from({ length: 25 }, () => 1)]);
  const weights = weightsByTime(30);
  expect([weights[0], weights[2], weights[4], weights[5]]).toEqual([1 / 30, (1 / 30 + 1) / 2, 1, 1]);
  expect(weightsByRank(1)).toEqual([1]);
  const [first, second, third] = weightsByRank(3);
  expect(first! + second! + third!).toBeCloseTo(3, 12);
  // log 4 − log 1, log 4 − log 2, log 4 − log 3
  expect([first! / second!, first! / third!]).toEqual([expect.closeTo(2, 12), expect.closeTo(4.8188, 4)]);
});

test('has kernels as wide as the farther neighbour is far, within what their number allows', () => {
  expect(bandwidths([0.4], 0, 1, 1)).toEqual([0.6]);
  const three = bandwidths([0.5, 0.1, 0.4], 0, 1, 1);
  for (const [i, wanted] of [5 ** -1.25, 0.3, 0.3].entries()) expect(three[i]).toBeCloseTo(wanted, 12);
  for (const width of bandwidths([0.5, 0.5], 0, 1, 1)) expect(width).toBeCloseTo(4 ** -1.25, 12);
});

describe('a suggestion', () => {
  const space = { x: uniform(0, 1) };

  test('is at random before ten results, and the same for the same results', () => {
    const few = seen(Array.from({ length: 9 }, (_, i) => 0.5 + i / 1000));
    const some = Array.from({ length: 200 }, (_, i) => suggest(space, few, uniformNumbers(i))['x'] as number);
    expect(mean(some)).toBeCloseTo(0.5, 1);
    expect(Math.max(...some) - Math.min(...some)).toBeGreaterThan(0.9);
    const many = seen(Array.from({ length: 30 }, (_, i) => i / 30));
    expect(suggest(space, many, uniformNumbers(5, 1))).toEqual(suggest(space, many, uniformNumbers(5, 1)));
    expect(suggest(space, many, uniformNumbers(5, 1))).not.toEqual(suggest(space, many, uniformNumbers(5, 2)));
  });

  test('keeps to the range and the multiples, and falls where the better ones are', () => {
    const good = seen(Array.from({ length: 40 }, (_, i) => (i < 4 ? 3 : 3 + ((i * 7) % 27))));
    const drawn = Array.from(
      { length: 300 },
      (_, i) =>
        suggest({ x: { min: 3, max: 30, q: 3, distribution: 'q_uniform' } }, good, uniformNumbers(i))['x'] as number,
    );
    expect(drawn.every((x) => x >= 3 && x <= 30 && x % 3 === 0)).toBe(true);
    expect(drawn.filter((x) => x <= 6).length).toBeGreaterThan(150);
    const choices = seen(Array.from({ length: 30 }, (_, i) => (i < 3 ? { flip: {} } : 'abc'[i % 3])));
    const chosen = Array.from(
      { length: 100 },
      (_, i) => suggest({ x: { values: ['a', 'b', 'c', { flip: {} }] } }, choices, uniformNumbers(i))['x'],
    );
    expect(chosen.filter((each) => typeof each === 'object').length).toBeGreaterThan(70);
    const exponents = Array.from(
      { length: 100 },
      (_, i) =>
        suggest(
          { x: { mu: -3, sigma: 1, distribution: 'log_normal' } },
          seen(Array.from({ length: 12 }, (_value, k) => Math.exp(-3 + k / 10))),
          uniformNumbers(i),
        )['x'] as number,
    );
    expect(exponents.every((x) => x > 0 && Number.isFinite(x))).toBe(true);
  });

  test('is never one that was tried, until a finite space has no more', () => {
    const small = { x: { values: ['a', 'b', 'c'] }, y: { min: 1, max: 4 }, z: { value: 7 } } satisfies Record<
      string,
      Parameter
    >;
    const tried = new Set<string>();
    for (let place = 0; place < 12; place++)
      tried.add(canonicalJson(nextDraw(small, { seed: 1, place, ranked: [], tried })));
    expect(tried.size).toBe(12);
    expect(nextDraw(small, { seed: 1, place: 12, ranked: [], tried })).toBeNull();
  });
});

describe('many trials', () => {
  const space: Record<string, Parameter> = {
    rate: { min: 1e-5, max: 1, distribution: 'log_uniform_values' },
    dropout: uniform(0, 0.5),
    width: { min: 16, max: 512, q: 16, distribution: 'q_uniform' },
    norm: { values: ['batch', 'group', 'none'] },
  };
  const trials = (count: number): Observation[] => {
    const numbers = uniformNumbers(1, 1);
    return Array.from({ length: count }, (_, order) => ({ parameters: drawAll(space, numbers), order }));
  };

  test('give these suggestions: others would be another search of the same seed', () => {
    const ranked = trials(400);
    const next = (place: number) => nextDraw(space, { seed: 3, place, ranked, tried: new Set() });
    expect([next(400), next(401), next(402)]).toEqual([
      { dropout: 0.3410413290342041, norm: 'none', rate: 0.02326614676167621, width: 496 },
      { dropout: 0.3538861426505548, norm: 'none', rate: 0.02551395096224934, width: 496 },
      { dropout: 0.348850957437476, norm: 'none', rate: 0.0286746896015452, width: 512 },
    ]);
  });

  test('take long in sum, and no piece of it does', () => {
    const ranked = trials(10_000);
    const shares = [0, 1, 2].map((place) => {
      const pieces = secondsOfPieces(tpe.nextDraw(space, { seed: 3, place, ranked, tried: new Set() }));
      return Math.max(...pieces) / pieces.reduce((sum, seconds) => sum + seconds, 0);
    });
    // A garbage collection may fall into one.
    expect(Math.min(...shares)).toBeLessThan(0.2);
  });
});

/** Seconds of processor time of each piece. */
function secondsOfPieces(work: InPieces<unknown>): number[] {
  const pieces: number[] = [];
  for (let done = false; !done;) {
    const before = process.threadCpuUsage();
    done = work.next().done!;
    const { user, system } = process.threadCpuUsage(before);
    pieces.push((user + system) / 1e6);
  }
  return pieces;
}

describe('a parameter that does not always apply', () => {
  const space: Record<string, Parameter> = {
    rate: { min: 0, max: 1, distribution: 'uniform', when: { method: 'b' } },
    method: { values: ['a', 'b'] },
    depth: { values: [1, 2], when: { method: 'a' } },
  };

  test('is drawn where it does, by the trials that had it', () => {
    // By far the best are at 0.8; those of the other method have no rate.
    const parametersOf = (order: number) => {
      if (order < 6) return { method: 'b', rate: 0.8 + order / 1000 };
      return order % 2 ? { method: 'a', depth: 1 + (order % 4 > 1 ? 1 : 0) } : { method: 'b', rate: (order % 15) / 20 };
    };
    const known: Observation[] = Array.from({ length: 60 }, (_, order) => ({ order, parameters: parametersOf(order) }));
    const drawn = Array.from({ length: 200 }, (_, i) => suggest(space, known, uniformNumbers(i)));
    for (const each of drawn)
      expect(Object.keys(each).sort()).toEqual(each['method'] === 'a' ? ['depth', 'method'] : ['method', 'rate']);
    const rates = drawn.flatMap((each) => (each['method'] === 'b' ? [each['rate'] as number] : []));
    expect(rates.length).toBeGreaterThan(150);
    expect(rates.filter((rate) => Math.abs(rate - 0.8) < 0.1).length).toBeGreaterThan(0.8 * rates.length);
    // None of the better ones had a depth: it is drawn evenly there.
    const depths = drawn.flatMap((each) => (each['method'] === 'a' ? [each['depth']] : []));
    if (depths.length > 10) expect(new Set(depths).size).toBe(2);
  });

  test('does not lead to what was tried again and again: the other branch is searched on', () => {
    const branches: Record<string, Parameter> = {
      method: { values: ['a', 'b'] },
      rate: { min: 0, max: 1, distribution: 'uniform', when: { method: 'a' } },
    };
    const rates = [1, 2, 3, 4].flatMap((seed) => {
      const [found, tried]: [Observation[], Set<string>] = [[], new Set()];
      const value = ({ parameters }: Observation) => (parameters['rate'] as number | undefined) ?? 0;
      for (let place = 0; place < 40; place++) {
        const draw = nextDraw(branches, { seed, place, ranked: found.toSorted((x, y) => value(y) - value(x)), tried })!;
        tried.add(canonicalJson(draw));
        found.push({ parameters: draw, order: place });
      }
      expect(found.filter(({ parameters }) => parameters['method'] === 'b')).toHaveLength(1);
      return found.slice(20).flatMap(({ parameters: { rate } }) => (rate === undefined ? [] : [rate as number]));
    });
    expect(mean(rates)).toBeGreaterThan(0.75);
  });

  test('ends a finite space when each combination of what applies was tried', () => {
    const small: Record<string, Parameter> = {
      method: { values: ['a', 'b', 'c'] },
      depth: { min: 1, max: 3, when: { method: ['a', 'b'] } },
      norm: { values: ['x', 'y'], when: { depth: 3 } },
    };
    const tried = new Set<string>();
    const next = () => nextDraw(small, { seed: 2, place: tried.size, ranked: [], tried });
    for (let draw = next(); draw; draw = next()) tried.add(canonicalJson(draw));
    // c alone, and a and b with depth 1, 2, 3x, 3y.
    expect(tried.size).toBe(9);
  });
});
