/** What a schema refuses, in words. */
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

/** What texts are called that have to be of a form for which a schema has no words of its own. */
const FORMS: Record<string, string> = { uuid: 'an id', url: 'a URL', datetime: 'a time as ISO 8601 has it' };

/** What was expected, as the library says it; formats, keys and values without its "Invalid". */
function expectedBy(issue: Issue): string {
  const { message } = issue;
  if (!message.startsWith('Invalid ')) return message.replace(/^Too (big|small): /, '');
  if (issue.code === 'invalid_format')
    return `expected ${FORMS[issue.format] ?? `text that matches ${String(issue.pattern)}`}`;
  if (issue.code === 'not_multiple_of') return `expected a multiple of ${String(issue.divisor)}`;
  if (issue.code === 'invalid_key' || issue.code === 'invalid_element') {
    const [inner] = issue.issues;
    return inner ? expectedBy(inner) : 'expected another key';
  }
  const words = message.replace(/^Invalid (input|option): /, '').replace(/, received .*$/, '');
  return words.startsWith('expected') ? words : 'expected another value';
}

/** Of what may be one of several: what is wrong with the one that it is nearly, else what it may be. */
function faultsOfUnion(issue: UnionIssue, path: Fault['path']): Fault[] {
  const { discriminator, options, input } = issue as UnionIssue & { options?: unknown[] };
  if (discriminator !== undefined) {
    const words = path.at(-1) === 'kind' ? RUN_KINDS : (options ?? []).map(String);
    const word = (input as Record<string, unknown> | undefined)?.[discriminator];
    return [{ path, message: `expected one of ${words.join(', ')}, got ${shown(word)}` }];
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
