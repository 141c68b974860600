/** What a schema refuses, in words. */
import type { z } from 'zod';
import { RUN_KINDS } from './run-spec.js';
import type { Fault } from './sweep.js';
const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
};

/** Of what zod finds: a field, what was expected there and what came. An unknown key is told at its own place. */
export function faultsOf(issue: z.core.$ZodIssue): Fault[] {
  const path = issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key));
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => ({ path: [...path, key], message: 'expected no such field: it is unknown' }));
  if (issue.code === 'invalid_union' && path.at(-1) === 'kind')
    return [
      {
        path,
        message:
          `expected one of ${RUN_KINDS.join(', ')}, got ` +
          `${shown((issue.input as Record<string, unknown> | undefined)?.['kind'])}`,
      },
    ];
  const message = issue.message
    .replace(/^Invalid (input|option): /, '')
    .replace(/^Too (big|small): /, '')
    .replace(/, received .*$/, '');
  return [
    {
      path,
      message:
        message.startsWith('expected') && !message.includes(', got ')
          ? `${message}, got ${shown(issue.input)}`
          : message,
    },
  ];
}
