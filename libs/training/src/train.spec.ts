import { RunSpec, type DatasetManifest, type MetricPoint, type StopReason, type TrainerInputs } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors } from './checkpoint.js';
import { slerp } from './interpolate.js';
import { Stopped, TrainingError, type TrainContext } from './session.js';
import { npy } from '../../../tests/support/npy.js';
import { train, type TrainSpec } from './train.js';

const SIZE = 8;
const CLASSES = 3;
let dir: string;
let inputs: TrainerInputs;

beforeAll(async () => {
  // One thread: with more, sums may be taken in another order.
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-train-'));
  const random = Random.seeded(1, 'data');
  const files: TrainerInputs['dataset'] = { manifest: undefined as unknown as DatasetManifest, files: {} };
  const splits: Record<string, object> = {};
  for (const [split, count] of [
    ['train', 96],
    ['val', 30],
  ] as const) {
    const labels = Int32Array.from({ length: count }, (_, i) => i % CLASSES);
    const images = Uint8Array.from({ length: count * SIZE * SIZE * 3 }, (_, i) => {
      const label = labels[Math.floor(i / (SIZE * SIZE * 3))]!;
      return Math.min(255, Math.max(0, (i % 3 === label ? 180 : 60) + random.normal(0, 30)));
    });
    files.files[split] = {
      samples: await npy(path.join(dir, `${split}-images.npy`), [count, SIZE, SIZE, 3], images),
      labels: await npy(path.join(dir, `${split}-labels.npy`), [count], labels),
    };
    splits[split] = {
      count,
      countPerClass: Array<number>(CLASSES).fill(count / CLASSES),
      samples: '0'.repeat(64),
      labels: '0'.repeat(64),
    };
  }
  files.manifest = {
    name: 'tiny',
    digest: '0'.repeat(64),
    sample: { modality: 'image', height: SIZE, width: SIZE, channels: 3 },
    classes: ['r', 'g', 'b'],
    splits,
  } as DatasetManifest;
  inputs = { dataRoot: dir, dataset: files };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

interface Outcome {
  metrics: Record<string, number>;
  points: MetricPoint[];
  files: Map<string, string>;
  all: Map<string, string>;
  stored: string[];
  lines: string[];
  stopped?: Stopped;
}
interface Options {
  stopAt?: number;
  sign?: number;
  reason?: StopReason;
  checkpoint?: string;
  parentModel?: string;
  parentCheckpoint?: string;
  checkpointEverySeconds?: number;
  rung?: number;
}

/**
 * Trains, is told to stop by the `sign`-th sign of life of step `stopAt`, and keeps the files that were stored, the
 * last of each kind and each by its name.
 */
async function run(spec: z.input<typeof RunSpec>, options: Options = {}): Promise<Outcome> {
  const workDir = await mkdtemp(path.join(dir, 'run-'));
  const stop = new AbortController();
  const points: MetricPoint[] = [];
  const files = new Map<string, string>();
  const all = new Map<string, string>();
  const stored: string[] = [];
  const lines: string[] = [];
  let signs = 0;
  const context: TrainContext = {
    signal: stop.signal,
    workDir,
    checkpointEverySeconds: options.checkpointEverySeconds ?? 1000,
    stopAtStep: options.rung ?? null,
    progress: (step) => {
      if (step === options.stopAt && ++signs === (options.sign ?? 1)) stop.abort(options.reason ?? 'drain');
    },
    metrics: (more) => points.push(...more),
    log: (level, message) => lines.push(`${level}: ${message}`),
    store: async ({ name, kind, path: file }) => {
      stored.push(name);
      const kept = path.join(dir, `${path.basename(workDir)}-${name}`);
      await copyFile(file, kept);
      files.set(kind, kept);
      all.set(name, kept);
    },
  };
  try {
    const { metrics } = await train(
      RunSpec.parse(spec) as TrainSpec,
      {
        ...inputs,
        ...(options.checkpoint && { checkpoint: options.checkpoint }),
        ...(options.parentModel && { parentModel: options.parentModel }),
        ...(options.parentCheckpoint && { parentCheckpoint: options.parentCheckpoint }),
      },
      context,
    );
    return { metrics, points, files, all, stored, lines };
  } catch (error) {
    if (error instanceof Stopped) return { metrics: {}, points, files, all, stored, lines, stopped: error };
    throw error;
  }
}

const without = (metrics: Record<string, number>, name: string) =>
  Object.fromEntries(Object.entries(metrics).filter(([key]) => key !== name));

const small = { encoder: { width: 4 }, knn: { k: 3 } };
const specs: Record<string, z.input<typeof RunSpec>> = {
  pretrain: {
    kind: 'pretrain',
    dataset: 'tiny',
    batchSize: 19,
    epochs: 4,
    schedule: { warmupSteps: 3 },
    projection: { hidden: 8, output: 8 },
    ...small,
  },
  finetune: { kind: 'finetune', dataset: 'tiny', from: null, encoder: { width: 4 }, batchSize: 9, steps: 20 },
  autoencode: { kind: 'autoencode', dataset: 'tiny', latent: 4, batchSize: 19, epochs: 4, ...small },
  ...Object.fromEntries(
    (['byol', 'simsiam', 'barlow-twins', 'vicreg'] as const).map((method) => [
      method,
      {
        kind: 'pretrain',
        method,
        dataset: 'tiny',
        batchSize: 19,
        epochs: 4,
        predictorHidden: 8,
        projection: { hidden: 8, output: 8 },
        schedule: { warmupSteps: 3 },
        ...small,
      },
    ]),
  ),
  'finetune from the middle of a head': {
    kind: 'finetune',
    dataset: 'tiny',
    from: null,
    encoder: { width: 4 },
    projection: { layers: 3, hidden: 8, output: 8 },
    fromHeadLayer: 1,
    batchSize: 9,
    steps: 20,
  },
  'denoising autoencoder': {
    kind: 'autoencode',
    variant: 'denoising',
    dataset: 'tiny',
    latent: 4,
    batchSize: 19,
    epochs: 4,
    ...small,
  },
  'variational autoencoder': {
    kind: 'autoencode',
    variant: 'variational',
    klWarmupSteps: 10,
    dataset: 'tiny',
    latent: 4,
    batchSize: 19,
    epochs: 4,
    ...small,
  },
};

test('a run that is to come as far as a rung stops after the evaluation there, and goes on as if it had never stopped', async () => {
  const spec = specs['pretrain']!;
  const whole = await run(spec);
  const first = await run(spec, { rung: 6 });
  expect(first.stopped).toMatchObject({ reason: 'rung', step: 10 });
  expect(first.points.filter(({ key }) => key === 'eval/knn').map(({ step }) => step)).toEqual([0, 5, 10]);
  const second = await run(spec, { rung: 15, checkpoint: first.files.get('checkpoint')! });
  expect(second.stopped).toMatchObject({ reason: 'rung', step: 15 });
  // Told to stop where it is already: nothing is trained. At the last step there is nothing to wait for.
  expect((await run(spec, { rung: 15, checkpoint: second.files.get('checkpoint')! })).points).toEqual([]);
  const third = await run(spec, { rung: 20, checkpoint: second.files.get('checkpoint')! });
  expect(third.stopped).toBeUndefined();
  const curve = ({ points }: Outcome) => points.filter(({ key }) => key !== 'train/images_per_second');
  expect([first, second, third].flatMap(curve)).toEqual(curve(whole));
}, 60_000);

describe.each(Object.keys(specs))('%s', (kind) => {
  const spec = specs[kind]!;

  // Protects exact resume: losing a worker must not change what a run learns.
  test('20 steps, stopped at 11 and resumed, end in the very weights and curves of a run that was never stopped', async () => {
    const whole = await run(spec);
    const first = await run(spec, { stopAt: 11 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 11 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    const [expected, found] = [
      await readTensors(whole.files.get('model')!),
      await readTensors(second.files.get('model')!),
    ];
    expect([...found.tensors.keys()]).toEqual([...expected.tensors.keys()]);
    for (const [key, { values }] of expected.tensors) expect(found.tensors.get(key)!.values, key).toEqual(values);
    const curves = (outcomes: Outcome[]) =>
      outcomes.flatMap(({ points }) => points.filter(({ key }) => key !== 'train/images_per_second'));
    expect(curves([first, second])).toEqual(curves([whole]));
    expect(
      curves([whole])
        .filter(({ key }) => key === 'train/loss')
        .map(({ step }) => step),
    ).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  }, 60_000);

  test('an evaluation that a stop breaks off leaves no tensor, and is made up for after the resume', async () => {
    const whole = await run(spec);
    const before = tf.memory().numTensors;
    const first = await run(spec, { stopAt: 20, sign: 2 });
    expect(tf.memory().numTensors).toBe(before);
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 20 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(without(second.metrics, 'train/images_per_second')).toEqual(
      without(whole.metrics, 'train/images_per_second'),
    );
    expect(Object.keys(whole.metrics)).toEqual(
      expect.arrayContaining(['train/loss', 'train/learning_rate', 'train/images_per_second']),
    );
  }, 60_000);

  test('a cancel stops within two steps and writes no checkpoint', async () => {
    const { stopped, files } = await run(spec, { stopAt: 5, reason: 'cancel' });
    expect(stopped!.step).toBeLessThanOrEqual(7);
    expect([...files.keys()].filter((name) => name !== 'image')).toEqual([]);
  });

  test('a run leaves no tensor behind', async () => {
    await run(spec, { stopAt: 2, reason: 'cancel' });
    const before = tf.memory().numTensors;
    await run(spec, { stopAt: 6, reason: 'cancel' });
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('evaluating and storing checkpoints in between does not change what is learnt; another seed does', async () => {
  const weights = async ({ files }: Outcome) => (await readTensors(files.get('model')!)).tensors;
  const plain = await run(specs['pretrain']!);
  const watched = await run({ ...specs['pretrain'], knn: { k: 200, bankSize: 90 } } as z.input<typeof RunSpec>, {
    checkpointEverySeconds: 0,
  });
  expect(watched.stored).toEqual([
    'views.png',
    ...Array.from({ length: 20 }, (_, step) => `checkpoint-${step}.safetensors`),
    'model.safetensors',
  ]);
  expect(await weights(watched)).toEqual(await weights(plain));
  expect(watched.lines).toContain(
    'warn: the kNN evaluation asks for 200 neighbours, but only 90 samples vote: all of them do',
  );
  const other = await run({ ...specs['pretrain'], seed: 1 } as z.input<typeof RunSpec>);
  expect(await weights(other)).not.toEqual(await weights(plain));
}, 60_000);

test('a pretraining learns to tell images apart: its loss falls', async () => {
  const { points } = await run({ ...specs['pretrain'], epochs: 12, augmentation: { flip: {} } } as z.input<
    typeof RunSpec
  >);
  const losses = points.filter(({ key }) => key === 'train/loss').map(({ value }) => value);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(mean(losses.slice(-5))).toBeLessThan(0.7 * mean(losses.slice(0, 5)));
}, 60_000);

test('a pretraining shows samples over two views of each, as its augmentation makes them, before its first step', async () => {
  const shown = async (augmentation: object, options: Options = {}) => {
    const { all, stored } = await run({ ...specs['pretrain'], augmentation } as z.input<typeof RunSpec>, {
      stopAt: 0,
      reason: 'cancel',
      ...options,
    });
    return {
      stored,
      pixels: all.has('views.png')
        ? await sharp(all.get('views.png')).raw().toBuffer({ resolveWithObject: true })
        : undefined,
    };
  };
  const { stored, pixels } = await shown({ flip: { p: 1 } });
  expect(stored).toEqual(['views.png']);
  const { data, info } = pixels!;
  expect(info).toMatchObject({ width: 8 * SIZE, height: 3 * SIZE, channels: 3 });
  const at = (band: number, column: number, x: number, y: number) => [
    ...data.subarray(((band * SIZE + y) * info.width + column * SIZE + x) * 3).subarray(0, 3),
  ];
  // The first of each class, in the order of the rows: what the file of the dataset begins with.
  const file = await readFile(inputs.dataset!.files.train!.samples);
  const pixel = (row: number, x: number, y: number) => [
    ...file.subarray(128 + ((row * SIZE + y) * SIZE + x) * 3).subarray(0, 3),
  ];
  for (let column = 0; column < 8; column++) {
    for (let x = 0; x < SIZE; x++) {
      expect(at(0, column, x, 3)).toEqual(pixel(column, x, 3));
      for (const view of [1, 2])
        at(view, column, x, 3).forEach((value, c) =>
          expect(Math.abs(value - pixel(column, SIZE - 1 - x, 3)[c]!)).toBeLessThanOrEqual(1),
        );
    }
  }
  const [first, again] = [await shown({ crop: { minArea: 0.2 } }), await shown({ crop: { minArea: 0.2 } })];
  expect(again.pixels!.data.equals(first.pixels!.data)).toBe(true);
  const band = (index: number) =>
    first.pixels!.data.subarray(index * SIZE * info.width * 3, (index + 1) * SIZE * info.width * 3);
  expect(band(1).equals(band(2))).toBe(false);
  const { files } = await run(specs['pretrain']!, { stopAt: 11 });
  expect(
    (await run(specs['pretrain']!, { checkpoint: files.get('checkpoint')!, stopAt: 12, reason: 'cancel' })).stored,
  ).toEqual([]);
}, 60_000);

test('an autoencoding shows images over their reconstructions', async () => {
  const { files, metrics } = await run({ ...specs['autoencode'], gridImages: 10 } as z.input<typeof RunSpec>);
  // Eight in a row: two rows of pairs.
  expect(await sharp(files.get('image')).metadata()).toMatchObject({
    format: 'png',
    width: 8 * SIZE,
    height: 4 * SIZE,
    channels: 3,
  });
  expect(metrics['eval/psnr']).toBeCloseTo(-10 * Math.log10(metrics['eval/reconstruction_mse']!), 6);
}, 60_000);

test.each(Object.keys(specs))('%s refuses a batch larger than what there is to train on', async (kind) => {
  await expect(run({ ...specs[kind], batchSize: 97 } as z.input<typeof RunSpec>)).rejects.toMatchObject({
    reason: 'invalid_spec',
    message: 'expected a batch of at most the 96 samples there are to train on, got 97',
  });
});

test('a damaged checkpoint is refused', async () => {
  const { files } = await run(specs['finetune']!, { stopAt: 3 });
  const checkpoint = files.get('checkpoint')!;
  const bytes = await readFile(checkpoint);
  await writeFile(checkpoint, bytes.subarray(0, bytes.length - 1));
  await expect(run(specs['finetune']!, { checkpoint })).rejects.toMatchObject({ reason: 'internal_error' });
});

test('a loss that is no number ends the run and says where', async () => {
  const failure = await run({
    ...specs['finetune'],
    optimizer: { name: 'lars', learningRate: 100, trustCoefficient: 1, momentum: 0.99 },
    steps: 400,
  } as z.input<typeof RunSpec>).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(TrainingError);
  expect(failure).toMatchObject({
    reason: 'nan_loss',
    message: expect.stringMatching(/at step \d+, got (NaN|Infinity)/) as string,
  });
}, 60_000);

test("a finetuning starts from its parent's encoder, and an evaluation leaves it as it is", async () => {
  const parent = await run(specs['pretrain']!);
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const parentModel = parent.files.get('model')!;
  const tuned = await run(
    { kind: 'finetune', dataset: 'tiny', from, batchSize: 9, steps: 60, labelFraction: 0.5 },
    { parentModel },
  );
  expect(tuned.metrics['eval/accuracy']).toBeGreaterThan(0.8);
  expect(tuned.metrics['data/labels']).toBe(48);
  const evaluated = await run({ kind: 'evaluate', dataset: 'tiny', from, knn: { k: 3 } }, { parentModel });
  expect(evaluated.metrics['eval/knn']).toBe(parent.metrics['eval/knn']);
  await expect(
    run({ kind: 'evaluate', dataset: 'tiny', from }, { parentModel, stopAt: 2, reason: 'pause' }),
  ).resolves.toMatchObject({ stopped: { reason: 'pause' }, stored: [] });
  // Chance is a third.
  expect(evaluated.metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
}, 60_000);

describe("the parent's layers in a finetuning", () => {
  const tuning = {
    kind: 'finetune',
    dataset: 'tiny',
    from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11',
    fromHeadLayer: 1,
    batchSize: 9,
    steps: 20,
  } as const;
  let parentModel: string;
  let before: Awaited<ReturnType<typeof readTensors>>['tensors'];
  beforeAll(async () => {
    parentModel = (await run({ ...specs['pretrain'], epochs: 1 } as z.input<typeof RunSpec>)).files.get('model')!;
    before = (await readTensors(parentModel)).tensors;
  }, 60_000);
  const tune = async (
    backbone: object | undefined,
    { learningRate = 0.02, ...options }: Options & { learningRate?: number } = {},
  ) => {
    const outcome = await run(
      { ...tuning, optimizer: { name: 'adam', learningRate }, ...(backbone && { backbone }) },
      { parentModel, ...options },
    );
    const model = outcome.files.get('model');
    return { ...outcome, tensors: model ? (await readTensors(model)).tensors : undefined };
  };
  /** How far the weights that the parent has too went from there, by the greatest step of each. */
  const moved = (tensors: typeof before, ending: RegExp) =>
    [...tensors]
      .filter(([key]) => before.has(key) && ending.test(key))
      .map(([key, { values }]) => Math.max(...values.map((value, i) => Math.abs(value - before.get(key)!.values[i]!))));
  const statistics = /\/moving_\w+$/;
  const parameters = /\/(kernel|gamma|beta)$/;

  test('stay bit for bit where they do not learn, statistics too, and the classifier learns on them', async () => {
    const { tensors, points, lines } = await tune({ rate: 0, statistics: 'batch' }, { learningRate: 0.5 });
    const shared = [...tensors!.keys()].filter((key) => before.has(key));
    expect(shared.filter((key) => key.startsWith('projection/'))).toHaveLength(5);
    for (const key of shared) expect(tensors!.get(key)!.values, key).toEqual(before.get(key)!.values);
    const losses = points.filter(({ key }) => key === 'train/loss').map(({ value }) => value);
    expect(Math.min(...losses.slice(-5))).toBeLessThan(0.8 * losses[0]!);
    expect(lines.join('\n')).toContain('stay as the parent left them');
  }, 60_000);

  test('move less where they learn slower; their running averages stay, or follow the batches', async () => {
    const [quick, slow] = [await tune({ rate: 1 }), await tune({ rate: 0.01 })];
    // Adam's steps are of the size of the rate.
    expect(Math.max(...moved(slow.tensors!, parameters))).toBeLessThan(0.01 * 0.02 * 20 * 1.5);
    expect(Math.min(...moved(slow.tensors!, parameters))).toBeGreaterThan(0);
    expect(Math.max(...moved(quick.tensors!, parameters))).toBeGreaterThan(0.05);
    expect(Math.max(...moved(slow.tensors!, statistics))).toBe(0);
    expect(Math.min(...moved((await tune({ rate: 0.01, statistics: 'batch' })).tensors!, statistics))).toBeGreaterThan(
      0,
    );
    // All alike by each batch is what it is without the setting.
    expect((await tune({ rate: 1, statistics: 'batch' })).tensors).toEqual((await tune(undefined)).tensors);
  }, 60_000);

  test.each([0, 0.1])(
    'at rate %d: stopped at 11 and resumed, the weights are those of a run that was never stopped, and no tensor stays',
    async (rate) => {
      const whole = await tune({ rate });
      const tensors = tf.memory().numTensors;
      const first = await tune({ rate }, { stopAt: 11 });
      expect(first.stopped).toMatchObject({ step: 11 });
      const second = await tune({ rate }, { checkpoint: first.files.get('checkpoint')! });
      expect(second.tensors).toEqual(whole.tensors);
      expect(tf.memory().numTensors).toBe(tensors);
    },
    60_000,
  );
});

test(
  'a checkpoint each few steps and of the best evaluation are written, also across a stop, and the weights of then ' +
    'can be evaluated',
  async () => {
    const spec = { ...specs['pretrain'], checkpoints: { everySteps: 5, keepBest: true } } as z.input<typeof RunSpec>;
    const whole = await run(spec);
    const knn = whole.points.filter(({ key }) => key === 'eval/knn');
    const best = knn
      .filter(({ value }, i) => knn.slice(0, i).every((earlier) => value > earlier.value))
      .map(({ step }) => `best-${step}.safetensors`);
    expect(whole.stored.filter((name) => name.startsWith('best'))).toEqual(best);
    expect(whole.stored.filter((name) => name.startsWith('checkpoint'))).toEqual(
      [5, 10, 15].map((step) => `checkpoint-${step}.safetensors`),
    );
    const first = await run(spec, { stopAt: 11 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect([...first.stored.filter((name) => name !== 'checkpoint-11.safetensors'), ...second.stored]).toEqual(
      whole.stored,
    );

    const evaluation = {
      kind: 'evaluate',
      dataset: 'tiny',
      from: '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11',
      knn: small.knn,
    } as const;
    const parentModel = whole.files.get('model')!;
    const [then, last] = [
      await run(
        { ...evaluation, checkpoint: 5 },
        { parentModel, parentCheckpoint: whole.all.get('checkpoint-5.safetensors')! },
      ),
      await run(evaluation, { parentModel }),
    ];
    expect([then, last].map(({ metrics }) => metrics['eval/knn'])).toEqual(
      [5, 20].map((step) => knn.find((point) => point.step === step)!.value),
    );
    const weights = ({ lines }: Outcome) => lines.find((line) => line.includes('stayed frozen'));
    expect(weights(then)).not.toBe(weights(last));
    await expect(run({ ...evaluation, checkpoint: 5 }, { parentModel })).rejects.toMatchObject({
      reason: 'internal_error',
      message: expect.stringContaining('checkpoint of step 5') as string,
    });
  },
  60_000,
);

test('a student learns what its teacher knows, from samples without labels and with them', async () => {
  const teacher = await run({ ...specs['finetune'], steps: 100 } as z.input<typeof RunSpec>);
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const parentModel = teacher.files.get('model')!;
  const spec = {
    kind: 'distill',
    dataset: 'tiny',
    from,
    encoder: { width: 4 },
    batchSize: 19,
    epochs: 20,
    optimizer: { name: 'adam', learningRate: 5e-3 },
  } as const;
  const student = await run(spec, { parentModel });
  expect(student.metrics['eval/teacher_accuracy']).toBeCloseTo(teacher.metrics['eval/accuracy']!, 5);
  expect(student.metrics['eval/agreement']).toBeGreaterThan(0.8);
  const mixed = await run({ ...spec, labelWeight: 0.5, labelFraction: 0.5, epochs: 4 }, { parentModel });
  expect(Object.keys(mixed.metrics)).toEqual(expect.arrayContaining(['train/distillation', 'train/cross_entropy']));
  const first = await run({ ...spec, labelWeight: 0.5, epochs: 4 }, { parentModel, stopAt: 11 });
  const [whole, resumed] = [
    await run({ ...spec, labelWeight: 0.5, epochs: 4 }, { parentModel }),
    await run({ ...spec, labelWeight: 0.5, epochs: 4 }, { parentModel, checkpoint: first.files.get('checkpoint')! }),
  ];
  expect((await readTensors(resumed.files.get('model')!)).tensors).toEqual(
    (await readTensors(whole.files.get('model')!)).tensors,
  );
}, 60_000);

describe('finetuning from the middle of the projection head', () => {
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const widths = { hidden: 8, output: 12 };

  // SimCLRv2, `ft_proj_selector`: h, the output of the first layer, the head's own output.
  test.each([
    [0, 16],
    [1, 8],
    [3, 12],
  ])(
    'layer %i: a classifier on %i numbers, which knows nothing at first',
    async (fromHeadLayer, width) => {
      const parent = await run({ ...specs['pretrain'], projection: { layers: 3, ...widths }, epochs: 1 } as z.input<
        typeof RunSpec
      >);
      const tuned = await run(
        { kind: 'finetune', dataset: 'tiny', from, fromHeadLayer, batchSize: 9, steps: 1 },
        { parentModel: parent.files.get('model')! },
      );
      expect(tuned.metrics['train/loss']).toBeCloseTo(Math.log(CLASSES), 5);
      const { tensors } = await readTensors(tuned.files.get('model')!);
      expect(tensors.get('classifier/logits/kernel')!.shape).toEqual([width, CLASSES]);
      expect([...tensors.keys()].filter((key) => /^projection\/dense\d\/kernel$/.test(key))).toHaveLength(
        fromHeadLayer,
      );
      expect(tuned.lines.join('\n')).toMatch(/all layers of the encoder/);
    },
    60_000,
  );

  test("the end of SimSiam's head, which has no factor, can be tuned and taught from too", async () => {
    const parent = await run({ ...specs['simsiam'], epochs: 1 } as z.input<typeof RunSpec>);
    const tuned = await run(
      { kind: 'finetune', dataset: 'tiny', from, fromHeadLayer: 2, batchSize: 9, steps: 2 },
      { parentModel: parent.files.get('model')! },
    );
    await run(
      { kind: 'distill', dataset: 'tiny', from, encoder: { width: 4 }, batchSize: 19, epochs: 1 },
      { parentModel: tuned.files.get('model')! },
    );
  }, 60_000);
});

// Grill et al. 2020: the target is moved by the average alone, and only its parameters are.
test.each([
  [0, 'is the online network after a step without memory'],
  [1, 'stays where it began with nothing but memory'],
])("BYOL's target with momentum %i %s", async (targetMomentum) => {
  const { files } = await run({ ...specs['byol'], targetMomentum, schedule: {} } as z.input<typeof RunSpec>, {
    stopAt: 1,
  });
  const { tensors } = await readTensors(files.get('checkpoint')!);
  const kernels = [...tensors.keys()].filter((key) => key.startsWith('target_') && key.endsWith('/kernel'));
  expect(kernels.length).toBeGreaterThan(5);
  for (const key of kernels) {
    const online = tensors.get(key.replace('target_', ''))!.values;
    if (targetMomentum === 0) expect(tensors.get(key)!.values, key).toEqual(online);
    else expect(tensors.get(key)!.values, key).not.toEqual(online);
  }
  expect(tensors.get('target_encoder/stem_bn/moving_mean')!.values).not.toEqual(new Float32Array(4));
});

test('a pretraining that collapses ends where it is told to', async () => {
  await expect(run({ ...specs['simsiam'], collapseBelow: 1 } as z.input<typeof RunSpec>)).rejects.toMatchObject({
    reason: 'collapsed',
  });
}, 60_000);

test('the raw samples can be evaluated without a network', async () => {
  const { metrics } = await run({ kind: 'evaluate', dataset: 'tiny', from: null, features: 'pixels', knn: { k: 3 } });
  expect(metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
});

describe('a walk through the latent space', () => {
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  // slerp(a0, a1, 1/4) of the reference input.
  test('turns on the sphere', () => {
    const [a0, a1] = [0, 1].map((i) =>
      Float64Array.from({ length: 6 }, (_, j) => Math.sin(0.7 * i + 1.3 * j + 0.1)),
    ) as [Float64Array, Float64Array];
    [0.27395, 1.006206, 0.264368, -0.864769, -0.727017, 0.475817].forEach((expected, j) =>
      expect(slerp(a0, a1, 0.25)[j]).toBeCloseTo(expected, 6),
    );
    slerp(a0, a0, 0.3).forEach((each, j) => expect(each).toBeCloseTo(a0[j]!, 12));
  });

  test.each([
    ['plain', 'linear'],
    ['variational', 'slerp'],
  ] as const)(
    'of a %s autoencoder, %s: its ends are the reconstructions',
    async (variant, path) => {
      const parent = await run({ ...specs['autoencode'], variant, gridImages: 2 } as z.input<typeof RunSpec>);
      const before = tf.memory().numTensors;
      const walked = await run(
        { kind: 'interpolate', dataset: 'tiny', from, between: { rows: [0, 1] }, path, points: 5, samples: 3 },
        { parentModel: parent.files.get('model')! },
      );
      expect(tf.memory().numTensors).toBe(before);
      expect(walked.stored).toEqual(['interpolation.png', 'interpolation.webp', 'samples.png']);
      const image = (name: string) => [...walked.all.entries()].find(([stored]) => stored === name)![1];
      const strip = await sharp(image('interpolation.png')).raw().toBuffer({ resolveWithObject: true });
      expect(strip.info).toMatchObject({ width: 5 * SIZE, height: SIZE });
      expect((await sharp(image('interpolation.webp'), { animated: true }).metadata()).pages).toBe(8);
      const grid = await sharp(parent.files.get('image')).raw().toBuffer({ resolveWithObject: true });
      // The lower half of the grid shows the reconstructions of the same two samples.
      for (let y = 0; y < SIZE; y++) {
        const row = (pixels: Buffer, width: number, top: number, left: number) => [
          ...pixels.subarray(((top + y) * width + left) * 3, ((top + y) * width + left + SIZE) * 3),
        ];
        expect(row(strip.data, 5 * SIZE, 0, 0)).toEqual(row(grid.data, 2 * SIZE, SIZE, 0));
        expect(row(strip.data, 5 * SIZE, 0, 4 * SIZE)).toEqual(row(grid.data, 2 * SIZE, SIZE, SIZE));
      }
      const images = (await readFile(inputs.dataset!.files.train!.samples)).subarray(-96 * SIZE * SIZE * 3);
      const middle = Array.from(
        { length: SIZE * SIZE * 3 },
        (_, i) => strip.data[Math.floor(i / (SIZE * 3)) * 5 * SIZE * 3 + 2 * SIZE * 3 + (i % (SIZE * 3))]!,
      );
      const apart = Array.from(
        { length: 96 },
        (_, n) =>
          middle.reduce((sum, value, i) => sum + ((value - images[n * middle.length + i]!) / 255) ** 2, 0) /
          middle.length,
      );
      expect(walked.metrics['interpolate/middle_mse_to_training']).toBeCloseTo(Math.min(...apart), 3);
    },
    60_000,
  );

  test('between the means of classes; one that is not there is named', async () => {
    const parent = await run(specs['autoencode']!);
    const parentModel = parent.files.get('model')!;
    const walked = await run(
      { kind: 'interpolate', dataset: 'tiny', from, between: { classes: ['r', 'b'] }, samples: 0 },
      { parentModel },
    );
    expect(walked.stored).toEqual(['interpolation.png', 'interpolation.webp']);
    await expect(
      run({ kind: 'interpolate', dataset: 'tiny', from, between: { classes: ['r', 'x'] } }, { parentModel }),
    ).rejects.toThrow('expected a class with samples in the val split (r, g, b), got x');
    await expect(
      run({ kind: 'interpolate', dataset: 'tiny', from, between: { rows: [0, 30] } }, { parentModel }),
    ).rejects.toThrow('expected rows below 30');
  }, 60_000);
});

test('the compression curve: fewer bits, more is lost', async () => {
  const { all } = await run(specs['autoencode']!);
  const curve = JSON.parse(await readFile(all.get('compression.json')!, 'utf8')) as {
    bitsPerNumber: number;
    bitsPerSample: number;
    mse: number;
  }[];
  expect(curve.map(({ bitsPerNumber }) => bitsPerNumber)).toEqual([1, 2, 3, 4, 5, 6, 8, 32]);
  expect(curve.at(-1)!.bitsPerSample).toBe(32 * 4);
  expect(curve[0]!.mse).toBeGreaterThan(curve.at(-1)!.mse);
  expect(curve[6]!.mse).toBeCloseTo(curve[7]!.mse, 3);
});
