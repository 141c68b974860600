/** The fields of a run's spec, read from its JSON Schema: what a form asks for. Pure. */
import { RunSpec } from '#libs/contracts';
import { z } from 'zod';

interface Schema { $ref?: string; $defs?: Record<string, Schema>; type?: string; enum?: unknown[]; const?: unknown; default?: unknown; minimum?: number; maximum?: number; properties?: Record<string, Schema>; required?: string[]; items?: Schema; anyOf?: Schema[]; oneOf?: Schema[] }

export interface Field {
  name: string;
  required: boolean;
  /** As JSON text, where there is one. */
  usual: string | undefined;
  /** `switch`: an object that is off unless it is there, such as an augmentation. `text`: what the YAML says better. */
  input: { type: 'choice'; options: string[] } | { type: 'several'; options: string[] } | { type: 'number'; whole: boolean; min?: number | undefined; max?: number | undefined } | { type: 'string' } | { type: 'boolean' } | { type: 'group' | 'switch'; fields: Field[] } | { type: 'text' };
}

const cache = new Map<string, Field[]>();

/** Of a run of this kind; undefined for a kind that there is not. */
export function fieldsOf(kind: unknown): Field[] | undefined {
  const option = RunSpec.options.find((each) => each.shape.kind.value === kind);
  if (!option) return undefined;
  const known = cache.get(option.shape.kind.value);
  if (known) return known;
  const schema = z.toJSONSchema(option, { io: 'input', unrepresentable: 'any' }) as Schema;
  const fields = read(schema, schema.$defs ?? {}).filter(({ name }) => name !== 'kind');
  cache.set(option.shape.kind.value, fields);
  return fields;
}

function read(schema: Schema, definitions: Record<string, Schema>): Field[] {
  return Object.entries(schema.properties ?? {}).map(([name, given]): Field => {
    const resolved = resolve(given, definitions);
    const required = schema.required?.includes(name) ?? false;
    return { name, required, usual: given.default === undefined ? undefined : JSON.stringify(given.default), input: inputOf(resolved, definitions, given.default !== undefined || required) };
  });
}

/** Behind references, and without the null that another type may be instead. */
function resolve(schema: Schema, definitions: Record<string, Schema>): Schema {
  const target = schema.$ref === undefined ? schema : definitions[schema.$ref.split('/').at(-1)!] ?? schema;
  const [only, ...others] = (target.anyOf ?? []).filter(({ type }) => type !== 'null');
  return only && others.length === 0 ? resolve(only, definitions) : target;
}

function inputOf(schema: Schema, definitions: Record<string, Schema>, there: boolean): Field['input'] {
  if (schema.enum) return { type: 'choice', options: schema.enum.map(String) };
  if (schema.type === 'array' && schema.items?.enum) return { type: 'several', options: schema.items.enum.map(String) };
  if (schema.type === 'integer' || schema.type === 'number') return { type: 'number', whole: schema.type === 'integer', min: schema.minimum, max: schema.maximum };
  if (schema.type === 'boolean') return { type: 'boolean' };
  if (schema.type === 'string') return { type: 'string' };
  if (schema.type === 'object' && schema.properties) return { type: there ? 'group' : 'switch', fields: read(schema, definitions) };
  return { type: 'text' };
}
