/** The list of runs in a real Chromium, at size: made-up runs, nothing is trained. */
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { seed } from '../../bench/seed.js';
import { accessibilityFaults, findChromium, launchChromium, openPage } from '../support/browser.js';
import { startStack, type Stack } from '../support/stack.js';

const found = findChromium();

describe.skipIf('missing' in found)('the list of runs', () => {
  let stack: Stack;
  let browser: Browser;
  let page: Page;
  const wrong: string[] = [];

  beforeAll(async () => {
    stack = await startStack();
    await seed(stack.database.url, { runs: 300, points: 2000, log: () => undefined });
    browser = await launchChromium();
    ({ page } = await openPage(browser, stack.client.url, '#/runs', wrong));
  });
  afterAll(async () => {
    await browser?.close();
    await stack?.stop();
  });

  const column = async (nth: number) =>
    (await page.locator(`table.runs tbody tr td:nth-child(${nth})`).allTextContents()).map(Number);

  test('metrics are columns, sort the list and filter it; all of it is in the address; what matches is tagged', async () => {
    await page.locator('table.runs tbody tr').first().waitFor();
    await page.getByText('Columns', { exact: true }).first().click();
    for (const name of ['status', 'progress', 'result', 'submitted'])
      await page.getByRole('checkbox', { name, exact: true }).uncheck();
    await page.getByRole('checkbox', { name: 'eval/knn' }).check();
    await page.keyboard.press('Escape');
    await page.getByRole('checkbox', { name: 'eval/knn' }).waitFor({ state: 'hidden' });
    expect(await page.evaluate<string>('document.activeElement.textContent')).toBe('Columns');
    await page.keyboard.press('Enter');
    await page.getByRole('checkbox', { name: 'eval/knn' }).waitFor();
    await page.getByRole('heading', { name: 'Runs' }).first().click();
    await page.getByRole('checkbox', { name: 'eval/knn' }).waitFor({ state: 'hidden' });
    await page.getByRole('button', { name: 'eval/knn', exact: true }).click();
    await page.locator('th[aria-sort=descending]', { hasText: 'eval/knn' }).waitFor();
    expect(await accessibilityFaults(page, 'runs')).toEqual([]);
    const best = await stack.client.runs({ sort: '-metric:eval/knn', limit: 50 });
    await expect
      .poll(() => column(4))
      .toEqual(best.items.map(({ metrics }) => Number(metrics['eval/knn']!.toPrecision(4))));
    expect(page.url()).toMatch(/sort=-metric%3Aeval%2Fknn/);

    await page.getByRole('textbox', { name: 'Metrics' }).fill('eval/knn>0.5, train/loss<4.6');
    await page.getByRole('textbox', { name: 'Metrics' }).press('Enter');
    const where = ['eval/knn>0.5', 'train/loss<4.6'];
    const matching = await stack.client.runs({ where, sort: '-metric:eval/knn', limit: 50 });
    expect(matching.items.length).toBeGreaterThan(2);
    const shown = () => page.locator('table.runs tbody tr td.name').allTextContents();
    await expect.poll(shown).toEqual(matching.items.map(({ name }) => name));
    await page.reload();
    await expect.poll(shown).toEqual(matching.items.map(({ name }) => name));
    await page.getByRole('button', { name: 'eval/knn', exact: true }).click();
    await expect
      .poll(shown)
      .toEqual((await stack.client.runs({ where, sort: 'metric:eval/knn', limit: 50 })).items.map(({ name }) => name));

    await page.getByRole('button', { name: /^all .* that match/ }).click();
    await page.getByRole('button', { name: 'Tag …' }).click();
    await page.getByRole('dialog').getByLabel('Add').fill('good, keep');
    await page.getByRole('dialog').getByRole('button', { name: 'Tag', exact: true }).click();
    const counts = await stack.client.runCounts({ where });
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    await page.getByText(`${total} tagged`).waitFor();
    const tagged = await stack.client.runCounts({ tag: 'keep' });
    expect(tagged).toEqual(counts);

    await page.getByRole('button', { name: 'Remove the condition eval/knn>0.5' }).click();
    await page.getByRole('textbox', { name: 'Metrics' }).fill('accuracy is good');
    await page.locator('input[aria-invalid=true]').waitFor();
    expect(wrong).toEqual([]);
  });
});
