import { type DatasetManifest, type SampleShape } from '#libs/contracts';
import { NpyWriter } from '#libs/data';
import { mkdtemp } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { newEncoder, storeModel } from '../run-inputs.js';
import {
  classes,
  contextIn,
  dir,
  fileOf,
  mapsOf,
  run,
  inputs,
  useEmbeddingInputs,
} from '../../../../tests/support/embedding-runs.js';

useEmbeddingInputs();

test('the atlas shows the samples, small and in their order', async () => {
  const outcome = await run({ maps: ['pca'], maxSamples: 10 });
  const { atlas, rows } = await mapsOf(outcome);
  expect(rows).toHaveLength(10);
  expect(atlas).toEqual({
    columns: 4,
    tile: { width: 32, height: 8 },
    points: Array.from({ length: 10 }, (_, i) => i),
    perFile: 5000,
  });
  const { data, info } = await sharp(fileOf(outcome, 'atlas.webp')).raw().toBuffer({ resolveWithObject: true });
  expect(info).toMatchObject({ width: 4 * 32, height: 3 * 8, channels: 3 });
  rows.forEach((row, i) => {
    const [top, left] = [8 * Math.floor(i / 4) + 4, 32 * (i % 4)];
    const line = data.subarray((top * info.width + left) * 3, (top * info.width + left + 32) * 3);
    const mean = line.reduce((sum, value) => sum + value / line.length, 0);
    // What the class is painted with, give or take noise and compression.
    expect(Math.abs(mean - (50 + 70 * (row % 3)))).toBeLessThan(15);
  });
});

test('of more samples than a file of the atlas holds, the next file goes on', async () => {
  const [count, side] = [5002, 8];
  const workDir = await mkdtemp(path.join(dir, 'many-'));
  const small: SampleShape = { modality: 'image', height: side, width: side, channels: 1 };
  const encoder = { name: 'small-resnet', width: 4 } as const;
  const model = newEncoder(encoder, small, 3);
  await storeModel({ kind: 'pretrain', sample: small, classes, encoder }, [model], contextIn(workDir));
  model.dispose();
  const samples = path.join(workDir, 'samples.npy');
  const writer = await NpyWriter.create(samples, '|u1', [side, side, 1]);
  // The last two are white, all others grey.
  await writer.append(
    Uint8Array.from({ length: count * side * side }, (_, i) => (i >= (count - 2) * side * side ? 255 : 40 + (i % 97))),
  );
  await writer.close();
  const described = { count, samples: '0'.repeat(64) };
  const manifest: DatasetManifest = {
    ...inputs.dataset!.manifest,
    sample: small,
    splits: { train: described, val: described },
  };
  const outcome = await run(
    { maps: ['pca'], maxSamples: 6000 },
    { parentModel: path.join(workDir, 'model.safetensors'), dataset: { manifest, files: { val: { samples } } } },
  );
  expect(Object.keys(outcome.stored)).toEqual(expect.arrayContaining(['atlas.webp', 'atlas-1.webp']));
  expect(outcome.stored).not.toHaveProperty('atlas-2.webp');
  const { atlas, predictions, predictedBy } = await mapsOf(outcome);
  expect(atlas).toMatchObject({ columns: 71, perFile: 5000 });
  expect(atlas.points).toHaveLength(count);
  // Nobody has a class.
  expect([predictions, predictedBy]).toEqual([null, null]);
  const { data, info } = await sharp(fileOf(outcome, 'atlas-1.webp'))
    .greyscale()
    .raw()
    .toBuffer({ resolveWithObject: true });
  expect(info).toMatchObject({ width: 71 * side, height: side });
  expect(data[4 * info.width + 4]).toBeGreaterThan(240);
  expect(data[4 * info.width + side + 4]).toBeGreaterThan(240);
  expect(data[4 * info.width + 2 * side + 4]).toBeLessThan(20);
}, 60_000);

test('the atlas shows sounds as spectrograms: time to the right, low frequencies at the bottom', async () => {
  const [sampleRate, length] = [8000, 8000];
  const tones: SampleShape = { modality: 'audio', sampleRate, length };
  const encoder = { name: 'small-resnet', width: 4 } as const;
  const workDir = await mkdtemp(path.join(dir, 'sounds-'));
  const model = newEncoder(encoder, tones, 3);
  await storeModel({ kind: 'pretrain', sample: tones, classes, encoder }, [model], contextIn(workDir));
  model.dispose();
  const samples = path.join(workDir, 'samples.npy');
  const writer = await NpyWriter.create(samples, '<i2', [length]);
  // A low tone, and then nothing.
  for (let n = 0; n < 10; n++)
    await writer.append(
      Int16Array.from({ length }, (_, i) =>
        i < length / 2 ? 8000 * Math.sin((2 * Math.PI * 150 * i) / sampleRate + n) : 0,
      ),
    );
  await writer.close();
  const described = { count: 10, samples: '0'.repeat(64) };
  const manifest: DatasetManifest = {
    ...inputs.dataset!.manifest,
    sample: tones,
    splits: { train: described, val: described },
  };
  const outcome = await run(
    { maps: ['pca'] },
    { parentModel: path.join(workDir, 'model.safetensors'), dataset: { manifest, files: { val: { samples } } } },
  );
  const {
    atlas: { tile },
  } = await mapsOf(outcome);
  const { data, info } = await sharp(fileOf(outcome, 'atlas.webp'))
    .greyscale()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const at = (right: number, down: number) =>
    data[Math.floor(down * tile.height) * info.width + Math.floor(right * tile.width)]!;
  expect(at(0.25, 0.95)).toBeGreaterThan(at(0.25, 0.1) + 50);
  expect(at(0.25, 0.95)).toBeGreaterThan(at(0.75, 0.95) + 50);
});
