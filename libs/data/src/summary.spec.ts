import { PrepareDataset } from '#libs/contracts';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, twoClasses, wavOf } from '../../../tests/support/sources.js';
import { prepareDataset } from './prepare.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

describe('the summary of a dataset', () => {
  test('has samples by class and split, what was left out by reason with examples, and the warnings', async () => {
    const source = await data.folder('summed', {
      ...twoClasses(),
      'cats/broken.png': Buffer.from('no image'),
      'cats/phone.heic': Buffer.from('no image that is read'),
      'fish/notes.txt': Buffer.from('x'),
      'read.me': Buffer.from('x'),
    });
    const { summary, warnings } = await data.prepare(source, { valFraction: 0.2, maxCorruptFraction: 0.2 });
    expect(summary).toMatchObject({ dryRun: false, classes: ['cats', 'dogs'] });
    expect(summary.splits).toEqual({
      train: { count: 16, countPerClass: [8, 8] },
      val: { count: 4, countPerClass: [2, 2] },
    });
    expect(summary.leftOut).toEqual([
      { reason: 'are no images or lie in no class folder', count: 2, examples: ['fish/notes.txt', 'read.me'] },
      {
        reason: expect.stringMatching(/^could not be decoded: .*unsupported image format/) as string,
        count: 1,
        examples: ['cats/broken.png'],
      },
      {
        reason: expect.stringMatching(/^could not be decoded: expected JPEG/) as string,
        count: 1,
        examples: ['cats/phone.heic'],
      },
    ]);
    expect(summary.warnings).toEqual([expect.stringMatching(/^1 folders give no class.*fish/)]);
    expect(warnings).toHaveLength(3);
  });

  test('counts sounds that were cut, and those that were padded, packed and resampled ones too', async () => {
    const seconds = (count: number, rate: number) => wavOf(new Int16Array(count * rate).fill(9), rate);
    const source = await data.folder('fitted', {
      'a/short.wav': seconds(1, 1000),
      'a/just.wav': seconds(2, 1000),
      'b/just.wav': seconds(2, 4000),
      'b/long.wav': seconds(3, 1000),
      'b/longer.wav': seconds(5, 4000),
    });
    const { summary } = await data.prepare(source, { audio: { sampleRate: 1000, seconds: 2 } });
    expect(summary.sounds).toEqual({ cut: 2, padded: 1 });
  });

  test('counts the pixels of each class of masks, warns of one that has none, and of turned images', async () => {
    const mask = (value: number) => colour(value, value, value).toColourspace('b-w').png().toBuffer();
    const turned = sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    const source = await data.folder('pixels', {
      'images/1.png': colour(1, 2, 3).png().toBuffer(),
      'images/2.jpg': turned,
      'masks/1.png': mask(0),
      'masks/2.png': mask(9),
    });
    const { summary } = await data.prepare(source, { masks: { classes: ['sky', 'road'], unlabelled: 9 } });
    expect(summary.splits).toEqual({ train: { count: 2, pixelsPerClass: [64, 0], unlabelledPixels: 64 } });
    expect(summary.warnings).toEqual([
      expect.stringMatching(/the EXIF of 1 images with masks says to turn or mirror them \(2\.jpg\)/),
      expect.stringMatching(/no pixel in the masks of train has 1 of 2 classes: road/),
    ]);
  });

  test('of a dry run is the same, and no array is written', async () => {
    const workDir = await mkdtemp(path.join(tmpdir(), 'loom-dry-'));
    try {
      const source = await data.folder('dry', { ...twoClasses(), 'cats/broken.png': Buffer.from('no image') });
      const spec = PrepareDataset.parse({ kind: 'prepare-dataset', name: 'x', path: source, imageSize: 8 });
      const run = async (dryRun: boolean) => {
        await mkdir(path.join(workDir, String(dryRun)));
        return prepareDataset(dryRun ? { ...spec, dryRun } : spec, {
          dataRoot: data.root,
          workDir: path.join(workDir, String(dryRun)),
          signal: new AbortController().signal,
          progress: () => {},
          log: () => {},
        });
      };
      const [dry, wet] = [await run(true), await run(false)];
      expect(dry.summary).toEqual({ ...wet.summary, dryRun: true });
      expect([dry.manifest, dry.files]).toEqual([undefined, []]);
      expect(await readdir(path.join(workDir, 'true'))).toEqual([]);
    } finally {
      await rm(workDir, { recursive: true });
    }
  });
});
