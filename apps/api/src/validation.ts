import type { Fault } from '#libs/contracts';
import { faultsOf } from '#libs/contracts';
import { RequestError, Turns } from '#libs/platform';
import {
  Injectable,
  SerializeOptions,
  StandardSchemaSerializerInterceptor,
  StreamableFile,
  applyDecorators,
  type ArgumentMetadata,
  type PipeTransform,
} from '@nestjs/common';
import { ApiHeader, ApiResponse } from '@nestjs/swagger';
import { z } from 'zod';
import { inPieces } from './json-stream.js';
import { checkInTurns } from './schema-in-turns.js';

/** How deep lists and objects of a request may be in each other. */
const DEEPEST = 64;

const holdsText = (value: unknown): boolean =>
  typeof value === 'string' || (typeof value === 'object' && value !== null);

/** What Postgres can't hold: NUL, half of a surrogate pair, nesting deeper than anything that is asked for. */
async function unstorable(given: unknown): Promise<Fault[]> {
  const turns = new Turns();
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
      for (const [place, inner] of Array.isArray(value) ? value.entries() : Object.entries(value)) {
        if (typeof place === 'string') open.push({ value: place, path: [...path, 'key'] });
        if (holdsText(inner)) open.push({ value: inner, path: [...path, place] });
      }
    if (turns.over) await turns.next();
  }
  return [];
}

/** An issue with what came: of text in a query that is no number, the text and not what Number makes of it. */
function asGiven(issue: z.core.$ZodIssue, given: unknown): z.core.$ZodIssue {
  const [field] = issue.path;
  if (!Number.isNaN(issue.input) || issue.path.length !== 1) return issue;
  return { ...issue, input: (given as Record<PropertyKey, unknown>)[field!] } as z.core.$ZodIssue;
}

/**
 * Checks and completes what comes in by the zod schema that the parameter names. @throws RequestError with every fault
 */
@Injectable()
export class ZodPipe implements PipeTransform {
  async transform(value: unknown, { schema, data, type }: ArgumentMetadata): Promise<unknown> {
    if (type === 'custom') return value;
    const refused = await unstorable(value);
    if (refused.length > 0)
      throw RequestError.invalid(
        refused.map((fault) => ({ ...fault, path: data ? [data, ...fault.path] : fault.path })),
      );
    if (!schema) return value;
    const checked = await checkInTurns(schema as z.ZodType, value ?? (type === 'body' ? null : undefined));
    if (!checked.issues) return checked.data;
    throw RequestError.invalid(
      checked.issues
        .flatMap((issue) => faultsOf(asGiven(issue, value)))
        .map((fault) => ({ ...fault, path: data ? [data, ...fault.path] : fault.path })),
    );
  }
}

/** Answers are what the schema that a route returns makes of them. */
@Injectable()
export class AnswerSerializer extends StandardSchemaSerializerInterceptor {
  override async transformToPlain(
    answer: unknown,
    schema: z.ZodType,
  ): Promise<Record<string, unknown> | StreamableFile> {
    const checked = await checkInTurns(schema, answer);
    if (!checked.issues) return inPieces(checked.data as Record<string, unknown>);
    throw new Error(`Serialization failed: ${checked.issues.map(({ message }) => message).join(', ')}`);
  }
}

/** One schema is what a route returns, what is sent and what the OpenAPI document says. */
export const Returns = (schema: z.ZodType, { status = 200, description = '' } = {}): MethodDecorator =>
  applyDecorators(SerializeOptions({ schema }), ApiResponse({ status, description, standardSchema: schema }));

/** A route answers with server-sent events. */
export const ReturnsEvents = (description: string): MethodDecorator =>
  ApiResponse({ status: 200, description, content: { 'text/event-stream': { schema: { type: 'string' } } } });

/** By which a repeat is known. */
const IDEMPOTENCY_KEY = { minLength: 1, maxLength: 255, pattern: '^[!-~]+$' };
const IdempotencyKey = z
  .string()
  .min(IDEMPOTENCY_KEY.minLength)
  .max(IDEMPOTENCY_KEY.maxLength)
  .regex(new RegExp(IDEMPOTENCY_KEY.pattern))
  .optional();

/** The route takes an Idempotency-Key: the handler checks it by `checkKey`. */
export const TakesIdempotencyKey = (description: string): MethodDecorator =>
  ApiHeader({
    name: 'Idempotency-Key',
    required: false,
    description,
    schema: { type: 'string', ...IDEMPOTENCY_KEY },
  });

/** The header as it came. @throws RequestError where it is no key */
export function checkKey(key: string | undefined): string | undefined {
  const parsed = IdempotencyKey.safeParse(key);
  if (parsed.success) return parsed.data;
  throw RequestError.invalid([
    { path: ['Idempotency-Key'], message: 'expected 1 to 255 printable ASCII characters without spaces' },
  ]);
}
