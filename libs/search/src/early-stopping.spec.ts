import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { EarlyTerminate, uniformNumbers } from '#libs/contracts';
import { champion, halvingOf, promotable, rungsOf, type Halving, type Standing } from './halving.js';
import { belowMedian, type Curve } from './median.js';
import { estimateMean } from './statistics.js';

const halving = (policy: object) => halvingOf(EarlyTerminate.parse({ type: 'asha', ...policy }))!;

const placement =
  'rungs lie at the ends of epochs, each so many times as far, below the end and max_t; a bracket begins later';
test(placement, () => {
  const spec = { batchSize: 32, epochs: 40 };
  expect(rungsOf(halving({}), spec, 330, 0)).toEqual([10, 30, 90, 270]);
  expect(rungsOf(halving({ grace_period: 2, reduction_factor: 4, max_t: 20 }), spec, 330, 0)).toEqual([20, 80]);
  expect(rungsOf(halving({ brackets: 3 }), spec, 330, 2)).toEqual([90, 270]);
  expect(rungsOf(halving({ time_attr: 'steps', grace_period: 25 }), spec, 330, 0)).toEqual([30, 80, 230]);
  expect(rungsOf(halving({}), { batchSize: 32, epochs: 1 }, 330, 0)).toEqual([]);
  // Weights & Biases: min_iter · eta^k, or max_iter / eta^k for s brackets.
  expect(rungsOf(halvingOf(EarlyTerminate.parse({ type: 'hyperband', min_iter: 3 }))!, spec, 330, 0)).toEqual([
    30, 90, 270,
  ]);
  expect(rungsOf(halvingOf(EarlyTerminate.parse({ type: 'hyperband', max_iter: 27, s: 2 }))!, spec, 330, 0)).toEqual([
    30, 90,
  ]);
  expect(EarlyTerminate.safeParse({ type: 'hyperband', max_iter: 27 }).success).toBe(false);
});

test.each([
  [{ max_iter: 27, s: 2, eta: 3, strict: true }, [3, 9]],
  [{ max_iter: 10, s: 1 }, [3]],
  // What would be below 1 is no band, and beyond max_iter there is none.
  [{ max_iter: 10, s: 9 }, [1, 3]],
  [{ max_iter: 50, s: 3, eta: 2 }, [6, 12, 25]],
  [{ min_iter: 3, eta: 1.5 }, [3, 4, 6, 10, 15, 22, 34, 51, 76]],
])('bands of Weights & Biases are computed as there: %j', (policy, bands) => {
  const halving = halvingOf(EarlyTerminate.parse({ type: 'hyperband', ...policy }))!;
  expect(rungsOf(halving, { batchSize: 1, epochs: 100 }, 1, 0)).toEqual(bands);
  expect(halving.byBest).toBe(false);
  expect(halvingOf(EarlyTerminate.parse({ type: 'hyperband', ...policy, strict: false }))!.byBest).toBe(true);
});

/**
 * As the paper writes it: for each rung from the highest, the top 1/η of its results without those that were promoted.
 */
function naive(standings: readonly Standing[], factor: number, sign: number): string[] {
  const jobs: string[] = [];
  for (let rung = 9; rung >= 0; rung--) {
    const results: [string, number][] = standings
      .filter(({ values }) => values[rung] !== undefined)
      .map(({ id, values }) => [id, values[rung]!]);
    const candidates = results.filter(
      ([id, value]) =>
        results.filter(
          ([other, otherValue]) => sign * otherValue > sign * value || (otherValue === value && other < id),
        ).length < Math.floor(results.length / factor),
    );
    const promotableNow = candidates.filter(([id]) => standings.find((each) => each.id === id)!.promoted <= rung);
    jobs.push(
      ...promotableNow.sort((a, b) => sign * (b[1] - a[1]) || (a[0] < b[0] ? -1 : 1)).map(([id]) => `${id} ${rung}`),
    );
  }
  return jobs;
}

