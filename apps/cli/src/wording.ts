/** What is wrong with a value that a schema refuses, in the words of this program instead of the schema library's. */
import type { z } from 'zod';

type RawIssue = Parameters<z.core.$ZodErrorMap>[0];

const TYPES: Record<string, string> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'a mapping',
  record: 'a mapping',
  null: 'null',
  nan: 'no number',
};
const MOST_SHOWN = 80;

/** What came, as it would be written. */
function shown(input: unknown): string {
  if (input === undefined) return 'none';
  // JSON has no such numbers.
  if (typeof input === 'number' && !Number.isFinite(input)) return String(input);
  const text = JSON.stringify(input) ?? typeof input;
  return text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
}

const listed = (words: readonly unknown[]): string =>
  words.length === 1 ? String(words[0]) : `one of ${words.map(String).join(', ')}`;

const COUNTED: Record<string, string> = { string: ' characters', array: ' items' };

/** A bound of a number, or of how long a text or a list is. */
function bounded(issue: RawIssue & { inclusive?: boolean }, bound: unknown, ends: [string, string]): string {
  const of = COUNTED[String(issue.origin)] ?? '';
  return `expected ${issue.inclusive === false ? ends[1] : ends[0]} ${String(bound)}${of}, got ${shown(issue.input)}`;
}

/** For `z.config`. Undefined leaves the library's own words, which `faultsOf` reads. */
export function worded(issue: RawIssue): string | undefined {
  const got = `got ${shown(issue.input)}`;
  if (issue.code === 'invalid_type') return `expected ${TYPES[issue.expected] ?? issue.expected}, ${got}`;
  if (issue.code === 'invalid_value') return `expected ${listed(issue.values)}, ${got}`;
  if (issue.code === 'too_small') return bounded(issue, issue.minimum, ['at least', 'more than']);
  if (issue.code === 'too_big') return bounded(issue, issue.maximum, ['at most', 'less than']);
  if (issue.code === 'invalid_format' && issue.format === 'url') return `expected a URL, ${got}`;
  return issue.code === 'not_multiple_of' ? `expected a multiple of ${issue.divisor}, ${got}` : undefined;
}
