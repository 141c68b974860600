/** A run that has written checkpoints for a day, in a real Chromium: its history is made up, nothing is trained. */
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import { expect, test } from 'vitest';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';

const CHECKPOINTS = 600;

/** As if an attempt had written this many checkpoints. */
async function writeCheckpointEvents(databaseUrl: string, id: string): Promise<void> {
  const database = new pg.Client({ connectionString: databaseUrl });
  await database.connect();
  try {
    await database.query(
      `INSERT INTO run_event (run_id, attempt, type, data)
       SELECT $1, 1, 'artifact', jsonb_build_object('name', 'checkpoint-' || step, 'kind', 'checkpoint')
       FROM generate_series(1, $2::int) AS step`,
      [id, CHECKPOINTS],
    );
  } finally {
    await database.end();
  }
}

describeInBrowser('a long run', () => {
  const dashboard = dashboardOf(async (stack) => {
    // No worker fits: the run waits, and its page follows it as it follows one that trains.
    const id = await stack.submit(
      { kind: 'prepare-dataset', name: 'pictures', path: 'pictures' },
      { name: 'long', requires: { gpu: { name: 'none-such' } } },
    );
    await writeCheckpointEvents(stack.database.url, id);
    return id;
  });

  test('its page reads it a few times, however many events its history has', async () => {
    const id = dashboard.made;
    const page = await dashboard.open('#/');
    const reads: string[] = [];
    page.on('request', (request) => {
      const { pathname } = new URL(request.url());
      if (pathname === `/v1/runs/${id}` || pathname === `/v1/runs/${id}/artifacts`) reads.push(pathname);
    });
    await page.goto(`${dashboard.stack.client.url}/#/runs/${id}`);
    await page.getByRole('heading', { name: 'long', exact: true }).waitFor();
    await expect
      .poll(
        async () => Number(/\d+/.exec((await page.getByRole('tab', { name: /^Events/ }).textContent()) ?? '')?.[0]),
        { timeout: 60_000 },
      )
      .toBeGreaterThanOrEqual(CHECKPOINTS);
    expect(reads.length).toBeGreaterThanOrEqual(2);
    // One read at first, and one a second while the history came: each is of the run and of its files.
    expect(reads.length).toBeLessThan(20);
  });

  test('its log comes line by line while one looks, and is searched and saved', async () => {
    const id = dashboard.made;
    const page = await dashboard.open(`#/runs/${id}?tab=log`);
    await page.getByText('The log is empty so far.').waitFor();
    const database = new pg.Client({ connectionString: dashboard.stack.database.url });
    await database.connect();
    const say = async (level: string, message: string) => {
      await database.query('INSERT INTO log_line (run_id, attempt, level, message) VALUES ($1, 1, $2, $3)', [
        id,
        level,
        message,
      ]);
      await database.query(`SELECT pg_notify('run_changed', $1)`, [id]);
    };
    const lines = page.getByRole('log', { name: 'Log' }).locator('div');
    await say('info', 'epoch 1 of 2');
    await expect.poll(() => lines.count()).toBe(1);
    await say('warn', 'three files were left out');
    await expect.poll(() => lines.count()).toBe(2);
    await database.end();
    await page.getByRole('searchbox', { name: 'Search' }).fill('EPOCH');
    await expect.poll(async () => (await lines.allTextContents()).join()).toMatch(/^\S+.* epoch 1 of 2$/);
    await page.getByRole('searchbox', { name: 'Search' }).fill('');
    await page.getByRole('button', { name: 'warnings' }).click();
    await expect.poll(async () => (await lines.allTextContents()).join()).toMatch(/three files were left out$/);
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: 'Download' }).click(),
    ]);
    expect(await readFile(await download.path(), 'utf8')).toMatch(
      /^\S+ info \[1\] epoch 1 of 2\n\S+ warn \[1\] three files were left out\n$/,
    );
  });
});
