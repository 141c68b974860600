import { expect, test } from 'vitest';
import { run, specs, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

test.each([
  ['an encoder', 'pretrain', { encoder: { width: 6 } }],
  ['a projection head', 'pretrain', { projection: { hidden: 10, output: 9 } }],
  ['a predictor', 'byol', { predictorHidden: 10 }],
  ['a network from scratch', 'finetune', { encoder: { width: 5 } }],
  ['an autoencoder', 'autoencode', { encoder: { width: 7 } }],
])('%s whose channels are no multiple of 4 trains', async (_, name, sizes) => {
  const { metrics } = await run({ ...specs[name], ...sizes } as never);
  expect(metrics['train/loss']).toBeGreaterThan(-Infinity);
});
