/**
 * Every kind of run on real processes, each from its parents: images, sounds and masks, from files to what people look
 * at.
 */
import type { Artifact, LoomClient, Run } from '#libs/contracts';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeImageFolder, writeScenes, writeTones } from '../support/images.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
let client: LoomClient;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_TRAINER_THREADS: '2', LOOM_LEASE_MS: '45000' } });
  ({ client } = stack);
  await writeImageFolder(path.join(stack.dataRoot, 'stripes'), { classes: 3, perClass: 40 });
  await writeTones(path.join(stack.dataRoot, 'tones'));
  await writeScenes(path.join(stack.dataRoot, 'scenes'));
  stack.startWorker();
}, 60_000);

afterAll(() => stack?.stop());

const metrics = (run: Run): Record<string, number> => run.result!.metrics;
const names = async (id: string, kind: Artifact['kind']): Promise<string[]> =>
  (await client.artifacts(id, { limit: 200 })).items
    .filter((file) => file.kind === kind)
    .map(({ name }) => name)
    .sort();

const encoder = { width: 4 };

test('images: pretraining without negatives, a student, walks, maps and exports', async () => {
  await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'stripes', path: 'stripes', imageSize: 16 }));
  const pretraining = await stack.submit({
    kind: 'pretrain',
    method: 'vicreg',
    dataset: 'stripes',
    encoder,
    projection: { layers: 3, hidden: 16, output: 32 },
    batchSize: 32,
    epochs: 6,
    schedule: { warmupSteps: 3 },
    knn: { k: 5 },
    checkpoints: { everySteps: 6, keepLast: 5 },
  });
  const tuning = await stack.submit({
    kind: 'finetune',
    dataset: 'stripes',
    from: pretraining,
    fromHeadLayer: 1,
    batchSize: 16,
    steps: 60,
  });
  const distilling = await stack.submit({
    kind: 'distill',
    dataset: 'stripes',
    from: tuning,
    encoder,
    batchSize: 32,
    epochs: 15,
    optimizer: { name: 'adam', learningRate: 5e-3 },
  });
  const autoencoding = await stack.submit({
    kind: 'autoencode',
    variant: 'variational',
    dataset: 'stripes',
    latent: 4,
    encoder,
    batchSize: 32,
    epochs: 3,
    gridImages: 4,
    knn: { k: 5 },
  });
  const walking = await stack.submit({
    kind: 'interpolate',
    dataset: 'stripes',
    from: autoencoding,
    between: { classes: ['class0', 'class1'] },
    path: 'slerp',
    points: 5,
    samples: 4,
  });
  const mapping = await stack.submit({
    kind: 'embed',
    dataset: 'stripes',
    from: pretraining,
    split: 'train',
    maps: ['pca', 'umap'],
    umap: { epochs: 50 },
  });
  const again = await stack.submit({
    kind: 'embed',
    dataset: 'stripes',
    from: tuning,
    split: 'train',
    maps: ['pca', 'umap'],
    umap: { epochs: 50 },
    alignTo: mapping,
  });
  const exporting = await stack.submit({ kind: 'export', from: distilling });

  expect(Object.keys(metrics(await stack.ended(pretraining)))).toEqual(
    expect.arrayContaining([
      'train/invariance',
      'train/variance',
      'train/covariance',
      'eval/knn',
      'eval/probe_accuracy',
      'eval/feature_spread',
      'eval/rank',
      'eval/alignment',
      'eval/uniformity',
    ]),
  );
  expect(metrics(await stack.ended(tuning))['eval/accuracy']).toBeGreaterThan(0.6);
  expect(metrics(await stack.ended(distilling))['eval/agreement']).toBeGreaterThan(0.6);
  await stack.ended(walking);
  expect(await names(walking, 'image')).toEqual(['interpolation.png', 'interpolation.webp', 'samples.png']);
  expect(await names(autoencoding, 'report')).toEqual(['compression.json']);
  await stack.ended(again);
  const early = await stack.submit({
    kind: 'embed',
    dataset: 'stripes',
    from: pretraining,
    checkpoint: 6,
    split: 'train',
    maps: ['pca'],
    alignTo: mapping,
  });
  expect(metrics(await stack.ended(early))['map/pca/disparity']).toBeGreaterThan(1e-6);
  for (const id of [mapping, again, early]) expect(await names(id, 'embedding')).toEqual(['maps.json']);
  await stack.ended(exporting);
  expect(await names(exporting, 'export')).toEqual(
    expect.arrayContaining(['encoder.onnx', 'encoder.safetensors', 'encoder.model.json', 'encoder.weights.bin']),
  );
}, 180_000);

