/** A newcomer's path, who reads no documentation: each step is offered by the page before it. */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { accessibilityFaults } from '../support/browser.js';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';
import { writeImageFolder, writeScenes, writeTones } from '../support/images.js';
import { drawnResNet, writeTensorsTo } from '../support/safetensors.js';

/** Pages take their time on a busy machine, and real training does. */
const LATER = { timeout: 30_000 };
const RUN_MS = 250_000;

describeInBrowser('a newcomer', () => {
  const dashboard = dashboardOf(async (stack) => {
    await writeImageFolder(path.join(stack.dataRoot, 'pictures', 'stripes'), { classes: 3, perClass: 24 });
    await writeScenes(path.join(stack.dataRoot, 'scenes'));
    await writeTones(path.join(stack.dataRoot, 'tones'));
    await mkdir(path.join(stack.dataRoot, 'weights'));
    const narrow = drawnResNet([2, 2, 2, 2], false, [8, 3, 3, 3]);
    await writeTensorsTo(path.join(stack.dataRoot, 'weights', 'my net.safetensors'), narrow);
    stack.startWorker();
  });

  const text = (page: Page) => page.locator('.cm-content');
  /** Writes what New offers anew, so that it is done in a second. */
  const write = async (page: Page, from: (offered: string) => string) => {
    await text(page).waitFor();
    const offered = (await text(page).innerText()).replaceAll('\u00A0', ' ');
    await text(page).click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText(from(offered));
  };
  const submit = async (page: Page) => {
    await page.getByText('1 trial, 1 new runs').waitFor();
    await page.getByRole('button', { name: 'Submit', exact: true }).click();
    await page.locator('.title .status.succeeded').waitFor({ timeout: RUN_MS });
  };
  const next = (page: Page, name: string) =>
    page.getByRole('region', { name: 'What comes next' }).getByRole('link', { name, exact: true }).click();

  test(
    'adds a folder, looks at samples, pretrains, maps, finetunes, exports and deletes',
    { timeout: 900_000 },
    async () => {
      const page = await dashboard.open('#/');
      await page.getByRole('link', { name: 'Datasets', exact: true }).click();
      await page.getByText('No datasets yet.').waitFor();
      await page.getByRole('link', { name: 'Add a dataset' }).click();
      await page.getByRole('button', { name: 'pictures/', exact: true }).click();
      await page.getByText('72 images are in here and below.').waitFor();
      await page.getByRole('button', { name: 'stripes/', exact: true }).click();
      await page.getByRole('button', { name: 'class0/', exact: true }).waitFor();
      expect(await page.getByRole('textbox', { name: 'Name', exact: true }).inputValue()).toBe('stripes');
      await page.getByRole('textbox', { name: 'Side in pixels' }).fill('4');
      await page.locator('small.bad').waitFor();
      expect(await page.getByRole('button', { name: 'Look', exact: true }).isDisabled()).toBe(true);
      await page.getByRole('textbox', { name: 'Side in pixels' }).fill('16');
      await page.getByRole('button', { name: 'Look', exact: true }).click();
      await page.getByRole('heading', { name: 'Dataset, only looked at' }).waitFor({ timeout: RUN_MS });
      const samples = page.getByRole('img', { name: 'Samples of class1' });
      await samples.scrollIntoViewIfNeeded();
      await expect
        .poll(() => samples.evaluate((element) => (element as unknown as { naturalWidth: number }).naturalWidth), LATER)
        .toBe(8 * 16 + 7 * 2);
      expect(await accessibilityFaults(page, 'what was looked at')).toEqual([]);
      expect((await dashboard.stack.client.datasets()).items).toEqual([]);

      await page.getByRole('button', { name: 'Prepare', exact: true }).click();
      await page.locator('.title .status.succeeded').waitFor({ timeout: RUN_MS });
      await next(page, 'Pretrain');
      await write(
        page,
        () =>
          'kind: pretrain\ndataset: stripes\nepochs: 2\nbatchSize: 16\nencoder: {width: 4}\nknn: {k: 5}\n' +
          'evalSplit: test\nprobe: {maxIterations: 1}\n',
      );
      await submit(page);
      const pretrained = page.url();

      await next(page, 'Map');
      await write(page, (offered) => offered.replace(/maps:[^]*/, 'maps: [pca]\n'));
      await submit(page);
      await page.getByRole('heading', { name: 'Latent map' }).waitFor();

      await page.goto(pretrained);
      await next(page, 'Finetune');
      await write(page, (offered) => offered.replace(/steps: \d+/, 'steps: 5\nbatchSize: 8'));
      await submit(page);
      await page.getByText('eval/accuracy', { exact: true }).first().waitFor();

      await next(page, 'Export');
      await submit(page);
      await page.getByRole('tab', { name: /Files/ }).click();
      const [download] = await Promise.all([
        page.waitForEvent('download'),
        page
          .getByRole('link', { name: /\.onnx$/ })
          .first()
          .click(),
      ]);
      expect(download.suggestedFilename()).toMatch(/\.onnx$/);

      await page.getByRole('button', { name: /^Delete …/ }).click();
      await page.getByRole('button', { name: 'Yes, delete it' }).click();
      await page.getByRole('heading', { name: 'Runs', exact: true }).waitFor();
      const kinds = async () => (await dashboard.stack.client.runs()).items.map(({ kind }) => kind);
      await expect.poll(kinds, LATER).not.toContain('export');

      await page.getByRole('link', { name: 'Datasets', exact: true }).click();
      await page.getByRole('link', { name: 'stripes', exact: true }).click();
      await page.getByRole('link', { name: '1 pretrain' }).waitFor();
      await page.getByRole('link', { name: '1 finetune' }).waitFor();
      // It is needed by these runs, and the page says so.
      await page.getByRole('button', { name: 'Delete … stripes@' }).click();
      await page.getByRole('button', { name: 'Yes, delete it' }).click();
      await page.getByRole('alert').getByText('expected a dataset version that no run is of').waitFor();
    },
  );

  test('is asked what masks mean, and never finds them among the classes', { timeout: 400_000 }, async () => {
    const page = await dashboard.open('#/add-dataset?folder=scenes');
    await page.getByText('a folder of masks lies beside one of images').waitFor();
    const masked = page.getByRole('button', { name: 'images with masks' });
    await expect.poll(() => masked.getAttribute('aria-pressed'), LATER).toBe('true');
    expect(await page.getByRole('button', { name: 'Look', exact: true }).isDisabled()).toBe(true);
    await page.getByRole('textbox', { name: 'Classes of pixels, from value 0' }).fill('ground, square');
    await page.getByRole('textbox', { name: 'Value without a class' }).fill('9');
    await page.getByRole('button', { name: 'Look', exact: true }).click();
    await page.getByRole('img', { name: 'Samples, each over itself under its mask' }).waitFor({ timeout: RUN_MS });
    await page.getByRole('region', { name: 'Samples by class and split' }).getByText('pixels of').waitFor();
    expect((await dashboard.stack.client.runs({ limit: 1 })).items[0]!.result!.summary!.classes).toEqual([
      'ground',
      'square',
    ]);
  });

  test(
    'hears sounds before anything is prepared, and is told at the field what only the API knows',
    { timeout: 400_000 },
    async () => {
      const page = await dashboard.open('#/add-dataset?folder=tones');
      await page.getByText('96 sounds are in here and below.').waitFor();
      await expect
        .poll(() => page.getByRole('button', { name: 'sounds', exact: true }).getAttribute('aria-pressed'), LATER)
        .toBe('true');
      await page.getByRole('textbox', { name: 'Path' }).fill('../outside');
      await page.getByRole('button', { name: 'Look', exact: true }).click();
      const field = page.getByRole('textbox', { name: 'Path' });
      await expect.poll(() => field.getAttribute('aria-invalid'), LATER).toBe('true');
      await page.getByText('expected a path inside the data root').waitFor();
      await field.fill('tones');
      await page.getByRole('textbox', { name: 'Samples a second' }).fill('4000');
      await page.getByRole('button', { name: 'Look', exact: true }).click();
      await page.getByRole('button', { name: 'Play preview-0-0.wav' }).waitFor({ timeout: RUN_MS });
    },
  );

  test('adds a model that was trained elsewhere, sees what uses it, and deletes it', { timeout: 400_000 }, async () => {
    const { client } = dashboard.stack;
    const page = await dashboard.open('#/models');
    await page.getByText('No models yet.').waitFor();
    await page.getByRole('link', { name: 'Add a model', exact: true }).click();
    const add = page.getByRole('button', { name: 'Add', exact: true });
    await page.getByRole('button', { name: 'weights/', exact: true }).click();
    expect(await add.isDisabled()).toBe(true);
    await page.getByRole('button', { name: 'my net.safetensors', exact: true }).click();
    expect(await page.getByRole('textbox', { name: 'Name', exact: true }).inputValue()).toBe('my-net');
    await page.getByRole('combobox', { name: 'Network' }).selectOption('resnet18');
    await page.getByRole('textbox', { name: 'Mean of each channel' }).fill('0.5, half, 0.5');
    await expect.poll(() => page.locator('input[aria-invalid=true]').count(), LATER).toBe(2);
    expect(await add.isDisabled()).toBe(true);
    expect(await accessibilityFaults(page, 'the form of a model')).toEqual([]);
    await page.getByRole('textbox', { name: 'Mean of each channel' }).fill('0.5, 0.5, 0.5');
    await page.getByRole('textbox', { name: 'Deviation of each' }).fill('0.25, 0.25, 0.25');
    await add.click();
    await page.locator('.title .status.succeeded').waitFor({ timeout: RUN_MS });
    const { runId, manifest } = await client.model('my-net');
    expect(manifest).toMatchObject({
      encoder: { name: 'resnet18', width: 8, normalisation: { std: [0.25, 0.25, 0.25] } },
    });

    const spec = { kind: 'export', from: 'model my-net' } as const;
    const { run } = await client.submitRun({ spec, requires: { gpu: { name: 'none-such' } } });
    await page.getByRole('link', { name: 'Models', exact: true }).click();
    expect(await accessibilityFaults(page, 'models')).toEqual([]);
    await page.getByRole('link', { name: 'my-net', exact: true }).click();
    await page.getByRole('link', { name: '1 export' }).waitFor();
    await page.getByText('normalised by mean 0.5, 0.5, 0.5').waitFor();
    expect(await accessibilityFaults(page, 'a model')).toEqual([]);
    await page.getByRole('button', { name: 'Delete … my-net@' }).click();
    const dialog = page.getByRole('dialog', { name: 'Delete my-net@' });
    await dialog.getByRole('button', { name: 'Yes, delete it' }).click();
    await dialog.getByRole('alert').getByText(run.id).waitFor();
    await client.cancelRun(run.id);
    await client.deleteRun(run.id);
    await dialog.getByRole('button', { name: 'Yes, delete it' }).click();
    await page.getByText('No models yet.').waitFor();
    await page.goto(`${client.url}/#/runs/${runId}`);
    await next(page, 'Pretrain');
    await expect.poll(() => text(page).innerText(), LATER).toContain(runId);
  });
});
