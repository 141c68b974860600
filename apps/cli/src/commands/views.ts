/** Ways to look at the list of runs, saved by name for all. */
import type { SavedQuery } from '#libs/contracts';
import type { Command } from 'commander';
import { filtered, filterOf, type Filter } from '../options.js';
import { client, out, show } from '../program.js';
import { filterWithId } from '../references.js';
import { table } from '../render.js';

async function listViews(): Promise<void> {
  const list = await (await client()).savedViews();
  show({ items: list }, () =>
    table(
      ['name', 'runs'],
      list.map(({ name, query }) => [
        name,
        Object.entries(query)
          .map((each) => each.join('='))
          .join(' ') || 'all',
      ]),
      out,
    ),
  );
}

export function addViews(program: Command): void {
  const views = program
    .command('views')
    .description('ways to look at the list of runs, saved by name; `loom runs --view NAME` lists one')
    .action(listViews);
  views.command('list').alias('ls').description('list them, as `loom views` alone does').action(listViews);
  filtered(views.command('set <name>').description('save a view, in the place of the one of its name'))
    .option('--sort <field>', 'what runs are sorted by, with a leading - for the largest first')
    .action(async (view: string, { sort, ...options }: Filter & { sort?: string }) => {
      const api = await client();
      const query = { ...(await filterWithId(api, filterOf(options))), ...(sort && { sort }) } as SavedQuery;
      const saved = await api.putSavedView(view, query);
      show(saved, () => `view ${saved.name} saved\n`);
    });
  views
    .command('delete <name>')
    .alias('rm')
    .description('delete a saved view')
    .action(async (view: string) => {
      await (await client()).deleteSavedView(view);
      show({ deleted: view }, () => `${view} deleted\n`);
    });
}
