import { expect, test } from 'vitest';
import { fileOfTag, isTag, pointsOfTag, tagOf } from './chosen.js';

test('a tag has a file of the run, and names rows, wherever they lie', () => {
  expect(tagOf(fileOfTag('odd-ones'))).toBe('odd-ones');
  expect([tagOf('maps.json'), isTag('odd ones'), isTag(''), isTag('a'.repeat(101))]).toEqual([
    undefined,
    false,
    false,
    false,
  ]);
  expect(pointsOfTag({ rows: [7, 9, 3] }, [9, 1, 7])).toEqual([0, 2]);
});
