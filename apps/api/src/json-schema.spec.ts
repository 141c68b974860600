import { Ajv } from 'ajv';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { contractNotes, jsonSchemas, notesIn, schemaText } from './json-schema.js';

const ROOT = path.resolve(import.meta.dirname, '..', '..', '..');
const schemas = jsonSchemas(contractNotes(ROOT));

test.each(['sweep', 'run'] as const)(
  'schemas/%s.json is what the contracts say (`npm run openapi` writes it)',
  (name) => {
    expect(readFileSync(path.join(ROOT, 'schemas', `${name}.json`), 'utf8')).toBe(schemaText(schemas[name]));
  },
);

describe('an editor', () => {
  const ajv = new Ajv({ strict: false, allErrors: true, formats: { uuid: true } });
  const accepts = { sweep: ajv.compile(schemas.sweep), run: ajv.compile(schemas.run) };

  test.each(readdirSync(path.join(ROOT, 'examples')))('takes examples/%s', (file) => {
    const content = parse(readFileSync(path.join(ROOT, 'examples', file), 'utf8')) as object;
    const kind = 'stages' in content ? 'sweep' : 'run';
    expect(accepts[kind](content), JSON.stringify(accepts[kind].errors)).toBe(true);
    expect(accepts[kind]({ spec: content, tags: ['x'] })).toBe(true);
    expect(accepts[kind]({ spec: content, tag: ['x'] })).toBe(false);
  });

  test.each<[string, object]>([
    ['an unknown field of a stage', { stages: { p: { kind: 'pretrain', epoch: 3 } } }],
    ['a kind that is none', { stages: { p: { kind: 'train' } } }],
    ['a method that is none', { stages: {}, method: 'gird' }],
    ['a number out of range', { stages: { p: { kind: 'pretrain', temperature: 50 } } }],
  ])('marks %s', (_, more) => {
    expect(accepts.sweep({ name: 's', ...more })).toBe(false);
  });

  test('leaves out of a stage what parameters set', () => {
    expect(
      accepts.sweep({
        name: 's',
        stages: { p: { kind: 'pretrain' }, f: { kind: 'finetune', from: 'p' } },
        parameters: { 'p.dataset': { values: ['a', 'b'] } },
      }),
    ).toBe(true);
  });

  test('shows what fields are for', () => {
    const definitions = schemas.sweep.definitions!;
    expect(definitions['SweepSpec']!.properties!['run_cap']!.description).toMatch(/^At most so many trials/);
    expect(definitions['SweepSpec']!.description).toMatch(/dialect of Weights & Biases/);
    expect(definitions['SweepSpec']!.properties!['metric']!.description).toBeUndefined();
    const pretrain = definitions['Stage']!.oneOf!.find(
      (option) => option.properties!['kind']!['const'] === 'pretrain',
    )!;
    expect(pretrain.properties!['temperature']!.description).toBe('SimCLR: of NT-Xent.');
  });
});

test('comments are told apart by the fields beside them; a contradiction says nothing', () => {
  const notes = notesIn([
    'const shared = { /** Shared. */ s: 1 };\n/** Of A. */ const A = z.strictObject({ /** one\n * two */ a: 1, b: ' +
      'z.object({ /** inner */ c: 1, d: 2 }), ...shared });',
    'const B = z.object({ /** other */ c: 1, d: 2 });',
  ]);
  expect([...notes].map(([key, fields]) => [key, Object.fromEntries(fields)])).toEqual([
    ['a,b,s', { a: 'one two', s: 'Shared.', '': 'Of A.' }],
    ['c,d', { c: '' }],
  ]);
});