test.each([
  ['maximize', 1],
  ['minimize', -1],
] as const)('who goes on is as in the paper, whatever has arrived (%s)', (goal, sign) => {
  const uniform = uniformNumbers(sign + 7);
  for (let round = 0; round < 300; round++) {
    const factor = 2 + Math.floor(3 * uniform());
    const standings = Array.from({ length: Math.floor(20 * uniform()) }, (_, i) => {
      const reached = Math.floor(4 * uniform());
      // Equal values occur.
      return {
        id: `run-${String(i).padStart(2, '0')}`,
        bracket: 0,
        values: Array.from({ length: reached }, () => Math.round(8 * uniform()) / 8),
        promoted: Math.max(0, reached - Math.round(uniform())),
      };
    });
    expect(promotable(standings, factor, goal).map(({ id, rung }) => `${id} ${rung}`)).toEqual(
      naive(standings, factor, sign),
    );
  }
});

test('brackets do not compete, and the last hope is the best at the highest rung', () => {
  const standing = (id: string, bracket: number, ...values: number[]): Standing => ({
    id,
    bracket,
    values,
    promoted: 0,
  });
  const some = [standing('a', 0, 0.1), standing('b', 0, 0.2), standing('c', 1, 0.9), standing('d', 1, 0.8)];
  expect(promotable(some, 2, 'maximize').map(({ id }) => id)).toEqual(['c', 'b']);
  expect(champion([standing('a', 0, 0.9), standing('b', 0, 0.5, 0.6), standing('c', 0, 0.6, 0.5)], 'maximize')).toBe(
    'b',
  );
  expect(champion([standing('a', 0)], 'maximize')).toBeUndefined();
});

