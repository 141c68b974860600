import { describe, expect, test } from 'vitest';
import type { TrialPoint } from '../sweep/trial-points.js';
import { axesOf, within } from './parallel-axes.js';

const trials: TrialPoint[] = [0.001, 0.01, 0.1].map((lr, index) => ({
  index,
  parameters: { 'p.lr': lr, 'p.augmentation': index === 0 ? { crop: {} } : { flip: {} } },
  metrics: Object.fromEntries(index === 2 ? [] : [['eval/knn', 0.5 + index / 10]]),
  ended: undefined,
}));
const axes = axesOf(trials, ['p.lr', 'p.augmentation'], ['eval/knn'], {});

describe('parallel coordinates', () => {
  test('numbers far apart lie on a logarithmic axis, names in their order, and places lead back to values', () => {
    expect(axes.map(({ title, levels }) => [title, levels])).toEqual([
      ['lr', []],
      ['augmentation', ['crop', 'flip']],
      ['knn', []],
    ]);
    expect(trials.map((trial) => Number(axes[0]!.place(axes[0]!.of(trial))!.toFixed(6)))).toEqual([0, 0.5, 1]);
    expect(axes[0]!.at(0.5)).toBeCloseTo(0.01, 9);
    expect(axes[1]!.ticks.map(({ text }) => text)).toEqual(['crop', 'flip']);
  });

  test('what is brushed leaves the trials that lie in all parts', () => {
    const left = (brushes: Record<string, [number, number]>) => within(trials, axes, brushes).map(({ index }) => index);
    expect(left({})).toEqual([0, 1, 2]);
    expect(left({ 'p.lr': [0.5, 1] })).toEqual([1, 2]);
    expect(left({ 'p.lr': [0.5, 1], 'p.augmentation': [0, 0.4] })).toEqual([]);
    // One without a result lies nowhere on its axis.
    expect(left({ 'eval/knn': [0, 1] })).toEqual([0, 1]);
  });
});
