/** Which runs are meant: lists, counts, and actions on all runs that a filter names. */
import { z } from 'zod';
import { parseCondition, SPEC_FIELD } from './condition.js';
import { Name } from './dataset.js';
import { cursor, limit, list, tags } from './http-fields.js';
import { RUN_KINDS } from './run-spec.js';
import { RunStatus, type RunAction } from './run-status.js';

/** What runs can be sorted by, beside `metric:KEY` and `spec:FIELD`. `duration` is that of runs that have ended. */
export const RUN_SORTS = ['createdAt', 'startedAt', 'finishedAt', 'name', 'duration', 'priority'] as const;

/** An order: by a field, or by a metric. */
export interface Sort<By extends string> {
  by: By;
  /** The metric's key, or the field of the spec, where the order is by one, else empty. */
  key: string;
  descending: boolean;
}
export type RunSort = Sort<(typeof RUN_SORTS)[number] | 'metric' | 'spec'>;
/** `-metric:eval/knn`: what by, with a leading - the largest first. */
export function parseSort<By extends string>(text: string): Sort<By> {
  const [by = '', key = ''] = text.replace(/^-/, '').split(/:(.*)/s);
  return { by: by as By, key, descending: text.startsWith('-') };
}

/** Parameter of a list: one of these fields, `metric:KEY`, or another that is told of in words and as a pattern. */
export const sortedBy = (
  fields: readonly string[],
  otherwise: string,
  more: { words: string; pattern: string }[] = [],
) =>
  z
    .string()
    .regex(
      new RegExp(`^-?(${[...fields, 'metric:[^<>=,\\0]{1,128}', ...more.map(({ pattern }) => pattern)].join('|')})$`),
      `expected one of ${[...fields, ...more.map(({ words }) => words)].join(', ')} or metric:KEY, ` +
        'with a leading - for the largest first',
    )
    .default(otherwise);
const bySpec = { words: 'spec:FIELD', pattern: `spec:${SPEC_FIELD}` };

/** Conditions in one parameter. */
const MOST_CONDITIONS = 8;
/** Parameter of a list: conditions on metrics, all of which have to hold. */
export const whereMetrics = list(
  z
    .string()
    .refine(
      (text) => parseCondition(text)?.of === 'metric',
      'expected a metric, one of < <= > >= = and a number, such as eval/knn>0.5',
    ),
  MOST_CONDITIONS,
);
const whereRuns = list(
  z
    .string()
    .refine(
      (text) => parseCondition(text) !== undefined,
      'expected a metric, one of < <= > >= = and a number, such as eval/knn>0.5, or spec:FIELD and a value, ' +
        'such as spec:method=simclr',
    ),
  MOST_CONDITIONS,
);
/** Parameter of a list: text that the name holds, in either case. */
export const nameHolds = z
  .string()
  .max(128)
  .regex(/^[^\0]*$/, 'expected text without NUL')
  .optional();

/** Parameter of a list: what becomes of that which was archived. */
export const archived = z.enum(['no', 'yes', 'all']).optional();

export const ListRuns = z.strictObject({
  archived: archived.describe(
    'Whether runs that were archived are left out (`no`), are the only ones (`yes`) or are among the others (`all`): ' +
      '`all` where runs are named by their id, their sweep or their parent, else `no`, unless it says otherwise.',
  ),
  status: list(RunStatus),
  kind: list(z.enum(RUN_KINDS)),
  tag: Name.optional(),
  sweep: z.uuid('expected the id of a sweep').optional(),
  name: nameHolds,
  search: nameHolds.describe(
    'Text that the id, the name, or the kind and the end of the id of a run without a name hold, in either case.',
  ),
  project: Name.optional(),
  id: list(z.uuid('expected the id of a run'), 500).describe('Exactly the runs with these ids.'),
  parent: z.uuid('expected the id of a run').optional().describe('Runs that take the result of this one.'),
  where: whereRuns.describe(
    'Conditions on last values of metrics, such as `eval/knn>0.5`, and on fields of the spec, such as ' +
      '`spec:encoder.width>=32` or `spec:method!=simclr`: all have to hold.',
  ),
  sort: sortedBy(RUN_SORTS, '-createdAt', [bySpec]).describe(
    'What runs are sorted by: the time they were submitted, the newest first, unless it says otherwise; a ' +
      'leading - turns the order. Runs that lack it come last.',
  ),
  limit,
  cursor,
});
export type ListRuns = z.output<typeof ListRuns>;
/** As a query: a schema with an id would not be spread over its parameters. */
export const CountRuns = ListRuns.omit({ sort: true, limit: true, cursor: true });
export type CountRuns = z.output<typeof CountRuns>;
export const RunFilter = CountRuns.meta({ id: 'RunFilter' });
export type RunFilter = z.output<typeof RunFilter>;

