import { describe, expect, test } from 'vitest';
import { readNumbers, writeNumbers } from './number-list.js';

describe('numbers in an address', () => {
  test.each([
    [[], ''],
    [[0], '0'],
    [[3, 1, 2, 40, 2], '1-3.14'],
    [[0, 1, 35, 36, 37, 100_000], '0-1.z-11.255s'],
  ])('%j stands in the address as %j and comes back', (points, text) => {
    expect(writeNumbers(points)).toBe(text);
    expect(readNumbers(text, 200_000)).toEqual([...new Set(points)].sort((a, b) => a - b));
  });

  test('what is too long for an address has none, and what is no choice chooses nothing', () => {
    expect(writeNumbers(Array.from({ length: 2000 }, (_, i) => 2 * i))).toBeUndefined();
    expect(writeNumbers(Array.from({ length: 200_000 }, (_, i) => i))).toBe('0-4abj');
    for (const text of ['', '-', 'x-1', '1-', '!', '5-2']) expect(readNumbers(text, 100)).toEqual([]);
    expect(readNumbers('0-zzzzzz', 3)).toEqual([0, 1, 2]);
  });
});
