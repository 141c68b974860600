/** Sounds and masks as the dashboard shows them, in a real Chromium on the real stack, with real (tiny) training. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { accessibilityFaults } from '../support/browser.js';
import { dashboardOf, describeInBrowser, sizeOf } from '../support/dashboard.js';
import type { PageOf } from '../support/dashboard-pages.js';
import { writeScenes, writeTones } from '../support/images.js';
import { lighthouseFaults } from '../support/lighthouse.js';

/** Pages take their time on a busy machine. */
const LATER = { timeout: 30_000 };

/** How many pixels of a canvas differ from those of the images that it shows. */
const COVERED_PIXELS = `async (shown) => {
  const { width, height } = shown;
  const pixelsOf = (canvas) => canvas.getContext('2d').getImageData(0, 0, width, height).data;
  const picture = document.querySelector('img[alt="Images, masks, predictions"]');
  const images = Object.assign(document.createElement('canvas'), { width, height });
  await picture.decode();
  images.getContext('2d').drawImage(picture, 0, 0);
  const alone = pixelsOf(images);
  return pixelsOf(shown).filter((value, i) => i % 4 === 0 && Math.abs(value - alone[i]) > 1).length;
}`;

describeInBrowser('sounds and masks', () => {
  const dashboard = dashboardOf(async (stack) => {
    await writeTones(path.join(stack.dataRoot, 'tones'));
    await writeScenes(path.join(stack.dataRoot, 'scenes'));
    stack.startWorker({ LOOM_SLOTS: '2' });
    const preparing = [
      await stack.submit({
        kind: 'prepare-dataset',
        name: 'tones',
        path: 'tones',
        audio: { sampleRate: 4000, seconds: 0.5 },
        fileName: '{label}_{group}_{}',
        holdOut: { val: ['s3'] },
        testFraction: 0,
      }),
      await stack.submit({
        kind: 'prepare-dataset',
        name: 'scenes',
        path: 'scenes',
        imageSize: { height: 24, width: 32 },
        masks: { classes: ['ground', 'square'], unlabelled: 9 },
      }),
    ];
    for (const id of preparing) await stack.ended(id);
    const tones = await stack.submit(
      {
        kind: 'autoencode',
        dataset: 'tones',
        encoder: { width: 4 },
        latent: 8,
        batchSize: 24,
        epochs: 1,
        gridImages: 2,
        knn: { k: 5 },
      },
      { name: 'voices' },
    );
    const scenes = await stack.submit(
      {
        kind: 'finetune',
        task: 'segmentation',
        dataset: 'scenes',
        from: null,
        encoder: { width: 4 },
        batchSize: 8,
        steps: 5,
      },
      { name: 'squares' },
    );
    const map = await stack.submit(
      { kind: 'embed', dataset: 'tones', split: 'train', maxSamples: 72, maps: ['pca'], from: tones },
      { name: 'map-of-voices' },
    );
    const encoder = await stack.submit({ kind: 'export', from: tones, formats: ['tfjs'] });
    for (const id of [tones, scenes, map, encoder]) await stack.ended(id);
    return { tones, scenes, map };
  });

  test('masks and predictions lie over the images, with the scores of each class', async () => {
    const page = await dashboard.open(`#/runs/${dashboard.made.scenes}`);
    await expect.poll(async () => (await sizeOf(page, 'Images, masks, predictions'))[1], LATER).toBe(3 * 24);
    const table = page.getByRole('region', { name: 'Classes of pixels in the val split' });
    await table.getByText('ground').waitFor();
    expect(await table.locator('tbody tr').count()).toBe(2);
    expect(
      await table
        .locator('.legend i')
        .first()
        .evaluate((element) => (element as unknown as { style: { background: string } }).style.background),
    ).toContain('rgb(230, 25, 75)');
  });

  test('classes of masks and predictions are shown one by one, as strongly as one likes', async () => {
    const page = await dashboard.open(`#/runs/${dashboard.made.scenes}`);
    const canvas = page.getByRole('img', { name: 'Images under their mask: ground, square' });
    await canvas.waitFor(LATER);
    const covered = () => page.evaluate<number>(`(${COVERED_PIXELS})(document.querySelector('.masks canvas'))`);
    const all = await covered();
    expect(all).toBeGreaterThan(100);
    const classes = page.getByRole('group', { name: 'Classes of pixels that are shown' });
    await classes.getByRole('button', { name: 'ground' }).click();
    await expect.poll(covered).toBeLessThan(all);
    expect(await covered()).toBeGreaterThan(0);
    await page.getByRole('button', { name: 'Predicted', exact: true }).click();
    await page.getByRole('img', { name: 'Images under their predicted: square' }).waitFor();
    await page.getByRole('slider', { name: 'Opacity' }).fill('0');
    await expect.poll(covered).toBe(0);
    expect(await accessibilityFaults(page, 'masks')).toEqual([]);
    await page.getByLabel('Size and files of Images, masks, predictions').click();
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Images, masks, predictions as PNG' }).click(),
    ]);
    expect((await sharp(await download.path()).metadata()).height).toBe(3 * 24);
  });

  test('sounds are seen over time and by frequency, and played', async () => {
    const page = await dashboard.open(`#/runs/${dashboard.made.tones}`);
    const spectrogram = page.getByRole('img', { name: /^Spectrogram of .*from 0 to 2.0 kHz/ }).first();
    await spectrogram.waitFor();
    // A tone is a bright line on dark ground.
    const { data } = await sharp(await spectrogram.screenshot())
      .greyscale()
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(Math.max(...data) - Math.min(...data)).toBeGreaterThan(60);
    await page
      .getByRole('img', { name: /^Course of .* 0.5 s/ })
      .first()
      .waitFor();
    await page
      .getByLabel(/^Size and files of .*\.wav/)
      .first()
      .click();
    const saved = async (kind: string) => {
      const button = page.getByRole('button', { name: new RegExp(`\\.wav.* as ${kind}$`) }).first();
      const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
      return readFile(await download.path(), 'latin1');
    };
    expect((await saved('CSV')).split('\r\n')).toHaveLength(2 + 2000);
    expect(await saved('SVG')).toMatch(/^<svg[^]*<image/);
    expect((await saved('PNG')).slice(1, 4)).toBe('PNG');
    await page.keyboard.press('Escape');
    const play = page.getByRole('button', { name: /^Play / }).first();
    const name = await play.getAttribute('aria-label');
    await play.click();
    // Half a second, and it is over; where there is no sound device it does not begin.
    await expect
      .poll(
        () =>
          page
            .locator('audio')
            .first()
            .evaluate((element) => {
              const audio = element as unknown as { readyState: number; error: unknown };
              return audio.error === null && audio.readyState > 0;
            }),
        LATER,
      )
      .toBe(true);
    await page.getByRole('button', { name: name!, exact: true }).waitFor();
  });

  test('what lies nearest to a sound of one’s own is found in the space of a map', async () => {
    const { dataRoot } = dashboard.stack;
    const page = await dashboard.open(`#/maps/${dashboard.made.map}`);
    const file = page.getByLabel('A picture or a sound');
    const search = page.getByRole('region', { name: 'Search by a file of yours' });
    await file.setInputFiles(path.join(dataRoot, 'tones', 'high_s1_3.wav'));
    const found = search.getByRole('listitem');
    await found.first().waitFor({ timeout: 60_000 });
    // The sample itself, by other sums of the same products; then others of its class.
    const [own, next] = await Promise.all([0, 1].map((i) => found.nth(i).textContent()));
    expect(await found.first().getByRole('button').getAttribute('title')).toBe('high_s1_3.wav');
    const distanceOf = (text: string | null | undefined) => Number(text!.split(' · ')[1]);
    expect(distanceOf(own)).toBeLessThan(0.05 * distanceOf(next));
    expect(await accessibilityFaults(page, 'a search by a sound')).toEqual([]);
    await file.setInputFiles({ name: 'no.wav', mimeType: 'audio/wav', buffer: Buffer.from('no sound') });
    await page.getByRole('alert').getByText('expected a sound that this browser plays').waitFor(LATER);
  });

  const pages = (): PageOf[] => [
    [`#/runs/${dashboard.made.tones}`, 'voices'],
    [`#/runs/${dashboard.made.scenes}`, 'squares'],
    [`#/maps/${dashboard.made.map}`, 'map-of-voices'],
  ];

  test.each([
    [1280, 'dark'],
    [390, 'light'],
  ] as const)('at %i pixels in the %s theme it is accessible and not too wide', async (width, theme) => {
    const faults: string[] = [];
    const page = await dashboard.open('#/', { width, height: width > 500 ? 900 : 844, theme });
    for (const [hash, heading] of pages()) {
      await page.goto(`${dashboard.stack.client.url}/${hash}`);
      await page.getByRole('heading', { name: heading, level: 1, exact: true }).waitFor();
      await page.locator('.skeleton').first().waitFor({ state: 'detached' });
      faults.push(...(await accessibilityFaults(page, hash)));
    }
    expect(faults).toEqual([]);
  });

  test('Lighthouse gives these pages all points for accessibility and best practices', async () => {
    expect(await lighthouseFaults(dashboard.stack.client.url, pages().slice(0, 2))).toEqual([]);
  });
});
