/**
 * JSON Schemas of submitted files, for editors: what zod checks, with the comments of libs/contracts as descriptions.
 * `node json-schema.js schemas` writes them; a test holds the files in `schemas/` to it.
 */
import { RunSpec, SubmitRun, SubmitSweep, SweepSpec } from '#libs/contracts';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import ts from 'typescript';
import { z } from 'zod';

interface Schema {
  [keyword: string]: unknown;
  type?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  description?: string;
  oneOf?: Schema[];
  anyOf?: Schema[];
  $ref?: string;
  definitions?: Record<string, Schema>;
}
type Notes = Map<string, Map<string, string>>;

/** An object is known by the names of its fields. */
const signature = (names: Iterable<string>): string => [...names].sort().join();

/**
 * What the comments above the fields of zod objects say, by the objects' fields; what two objects say differently is
 * left out.
 */
export function notesIn(sources: readonly string[]): Notes {
  const notes: Notes = new Map();
  const note = (key: string, field: string, text: string) => {
    const known = notes.get(key) ?? notes.set(key, new Map()).get(key)!;
    known.set(field, known.has(field) && known.get(field) !== text ? '' : text);
  };
  for (const source of sources) {
    const file = ts.createSourceFile('source.ts', source, ts.ScriptTarget.Latest, true);
    const constants = new Map<string, ts.ObjectLiteralExpression>();
    const commentOf = (node: ts.Node): string | undefined => {
      const ranges = [
        ts.getTrailingCommentRanges(source, node.pos),
        ts.getLeadingCommentRanges(source, node.pos),
      ].flatMap((some) => some ?? []);
      const last = ranges.findLast(({ pos }) => source.startsWith('/**', pos));
      return (
        last &&
        source
          .slice(last.pos + 3, last.end - 2)
          .replaceAll(/\n\s*\* ?/g, ' ')
          .replaceAll(/\s+/g, ' ')
          .trim()
      );
    };
    const fieldsOf = (object: ts.ObjectLiteralExpression): [string, ts.Node][] =>
      object.properties.flatMap((property): [string, ts.Node][] => {
        if (ts.isSpreadAssignment(property))
          return ts.isIdentifier(property.expression) && constants.has(property.expression.text)
            ? fieldsOf(constants.get(property.expression.text)!)
            : [];
        return property.name && (ts.isIdentifier(property.name) || ts.isStringLiteral(property.name))
          ? [[property.name.text, property]]
          : [];
      });
    const visit = (node: ts.Node) => {
      if (
        ts.isVariableDeclaration(node) &&
        ts.isIdentifier(node.name) &&
        node.initializer &&
        ts.isObjectLiteralExpression(node.initializer)
      )
        constants.set(node.name.text, node.initializer);
      const [argument] = ts.isCallExpression(node) ? node.arguments : [];
      if (
        argument &&
        ts.isObjectLiteralExpression(argument) &&
        ts.isCallExpression(node) &&
        /^z\.(strictObject|object)$/.test(node.expression.getText(file))
      ) {
        const fields = fieldsOf(argument);
        const key = signature(fields.map(([name]) => name));
        for (const [name, property] of fields) {
          const text = commentOf(property);
          if (text) note(key, name, text);
        }
        const statement = ts.findAncestor(node, ts.isVariableStatement);
        const text =
          statement?.declarationList.declarations[0]?.initializer?.getStart(file) === node.getStart(file)
            ? commentOf(statement)
            : undefined;
        if (text) note(key, '', text);
      }
      ts.forEachChild(node, visit);
    };
    visit(file);
  }
  return notes;
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

function describe(schema: Schema, notes: Notes): void {
  every(schema, (each) => {
    if (!isSchema(each.properties) || (each.type !== undefined && each.type !== 'object')) return;
    const known = notes.get(signature(Object.keys(each.properties)));
    for (const [field, text] of known ?? []) {
      const target = field === '' ? each : each.properties[field];
      if (text && target && target.description === undefined) target.description = text;
    }
  });
}

/** Draft 7, which editors know best. */
const draft7 = (type: z.ZodType): Schema =>
  z.toJSONSchema(type, { target: 'draft-7', io: 'input', unrepresentable: 'any' }) as Schema;

/** `sweep` and `run`: a bare spec, or a whole request with tags and priority around it. */
export function jsonSchemas(notes: Notes): Record<'sweep' | 'run', Schema> {
  const made = (title: string, spec: z.ZodType, request: z.ZodType): Schema => {
    const { definitions, ...schema } = draft7(z.union([spec, request]));
    const all: Schema = {
      $schema: 'http://json-schema.org/draft-07/schema#',
      title,
      ...schema,
      definitions: definitions ?? {},
    };
    delete all['$id'];
    describe(all, notes);
    return all;
  };
  const run = made('A run of Latent Loom', RunSpec, SubmitRun);
  const sweep = made('A sweep of Latent Loom', SweepSpec, SubmitSweep);
  // A stage is a run whose fields may come from parameters, and whose parent is a stage.
  const { RunSpec: stage, ...inner } = draft7(z.union([RunSpec, SubmitRun])).definitions!;
  describe({ stage, inner }, notes);
  every(stage, (each) => {
    if (!each.properties?.['kind']) return;
    each.required = ['kind'];
    if (each.properties['from'])
      each.properties['from'] = {
        anyOf: [{ type: 'string' }, { type: 'null' }],
        description: 'A stage of this sweep, or the id of a run; null without one.',
      };
  });
  Object.assign(sweep.definitions!, inner, {
    Stage: { ...stage, description: 'A run of each trial, by its kind. What parameters set may be left out.' },
  });
  every(sweep, (each) => {
    if (each.properties?.['stages'] && each.properties['method'])
      each.properties['stages']['additionalProperties'] = { $ref: '#/definitions/Stage' };
  });
  return { sweep, run };
}

/** The comments of the contracts, as they are in the repository. */
export const contractNotes = (root: string): Notes => {
  const folder = path.join(root, 'libs', 'contracts', 'src');
  return notesIn(
    readdirSync(folder)
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.spec.ts'))
      .sort()
      .map((name) => readFileSync(path.join(folder, name), 'utf8')),
  );
};

export const schemaText = (schema: Schema): string => `${JSON.stringify(schema, null, 1)}\n`;

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [folder = 'schemas'] = process.argv.slice(2);
  await mkdir(folder, { recursive: true });
  for (const [name, schema] of Object.entries(jsonSchemas(contractNotes(process.cwd()))))
    await writeFile(path.join(folder, `${name}.json`), schemaText(schema));
}
