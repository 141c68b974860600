/** Whatever a spec may say runs: random ones of every kind, each built and run for a step or two on tiny data. */
import {
  METHODS,
  MULTI_CROP,
  UNLABELLED,
  type Precision,
  type RunSpec,
  type SampleShape,
  type TrainerInputs,
} from '#libs/contracts';
import { Random } from '#libs/data';
import { lackOfBfloat16, loadTensorFlow, processor } from '#libs/tensorflow';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { npy } from '../../../tests/support/npy.js';
import { trained } from '../../../tests/support/training-runs.js';

type Spec = z.input<typeof RunSpec>;
type Dataset = NonNullable<TrainerInputs['dataset']>;

const PARENT = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
const COUNTS = { train: 12, val: 6 } as const;
/** Families of runs: each a pretraining and an autoencoder, and what is made of them. */
const IMAGES = METHODS.length;
const SOUNDS = 2;
/** Families of which all is made; of the others the pretraining, which is by a method that none before has. */
const WHOLE = 5;

let dir: string;
/** On a machine without bfloat16 all specs are of float32: precision.spec.ts has them refused there. */
let precisions: readonly Precision[];
beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
  precisions = lackOfBfloat16(processor()) === undefined ? ['float32', 'bfloat16'] : ['float32'];
  dir = await mkdtemp(path.join(tmpdir(), 'loom-legal-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const oneOf = <T>(random: Random, choices: readonly T[]): T => choices[random.integer(0, choices.length)]!;
/** Mostly no multiple of 4. */
const width = (random: Random, least = 4): number => random.integer(least, least + 14);

const shapeOf = (modality: SampleShape['modality'], random: Random): SampleShape =>
  modality === 'image'
    ? {
        modality,
        height: random.integer(8, 14),
        width: random.integer(8, 14),
        channels: oneOf(random, [1, 3] as const),
      }
    : { modality, sampleRate: random.integer(1000, 3000), length: random.integer(300, 700) };

/** Noise of any shape, with a class for each sample or, `masks`, for each pixel. */
async function noise(sample: SampleShape, classes: number, random: Random, masks = false): Promise<Dataset> {
  const own = await mkdtemp(path.join(dir, 'data-'));
  const sides = sample.modality === 'image' ? [sample.height, sample.width, sample.channels] : [sample.length];
  const size = sides.reduce((product, side) => product * side, 1);
  const files: Dataset['files'] = {};
  const splits: Record<string, unknown> = {};
  for (const [split, count] of Object.entries(COUNTS)) {
    const values = Array.from({ length: count * size }, () => random.uniform());
    const samples =
      sample.modality === 'image'
        ? Uint8Array.from(values, (value) => value * 255)
        : Int16Array.from(values, (value) => (value - 0.5) * 40_000);
    const labels = Int32Array.from({ length: count }, (_, i) => i % classes);
    const pixels = Uint8Array.from({ length: (count * size) / (sides[2] ?? 1) }, () =>
      random.bernoulli(0.1) ? UNLABELLED : random.integer(0, classes),
    );
    files[split as 'train'] = {
      samples: await npy(path.join(own, `${split}.npy`), [count, ...sides], samples),
      ...(masks
        ? { masks: await npy(path.join(own, `${split}-masks.npy`), [count, ...sides.slice(0, 2)], pixels) }
        : { labels: await npy(path.join(own, `${split}-labels.npy`), [count], labels) }),
    };
    const countPerClass = Array.from({ length: classes }, (_, c) => labels.filter((label) => label === c).length);
    const digest = '0'.repeat(64);
    splits[split] = { count, samples: digest, ...(masks ? { masks: digest } : { labels: digest, countPerClass }) };
  }
  const names = Array.from({ length: classes }, (_, c) => `class ${c}`);
  return {
    manifest: { name: 'noise', digest: '0'.repeat(64), sample, classes: names, splits } as Dataset['manifest'],
    files,
  };
}

/** Runs it to its end: metrics are numbers. Returns the file of its model, where it has one. */
async function runOf(given: Spec, dataset: Dataset, parentModel?: string): Promise<string> {
  // What learns in odd batches does so in bfloat16.
  const batch = 'batchSize' in given ? given.batchSize : undefined;
  const spec = batch === undefined ? given : ({ ...given, precision: precisions[batch % precisions.length] } as Spec);
  const outcome = await trained({ dataRoot: dir, dataset }, spec, parentModel ? { parentModel } : {}).catch(
    (error: unknown) => {
      throw new Error(`expected this to run: ${JSON.stringify({ spec, sample: dataset.manifest.sample })}`, {
        cause: error,
      });
    },
  );
  for (const [name, value] of Object.entries(outcome.metrics))
    expect(Number.isFinite(value), `${name} of ${JSON.stringify(spec)}`).toBe(true);
  return outcome.files.get('model') ?? '';
}

const optimizer = (random: Random) => {
  const common = {
    ...(random.bernoulli(0.3) && { scaling: oneOf(random, ['linear', 'sqrt'] as const) }),
    ...(random.bernoulli(0.3) && { clipNorm: oneOf(random, [0.01, 100]) }),
  };
  return oneOf(random, [
    { name: 'adam', beta1: oneOf(random, [0, 0.9]), beta2: oneOf(random, [0, 0.999]), weightDecay: 0.01, ...common },
    { name: 'lars', learningRate: 0.1, ...common },
    { name: 'sgd', momentum: oneOf(random, [0, 0.9]), nesterov: random.bernoulli(0.5), ...common },
  ] as const);
};
/** What all that learn may be told beside the optimiser. */
const learning = (random: Random) => ({
  optimizer: optimizer(random),
  schedule: {
    name: oneOf(random, ['cosine', 'constant'] as const),
    ...(random.bernoulli(0.3) && { warmupEpochs: oneOf(random, [0, 0.5, 2]) }),
  },
  ...(random.bernoulli(0.3) && { ema: { decay: oneOf(random, [0, 0.9]) } }),
});
const AUGMENTATIONS = {
  image: [{}, { crop: {}, flip: {} }, { crop: { grid: 'half-pixel' }, cutout: {} }, { flip: {}, solarize: {} }],
  audio: [{}, { shift: {}, gain: {} }, { noise: {}, timeMask: {} }],
} as const;
/** The usual ones, or of their own: alike or not, of another size or, where the method takes them, of several. */
function views(random: Random, method: (typeof METHODS)[number], modality: SampleShape['modality']) {
  if (random.bernoulli(0.3)) return {};
  const ofSize = (size: number) => (modality === 'image' ? { size } : {});
  const size = random.bernoulli(0.7) ? ofSize(random.integer(8, 18)) : {};
  const view = () => ({ augmentation: oneOf(random, AUGMENTATIONS[modality]), ...size });
  const large = random.bernoulli(0.5) ? [view(), view()] : [{ ...view(), count: 2 }];
  const small = { ...view(), ...ofSize(random.integer(8, 12)), count: random.integer(1, 3) };
  if (method === 'emp-ssl') return { views: [{ ...view(), count: random.integer(2, 5) }], patches: { count: 2 } };
  return { views: MULTI_CROP.includes(method) ? [...large, small] : large };
}
const stem = (random: Random) => ({
  ...(random.bernoulli(0.3) && { stem: oneOf(random, ['cifar', 'imagenet'] as const) }),
  ...(random.bernoulli(0.3) && { padding: oneOf(random, ['same', 'symmetric'] as const) }),
});
/**
 * Which runs have deep networks, by samples, family and kind; all others have the small one. They take most of the
 * time: drawn at random, one of 50 layers in the wrong place took longer than several families. Those that are left out
 * are as `resnet50`.
 */
const DEEP: Record<string, 'resnet18' | 'resnet34' | 'resnet50' | 'vit-tiny' | undefined> = {
  'image 2 distill': 'resnet34',
  'image 3 pretrain': 'resnet18',
  'image 1 pretrain': 'vit-tiny',
  'image 5 pretrain': 'resnet50',
  'image 11 pretrain': 'vit-tiny',
  'audio 1 autoencode': 'resnet18',
  'audio 0 distill': 'vit-tiny',
};
const transformer = (random: Random) => ({
  name: 'vit-tiny' as const,
  width: random.integer(4, 8),
  patch: random.integer(4, 12),
  ...(random.bernoulli(0.5) && { pooling: oneOf(random, ['class', 'mean'] as const) }),
  ...(random.bernoulli(0.3) && { positions: oneOf(random, ['sine-cosine', 'learnt'] as const) }),
  ...(random.bernoulli(0.5) && { stochasticDepth: oneOf(random, [0, 0.2, 0.9]) }),
});
const encoder = (random: Random, name: 'small-resnet' | NonNullable<(typeof DEEP)[string]> = 'small-resnet') =>
  name === 'vit-tiny'
    ? transformer(random)
    : {
        name,
        width: width(random),
        ...stem(random),
        ...(random.bernoulli(0.2) && { seRatio: oneOf(random, [0.01, 0.25, 1]) }),
        ...(name === 'resnet50' && { skRatio: oneOf(random, [0.01, 1]) }),
      };
const projection = (random: Random) => ({
  layers: random.integer(1, 5),
  hidden: width(random, 8),
  output: width(random, 8),
});
const probe = { maxIterations: 5 };

/** What every kind of training and judging makes of one dataset. */
async function family(modality: SampleShape['modality'], seed: number): Promise<void> {
  const random = Random.seeded(seed, `legal ${modality}`);
  const dataset = await noise(shapeOf(modality, random), random.integer(2, 4), random);
  const few = { dataset: 'noise', batchSize: random.integer(4, COUNTS.train + 1), evalSplit: 'val', seed } as const;
  const common = () => ({ ...few, epochs: 1, ...learning(random), knn: { k: random.integer(1, 30) } });
  const head = projection(random);
  const method = METHODS[seed % METHODS.length]!;
  const pretrained = await runOf(
    {
      kind: 'pretrain',
      method,
      ...views(random, method, modality),
      encoder: {
        ...encoder(random, DEEP[`${modality} ${seed} pretrain`]),
        // Learnt positions are for views of one size.
        ...(MULTI_CROP.includes(method) && { positions: undefined }),
      },
      projection: head,
      predictorHidden: width(random, 8),
      ...(method === 'swav' && { queueSize: random.integer(16, 40) }),
      probe,
      ...common(),
    },
    dataset,
  );
  if (seed >= WHOLE) return;
  const isFirst = seed === 0;
  const judged = { dataset: 'noise', from: PARENT, knn: { k: 3 }, probe, seed } as const;
  await runOf({ kind: 'evaluate', ...judged, labelFraction: 0.5 }, dataset, pretrained);
  if (isFirst) await runOf({ kind: 'evaluate', ...judged, from: null, features: 'pixels' }, dataset);
  const tuned = await runOf(
    {
      kind: 'finetune',
      from: PARENT,
      fromHeadLayer: random.integer(0, head.layers + 1),
      ...(random.bernoulli(0.7) && {
        backbone: { rate: oneOf(random, [0, 0.1]), statistics: oneOf(random, ['parent', 'batch'] as const) },
      }),
      ...(random.bernoulli(0.5) && { layerDecay: oneOf(random, [0.1, 1]) }),
      ...(random.bernoulli(0.5) && { fineTuneAfterBlock: random.integer(0, 4) }),
      steps: 1,
      ...learning(random),
      ...few,
    },
    dataset,
    pretrained,
  );
  const student = {
    from: PARENT,
    encoder: encoder(random, DEEP[`${modality} ${seed} distill`]),
    labelWeight: oneOf(random, [0, 0.5]),
  };
  const { knn: _, ...taught } = common();
  await runOf({ kind: 'distill', ...student, ...taught }, dataset, tuned);
  const maps = { maps: ['pca', 'tsne', 'umap'] as ('pca' | 'tsne' | 'umap')[], split: 'train' as const };
  if (isFirst)
    await runOf({ kind: 'embed', dataset: 'noise', from: PARENT, ...maps, umap: { epochs: 10 } }, dataset, pretrained);
  const autoencoder = await runOf(
    {
      kind: 'autoencode',
      variant: (['plain', 'denoising', 'variational'] as const)[seed % 3]!,
      domain: modality === 'audio' && seed % 2 === 0 ? 'waveform' : 'spectrogram',
      latent: random.integer(2, 9),
      encoder: encoder(random, DEEP[`${modality} ${seed} autoencode`]),
      gridImages: 2,
      ...common(),
    },
    dataset,
  );
  if (seed === 0)
    await runOf(
      {
        ...common(),
        kind: 'autoencode',
        variant: 'masked',
        encoder: { ...transformer(random), patch: 4 },
        masking: {
          ratio: oneOf(random, [0.05, 0.5, 0.95]),
          blocks: 1,
          heads: random.integer(1, 4),
          headWidth: random.integer(4, 9),
          normalise: random.bernoulli(0.5),
        },
        gridImages: 2,
      },
      dataset,
    );
  // A transformer has no maps of several resolutions to segment by.
  const parent = DEEP[`${modality} ${seed} pretrain`] === 'vit-tiny' ? undefined : pretrained;
  if (modality === 'image') await segmentations(dataset.manifest.sample, parent, seed, random);
  if (!isFirst) return;
  await runOf({ kind: 'interpolate', dataset: 'noise', from: PARENT, points: 3, samples: 2 }, dataset, autoencoder);
  await runOf({ kind: 'export', from: PARENT }, dataset, oneOf(random, [pretrained, tuned, autoencoder]));
}

/** Of a parent's encoder, and from scratch with maps wider than the segmenter's least. */
async function segmentations(
  sample: SampleShape,
  pretrained: string | undefined,
  seed: number,
  random: Random,
): Promise<void> {
  const masked = await noise(sample, 3, random, true);
  const segmenting = {
    kind: 'finetune',
    task: 'segmentation',
    steps: 1,
    ...learning(random),
    dataset: 'noise',
    batchSize: 5,
    seed,
  } as const;
  if (pretrained) await runOf({ ...segmenting, from: PARENT }, masked, pretrained);
  await runOf({ ...segmenting, from: null, encoder: { width: random.integer(33, 40), ...stem(random) } }, masked);
}

describe.each([
  ['image', IMAGES],
  ['audio', SOUNDS],
] as const)('what a spec of %s samples may say runs', (modality, families) => {
  test.each(Array.from({ length: families }, (_, seed) => seed))(
    'family %i',
    (seed) => family(modality, seed),
    120_000,
  );
});
