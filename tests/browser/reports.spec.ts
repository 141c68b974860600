/** Reports in a real Chromium: written, shared, saved by two at once, and opened as a file without a network. */
import type { Run } from '#libs/contracts';
import { ArtifactStore, Database } from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { seed } from '../../bench/seed.js';
import { accessibilityFaults, practiceFaults } from '../support/browser.js';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';
import { lighthouseFaults } from '../support/lighthouse.js';
import { faultsInForcedColours, tellsGainFromChance } from '../support/page-checks.js';
import type { Stack } from '../support/stack.js';

/** Text that would run a program were it taken as it is. */
const ATTACK = '<img src=x onerror="globalThis.attacked = 1"> [link](javascript:globalThis.attacked=1) </script>';
const GONE = randomUUID();
const MAPS = {
  dataset: 'made-up',
  split: 'val',
  samplesDigest: '0',
  rows: [0, 1, 2, 3, 4],
  dimensions: 64,
  atlas: { columns: 1, tile: { width: 32, height: 32 }, points: [] },
  classes: ['cats', 'dogs'],
  labels: [0, 0, 1, 1, 1],
  maps: { umap: { x: [0, 1, 2, 3, 4], y: [4, 3, 2, 1, 0], parameters: {} } },
};

/** Whether something was drawn on each canvas of the page. */
const DRAWN = `[...document.querySelectorAll('main canvas')].map((canvas) =>
  canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some((value) => value > 0))`;

/** What a reader sees of the report, on its page as in the file. */
async function showsAll(page: Page, [first, second]: readonly Run[], sweep: string): Promise<void> {
  await page.getByRole('heading', { level: 1, name: 'Views, week 12' }).waitFor();
  await page.getByRole('heading', { level: 2, name: 'What we saw' }).waitFor();
  expect(await page.locator('.markdown strong').allTextContents()).toEqual(['Crop with colour']);
  await page.getByText('<img src=x onerror="globalThis.attacked = 1"> [link](javascript:').waitFor();
  const chart = page.getByRole('region', { name: 'Nearest neighbours' });
  await chart.getByRole('img', { name: /^eval\/knn: / }).waitFor();
  expect(await chart.locator('.legend').allTextContents()).toEqual([first!.name, second!.name]);
  await expect.poll(() => page.evaluate<boolean[]>(DRAWN)).toEqual([true]);
  const table = page.getByRole('region', { name: 'Runs', exact: true }).first();
  await table.getByRole('columnheader').first().waitFor();
  expect(await table.getByRole('columnheader').allTextContents()).toEqual(['run', 'status', 'eval/knn', 'batchSize']);
  expect(await table.locator('tbody tr').first().locator('td').allTextContents()).toEqual([
    first!.name,
    first!.status,
    String(Number(first!.metrics['eval/knn']!.toPrecision(4))),
    '256',
  ]);
  await page.getByText(`Of the sweep ${sweep}`).waitFor();
  // Those of what was pretrained, beside the dashed one from scratch.
  const lines = page.getByRole('region', { name: 'Which views need the fewest labels' }).locator('[aria-label=line]');
  await lines.and(page.locator('[stroke-width="2"]')).locator('path').first().waitFor({ state: 'attached' });
  const map = page.getByRole('img', { name: `UMAP of ${first!.name}: 5 samples of cats, dogs` });
  await expect.poll(() => map.locator('circle').count()).toBe(MAPS.labels.length);
  expect(await page.locator('.absent').allTextContents()).toEqual([
    `Run ${GONE} is not shown: there is no such run any more`,
    `Sweep ${GONE} is not shown: there is no such sweep any more`,
  ]);
  expect(await page.evaluate('globalThis.attacked')).toBeUndefined();
  expect(await page.locator('main [href^="javascript"], main img, main iframe').count()).toBe(0);
}

/** As a trainer would have left its maps. */
async function addMaps(databaseUrl: string, artifactsDir: string, runId: string): Promise<void> {
  const folder = await mkdtemp(path.join(tmpdir(), 'maps-'));
  const database = new Database(databaseUrl);
  try {
    const file = path.join(folder, 'maps.json');
    await writeFile(file, JSON.stringify(MAPS));
    const { sha256, sizeBytes } = await new ArtifactStore(artifactsDir).put(file);
    const about = { name: 'maps.json', kind: 'embedding' as const, mime: 'application/json' };
    await database.prisma.artifact.create({
      data: { id: randomUUID(), runId, attempt: 1, sha256, sizeBytes, ...about },
    });
  } finally {
    await database.close();
    await rm(folder, { recursive: true });
  }
}

