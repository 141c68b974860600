/** Fields of the kinds of runs by their paths: which there are, and what each takes. */
import { z } from 'zod';
import { RunSpec, type RunKind } from './run-spec.js';

/** A schema without what only says whether it may be left out. */
function bare(schema: z.ZodType): z.ZodType {
  if (
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable ||
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault
  )
    return bare(schema.unwrap() as z.ZodType);
  return schema instanceof z.ZodPipe ? bare(schema.out as z.ZodType) : schema;
}

function fieldsAt(schema: z.ZodType, keys: readonly string[]): z.ZodType[] {
  const inner = bare(schema);
  if (inner instanceof z.ZodUnion) return (inner.options as z.ZodType[]).flatMap((option) => fieldsAt(option, keys));
  const [key, ...rest] = keys;
  if (key === undefined) return [inner];
  return inner instanceof z.ZodObject && Object.hasOwn(inner.shape, key)
    ? fieldsAt(inner.shape[key] as z.ZodType, rest)
    : [];
}

/** A field of a kind of run. */
export interface StageField {
  /** Whether it takes numbers, and whole ones only. */
  integer: boolean;
  /** Words that it chooses among; empty where it takes others too. */
  words: string[];
  takes(value: unknown): boolean;
}

/** The field that a path such as `optimizer.learningRate` leads to; undefined where the kind has none there. */
export function fieldAt(kind: RunKind, path: string): StageField | undefined {
  const spec = RunSpec.options.find((option) => option.shape.kind.value === kind);
  const found = spec ? fieldsAt(spec, path.split('.')) : [];
  if (found.length === 0) return undefined;
  const words = found.map((schema) => {
    if (schema instanceof z.ZodEnum) return schema.options.map(String);
    return schema instanceof z.ZodLiteral ? [...schema.values].map(String) : [];
  });
  return {
    integer: found.every((schema) => schema instanceof z.ZodNumber && schema.format?.includes('int')),
    words: words.some((some) => some.length === 0) ? [] : words.flat(),
    takes: (value) => found.some((schema) => schema.safeParse(value).success),
  };
}
