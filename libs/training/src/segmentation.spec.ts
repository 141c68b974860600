import { UNLABELLED, type DatasetManifest, type RunSpec, type SplitFiles, type TrainerInputs } from '#libs/contracts';
import { NpyWriter, Random, Rows } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors } from './checkpoint.js';
import { judgeSegmentation, segmentationScores, type SegmentationScores } from './segmentation.js';
import { curvesOf, trained, type Options, type Outcome } from '../../../tests/support/training-runs.js';

const [HEIGHT, WIDTH] = [20, 24];
const CLASSES = ['ground', 'red square', 'green disc'];
/** Pixels without a class, at each end of a row. */
const MARGIN = 2;
let dir: string;
let dataset: NonNullable<TrainerInputs['dataset']>;

/**
 * A square and a disc at random places on noise. Pixels at the sides have no class, though what is drawn goes on there.
 */
async function shapes(name: string, count: number, { margin = MARGIN, wrongAtSides = false } = {}) {
  const random = Random.seeded(3, name);
  const images = new Uint8Array(count * HEIGHT * WIDTH * 3);
  const masks = new Uint8Array(count * HEIGHT * WIDTH);
  const labelAtSides = wrongAtSides ? 1 : UNLABELLED;
  for (let i = 0; i < count; i++) {
    const [top, left, cy, cx] = [
      random.integer(0, HEIGHT - 8),
      random.integer(0, WIDTH - 8),
      random.uniform(4, HEIGHT - 4),
      random.uniform(4, WIDTH - 4),
    ];
    const inDisc = (y: number, x: number) => Math.hypot(y - cy, x - cx) < 5;
    const inSquare = (y: number, x: number) => y >= top && y < top + 8 && x >= left && x < left + 8;
    const labelAt = (y: number, x: number) => (inDisc(y, x) ? 2 : Number(inSquare(y, x)));
    for (let y = 0; y < HEIGHT; y++) {
      for (let x = 0; x < WIDTH; x++) {
        const label = labelAt(y, x);
        const place = (i * HEIGHT + y) * WIDTH + x;
        masks[place] = x >= margin && x < WIDTH - margin ? label : labelAtSides;
        for (let c = 0; c < 3; c++)
          images[place * 3 + c] = Math.min(
            255,
            Math.max(0, (label > 0 && c === label - 1 ? 180 : 80) + random.normal(0, 30)),
          );
      }
    }
  }
  const write = async (what: string, shape: number[], data: Uint8Array<ArrayBuffer>) => {
    const file = path.join(dir, `${name}-${what}.npy`);
    const writer = await NpyWriter.create(file, '|u1', shape);
    await writer.append(data);
    await writer.close();
    return file;
  };
  return {
    samples: await write('images', [HEIGHT, WIDTH, 3], images),
    masks: await write('masks', [HEIGHT, WIDTH], masks),
  };
}

