import { expect, test } from 'vitest';
import { changedBlock, faultsIn, movedBlock, withBlock, withoutBlock, writtenIn, type Draft } from './draft.js';

const empty: Draft = { title: '', version: 0, blocks: [] };
const types = ({ blocks }: Draft) => blocks.map(({ block }) => block.type);

test('blocks are added, moved, changed and removed, and keep what they are known by', () => {
  const all = (['text', 'chart', 'map'] as const).reduce<Draft>(withBlock, { ...empty, title: ' Views ' });
  const keys = all.blocks.map(({ key }) => key);
  expect(new Set(keys).size).toBe(3);
  const moved = movedBlock(all, keys[2]!, -1);
  expect([types(moved), moved.blocks.map(({ key }) => key)]).toEqual([
    ['text', 'map', 'chart'],
    [keys[0], keys[2], keys[1]],
  ]);
  expect(types(movedBlock(all, keys[0]!, -1))).toEqual(types(all));
  expect(types(movedBlock(all, keys[2]!, 1))).toEqual(types(all));
  const changed = changedBlock(withoutBlock(all, keys[1]!), keys[0]!, { type: 'text', markdown: 'a' });
  expect(writtenIn(changed)).toEqual({
    title: 'Views',
    blocks: [
      { type: 'text', markdown: 'a' },
      { type: 'map', run: '' },
    ],
  });
  // A block that comes after one was removed is not taken for it.
  expect(withBlock(withoutBlock(all, keys[0]!), 'text').blocks.at(-1)!.key).not.toBe(keys[2]);
});

test('what is missing is told at its block, and the title at its own', () => {
  const draft = withBlock(withBlock(empty, 'text'), 'chart');
  const faults = faultsIn(draft);
  expect([...faults.keys()].sort()).toEqual(['1', 'title']);
  expect(faults.get('1')).toMatch(/^runs: /);
  expect(faultsIn({ ...withBlock(empty, 'text'), title: 'a' }).size).toBe(0);
});
