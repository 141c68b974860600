import type { RunSpec } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { slerp } from './interpolate.js';
import { SIZE, inputs, run, specs, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

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
