/** What is done to runs, to those named or to all that a filter names. */
import type { BulkResult, LoomClient, Run, RunAction } from '#libs/contracts';
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { filtered, filterOf, positive, type Filter } from '../options.js';
import { client, say, settings, show } from '../program.js';
import { filterWithId, runId, runIds } from '../references.js';

const names = (text = ''): string[] =>
  text
    .split(',')
    .map((each) => each.trim())
    .filter(Boolean);
const runCount = (count: number): string => `${count} ${count === 1 ? 'run' : 'runs'}`;

const ACTIONS = {
  cancel: ['cancel runs', (api: LoomClient, id: string) => api.cancelRun(id)],
  pause: ['stop runs at a checkpoint until they are resumed', (api: LoomClient, id: string) => api.pauseRun(id)],
  resume: ['queue paused runs, which go on from their checkpoints', (api: LoomClient, id: string) => api.resumeRun(id)],
  retry: ['queue runs again that failed or were cancelled', (api: LoomClient, id: string) => api.retryRun(id)],
  archive: ['leave runs that have ended out of lists', (api: LoomClient, id: string) => api.archiveRun(id)],
  unarchive: ['have archived runs in lists again', (api: LoomClient, id: string) => api.unarchiveRun(id)],
} as const satisfies Record<RunAction, [string, (api: LoomClient, id: string) => Promise<Run>]>;

interface Choice extends Filter {
  all?: boolean;
  dryRun?: boolean;
}

/** Ids, or a filter, or all: exactly one of the three. */
function checkChoice(ids: readonly string[], { all = false, dryRun = false, ...options }: Choice): void {
  const chosen = Number(ids.length > 0) + Number(Object.keys(filterOf(options)).length > 0) + Number(all);
  if (chosen !== 1 || (dryRun && ids.length > 0))
    throw new UsageError(
      'expected ids, or a filter such as --status or --tag, or --all: one of the ' +
        `three${dryRun ? ', and no ids with --dry-run' : ''}`,
    );
}

/** What came of an action on all that a filter names: `words` such as `deleted`, or `would delete`. */
function showBulk(result: Omit<BulkResult, 'nextCursor'>, words: string): void {
  const skipped = Object.entries(result.skipped)
    .map(([reason, count]) => `${count} ${reason}`)
    .join(', ');
  show(result, () => `${words} ${runCount(result.done)}${skipped ? `; left as they are: ${skipped}` : ''}\n`);
}

export function addRunActions(program: Command): void {
  for (const [action, [description, act]] of Object.entries(ACTIONS) as [RunAction, (typeof ACTIONS)[RunAction]][]) {
    filtered(
      program.command(`${action} [id...]`).description(`${description}: those named, or those that a filter names`),
    )
      .option('--all', 'all runs')
      .option('--dry-run', 'only count what a filter names')
      .action(async (ids: string[], choice: Choice) => {
        checkChoice(ids, choice);
        const { all: _, dryRun = false, ...options } = choice;
        const api = await client();
        if (ids.length > 0) {
          const changed: Run[] = [];
          for (const id of await runIds(api, ids)) {
            const run = await act(api, id);
            changed.push(run);
            if (!settings().json) say(`${id} ${run.status}`);
          }
          if (settings().json) show(changed, () => '');
        } else {
          const result = await api.bulkRuns(
            { action, filter: await filterWithId(api, filterOf(options)) },
            { validateOnly: dryRun },
          );
          showBulk(result, `${action} ${dryRun ? 'would change' : 'changed'}`);
        }
      });
  }
}

export function addDelete(program: Command): void {
  filtered(
    program
      .command('delete [id...]')
      .description(
        'delete runs that have ended and that nothing needs, with all that was recorded of them: those named, or ' +
          'those that a filter names',
      ),
  )
    .option('--all', 'all runs')
    .option('--dry-run', 'only count what a filter names')
    .action(async (ids: string[], choice: Choice) => {
      checkChoice(ids, choice);
      const { all: _, dryRun = false, ...options } = choice;
      const api = await client();
      if (ids.length === 0) {
        const result = await api.bulkRuns(
          { action: 'delete', filter: await filterWithId(api, filterOf(options)) },
          { validateOnly: dryRun },
        );
        showBulk(result, dryRun ? 'would delete' : 'deleted');
        return;
      }
      const runs = await runIds(api, ids);
      for (const id of runs) {
        await api.deleteRun(id);
        if (!settings().json) say(`${id} deleted`);
      }
      if (settings().json) show(runs, () => '');
    });
}

export function addTag(program: Command): void {
  filtered(
    program
      .command('tag [id...]')
      .description('give tags to runs, or take them away: those named, or those that a filter names'),
  )
    .option('--add <tags>', 'those to give, separated by commas')
    .option('--remove <tags>', 'those to take away, separated by commas')
    .option('--all', 'all runs')
    .option('--dry-run', 'only count them')
    .action(
      async (
        ids: string[],
        {
          add,
          remove,
          all = false,
          dryRun = false,
          ...options
        }: Filter & { add?: string; remove?: string; all?: boolean; dryRun?: boolean },
      ) => {
        const filter = filterOf(options);
        if (Number(ids.length > 0) + Number(Object.keys(filter).length > 0) + Number(all) !== 1)
          throw new UsageError('expected ids, or a filter such as --status or --where, or --all: one of the three');
        if (add === undefined && remove === undefined) throw new UsageError('expected --add or --remove with tags');
        const api = await client();
        const result = await api.bulkRuns(
          {
            action: 'tag',
            filter: ids.length > 0 ? { id: await runIds(api, ids) } : await filterWithId(api, filter),
            tags: { add: names(add), remove: names(remove) },
          },
          { validateOnly: dryRun },
        );
        const skipped = Object.entries(result.skipped)
          .map(([reason, count]) => `${count} ${reason.replaceAll('_', ' ')}`)
          .join(', ');
        show(
          result,
          () =>
            `${dryRun ? 'would tag' : 'tagged'} ${runCount(result.done)}` +
            `${skipped ? `; left as they are: ${skipped}` : ''}\n`,
        );
      },
    );
}

export function addChange(program: Command): void {
  program
    .command('change <id>')
    .description('change the name, notes, tags or priority of a run; an empty text takes them away')
    .option('--name <name>', 'what it is called')
    .option('--notes <text>', 'any text about it')
    .option('--tags <tags>', 'all its tags, separated by commas')
    .option('--priority <n>', '0 to 100: of the runs of a project that wait, the higher start first', positive)
    .action(async (given: string, options: { name?: string; notes?: string; tags?: string; priority?: number }) => {
      const { name, notes, tags, priority } = options;
      if (Object.keys(options).length === 0)
        throw new UsageError('expected at least one of --name, --notes, --tags and --priority');
      const api = await client();
      const run = await api.changeRun(await runId(api, given), {
        ...(name !== undefined && { name: name || null }),
        ...(notes !== undefined && { notes: notes || null }),
        ...(tags !== undefined && { tags: names(tags) }),
        ...(priority !== undefined && { priority }),
      });
      show(run, () => `changed ${run.id}${run.name === null ? '' : ` (${run.name})`}\n`);
    });
}
