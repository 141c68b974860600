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

/** Characters at the end of an id that tell it from others: what it begins with is the time it was made. */
export const SHORT_ID = 8;
/** What a run is called: its name, or its kind with the end of its id, by which it can be meant too. */
export const runLabel = ({ name, kind, id }: { name: string | null; kind: string; id: string }): string =>
  name ?? `${kind} ${id.slice(-SHORT_ID)}`;

/** The text as a part of an id, in lower case; undefined where it is none. */
export const partOfId = (text: string): string | undefined =>
  text.length >= LEAST_PART && /^[0-9a-f-]{1,36}$/i.test(text) ? text.toLowerCase() : undefined;
