/** Parts of what is tried in a browser, for pages that are open. */
import type { LoomClient } from '#libs/contracts';
import { readFile } from 'node:fs/promises';
import type { Locator, Page } from 'playwright-core';
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

/** Rules of axe that depend on colours: the others find the same, whoever gives these. */
const COLOUR_RULES = ['color-contrast', 'link-in-text-block'];

/** What can't be told from what is beside it: curves of a legend, parts of a bar, and what is chosen. */
const TOLD_BY_NO_COLOUR = `(() => {
  const groundOf = (element) => getComputedStyle(element).backgroundColor;
  const faults = [];
  for (const legend of document.querySelectorAll('.legends')) {
    const colours = [...legend.querySelectorAll('.legend i:not(.dashed, .faint)')].map(groundOf);
    if (new Set(colours).size < colours.length) faults.push('a legend has ' + colours);
  }
  for (const part of document.querySelectorAll('.bar i'))
    if (groundOf(part) === groundOf(part.parentElement)) faults.push('a bar hides what is ' + part.className);
  const others = '[aria-pressed=false], [aria-selected=false], nav a:not([aria-current])';
  for (const chosen of document.querySelectorAll('[aria-pressed=true], [aria-selected=true], nav [aria-current]'))
    if ([...chosen.parentElement.children].some((each) => each.matches(others) && groundOf(each) === groundOf(chosen)))
      faults.push(chosen.textContent + ' is chosen, and looks like the others');
  return faults;
})()`;

/** What axe finds where the system gives the colours, and what can't be told by any colour there. */
export async function faultsInForcedColours(page: Page, where: string): Promise<string[]> {
  await page.emulateMedia({ forcedColors: 'active' });
  const faults = await accessibilityFaults(page, `${where} in forced colours`, COLOUR_RULES);
  const alike = await page.evaluate<string[]>(TOLD_BY_NO_COLOUR);
  await page.emulateMedia({ forcedColors: 'none' });
  return [...faults, ...alike.map((fault) => `${where} in forced colours: ${fault}`)];
}

/** The page itself and the files that it is made of: how much came, and what part of its size it was packed to. */
const FILES = `[...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .filter(({ entryType, name }) => entryType === 'navigation' || name.includes('/assets/'))
  .map(({ name, transferSize, encodedBodySize, decodedBodySize }) =>
    ({ name, came: transferSize, packed: decodedBodySize < 1024 ? 0 : encodedBodySize / decodedBodySize }))`;

/** On the overview: its files came packed, and do not come again when it is opened once more. */
export async function sendsFilesOnce(page: Page): Promise<void> {
  type Files = { name: string; came: number; packed: number }[];
  const files = await page.evaluate<Files>(FILES);
  expect(files.length).toBeGreaterThan(2);
  expect(files.filter(({ came }) => came === 0)).toEqual([]);
  expect(files.filter(({ packed }) => packed > 0.8)).toEqual([]);
  const again = await page.context().newPage();
  await again.goto(page.url());
  await again.getByRole('heading', { name: 'Workers' }).waitFor();
  const [entry, ...assets] = await again.evaluate<Files>(FILES);
  // The page is asked for, since what it is made of may have changed.
  expect(entry!.came).toBeGreaterThan(0);
  expect(assets.length).toBeGreaterThan(1);
  expect(assets.filter(({ came }) => came > 0)).toEqual([]);
  await again.close();
}

