import type { DatasetManifest, RunSpec, TrainerInputs } from '#libs/contracts';
import { decodeWav, gatherSamples, inputOf, inputShape, openSplit, Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { storedAutoencoder } from './autoencoder.js';
import { soundsOf } from './sounds.js';
import { readTensors } from './checkpoint.js';
import type { ModelState } from './run-inputs.js';
import { npy } from '../../../tests/support/npy.js';
import {
  curvesOf,
  expectSameModel,
  trained,
  type Options,
  type Outcome,
} from '../../../tests/support/training-runs.js';

const RATE = 2000;
const LENGTH = 600;
const CLASSES = ['low', 'high', 'rising'];
let dir: string;
let inputs: TrainerInputs;

/** A low tone, a high one, or one that rises from the one to the other, with noise. */
function tone(label: number, random: Random): number[] {
  const [loudness, phase] = [random.uniform(0.2, 0.6), random.uniform(0, 2 * Math.PI)];
  return Array.from({ length: LENGTH }, (_, n) => {
    const t = n / RATE;
    const turns = [150 * t, 500 * t, 150 * t + ((500 - 150) * t * t) / (2 * (LENGTH / RATE))][label]!;
    return loudness * Math.sin(2 * Math.PI * turns + phase) + random.normal(0, 0.01);
  });
}

beforeAll(async () => {
  // One thread: with more, sums may be taken in another order.
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-sound-'));
  const random = Random.seeded(1, 'data');
  const files: TrainerInputs['dataset'] = { manifest: undefined as unknown as DatasetManifest, files: {} };
  const splits: Record<string, object> = {};
  for (const [split, count] of [
    ['train', 96],
    ['val', 30],
  ] as const) {
    const labels = Int32Array.from({ length: count }, (_, i) => i % CLASSES.length);
    const samples = Int16Array.from(
      [...labels].flatMap((label) => tone(label, random).map((x) => Math.round(x * 32767))),
    );
    files.files[split] = {
      samples: await npy(path.join(dir, `${split}.npy`), [count, LENGTH], samples),
      labels: await npy(path.join(dir, `${split}-labels.npy`), [count], labels),
    };
    splits[split] = {
      count,
      countPerClass: CLASSES.map(() => count / CLASSES.length),
      samples: '0'.repeat(64),
      labels: '0'.repeat(64),
    };
  }
  files.manifest = {
    name: 'tones',
    digest: '0'.repeat(64),
    sample: { modality: 'audio', sampleRate: RATE, length: LENGTH },
    classes: CLASSES,
    splits,
  } as DatasetManifest;
  inputs = { dataRoot: dir, dataset: files };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const run = (spec: z.input<typeof RunSpec>, options?: Options) => trained(inputs, spec, options);
const modelOf = ({ all }: Outcome): string => all.get('model.safetensors')!;

const small = { dataset: 'tones', batchSize: 19, epochs: 3, encoder: { width: 4 }, knn: { k: 3 } };
const autoencoder = { kind: 'autoencode', latent: 4, ...small } as const;
const specs: Record<string, z.input<typeof RunSpec>> = {
  pretrain: { kind: 'pretrain', schedule: { warmupSteps: 3 }, projection: { hidden: 8, output: 8 }, ...small },
  finetune: { kind: 'finetune', dataset: 'tones', from: null, encoder: { width: 4 }, batchSize: 19, steps: 15 },
  'autoencoder of spectrograms': autoencoder,
  ...Object.fromEntries(
    (['plain', 'denoising', 'variational'] as const).map((variant) => [
      `${variant} autoencoder of waveforms`,
      { ...autoencoder, domain: 'waveform', variant, klWarmupSteps: 5 },
    ]),
  ),
};

describe.each(Object.keys(specs))('%s of sounds', (kind) => {
  const spec = specs[kind]!;

  // Protects exact resume: losing a worker must not change what a run learns.
  test('15 steps, stopped at 8 and resumed, end in the very weights and curves of an uninterrupted run', async () => {
    const whole = await run(spec);
    const first = await run(spec, { stopAt: 8 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 8 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    await expectSameModel(second, whole);
    expect(curvesOf(first, second)).toEqual(curvesOf(whole));
    expect(
      curvesOf(whole)
        .filter(({ key }) => key === 'train/loss')
        .map(({ step }) => step),
    ).toEqual(Array.from({ length: 15 }, (_, i) => i + 1));
  }, 60_000);

  test('a run leaves no tensor behind', async () => {
    await run(spec, { stopAt: 2, reason: 'cancel' });
    const before = tf.memory().numTensors;
    await run(spec, { stopAt: 4, reason: 'cancel' });
    await run(spec);
    expect(tf.memory().numTensors).toBe(before);
  }, 60_000);
});

test('a finetuning tells the tones apart, and one from a pretrained encoder does too', async () => {
  const scratch = await run({
    ...specs['finetune'],
    steps: 120,
    optimizer: { name: 'adam', learningRate: 3e-3 },
  } as z.input<typeof RunSpec>);
  expect(scratch.metrics['eval/accuracy']).toBeGreaterThan(0.8);
  const parent = await run({ ...specs['pretrain'], epochs: 8 } as z.input<typeof RunSpec>);
  // Chance is a third.
  expect(parent.metrics['eval/knn']).toBeGreaterThan(0.6);
  const tuned = await run(
    { kind: 'finetune', dataset: 'tones', from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11', batchSize: 19, steps: 80 },
    { parentModel: modelOf(parent) },
  );
  expect(tuned.metrics['eval/accuracy']).toBeGreaterThan(0.8);
}, 60_000);

test('a pretraining shows spectrograms of sounds over those of two views of each', async () => {
  const { all } = await run(
    { ...specs['pretrain'], augmentation: { timeMask: { p: 1, maxFraction: 0.5 } } } as z.input<typeof RunSpec>,
    { stopAt: 0, reason: 'cancel' },
  );
  const { data, info } = await sharp(all.get('views.png')).greyscale().raw().toBuffer({ resolveWithObject: true });
  const [frames, bands] = inputShape(inputs.dataset!.manifest.sample);
  expect(info).toMatchObject({ width: 8 * frames, height: 3 * bands });
  // Time goes to the right: what is masked is a black column in the view and none in the sound itself.
  const black = (band: number) =>
    Array.from({ length: info.width }, (_, x) =>
      Array.from({ length: bands }, (_unused, y) => data[(band * bands + y) * info.width + x]!),
    ).filter((column) => column.every((value) => value === 0)).length;
  expect(black(0)).toBe(0);
  expect(black(1)).toBeGreaterThanOrEqual(8);
  expect(black(2)).toBeGreaterThanOrEqual(8);
});

describe.each(['spectrogram', 'waveform'] as const)("an autoencoder's %s", (domain) => {
  const learnt = {
    ...autoencoder,
    domain,
    latent: 80,
    encoder: { width: 8 },
    batchSize: 8,
    epochs: 30,
    optimizer: { name: 'adam', learningRate: 3e-3 },
    gridImages: 40,
  } as const;
  let outcome: Outcome;
  beforeAll(async () => {
    outcome = await run(learnt);
  }, 60_000);

  test('comes out as it went in, more or less', () => {
    const { metrics, points } = outcome;
    const mse = points.filter(({ key }) => key === 'eval/reconstruction_mse').map(({ value }) => value);
    expect(mse).toHaveLength(30);
    expect(mse.at(-1)).toBeLessThan(0.5 * mse[0]!);
    expect(metrics['eval/psnr']).toBeCloseTo(-10 * Math.log10(mse.at(-1)!), 6);
    // Silence would have 0; measured: 4.5 and 25.
    expect(metrics['eval/snr_db']).toBeGreaterThan(domain === 'waveform' ? 3 : 10);
    expect(metrics['eval/knn']).toBeGreaterThan(0.6);
  });

  test('can be listened to, and seen as spectrograms with time to the right', async () => {
    const { all, described } = outcome;
    const split = await openSplit(inputs.dataset!.manifest, 'val', inputs.dataset!.files.val!);
    // The first of each class in turn, at most eight.
    const names = Array.from({ length: 8 }, (_, i) => [
      `reconstruction-${i}-original.wav`,
      `reconstruction-${i}.wav`,
    ]).flat();
    expect([...described].filter(([, { kind }]) => kind === 'audio').map(([name]) => name)).toEqual(names);
    for (const name of names) {
      expect(described.get(name)!.mime).toBe('audio/wav');
      const { samples, sampleRate } = decodeWav(await readFile(all.get(name)!));
      expect(sampleRate).toBe(RATE);
      expect(samples).toHaveLength(LENGTH);
      expect(Math.max(...samples)).toBeGreaterThan(0.05);
    }
    expect([...decodeWav(await readFile(all.get('reconstruction-1-original.wav')!)).samples]).toEqual([
      ...gatherSamples(split, [1]).dataSync(),
    ]);
    const [frames, bands] = inputShape(split.sample);
    const picture = sharp(all.get('reconstructions.png'));
    expect(await picture.metadata()).toMatchObject({ format: 'png', width: 8 * frames, height: 2 * bands });
    // The upper left picture is of the first sound, a low tone: the brightest row lies below the middle.
    const { data } = await picture
      .extract({ left: 0, top: 0, width: frames, height: bands })
      .toColourspace('b-w')
      .raw()
      .toBuffer({ resolveWithObject: true });
    const rows = Array.from({ length: bands }, (_, row) =>
      data.subarray(row * frames, (row + 1) * frames).reduce((sum, x) => sum + x, 0),
    );
    expect(rows.indexOf(Math.max(...rows))).toBeGreaterThan(bands / 2);
  });

  test('is decoded by the stored model as by the one that was trained', async () => {
    const split = await openSplit(inputs.dataset!.manifest, 'val', inputs.dataset!.files.val!);
    const stored = storedAutoencoder(await readTensors<ModelState>(modelOf(outcome)), split.sample);
    expect(stored.domain).toBe(domain);
    const [mse, sounds] = tf.tidy(() => {
      const x = inputOf(
        split.sample,
        gatherSamples(
          split,
          Array.from({ length: 30 }, (_, row) => row),
        ),
        domain,
      );
      const decoded = stored.decode(stored.code(x, false).mean, false);
      if (split.sample.modality !== 'audio') throw new Error('expected sounds');
      return [
        tf.mean(tf.squaredDifference(decoded, x)).dataSync()[0]!,
        soundsOf(decoded, stored, split.sample, Random.seeded(0)).shape,
      ];
    });
    expect(mse).toBeCloseTo(outcome.metrics['eval/reconstruction_mse']!, 6);
    expect(sounds).toEqual([30, LENGTH]);
    for (const model of stored.models) model.dispose();
  });
});

test.each(['spectrogram', 'waveform'] as const)(
  'a walk between two sounds as %ss can be seen and listened to',
  async (domain) => {
    const parent = await run({ ...autoencoder, domain, epochs: 1 });
    const spec = {
      kind: 'interpolate',
      dataset: 'tones',
      from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11',
      points: 3,
      samples: 2,
    } as const;
    const walked = await run(spec, { parentModel: modelOf(parent) });
    const before = tf.memory().numTensors;
    await run(spec, { parentModel: modelOf(parent) });
    expect(tf.memory().numTensors).toBe(before);
    const mapped = await run(
      { kind: 'embed', dataset: 'tones', from: spec.from, maps: ['pca'] },
      { parentModel: modelOf(parent) },
    );
    expect([...mapped.all.keys()]).toContain('maps.json');
    expect(walked.metrics['interpolate/middle_mse_to_training']).toBeGreaterThan(0);
    expect([...walked.all.keys()]).toEqual([
      'interpolation.png',
      'interpolation.webp',
      'interpolation-0.wav',
      'interpolation-1.wav',
      'interpolation-2.wav',
      'samples.png',
      'sample-0.wav',
      'sample-1.wav',
    ]);
    expect(decodeWav(await readFile(walked.all.get('interpolation-2.wav')!)).samples).toHaveLength(LENGTH);
    const [frames, bands] = inputShape(inputs.dataset!.manifest.sample);
    expect(await sharp(walked.all.get('interpolation.png')).metadata()).toMatchObject({
      width: 3 * frames,
      height: bands,
    });
  },
  60_000,
);

test('a variational autoencoder of waveforms can be exported', async () => {
  const parent = await run({ ...autoencoder, domain: 'waveform', variant: 'variational', epochs: 1 });
  const { metrics } = await run(
    { kind: 'export', from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11', formats: ['tfjs', 'safetensors'] },
    { parentModel: modelOf(parent) },
  );
  expect(metrics['export/tfjs_difference']).toBeLessThan(1e-4);
}, 60_000);

test('networks of waveforms are no parent where the encoder is to see spectrograms', async () => {
  const parent = await run({ ...autoencoder, domain: 'waveform', epochs: 1 });
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  await expect(
    run({ kind: 'finetune', dataset: 'tones', from, batchSize: 9, steps: 1 }, { parentModel: modelOf(parent) }),
  ).rejects.toMatchObject({
    reason: 'invalid_spec',
    message: expect.stringMatching(/domain: spectrogram/) as string,
  });
});
