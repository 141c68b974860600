import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { faultsOf } from './faults.js';
import { ListRuns } from './run-filter.js';
import { SubmitRun } from './runs-api.js';
import { SubmitSweep } from './sweeps-api.js';

const told = (schema: z.ZodType, value: unknown) =>
  schema
    .safeParse(value, { reportInput: true })
    .error!.issues.flatMap(faultsOf)
    .map(({ path, message }) => `${path.join('.')}: ${message}`);
const run = (spec: object) => told(SubmitRun, { spec });
const sweep = (more: object) => told(SubmitSweep, { spec: { name: 's', stages: { p: {} }, ...more } });

describe('what a schema refuses is said in words of our own', () => {
  test.each<[string, string[], string[]]>([
    [
      'the id of a parent',
      run({ kind: 'finetune', dataset: 'x', from: 'pp' }),
      ['spec.from: expected the id of a run, or `model` with its name, got "pp"'],
    ],
    [
      'the id of a teacher',
      run({ kind: 'distill', dataset: 'x', from: 'pp' }),
      ['spec.from: expected the id of a run, got "pp"'],
    ],
    [
      'the id of a run in a filter',
      told(ListRuns, { id: 'a', sweep: 'b', limit: 1 }),
      ['sweep: expected the id of a sweep, got "b"', 'id.0: expected the id of a run, got "a"'],
    ],
    [
      'a word by which alternatives are told apart',
      run({ kind: 'pretrain', dataset: 'x', optimizer: { name: 'rmsprop' } }),
      ['spec.optimizer.name: expected one of adam, lars, sgd, got "rmsprop"'],
    ],
    ['one of several', sweep({ seeds: 'few' }), ['spec.seeds: expected a number or a list, got "few"']],
    ['the alternative that it nearly is', sweep({ seeds: [1, -1] }), ['spec.seeds.1: expected at least 0, got -1']],
    [
      'a key',
      sweep({ stages: { 'A b': {} } }),
      ['spec.stages.A b: expected a lower-case stage name such as `pretrain`, got "A b"'],
    ],
    ['a list', sweep({ stages: [] }), ['spec.stages: expected a mapping, got []']],
    ['a number that is none', told(z.coerce.number(), 'x'), [': expected a number, got NaN']],
    ['a multiple', told(z.number().multipleOf(3), 4), [': expected a multiple of 3, got 4']],
    ['a form', told(z.string().regex(/^a+$/), 'b'), [': expected text that matches /^a+$/, got "b"']],
    ['a time', told(z.iso.datetime(), 'b'), [': expected a time as ISO 8601 has it, got "b"']],
  ])('%s', (_, got, expected) => expect(got).toEqual(expected));
});
