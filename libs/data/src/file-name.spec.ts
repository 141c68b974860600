import { describe, expect, test } from 'vitest';
import { fileNameMatcher } from './file-name.js';

describe('a template of file names', () => {
  test.each<[string, string, string | undefined, string | null]>([
    ['{label}_{group}_{}', '7_jackson_32', '7', 'jackson'],
    ['{label}_{group}_{}', '7_jackson_', '7', 'jackson'],
    ['{label}_{group}_{}', '7__32', undefined, null],
    ['{label}_{group}_{}', '7_jackson', undefined, null],
    ['{group}-{label}', 'a-b-c', 'b-c', 'a'],
    ['{}.{label}', '1.2', '2', null],
    ['{}-{label}-x', '-b-x', 'b', null],
    ['{label}_x', 'a_x_x', 'a_x', null],
    ['img {label}', 'img cat', 'cat', null],
    ['img {label}', 'cat', undefined, null],
    ['a{label}a', 'a', undefined, null],
    ['({label})[{}]*', '(x)[y]*', 'x', null],
  ])('%s takes %s apart', (template, name, label, group) => {
    expect(fileNameMatcher(template)(name)).toEqual(label === undefined ? undefined : { label, group });
  });

  test.each([
    ['{label}{group}', /text between/],
    ['{label}_{speaker}', /got \{speaker\}/],
    ['{label}_{label}', /\{label\} once/],
    ['img_{}', /expected \{label\}/],
    ['{label}/{label}', /\{label\} once/],
    ['{label}/{speaker}_{}', /got \{speaker\}/],
  ])('%s is refused', (template, expected) => {
    expect(() => fileNameMatcher(template)).toThrow(expected);
  });

  test.each<[string, string, ReturnType<ReturnType<typeof fileNameMatcher>>]>([
    ['{group}_{}', 'data/cat/ann_1', { label: null, group: 'ann' }],
    ['{label}/{group}/{}', 'data/cat/ann/1', { label: 'cat', group: 'ann' }],
    ['{group}/{}', 'cat/ann/1', { label: null, group: 'ann' }],
    ['{label}-v2/{}/x_{group}', 'cat-v2/wavs/x_ann', { label: 'cat', group: 'ann' }],
    ['{label}/{group}/{}', 'ann/1', undefined],
    ['{label}/{group}/img', 'cat/ann/1', undefined],
  ])('%s takes folders of %s too', (template, name, expected) => {
    expect(fileNameMatcher(template)(name)).toEqual(expected);
  });

  test('takes no longer than its name is long', () => {
    const matches = fileNameMatcher(`${'{}a'.repeat(60)}{label}b`);
    const started = performance.now();
    expect(matches('a'.repeat(100_000))).toBeUndefined();
    expect(performance.now() - started).toBeLessThan(100);
  });
});
