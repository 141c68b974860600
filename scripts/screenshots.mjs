#!/usr/bin/env node
/**
 * Pictures of every page of the dashboard, at both widths and in both themes, from a stack that has something to show
 * (`npm run demo -- --sweep --stay`).
 *
 *   npm run screenshots -- --url http://127.0.0.1:3000 [--out docs/images] [--only overview,sweep] [--full]
 */
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { launchChromium } from '../tests/support/browser.ts';

const {
  values: { url, out, only, full },
} = parseArgs({
  options: {
    url: { type: 'string', default: process.env.LOOM_URL ?? 'http://127.0.0.1:3000' },
    out: { type: 'string', default: 'docs/images' },
    only: { type: 'string' },
    full: { type: 'boolean', default: false },
  },
});

async function get(address) {
  const answer = await fetch(new URL(address, url));
  if (!answer.ok)
    throw new Error(`expected ${address} of the API to be answered, got ${answer.status}: ${await answer.text()}`);
  return answer.json();
}
const latest = async (query) => (await get(`/v1/runs?limit=1&${query}`)).items[0]?.id;
const [running, pretrain, embeds, walk, sweep, finetunes, sweeps, autoencodes] = await Promise.all([
  latest('status=running'),
  latest('kind=pretrain&status=succeeded'),
  get('/v1/runs?kind=embed&status=succeeded&limit=2&sort=createdAt'),
  latest('kind=interpolate&status=succeeded'),
  get('/v1/sweeps?limit=1'),
  get('/v1/runs?kind=pretrain&limit=5&status=succeeded'),
  get('/v1/sweeps?limit=50'),
  get('/v1/runs?kind=autoencode&limit=50&status=succeeded'),
]);
const halving = sweeps.items.find(({ spec }) => spec.early_terminate)?.id;
const datasets = await get('/v1/datasets?limit=200');
const soundSets = datasets.items.filter(({ manifest }) => manifest.sample.modality === 'audio').map(({ name }) => name);
const sounds = autoencodes.items.find(({ spec }) => soundSets.includes(spec.dataset.split('@')[0]))?.id;
const segmented = (await get('/v1/runs?kind=finetune&limit=500&status=succeeded')).items.find(
  ({ spec }) => spec.task === 'segmentation',
)?.id;
const run = running ?? pretrain;
const [map, other] = embeds.items.map(({ id }) => id);
const pages = Object.entries({
  overview: '#/',
  runs: '#/runs',
  run: run && `#/runs/${run}`,
  compare: finetunes.items.length > 1 && `#/compare?runs=${finetunes.items.map(({ id }) => id).join()}`,
  sweeps: '#/sweeps',
  sweep: sweep.items[0] && `#/sweeps/${sweep.items[0].id}`,
  maps: '#/maps',
  map: map && `#/maps/${map}`,
  'map-pair': other && `#/maps/${map}?with=${other}&map=umap`,
  'map-error': map && `#/maps/${map}?colour=error`,
  pretrain: pretrain && `#/runs/${pretrain}`,
  rungs: halving && `#/sweeps/${halving}?tab=rungs`,
  sounds: sounds && `#/runs/${sounds}`,
  masks: segmented && `#/runs/${segmented}`,
  walk: walk && `#/runs/${walk}`,
  datasets: '#/datasets',
  machines: '#/machines',
  new: '#/new',
}).filter(([name, hash]) => hash && (!only || only.split(',').includes(name)));

await mkdir(out, { recursive: true });
const browser = await launchChromium();
try {
  for (const [width, height] of [
    [1280, 900],
    [390, 844],
  ]) {
    for (const theme of ['light', 'dark']) {
      const context = await browser.newContext({
        viewport: { width, height },
        colorScheme: theme,
        deviceScaleFactor: width < 500 ? 2 : 1,
        reducedMotion: 'reduce',
      });
      const page = await context.newPage();
      page.on('console', (message) => {
        if (message.type() === 'error') process.stderr.write(`${page.url()}: ${message.text()}\n`);
      });
      page.on('pageerror', (error) => process.stderr.write(`${page.url()}: ${error.stack}\n`));
      for (const [name, hash] of pages) {
        await page.goto(`${url}/${hash}`);
        await page.reload();
        await page.locator('h1').first().waitFor();
        await page
          .locator('.skeleton')
          .first()
          .waitFor({ state: 'detached', timeout: 15_000 })
          .catch(() => undefined);
        await page.waitForTimeout(name.startsWith('map') && name !== 'maps' ? 2500 : 900);
        const file = path.join(out, `dashboard-${name}-${width}-${theme}.webp`);
        await sharp(await page.screenshot({ fullPage: full }))
          .webp({ quality: 86 })
          .toFile(file);
        const wide = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
        process.stdout.write(`${file}${wide > 0 ? ` (${wide} px too wide)` : ''}\n`);
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
