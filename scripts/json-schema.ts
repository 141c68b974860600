/**
 * JSON Schemas of submitted files, for editors: what zod checks and describes.
 * `node json-schema.js schemas` writes them; a test holds the files in `schemas/` to it.
 */
import { RunSpec, SubmitRun, SubmitSweep, SweepSpec } from '#libs/contracts';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';

interface Schema {
  [keyword: string]: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  description?: string;
  oneOf?: Schema[];
  definitions?: Record<string, Schema>;
}

const isSchema = (value: unknown): value is Schema =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Each schema within, the inner ones first. */
function every(value: unknown, change: (schema: Schema) => void): void {
  if (Array.isArray(value)) for (const each of value) every(each, change);
  else if (isSchema(value)) {
    for (const inner of Object.values(value)) every(inner, change);
    change(value);
  }
}

/** Types that keep a name of their own; of all others an editor shows what a field is for where the field stands. */
const NAMED = new Set(['RunSpec', 'SubmitRun', 'SweepSpec', 'SubmitSweep', 'Augmentation']);
const REFERENCE = /^#\/definitions\/(.+)$/;

/** A schema with the types that have no name of their own in place of references to them. */
function inlined(value: unknown, definitions: Record<string, Schema>): unknown {
  if (Array.isArray(value)) return value.map((each) => inlined(each, definitions));
  if (!isSchema(value)) return value;
  const { $ref, allOf, ...rest } = value;
  const reference = $ref ?? (Array.isArray(allOf) && allOf.length === 1 ? (allOf[0] as Schema)['$ref'] : undefined);
  const name = typeof reference === 'string' ? REFERENCE.exec(reference)?.[1] : undefined;
  if (name !== undefined && !NAMED.has(name)) return inlined({ ...definitions[name], ...rest }, definitions);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, inlined(inner, definitions)]));
}

/** Draft 7, which editors know best. */
function draft7(type: z.ZodType): Schema {
  const schema = z.toJSONSchema(type, { target: 'draft-7', io: 'input', unrepresentable: 'any' }) as Schema;
  const { definitions = {}, ...whole } = schema;
  const named = Object.entries(definitions).filter(([name]) => NAMED.has(name));
  return {
    ...(inlined(whole, definitions) as Schema),
    definitions: Object.fromEntries(named.map(([name, each]) => [name, inlined(each, definitions) as Schema])),
  };
}

/** A bare spec, or a whole request with tags and priority around it. */
function submission(title: string, spec: z.ZodType, request: z.ZodType): Schema {
  const { definitions = {}, ...schema } = draft7(z.union([spec, request]));
  delete schema['$id'];
  return { $schema: 'http://json-schema.org/draft-07/schema#', title, ...schema, definitions };
}

/** A run whose fields may come from a sweep's parameters, and whose parent is a stage. */
function stageOf(run: Schema): Schema {
  const stage = structuredClone(run);
  every(stage, (each) => {
    if (!each.properties?.['kind']) return;
    each.required = ['kind'];
    if (each.properties['from'])
      each.properties['from'] = {
        anyOf: [{ type: 'string' }, { type: 'null' }],
        description: 'A stage of this sweep, or the id of a run; null without one.',
      };
  });
  return { ...stage, description: 'A run of each trial, by its kind. What parameters set may be left out.' };
}

/** The schemas of what can be submitted: a run or a sweep. */
export function jsonSchemas(): Record<'sweep' | 'run', Schema> {
  const run = submission('A run of Latent Loom', RunSpec, SubmitRun);
  const sweep = submission('A sweep of Latent Loom', SweepSpec, SubmitSweep);
  const { RunSpec: spec, ...inner } = run.definitions!;
  Object.assign(sweep.definitions!, inner, { Stage: stageOf(spec!) });
  sweep.definitions!['SweepSpec']!.properties!['stages']!['additionalProperties'] = { $ref: '#/definitions/Stage' };
  return { sweep, run };
}

export const schemaText = (schema: Schema): string => `${JSON.stringify(schema, null, 1)}\n`;

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = 'schemas'] = process.argv.slice(2);
  await mkdir(folder, { recursive: true });
  for (const [name, schema] of Object.entries(jsonSchemas()))
    await writeFile(path.join(folder, `${name}.json`), schemaText(schema));
}
