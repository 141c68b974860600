/**
 * The fields of a run's spec, of a sweep's and of what is sent around them, read from their JSON Schemas: what a form
 * asks for. Pure.
 */
import { RUN_KINDS, RunSpec, SubmitRun, SubmitSweep, SweepSpec } from '#libs/contracts';
import { parse, stringify } from 'yaml';
import { z } from 'zod';

interface Schema {
  $ref?: string;
  $defs?: Record<string, Schema>;
  type?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
}

export interface Field {
  name: string;
  required: boolean;
  /** The default value as JSON text; undefined where the field has none. */
  usual: string | undefined;
  /**
   * `switch`: an object that is off unless it is there, such as an augmentation. `variant`: an object whose `key` says
   * which other fields it has, such as an optimiser. `yaml`: what has many forms, or names that are the user's own, in
   * one line.
   */
  input:
    | { type: 'choice'; options: string[] }
    | { type: 'several'; options: string[] }
    | { type: 'number'; whole: boolean; min?: number | undefined; max?: number | undefined }
    | { type: 'string' }
    | { type: 'boolean' }
    | { type: 'group' | 'switch'; fields: Field[] }
    | { type: 'variant'; key: string; options: { value: string; fields: Field[] }[] }
    | { type: 'yaml' };
}

/** What a form is about: a run's spec of a kind, a sweep's, or a whole request with one in it. */
export type Subject = { type: 'spec'; kind: unknown } | { type: 'sweep' | 'run-request' | 'sweep-request' };

const cache = new Map<string, Field[]>();

/** The fields of a form; undefined for a run of an unknown kind. */
export function fieldsOf(subject: Subject): Field[] | undefined {
  const name = subject.type === 'spec' ? `spec ${String(subject.kind)}` : subject.type;
  const known = cache.get(name);
  if (known) return known;
  const option =
    subject.type === 'spec'
      ? RunSpec.options.find((each) => each.shape.kind.value === subject.kind)
      : { sweep: SweepSpec, 'run-request': SubmitRun, 'sweep-request': SubmitSweep }[subject.type];
  if (!option) return undefined;
  const schema = z.toJSONSchema(option, { io: 'input', unrepresentable: 'any' }) as Schema;
  const definitions = schema.$defs ?? {};
  // The kind says which fields there are, and what is in a request has a form of its own.
  const fields = read(resolve(schema, definitions), definitions)
    .filter((field) => subject.type === 'spec' || subject.type === 'sweep' || field.name !== 'spec')
    .map((field): Field =>
      subject.type === 'spec' && field.name === 'kind'
        ? { ...field, input: { type: 'choice', options: [...RUN_KINDS] } }
        : field,
    );
  cache.set(name, fields);
  return fields;
}

function read(schema: Schema, definitions: Record<string, Schema>): Field[] {
  return Object.entries(schema.properties ?? {}).map(([name, given]): Field => {
    const resolved = resolve(given, definitions);
    const required = schema.required?.includes(name) ?? false;
    return {
      name,
      required,
      usual: given.default === undefined ? undefined : JSON.stringify(given.default),
      input: inputOf(resolved, definitions, given.default !== undefined || required),
    };
  });
}

/** The schema that a reference points to, and of a union with null the other alternative. */
function resolve(schema: Schema, definitions: Record<string, Schema>): Schema {
  const target = schema.$ref === undefined ? schema : (definitions[schema.$ref.split('/').at(-1)!] ?? schema);
  const [only, ...others] = (target.anyOf ?? []).filter(({ type }) => type !== 'null');
  return only && others.length === 0 ? resolve(only, definitions) : target;
}

function inputOf(schema: Schema, definitions: Record<string, Schema>, there: boolean): Field['input'] {
  if (schema.enum) return { type: 'choice', options: schema.enum.map(String) };
  if (schema.type === 'array' && schema.items?.enum) return { type: 'several', options: schema.items.enum.map(String) };
  if (schema.type === 'integer' || schema.type === 'number')
    return { type: 'number', whole: schema.type === 'integer', min: schema.minimum, max: schema.maximum };
  if (schema.type === 'boolean') return { type: 'boolean' };
  if (schema.type === 'string') return { type: 'string' };
  if (schema.type === 'object' && schema.properties)
    return { type: there ? 'group' : 'switch', fields: read(schema, definitions) };
  return variantOf(schema, definitions) ?? { type: 'yaml' };
}

/** Undefined for what is not one of several objects that a constant of the same name tells apart. */
function variantOf(schema: Schema, definitions: Record<string, Schema>): Field['input'] | undefined {
  const options = (schema.oneOf ?? schema.anyOf ?? []).map((option) => resolve(option, definitions));
  const key = Object.entries(options[0]?.properties ?? {}).find(([name]) =>
    options.every(({ properties }) => typeof properties?.[name]?.const === 'string'),
  )?.[0];
  if (key === undefined) return undefined;
  return {
    type: 'variant',
    key,
    options: options.map((option) => ({
      value: option.properties![key]!.const as string,
      fields: read(option, definitions).filter(({ name }) => name !== key),
    })),
  };
}

/** A value in one line of YAML. */
export const inOneLine = (value: unknown): string =>
  value === undefined
    ? ''
    : stringify(value, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 }).trim();

/** The value of one line of YAML; undefined for an empty line. @throws YAMLParseError */
export const fromOneLine = (line: string): unknown => (line.trim() === '' ? undefined : (parse(line) as unknown));
