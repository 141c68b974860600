import { RUN_KINDS, RunSpec, SubmitRun, SubmitSweep, SweepSpec } from '#libs/contracts';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { fieldsOf, fromOneLine, inOneLine, type Field, type Subject } from './spec-fields.js';
import { edited, parseSubmission } from './submission.js';

const field = (kind: string, ...names: string[]): Field =>
  names.reduce<{ fields: Field[]; found?: Field }>(
    ({ fields }, name) => {
      const found = fields.find((each) => each.name === name)!;
      return { found, fields: 'fields' in found.input ? found.input.fields : [] };
    },
    { fields: fieldsOf({ type: 'spec', kind })! },
  ).found!;

test('every kind has a form, made from its schema', () => {
  for (const kind of RUN_KINDS) expect(fieldsOf({ type: 'spec', kind })!.length, kind).toBeGreaterThan(0);
  expect(fieldsOf({ type: 'spec', kind: 'none' })).toBeUndefined();
  expect(field('pretrain', 'dataset')).toMatchObject({ required: true, input: { type: 'string' } });
  expect(field('pretrain', 'method')).toMatchObject({
    required: false,
    usual: '"simclr"',
    input: {
      type: 'choice',
      options: [
        'simclr',
        'byol',
        'simsiam',
        'barlow-twins',
        'vicreg',
        'dcl',
        'supcon',
        'moco-v2',
        'moco-v3',
        'nnclr',
        'swav',
        'dino',
        'emp-ssl',
      ],
    },
  });
  expect(field('pretrain', 'epochs')).toMatchObject({
    usual: '8',
    input: { type: 'number', whole: true, min: 1, max: 10_000 },
  });
  expect(field('pretrain', 'encoder', 'width')).toMatchObject({ usual: '32', input: { type: 'number', whole: true } });
  expect(field('pretrain', 'augmentation')).toMatchObject({ input: { type: 'switch' } });
  expect(field('pretrain', 'augmentation', 'crop')).toMatchObject({ input: { type: 'switch' } });
  expect(field('pretrain', 'augmentation', 'crop', 'minArea')).toMatchObject({
    usual: '0.08',
    input: { type: 'number', whole: false },
  });
  expect(field('embed', 'maps')).toMatchObject({ input: { type: 'several', options: ['pca', 'tsne', 'umap'] } });
  // A reference or nothing is a reference.
  expect(field('finetune', 'from')).toMatchObject({ required: true, input: { type: 'string' } });
});

test('an optimiser has the fields of its name, early stopping those of its type; what has many forms is a line', () => {
  expect(field('pretrain', 'kind')).toMatchObject({ input: { type: 'choice', options: RUN_KINDS } });
  const optimizer = field('pretrain', 'optimizer').input;
  expect(optimizer).toMatchObject({
    type: 'variant',
    key: 'name',
    options: [{ value: 'adam' }, { value: 'lars' }, { value: 'sgd' }],
  });
  expect(optimizer.type === 'variant' && optimizer.options[1]!.fields.map(({ name }) => name)).toEqual([
    'learningRate',
    'weightDecay',
    'momentum',
    'trustCoefficient',
    'scaling',
    'clipNorm',
  ]);
  const sweep = new Map(fieldsOf({ type: 'sweep' })!.map((each) => [each.name, each.input]));
  expect(sweep.get('early_terminate')).toMatchObject({
    type: 'variant',
    key: 'type',
    options: [{ value: 'asha' }, { value: 'hyperband' }, { value: 'median' }],
  });
  expect(sweep.get('method')).toMatchObject({ type: 'choice', options: ['grid', 'random', 'tpe', 'bayes'] });
  expect(sweep.get('controls')).toMatchObject({ type: 'several', options: ['scratch', 'random_init_probe'] });
  for (const name of ['seeds', 'label_fractions', 'parameters'])
    expect(sweep.get(name), name).toEqual({ type: 'yaml' });
  expect(fromOneLine(inOneLine({ rows: [0, 1], name: 'a: b' }))).toEqual({ rows: [0, 1], name: 'a: b' });
  expect([inOneLine(undefined), fromOneLine(' ')]).toEqual(['', undefined]);
  expect(() => fromOneLine('[1, ')).toThrow();
});

