import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { run, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

test('the raw samples can be evaluated without a network', async () => {
  const { metrics } = await run({ kind: 'evaluate', dataset: 'tiny', from: null, features: 'pixels', knn: { k: 3 } });
  expect(metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
});

test('a probe tells how well it finds each class, with the strength that its labels have chosen', async () => {
  const { metrics, files, lines } = await run({
    kind: 'evaluate',
    dataset: 'tiny',
    from: null,
    features: 'pixels',
    knn: { k: 3 },
    probe: { l2: [1e-4, 1e-2, 1] },
  });
  const report = JSON.parse(await readFile(files.get('report')!, 'utf8')) as {
    accuracy: number;
    confusion: number[][];
  };
  expect(report.accuracy).toBe(metrics['eval/probe_accuracy']);
  expect(report.confusion.flat().reduce((sum, count) => sum + count, 0)).toBeGreaterThan(0);
  expect(lines.join('\n')).toMatch(/of probe\.l2 0\.0001, 0\.01, 1 held-out labels have chosen/);
});
