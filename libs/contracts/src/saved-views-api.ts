/** Ways to look at the list of runs that a team has given names. */
import { z } from 'zod';
import { Name } from './dataset.js';
import { faultsOf } from './faults.js';
import { dateTime } from './http-fields.js';
import { GroupRuns, ListRuns } from './run-filter.js';

const MOST_CHARACTERS = 2000;
const text = z.string().min(1).max(MOST_CHARACTERS).optional();

/** Parameters of the list, as text, as they stand in an address. */
const LISTED = [
  'status',
  'kind',
  'tag',
  'sweep',
  'name',
  'search',
  'project',
  'parent',
  'where',
  'archived',
  'sort',
] as const;
type Listed = (typeof LISTED)[number];

export const SavedQuery = z
  .strictObject({
    ...(Object.fromEntries(LISTED.map((key) => [key, text])) as Record<Listed, typeof text>),
    columns: text.describe('Columns of the dashboard, with commas between.'),
    group: text.describe('What the dashboard groups runs by.'),
  })
  .superRefine((query, context) => {
    const { columns: _, group, ...listed } = query;
    const { error } = ListRuns.safeParse(listed, { reportInput: true });
    for (const { path, message } of error?.issues.flatMap(faultsOf) ?? [])
      context.addIssue({ code: 'custom', path: path.slice(0, 1), message });
    if (group !== undefined && !GroupRuns.shape.by.safeParse(group).success)
      context.addIssue({
        code: 'custom',
        path: ['group'],
        message: `expected what runs can be grouped by, got ${group}`,
      });
  })
  .meta({
    id: 'SavedQuery',
    description: 'What the list of runs is narrowed to and sorted by: the parameters of `GET /v1/runs`, as text.',
  });
export type SavedQuery = z.infer<typeof SavedQuery>;

export const SavedViewName = Name.max(64);

export const SavedView = z
  .object({ name: z.string(), query: SavedQuery, createdAt: dateTime, updatedAt: dateTime })
  .meta({ id: 'SavedView', description: 'A way to look at the list of runs, by its name.' });
export type SavedView = z.output<typeof SavedView>;
