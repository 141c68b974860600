import { expect, test } from 'vitest';
import { fileOfTag, isTag, pointsOfTag, spread, tagOf } from './chosen.js';

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

test('of many chosen points as many of each class are listed as it has its share of', () => {
  const classes = [200, 600, 800];
  const classOf = classes.flatMap((count, label) => Array.from({ length: count }, () => label));
  const listed = spread([...classOf.keys()], 160).map((point) => classOf[point]);
  expect(classes.map((_, label) => listed.filter((each) => each === label).length)).toEqual([20, 60, 80]);
  expect(new Set(spread([...classOf.keys()], 300)).size).toBe(300);
  expect(spread([5, 3, 9], 300)).toEqual([5, 3, 9]);
});
