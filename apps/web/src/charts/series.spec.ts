import { expect, test } from 'vitest';
import {
  addPoint,
  addPoints,
  beyond,
  emptySeries,
  grouped,
  shownRange,
  smoothed,
  stepsOfEpoch,
  takeovers,
  tickTexts,
  type Series,
} from './series.js';

test('points find their place whatever the order, and a later attempt replaces what it repeats', () => {
  const series = emptySeries();
  for (const [step, value] of [
    [1, 10],
    [3, 30],
    [2, 20],
    [5, 50],
    [3, 33],
    [5, 55],
    [4, 40],
    [0, 0],
  ] as const)
    addPoint(series, step, value, step * 100 + value);
  expect(series.steps).toEqual([0, 1, 2, 3, 4, 5]);
  expect(series.values).toEqual([0, 10, 20, 33, 40, 55]);
  expect(series.times).toEqual([0, 110, 220, 333, 440, 555]);
});

test('an epoch has steps where a run is told in epochs and has begun', () => {
  const spec = (spec: object) => spec as Parameters<typeof stepsOfEpoch>[0]['spec'];
  expect(stepsOfEpoch({ spec: spec({ kind: 'pretrain', epochs: 8 }), totalSteps: 104 })).toBe(13);
  expect(stepsOfEpoch({ spec: spec({ kind: 'pretrain', epochs: 8 }), totalSteps: null })).toBeUndefined();
  expect(stepsOfEpoch({ spec: spec({ kind: 'finetune', steps: 50 }), totalSteps: 50 })).toBeUndefined();
});

test('points come to the curve of their key', () => {
  const curves = new Map<string, Series>();
  addPoints(curves, [
    { key: 'a', step: 1, value: 2, at: '1970-01-01T00:00:05.500Z' },
    { key: 'b', step: 1, value: 3, at: '1970-01-01T00:00:06Z' },
    { key: 'a', step: 2, value: 4, at: '1970-01-01T00:00:07Z' },
  ]);
  expect(curves.get('a')).toEqual({ steps: [1, 2], values: [2, 4], times: [5.5, 7] });
  expect(curves.get('b')!.values).toEqual([3]);
});

test("smoothing starts without a bias, keeps a constant and is TensorBoard's", () => {
  expect(smoothed([4, 4, 4], 0.9).every((value) => Math.abs(value - 4) < 1e-12)).toBe(true);
  expect(smoothed([1, 5], 0)).toEqual([1, 5]);
  // By hand: (0.6·0.4·1 + 0.4·2) / (1 - 0.36) = 1.04 / 0.64.
  expect(smoothed([1, 2], 0.6)[1]).toBeCloseTo(1.04 / 0.64, 12);
  const naive = (values: number[], weight: number) =>
    values.map(
      (_, t) =>
        values.slice(0, t + 1).reduce((sum, value, i) => sum + weight ** (t - i) * value, 0) /
        values.slice(0, t + 1).reduce((sum, _, i) => sum + weight ** (t - i), 0),
    );
  const values = [3, 1, 4, 1, 5, 9, 2, 6];
  smoothed(values, 0.8).forEach((value, i) => expect(value).toBeCloseTo(naive(values, 0.8)[i]!, 12));
  // What is not finite leaves a hole and no trace.
  expect(smoothed([1, Number.NaN, 1], 0.5)).toEqual([1, Number.NaN, 1]);
});

test('a few values that are far off, and a curve that has diverged, do not flatten the others', () => {
  const loss = Array.from({ length: 100 }, (_, i) => 5 - i / 50);
  expect(shownRange([loss])).toEqual([5 - 99 / 50, 5]);
  expect(shownRange([[...loss, 1e6]])).toEqual([5 - 99 / 50, 5 - 1 / 50]);
  expect(shownRange([loss, loss.map((value, i) => value * 10 ** i)])).toEqual([5 - 99 / 50, 5]);
  expect(shownRange([loss, [0.02, 0.03]])).toEqual([0.02, 5]);
  // One that starts high and falls is as it is.
  expect(shownRange([[9, 3, 2, 1.5, 1.2, 1.1, 1]])).toEqual([1, 9]);
  expect(shownRange([[1e200, 1e245]])).toEqual([1e200, 1e245]);
  expect(shownRange([[0, 0]])).toEqual([0, 0]);
  expect(shownRange([[Number.NaN], []])).toBeUndefined();
});

test('an axis of powers shows what is far off, but not a curve that has left all others; which have is told', () => {
  const loss = Array.from({ length: 100 }, (_, i) => 5 - i / 50);
  const diverged = loss.map((value, i) => value * 10 ** i);
  expect(shownRange([[...loss, 1e6]], 'log')).toEqual([5 - 99 / 50, 1e6]);
  expect(shownRange([loss, loss.map((value) => value * 1e6)], 'log')).toEqual([5 - 99 / 50, 5e6]);
  expect(shownRange([loss, diverged], 'log')).toEqual([5 - 99 / 50, 5]);
  expect(beyond([loss, diverged, [Number.NaN]], [3, 5])).toEqual([1]);
  expect(beyond([loss, [0.2, Number.NaN]], [3.02, 5])).toEqual([1]);
  expect(beyond([loss, loss], [3, 5])).toEqual([]);
});

test('ticks differ from each other, say where they lie and stay short', () => {
  expect(tickTexts([0, 1e9, 2e9, 2.5e9])).toEqual(['0', '1e9', '2e9', '2.5e9']);
  expect(tickTexts([0, 5e244, 1e245])).toEqual(['0', '5e244', '1e245']);
  expect(tickTexts([0, 0.5, 1, 1.5])).toEqual(['0', '0.5', '1', '1.5']);
  expect(tickTexts([10, 10.001, null, 10.002])).toEqual(['10', '10.001', '', '10.002']);
  expect(tickTexts([2e-4, 2.5e-4])).toEqual(['2e-4', '2.5e-4']);
  expect(tickTexts([0, 20_000, 40_000])).toEqual(['0', '20,000', '40,000']);
  // None is rounded to where no tick is.
  expect(tickTexts([100, 125, 150])).toEqual(['100', '125', '150']);
  expect(tickTexts([0, 500, 750, 1000, 1250])).toEqual(['0', '500', '750', '1,000', '1,250']);
  expect(tickTexts([1250])).toEqual(['1,250']);
  expect(tickTexts([0.1, 0.2, 0.1 + 0.2])).toEqual(['0.1', '0.2', '0.3']);
  expect(tickTexts([])).toEqual([]);
});

test('attempts after the first are marked where they went on', () => {
  const first = { attempt: 1, resumedFromStep: 0, startedAt: '1970-01-01T00:00:01Z' };
  expect(takeovers([first])).toEqual([]);
  expect(takeovers([first, { attempt: 2, resumedFromStep: 40, startedAt: '1970-01-01T00:00:09Z' }])).toEqual([
    { step: 40, time: 9, attempt: 2 },
  ]);
});

test('metrics are grouped, the loss first', () => {
  expect(grouped(['eval/rank', 'train/learning_rate', 'train/kl', 'eval/knn', 'train/loss', 'map/pca/x'])).toEqual([
    ['Training', ['train/loss', 'train/kl']],
    ['Evaluation', ['eval/knn']],
    ['Collapse', ['eval/rank']],
    ['Speed and schedule', ['train/learning_rate']],
    ['Other', ['map/pca/x']],
  ]);
});
