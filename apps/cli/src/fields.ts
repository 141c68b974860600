/**
 * What may stand where in a submitted document, read from its schema: to say what an unknown field or word was meant to
 * be.
 */
import { RunSpec, SubmitRun, SubmitSweep } from '#libs/contracts';
import { z } from 'zod';
import { didYouMean } from '#libs/contracts';

type Key = string | number;
interface Schema {
  $ref?: string;
  properties?: Record<string, Schema>;
  additionalProperties?: Schema | boolean;
  items?: Schema | boolean;
  anyOf?: Schema[];
  oneOf?: Schema[];
  const?: unknown;
  enum?: unknown[];
  $defs?: Record<string, Schema>;
}

const jsonSchema = (schema: z.ZodType): Schema =>
  z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Schema;
const SCHEMAS = {
  run: () => jsonSchema(SubmitRun),
  sweep: () => jsonSchema(SubmitSweep),
  spec: () => jsonSchema(RunSpec),
};

const inside = (value: unknown, key: Key): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<Key, unknown>)[key] : undefined;

/**
 * The alternatives that a schema means; of a union told apart by a word, such as `kind`, the one that the value names.
 */
function alternatives(schema: Schema, root: Schema, value: unknown): Schema[] {
  if (schema.$ref !== undefined) {
    const target = schema.$ref === '#' ? root : root.$defs?.[schema.$ref.split('/').at(-1)!];
    return target ? alternatives(target, root, value) : [];
  }
  const union = schema.anyOf ?? schema.oneOf;
  if (!union) return [schema];
  const options = union.flatMap((option) => alternatives(option, root, value));
  const named = options.filter(({ properties = {} }) =>
    Object.entries(properties).some(([key, { const: word }]) => word !== undefined && inside(value, key) === word),
  );
  return named.length ? named : options;
}

/** What a schema allows under a key. */
function below({ properties, additionalProperties, items }: Schema, key: Key): Schema[] {
  const own = properties?.[key];
  if (own) return [own];
  return [additionalProperties, items].filter((schema) => typeof schema === 'object').slice(0, 1);
}

/** What may stand at a path, with the value there. */
function at(root: Schema, value: unknown, path: readonly Key[]): { schemas: Schema[]; value: unknown } {
  let here = { schemas: alternatives(root, root, value), value };
  for (const key of path) {
    const next = inside(here.value, key);
    here = {
      value: next,
      schemas: here.schemas
        .flatMap((schema) => below(schema, key))
        .flatMap((schema) => alternatives(schema, root, next)),
    };
  }
  return here;
}

/** Stages and parameters of a sweep are fields of runs. */
function runField(request: unknown, path: readonly Key[]): { spec: unknown; path: Key[] } | undefined {
  const [, part, name, ...field] = path;
  const stages = inside(inside(request, 'spec'), 'stages');
  if (part === 'stages' && name !== undefined && field.length) return { spec: inside(stages, name), path: field };
  const [stage = '', ...keys] = part === 'parameters' ? String(name).split('.') : [];
  return keys.length ? { spec: inside(stages, stage), path: keys } : undefined;
}

/**
 * `: did you mean epochs?` for a field that is unknown, or a word that is none of those that are expected at its path;
 * else empty.
 */
export function advice(type: 'run' | 'sweep', request: unknown, path: readonly Key[]): string {
  const run = type === 'sweep' ? runField(request, path) : undefined;
  const [root, value, way] = run ? [SCHEMAS.spec(), run.spec, run.path] : [SCHEMAS[type](), request, path];
  const key = way.at(-1);
  if (key === undefined) return '';
  const parent = at(root, value, way.slice(0, -1));
  const fields = parent.schemas.flatMap(({ properties = {} }) => Object.keys(properties));
  if (
    fields.length &&
    !fields.includes(String(key)) &&
    parent.schemas.every(({ additionalProperties }) => typeof additionalProperties !== 'object')
  )
    return didYouMean(String(key), fields);
  const { schemas, value: word } = at(root, value, way);
  const words = schemas
    .flatMap(({ const: only, enum: some = [] }) => [...(only === undefined ? [] : [only]), ...some])
    .filter((each) => typeof each === 'string');
  return typeof word === 'string' && !words.includes(word) ? didYouMean(word, words) : '';
}
