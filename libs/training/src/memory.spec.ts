/** The estimate of a run's memory against what its tensors take at their peak. */
import { encoderModelOf, RunSpec, tensorBytes, type TrainerInputs } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { z } from 'zod';
import { kerasModel, writeModel } from '../../../tests/support/layers-models.js';
import { npy } from '../../../tests/support/npy.js';
import { train, type TrainSpec } from './train.js';

const COUNTS = { train: 64, val: 20 } as const;
let dir: string;

async function images(size: number): Promise<TrainerInputs> {
  const random = Random.seeded(1, 'data');
  const [files, splits]: [Record<string, object>, Record<string, object>] = [{}, {}];
  for (const [split, count] of Object.entries(COUNTS)) {
    files[split] = {
      samples: await npy(
        path.join(dir, `${split}-${size}.npy`),
        [count, size, size, 3],
        Uint8Array.from({ length: count * size * size * 3 }, () => random.integer(0, 256)),
      ),
      labels: await npy(
        path.join(dir, `${split}-labels.npy`),
        [count],
        Int32Array.from({ length: count }, (_, i) => i % 4),
      ),
    };
    splits[split] = {
      count,
      countPerClass: [count / 4, count / 4, count / 4, count / 4],
      samples: '0'.repeat(64),
      labels: '0'.repeat(64),
    };
  }
  return {
    dataRoot: dir,
    dataset: {
      manifest: {
        name: 'x',
        digest: '0'.repeat(64),
        sample: { modality: 'image', height: size, width: size, channels: 3 },
        classes: ['a', 'b', 'c', 'd'],
        splits,
      },
      files,
    },
  } as unknown as TrainerInputs;
}

beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-memory-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const context = {
  signal: new AbortController().signal,
  progress: () => undefined,
  metrics: () => undefined,
  log: () => undefined,
  store: async () => undefined,
  checkpointEverySeconds: 1e6,
  stopAtStep: null,
};
const pretrain = {
  kind: 'pretrain' as const,
  dataset: 'x',
  epochs: 1,
  batchSize: 32,
  evalSplit: 'val' as const,
  knn: { k: 5, bankSize: 64 },
  probe: { maxIterations: 1 },
};
const sized = (size: number) => [{ augmentation: { crop: {}, flip: {}, colorJitter: {} }, count: 2, size }];
/** The inputs with the model that the spec's encoder is of, and what is known of it. */
async function withModel(spec: TrainSpec, inputs: TrainerInputs) {
  if (encoderModelOf(spec) === undefined) return { inputs, encoder: undefined };
  await writeModel(kerasModel(null), path.join(dir, 'keras'));
  const file = path.join(dir, 'model.safetensors');
  const { model } = await train({ kind: 'import-model', name: 'own', path: 'keras/model.json' }, inputs, {
    ...context,
    workDir: dir,
    store: ({ path: stored }) => copyFile(stored, `${file}.own`),
  });
  return {
    inputs: { ...inputs, encoderModel: `${file}.own` },
    encoder: { ...model!.encoder, features: 'pool', made: model },
  };
}

