/** Runs: listed, and each with its curves, attempts and results. */
import type { LoomClient, Run, SavedQuery } from '#libs/contracts';
import type { Command } from 'commander';
import { UsageError } from '../usage-error.js';
import { filtered, filterOf, positive, type Filter } from '../options.js';
import { client, out, show } from '../program.js';
import { filterWithId, runId } from '../references.js';
import { age, curvesText, statusText, table, usageText, waitText } from '../render.js';
import { groupsText, runsText } from '../run-tables.js';

const CURVE_POINTS = 200;
const LARGEST_PAGE = 500;

export function addRuns(program: Command): void {
  filtered(program.command('runs').description('list runs, the newest first'))
    .option('--limit <n>', 'at most so many', positive, 30)
    .option(
      '--sort <field>',
      'createdAt, finishedAt, name, duration, metric:KEY, spec:FIELD …, with a leading - for the largest first ' +
        '(-createdAt)',
    )
    .option('--view <name>', 'those of a saved view (`loom views`); other options take the place of its own')
    .action(async ({ limit, view, ...options }: Filter & { limit: number; sort?: string; view?: string }) => {
      const items: Run[] = [];
      const api = await client();
      const saved = view === undefined ? {} : await viewOf(api, view);
      const sort = options.sort ?? saved.sort ?? '-createdAt';
      if (limit > 0)
        for await (const run of api.eachRun({
          ...saved,
          ...(await filterWithId(api, filterOf(options))),
          sort,
          limit: Math.min(limit, LARGEST_PAGE),
        } as never))
          if (items.push(run) === limit) break;
      show({ items }, () => runsText(items, out, sort));
    });
}

/** What a saved view lists. @throws UsageError where there is none of that name */
async function viewOf(api: LoomClient, name: string): Promise<Omit<SavedQuery, 'columns' | 'group'>> {
  const views = await api.savedViews();
  const found = views.find((view) => view.name === name);
  if (!found)
    throw new UsageError(
      `expected a saved view, got ${name}: ` +
        (views.length ? `there are ${views.map((view) => view.name).join(', ')}` : 'there is none yet'),
    );
  const { columns: _, group: __, ...query } = found.query;
  return query;
}

export function addGroups(program: Command): void {
  filtered(program.command('groups').description('runs in groups of equal fields, with means and spreads of metrics'))
    .option(
      '--by <fields>',
      'what runs of a group share: kind, status, project, spec:FIELD, separated by commas',
      'kind',
    )
    .option('--metric <keys>', 'metrics whose last values are summed up, separated by commas')
    .action(async ({ by, metric, ...options }: Filter & { by: string; metric?: string }) => {
      const api = await client();
      const query = { ...(await filterWithId(api, filterOf(options))), by, ...(metric && { metric }) };
      const groups = await api.runGroups(query as never);
      show(groups, () => groupsText(groups, out));
    });
}

export function addRun(program: Command): void {
  program
    .command('run <id>')
    .description('a run, its curves, attempts and results')
    .action(async (given: string) => {
      const api = await client();
      const id = await runId(api, given);
      const [run, curves] = [await api.run(id), await api.metrics(id, { points: CURVE_POINTS })];
      show({ ...run, curves }, () =>
        [
          `${run.kind} ${run.id}${run.name === null ? '' : ` (${run.name})`}`,
          `status    ${statusText(run.status, out)}${run.statusDetail ? `: ${run.statusDetail}` : ''}`,
          ...(run.waitsFor ? [`waits for ${waitText(run)}`] : []),
          `project   ${run.project}`,
          ...(run.notes === null ? [] : [`notes     ${run.notes}`]),
          ...(run.maxSeconds === null ? [] : [`at most   ${run.maxSeconds} s`]),
          `steps     ${run.step}${run.totalSteps ? ` of ${run.totalSteps}` : ''}`,
          `digest    ${run.digest}`,
          ...(run.parents.length ? [`made from ${run.parents.join(', ')}`] : []),
          ...Object.entries(run.result?.metrics ?? {}).map(([key, value]) => `${key.padEnd(28)} ${value}`),
          '',
          ...[curvesText(curves, out), usageText(curves, out)].filter(Boolean),
          table(
            ['attempt', 'worker', 'started', 'from step', 'outcome'],
            run.attempts.map((each) => [
              String(each.attempt),
              each.workerId,
              age(each.startedAt),
              String(each.resumedFromStep),
              each.outcome ?? '–',
            ]),
            out,
          ),
        ].join('\n'),
      );
    });
}