describe('on learning curves', () => {
  const EPOCHS = 27;
  /**
   * Accuracy over epochs with noise: each rises to a height of its own at a speed of its own; slow ones are often good.
   */
  function curves(count: number, seed: number): number[][] {
    const uniform = uniformNumbers(seed, 3);
    return Array.from({ length: count }, () => {
      const [height, speed] = [0.3 + 0.5 * uniform(), 2 + 4 * uniform()];
      return Array.from(
        { length: EPOCHS },
        (_, epoch) => height * (1 - Math.exp(-(epoch + 1) / speed)) + 0.01 * (uniform() - 0.5),
      );
    });
  }

  /**
   * Plays asynchronous successive halving with so many workers, as the controller drives it. Returns epochs trained and
   * the best complete run.
   */
  function play(
    all: readonly number[][],
    policy: Halving,
    workers: number,
    length = EPOCHS,
  ): { epochs: number; best: number; complete: number } {
    const rungs = rungsOf(policy, { batchSize: 1, epochs: length }, 1, 0);
    const standings: (Standing & { trained: number; values: number[] })[] = [];
    let epochs = 0;
    const go = (run: (typeof standings)[number], to: number) => {
      epochs += to - run.trained;
      run.trained = to;
      const rung = rungs.indexOf(to);
      if (rung >= 0) run.values.push(all[Number(run.id)]![to - 1]!);
    };
    for (;;) {
      const promotions = promotable(standings, policy.factor, 'maximize').slice(0, workers);
      for (const { id, rung } of promotions) {
        const run = standings.find((each) => each.id === id)!;
        run.promoted = rung + 1;
        go(run, rungs[rung + 1] ?? length);
      }
      const fresh = Math.min(workers - promotions.length, all.length - standings.length);
      for (let i = 0; i < fresh; i++) {
        const run = { id: String(standings.length), bracket: 0, values: [], promoted: 0, trained: 0 };
        standings.push(run);
        go(run, rungs[0]!);
      }
      if (promotions.length + fresh > 0) continue;
      const complete = standings.filter(({ trained }) => trained === length);
      if (complete.length)
        return {
          epochs,
          complete: complete.length,
          best: Math.max(...complete.map(({ id }) => all[Number(id)]![length - 1]!)),
        };
      go(
        standings.find(({ id }) => id === champion(standings, 'maximize'))!,
        length,
      );
    }
  }

  test('finds a best that seeds do not tell from the true one, for less than half of the steps', () => {
    const gaps: number[] = [];
    for (let seed = 0; seed < 30; seed++) {
      const all = curves(30, seed);
      const { epochs, best, complete } = play(all, halving({ grace_period: 3, reduction_factor: 3 }), 4);
      expect(epochs).toBeLessThan((all.length * EPOCHS) / 2);
      expect(complete).toBeGreaterThan(0);
      gaps.push(Math.max(...all.map((curve) => curve[EPOCHS - 1]!)) - best);
    }
    const gap = estimateMean(gaps);
    // The noise of one evaluation is ±0.005.
    expect(gap.mean + gap.ci95!).toBeLessThan(0.02);
    expect(gaps.filter((each) => each <= 0.005).length).toBeGreaterThanOrEqual(20);
  });

  test('on recorded curves finds what seeds do not tell from the best, for less than half of the steps', () => {
    // Measured: `npm run learn -- --suite asha` writes it.
    const recorded = JSON.parse(
      readFileSync(path.resolve(import.meta.dirname, '../../../tests/learning/curves.json'), 'utf8'),
    ) as { epochs: number; finalists: Record<string, number[]>; curves: { knn: number[] }[] };
    const all = recorded.curves.map(({ knn }) => knn);
    expect(all.length).toBe(27);
    // How far two trials that are equally good lie apart by their seeds, in 95 of 100 pairs: pooled over the finalists.
    const finalists = Object.values(recorded.finalists);
    const squares = finalists.flatMap((values) => values.map((value) => (value - estimateMean(values).mean) ** 2));
    const margin =
      1.96 * Math.SQRT2 * Math.sqrt(squares.reduce((sum, each) => sum + each, 0) / (squares.length - finalists.length));
    const best = Math.max(...all.map((curve) => curve.at(-1)!));
    for (const workers of [1, 2, 4, 8]) {
      // In whatever order the trials come.
      for (let seed = 0; seed < 5; seed++) {
        const uniform = uniformNumbers(seed, 1);
        const order = all
          .map((curve) => ({ curve, key: uniform() }))
          .sort((a, b) => a.key - b.key)
          .map(({ curve }) => curve);
        const found = play(order, halving({ grace_period: 1, reduction_factor: 3 }), workers, recorded.epochs);
        expect(found.epochs).toBeLessThan((all.length * recorded.epochs) / 2);
        expect(best - found.best, `${workers} workers, order ${seed}, margin ${margin}`).toBeLessThanOrEqual(margin);
      }
    }
  });

  test('the median rule stops below the median of averages, of those that have come as far', () => {
    const points = (...values: number[]) => values.map((value, i) => ({ time: i + 1, value }));
    const some: Curve[] = [
      { id: 'a', points: points(0.5, 0.7) },
      { id: 'b', points: points(0.4, 0.6) },
      { id: 'c', points: points(0.3, 0.5, 0.7) },
      { id: 'd', points: points(0.2, 0.45) },
      { id: 'late', points: points(0.1) },
    ];
    const all = new Set(some.map(({ id }) => id));
    const stopped = (policy: object, goal: 'maximize' | 'minimize' = 'maximize', judged = all) =>
      belowMedian(some, judged, { gracePeriod: 1, minTrials: 3, ...policy }, goal);
    // d: 0.45 against the median of 0.6, 0.5, 0.4; late: 0.1 against that of 0.5, 0.4, 0.3, 0.2. a, b and c are better
    // than theirs.
    expect(stopped({})).toEqual(['d', 'late']);
    expect(stopped({ gracePeriod: 2 })).toEqual(['d']);
    expect(stopped({ minTrials: 4 })).toEqual(['late']);
    expect(stopped({}, 'maximize', new Set(['a']))).toEqual([]);
    expect(stopped({}, 'minimize')).toEqual(['a']);
  });

  test('the median rule saves steps and keeps the best', () => {
    let [spent, kept] = [0, 0];
    for (let seed = 0; seed < 20; seed++) {
      const all = curves(20, seed);
      const alive = new Map(all.map((_, i) => [String(i), 0]));
      const state = all.map((_, i): { id: string; points: { time: number; value: number }[] } => ({
        id: String(i),
        points: [],
      }));
      for (let epoch = 1; epoch <= EPOCHS; epoch++) {
        for (const id of alive.keys())
          state[Number(id)]!.points.push({ time: epoch, value: all[Number(id)]![epoch - 1]! });
        spent += alive.size;
        for (const id of belowMedian(state, new Set(alive.keys()), { gracePeriod: 3, minTrials: 3 }, 'maximize'))
          alive.delete(id);
      }
      const last = all.map((curve) => curve[EPOCHS - 1]!);
      if (alive.has(String(last.indexOf(Math.max(...last))))) kept++;
    }
    expect(spent).toBeLessThan(20 * 20 * EPOCHS * 0.75);
    expect(kept).toBeGreaterThanOrEqual(18);
  });
});
