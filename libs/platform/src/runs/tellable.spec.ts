import { expect, test } from 'vitest';
import { tellable } from './tellable.js';

test('stacks and paths of the server stay in its logs', () => {
  const { stack } = new TypeError('x is not a function');
  expect(tellable(stack!)).toBe('TypeError: x is not a function');
  expect(tellable("ENOENT: no such file, open '/srv/loom/artifacts/sha256/ab/abc'")).toBe(
    "ENOENT: no such file, open '…/abc'",
  );
  expect(tellable('from file:///app/dist/apps/worker/src/trainer.js:12:3')).toBe('from …/trainer.js:12:3');
  expect(tellable('poisoned\n 1: 0xb0f1 node::Abort() [/usr/bin/node]\n#0 0x7f raise\nend')).toBe('poisoned\nend');
});

test('what users know by its name stays as it is', () => {
  for (const text of [
    'expected eval/knn_accuracy to be a number, got NaN',
    'cats/1.png could not be decoded',
    'see https://example.org/a/b/c',
    'took 3 s / 2 s at step 12',
    'image/png and application/json',
  ])
    expect(tellable(text)).toBe(text);
});