test.each<[string, number, z.input<typeof RunSpec>]>([
  ['layers of a model', 32, { ...pretrain, encoder: { model: 'own', features: 'pool' } }],
  ['SimCLR', 32, { ...pretrain, encoder: { width: 16 } }],
  ['SimCLR on larger images', 64, { ...pretrain, encoder: { width: 8 } }],
  ['SimCLR without colours', 32, { ...pretrain, encoder: { width: 32 }, augmentation: { crop: {} } }],
  ['BYOL with LARS', 32, { ...pretrain, method: 'byol', encoder: { width: 16 }, optimizer: { name: 'lars' } }],
  ['SupCon in a large batch', 16, { ...pretrain, method: 'supcon', encoder: { width: 8 }, batchSize: 64 }],
  ['DCL in a large batch', 16, { ...pretrain, method: 'dcl', encoder: { width: 8 }, batchSize: 64 }],
  ['MoCo v2 with a long queue', 16, { ...pretrain, method: 'moco-v2', encoder: { width: 8 }, queueSize: 16384 }],
  ['NNCLR with a long queue', 16, { ...pretrain, method: 'nnclr', encoder: { width: 8 }, queueSize: 16384 }],
  ['MoCo v3 in a large batch', 16, { ...pretrain, method: 'moco-v3', encoder: { width: 8 }, batchSize: 64 }],
  [
    'SGD that is clipped, of many weights',
    8,
    {
      ...pretrain,
      batchSize: 4,
      encoder: { width: 8 },
      projection: { layers: 2, hidden: 1024, output: 256 },
      optimizer: { name: 'sgd', clipNorm: 1 },
    },
  ],
  [
    'VICReg with a wide head',
    16,
    { ...pretrain, method: 'vicreg', encoder: { width: 8 }, projection: { layers: 3, hidden: 1024, output: 1024 } },
  ],
  ['SimCLR on views of larger pictures', 96, { ...pretrain, encoder: { width: 8 }, views: sized(32) }],
  ['SimCLR on views larger than their pictures', 16, { ...pretrain, encoder: { width: 8 }, views: sized(64) }],
  [
    'SwAV with small views and many prototypes',
    32,
    {
      ...pretrain,
      method: 'swav',
      prototypes: 3000,
      queueSize: 512,
      encoder: { width: 8 },
      views: [...sized(32), { augmentation: { crop: {} }, count: 4, size: 16 }],
    },
  ],
  [
    'EMP-SSL of many patches, and a wide head',
    32,
    {
      ...pretrain,
      method: 'emp-ssl',
      encoder: { width: 8 },
      projection: { layers: 2, hidden: 256, output: 512 },
      views: [{ augmentation: { crop: {} }, count: 6 }],
    },
  ],
  [
    'DINO with small views',
    32,
    {
      ...pretrain,
      method: 'dino',
      encoder: { width: 8 },
      views: [...sized(32), { augmentation: { crop: {} }, count: 4, size: 16 }],
    },
  ],
  [
    'averages of many weights',
    8,
    {
      ...pretrain,
      batchSize: 4,
      encoder: { width: 8 },
      projection: { layers: 2, hidden: 1024, output: 256 },
      ema: { decay: 0.9 },
    },
  ],
  ['a ResNet-18', 16, { ...pretrain, batchSize: 16, encoder: { name: 'resnet18', width: 16 } }],
  [
    'a ResNet-50 with the stem of ImageNet',
    64,
    { ...pretrain, batchSize: 16, encoder: { name: 'resnet50', width: 8, stem: 'imagenet' } },
  ],
  [
    'a transformer',
    32,
    { ...pretrain, batchSize: 16, encoder: { name: 'vit-tiny', width: 16, patch: 4 }, views: sized(32) },
  ],
  [
    'a transformer of many tokens, and the mean over them',
    64,
    { ...pretrain, batchSize: 4, encoder: { name: 'vit-tiny', width: 8, patch: 4, pooling: 'mean' } },
  ],
  ['a transformer of many weights', 16, { ...pretrain, batchSize: 4, encoder: { name: 'vit-tiny', width: 32 } }],
  [
    'a masked autoencoder',
    32,
    {
      kind: 'autoencode',
      variant: 'masked',
      dataset: 'x',
      encoder: { name: 'vit-tiny', width: 16, patch: 4 },
      masking: { blocks: 2 },
      batchSize: 32,
      epochs: 1,
      knn: { k: 5, bankSize: 64 },
    },
  ],
  ['a finetuning', 32, { kind: 'finetune', dataset: 'x', from: null, encoder: { width: 16 }, batchSize: 32, steps: 2 }],
  [
    'an autoencoder',
    32,
    { kind: 'autoencode', dataset: 'x', encoder: { width: 16 }, batchSize: 32, epochs: 1, knn: { k: 5, bankSize: 64 } },
  ],
])(
  '%s takes at most what is estimated, and at least half of it',
  async (name, size, given) => {
    const spec = RunSpec.parse(given) as TrainSpec;
    const { inputs, ...known } = await withModel(spec, await images(size));
    const before = tf.memory().numBytes;
    const { peakBytes } = await tf.profile(async () => {
      await train(spec, inputs, { ...context, workDir: dir });
      return tf.scalar(0);
    });
    const estimated = tensorBytes(spec, inputs.dataset!.manifest.sample, known.encoder, 64)!;
    const ratio = estimated / (peakBytes - before);
    expect(ratio, `${name}: ${estimated} estimated, ${peakBytes - before} at the peak`).toBeGreaterThan(1);
    expect(ratio, `${name}: ${estimated} estimated, ${peakBytes - before} at the peak`).toBeLessThan(2);
  },
  120_000,
);
