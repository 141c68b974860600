/** Pages that stay open, in a real Chromium: while the API is away, and while nothing happens. */
import pg from 'pg';
import type { Page, Request } from 'playwright-core';
import { expect, test } from 'vitest';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';
import { LONG, prepareStripes } from '../support/small-runs.js';

/** From when the API answers again until a page shows what is so. */
const FRESH_MS = 5000;
/** For what a page shows by itself; a machine may be busy. */
const SOON = { timeout: 20_000 };
/** An idle page's minute. */
const MOST_REQUESTS = 10;
const MOST_BYTES = 20_000;
/** How much of it is watched. */
const IDLE_MS = 30_000;

const RUN = 'kind: pretrain\ndataset: stripes\nbatchSize: 16\nepochs: 1\nencoder: {width: 4}\n';

const sizeOf = async (request: Request): Promise<number> => {
  const { responseBodySize, responseHeadersSize } = await request.sizes();
  return responseBodySize + responseHeadersSize;
};

describeInBrowser('a page that stays open', () => {
  let api: { kill(signal: NodeJS.Signals): Promise<unknown> };
  const dashboard = dashboardOf(async (stack) => {
    api = stack.api;
    await prepareStripes(stack);
    return { training: await stack.submit(LONG, { name: 'long-one' }) };
  });

  /** Ends the API for as long as `meanwhile` takes, and starts it where it was. @returns when it answers again */
  async function away(meanwhile: () => Promise<void>): Promise<number> {
    await api.kill('SIGKILL');
    await meanwhile();
    api = await dashboard.stack.startApi({ LOOM_PORT: new URL(dashboard.stack.client.url).port });
    return performance.now();
  }

  const stepsShown = async (page: Page): Promise<number> => {
    const label = await page.getByRole('img', { name: /^train\/loss: / }).getAttribute('aria-label', SOON);
    return Number(/after (\d+) steps/.exec(label ?? '')?.[1] ?? 0);
  };
  const expectFresh = async (since: number, shown: Promise<unknown>) => {
    await shown;
    expect(performance.now() - since).toBeLessThan(FRESH_MS);
  };

  test('while nothing happens, Overview and Runs ask little of the API', async () => {
    const page = await dashboard.open('#/');
    // It waits for a worker, which is not there.
    await page.getByText('long-one').first().waitFor();
    const list = await page.context().newPage();
    await list.goto(`${dashboard.stack.client.url}/#/runs`);
    await list.getByText('long-one').first().waitFor();
    // Until what is asked at the beginning is through.
    await list.waitForTimeout(5000);
    const idle = [page, list].map((each) => {
      const asked: Request[] = [];
      each.on('request', (request) => asked.push(request));
      return asked;
    });
    await list.waitForTimeout(IDLE_MS);
    for (const asked of idle.map((each) => each.slice())) {
      const sizes = await Promise.all(asked.map(sizeOf));
      const perMinute = 60_000 / IDLE_MS;
      expect(asked.length * perMinute, 'requests a minute').toBeLessThan(MOST_REQUESTS);
      expect(sizes.reduce((sum, each) => sum + each, 0) * perMinute, 'bytes a minute').toBeLessThan(MOST_BYTES);
    }
  });

  /** What lists show, as another API would change it. */
  async function changeBehindItsBack(run: string): Promise<void> {
    const client = new pg.Client({ connectionString: dashboard.stack.database.url });
    await client.connect();
    await client.query(`UPDATE run SET name = 'late' WHERE id = $1`, [run]);
    await client.query(
      `INSERT INTO dataset (name, digest, manifest, run_id)
       SELECT 'late', repeat('f', 64), manifest, run_id
       FROM dataset`,
    );
    await client.query(
      `INSERT INTO report (id, title, blocks, updated_at) VALUES (gen_random_uuid(), 'late', '[]', now())`,
    );
    await client.end();
  }

  test('the overview comes back with the API, and so do lists, with what has changed meanwhile', async () => {
    const { stack } = dashboard;
    const page = await dashboard.open('#/', { restarts: true });
    await page.getByRole('link', { name: 'long-one' }).first().waitFor();
    const doomed = await stack.submit({ kind: 'prepare-dataset', name: 'other', path: 'stripes' }, { name: 'doomed' });
    await page.getByRole('link', { name: 'doomed' }).first().waitFor(SOON);
    const lists = await Promise.all(
      ['runs', 'datasets', 'reports'].map(async (place) => {
        const list = await page.context().newPage();
        await list.goto(`${stack.client.url}/#/${place}`);
        await list.locator('.panel.flush').waitFor(SOON);
        return list;
      }),
    );
    await expectFresh(
      await away(async () => {
        await Promise.all([page, ...lists].map((each) => each.getByText('Offline.').waitFor(SOON)));
        await changeBehindItsBack(doomed);
      }),
      Promise.all([
        page.getByText('Offline.').waitFor({ state: 'detached', ...SOON }),
        ...lists.map((list) => list.getByRole('link', { name: 'late', exact: true }).waitFor(SOON)),
      ]),
    );
    await stack.client.cancelRun(doomed);
    await expect.poll(() => page.locator('.tile', { hasText: 'waiting' }).textContent(), SOON).toBe('1waiting');
  });

  test('the plan of what is written comes as soon as the API is back', async () => {
    const page = await dashboard.open('#/new', { restarts: true });
    const editor = page.getByRole('textbox', { name: 'YAML of the run or sweep' });
    const write = async (text: string) => {
      await editor.click();
      await page.keyboard.press('ControlOrMeta+a');
      await page.keyboard.insertText(text);
    };
    await write(RUN);
    await page.getByText('1 trial, 1 new runs').waitFor(SOON);
    await expectFresh(
      await away(async () => {
        await write(`${RUN}seed: 7\n`);
        await page.getByText('it is asked again for the plan').waitFor(SOON);
        expect(await page.getByRole('button', { name: 'Submit', exact: true }).isDisabled()).toBe(true);
      }),
      page.getByText('ready', { exact: true }).waitFor(SOON),
    );
    await page.getByText('1 trial, 1 new runs').waitFor(SOON);
  });

  test('what is zoomed into stays so over new points, and what is under the pointer is said', async () => {
    const { stack, made } = dashboard;
    stack.startWorker();
    await stack.runsAt(made.training, 60);
    const page = await dashboard.open(`#/runs/${made.training}`);
    const chart = page.locator('.chart', { has: page.getByRole('img', { name: /^train\/loss: / }) });
    await expect.poll(() => stepsShown(page), SOON).toBeGreaterThan(60);
    const { x, y, width, height } = (await chart.locator('.u-over').boundingBox())!;
    const readAt = async (part: number): Promise<string> => {
      await page.mouse.move(x + part * width - 2, y + height / 2);
      await page.mouse.move(x + part * width, y + height / 2);
      return (await chart.locator('figcaption b').textContent()) ?? '';
    };
    await readAt(0.2);
    await page.mouse.down();
    await page.mouse.move(x + 0.5 * width, y + height / 2, { steps: 5 });
    await page.mouse.up();
    let zoomed = '';
    // A slow page draws the part that was chosen a moment later.
    await expect.poll(async () => (zoomed = await readAt(0.95)), SOON).toMatch(/^\S+ smoothed, \S+ raw at \d+$/);
    const before = await stepsShown(page);
    await expect.poll(() => stepsShown(page), SOON).toBeGreaterThan(before + 100);
    const stepOf = (text: string) => Number(text.split(' at ')[1]);
    await expect.poll(async () => stepOf(await readAt(0.95)), SOON).toBe(stepOf(zoomed));
  });

  test('a run that trains is followed on however long the API is away', async () => {
    const { stack, made } = dashboard;
    stack.startWorker();
    await stack.runsAt(made.training, 60);
    const page = await dashboard.open(`#/runs/${made.training}`, { restarts: true });
    await page.locator('.live').waitFor(SOON);
    await expect.poll(() => stepsShown(page), SOON).toBeGreaterThan(0);
    let seen = 0;
    const back = await away(async () => {
      await page.getByText('Offline.').waitFor(SOON);
      await page.getByText('connecting …').waitFor(SOON);
      seen = await stepsShown(page);
      // Longer than ten tries with their pauses take.
      await page.waitForTimeout(20_000);
    });
    await expectFresh(
      back,
      Promise.all([
        page.locator('.live').waitFor(SOON),
        page.getByText('Offline.').waitFor({ state: 'detached', ...SOON }),
        expect.poll(() => stepsShown(page), SOON).toBeGreaterThan(seen),
      ]),
    );
    await stack.client.cancelRun(made.training);
    await page.locator('.title .status.cancelled').waitFor(SOON);
  });
});