/** A sweep of pairs on one branch whose trials are said to have come to 30 %, 40 %, … by their nearest neighbours. */
async function addOneBranchSweep({ client, database }: Stack): Promise<string> {
  const pretrain = { kind: 'pretrain', dataset: 'made-up', batchSize: 64, epochs: 1 } as const;
  const { sweep } = await client.submitSweep({
    spec: {
      name: 'figure-5',
      stages: { pretrain },
      augmentations: { pairs: { of: ['flip', 'grayscale', 'blur'], branches: 'one' }, always: ['crop'] },
    },
  });
  const postgres = new pg.Client({ connectionString: database.url });
  await postgres.connect();
  try {
    await postgres.query(
      `UPDATE run
       SET status = 'succeeded', finished_at = now(),
         result = jsonb_build_object('metrics', jsonb_build_object('eval/knn', 0.3 + 0.1 * placed.index))
       FROM trial_run AS placed
       WHERE placed.run_id = run.id AND placed.sweep_id = $1`,
      [sweep.id],
    );
  } finally {
    await postgres.end();
  }
  return sweep.id;
}

describeInBrowser('reports', () => {
  const dashboard = dashboardOf(async (stack) => {
    const { client, database, environment } = stack;
    await seed(database.url, { runs: 60, points: 6000, log: () => undefined });
    const { items: runs } = await client.runs({ kind: ['pretrain'], status: ['succeeded'], limit: 2 });
    await addMaps(database.url, environment['LOOM_ARTIFACTS_DIR']!, runs[0]!.id);
    const { items: sweeps } = await client.sweeps({ limit: 1 });
    return { runs, sweep: sweeps[0]!, oneBranch: await addOneBranchSweep(stack) };
  });

  test('a report is written with its preview, saved beside somebody else, and opens as a file offline', async () => {
    const { runs, sweep } = dashboard.made;
    const { client } = dashboard.stack;
    const page = await dashboard.open('#/reports');
    await page.getByText('No reports yet.').waitFor();
    await page.getByRole('link', { name: 'New report' }).click();
    await page.getByRole('heading', { level: 1, name: 'New report' }).waitFor();
    const save = page.getByRole('button', { name: 'Save', exact: true });
    expect(await save.isDisabled()).toBe(true);
    await page.getByRole('textbox', { name: 'Title' }).fill('Views, week 12');
    const preview = page.getByRole('region', { name: 'Preview' });

    await page.getByRole('button', { name: '+ Chart' }).click();
    await preview.getByText('Chart: it is shown here once all of it is chosen.').waitFor();
    const chart = page.getByRole('region', { name: 'Chart, block 1', exact: true });
    expect(await save.isDisabled()).toBe(true);
    for (const run of runs) {
      await chart.getByRole('searchbox').fill(run.id);
      await chart.getByRole('button', { name: `Add ${run.name}`, exact: true }).click();
    }
    await chart.getByRole('combobox', { name: 'Metric' }).fill('eval/knn');
    await chart.getByRole('textbox', { name: 'Title' }).fill('Nearest neighbours');
    await preview.getByRole('img', { name: /^eval\/knn: / }).waitFor();

    await page.getByRole('button', { name: '+ Text' }).click();
    const text = page.getByRole('textbox', { name: 'Markdown' });
    await text.fill(`# What we saw\n\n**Crop with colour** needs the fewest.\n\n${ATTACK}`);
    await preview.getByRole('heading', { level: 2, name: 'What we saw' }).waitFor();
    await page.getByRole('button', { name: 'Move up Text, block 2' }).click();
    expect(await page.locator('.writing .panel h2').allTextContents()).toEqual(
      expect.arrayContaining(['Text, block 1', 'Chart, block 2']) as string[],
    );
    expect(await accessibilityFaults(page, 'a report that is written')).toEqual([]);
    expect(await faultsInForcedColours(page, 'a report that is written')).toEqual([]);

    // What was left is there again.
    await page.goto(`${client.url}/#/runs`);
    await page.goto(`${client.url}/#/write-report`);
    await page.reload();
    await preview.getByRole('img', { name: /^eval\/knn: / }).waitFor();
    await save.click();
    await page.getByRole('button', { name: 'Edit' }).waitFor();
    const id = /#\/reports\/([0-9a-f-]+)$/.exec(page.url())![1]!;

    // Somebody else adds the rest while it is edited here.
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByRole('textbox', { name: 'Title' }).first().fill('Mine');
    const { blocks, version } = await client.report(id);
    await client.replaceReport(id, {
      title: 'Views, week 12',
      version,
      blocks: [
        ...blocks,
        { type: 'table', runs: [runs[0]!.id, GONE], columns: ['status', 'metric:eval/knn', 'spec:batchSize'] },
        { type: 'sweep', sweep: sweep.id, figure: 'label-efficiency' },
        { type: 'sweep', sweep: GONE, figure: 'effects' },
        { type: 'map', run: runs[0]!.id },
      ],
    });
    await save.click();
    await page.getByText('Somebody else has saved it meanwhile').waitFor();
    expect(await accessibilityFaults(page, 'a report that was overtaken')).toEqual([]);
    await page.getByRole('button', { name: 'Drop mine and see theirs' }).click();
    await showsAll(page, runs, sweep.name);
    expect(await page.title()).toBe('Views, week 12 · Latent Loom');
    expect(await accessibilityFaults(page, 'a report')).toEqual([]);
    expect(await faultsInForcedColours(page, 'a report')).toEqual([]);
    await page.goto(`${client.url}/#/reports`);
    await page.getByRole('link', { name: 'Views, week 12' }).waitFor();
    expect(await faultsInForcedColours(page, 'reports')).toEqual([]);
    await page.goBack();
    await page.getByRole('heading', { level: 1, name: 'Views, week 12' }).waitFor();
    expect(await practiceFaults(page)).toEqual([]);

    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('link', { name: 'Export as HTML' }).click(),
    ]);
    const folder = await mkdtemp(path.join(tmpdir(), 'report-'));
    const context = await page.context().browser()!.newContext({ offline: true, colorScheme: 'dark' });
    try {
      const file = await context.newPage();
      const wrong: string[] = [];
      file.on('request', (request) => {
        if (!/^(file|data|blob):/.test(request.url())) wrong.push(`request: ${request.url()}`);
      });
      file.on('console', (message) => wrong.push(`console: ${message.text()}`));
      file.on('pageerror', (error) => wrong.push(`fault: ${error.message}`));
      await download.saveAs(path.join(folder, 'report.html'));
      await file.goto(pathToFileURL(path.join(folder, 'report.html')).href);
      await showsAll(file, runs, sweep.name);
      expect(await accessibilityFaults(file, 'the file of a report')).toEqual([]);
      const link = file.getByRole('link', { name: runs[0]!.name!, exact: true }).first();
      await link.hover();
      expect(await link.getAttribute('href')).toBe(`${client.url}/#/runs/${runs[0]!.id}`);
      expect(wrong).toEqual([]);
    } finally {
      await context.close();
      await rm(folder, { recursive: true });
    }

    // Of what is gone the browser tells a fault for each of its runs and sweeps: another has none of that.
    const whole = await client.addReport({
      title: 'Whole',
      blocks: (await client.report(id)).blocks.filter((block) => !JSON.stringify(block).includes(GONE)),
    });
    const pages = [
      [`#/reports/${whole.id}`, 'Whole'],
      [`#/reports/${whole.id}?edit=1`, 'Edit Whole'],
    ] as const;
    expect(await lighthouseFaults(client.url, pages)).toEqual([]);
    await client.deleteReport(whole.id);

    await page.getByRole('button', { name: 'Delete … Views, week 12' }).click();
    await page.getByRole('button', { name: 'Yes, delete it' }).click();
    await page.getByText('No reports yet.').waitFor();
    await page.goto(`${client.url}/#/reports/${id}`);
    await page.getByText('There is no such thing').waitFor();
  });

  test('a map of pairs on one branch says so of its rows and columns, on its page and in a report', async () => {
    const { client } = dashboard.stack;
    const { oneBranch } = dashboard.made;
    const page = await dashboard.open(`#/sweeps/${oneBranch}`);
    const of = 'flip, grayscale, blur, rows and columns both of one of the two views';
    const map = page.getByRole('img', {
      name: new RegExp(`^Heat map of kNN accuracy for ${of}; the highest is grayscale with blur`),
    });
    await map.waitFor();
    // Nor is it called the best: each is of one seed.
    await page.getByText('Where there is one seed, nobody can tell how much of it is chance.').waitFor();
    await page.getByText('rows and columns both of one view (the other has what all have, and no more)').waitFor();
    // Each alone on the diagonal, and each pair once, in both halves: which of the two was named first is all one.
    const cells = map.locator('[aria-label=text] text');
    const values = ['30.0', '60.0', '70.0', '60.0', '40.0', '80.0', '70.0', '80.0', '50.0'];
    await expect.poll(() => cells.allTextContents()).toEqual(values);
    const [, trial] = (await client.trials(oneBranch)).items;
    const [views] = Object.values(trial!.parameters) as { augmentation: object }[][];
    expect(views!.map(({ augmentation }) => Object.keys(augmentation).sort())).toEqual([
      ['crop', 'grayscale'],
      ['crop'],
    ]);
    const report = await client.addReport({
      title: 'One branch',
      blocks: [
        { type: 'sweep', sweep: oneBranch, figure: 'composition' },
        { type: 'sweep', sweep: oneBranch, figure: 'coordinates' },
      ],
    });
    await page.goto(`${client.url}/#/reports/${report.id}`);
    await map.waitFor();
    expect(await cells.allTextContents()).toEqual(values);
    expect(await accessibilityFaults(page, 'a map of one branch')).toEqual([]);
    const side = page.getByRole('img', { name: /^Parallel coordinates of 6 trials/ });
    await side.locator('[aria-label=line] path').first().waitFor({ state: 'attached' });
    await page.goBack();
    await tellsGainFromChance(page, oneBranch);
  });

  test('a map without predictions says why it has none, and is coloured by class alone', async () => {
    const page = await dashboard.open(`#/maps/${dashboard.made.runs[0]!.id}?colour=error`);
    await page.getByText('no predictions: of more than 20,000 points').waitFor();
    const colours = page.getByRole('group', { name: 'Coloured by' }).getByRole('button');
    expect(await colours.allTextContents()).toEqual(['Class']);
    await page.getByRole('img', { name: /^UMAP of 5 samples, coloured by 2 classes$/ }).waitFor();
  });
});
