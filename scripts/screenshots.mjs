#!/usr/bin/env node
/**
 * Pictures of every page of the dashboard, at both widths and in both themes: from a stack of its own with small data
 * and short runs that are made for it (some minutes), or with `--url` from one that has something to show.
 *
 *   npm run screenshots -- [--url http://127.0.0.1:3000] [--out docs/images] [--only overview,sweep] [--full]
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import sharp from 'sharp';
import { launchChromium } from '../tests/support/browser.ts';
import { makeRuns } from './screenshot-runs.mjs';

const {
  values: { url: given, out, only, full },
} = parseArgs({
  options: {
    url: { type: 'string' },
    out: { type: 'string', default: 'docs/images' },
    only: { type: 'string' },
    full: { type: 'boolean', default: false },
  },
});

/** A stack with runs that were made for the pictures, and what ends it. */
async function ownStack() {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-screenshots-'));
  const dataRoot = path.join(dir, 'data');
  await mkdir(dataRoot);
  const port = 3000 + (process.pid % 20_000);
  const address = `http://127.0.0.1:${port}`;
  const loom = spawn(
    process.execPath,
    ['dist/apps/cli/src/main.js', 'up', '--dir', dir, '--data-root', dataRoot, '--port', String(port)],
    { stdio: ['ignore', 'inherit', 'inherit'], env: { ...process.env, LOOM_SLOTS: '2' } },
  );
  const stop = async () => {
    if (loom.exitCode === null) {
      loom.kill('SIGTERM');
      await once(loom, 'exit');
    }
    await rm(dir, { recursive: true, force: true });
  };
  try {
    for (;;) {
      if (loom.exitCode !== null) throw new Error('expected a stack to start, it ended: what it said is above');
      if (
        await fetch(new URL('/readyz', address)).then(
          ({ ok }) => ok,
          () => false,
        )
      )
        break;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    await makeRuns(address, dataRoot);
    return { url: address, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const { url, stop } = given ? { url: given, stop: () => undefined } : await ownStack();

async function get(address) {
  const answer = await fetch(new URL(address, url));
  if (!answer.ok)
    throw new Error(`expected ${address} of the API to be answered, got ${answer.status}: ${await answer.text()}`);
  return answer.json();
}
const latest = async (query) => (await get(`/v1/runs?limit=1&${query}`)).items[0]?.id;
const [running, pretrain, embeds, walk, sweeps, finetunes, autoencodes] = await Promise.all([
  latest('status=running'),
  latest('kind=pretrain&status=succeeded&sort=createdAt'),
  get('/v1/runs?kind=embed&status=succeeded&limit=3&sort=createdAt'),
  latest('kind=interpolate&status=succeeded'),
  get('/v1/sweeps?limit=50'),
  get('/v1/runs?kind=pretrain&limit=3&status=succeeded&sort=createdAt'),
  get('/v1/runs?kind=autoencode&limit=50&status=succeeded'),
]);
const halving = sweeps.items.find(({ spec }) => spec.early_terminate)?.id;
const sweep = sweeps.items.find(({ spec }) => !spec.early_terminate)?.id;
const datasets = await get('/v1/datasets?limit=200');
const [[model], [report]] = (await Promise.all(['models', 'reports'].map((list) => get(`/v1/${list}?limit=1`)))).map(
  ({ items }) => items,
);
const soundSets = datasets.items.filter(({ manifest }) => manifest.sample.modality === 'audio').map(({ name }) => name);
const sounds = autoencodes.items.find(({ spec }) => soundSets.includes(spec.dataset.split('@')[0]))?.id;
const segmented = (await get('/v1/runs?kind=finetune&limit=500&status=succeeded')).items.find(
  ({ spec }) => spec.task === 'segmentation',
)?.id;
const run = running ?? pretrain;
const [map, other, judged] = embeds.items.map(({ id }) => id);
const pages = Object.entries({
  overview: '#/',
  runs: '#/runs',
  run: run && `#/runs/${run}`,
  compare: finetunes.items.length > 1 && `#/compare?runs=${finetunes.items.map(({ id }) => id).join()}`,
  sweeps: '#/sweeps',
  groups: '#/runs?group=kind',
  sweep: sweep && `#/sweeps/${sweep}`,
  trials: sweep && `#/sweeps/${sweep}?tab=trials`,
  log: pretrain && `#/runs/${pretrain}?tab=log`,
  maps: '#/maps',
  map: map && `#/maps/${map}`,
  'map-pair': other && `#/maps/${map}?with=${other}&map=umap`,
  'map-error': (judged ?? map) && `#/maps/${judged ?? map}?colour=error`,
  pretrain: pretrain && `#/runs/${pretrain}`,
  rungs: halving && `#/sweeps/${halving}?tab=rungs`,
  sounds: sounds && `#/runs/${sounds}`,
  masks: segmented && `#/runs/${segmented}`,
  walk: walk && `#/runs/${walk}`,
  datasets: '#/datasets',
  dataset: datasets.items[0] && `#/datasets/${datasets.items.at(-1).name}`,
  'dataset-add': '#/add-dataset',
  models: '#/models',
  model: model && `#/models/${model.name}`,
  reports: '#/reports',
  report: report && `#/reports/${report.id}`,
  notices: '#/notices',
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
        if (name === 'map')
          for (const overlay of ['contours of the density', 'what clusters are made of']) {
            await page.getByText('Show', { exact: true }).click();
            await page.getByRole('checkbox', { name: overlay }).check();
            await page.keyboard.press('Escape');
          }
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
  await stop();
}