const subjects: [string, Subject, z.ZodType, string, string[]][] = [
  ...RunSpec.options.map((option): [string, Subject, z.ZodType, string, string[]] => [
    `a run of kind ${option.shape.kind.value}`,
    { type: 'spec', kind: option.shape.kind.value },
    option,
    `kind: ${option.shape.kind.value} # what\n`,
    [],
  ]),
  ['a sweep', { type: 'sweep' }, SweepSpec, 'name: x # what\nstages:\n  a: {kind: pretrain}\n', []],
  ['the request of a run', { type: 'run-request' }, SubmitRun, 'spec: {kind: embed} # what\n', []],
  [
    'the request of a sweep',
    { type: 'sweep-request' },
    SubmitSweep,
    'spec: {stages: {a: {kind: pretrain}}} # what\n',
    [],
  ],
];

// Protects the promise that the form and the text say the same: no key of a schema is left to the text alone.
test.each(subjects)(
  'every key of %s has a field that sets it in the text, and reads what the text says',
  (_, subject, schema, text, root) => {
    const samples = (input: Field['input']): unknown[] => {
      switch (input.type) {
        case 'choice':
        case 'several': {
          const [option] = input.options;
          return [input.type === 'choice' ? option : [option]];
        }
        case 'number':
          return [input.min ?? 1];
        case 'boolean':
          return [true];
        case 'string':
          return ['some text: with # signs'];
        case 'yaml':
          return [[1, 2], { a: { b: 'c' } }, 3];
        case 'variant':
          return input.options.map(({ value }) => ({ [input.key]: value }));
        case 'group':
        case 'switch':
          return [{}];
      }
    };
    const keys: string[] = [];
    const check = (fields: Field[], path: string[], start: string): void => {
      for (const { name, input } of fields) {
        keys.push([...path, name].join('.'));
        for (const value of samples(input)) {
          const next = edited(start, [...path, name], value);
          expect(next).toContain('# what');
          const parsed = parseSubmission(next);
          if (name === 'kind' || name === 'stages') continue;
          const part =
            'draft' in parsed
              ? parsed.draft.parts.find((each) => JSON.stringify(each.subject) === JSON.stringify(subject))
              : undefined;
          expect(
            [...path, name].reduce<unknown>(
              (inner, key) => (inner as Record<string, unknown> | undefined)?.[key],
              part?.value,
            ),
            next,
          ).toEqual(value);
          if (input.type === 'variant')
            for (const option of input.options)
              if (option.value === (value as Record<string, string>)[input.key])
                check(option.fields, [...path, name], next);
        }
        if (input.type === 'group' || input.type === 'switch') check(input.fields, [...path, name], start);
      }
    };
    check(fieldsOf(subject)!, root, text);

    // The keys as the schema itself has them, read without the form's code.
    interface Json {
      $ref?: string;
      properties?: Record<string, Json>;
      anyOf?: Json[];
      oneOf?: Json[];
      $defs?: Record<string, Json>;
      type?: string;
    }
    const json = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Json;
    const behind = (each: Json): Json => (each.$ref ? json.$defs![each.$ref.split('/').at(-1)!]! : each);
    expect(Object.keys(behind(json).properties!).filter((key) => key !== 'spec' || subject.type === 'spec')).toEqual([
      ...new Set(keys.map((key) => key.split('.')[0])),
    ]);
    for (const [key, value] of Object.entries(behind(json).properties!)) {
      if (key === 'spec') continue;
      const only = (behind(value).anyOf ?? []).filter(({ type }) => type !== 'null');
      const inner = only.length === 1 ? behind(only[0]!) : behind(value);
      for (const name of Object.keys(inner.properties ?? {})) expect(keys).toContain(`${key}.${name}`);
      const names =
        inner.oneOf
          ?.flatMap((option) => Object.keys(behind(option).properties ?? {}))
          .filter((name) => name !== 'name' && name !== 'type') ?? [];
      for (const name of names) expect(keys).toContain(`${key}.${name}`);
    }
  },
);
