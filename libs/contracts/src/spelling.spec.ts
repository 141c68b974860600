import { RUN_KINDS, RunStatus } from '#libs/contracts';
import { expect, test } from 'vitest';
import { didYouMean, nearest } from './spelling.js';

test.each([
  ['pretain', RUN_KINDS, 'pretrain'],
  ['fientune', RUN_KINDS, 'finetune'],
  ['EMBED', RUN_KINDS, 'embed'],
  ['preparedataset', RUN_KINDS, 'prepare-dataset'],
  ['runing', RunStatus.options, 'running'],
  ['canceled', RunStatus.options, 'cancelled'],
  ['succeded', RunStatus.options, 'succeeded'],
  ['early', RunStatus.options, 'early_stopped'],
  ['paused', RunStatus.options, 'paused'],
])('%s', (given, words, expected) => {
  expect(nearest(given, words)).toBe(expected);
});

test('a word that is far from all is left alone', () => {
  expect(nearest('zebra', RUN_KINDS)).toBeUndefined();
  expect(nearest('x', [])).toBeUndefined();
  expect([didYouMean('epoch', ['epochs', 'dataset']), didYouMean('zebra', ['epochs'])]).toEqual([
    ': did you mean epochs?',
    '',
  ]);
});
