/** What all of the API has in common: pages, options of submits, problems. */
import { z } from 'zod';
import { cursor, flag, limit } from './http-fields.js';

export const DamagedRow = z
  .object({
    resource: z.enum(['run', 'sweep', 'trial', 'dataset', 'model', 'artifact', 'worker', 'saved_view', 'report']),
    id: z.string().describe('Its id; of a dataset or a model `name@digest`, of a trial its index.'),
    field: z.string().describe('Where the damage is, such as `spec.temperature`.'),
    message: z.string().describe('What was expected there and what is stored.'),
  })
  .meta({
    id: 'DamagedRow',
    description:
      'What is stored of something is not as its schema says: it was edited by hand, or written by another version.',
  });
export type DamagedRow = z.output<typeof DamagedRow>;
/** Field of a list: what belongs in it and is damaged. */
export const damaged = z
  .array(DamagedRow)
  .optional()
  .describe("What belongs here and can't be told because its row is damaged; absent where there is none.");

/** Keyset page: pass `nextCursor` as `cursor` for what follows; null at the end. */
export const page = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable(), damaged });

export const ListPage = z.strictObject({ limit, cursor });
export type ListPage = z.output<typeof ListPage>;

export const SubmitOptions = z.strictObject({ validate_only: flag });

export const Problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.string(),
    detail: z.string(),
    instance: z.string().optional(),
    requestId: z.string().optional(),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
  })
  .meta({ id: 'Problem', description: 'RFC 9457. `code` is stable for programs; `errors` names the fields at fault.' });
export type Problem = z.output<typeof Problem>;
