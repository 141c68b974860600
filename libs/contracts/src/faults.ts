/** What a schema refuses, in the words of this program instead of the schema library's. */
import type { z } from 'zod';
import { RUN_KINDS } from './run-spec.js';
import type { Fault } from './sweep.js';

type Issue = z.core.$ZodIssue;
type UnionIssue = Extract<Issue, { code: 'invalid_union' }>;

const shown = (value: unknown): string => {
  // JSON has no such numbers.
  const text = typeof value === 'number' && !Number.isFinite(value) ? String(value) : JSON.stringify(value);
  const written = text ?? 'nothing';
  return written.length > 80 ? `${written.slice(0, 77)}…` : written;
};

/** What types are called. */
const TYPES: Record<string, string> = {
  int: 'a whole number',
  number: 'a number',
  string: 'a text',
  boolean: 'true or false',
  array: 'a list',
  tuple: 'a list',
  object: 'a mapping',
  record: 'a mapping',
  nan: 'no number',
};
/** What texts are called that have to be of a form for which a schema has no words of its own. */
const FORMS: Record<string, string> = { uuid: 'an id', url: 'a URL', datetime: 'a time as ISO 8601 has it' };
const COUNTED: Record<string, string> = { string: ' characters', array: ' items', set: ' items' };

const choiceOf = (words: readonly string[]): string => `${words.length === 1 ? '' : 'one of '}${words.join(', ')}`;

/** A bound of a number, or of how long a text or a list is: within it, and beyond it where it is none itself. */
function bounded(
  { origin, inclusive, exact }: { origin: string; inclusive?: boolean; exact?: boolean },
  bound: unknown,
  [within, beyond]: [string, string],
): string {
  const place = inclusive === false ? beyond : within;
  return `expected ${exact ? 'exactly' : place} ${String(bound)}${COUNTED[origin] ?? ''}`;
}

/** What was expected: as the schema says it where it has words of its own, not the library's. */
function expectedBy(issue: Issue): string {
  if (!/^(Invalid |Too (big|small): )/.test(issue.message)) return issue.message;
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${TYPES[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `expected ${choiceOf(issue.values.map(String))}`;
    case 'too_small':
      return bounded(issue, issue.minimum, ['at least', 'more than']);
    case 'too_big':
      return bounded(issue, issue.maximum, ['at most', 'less than']);
    case 'invalid_format':
      return `expected ${FORMS[issue.format] ?? `text that matches ${String(issue.pattern)}`}`;
    case 'not_multiple_of':
      return `expected a multiple of ${String(issue.divisor)}`;
    case 'invalid_key':
    case 'invalid_element':
      return issue.issues[0] ? expectedBy(issue.issues[0]) : 'expected another key';
    case 'invalid_union':
    case 'unrecognized_keys':
    case 'custom':
      return 'expected another value';
  }
}

/** Of what may be one of several: what is wrong with the one that it is nearly, else what it may be. */
function faultsOfUnion(issue: UnionIssue, path: Fault['path']): Fault[] {
  const { discriminator, options, input } = issue as UnionIssue & { options?: unknown[] };
  if (discriminator !== undefined) {
    const words = path.at(-1) === 'kind' ? RUN_KINDS : (options ?? []).map(String);
    const word = (input as Record<string, unknown> | undefined)?.[discriminator];
    return [{ path, message: `expected ${choiceOf(words)}, got ${shown(word)}` }];
  }
  const near = issue.errors.find((errors) => errors.every(({ path: inner }) => inner.length > 0));
  if (near?.length) return near.flatMap((inner) => faultsOf({ ...inner, path: [...issue.path, ...inner.path] }));
  const expected = new Set(issue.errors.flatMap(([inner]) => (inner ? [expectedBy(inner)] : [])));
  const words = [...expected].map((text) => text.replace(/^expected /, '').split(', got ', 1)[0]!);
  return [{ path, message: `expected ${words.join(' or ') || 'another value'}, got ${shown(issue.input)}` }];
}

/** Of what zod finds: a field, what was expected there and what came. An unknown key is told at its own place. */
export function faultsOf(issue: Issue): Fault[] {
  const path = issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key));
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ path: [...path, key], message: 'expected no such field: it is unknown' }));
  if (issue.code === 'invalid_union' && issue.message.startsWith('Invalid ')) return faultsOfUnion(issue, path);
  const message = expectedBy(issue);
  const told = !message.startsWith('expected') || message.includes(', got ');
  return [{ path, message: told ? message : `${message}, got ${shown(issue.input)}` }];
}
