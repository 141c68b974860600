import type { RunSpec } from '#libs/contracts';
import { readFile } from 'node:fs/promises';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import type { z } from 'zod';
import { SIZE, run, specs, useTinyDataset } from '../../../tests/support/training-runs.js';

useTinyDataset();

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
