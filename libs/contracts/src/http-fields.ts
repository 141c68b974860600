/** Fields that many requests and answers have. Not exported from the library. */
import { z } from 'zod';
import { Name } from './dataset.js';

/** Dates leave the API as ISO 8601 text in UTC. */
export const dateTime = z
  .date()
  .transform((date) => date.toISOString())
  .pipe(z.iso.datetime());
export const optionalDateTime = dateTime.nullable();
/** How many tags a run may have. */
export const MOST_TAGS = 32;
export const tags = z.array(Name).max(MOST_TAGS);

/** The project of submits that name none. It is always there. */
export const DEFAULT_PROJECT = 'default';
export const project = Name.default(DEFAULT_PROJECT).describe(
  'Whose share of the workers it takes. No part of the digest: an equal run is shared across projects, and ' +
    'charged to the one that submitted it first.',
);
/** The longest time limit, in seconds: over thirty years. */
const LONGEST_SECONDS = 1e9;
export const maxSeconds = z
  .number()
  .min(1)
  .max(LONGEST_SECONDS)
  .describe(
    'Time limit: seconds that the attempts of a run may take together since it was submitted or last retried; then ' +
      "it is stopped and ends as `timed_out`. Left out: the project's. No part of the digest: a submit that attaches " +
      'to a run leaves that one its own.',
  );
export const priority = z.int().min(0).max(100).default(50);

export const limit = z.coerce.number().int().min(1).max(500).default(50);
export const cursor = z.string().max(1024).optional();
/** A query parameter with several values: `a,b`, or the parameter repeated. */
export const list = <T extends z.ZodType<string, string>>(item: T, most = 100) =>
  z
    .union([z.string(), z.array(z.string())])
    .transform((given) => [given].flat().flatMap((text) => text.split(',')))
    .pipe(z.array(item).max(most))
    .optional();

export const flag = z
  .stringbool({ truthy: ['true', '1', ''], falsy: ['false', '0'], case: 'sensitive' })
  .default(false);
