import type { RunSpec } from '#libs/contracts';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors } from './checkpoint.js';
import { npy } from '../../../tests/support/npy.js';
import { SIZE, inputs, run, specs, useTinyDataset, type Options } from '../../../tests/support/training-runs.js';

useTinyDataset();

test('a pretraining learns to tell images apart: its loss falls', async () => {
  const { points } = await run({ ...specs['pretrain'], epochs: 12, augmentation: { flip: {} } } as z.input<
    typeof RunSpec
  >);
  const losses = points.filter(({ key }) => key === 'train/loss').map(({ value }) => value);
  const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  expect(mean(losses.slice(-5))).toBeLessThan(0.7 * mean(losses.slice(0, 5)));
}, 60_000);

test('a pretraining shows samples over two augmented views of each before its first step', async () => {
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

test('a pretraining shows each view as its own combination makes it', async () => {
  const views = [{ augmentation: {} }, { augmentation: { solarize: { threshold: 0, p: 1 } } }];
  const { all } = await run({ ...specs['pretrain'], augmentation: undefined, views } as z.input<typeof RunSpec>, {
    stopAt: 0,
    reason: 'cancel',
  });
  const { data, info } = await sharp(all.get('views.png')).raw().toBuffer({ resolveWithObject: true });
  const size = SIZE * info.width * 3;
  const [samples, first, second] = [0, 1, 2].map((band) => data.subarray(band * size, (band + 1) * size));
  expect(first!.equals(samples!)).toBe(true);
  expect(second!.every((value, i) => value === 255 - samples![i]!)).toBe(true);
}, 60_000);

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

test('metrics that a single sample does not define are left out with a reason, and end nothing', async () => {
  const { files, manifest } = inputs.dataset!;
  const whole = { files: files.val!, split: manifest.splits.val! };
  files.val = {
    samples: await npy(path.join(inputs.dataRoot, 'one.npy'), [1, SIZE, SIZE, 3], new Uint8Array(SIZE * SIZE * 3)),
    labels: await npy(path.join(inputs.dataRoot, 'one-label.npy'), [1], Int32Array.of(0)),
  };
  manifest.splits.val = { ...whole.split, count: 1, countPerClass: [1, 0, 0] };
  try {
    const { metrics, lines } = await run({ ...specs['pretrain'], epochs: 2 } as z.input<typeof RunSpec>);
    expect(metrics).toHaveProperty('eval/knn');
    expect(metrics).not.toHaveProperty('eval/uniformity');
    expect(lines.filter((line) => line.includes('eval/uniformity'))).toEqual([
      'warn: eval/uniformity is left out: it is not defined for what was judged (NaN)',
    ]);
  } finally {
    files.val = whole.files;
    manifest.splits.val = whole.split;
  }
}, 60_000);
