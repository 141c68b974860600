/** The list of runs in a real Chromium, at size: made-up runs, nothing is trained. */
import { runLabel, shortNumber, valueText } from '#libs/contracts';
import { readFile } from 'node:fs/promises';
import pg from 'pg';
import type { Page } from 'playwright-core';
import { expect, test } from 'vitest';
import { seed } from '../../bench/seed.js';
import { accessibilityFaults } from '../support/browser.js';
import { dashboardOf, describeInBrowser } from '../support/dashboard.js';
import { sweepsInBulk } from '../support/page-checks.js';
import { eventually } from '../support/eventually.js';

/** Pages take their time on a busy machine. */
const LATER = { timeout: 30_000 };

describeInBrowser('the list of runs', () => {
  const dashboard = dashboardOf((stack) => seed(stack.database.url, { runs: 300, points: 2000, log: () => undefined }));

  const column = async (page: Page, nth: number) =>
    (await page.locator(`table.runs tbody tr td:nth-child(${nth})`).allTextContents()).map(Number);

  test('metrics are columns, sort the list and filter it, all in the address; what matches is tagged', async () => {
    const page = await dashboard.open('#/runs');
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
    const best = await dashboard.stack.client.runs({ sort: '-metric:eval/knn', limit: 50 });
    await expect
      .poll(() => column(page, 4))
      .toEqual(best.items.map(({ metrics }) => Number(metrics['eval/knn']!.toPrecision(4))));
    expect(page.url()).toMatch(/sort=-metric%3Aeval%2Fknn/);

    await page.getByRole('textbox', { name: 'Where' }).fill('eval/knn>0.5, train/loss<4.6');
    await page.getByRole('textbox', { name: 'Where' }).press('Enter');
    const where = ['eval/knn>0.5', 'train/loss<4.6'];
    const matching = await dashboard.stack.client.runs({ where, sort: '-metric:eval/knn', limit: 50 });
    expect(matching.items.length).toBeGreaterThan(2);
    const shown = () => page.locator('table.runs tbody tr td.name').allTextContents();
    await expect.poll(shown, LATER).toEqual(matching.items.map(({ name }) => name));
    await page.reload();
    await expect.poll(shown, LATER).toEqual(matching.items.map(({ name }) => name));
    await page.getByRole('button', { name: 'eval/knn', exact: true }).click();
    await expect
      .poll(shown)
      .toEqual(
        (await dashboard.stack.client.runs({ where, sort: 'metric:eval/knn', limit: 50 })).items.map(
          ({ name }) => name,
        ),
      );

    await page.getByRole('button', { name: /^all .* that match/ }).click();
    await page.getByRole('button', { name: 'Tag …' }).click();
    await page.getByRole('dialog').getByLabel('Add').fill('good, keep');
    await page.getByRole('dialog').getByRole('button', { name: 'Tag', exact: true }).click();
    const counts = await dashboard.stack.client.runCounts({ where });
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    await page.getByText(`${total} tagged`).waitFor();
    const tagged = await dashboard.stack.client.runCounts({ tag: 'keep' });
    expect(tagged).toEqual(counts);

    const doomed = (
      await dashboard.stack.client.submitRun({
        spec: { kind: 'pretrain', dataset: 'made-up', batchSize: 64, epochs: 1 },
        tags: ['doomed'],
        requires: { gpu: { name: 'none-such' } },
      })
    ).run;
    await dashboard.stack.client.cancelRun(doomed.id);
    const other = await dashboard.open(`#/runs/${doomed.id}`);
    await other.getByRole('button', { name: 'Delete …' }).click();
    await other.getByRole('button', { name: 'Yes, delete it' }).click();
    await other.waitForURL(/#\/runs$/);
    expect((await dashboard.stack.client.runs({ tag: 'doomed' })).items).toEqual([]);
    await page.getByRole('button', { name: 'Delete …' }).click();
    await page.getByRole('dialog', { name: 'Are you sure?' }).getByRole('button', { name: 'No' }).click();
    expect(await dashboard.stack.client.runCounts({ tag: 'keep' })).toEqual(counts);

    await page.getByRole('button', { name: 'Remove the condition eval/knn>0.5' }).click();
    await page.getByRole('textbox', { name: 'Where' }).fill('accuracy is good');
    await page.locator('input[aria-invalid=true]').waitFor();
  });

  test('fields of the spec are columns, sort the list, and group it; a group leads to its runs', async () => {
    const { client } = dashboard.stack;
    const page = await dashboard.open('#/runs?columns=status,spec:temperature&sort=-spec:temperature');
    const first = await client.runs({ sort: '-spec:temperature', limit: 50 });
    const temperatures = first.items.map(({ spec }) => ('temperature' in spec ? spec.temperature : 0));
    expect(temperatures[0]).toBe(0.5);
    await expect.poll(() => column(page, 4), LATER).toEqual(temperatures);
    await page.locator('th[aria-sort=descending]', { hasText: 'temperature' }).waitFor();

    await page.getByText('Columns', { exact: true }).first().click();
    await page.getByRole('checkbox', { name: 'eval/knn' }).check();
    await page.keyboard.press('Escape');
    await page.getByRole('combobox', { name: 'Group by' }).selectOption('temperature');
    const groups = page.getByRole('region', { name: 'Runs by temperature' }).getByRole('row');
    const { groups: found } = await client.runGroups({ by: ['spec:temperature'], metric: ['eval/knn'] });
    const told = found.map(({ by, runs, metrics }) => [
      by['spec:temperature'] === null ? 'none' : valueText(by['spec:temperature']),
      String(runs),
      metrics['eval/knn']
        ? `${shortNumber(metrics['eval/knn'].mean)} ± ${shortNumber(metrics['eval/knn'].deviation!)}`
        : '',
    ]);
    expect(told.length).toBeGreaterThan(4);
    const shown = async () =>
      Promise.all((await groups.all()).slice(1).map((row) => row.getByRole('cell').allTextContents()));
    await expect.poll(shown, LATER).toEqual(told);
    expect(await accessibilityFaults(page, 'groups of runs')).toEqual([]);

    await page.getByRole('link', { name: '0.2', exact: true }).click();
    await page.getByRole('button', { name: 'Remove the condition spec:temperature=0.2' }).waitFor();
    const { items } = await client.runs({ where: ['spec:temperature=0.2'], sort: '-spec:temperature', limit: 50 });
    expect(items.length).toBeGreaterThan(2);
    await expect
      .poll(() => page.locator('table.runs tbody tr td.name').allTextContents(), LATER)
      .toEqual(items.map((run) => runLabel(run)));
  });

  test('what is chosen stays so on the other pages of a list and after Back, but not in another list', async () => {
    const page = await dashboard.open('#/runs?kind=pretrain');
    const boxes = page.locator('table.runs tbody input[type=checkbox]');
    await boxes.nth(0).check();
    await boxes.nth(3).check();
    await page.getByText('2 chosen').waitFor();
    await page.getByRole('button', { name: 'Further' }).click();
    await page.waitForURL(/at=/);
    await expect.poll(() => boxes.nth(0).isChecked(), LATER).toBe(false);
    await boxes.nth(1).check();
    await page.getByText('3 chosen').waitFor();
    await page.locator('table.runs tbody td.name a').first().click();
    await page.waitForURL(/runs\/[0-9a-f-]{36}/);
    await page.goBack();
    await page.getByText('3 chosen').waitFor();
    await page.getByRole('link', { name: 'Compare', exact: true }).click();
    await page.waitForURL(/compare/);
    expect(new URL(page.url().replace('#/', '')).searchParams.get('runs')!.split(',')).toHaveLength(3);
    await page.goBack();
    await page.getByRole('combobox', { name: 'Kind' }).selectOption('autoencode');
    await page.getByText('0 chosen').waitFor();
  });

  test('runs without a name are told apart, and found by any part of what they are called or of their id', async () => {
    const ids: string[] = [];
    for (const seed of [1, 2, 3]) {
      const spec = { kind: 'pretrain', dataset: 'made-up', batchSize: 64, epochs: 1, seed } as const;
      ids.push((await dashboard.stack.client.submitRun({ spec, requires: { gpu: { name: 'none-such' } } })).run.id);
    }
    const page = await dashboard.open('#/runs');
    const search = page.getByRole('searchbox', { name: 'Name or id' });
    const shown = () => page.locator('table.runs tbody tr td.name').allTextContents();
    const labels = ids.map((id) => `pretrain ${id.slice(-8)}`);
    await expect.poll(async () => (await shown()).slice(0, 3), LATER).toEqual(labels.toReversed());
    for (const part of [
      labels[1]!,
      labels[1]!.toUpperCase().slice(3),
      ids[1]!,
      ids[1]!.slice(20, -3).toUpperCase(),
      ids[1]!.slice(-6),
    ]) {
      await search.fill(part);
      await expect.poll(shown, LATER).toEqual([labels[1]]);
    }
    await page.reload();
    await page.getByRole('link', { name: labels[1]! }).click();
    await page.getByRole('heading', { name: labels[1]!, level: 1 }).waitFor();
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'Copy the id' }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    expect(await page.evaluate<string>('navigator.clipboard.readText()')).toBe(ids[1]);
  });

  test('a run that has diverged leaves the others to be seen; curves are hidden, limited and saved', async () => {
    const { client } = dashboard.stack;
    const database = new pg.Client({ connectionString: dashboard.stack.database.url });
    await database.connect();
    const recorded = async (name: string, valueAt: (step: number) => number) => {
      const spec = { kind: 'pretrain', dataset: 'made-up', batchSize: 64, epochs: 1, seed: name.length } as const;
      const { run } = await client.submitRun({ spec, name, requires: { gpu: { name: 'none-such' } } });
      await database.query(
        `INSERT INTO metric (run_id, key, step, attempt, value)
         SELECT $1, 'train/loss', place - 1, 1, value
         FROM unnest($2::float8[]) WITH ORDINALITY AS p(value, place)`,
        [run.id, Array.from({ length: 60 }, (_, step) => valueAt(step))],
      );
      return run.id;
    };
    const steady = await recorded('steady', (step) => 5 - step / 20);
    const diverged = await recorded('diverged', (step) => 5 * 10 ** (4 * step));
    await database.end();
    const page = await dashboard.open(`#/compare?runs=${steady},${diverged}`);
    const chart = page.getByRole('img', { name: /^train\/loss: / });
    await chart.locator('canvas').waitFor();
    await page.getByText('Beyond what is shown: diverged').waitFor();
    await page.getByLabel('Axes and files of train/loss').click();
    const menu = page.getByRole('group', { name: 'Chart train/loss' });
    await menu.getByLabel('Lowest').fill('3');
    expect(await accessibilityFaults(page, 'the menu of a chart')).toEqual([]);
    const file = async (kind: string) => {
      const button = menu.getByRole('button', { name: `train/loss as ${kind}`, exact: true });
      const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
      return (await readFile(await download.path())).toString('latin1');
    };
    const [head, first] = (await file('CSV')).split('\r\n');
    expect(head).toBe('steps,steady,steady smoothed,diverged,diverged smoothed');
    expect(first).toBe('0,5,5,5,5');
    const svg = await file('SVG');
    expect(svg).toMatch(/^<svg[^]*steady/);
    // The axis begins where it was asked to.
    expect(svg).toMatch(/>3</);
    expect(svg).not.toMatch(/>2\.[58]</);
    expect((await file('PNG')).slice(1, 4)).toBe('PNG');
    await menu.getByRole('button', { name: 'Full screen' }).click();
    await expect.poll(() => page.evaluate<string>('document.fullscreenElement?.className'), LATER).toBe('chart');
    await page.keyboard.press('Escape');
    await page.evaluate('document.fullscreenElement && document.exitFullscreen()');
    await page.getByRole('checkbox', { name: 'Show diverged' }).uncheck();
    await expect.poll(() => chart.getAttribute('aria-label'), LATER).toMatch(/^train\/loss: steady ends at [^;]+$/);
    await page.reload();
    await expect.poll(() => chart.getAttribute('aria-label'), LATER).toMatch(/^train\/loss: steady ends at [^;]+$/);

    // Alone it has a value and ticks that can be read, and told from each other.
    await page.goto(`${client.url}/#/runs/${diverged}`);
    await page.locator('.chart figcaption b').getByText('5.00e236', { exact: true }).waitFor(LATER);
    await page.getByLabel('Axes and files of train/loss').click();
    const ticks = [...(await file('SVG')).matchAll(/>([\d.,e]+)<\/text>/g)].map(([, tick]) => tick!);
    expect(ticks.filter((tick) => tick.length > 8)).toEqual([]);
    const large = ticks.filter((tick) => tick.includes('e'));
    expect(large.length).toBeGreaterThan(2);
    expect(new Set(large).size).toBe(large.length);
  });

  test('what has ended is archived, found when it is asked for, and brought back; nothing that goes on', async () => {
    const { client } = dashboard.stack;
    const spec = { kind: 'pretrain', dataset: 'made-up', batchSize: 64, epochs: 1 } as const;
    const requires = { gpu: { name: 'none-such' } };
    const submitted = async (name: string) =>
      (await client.submitRun({ spec, name, tags: ['shelf'], onDuplicate: 'replicate', requires })).run.id;
    const [ended] = [await submitted('ended'), await submitted('waiting')];
    await client.cancelRun(ended);
    const page = await dashboard.open('#/runs?tag=shelf');
    const shown = async () => (await page.locator('table.runs tbody tr td.name').allTextContents()).toSorted();
    await expect.poll(shown, LATER).toEqual(['ended', 'waiting']);
    expect(await page.getByRole('button', { name: 'Unarchive' }).count()).toBe(0);
    await page.getByRole('checkbox', { name: 'Choose all on this page' }).check();
    await page.getByRole('button', { name: 'Archive', exact: true }).click();
    await page.getByText('1 done, 1 refused: expected a run that has ended, got one that is queued').waitFor(LATER);
    await expect.poll(shown, LATER).toEqual(['waiting']);
    await page.getByRole('combobox', { name: 'Archive' }).selectOption('archived only');
    await expect.poll(shown, LATER).toEqual(['ended']);
    expect(page.url()).toContain('archived=yes');
    expect(await accessibilityFaults(page, 'the archive')).toEqual([]);
    await page.getByRole('link', { name: 'ended', exact: true }).click();
    await page.getByText('archived', { exact: true }).waitFor(LATER);
    await page.getByRole('button', { name: 'Unarchive ended' }).click();
    await page.getByRole('button', { name: 'Archive ended', exact: true }).click();
    await page.getByRole('button', { name: 'Unarchive ended' }).waitFor(LATER);
    await page.goBack();
    await page.getByRole('button', { name: /^all .* that match/ }).click();
    await page.getByRole('button', { name: 'Unarchive …' }).click();
    const dialog = page.getByRole('dialog', { name: 'Are you sure?' });
    await dialog.getByText('Unarchive 1 runs').waitFor(LATER);
    await dialog.getByRole('button', { name: 'Yes, all of them' }).click();
    await page.getByText('No run is like that.').waitFor(LATER);
    expect((await client.run(ended)).archivedAt).toBeNull();

    const { sweep } = await client.submitSweep({
      spec: {
        name: 'shelved',
        stages: { pretrain: { ...spec, seed: 77 } },
        parameters: {},
        metric: { name: 'eval/knn' },
      },
      requires,
    });
    await client.cancelSweep(sweep.id);
    await page.goto(`${client.url}/#/sweeps/${sweep.id}`);
    await page.getByRole('button', { name: 'Archive … shelved' }).click();
    const asked = page.getByRole('dialog', { name: 'Archive shelved?' });
    await asked.getByRole('checkbox').check();
    expect(await accessibilityFaults(page, 'archiving a sweep')).toEqual([]);
    await asked.getByRole('button', { name: 'Yes, archive it' }).click();
    await page.getByRole('button', { name: 'Unarchive', exact: true }).waitFor(LATER);
    await page.goto(`${client.url}/#/sweeps`);
    const link = page.getByRole('link', { name: 'shelved' });
    await page.getByRole('combobox', { name: 'Archive' }).selectOption('with archived');
    await link.waitFor(LATER);
    await page.getByRole('combobox', { name: 'Archive' }).selectOption('without archived');
    await link.waitFor({ state: 'detached', ...LATER });
    await sweepsInBulk(page, client, { pretrain: spec });
  });

  test('a dataset version is deleted where no run is of it, after asking', async () => {
    const database = new pg.Client({ connectionString: dashboard.stack.database.url });
    await database.connect();
    await database.query(
      `INSERT INTO dataset (name, digest, manifest, run_id)
       SELECT 'unused', repeat('f', 64), manifest, run_id
       FROM dataset`,
    );
    await database.query(
      `INSERT INTO worker (id, host, pid, state, slots, versions, heartbeat_at)
       VALUES ('told', 'attic', 1, 'draining', 1, '{}', now() + interval '1 hour')`,
    );
    await database.end();
    const page = await dashboard.open('#/machines');
    await page.getByText('can’t be called back; attic has a worker again when another is started there').waitFor();
    expect(await page.getByRole('button', { name: 'Drain … told' }).count()).toBe(0);
    await page.goto(`${dashboard.stack.client.url}/#/datasets`);
    const deletion = async (name: string) => {
      await page.getByRole('button', { name: `Delete … ${name}@` }).click();
      return page.getByRole('dialog', { name: `Delete ${name}@` });
    };
    const needed = await deletion('made-up');
    await needed.getByRole('button', { name: 'Yes, delete it' }).click();
    await needed.getByRole('alert').getByText('expected a dataset version that no run is of').waitFor();
    expect(await accessibilityFaults(page, 'a refused deletion')).toEqual([]);
    await needed.getByRole('button', { name: 'No', exact: true }).click();

    await (await deletion('unused')).getByRole('button', { name: 'No', exact: true }).click();
    await (await deletion('unused')).getByRole('button', { name: 'Yes, delete it' }).click();
    await page.getByRole('button', { name: 'Delete … unused@' }).waitFor({ state: 'detached' });
    expect((await dashboard.stack.client.datasets()).items.map(({ name }) => name)).toEqual(['made-up']);
  });

  test('what several parts of a page can’t show for one reason is told once', async () => {
    const page = await dashboard.open('#/runs?group=kind&parent=nobody');
    await page.getByText('Not here either, for the reason that is told above.').waitFor(LATER);
    await page.getByRole('alert').getByText('parent: expected the id of a run').waitFor(LATER);
    expect(await page.getByRole('alert').count()).toBe(1);
  });

  test('what only the API knows to be wrong is told at its field, and goes when the field is changed', async () => {
    const page = await dashboard.open('#/new');
    await page.getByRole('textbox', { name: 'YAML of the run or sweep' }).click();
    await page.keyboard.press('ControlOrMeta+a');
    await page.keyboard.insertText('kind: finetune\ndataset: nowhere\nfrom: null\nlabelFraction: 1\nsteps: 5\n');
    const dataset = page.locator('#field-dataset');
    await expect.poll(() => dataset.getAttribute('aria-invalid'), LATER).toBe('true');
    await page
      .locator('#field-dataset-fault')
      .getByText(/nowhere/)
      .waitFor();
    await page.getByRole('list', { name: 'Faults' }).getByText('line 2').waitFor();
    expect(await accessibilityFaults(page, 'a fault at a field')).toEqual([]);
    await dataset.fill('made-up');
    await expect.poll(() => dataset.getAttribute('aria-invalid'), LATER).toBe(null);
    const fraction = page.locator('#field-labelFraction');
    await fraction.fill('0.000001');
    await expect.poll(() => fraction.getAttribute('aria-invalid'), LATER).toBe('true');
    await page.getByRole('list', { name: 'Faults' }).getByText('line 4').waitFor();
  });

  test('a view of the list is saved by name, for all, and chosen again', async () => {
    const { client } = dashboard.stack;
    const page = await dashboard.open('#/runs?kind=finetune&sort=name&columns=status,kind');
    const name = page.getByRole('textbox', { name: 'This one as' });
    // What is beside it becomes wider when the list is there: a click may fall where it no longer is.
    const openViews = () =>
      eventually(async () => {
        if (!(await name.isVisible())) await page.getByText('Views', { exact: true }).click();
        expect(await name.isVisible()).toBe(true);
      });
    await openViews();
    await name.fill('not a name');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByRole('alert').getByText('expected 1 to 128 of A-Z a-z').waitFor(LATER);
    await name.fill('finetuned');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    const saved = page.getByRole('list', { name: 'Saved views' });
    await saved.getByRole('link', { name: 'finetuned' }).waitFor(LATER);
    expect(await accessibilityFaults(page, 'saved views')).toEqual([]);
    expect((await client.savedViews()).map((view) => [view.name, view.query])).toEqual([
      ['finetuned', { kind: 'finetune', sort: 'name', columns: 'status,kind' }],
    ]);

    await page.goto(`${client.url}/#/runs`);
    await page.reload();
    await openViews();
    await saved.getByRole('link', { name: 'finetuned' }).click();
    await expect.poll(() => page.url(), LATER).toContain('#/runs?columns=status,kind&kind=finetune&sort=name');
    await page.getByRole('button', { name: 'Delete … the view finetuned' }).click();
    await page.getByRole('button', { name: 'Yes, delete it' }).click();
    await expect.poll(() => client.savedViews(), LATER).toEqual([]);
    await expect(client.putSavedView('wrong', { where: 'eval/knn' })).rejects.toThrow('where');
    await expect(client.deleteSavedView('finetuned')).rejects.toThrow('expected a saved view, got finetuned');
  });
});