test('sounds: speakers held out, autoencoders of both kinds, pretraining and finetuning', async () => {
  const preparing = await stack.ended(
    await stack.submit({
      kind: 'prepare-dataset',
      name: 'tones',
      path: 'tones',
      audio: { sampleRate: 4000, seconds: 0.5 },
      fileName: '{label}_{group}_{}',
      holdOut: { val: ['s3'] },
      testFraction: 0,
    }),
  );
  expect(preparing.result!.dataset).toMatchObject({
    sample: { modality: 'audio', sampleRate: 4000, length: 2000 },
    classes: ['high', 'low', 'middle'],
    splits: { train: { count: 72 }, val: { count: 24 } },
  });
  const pretraining = await stack.submit({
    kind: 'pretrain',
    dataset: 'tones',
    encoder,
    batchSize: 24,
    epochs: 4,
    schedule: {},
    knn: { k: 5 },
  });
  const tuning = await stack.submit({
    kind: 'finetune',
    dataset: 'tones',
    from: pretraining,
    batchSize: 24,
    steps: 40,
  });
  const [spectrogram, waveform] = [
    await stack.submit({
      kind: 'autoencode',
      dataset: 'tones',
      encoder,
      latent: 8,
      batchSize: 24,
      epochs: 2,
      gridImages: 2,
      knn: { k: 5 },
    }),
    await stack.submit({
      kind: 'autoencode',
      domain: 'waveform',
      dataset: 'tones',
      encoder,
      latent: 8,
      batchSize: 24,
      epochs: 2,
      gridImages: 2,
      knn: { k: 5 },
    }),
  ];
  expect(metrics(await stack.ended(tuning))['eval/accuracy']).toBeGreaterThan(0.6);
  for (const id of [spectrogram, waveform]) {
    expect(metrics(await stack.ended(id))['eval/snr_db']).toEqual(expect.any(Number));
    expect(await names(id, 'audio')).toHaveLength(4);
  }
}, 180_000);

test('masks: an encoder that was pretrained without them gives each pixel its class', async () => {
  const preparing = await stack.ended(
    await stack.submit({
      kind: 'prepare-dataset',
      name: 'scenes',
      path: 'scenes',
      imageSize: { height: 24, width: 32 },
      masks: { classes: ['ground', 'square'], unlabelled: 9 },
    }),
  );
  expect(preparing.result!.dataset!.splits.train).toMatchObject({ count: 48 });
  expect(preparing.result!.dataset!.splits.train.labels).toBeUndefined();
  const pretraining = await stack.submit({
    kind: 'pretrain',
    dataset: 'scenes',
    encoder,
    batchSize: 16,
    epochs: 2,
    schedule: {},
  });
  const segmenting = await stack.submit({
    kind: 'finetune',
    task: 'segmentation',
    dataset: 'scenes',
    from: pretraining,
    batchSize: 8,
    steps: 60,
    optimizer: { name: 'adam', learningRate: 5e-3 },
  });
  expect(metrics(await stack.ended(segmenting))['eval/miou']).toBeGreaterThan(0.7);
  expect(await names(segmenting, 'image')).toEqual(['segmentation.png']);
  await expect(
    client.submitRun({ spec: { kind: 'finetune', dataset: 'scenes', from: pretraining, batchSize: 8 } }),
  ).rejects.toThrow('spec.task: expected a dataset with a class for each sample');
}, 180_000);
