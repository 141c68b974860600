import type { RunDetail, SweepTable } from '#libs/contracts';
import { expect, test } from 'vitest';
import { comparisonText, curvesText, resultsText, sparkline, usageText } from './render.js';

const plain = { write: () => true };
const at = '2026-01-01T00:00:00.000Z';

test('a curve in characters, from its lowest to its highest value', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8)).toBe('▁▂▃▄▅▆▇█');
  expect(sparkline([0, 0, 10, 10, 20, 20], 3)).toBe('▁▅█');
  expect(sparkline([3, 3, 3], 8)).toBe('▄▄▄');
  expect(sparkline([1, Number.NaN, 2], 8)).toBe('▁█');
  expect(sparkline([], 8)).toBe('');
  // On a scale that is given, curves can be compared.
  expect(sparkline([0, 5], 8, [0, 10])).toBe('▁▅');
  expect(
    sparkline(
      Array.from({ length: 1000 }, (_, i) => i),
      10,
    ),
  ).toHaveLength(10);
});

test('curves with their ends and how far they go', () => {
  const points = [4, 6, 1, 2].map((value, step) => ({ step, value, at }));
  expect(
    curvesText(
      [
        { key: 'train/loss', points },
        { key: 'eval/accuracy', points: points.slice(0, 1) },
      ],
      plain,
    ).split('\n')[1],
  ).toMatch(/^train\/loss +▅█▁▂ +4 +2 +1 +6$/);
});

test('what a run used of its machine stands by itself', () => {
  const points = [4, 6, 5].map((value, step) => ({ step, value, at }));
  const used = [{ key: 'system/memory_mib', points }];
  expect(curvesText(used, plain)).toBe('');
  expect(usageText(used, plain).split('\n')[1]).toMatch(/^Memory, MiB +▁█▅ +5 +6$/);
  expect(usageText([{ key: 'train/loss', points }], plain)).toBe('');
});

test('runs side by side: metrics with their difference, curves on one scale, fields that differ', () => {
  const run = (id: string, name: string | null) =>
    ({ id, name, kind: 'pretrain', status: 'succeeded', step: 4, totalSteps: 4 }) as RunDetail;
  const points = (...values: number[]) => values.map((value, step) => ({ step, value, at }));
  const comparison = {
    runs: [run('a', 'warm'), run('b', null)],
    metrics: { 'eval/knn': [0.5, 0.75], 'train/loss': [1, null] },
    curves: { 'train/loss': [points(0, 5), points(5, 10)] },
    spec: [
      { path: 'epochs', values: ['1', '1'], differs: false },
      { path: 'temperature', values: ['0.1', undefined], differs: true },
    ],
  };
  const text = comparisonText(comparison, plain, false);
  expect(text).toMatch(
    /metric +1 warm +2 pretrain +difference\neval\/knn +0\.5 +0\.75 +\+0\.25\ntrain\/loss +1 +– +–\n/,
  );
  expect(text).toMatch(/train\/loss +▁▅ +▅█\n/);
  expect(text).toMatch(/spec +1 warm +2 pretrain\ntemperature +0\.1 +–\n/);
  expect(text).not.toContain('epochs');
  expect(comparisonText(comparison, plain, true)).toMatch(/epochs +1 +1\n/);
  expect(comparisonText({ ...comparison, spec: [] }, plain, false)).toContain('their specs are equal');
});

test('what a sweep found has units, says what ± is, and does not hide that others are as good as the best', () => {
  const estimate = (mean: number, ci95: number | null) => ({ mean, ci95, n: ci95 === null ? 1 : 3 });
  const nothing = { probe: null, randomProbe: null, accuracy: {}, scratch: {}, gain: {}, behind: {} };
  const line = (trial: number, value: number) => ({
    trial,
    status: 'succeeded' as const,
    values: [0.1 * trial],
    value,
  });
  const results: SweepTable = {
    sweepId: 'id',
    complete: true,
    measure: 'eval/loss',
    rows: [{ combo: 'crop', parameters: {}, knn: estimate(0.5, 0.02), ...nothing }],
    composition: null,
    effects: [{ name: 'crop', effect: estimate(-0.25, 0.125) }],
    importance: [{ parameter: 'p.lr', importance: 1.2 }],
    best: { trial: 0, runId: 'r', value: 0.5, parameters: {}, reproduce: 'loom reproduce r' },
    coordinates: { axes: ['p.lr'], lines: [line(0, 0.5), line(1, 0.5), line(2, 0.75)] },
    labels: [],
  };
  const text = resultsText(results, plain);
  expect(text).toMatch(
    /combination +kNN\ncrop +50\.0 ± 2\.0\nshares in %\n± is half of the 95 % interval over seeds\n/,
  );
  expect(text).toContain('best: trial 0 with 0.5 (the first of 2 that came to the same), run r\n');
  expect(text).toMatch(/what each adds to all others \(eval\/loss\)\naugmentation +effect\ncrop +-0\.25 ± 0\.125\n/);
  expect(text).toMatch(/what matters \(in % of the variance of eval\/loss\)\nparameter +importance\np\.lr +120 %\n/);
  const alone = { ...results, rows: [{ ...results.rows[0]!, knn: estimate(0.5, null) }], effects: [] };
  expect(resultsText(alone, plain)).not.toContain('±');
  const labelled = { axes: ['f.labelFraction'], lines: results.coordinates.lines };
  expect(resultsText({ ...results, coordinates: labelled }, plain)).toContain('best: trial 0 with 0.5, run r\n');
  const composition = { names: ['crop', 'flip'], branches: 'both' as const, cells: [[estimate(0.25, null), null]] };
  const composed = (measure: string, judgedBy: string) =>
    resultsText({ ...results, measure: judgedBy, composition: { ...composition, measure } }, plain);
  expect(composed('kNN', 'eval/loss')).toMatch(/kNN accuracy, in %: each .*\n.*\ncrop +25\.0 /);
  expect(composed('accuracy 0.1', 'eval/loss at label fraction 0.1')).toMatch(
    /\nloss on 10 % of the labels: each .*\n.*\ncrop +0\.25 /,
  );
});
