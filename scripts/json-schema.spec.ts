import { Ajv } from 'ajv';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { jsonSchemas, schemaText } from './json-schema.js';

const ROOT = path.resolve(import.meta.dirname, '..');
const schemas = jsonSchemas();

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
    expect(pretrain.properties!['temperature']!.description).toBe(
      'SimCLR, DCL, SupCon, MoCo and NNCLR: temperature of the contrastive loss. SwAV and DINO: of what foretells ' +
        'prototypes.',
    );
  });

  test('shows what a field is for before what all of its type are', () => {
    const option = (kind: string) =>
      schemas.run.definitions!['RunSpec']!.oneOf!.find(({ properties }) => properties!['kind']!['const'] === kind)!;
    const encoder = (kind: string) => option(kind).properties!['encoder']!.description!;
    expect(encoder('pretrain')).toMatch(/^`small-resnet`: /);
    expect(encoder('distill')).toBe(`The student. ${encoder('pretrain')}`);
    expect(option('pretrain').properties!['augmentation']).toEqual({
      allOf: [{ $ref: '#/definitions/Augmentation' }],
    });
    expect(schemas.run.definitions!['Augmentation']!.description).toMatch(/^Random transformations that make a view/);
  });

  test('shows what fields that several objects share are for', () => {
    const policies = schemas.sweep.definitions!['SweepSpec']!.properties!['early_terminate']!.oneOf!;
    expect(policies.map(({ properties }) => properties!['metric']!.description)).toEqual(
      Array.from({ length: 3 }, () => "Default: the sweep's metric where a pretraining has it, else kNN."),
    );
  });
});
