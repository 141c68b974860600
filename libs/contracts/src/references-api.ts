/** What people call a run or a sweep: its name, or the beginning or end of its id. */
import { z } from 'zod';
import { dateTime } from './http-fields.js';

/** Least length of a part of an id: a shorter one is a name. */
const LEAST_PART = 4;

export const FindReferences = z.strictObject({
  text: z.string().min(1).max(200).describe('A name, or the beginning or end of an id.'),
  type: z.enum(['run', 'sweep']).optional().describe('Only these.'),
});
export type FindReferences = z.output<typeof FindReferences>;

export const Reference = z
  .object({ type: z.enum(['run', 'sweep']), id: z.uuid(), name: z.string().nullable(), createdAt: dateTime })
  .meta({ id: 'Reference', description: 'A run or a sweep that a text may mean.' });
export type Reference = z.output<typeof Reference>;

/** The text as a part of an id, in lower case; undefined where it is none. */
export const partOfId = (text: string): string | undefined =>
  text.length >= LEAST_PART && /^[0-9a-f-]{1,36}$/i.test(text) ? text.toLowerCase() : undefined;
