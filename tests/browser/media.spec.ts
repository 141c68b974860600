/** Sounds and masks as the dashboard shows them, in a real Chromium on the real stack, with real (tiny) training. */
import path from 'node:path';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { accessibilityFaults } from '../support/browser.js';
import { dashboardOf, describeInBrowser, sizeOf } from '../support/dashboard.js';
import { writeScenes, writeTones } from '../support/images.js';

/** Pages take their time on a busy machine. */
const LATER = { timeout: 30_000 };

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
    for (const id of [tones, scenes]) await stack.ended(id);
    return { tones, scenes };
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

  test.each([
    [1280, 'dark'],
    [390, 'light'],
  ] as const)('at %i pixels in the %s theme it is accessible and not too wide', async (width, theme) => {
    const faults: string[] = [];
    const page = await dashboard.open('#/', { width, height: width > 500 ? 900 : 844, theme });
    for (const [hash, heading] of [
      [`#/runs/${dashboard.made.tones}`, 'voices'],
      [`#/runs/${dashboard.made.scenes}`, 'squares'],
    ] as const) {
      await page.goto(`${dashboard.stack.client.url}/${hash}`);
      await page.getByRole('heading', { name: heading, level: 1, exact: true }).waitFor();
      await page.locator('.skeleton').first().waitFor({ state: 'detached' });
      faults.push(...(await accessibilityFaults(page, hash)));
    }
    expect(faults).toEqual([]);
  });
});
