/** Parts of what is tried in a browser, for pages that are open. */
import { readFile } from 'node:fs/promises';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { accessibilityFaults } from './browser.js';

/** Where what a browser shows beside a page goes in its place; it may show nothing before somebody was asked. */
const STAND_IN_FOR_NOTIFICATIONS = `globalThis.shown = [];
  globalThis.Notification = class {
    static permission = 'default';
    static async requestPermission() { return (this.permission = 'granted'); }
    constructor(title) { shown.push(title); }
  }`;

const shownBeside = (page: Page) => page.evaluate<string[]>('shown');

/** On the page of a run that trains: asks to hear of its end and of its loss, of which it hears at once. */
export async function asksToHear(page: Page, name: string): Promise<void> {
  await page.evaluate(STAND_IN_FOR_NOTIFICATIONS);
  await page.getByText('Notify me').click();
  const menu = page.getByRole('group', { name: `Notices of ${name}` });
  await menu.getByRole('button', { name: 'Also show them outside of the page' }).click();
  await menu.getByText('The browser shows them outside of the page too.').waitFor();
  await menu.getByRole('checkbox', { name: 'when it ends' }).check();
  const threshold = menu.getByRole('textbox', { name: 'when' });
  await threshold.fill('train/loss is low');
  expect(await menu.getByRole('button', { name: 'Add' }).isDisabled()).toBe(true);
  await threshold.fill('train/loss > 0');
  await threshold.press('Enter');
  expect(await accessibilityFaults(page, 'what one wants to hear of')).toEqual([]);
  // While nobody sees the page it looks all the same.
  await page.evaluate(`Object.defineProperty(document, 'hidden', { configurable: true, value: true });
    document.dispatchEvent(new Event('visibilitychange'))`);
  await expect.poll(() => shownBeside(page), { timeout: 60_000 }).toEqual([`${name}: train/loss>0`]);
  await page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))");
  await page.keyboard.press('Escape');
}

/** On the page of a run that was cancelled after that: both were told, beside the page and in the list. */
export async function hasHeard(page: Page, name: string): Promise<void> {
  await expect
    .poll(() => shownBeside(page), { timeout: 20_000 })
    .toEqual([`${name}: train/loss>0`, `${name}: cancelled`]);
  await page.getByRole('link', { name: 'Notices, 2 new' }).click();
  const told = page.getByRole('list', { name: 'Notices' }).getByRole('link');
  await expect.poll(() => told.allTextContents()).toEqual((await shownBeside(page)).toReversed());
  expect(await accessibilityFaults(page, 'notices')).toEqual([]);
  await page.reload();
  await expect.poll(() => told.count()).toBe(2);
  await told.first().click();
  await page.getByRole('heading', { name, level: 1 }).waitFor();
  await page.getByRole('link', { name: 'Notices', exact: true }).waitFor();
}

/** The axis of a figure of accuracies begins and ends where it was asked to, and it takes the full screen. */
export async function checkLimits(page: Page, title: string): Promise<void> {
  const open = page.getByLabel(`Axis and size of ${title}`);
  await open.click();
  const menu = page.getByRole('group', { name: title });
  await menu.getByLabel('Lowest').fill('12.5');
  await menu.getByLabel('Highest').fill('87.5');
  expect(await accessibilityFaults(page, 'the menu of a figure')).toEqual([]);
  const [drawn] = await Promise.all([
    page.waitForEvent('download'),
    page.getByRole('button', { name: `${title} as SVG` }).click(),
  ]);
  const ticks = [...(await readFile(await drawn.path(), 'utf8')).matchAll(/<text[^>]*>([\d.]+)<\/text>/g)].map(
    ([, tick]) => Number(tick),
  );
  // From the first to the last tick between the ends that were asked for, and none beyond.
  expect(ticks).toEqual(expect.arrayContaining([20, 80]));
  expect(Math.max(...ticks)).toBeLessThanOrEqual(87.5);
  // A click beside it has closed it.
  await open.click();
  await menu.getByRole('button', { name: 'Full screen' }).click();
  await expect.poll(() => page.evaluate<string>('document.fullscreenElement?.className')).toBe('whole');
  await page.evaluate('document.exitFullscreen()');
}

/** A figure is had as each kind of file. `head`: how its table begins. */
export async function handsOut(page: Page, title: string, head: string): Promise<void> {
  for (const [kind, start] of [
    ['SVG', '<svg'],
    ['PNG', '\x89PNG'],
    ['CSV', head],
  ] as const) {
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByRole('button', { name: `${title} as ${kind}` }).click(),
    ]);
    expect((await readFile(await download.path())).toString('latin1').slice(0, 40)).toContain(start);
  }
}

/** On the page of a run that has trained for a second: what it uses is in a place of its own. */
export async function showsUsage(page: Page): Promise<void> {
  await page.getByRole('tab', { name: 'Machine' }).click();
  await page.getByRole('img', { name: /^Memory, MiB: Memory, MiB ends at [\d,.]+ after / }).waitFor();
  await page.getByRole('region', { name: 'Use of the machine' }).getByText('Processor, % of one core').waitFor();
  expect(await accessibilityFaults(page, 'what a run uses')).toEqual([]);
  await page.getByRole('tab', { name: 'Curves' }).click();
  expect(await page.getByText('Memory, MiB').count()).toBe(0);
}
