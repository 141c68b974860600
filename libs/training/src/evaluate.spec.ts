import { expect, test } from 'vitest';
import { run, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

test('the raw samples can be evaluated without a network', async () => {
  const { metrics } = await run({ kind: 'evaluate', dataset: 'tiny', from: null, features: 'pixels', knn: { k: 3 } });
  expect(metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
});
