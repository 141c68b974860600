/** Which runs are meant: lists, counts, and actions on all runs that a filter names. */
import { z } from 'zod';
import { Name } from './dataset.js';
import { cursor, limit, list, tags } from './http-fields.js';
import { RUN_KINDS } from './run-spec.js';
import { RunStatus, type RunAction } from './run-status.js';

/** A metric's key where it stands in a condition or a sort. */
const CONDITION = /^([^<>=,\0]{1,128}?)(<=|>=|<|>|=)(-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)$/i;
/** Characters of a condition: a key of 128, an operator and a number as long as anybody writes one. */
const LONGEST_CONDITION = 256;
/** What runs can be sorted by, beside `metric:KEY`. `duration` is that of runs that have ended. */
export const RUN_SORTS = ['createdAt', 'startedAt', 'finishedAt', 'name', 'duration', 'priority'] as const;

export interface MetricCondition {
  key: string;
  operator: '<' | '<=' | '>' | '>=' | '=';
  value: number;
}
/** `eval/knn>0.5`: the last value of a metric, an operator, a number. Undefined for what is none. */
export function parseCondition(text: string): MetricCondition | undefined {
  if (text.length > LONGEST_CONDITION) return undefined;
  const [, key, operator, value] = CONDITION.exec(text) ?? [];
  return key === undefined
    ? undefined
    : { key, operator: operator as MetricCondition['operator'], value: Number(value) };
}

/** An order: by a field, or by a metric. */
export interface Sort<Field extends string> {
  by: Field | 'metric';
  /** The metric's key where the order is by a metric, else empty. */
  key: string;
  descending: boolean;
}
export type RunSort = Sort<(typeof RUN_SORTS)[number]>;
/** `-metric:eval/knn`: what by, with a leading - the largest first. */
export function parseSort<Field extends string>(text: string): Sort<Field> {
  const [by = '', key = ''] = text.replace(/^-/, '').split(/:(.*)/s);
  return { by: by as Field, key, descending: text.startsWith('-') };
}

/** Parameter of a list: one of these fields, or `metric:KEY`. */
export const sortedBy = (fields: readonly string[], otherwise: string) =>
  z
    .string()
    .regex(
      new RegExp(`^-?(${fields.join('|')}|metric:[^<>=,\\0]{1,128})$`),
      `expected one of ${fields.join(', ')} or metric:KEY, with a leading - for the largest first`,
    )
    .default(otherwise);
/** Parameter of a list: conditions on metrics, all of which have to hold. */
export const whereMetrics = list(
  z
    .string()
    .refine(
      (text) => parseCondition(text) !== undefined,
      'expected a metric, one of < <= > >= = and a number, such as eval/knn>0.5',
    ),
  8,
);
/** Parameter of a list: text that the name holds, in either case. */
export const nameHolds = z
  .string()
  .max(128)
  .regex(/^[^\0]*$/, 'expected text without NUL')
  .optional();

export const ListRuns = z.strictObject({
  status: list(RunStatus),
  kind: list(z.enum(RUN_KINDS)),
  tag: Name.optional(),
  sweep: z.uuid().optional(),
  name: nameHolds,
  search: nameHolds.describe(
    'Text that the id, the name, or the kind and the end of the id of a run without a name hold, in either case.',
  ),
  project: Name.optional(),
  id: list(z.uuid(), 500).describe('Exactly the runs with these ids.'),
  parent: z.uuid().optional().describe('Runs that take the result of this one.'),
  where: whereMetrics.describe('Conditions on last values of metrics, such as `eval/knn>0.5`: all have to hold.'),
  sort: sortedBy(RUN_SORTS, '-createdAt').describe(
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

export const RunCounts = z
  .object({ counts: z.partialRecord(RunStatus, z.int()) })
  .meta({ id: 'RunCounts', description: 'How many runs a filter names, by status.' });
export type RunCounts = z.output<typeof RunCounts>;

export const BulkRuns = z
  .strictObject({
    action: z.enum(['cancel', 'pause', 'resume', 'retry', 'tag', 'delete'] satisfies (RunAction | 'tag' | 'delete')[]),
    filter: RunFilter.describe('Which runs are meant, as in the list; `{}` means all runs.'),
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
        'needs a run that was to be deleted: `in_sweep`, `has_children`, `has_dataset`.',
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
