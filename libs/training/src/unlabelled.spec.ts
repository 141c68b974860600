/** Datasets without classes: what learns without labels runs, what needs them says so. */
import type { RunSpec } from '#libs/contracts';
import { beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { inputs, run, small, specs, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();
beforeAll(() => {
  const { manifest, files } = inputs.dataset!;
  manifest.classes = [];
  for (const split of ['train', 'val'] as const) {
    delete files[split]!.labels;
    delete manifest.splits[split]!.labels;
    delete manifest.splits[split]!.countPerClass;
  }
});

test('pretraining and autoencoders learn, and are measured by all that needs no class', async () => {
  const pretrained = await run(specs['pretrain']!);
  expect(Object.keys(pretrained.metrics)).toContain('eval/rank');
  expect(Object.keys(pretrained.metrics)).not.toContain('eval/knn');
  expect((await run(specs['autoencode']!)).metrics).not.toEqual({});
  const parentModel = pretrained.files.get('model')!;
  const mapped = await run(
    { kind: 'embed', dataset: 'tiny', split: 'val', from: '00000000-0000-4000-8000-000000000000', maps: ['pca'] },
    { parentModel },
  );
  expect(mapped.stored).toContain('maps.json');
}, 120_000);

test('a method that learns from labels says that it needs classes', async () => {
  await expect(run({ ...specs['pretrain'], method: 'supcon' } as z.input<typeof RunSpec>)).rejects.toThrow(
    /a class for each sample, this one has none/,
  );
});

test('an evaluation says that it needs classes', async () => {
  await expect(
    run({ kind: 'evaluate', dataset: 'tiny', from: null, features: 'pixels', knn: small.knn }),
  ).rejects.toThrow(/a class for each sample, this one has none/);
});