/** What runs can be grouped by, beside fields of their specs. */
const GROUPED_BY = ['kind', 'status', 'project'] as const;
export const GroupRuns = CountRuns.extend({
  by: list(
    z
      .string()
      .regex(
        new RegExp(`^(${GROUPED_BY.join('|')}|spec:${SPEC_FIELD})$`),
        `expected one of ${GROUPED_BY.join(', ')} or spec:FIELD, such as spec:method`,
      ),
    4,
  )
    .refine((fields) => fields === undefined || fields.length > 0, 'expected what to group by')
    .transform((fields) => fields ?? (['kind'] as string[]))
    .describe('What runs of a group have in common: `kind` unless it says otherwise.'),
  metric: list(z.string().min(1).max(128), 8).describe('Metrics whose last values are summed up for each group.'),
});
export type GroupRuns = z.output<typeof GroupRuns>;

/** Groups that one answer tells of. */
export const MOST_GROUPS = 500;
export const RunGroups = z
  .object({
    groups: z.array(
      z.object({
        by: z.record(z.string(), z.json()).describe('The value of each field; null where runs lack it.'),
        runs: z.int(),
        metrics: z.record(
          z.string(),
          z.object({
            runs: z.int().describe('Runs that have it.'),
            mean: z.number(),
            deviation: z.number().nullable().describe('Standard deviation of the sample; null for a single run.'),
            min: z.number(),
            max: z.number(),
          }),
        ),
      }),
    ),
    more: z.int().describe(`Groups beyond the largest ${MOST_GROUPS}, which are left out.`),
  })
  .meta({ id: 'RunGroups', description: 'Runs that a filter names, grouped, the largest groups first.' });
export type RunGroups = z.output<typeof RunGroups>;

export const RunCounts = z
  .object({ counts: z.partialRecord(RunStatus, z.int()) })
  .meta({ id: 'RunCounts', description: 'How many runs a filter names, by status.' });
export type RunCounts = z.output<typeof RunCounts>;

/** What is done to all runs that a filter names. */
const BULK_ACTIONS = [
  'cancel',
  'pause',
  'resume',
  'retry',
  'archive',
  'unarchive',
  'tag',
  'delete',
] as const satisfies (RunAction | 'tag' | 'delete')[];
export const BulkRuns = z
  .strictObject({
    action: z.enum(BULK_ACTIONS),
    filter: RunFilter.describe(
      'Which runs are meant, as in the list; `{}` means all runs but those that were archived, and for `unarchive` ' +
        'these.',
    ),
    tags: z
      .strictObject({ add: tags.default([]), remove: tags.default([]) })
      .refine(({ add, remove }) => add.length + remove.length > 0, 'expected at least one tag to add or to remove')
      .optional()
      .describe('For `tag`, which needs it: the tags that each run is given and those that it loses.'),
    cursor: cursor.describe('`nextCursor` of an answer that did not come to the end.'),
  })
  .superRefine(({ action, tags: given }, context) => {
    if ((action === 'tag') !== (given !== undefined))
      context.addIssue({
        code: 'custom',
        path: ['tags'],
        message: action === 'tag' ? 'expected tags to add or to remove' : `expected no tags for ${action}`,
      });
  })
  .meta({ id: 'BulkRuns' });
export type BulkRuns = z.infer<typeof BulkRuns>;
const bulkCounts = z.object({
  done: z.int(),
  skipped: z
    .record(z.string(), z.int())
    .describe(
      'Runs that the filter names and that were left as they are, by the status which does not allow the action, ' +
        '`parent_failed` where the parent has to be retried, of tags `unchanged` and `too_many_tags`, or where ' +
        'something ' +
        'needs a run that was to be deleted: `in_sweep`, `has_children`, `has_dataset`, `has_model`.',
    ),
});
export const RetryResult = bulkCounts.meta({
  id: 'RetryResult',
  description: 'How many runs were queued again, of exactly those that failed.',
});
export type RetryResult = z.output<typeof RetryResult>;
export const BulkResult = bulkCounts
  .extend({
    nextCursor: z
      .string()
      .nullable()
      .describe('Not null where the request took its share of time before the end: ask again with it as `cursor`.'),
  })
  .meta({ id: 'BulkResult' });
export type BulkResult = z.output<typeof BulkResult>;
