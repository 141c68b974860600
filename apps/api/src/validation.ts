import { RUN_KINDS, type Fault } from '#libs/contracts';
import { RequestError } from '#libs/platform';
import {
  Injectable,
  SerializeOptions,
  applyDecorators,
  type ArgumentMetadata,
  type PipeTransform,
} from '@nestjs/common';
import { ApiResponse } from '@nestjs/swagger';
import type { z } from 'zod';

const shown = (value: unknown): string => {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
};

/** A field, what was expected there and what came. An unknown key is told at its own place. */
function faultsOf(issue: z.core.$ZodIssue): Fault[] {
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

/** How deep lists and objects of a request may be in each other. */
const DEEPEST = 64;

/** What Postgres can't hold: NUL, half of a surrogate pair, and what is nested deeper than anything that is asked for. */
function unstorable(given: unknown): Fault[] {
  const open: { value: unknown; path: Fault['path'] }[] = [{ value: given, path: [] }];
  for (let each = open.pop(); each !== undefined; each = open.pop()) {
    const { value, path } = each;
    if (path.length > DEEPEST)
      return [{ path: path.slice(0, 8), message: `expected at most ${DEEPEST} lists and objects in each other` }];
    if (typeof value === 'string') {
      if (value.includes('\0')) return [{ path, message: 'expected text without NUL' }];
      if (!value.isWellFormed())
        return [{ path, message: 'expected Unicode text, got a half of a surrogate pair alone' }];
    } else if (typeof value === 'object' && value !== null)
      for (const [key, inner] of Object.entries(value)) {
        const place = Array.isArray(value) ? Number(key) : key;
        if (typeof place === 'string') open.push({ value: place, path: [...path, 'key'] });
        open.push({ value: inner, path: [...path, place] });
      }
  }
  return [];
}

/**
 * Checks and completes what comes in by the zod schema that the parameter names. @throws RequestError with every fault
 */
@Injectable()
export class ZodPipe implements PipeTransform {
  transform(value: unknown, { schema, data, type }: ArgumentMetadata): unknown {
    if (type === 'custom') return value;
    const refused = unstorable(value);
    if (refused.length > 0)
      throw RequestError.invalid(
        refused.map((fault) => ({ ...fault, path: data ? [data, ...fault.path] : fault.path })),
      );
    if (!schema) return value;
    const parsed = (schema as z.ZodType).safeParse(value ?? (type === 'body' ? null : undefined), {
      reportInput: true,
    });
    if (parsed.success) return parsed.data;
    throw RequestError.invalid(
      parsed.error.issues
        .flatMap(faultsOf)
        .map((fault) => ({ ...fault, path: data ? [data, ...fault.path] : fault.path })),
    );
  }
}

/** One schema is what a route returns, what is sent and what the OpenAPI document says. */
export const Returns = (schema: z.ZodType, { status = 200, description = '' } = {}): MethodDecorator =>
  applyDecorators(SerializeOptions({ schema }), ApiResponse({ status, description, standardSchema: schema }));
