/**
 * The OpenAPI 3.1 document, made from the routes and from the zod schemas that they validate with, so that clients can
 * be generated from it: a request asks only for what has no default, an answer has every field.
 */
import { Problem } from '#libs/contracts';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { z } from 'zod';
import { titleOf } from './problems.js';

type Json = Record<string, unknown>;
type Operation = Json & {
  summary?: string;
  description?: string;
  parameters?: { in: string }[];
  requestBody?: unknown;
  responses: Record<string, Json & { description?: string }>;
};

/** Marks the component of a request until it is known whether answers have another of its name. */
const REQUEST = '.request';
/** What the operations are grouped by. */
const TAGS = {
  runs: 'Submitting runs, following them, and what they made',
  sweeps: 'Many runs from one file, and their results',
  datasets: 'Versions of prepared datasets',
  models: 'Versions of models that were trained elsewhere, with which runs begin',
  projects: 'Whose share of the workers a run takes',
  reports: 'Pages of text, charts, tables and maps that a team writes',
  references: 'Runs and sweeps by name, or by a part of their id',
  workers: 'The processes that train',
  artifacts: 'Files that nothing names any more',
  operations: 'Whether the service is well, for probes and for Prometheus',
};
const METHODS = new Set(['get', 'put', 'post', 'patch', 'delete']);
const isJson = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

/** A copy with `change` made to each object within, the inner ones first. */
function every(value: unknown, change: (object: Json) => Json): unknown {
  if (Array.isArray(value)) return value.map((each) => every(each, change));
  if (!isJson(value)) return value;
  return change(Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, every(inner, change)])));
}

/** References of a document after its components were renamed. */
const renamed = (value: unknown, name: (component: string) => string): unknown =>
  every(value, (object) =>
    typeof object['$ref'] === 'string' ? { ...object, $ref: object['$ref'].replace(/[^/]+$/, name) } : object,
  );

/**
 * Parameters of a query are text that becomes a number, a truth or a list: the document says what they become, and
 * names the members of a list.
 */
function asRead({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: Json }): void {
  if (zodSchema._zod.def.type !== 'pipe') return;
  const { out } = zodSchema._zod.def;
  if (!(out instanceof z.ZodArray || out instanceof z.ZodBoolean)) return;
  const { $schema: _, $defs = {}, ...read } = z.toJSONSchema(out, { io: 'input' }) as Json & { $defs?: Json };
  const inlined = every(read, ({ $ref, ...rest }) =>
    typeof $ref === 'string' ? { ...($defs[$ref.split('/').at(-1)!] as Json), ...rest } : rest,
  );
  for (const key of ['anyOf', 'type', 'enum']) delete jsonSchema[key];
  Object.assign(jsonSchema, inlined);
}

/** A choice between objects with names says by which field they are told apart. */
function discriminated(schemas: Record<string, unknown>): Record<string, unknown> {
  const valueOf = (reference: string, field: string): unknown => {
    const { properties } = schemas[reference.split('/').at(-1)!] as { properties?: Record<string, Json> };
    const { enum: values } = properties?.[field] ?? {};
    return Array.isArray(values) && values.length === 1 ? values[0] : undefined;
  };
  return every(schemas, (object) => {
    const references = Array.isArray(object['oneOf']) ? (object['oneOf'] as Json[]).map((each) => each['$ref']) : [];
    if (references.length < 2 || !references.every((each): each is string => typeof each === 'string')) return object;
    const { properties = {} } = schemas[references[0]!.split('/').at(-1)!] as { properties?: Json };
    const field = Object.keys(properties).find((key) =>
      references.every((each) => typeof valueOf(each, key) === 'string'),
    );
    if (field === undefined) return object;
    const mapping = Object.fromEntries(
      references.map((each): [string, string] => [String(valueOf(each, field)), each]),
    );
    return { ...object, discriminator: { propertyName: field, mapping } };
  }) as Record<string, unknown>;
}

/** zod leaves the name in a named type, which the name of its component says. */
const withoutId = ({ id: _, ...schema }: Json): Json => schema;

/** A tuple has as many items as it names; readers of OpenAPI want `items` beside them. */
const closed = (schema: Json): Json =>
  Array.isArray(schema['prefixItems'])
    ? { ...schema, items: {}, minItems: schema['prefixItems'].length, maxItems: schema['prefixItems'].length }
    : schema;

/** An object that is a default is told in words: generators make classes of objects, and no defaults of those. */
function toldDefault(schema: Json): Json {
  const { default: value, ...rest } = schema;
  if (!isJson(value)) return schema;
  const told = `Left out: \`${JSON.stringify(value)}\`.`;
  if (Object.keys(value).length === 0) return rest;
  return { ...rest, description: [rest['description'], told].filter(Boolean).join(' ') };
}

