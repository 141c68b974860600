import { expect, test } from 'vitest';
import { diffSpecs, flattened, shortestPaths } from './spec-diff.js';

test('nested specs become paths; lists and empty objects stay whole', () => {
  expect([
    ...flattened({ kind: 'pretrain', encoder: { width: 8, deep: { a: null } }, maps: ['pca'], flip: {} }),
  ]).toEqual([
    ['kind', 'pretrain'],
    ['encoder.width', 8],
    ['encoder.deep.a', null],
    ['maps', ['pca']],
    ['flip', {}],
  ]);
});

test('what differs between specs, also where one has no such field', () => {
  expect(
    diffSpecs([
      { a: 1, b: { c: 2 } },
      { a: 1, b: { c: 3, d: 4 } },
      { a: 1, b: { c: 2 } },
    ]),
  ).toEqual([
    { path: 'a', values: ['1', '1', '1'], differs: false },
    { path: 'b.c', values: ['2', '3', '2'], differs: true },
    { path: 'b.d', values: [undefined, '4', undefined], differs: true },
  ]);
  expect(diffSpecs([{ a: [1, 2] }, { a: [1, 2] }])[0]!.differs).toBe(false);
  expect(diffSpecs([])).toEqual([]);
});

test.each([
  [
    ['pretrain.augmentation.crop', 'pretrain.augmentation.blur'],
    ['crop', 'blur'],
  ],
  [
    ['pretrain.augmentation.crop', 'pretrain.temperature'],
    ['augmentation.crop', 'temperature'],
  ],
  [
    ['pretrain.seed', 'finetune.seed'],
    ['pretrain.seed', 'finetune.seed'],
  ],
  [
    ['pretrain.augmentation', 'pretrain.augmentation.crop'],
    ['augmentation', 'augmentation.crop'],
  ],
  [['pretrain.temperature'], ['temperature']],
])('%j are told apart as %j', (paths, short) => expect(shortestPaths(paths)).toEqual(short));