beforeAll(async () => {
  // One thread: with more, sums may be taken in another order.
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-segmentation-'));
  const described = (count: number) => ({ count, samples: '0'.repeat(64), masks: '0'.repeat(64) });
  const manifest: DatasetManifest = {
    name: 'shapes',
    digest: '0'.repeat(64),
    sample: { modality: 'image', height: HEIGHT, width: WIDTH, channels: 3 },
    classes: CLASSES,
    splits: { train: described(40), val: described(10), test: described(10) },
  };
  dataset = {
    manifest,
    files: {
      train: await shapes('train', 40),
      val: await shapes('val', 10),
      test: await shapes('test', 10, { margin: WIDTH }),
    },
  };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const run = (
  spec: z.input<typeof RunSpec>,
  { data = dataset, ...options }: Options & { data?: TrainerInputs['dataset'] } = {},
) => trained({ dataRoot: dir, dataset: data }, spec, options);

const tensorsOf = async ({ files }: Outcome) => (await readTensors(files.get('model')!)).tensors;
const spec = {
  kind: 'finetune',
  task: 'segmentation',
  dataset: 'shapes',
  from: null,
  encoder: { width: 4 },
  batchSize: 8,
  steps: 20,
} as const satisfies z.input<typeof RunSpec>;
/** To learn what there is to learn. */
const enough = { steps: 80, encoder: { width: 8 }, optimizer: { name: 'adam', learningRate: 1e-2 } } as const;
const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';

describe('scores of a confusion matrix', () => {
  // scikit-learn 1.9.1: jaccard_score and f1_score, average None and 'macro', of 16 pixels. Class 3 is only predicted,
  // 4 does not occur.
  const confusion = [
    [4, 1, 1, 0, 0],
    [1, 3, 0, 0, 0],
    [0, 1, 4, 1, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
  ];
  test('meet scikit-learn, which leaves out classes that are absent from labels and predictions', () => {
    const { miou, dice, pixelAccuracy, iou, dicePerClass } = segmentationScores(confusion);
    expect(miou).toBeCloseTo(0.4107142857142857, 12);
    expect(dice).toBeCloseTo(0.5303030303030303, 12);
    expect(pixelAccuracy).toBe(0.6875);
    [0.5714285714285714, 0.5, 0.5714285714285714, 0, null].forEach((expected, c) =>
      expected === null ? expect(iou[c]).toBeNull() : expect(iou[c]).toBeCloseTo(expected, 12),
    );
    [0.7272727272727273, 0.6666666666666666, 0.7272727272727273, 0, null].forEach((expected, c) =>
      expected === null ? expect(dicePerClass[c]).toBeNull() : expect(dicePerClass[c]).toBeCloseTo(expected, 12),
    );
  });

  test('are 1 where every pixel is right, also with a class that does not occur', () => {
    expect(
      segmentationScores([
        [5, 0, 0],
        [0, 2, 0],
        [0, 0, 0],
      ]),
    ).toMatchObject({ miou: 1, dice: 1, pixelAccuracy: 1, iou: [1, 1, null] });
  });
});

test('a judgement counts each labelled pixel once, whatever the batches', async () => {
  const random = Random.seeded(8);
  // Two samples of this size are judged at once.
  const [count, height, width, classes] = [5, 256, 512, ['a', 'b', 'c']];
  const masks = Uint8Array.from({ length: count * height * width }, () =>
    random.bernoulli(0.3) ? UNLABELLED : random.integer(0, 3),
  );
  const split = {
    count,
    sample: { modality: 'image', height, width, channels: 1 },
    classes,
    samples: Rows.of<'|u1'>(
      [count, height, width, 1],
      masks.map((label) => label % 3),
    ),
    labels: undefined,
    masks: Rows.of<'|u1'>([count, height, width], masks),
  } as const;
  const before = tf.memory().numTensors;
  // Right but for class 2, which is taken for 0 half of the time (at even places of a row).
  const judged = await judgeSegmentation(split, (x) => {
    const seen = tf.cast(tf.squeeze(tf.round(tf.mul(x, 255)), [3]), 'int32');
    return tf.mul<tf.Tensor4D>(
      tf.oneHot(
        tf.where(
          tf.logicalAnd(tf.equal(seen, 2), tf.equal(tf.mod(tf.range(0, width, 1, 'int32'), 2), 0)),
          tf.zerosLike(seen),
          seen,
        ),
        3,
        1,
        0,
        'float32',
      ),
      2,
    );
  });
  expect(tf.memory().numTensors).toBe(before);
  const expected = [
    [0, 0, 0],
    [0, 0, 0],
    [0, 0, 0],
  ];
  masks.forEach((label, i) => {
    if (label !== UNLABELLED) expected[label]![label === 2 && i % 2 === 0 ? 0 : label]!++;
  });
  expect(judged.confusion).toEqual(expected);
  const normaliser = Math.log(Math.exp(2) + 2);
  expect(judged.loss).toBeCloseTo(normaliser - 2 * judged.scores.pixelAccuracy, 4);
});

test('learns where things are, says how well for each class, and shows it', async () => {
  const { metrics, files, lines } = await run({ ...spec, ...enough });
  expect(metrics['eval/miou']).toBeGreaterThan(0.7);
  expect(metrics['data/labels']).toBe(40);
  expect(lines.join('\n')).toContain('40 masks (fraction 1');
  const report = JSON.parse(await readFile(files.get('report')!, 'utf8')) as SegmentationScores & {
    classes: { name: string; colour: string; pixels: number; iou: number }[];
    confusion: number[][];
  };
  // The first colours of the overlays, red and green.
  expect(report.classes.slice(0, 2).map(({ colour }) => colour)).toEqual(['#e6194b', '#3cb44b']);
  expect(report.classes.map(({ name }) => name)).toEqual(CLASSES);
  expect(report.classes.reduce((sum, { pixels }) => sum + pixels, 0)).toBe(10 * HEIGHT * (WIDTH - 2 * MARGIN));
  expect(report.miou).toBe(metrics['eval/miou']);
  expect(segmentationScores(report.confusion).miou).toBe(report.miou);
  // Eight in a row: images, masks, predictions.
  const { data, info } = await sharp(files.get('image')).raw().toBuffer({ resolveWithObject: true });
  expect(info).toMatchObject({ width: 8 * WIDTH, height: 3 * HEIGHT, channels: 3 });
  const pixel = (band: number, y: number, x: number) => [
    ...data.subarray(((band * HEIGHT + y) * 8 * WIDTH + x) * 3, ((band * HEIGHT + y) * 8 * WIDTH + x) * 3 + 3),
  ];
  // Without a class at the sides, where the mask leaves the image as it is.
  expect(pixel(1, 3, 0)).toEqual(pixel(0, 3, 0));
  expect(pixel(1, 3, 12)).not.toEqual(pixel(0, 3, 12));
}, 60_000);

test('20 steps, stopped at 11 and resumed, end in the weights and curves of a run that was never stopped', async () => {
  const whole = await run(spec);
  const first = await run(spec, { stopAt: 11 });
  expect(first.stopped).toMatchObject({ reason: 'drain', step: 11 });
  const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
  expect(await tensorsOf(second)).toEqual(await tensorsOf(whole));
  expect(curvesOf(first, second)).toEqual(curvesOf(whole));
}, 60_000);

test('no tensor is left behind, also where a stop breaks an evaluation off', async () => {
  await run(spec, { stopAt: 2, reason: 'cancel' });
  const before = tf.memory().numTensors;
  await run(spec, { stopAt: 6, reason: 'cancel' });
  expect((await run(spec, { stopAt: 20, sign: 2 })).stopped).toMatchObject({ step: 20 });
  await run(spec);
  expect(tf.memory().numTensors).toBe(before);
}, 60_000);

test("starts from its parent's encoder, and its own can be the start of another run", async () => {
  const pretrained = await run({
    kind: 'pretrain',
    dataset: 'shapes',
    encoder: { width: 4 },
    batchSize: 10,
    epochs: 1,
    projection: { hidden: 8, output: 8 },
    augmentation: { crop: {}, flip: {} },
  });
  // So little is learnt in the one step that the start shows.
  const tuned = await run(
    {
      ...spec,
      encoder: undefined,
      from,
      steps: 1,
      labelFraction: 0.5,
      optimizer: { name: 'adam', learningRate: 1e-9 },
    },
    { parentModel: pretrained.files.get('model')! },
  );
  expect(tuned.metrics['data/labels']).toBe(20);
  const [parent, own] = [await tensorsOf(pretrained), await tensorsOf(tuned)];
  const kernels = [...own.keys()].filter((key) => key.startsWith('encoder/') && !key.includes('/moving_'));
  expect(kernels.length).toBeGreaterThan(10);
  for (const key of kernels)
    own.get(key)!.values.forEach((value, i) => {
      expect(Math.abs(value - parent.get(key)!.values[i]!), key).toBeLessThan(1e-6);
    });
  expect((await readTensors(tuned.files.get('model')!)).state).toMatchObject({
    kind: 'finetune',
    task: 'segmentation',
    classes: CLASSES,
    encoder: { name: 'small-resnet', width: 4 },
  });
  expect(
    (await run({ ...spec, encoder: undefined, from, steps: 2 }, { parentModel: tuned.files.get('model')! })).metrics[
      'eval/miou'
    ],
  ).toBeGreaterThanOrEqual(0);
  // What the parent gave can also be left as it is, statistics too, under a decoder that learns.
  const frozen = await tensorsOf(
    await run(
      { ...spec, encoder: undefined, from, steps: 2, backbone: { rate: 0 } },
      { parentModel: tuned.files.get('model')! },
    ),
  );
  for (const [key, { values }] of frozen) {
    if (key.startsWith('encoder/')) expect(values, key).toEqual(own.get(key)!.values);
    else if (key.endsWith('/kernel')) expect(values, key).not.toEqual(own.get(key)!.values);
  }
  await expect(
    run({ kind: 'distill', dataset: 'shapes', from, batchSize: 8 }, { parentModel: tuned.files.get('model')! }),
  ).rejects.toMatchObject({
    reason: 'invalid_spec',
    message: expect.stringContaining('a teacher that classifies') as string,
  });
}, 60_000);

test('pixels without a class teach nothing: what is there is found by what was learnt elsewhere', async () => {
  const everywhere = await shapes('val-everywhere', 10, { margin: 0 });
  // Nothing moves what is at the sides elsewhere.
  const found = async (train: SplitFiles) =>
    (
      await run(
        { ...spec, ...enough, steps: 50, augmentation: {} },
        { data: { ...dataset, files: { train, val: everywhere } } },
      )
    ).metrics['eval/miou']!;
  const ignored = await found(await shapes('train-unlabelled', 40, { margin: 6 }));
  const wrong = await found(await shapes('train-wrong', 40, { margin: 6, wrongAtSides: true }));
  expect(ignored).toBeGreaterThan(0.7);
  expect(wrong).toBeLessThan(ignored - 0.2);
}, 60_000);

test('masks in which no pixel has a class are refused, as is a dataset without masks', async () => {
  await expect(run({ ...spec, evalSplit: 'test' })).rejects.toThrow(
    'expected a pixel with a class in the masks of the test split, all are 255 (unlabelled)',
  );
  const { train, val } = dataset.files;
  await expect(
    run(spec, { data: { ...dataset, files: { train: { samples: train!.samples }, val: val! } } }),
  ).rejects.toThrow('expected a dataset with masks, this one has none');
});
