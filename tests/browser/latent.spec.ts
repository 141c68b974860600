/** The latent space and what led to it, in a real Chromium on the real stack, with real (tiny) training. */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { accessibilityFaults } from '../support/browser.js';
import { dashboardOf, describeInBrowser, sizeOf } from '../support/dashboard.js';
import type { PageOf } from '../support/dashboard-pages.js';
import { lighthouseFaults } from '../support/lighthouse.js';
import { colouredByLastAxis, leadsToTrials } from '../support/page-checks.js';
import { prepareStripes, SHORT, small } from '../support/small-runs.js';

/** Pages take their time on a busy machine. */
const LATER = { timeout: 30_000 };

describeInBrowser('the latent space', () => {
  const dashboard = dashboardOf(async (stack) => {
    await prepareStripes(stack);
    stack.startWorker({ LOOM_SLOTS: '2' });
    const pretrain = await stack.submit({ ...SHORT, checkpoints: { everySteps: 8, keepLast: 8 } }, { name: 'seen' });
    const autoencode = await stack.submit(
      { kind: 'autoencode', dataset: 'stripes', batchSize: 16, epochs: 2, latent: 4, ...small },
      { name: 'decoder' },
    );
    const map = { kind: 'embed', dataset: 'stripes', split: 'train', maxSamples: 120, maps: ['pca'] } as const;
    const embed = await stack.submit({ ...map, maps: ['pca'], from: pretrain }, { name: 'map-of-seen' });
    const finetune = await stack.submit(
      {
        kind: 'finetune',
        dataset: 'stripes',
        from: pretrain,
        fromHeadLayer: 1,
        steps: 5,
        batchSize: 8,
        evalSplit: 'test',
        labelFraction: 0.5,
      },
      { name: 'tuned' },
    );
    const judged = await stack.submit({ ...map, maps: ['pca'], from: finetune }, { name: 'map-of-tuned' });
    const { sweep } = await stack.client.submitSweep({
      spec: {
        name: 'halving',
        stages: {
          pretrain: {
            kind: 'pretrain',
            dataset: 'stripes',
            batchSize: 16,
            epochs: 2,
            probe: { maxIterations: 1 },
            ...small,
          },
        },
        metric: { name: 'eval/knn' },
        augmentations: { pairs: { of: ['crop', 'flip'] } },
        early_terminate: { type: 'asha', grace_period: 1, reduction_factor: 3 },
        parallel_trials: 3,
      },
    });
    const runs = { pretrain, autoencode, embed, finetune, judged };
    for (const id of Object.values(runs)) await stack.ended(id);
    return { ...runs, halving: sweep.id };
  });

  test('a pretraining shows its views, its curves over epochs, and how to reproduce it', async () => {
    const page = await dashboard.open(`#/runs/${dashboard.made.pretrain}`);
    // Eight samples of 16 pixels over two views of each.
    await expect.poll(() => sizeOf(page, /Samples over two random views/), LATER).toEqual([128, 48]);
    await page.getByText('crop+flip+colorJitter+grayscale').waitFor();
    await page.getByRole('combobox', { name: 'Over' }).selectOption('epochs');
    expect(page.url()).toContain('x=epoch');
    await page
      .getByRole('img', { name: /^train\/loss: / })
      .locator('canvas')
      .waitFor();
    await page.getByText('Reproduce', { exact: true }).click();
    await page.getByLabel('Command that reproduces').getByText(`reproduce ${dashboard.made.pretrain}`).waitFor();
    await page.goto(`${dashboard.stack.client.url}/#/runs/${dashboard.made.finetune}`);
    await page.getByText('the whole network is tuned from head layer 1').waitFor();
  });

  test('the map is coloured by what samples are taken for, and by what is wrong', async () => {
    const page = await dashboard.open(`#/maps/${dashboard.made.judged}`);
    await page.getByRole('button', { name: 'Prediction' }).click();
    await page.getByText('What the run’s own classifier says').waitFor();
    await page.getByRole('button', { name: 'Error', exact: true }).click();
    const map = page.getByRole('img', { name: /coloured by what was taken for another class: \d+/ });
    const mistakes = Number(/: (\d+)/.exec((await map.getAttribute('aria-label')) ?? '')![1]);
    const metrics = (await dashboard.stack.client.run(dashboard.made.judged)).result!.metrics;
    expect(mistakes).toBe(Math.round((1 - metrics['embedding/accuracy']!) * 120));
    if (mistakes > 0) {
      await page.getByRole('button', { name: 'List what is wrong' }).click();
      await page.getByRole('heading', { name: `${mistakes} chosen`, exact: true }).waitFor();
    }
    expect(page.url()).toContain('colour=error');
    await page.goto(`${dashboard.stack.client.url}/#/maps/${dashboard.made.embed}?colour=error`);
    await page.getByText('What most of the nearest others in the space are').waitFor();
  });

  test('the checkpoints of a run are mapped from the page, and the slider moves the points through them', async () => {
    const page = await dashboard.open(`#/maps/${dashboard.made.embed}`);
    // Of 24 steps, after 8 and 16.
    await page.getByRole('button', { name: 'Map 2 checkpoints too' }).click();
    const slider = page.getByRole('slider', { name: /Checkpoint/ });
    await expect.poll(() => slider.getAttribute('max').catch(() => null), { timeout: 120_000 }).toBe('2');
    expect(await slider.getAttribute('aria-valuetext')).toBe('at the end');
    const heading = (step: string) => page.getByRole('heading', { name: `PCA: map-of-seen${step}`, exact: true });
    await heading('').waitFor();
    await slider.press('Home');
    await heading('-at-8').waitFor();
    expect(await slider.getAttribute('aria-valuetext')).toBe('after 8 steps');
    await slider.press('End');
    await heading('').waitFor();
    // The runs are there for everybody: aligned to this map, of the same samples.
    const runs = (await dashboard.stack.client.runs({ kind: ['embed'], parent: dashboard.made.pretrain })).items.filter(
      ({ spec }) => spec.kind === 'embed' && spec.checkpoint !== undefined,
    );
    expect(
      runs
        .map(({ spec }) => spec.kind === 'embed' && [spec.checkpoint, spec.alignTo])
        .sort((a, b) => Number((a as unknown[])[0]) - Number((b as unknown[])[0])),
    ).toEqual([8, 16].map((step) => [step, dashboard.made.embed]));
  });

  test('two points are picked, the nearest of many are found, and the way between them is decoded', async () => {
    const page = await dashboard.open(`#/maps/${dashboard.made.embed}`);
    await page.locator('.plot canvas').first().waitFor();
    await page.getByRole('button', { name: 'Morph' }).click();
    await page.getByText('From: click on a point').waitFor();
    await page.getByRole('button', { name: 'Lasso' }).click();
    const { x, y, width, height } = (await page.locator('.canvas').first().boundingBox())!;
    await page.mouse.move(x + 4, y + 4);
    await page.mouse.down();
    for (const [px, py] of [
      [width / 2, 4],
      [width / 2, height - 4],
      [4, height - 4],
    ] as const)
      await page.mouse.move(x + px, y + py, { steps: 4 });
    await page.mouse.up();
    await page.getByRole('heading', { name: /^\d+ chosen/ }).waitFor();
    await page.getByRole('heading', { name: /^Nearest to the middle of the \d+ chosen/ }).waitFor();
    const chosen = page.getByRole('region', { name: /^\d+ chosen/ }).locator('.thumbnails button');
    const rowOf = async (place: number) =>
      Number(/Row (\d+)/.exec((await chosen.nth(place).getAttribute('aria-label')) ?? '')![1]);
    const rows = [await rowOf(0), await rowOf(1)];
    await chosen.nth(0).press('Enter');
    await chosen.nth(1).press('Enter');
    await page.getByRole('button', { name: 'Show the way' }).click();
    await expect
      .poll(async () => (await sizeOf(page, 'Decoded points on the way').catch(() => [0]))[0], { timeout: 90_000 })
      .toBe(9 * 16);
    const [walk] = (await dashboard.stack.client.runs({ kind: ['interpolate'], limit: 1 })).items;
    expect(walk!.spec).toMatchObject({ from: dashboard.made.autoencode, split: 'train', between: { rows } });
  });

  test('a point is found under the pointer, and a click picks it', async () => {
    const page = await dashboard.open(`#/maps/${dashboard.made.embed}`);
    const canvas = page.locator('.plot canvas').first();
    await canvas.waitFor();
    const { x, y, width, height } = (await page.locator('.canvas').first().boundingBox())!;
    const tooltip = page.locator('.tooltip');
    // Some point of a hundred and twenty lies on one of these lines.
    for (let at = 0; at < 400 && !(await tooltip.isVisible()); at++)
      await page.mouse.move(x + width * (0.2 + 0.6 * ((at * 0.618) % 1)), y + height * (0.1 + 0.8 * (at / 400)));
    const row = /row (\d+)/.exec((await tooltip.textContent()) ?? '')![1]!;
    await page.mouse.down();
    await page.mouse.up();
    await page.getByRole('heading', { name: new RegExp(`\\(row ${row}\\) in the space itself`) }).waitFor();
  });

  test('early stopping is told rung by rung, with the views of each combination', async () => {
    const page = await dashboard.open(`#/sweeps/${dashboard.made.halving}`);
    await page.locator('.title .status.succeeded').waitFor({ timeout: 150_000 });
    await page.getByRole('heading', { name: 'What the networks see' }).waitFor();
    // crop, flip, and both.
    await expect
      .poll(() => page.getByRole('img', { name: /^Samples over two views of each by / }).count(), LATER)
      .toBe(3);
    await page.getByRole('tab', { name: 'Rungs' }).click();
    await page
      .getByRole('img', { name: /^Early stopping by eval\/knn: 1 let on, 0 waiting, 2 stopped, at steps 12/ })
      .waitFor();
    const rows = page.getByRole('region', { name: 'Rungs' }).locator('tbody tr');
    expect(await rows.count()).toBe(3);
    expect(await rows.filter({ hasText: '↑ let on' }).count()).toBe(1);
    expect(await rows.filter({ hasText: '× stopped' }).count()).toBe(2);
  });

  test('the form and the text say the same, of a sweep’s keys too; what is no YAML yet changes nothing', async () => {
    const page = await dashboard.open('#/new');
    const text = page.getByRole('textbox', { name: 'YAML of the run or sweep' });
    await page.getByRole('button', { name: 'sweep', exact: true }).click();
    const fractions = page.getByRole('textbox', { name: 'label_fractions' });
    expect(await fractions.inputValue()).toBe('[0.1, 0.5]');
    await fractions.fill('[0.2, 0.5]');
    await text.getByText('label_fractions: [0.2, 0.5]').waitFor();
    await fractions.fill('[0.2, ');
    expect(await fractions.getAttribute('aria-invalid')).toBe('true');
    expect(await text.getByText('label_fractions: [0.2, 0.5]').count()).toBe(1);
    await fractions.fill('[0.2]');
    await page.getByRole('combobox', { name: 'early_terminate' }).selectOption('asha');
    await page.getByRole('spinbutton', { name: 'grace_period' }).fill('2');
    await text.getByText('early_terminate: {type: asha, grace_period: 2}').waitFor();
    await page.getByRole('button', { name: 'finetune', exact: true }).click();
    await page.getByRole('spinbutton', { name: 'steps' }).fill('77');
    await text.getByText(/steps: 77/).waitFor();
    // And back: what is typed is in the form.
    await text.click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText(
      'kind: pretrain\ndataset: stripes\nbatchSize: 16\noptimizer: {name: lars, momentum: 0.5}\n',
    );
    await expect
      .poll(
        () =>
          page
            .getByRole('spinbutton', { name: 'momentum', exact: true })
            .inputValue()
            .catch(() => ''),
        LATER,
      )
      .toBe('0.5');
    await page.getByText('1 trial, 1 new runs').waitFor();
  });

  test('a map is had as files, with its samples’ files, and what is chosen is tagged and has an address', async () => {
    const page = await dashboard.open(`#/maps/${dashboard.made.embed}`);
    const canvas = page.locator('.canvas').first();
    await canvas.locator('canvas').first().waitFor(LATER);
    const title = 'PCA of map-of-seen';
    await page.getByLabel(`Size and files of ${title}`).click();
    const saved = async (kind: string) => {
      const button = page.getByRole('button', { name: `${title} as ${kind}` });
      const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
      return readFile(await download.path(), 'latin1');
    };
    await expect.poll(async () => (await saved('CSV')).split('\r\n')[1], LATER).toMatch(/^\d+,\w+\/\w+.*\.jpg,/);
    expect((await saved('SVG')).match(/<circle/g)).toHaveLength(120);
    expect((await saved('PNG')).slice(1, 4)).toBe('PNG');
    await page.getByRole('button', { name: 'Full screen' }).click();
    await expect.poll(() => page.evaluate<string>('document.fullscreenElement?.className'), LATER).toBe('map whole');
    await page.evaluate('document.exitFullscreen()');

    await page.getByRole('group', { name: 'Classes' }).getByRole('button').first().click();
    await page.getByRole('button', { name: 'List this class' }).click();
    const chosen = page.getByRole('heading', { name: /^\d+ chosen$/ });
    const text = await chosen.textContent();
    expect(page.url()).toContain('chosen=');
    await page.reload();
    await expect.poll(() => chosen.textContent(), LATER).toBe(text);
    await page.getByRole('textbox', { name: 'Tag' }).fill('first class');
    expect(await page.getByRole('button', { name: 'Save', exact: true }).isDisabled()).toBe(true);
    await page.getByRole('textbox', { name: 'Tag' }).fill('first-class');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await expect.poll(() => page.url(), LATER).toMatch(/tag=first-class/);
    expect(page.url()).not.toContain('chosen=');
    expect(await accessibilityFaults(page, 'a tagged choice')).toEqual([]);
    await page.getByRole('button', { name: /^Forget the/ }).click();
    await chosen.waitFor({ state: 'detached' });
    await page.getByRole('combobox', { name: 'Tagged' }).selectOption('first-class');
    await expect.poll(() => chosen.textContent(), LATER).toBe(text);
    const files = (await dashboard.stack.client.artifacts(dashboard.made.embed)).items.map(({ name }) => name);
    expect(files).toContain('selection-first-class.json');
  });

  test('what lies nearest to a file of one’s own is found by the exported encoder, in the page', async () => {
    const { client, dataRoot } = dashboard.stack;
    const page = await dashboard.open(`#/maps/${dashboard.made.embed}`);
    await page.getByRole('button', { name: 'Export it' }).click();
    const file = page.getByLabel('A picture or a sound');
    await file.waitFor({ timeout: 120_000 });
    const { runId } = await client.dataset('stripes');
    const read = async (run: string, wanted: string) => {
      const { id } = (await client.artifacts(run)).items.find(({ name }) => name === wanted)!;
      return (await fetch(client.artifactUrl(run, id))).text();
    };
    const paths = (await read(runId, 'train-paths.txt')).split('\n');
    const { rows } = JSON.parse(await read(dashboard.made.embed, 'maps.json')) as { rows: number[] };
    const sample = paths[rows[5]!]!;
    await file.setInputFiles(path.join(dataRoot, 'stripes', sample));
    const nearest = page.getByRole('region', { name: 'Search by a file of yours' }).getByRole('listitem').first();
    await nearest.waitFor({ timeout: 60_000 });
    // The sample itself, by other sums of the same products.
    expect(await nearest.getByRole('button').getAttribute('title')).toBe(sample);
    expect(Number((await nearest.textContent())!.split(' · ')[1])).toBeLessThan(1e-3);
    expect(await accessibilityFaults(page, 'a search by a file')).toEqual([]);
    await file.setInputFiles({ name: 'no.png', mimeType: 'image/png', buffer: Buffer.from('no picture') });
    await page.getByRole('alert').getByText('expected a picture that this browser shows').waitFor(LATER);
  }, 200_000);

  test('figures of a sweep lead to its trials, trials have their results, and axes are brushed', async () => {
    const { halving } = dashboard.made;
    await expect
      .poll(async () => (await dashboard.stack.client.sweep(halving)).status, { timeout: 120_000 })
      .toBe('succeeded');
    const page = await dashboard.open(`#/sweeps/${halving}`, { touch: true });
    await page.getByRole('heading', { name: 'Best so far' }).waitFor(LATER);
    await page.getByRole('heading', { name: 'knn over augmentation' }).waitFor();
    const side = page.getByRole('img', { name: /^Parallel coordinates of 3 trials/ });
    await side.scrollIntoViewIfNeeded();
    const { x, y } = (await side.locator('svg').boundingBox())!;
    // From the top of the first axis to its middle: crop+flip and flip lie there, crop at its bottom.
    const left = await side.locator('svg [aria-label=rule] line').first().getAttribute('x1');
    await page.mouse.move(x + Number(left), y + 40);
    await page.mouse.down();
    await page.mouse.move(x + Number(left), y + 190, { steps: 4 });
    await page.mouse.up();
    await page.getByText('2 of 3 trials').waitFor(LATER);
    await page.getByRole('button', { name: 'Show all', exact: true }).click();
    await colouredByLastAxis(page, 'eval/knn', 'eval/probe_accuracy');
    await page.getByText('Narrow', { exact: true }).click();
    const parts = page.getByRole('group', { name: 'Parts of the axes' });
    await parts.getByRole('combobox', { name: 'augmentation' }).selectOption('crop');
    expect(await accessibilityFaults(page, 'narrowed axes')).toEqual([]);
    await page.getByText('1 of 3 trials').waitFor();
    await page.getByRole('link', { name: 'List them' }).click();
    const trials = page.getByRole('region', { name: 'Trials' }).locator('tbody tr');
    await expect.poll(() => trials.count(), LATER).toBe(1);
    expect((await trials.first().getByRole('cell').allTextContents()).slice(2, 4)).toEqual([
      'crop',
      expect.stringMatching(/^0\.\d+$|^1$|^0$/),
    ]);
    await page.getByRole('button', { name: 'Show all trials' }).click();
    await expect.poll(() => trials.count()).toBe(3);
    await page.getByRole('tab', { name: /^Runs/ }).click();
    await page
      .getByRole('cell', { name: /^augmentation crop/ })
      .first()
      .waitFor();
    await page.getByRole('tab', { name: 'Results' }).click();
    // A cell of the heat map leads to its trials, and so does a row.
    // Figures are drawn anew as their place becomes as wide as it will be: a click may have met the one before.
    const cell = page.locator('[aria-label=cell] a').first();
    const clicked = async () => {
      if (!page.url().includes('tab=trials')) await cell.click({ timeout: 2000 }).catch(() => undefined);
      return page.url();
    };
    await expect.poll(clicked, LATER).toMatch(/tab=trials&trials=\w+$/);
    await page.getByRole('tab', { name: 'Results' }).click();
    await page.getByRole('region', { name: 'All combinations' }).getByRole('link').first().click();
    await expect.poll(() => trials.count(), LATER).toBe(1);
    await page.getByRole('tab', { name: 'Results' }).click();
    await leadsToTrials(page, halving);
  }, 180_000);

  const pages = (): PageOf[] => [
    [`#/runs/${dashboard.made.pretrain}`, 'seen'],
    [`#/runs/${dashboard.made.finetune}`, 'tuned'],
    [`#/maps/${dashboard.made.judged}?colour=error`, 'map-of-tuned'],
    [`#/maps/${dashboard.made.embed}`, 'map-of-seen'],
    [`#/sweeps/${dashboard.made.halving}`, 'halving'],
    [`#/sweeps/${dashboard.made.halving}?tab=rungs`, 'halving'],
    ['#/new', 'New sweep or run'],
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
      if (hash.startsWith('#/maps')) await page.getByRole('button', { name: 'Morph' }).click();
      if (hash === '#/new') await page.getByRole('button', { name: 'sweep', exact: true }).click();
      faults.push(...(await accessibilityFaults(page, hash)));
    }
    expect(faults).toEqual([]);
  });

  test('Lighthouse gives these pages all points for accessibility and best practices', async () => {
    const { client } = dashboard.stack;
    // Those that are of another kind than the pages of other files.
    const others = pages().filter(
      ([hash]) => /tab=rungs|colour=error/.test(hash) || hash.includes(dashboard.made.finetune),
    );
    expect(await lighthouseFaults(client.url, others)).toEqual([]);
  });
});
