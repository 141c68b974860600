/** Names as long as they may be, and in any writing, in a real Chromium: on no page does anything stick out. */
import { SubmitRun, type ModelManifest } from '#libs/contracts';
import { ArtifactStore, Database, Runs, type Token } from '#libs/platform';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import type { Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { expect, test } from 'vitest';
import { seed } from '../../bench/seed.js';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';
import { wavOf } from '../support/sources.js';

const LONG = `${'simclr_resnet18_crop_colorjitter_blur_lr0.004_bs256_seed3'.repeat(3).slice(0, 114)}_${'x'.repeat(2)}`;
const CLASSES = ['Rückenmark'.repeat(12), 'شبكة_عصبية_'.repeat(11), '超長い名前'.repeat(24)];

/** A model whose layers have such names too. */
const MODEL = {
  name: LONG,
  digest: 'd'.repeat(64),
  encoder: { name: 'layers', width: 32, features: LONG },
  sample: { modality: 'image', height: 32, width: 32, channels: 3 },
  parameters: 10 ** 9,
  weights: 'e'.repeat(64),
  layers: [LONG, ...CLASSES].map((name) => ({ name, shape: [1], parameters: 0 })),
} satisfies ModelManifest;

/** Edges of something on the page, in pixels. */
type Place = Record<'left' | 'right' | 'top' | 'bottom', number>;

/** What reaches out of the window although it can't be scrolled to, or is cut off without saying so. */
const STICKS_OUT = `(() => {
  const scrolls = (element) => element !== null && element.tagName !== 'BODY' &&
    (/auto|scroll/.test(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
  const wide = document.documentElement.scrollWidth > innerWidth ? ['the page'] : [];
  const told = (element) => element.tagName + '.' + element.className + ' ' + element.textContent.slice(0, 40);
  for (const element of document.querySelectorAll('main *')) {
    const style = getComputedStyle(element);
    if (scrolls(element) || element.closest('svg, .hidden') || style.clipPath !== 'none') continue;
    const { right, width } = element.getBoundingClientRect();
    if (width > 0 && right > innerWidth + 1) wide.push(told(element));
    const cut = style.overflowX === "hidden" && style.textOverflow !== "ellipsis";
    if (cut && element.scrollWidth > element.clientWidth + 1)
      wide.push('cut: ' + told(element));
  }
  return wide;
})()`;
const sticksOut = (page: Page) => page.evaluate<string[]>(STICKS_OUT);

describeInBrowser('long names', () => {
  const dashboard = dashboardOf(async (stack) => {
    await seed(stack.database.url, { runs: 40, points: 400, log: () => undefined });
    const ids = (await stack.client.runs({ limit: 20 })).items.map(({ id }) => id);
    for (const id of ids) await stack.client.changeRun(id, { name: LONG, tags: [LONG], notes: CLASSES.join(' ') });
    const pretrain = { kind: 'pretrain', dataset: 'made-up', batchSize: 64, epochs: 1 } as const;
    const { sweep } = await stack.client.submitSweep({
      spec: { name: LONG, stages: { pretrain }, augmentations: { pairs: { of: ['crop', 'blur'] } } },
    });
    const client = new pg.Client({ connectionString: stack.database.url });
    await client.connect();
    await client.query(`UPDATE dataset SET name = $1, manifest = jsonb_set(manifest, '{classes}', $2)`, [
      LONG,
      JSON.stringify(CLASSES),
    ]);
    await client.query(`INSERT INTO model (name, digest, manifest, run_id) VALUES ($1, $2, $3, $4)`, [
      LONG,
      MODEL.digest,
      JSON.stringify(MODEL),
      ids[0],
    ]);
    await client.end();
    const running = await runningOnLongHost(stack.database.url, stack.environment['LOOM_ARTIFACTS_DIR']!);
    const report = await stack.client.addReport({
      title: LONG,
      blocks: [
        {
          type: 'text',
          markdown: `# ${LONG}\n\n${CLASSES.join(' ')}\n\n| ${LONG} | b |\n|-|-|\n| a | ${LONG} |\n\n    ${LONG}`,
        },
        { type: 'chart', title: LONG, metric: 'train/loss', runs: ids.slice(0, 3) },
        { type: 'table', title: LONG, runs: ids, columns: ['tags', 'dataset', 'metric:train/loss'] },
        { type: 'sweep', sweep: sweep.id, figure: 'results' },
        { type: 'map', run: running },
      ],
    });
    return { ids, sweep, running, report: report.id };
  });

  /** A run that somebody has taken who says no more. */
  async function runningOnLongHost(url: string, artifactsDir: string): Promise<string> {
    const database = new Database(url);
    try {
      const runs = new Runs(database, { dataRoot: '/', leaseMs: 600_000 });
      const { submission, workers, claims } = runs;
      const spec = { kind: 'prepare-dataset', name: 'other', path: 'other' } as const;
      const { runId } = await submission.submitRun(SubmitRun.parse({ spec, name: LONG, tags: [LONG] }));
      await workers.registerWorker({ id: LONG, host: LONG, pid: 1, slots: 1, versions: { loom: LONG }, labels: {} });
      await workers.setWorkerState(LONG, 'running');
      const token = await claims.claim({ runId, attempt: 1 }, LONG);
      await addFilesOfLongClasses(runs, token!, new ArtifactStore(artifactsDir));
      return runId;
    } finally {
      await database.close();
    }
  }

  /** Scores of pixels and of samples, a map, pictures and a sound, as runs of several kinds have them. */
  async function addFilesOfLongClasses(runs: Runs, token: Token, store: ArtifactStore): Promise<void> {
    const names = [LONG, ...CLASSES];
    const picture = (format: 'png' | 'webp') =>
      sharp({ create: { width: 64, height: 48, channels: 3, background: '#468' } })
        .toFormat(format)
        .toBuffer();
    const labels = names.map((_, i) => i);
    const files: [name: string, mime: string, content: Buffer | object][] = [
      ['segmentation.png', 'image/png', await picture('png')],
      [
        'segmentation.json',
        'application/json',
        {
          split: 'test',
          classes: names.map((name, i) => ({
            name,
            colour: `#${i}${i}8`,
            pixels: 10 ** (3 * i),
            iou: 0.5,
            dice: null,
          })),
        },
      ],
      [
        'classification.json',
        'application/json',
        {
          split: 'test',
          accuracy: 1,
          classes: names.map((name) => ({ name, samples: 1, predicted: 1, accuracy: 1 })),
          confusion: names.map((_, row) => names.map((__, column) => Number(row === column))),
        },
      ],
      [`${LONG}.wav`, 'audio/wav', wavOf(new Float32Array(2000), 8000)],
      ['atlas.webp', 'image/webp', await picture('webp')],
      [
        'maps.json',
        'application/json',
        {
          dataset: LONG,
          split: 'test',
          samplesDigest: '0',
          rows: labels,
          classes: names,
          labels,
          predictions: labels.toReversed(),
          predictedBy: 'neighbours',
          dimensions: 2,
          atlas: { columns: 2, tile: { width: 32, height: 24 }, points: labels },
          maps: { pca: { x: [0, 0, 1, 1], y: [0, 1, 0, 1], parameters: {} } },
        },
      ],
    ];
    const folder = await mkdtemp(path.join(tmpdir(), 'long-names-'));
    for (const [name, mime, content] of files) {
      const file = path.join(folder, name);
      await writeFile(file, Buffer.isBuffer(content) ? content : JSON.stringify(content));
      const stored = await store.put(file);
      const kind = name === 'maps.json' ? 'embedding' : 'report';
      await runs.recorder.addArtifact(token, { name, kind, mime, step: null, ...stored });
    }
    await rm(folder, { recursive: true });
  }

  test.each([390, 1280, 2560])('at %i pixels nothing sticks out, and every action can be reached', async (width) => {
    const { stack, made } = dashboard;
    const sweep = made.sweep.id;
    const [first, second] = made.ids;
    const page = await dashboard.open('#/', { width, height: 844 });
    const found: string[] = [];
    const shown: Record<string, Locator> = {
      [`#/runs/${made.running}`]: page.getByRole('region', { name: 'Classes of pixels in the test split' }),
      [`#/maps/${made.running}`]: page.getByRole('group', { name: 'Classes' }),
      [`#/datasets/${LONG}`]: page.getByRole('cell', { name: CLASSES[0]! }),
      [`#/models/${LONG}`]: page.locator('.facts dd', { hasText: CLASSES[0]! }),
      [`#/reports/${made.report}`]: page.getByRole('img', { name: /^PCA of / }),
      [`#/reports/${made.report}?edit=1`]: page.getByRole('img', { name: /^PCA of / }),
    };
    for (const hash of [
      '#/',
      '#/runs',
      `#/runs?tag=${LONG}&name=${LONG}`,
      `#/runs/${first}`,
      `#/runs/${first}?tab=events`,
      `#/runs/${first}?tab=spec`,
      `#/runs/${made.running}`,
      `#/compare?runs=${first},${second}`,
      '#/sweeps',
      `#/sweeps/${sweep}`,
      `#/sweeps/${sweep}?tab=runs`,
      `#/sweeps/${sweep}?tab=trials`,
      '#/maps',
      `#/maps/${made.running}`,
      `#/maps/${made.running}?colour=prediction`,
      '#/datasets',
      `#/datasets/${LONG}`,
      '#/add-dataset',
      '#/models',
      `#/models/${LONG}`,
      '#/add-model',
      '#/notices',
      '#/machines',
      `#/new?from=${first}`,
      '#/reports',
      `#/reports/${made.report}`,
      `#/reports/${made.report}?edit=1`,
    ]) {
      await page.goto(`${stack.client.url}/${hash}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await page.locator('.skeleton').first().waitFor({ state: 'detached' });
      await shown[hash]?.waitFor();
      found.push(...(await sticksOut(page)).map((what) => `${hash}: ${what}`));
    }
    expect(found).toEqual([]);
    await page.emulateMedia({ forcedColors: 'active' });
    await page.goto(`${stack.client.url}/#/maps/${made.running}`);
    await shown[`#/maps/${made.running}`]!.waitFor();
    const colours = await page.evaluate<string[]>(
      `[...document.querySelectorAll('.chip i')].map((each) => getComputedStyle(each).backgroundColor)`,
    );
    expect(new Set(colours).size).toBe(CLASSES.length + 1);
    await page.emulateMedia({ forcedColors: 'none' });
    await page.goto(`${stack.client.url}/#/`);
    const box = (await page.getByRole('button', { name: `Cancel ${LONG}` }).boundingBox())!;
    expect(box.x).toBeGreaterThanOrEqual(0);
    expect(box.x + box.width).toBeLessThanOrEqual(width);
  });

  test.each([320, 390])('at %i pixels every link of the bar is in reach, and it hides nothing', async (width) => {
    const page = await dashboard.open('#/runs', { width, height: 844 });
    const bar = page.getByRole('navigation', { name: 'Pages' });
    const links = bar.getByRole('link');
    await page.getByRole('heading', { level: 1, name: 'Runs', exact: true }).waitFor();
    const places = await page.evaluate<{ word: string; link: Place; text: Place }[]>(
      `[...document.querySelectorAll('nav a')].map((link) => {
        const text = link.querySelector('span');
        const placeOf = ({ left, right, top, bottom }) => ({ left, right, top, bottom });
        const range = document.createRange();
        range.selectNodeContents(text);
        return {
          word: text.textContent,
          link: placeOf(link.getBoundingClientRect()),
          text: placeOf(range.getBoundingClientRect()),
        };
      })`,
    );
    expect(places).toHaveLength(9);
    for (const { word, link, text } of places) {
      expect([word, link.left >= 0, link.right <= width, link.bottom <= 844]).toEqual([word, true, true, true]);
      // Room for a finger, and for the word.
      expect([word, link.right - link.left >= 44, link.bottom - link.top >= 40]).toEqual([word, true, true]);
      expect([word, text.left >= link.left, text.right <= link.right, text.bottom <= link.bottom]).toEqual([
        word,
        ...[true, true, true],
      ]);
    }
    await page.getByRole('row').nth(5).waitFor();
    await page.evaluate('scrollTo(0, document.documentElement.scrollHeight)');
    const [end, top] = await page.evaluate<[number, number]>(
      `[document.querySelector('main').lastElementChild, document.querySelector('nav')]
        .map((each, i) => each.getBoundingClientRect()[i === 0 ? 'bottom' : 'top'])`,
    );
    expect(end).toBeLessThanOrEqual(top);
    for (const [place, heading] of ['Overview', 'Runs', 'Sweeps', 'Latent maps', 'Reports', 'Datasets'].entries()) {
      await links.nth(place).click();
      await page.getByRole('heading', { level: 1, name: heading, exact: true }).waitFor();
    }
  });
});
