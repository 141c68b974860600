/** Names as long as they may be, and in any writing, in a real Chromium: on no page does anything stick out. */
import { SubmitRun } from '#libs/contracts';
import { Database, Runs } from '#libs/platform';
import pg from 'pg';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { seed } from '../../bench/seed.js';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';

const LONG = `${'simclr_resnet18_crop_colorjitter_blur_lr0.004_bs256_seed3'.repeat(3).slice(0, 114)}_${'x'.repeat(2)}`;
const CLASSES = ['Rückenmark'.repeat(12), 'شبكة_عصبية_'.repeat(11), '超長い名前'.repeat(24)];

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
    await client.end();
    return { ids, sweep, running: await runningOnLongHost(stack.database.url) };
  });

  /** A run that somebody has taken who says no more. */
  async function runningOnLongHost(url: string): Promise<string> {
    const database = new Database(url);
    try {
      const { submission, workers, claims } = new Runs(database, { dataRoot: '/', leaseMs: 600_000 });
      const spec = { kind: 'prepare-dataset', name: 'other', path: 'other' } as const;
      const { runId } = await submission.submitRun(SubmitRun.parse({ spec, name: LONG, tags: [LONG] }));
      await workers.registerWorker({ id: LONG, host: LONG, pid: 1, slots: 1, versions: { loom: LONG }, labels: {} });
      await workers.setWorkerState(LONG, 'running');
      expect(await claims.claim({ runId, attempt: 1 }, LONG)).toBeDefined();
      return runId;
    } finally {
      await database.close();
    }
  }

  test.each([390, 1280, 2560])('at %i pixels nothing sticks out, and every action can be reached', async (width) => {
    const { stack, made } = dashboard;
    const sweep = made.sweep.id;
    const [first, second] = made.ids;
    const page = await dashboard.open('#/', { width, height: 844 });
    const found: string[] = [];
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
      '#/machines',
      `#/new?from=${first}`,
    ]) {
      await page.goto(`${stack.client.url}/${hash}`);
      await page.getByRole('heading', { level: 1 }).waitFor();
      await page.locator('.skeleton').first().waitFor({ state: 'detached' });
      found.push(...(await sticksOut(page)).map((what) => `${hash}: ${what}`));
    }
    expect(found).toEqual([]);
    await page.goto(`${stack.client.url}/#/`);
    const box = (await page.getByRole('button', { name: `Cancel ${LONG}` }).boundingBox())!;
    expect(box.x).toBeGreaterThanOrEqual(0);
    expect(box.x + box.width).toBeLessThanOrEqual(width);
  });
});