/** While one run is paused and none waits: it is counted so on the overview and above the list of runs. */
export async function countsOnePaused(page: Page): Promise<void> {
  const other = await page.context().newPage();
  await other.goto(new URL('/#/', page.url()).href);
  const tiles = other.locator('.tile');
  const some = (...texts: string[]): unknown => expect.arrayContaining(texts);
  await expect.poll(() => tiles.allTextContents(), { timeout: 20_000 }).toEqual(some('0waiting', '1paused'));
  await tiles.filter({ hasText: 'paused' }).click();
  await other.waitForURL(/#\/runs\?status=paused$/);
  await expect.poll(() => other.locator('table.runs tbody tr').count(), { timeout: 20_000 }).toBe(1);
  const chips = other.getByRole('group', { name: 'Status' }).getByRole('button');
  await expect.poll(() => chips.allTextContents()).toEqual(some('waiting 0', 'paused 1'));
  await other.close();
}

/** On the results of a sweep of two seeds: no band is made of so few, and what ± is, is said. */
export async function saysHowSure(page: Page): Promise<void> {
  const labels = page.getByRole('region', { name: 'Which views need the fewest labels' });
  await labels.getByText('95 % intervals are drawn from 3 seeds on').waitFor();
  await labels.locator('svg [aria-label=line] path').first().waitFor({ state: 'attached' });
  expect(await labels.locator('svg [aria-label=area] path').count()).toBe(0);
  await page.getByText('± is half of the 95 % interval over seeds').waitFor();
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

/**
 * Lines of trials side by side, from the highest to the lowest on the last axis: how green each is, which of the scale
 * of colours grows with the value.
 */
const greensFromTheTop = (page: Page) =>
  page.evaluate<number[]>(`[...document.querySelectorAll(
    '[aria-label^="Parallel coordinates"] svg [aria-label=line] path[stroke]')]
    .map((path) => [Number(path.getAttribute('d').split(',').at(-1)), path.getAttribute('stroke')])
    .sort((a, b) => a[0] - b[0])
    .map(([, stroke]) => Number(/^#..(..)/.exec(stroke) ? parseInt(/^#..(..)/.exec(stroke)[1], 16)
      : /, ?(\\d+),/.exec(stroke)[1]))`);

/** Trials side by side are coloured by the metric of the sweep first, and by another when it is chosen. */
export async function colouredByLastAxis(page: Page, own: string, other: string): Promise<void> {
  const coloured = page.getByRole('combobox', { name: 'Coloured by' });
  for (const metric of [own, other]) {
    if (metric === other) await coloured.selectOption(other);
    expect(await coloured.inputValue()).toBe(metric);
    const title = metric.replace('eval/', '');
    await page.getByRole('img', { name: new RegExp(`^Parallel coordinates of .*, ${title}$`) }).waitFor();
    await page.getByText(`came of it; coloured by ${metric}`).waitFor();
    const greens = await greensFromTheTop(page);
    expect(greens.length).toBeGreaterThan(1);
    expect(greens).toEqual(greens.toSorted((a, b) => b - a));
  }
  await coloured.selectOption(own);
}

/**
 * Opens the results of a sweep of whose trials too few were trained for “What each view adds” and “What matters”, as
 * if there were enough: one gain that can be told from none, and one that can't.
 */
async function withEffects(page: Page, sweep: string): Promise<void> {
  await page.route(`**/v1/sweeps/${sweep}/results`, async (route) => {
    const answer = await route.fetch();
    const effects = [
      { name: 'crop', effect: { mean: 0.1, ci95: 0.02, n: 3 } },
      { name: 'flip', effect: { mean: 0.001, ci95: 0.02, n: 3 } },
    ];
    const importance = [{ parameter: 'pretrain.augmentation', importance: 1.2 }];
    await route.fulfill({ response: answer, json: { ...((await answer.json()) as object), effects, importance } });
  });
  await page.reload();
}

/** A gain is coloured as one where chance can be told from it; both figures say what their numbers are of. */
export async function tellsGainFromChance(page: Page, sweep: string): Promise<void> {
  await withEffects(page, sweep);
  const adds = /^What each augmentation adds to [^:]+: crop 10\.0 %, flip 0\.1 % \(may be none\)$/;
  await page.getByRole('img', { name: adds }).waitFor();
  const bars = `[...document.querySelectorAll('[aria-label^="What each augmentation"] [aria-label=bar] rect')]
    .map((bar) => bar.getAttribute('fill'))`;
  await expect.poll(async () => new Set(await page.evaluate<string[]>(bars)).size).toBe(2);
  await page.getByRole('img', { name: /^Importance for [^:]+: pretrain\.augmentation 120 %$/ }).waitFor();
  await page.getByText('in % of the variance of').waitFor();
}

/** “What each view adds” and “What matters” lead to trials: by a click, by keyboard and by touch. */
export async function leadsToTrials(page: Page, sweep: string): Promise<void> {
  await withEffects(page, sweep);
  const adds = page.getByRole('region', { name: 'What each view adds' });
  const matters = page.getByRole('region', { name: 'What matters' });
  const trials = page.getByRole('region', { name: 'Trials' }).locator('tbody tr');
  const augmentations = async () =>
    (await trials.all()).length > 0
      ? Promise.all((await trials.all()).map((row) => row.getByRole('cell').nth(2).textContent()))
      : [];
  const sorted = async () => (await augmentations()).toSorted();
  const back = () => page.getByRole('tab', { name: 'Results' }).click();
  await adds.getByRole('link', { name: 'flip' }).waitFor();
  expect(await accessibilityFaults(page, 'figures that lead to trials')).toEqual([]);

  // A figure is drawn anew as its place becomes as wide as it will be: what met the one before is tried again.
  const row = (figure: Locator, place: number) => figure.locator('svg [aria-label=cell] a').nth(place);
  const until = async (act: () => Promise<unknown>, address: RegExp) => {
    const tried = async () => {
      if (!address.test(page.url())) await act().catch(() => undefined);
      return page.url();
    };
    await expect.poll(tried, { timeout: 30_000 }).toMatch(address);
  };
  // Its bar is hardly to be seen: the row leads there.
  await until(() => row(adds, 1).click({ timeout: 2000 }), /tab=trials&trials=\w/);
  await expect.poll(sorted).toEqual(['crop+flip', 'flip']);
  await back();
  await adds.getByRole('link', { name: 'crop' }).press('Enter');
  await expect.poll(sorted).toEqual(['crop', 'crop+flip']);
  await back();
  await until(() => row(matters, 0).tap({ timeout: 2000 }), /by=pretrain.augmentation&tab=trials/);
  await expect.poll(augmentations).toEqual(['crop', 'crop+flip', 'flip']);
  await back();
  await matters.getByRole('link', { name: 'augmentation' }).press('Enter');
  await expect
    .poll(() => page.getByRole('combobox', { name: 'Highest first by' }).inputValue())
    .toBe('pretrain.augmentation');
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

/** Of three sweeps that wait for ever, chosen ones are cancelled, archived, paused and deleted from their list. */
export async function sweepsInBulk(
  page: Page,
  client: LoomClient,
  stages: Record<string, Record<string, unknown>>,
): Promise<void> {
  const names = ['bulk-a', 'bulk-b', 'bulk-c'];
  const ids: string[] = [];
  for (const [seed, name] of names.entries()) {
    const spec = {
      name,
      stages,
      parameters: { 'pretrain.seed': { values: [900 + seed] } },
      metric: { name: 'eval/knn' },
    };
    ids.push((await client.submitSweep({ spec, requires: { gpu: { name: 'none-such' } } })).sweep.id);
  }
  const statuses = async () => Promise.all(ids.map(async (id) => (await client.sweep(id)).status));
  const choose = async (...some: string[]) => {
    for (const name of some) await page.getByRole('checkbox', { name: `Choose ${name}` }).check();
    await page.getByText(`${some.length} chosen`).waitFor();
  };
  const act = (word: string) => page.getByRole('button', { name: word, exact: true }).click();
  const dialog = page.getByRole('dialog', { name: 'Are you sure?' });
  const yes = () => dialog.getByRole('button', { name: 'Yes, all of them' }).click();
  await page.goto(`${client.url}/#/sweeps`);
  await page.getByRole('link', { name: 'bulk-c' }).waitFor();
  expect(await page.getByRole('button', { name: 'Cancel …' }).isDisabled()).toBe(true);
  await choose('bulk-a', 'bulk-b');
  await act('Cancel …');
  await dialog.getByText('Cancel 2 sweeps?').waitFor();
  expect(await accessibilityFaults(page, 'before sweeps are cancelled')).toEqual([]);
  await yes();
  await page.getByText('2 done', { exact: true }).waitFor();
  await choose('bulk-c');
  await act('Pause');
  await page.getByText('1 done', { exact: true }).waitFor();
  expect(await statuses()).toEqual(['cancelled', 'cancelled', 'paused']);
  await choose('bulk-a', 'bulk-c');
  await act('Archive');
  await page.getByText(/^1 done, 1 refused: expected a sweep that has ended, got one that is paused/).waitFor();
  await page.getByRole('link', { name: 'bulk-a' }).waitFor({ state: 'detached' });
  await choose('bulk-c');
  await act('Resume');
  await expect.poll(statuses).toEqual(['cancelled', 'cancelled', 'running']);
  await page.getByRole('combobox', { name: 'Archive' }).selectOption('with archived');
  await page.getByRole('link', { name: 'bulk-a' }).waitFor();
  await choose('bulk-a', 'bulk-b');
  await act('Delete …');
  await dialog.getByText('Delete 2 sweeps?').waitFor();
  await dialog.getByRole('checkbox').check();
  await yes();
  await page.getByText('2 done', { exact: true }).waitFor();
  await page.getByRole('link', { name: 'bulk-a' }).waitFor({ state: 'detached' });
  await client.cancelSweep(ids[2]!);
  const left = (await client.sweeps({ archived: 'all' })).items.map(({ id }) => id).filter((id) => ids.includes(id));
  expect(left).toEqual([ids[2]]);
}
