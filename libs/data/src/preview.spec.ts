import type { DatasetPreview, PrepareDataset } from '#libs/contracts';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { colour, DataRoot, twoClasses, wavOf } from '../../../tests/support/sources.js';
import type { PreviewFile } from './preview.js';
import { decodeWav } from './wav.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

/** What a dry run of the source shows: its files, and what `preview.json` says of them. */
async function previewOf(source: string, more: Partial<z.input<typeof PrepareDataset>> = {}) {
  const { preview } = await data.prepare(source, { dryRun: true, ...more });
  const files = new Map(preview.map((file) => [file.name, file]));
  return { files, told: JSON.parse(files.get('preview.json')!.bytes.toString()) as DatasetPreview };
}

/** Colours of the pixels of a column of a picture. */
async function columnOf(file: PreviewFile, x: number, rows: readonly number[]): Promise<number[][]> {
  const { data: pixels, info } = await sharp(file.bytes).removeAlpha().raw().toBuffer({ resolveWithObject: true });
  return rows.map((y) => [...pixels.subarray((y * info.width + x) * 3, (y * info.width + x) * 3 + 3)]);
}

describe('the preview of a dry run', () => {
  test('has a picture of each class, of at most eight samples side by side', async () => {
    const source = await data.folder('previewed', twoClasses());
    const { files, told } = await previewOf(source);
    expect(told).toEqual({
      groups: [
        { name: 'cats', files: ['preview-0.png'] },
        { name: 'dogs', files: ['preview-1.png'] },
      ],
    });
    const { width, height } = await sharp(files.get('preview-0.png')!.bytes).metadata();
    expect([width, height]).toEqual([8 * 8 + 7 * 2, 8]);
  });

  test('shows samples without classes as one group, and large ones as tiles', async () => {
    const source = await data.folder('previewed-flat', {
      '1.png': colour(255, 0, 0).png().toBuffer(),
      '2.png': colour(0, 0, 255).png().toBuffer(),
    });
    const { files, told } = await previewOf(source, { imageSize: 200 });
    expect(told.groups).toEqual([{ name: '', files: ['preview-0.png'] }]);
    const picture = files.get('preview-0.png')!;
    expect(await sharp(picture.bytes).metadata()).toMatchObject({ width: 2 * 96 + 2, height: 96 });
    expect([...(await columnOf(picture, 0, [50])), ...(await columnOf(picture, 150, [50]))]).toEqual([
      [255, 0, 0],
      [0, 0, 255],
    ]);
  });

  test('has masks below their images, in the colours that it names; what has no class shows the image', async () => {
    const mask = (value: number) => colour(value, value, value).toColourspace('b-w').png().toBuffer();
    const source = await data.folder('previewed-masks', {
      'images/1.png': colour(100, 100, 100).png().toBuffer(),
      'images/2.png': colour(100, 100, 100).png().toBuffer(),
      'masks/1.png': mask(0),
      'masks/2.png': mask(9),
    });
    const { files, told } = await previewOf(source, { masks: { classes: ['sky', 'road'], unlabelled: 9 } });
    expect(told).toEqual({
      groups: [{ name: '', files: ['preview-0.png'] }],
      masks: [
        { name: 'sky', colour: '#e6194b' },
        { name: 'road', colour: '#3cb44b' },
      ],
    });
    const picture = files.get('preview-0.png')!;
    const blended = [0xe6, 0x19, 0x4b].map((part) => Math.round(100 * 0.4 + part * 0.6));
    expect(await columnOf(picture, 3, [3, 13])).toEqual([[100, 100, 100], blended]);
    expect(await columnOf(picture, 13, [3, 13])).toEqual([
      [100, 100, 100],
      [100, 100, 100],
    ]);
  });

  test('has two sounds of each class, as the network would hear them', async () => {
    const sound = (level: number) => wavOf(new Int16Array(1500).fill(level), 1000);
    const source = await data.folder('previewed-sounds', {
      'a/1.wav': sound(1000),
      'a/2.wav': sound(2000),
      'a/3.wav': sound(3000),
      'b/1.wav': sound(4000),
    });
    const { files, told } = await previewOf(source, { audio: { sampleRate: 1000, seconds: 1 } });
    expect(told.groups).toEqual([
      { name: 'a', files: ['preview-0-0.wav', 'preview-0-1.wav'] },
      { name: 'b', files: ['preview-1-0.wav'] },
    ]);
    const { samples, sampleRate } = decodeWav(files.get('preview-1-0.wav')!.bytes);
    expect([samples.length, sampleRate, samples[0]! * 32768]).toEqual([1000, 1000, 4000]);
  });
});
