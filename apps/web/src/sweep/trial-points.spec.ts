import type { Run, SweepDetail } from '#libs/contracts';
import { describe, expect, test } from 'vitest';
import {
  bestSoFar,
  linkToTrials,
  metricsOf,
  orderedBy,
  rowOfCell,
  trialPoints,
  trialsOfRow,
  trialsWith,
  variedIn,
  type TrialPoint,
} from './trial-points.js';

const trial = (
  index: number,
  parameters: Record<string, unknown>,
  metrics: Record<string, number> = {},
): TrialPoint => ({
  index,
  parameters,
  metrics,
  ended: undefined,
});

describe('trials of a sweep', () => {
  test('have the results of their runs but for controls, and have ended when all of them have', () => {
    const run = (id: string, finishedAt: string | null, metrics: Record<string, number>) =>
      ({ id, finishedAt, result: finishedAt ? { metrics } : null }) as unknown as Run;
    const place = (runId: string, control: string | null = null) => ({ stage: 's', control, runId, reused: false });
    const sweep = {
      trials: [
        { index: 0, parameters: {}, runs: [place('a'), place('b'), place('c', 'from_scratch')] },
        { index: 1, parameters: {}, runs: [place('d')] },
      ],
    } as unknown as SweepDetail;
    const runs = [
      run('a', '2026-01-01T00:00:00Z', { 'eval/knn': 0.5, 'train/loss': 1 }),
      run('b', '2026-01-01T00:01:00Z', { 'eval/accuracy': 0.75 }),
      run('c', '2026-01-01T00:09:00Z', { 'eval/accuracy': 0.1 }),
      run('d', null, {}),
    ];
    expect(trialPoints(sweep, runs).map(({ metrics, ended }) => [metrics, ended])).toEqual([
      [{ 'eval/knn': 0.5, 'eval/accuracy': 0.75 }, Date.parse('2026-01-01T00:01:00Z')],
      [{}, undefined],
    ]);
  });

  test('differ in parameters, and their metrics begin with that of the sweep', () => {
    const trials = [
      trial(0, { 'p.seed': 1, 'p.lr': 0.1, 'p.epochs': 2 }, { 'eval/other': 1, 'eval/knn': 0.5 }),
      trial(1, { 'p.seed': 2, 'p.lr': 0.2, 'p.epochs': 2 }, { 'eval/accuracy': 0.5 }),
    ];
    expect(variedIn(trials)).toEqual(['p.lr']);
    expect(metricsOf(trials, 'eval/other')).toEqual(['eval/other', 'eval/knn', 'eval/accuracy']);
  });

  test('are those of a row, whatever their seeds and labels, and have an address', () => {
    const crop = { crop: {} };
    const trials = [
      trial(0, { 'p.augmentation': crop, 'p.seed': 1, 'f.labelFraction': 0.1 }),
      trial(1, { 'p.augmentation': crop, 'p.seed': 2, 'f.labelFraction': 1 }),
      trial(2, { 'p.augmentation': { flip: {} }, 'p.seed': 1, 'f.labelFraction': 1 }),
    ];
    expect(trialsOfRow({ parameters: { 'p.augmentation': crop } }, trials)).toEqual([0, 1]);
    expect(linkToTrials('x', [0, 1])).toBe('#/sweeps/x?tab=trials&trials=0-1');
    expect(linkToTrials('x', [])).toBeUndefined();
  });

  test('the row of a cell has its two augmentations beside what all have, or its one', () => {
    const rows = [['blur'], ['blur', 'crop'], ['blur', 'flip'], ['blur', 'flip', 'crop']].map((names) => ({
      parameters: { 'p.augmentation': Object.fromEntries(names.map((name) => [name, {}])) },
    }));
    expect(rowOfCell(rows, 'crop', 'crop')).toBe(rows[1]);
    expect([rowOfCell(rows, 'crop', 'flip'), rowOfCell(rows, 'flip', 'crop')]).toEqual([rows[3], rows[3]]);
    expect(rowOfCell(rows, 'crop', 'grayscale')).toBeUndefined();
  });

  test('are those with an augmentation, in a view that has others too', () => {
    const views = (...names: string[]) => ({ augmentation: Object.fromEntries(names.map((name) => [name, {}])) });
    const trials = [
      trial(0, { 'p.augmentation': { crop: {} } }),
      trial(1, { 'p.augmentation': { crop: {}, blur: {} } }),
      trial(2, { 'p.views': [views('blur'), views('crop')] }),
      trial(3, { 'p.lr': 0.1 }),
    ];
    expect(trialsWith('blur', trials)).toEqual([1, 2]);
    expect(trialsWith('crop', trials)).toEqual([0, 1]);
    expect(trialsWith('flip', trials)).toEqual([]);
  });

  test('are in the order of a metric or a parameter, those that lack it last', () => {
    const trials = [
      trial(0, { 'p.lr': 0.1, 'p.method': 'simclr' }, { 'eval/knn': 0.5 }),
      trial(1, { 'p.lr': 0.01, 'p.method': 'byol' }),
      trial(2, { 'p.method': 'moco-v2' }, { 'eval/knn': 0.75 }),
      trial(3, { 'p.lr': 1 }, { 'eval/knn': 0.25 }),
    ];
    const order = (by: string) => orderedBy(by, trials, (index) => trials[index]!.metrics).map(({ index }) => index);
    expect(order('eval/knn')).toEqual([2, 0, 3, 1]);
    expect(order('p.lr')).toEqual([3, 0, 1, 2]);
    expect(order('p.method')).toEqual([1, 2, 0, 3]);
    expect(order('no.such')).toEqual([0, 1, 2, 3]);
  });

  test('the best so far follows the goal', () => {
    expect(bestSoFar([2, 1, 3, 2], 'maximize')).toEqual([2, 2, 3, 3]);
    expect(bestSoFar([2, 1, 3, 0], 'minimize')).toEqual([2, 1, 1, 0]);
  });
});