/** The JSON Schema of what a route takes (`input`) or answers (`output`), and of the types in it that have names. */
function convert(schema: unknown, { schemaType: io }: { schemaType: 'input' | 'output' }) {
  const {
    $schema: _,
    $defs = {},
    ...json
  } = z.toJSONSchema(schema as z.ZodType, {
    io,
    unrepresentable: 'any',
    override: (context) => io === 'input' && asRead(context as Parameters<typeof asRead>[0]),
  }) as Json & { $defs?: Json };
  const name = (component: string) => (io === 'input' ? component + REQUEST : component);
  const refer = (value: unknown) => every(renamed(value, name), (object) => toldDefault(closed(object))) as Json;
  return {
    schema: refer(json),
    components: Object.fromEntries(
      Object.entries($defs).map(([key, value]) => [name(key), refer(withoutId(value as Json))]),
    ) as Record<string, Json>,
  };
}

/** What a request gives has the plain name too, unless an answer has that name and other fields. */
function settled(document: OpenAPIObject): OpenAPIObject {
  const schemas = { ...document.components?.schemas } as Record<string, unknown>;
  const text = (name: string) => JSON.stringify(renamed(schemas[name], (component) => component.replace(REQUEST, '')));
  const plain = Object.fromEntries(
    Object.keys(schemas)
      .filter((name) => name.endsWith(REQUEST))
      .map((name) => [name, name.slice(0, -REQUEST.length)]),
  );
  // A type that holds another which differs is another type, too.
  const differs = new Set(
    Object.entries(plain).flatMap(([name, short]) => (short in schemas && text(name) !== text(short) ? [name] : [])),
  );
  for (let before = -1; before !== differs.size;) {
    before = differs.size;
    for (const [name, short] of Object.entries(plain)) {
      const held = [...JSON.stringify(schemas[name]).matchAll(/schemas\/([^"]+)"/g)].map(([, inner]) => inner!);
      if (short in schemas && held.some((inner) => differs.has(inner))) differs.add(name);
    }
  }
  const name = (component: string) =>
    component in plain ? plain[component]! + (differs.has(component) ? 'Input' : '') : component;
  return {
    ...(renamed(document, name) as OpenAPIObject),
    components: {
      ...document.components,
      schemas: discriminated(
        Object.fromEntries(
          Object.entries(schemas).map(([component, schema]) => [name(component), renamed(schema, name)]),
        ),
      ) as NonNullable<OpenAPIObject['components']>['schemas'],
    },
  };
}

/** The refusals that a route can answer with, by what it takes. */
function refusals(route: string, method: string, { parameters = [], requestBody }: Operation): number[] {
  const inPath = parameters.some((each) => each.in === 'path');
  const changes = method !== 'get';
  return [
    ...(requestBody ? [400, 413, 415] : []),
    403,
    ...(inPath ? [404, 414] : []),
    ...(changes ? [409] : []),
    ...(parameters.length || requestBody ? [422] : []),
    ...(route.startsWith('/v1/') ? [429] : []),
    431,
    ...(route === '/healthz' ? [] : [503]),
    500,
  ];
}

const problem = (status: number) => ({
  description: titleOf(status),
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
});

const described = (responses: Operation['responses']): Json =>
  Object.fromEntries(
    Object.entries(responses).map(([status, each]) => [status, { ...each, description: each.description || 'Done' }]),
  );

/** What every operation has: a description, and the refusals that it can answer with. */
function completed(document: OpenAPIObject): OpenAPIObject {
  const paths = Object.fromEntries(
    Object.entries(document.paths).map(([route, item]) => [
      route,
      Object.fromEntries(
        Object.entries(item as Record<string, Json>).map(([method, value]): [string, Json] => {
          if (!METHODS.has(method)) return [method, value];
          const operation = value as Operation;
          const responses: Json = described(operation.responses);
          const known = refusals(route, method, operation).map((status) => [String(status), problem(status)]);
          return [
            method,
            {
              ...operation,
              description: operation.description || operation.summary,
              responses: { ...Object.fromEntries(known), ...responses },
            },
          ];
        }),
      ),
    ]),
  ) as OpenAPIObject['paths'];
  return {
    ...document,
    paths,
    components: {
      ...document.components,
      schemas: { ...document.components?.schemas, ...convert(Problem, { schemaType: 'output' }).components },
    },
    security: [],
  };
}

/** The document of an application. Nothing has to be connected. */
export function describeApi(app: NestFastifyApplication): OpenAPIObject {
  const config = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Latent Loom')
    .setVersion('1')
    .setDescription(
      'Queues contrastive pretraining, label-fraction finetuning and autoencoder runs, and tells what came of ' +
        'them. Errors are problem details (RFC 9457) with a stable `code` and the fields at fault.',
    )
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addServer('/');
  for (const [tag, description] of Object.entries(TAGS)) config.addTag(tag, description);
  const document = SwaggerModule.createDocument(app, config.build(), {
    standardSchemaConverter: convert,
    // Whoever generates a client does not care that the list of a resource has a controller of its own.
    operationIdFactory: (controller, method) =>
      `${controller.replace(/(List)?Controller$/, '').toLowerCase()}_${method}`,
  });
  return completed(settled(document));
}
