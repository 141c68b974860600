/** What all of the API has in common: pages, options of submits, problems. */
import { z } from 'zod';
import { cursor, flag, limit } from './http-fields.js';

/** Keyset page: pass `nextCursor` as `cursor` for what follows; null at the end. */
export const page = <Item extends z.ZodType>(item: Item) =>
  z.object({ items: z.array(item), nextCursor: z.string().nullable() });

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
