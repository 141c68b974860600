/** What is done to runs, to those named or to all that a filter names. */
import type { LoomClient, Run, RunAction } from '#libs/contracts';
import type { Command } from 'commander';
import { UsageError } from '../document.js';
import { filtered, filterOf, type Filter } from '../options.js';
import { client, say, settings, show } from '../program.js';

const runCount = (count: number): string => `${count} ${count === 1 ? 'run' : 'runs'}`;

const ACTIONS = {
  cancel: ['cancel runs', (api: LoomClient, id: string) => api.cancelRun(id)],
  pause: ['stop runs at a checkpoint until they are resumed', (api: LoomClient, id: string) => api.pauseRun(id)],
  resume: ['queue paused runs, which go on from their checkpoints', (api: LoomClient, id: string) => api.resumeRun(id)],
  retry: ['queue runs again that failed or were cancelled', (api: LoomClient, id: string) => api.retryRun(id)],
} as const satisfies Record<RunAction, [string, (api: LoomClient, id: string) => Promise<Run>]>;

export function addRunActions(program: Command): void {
  for (const [action, [description, act]] of Object.entries(ACTIONS) as [RunAction, (typeof ACTIONS)[RunAction]][]) {
    filtered(
      program.command(`${action} [id...]`).description(`${description}: those named, or those that a filter names`),
    )
      .option('--all', 'all runs')
      .option('--dry-run', 'only count what a filter names')
      .action(
        async (
          ids: string[],
          { all = false, dryRun = false, ...options }: Filter & { all?: boolean; dryRun?: boolean },
        ) => {
          const filter = filterOf(options);
          const chosen = Number(ids.length > 0) + Number(Object.keys(filter).length > 0) + Number(all);
          if (chosen !== 1 || (dryRun && ids.length > 0))
            throw new UsageError(
              'expected ids, or a filter such as --status or --tag, or --all: one of the ' +
                `three${dryRun ? ', and no ids with --dry-run' : ''}`,
            );
          const api = await client();
          if (ids.length > 0) {
            const changed: Run[] = [];
            for (const id of ids) {
              const run = await act(api, id);
              changed.push(run);
              if (!settings().json) say(`${id} ${run.status}`);
            }
            if (settings().json) show(changed, () => '');
          } else {
            const result = await api.bulkRuns({ action, filter }, { validateOnly: dryRun });
            const skipped = Object.entries(result.skipped)
              .map(([reason, count]) => `${count} ${reason}`)
              .join(', ');
            show(
              result,
              () =>
                `${action} ${dryRun ? 'would change' : 'changed'} ${runCount(result.done)}` +
                `${skipped ? `; left as they are: ${skipped}` : ''}\n`,
            );
          }
        },
      );
  }
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
        const names = (text = '') =>
          text
            .split(',')
            .map((each) => each.trim())
            .filter(Boolean);
        const result = await (
          await client()
        ).bulkRuns(
          {
            action: 'tag',
            filter: ids.length > 0 ? { id: ids } : filter,
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
