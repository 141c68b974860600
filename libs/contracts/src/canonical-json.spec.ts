import { expect, test } from 'vitest';
import { canonicalJson, canonicalPieces } from './canonical-json.js';

test.each([
  [
    { b: 1, a: [1, 'é"', null, { d: undefined, c: true }], 10: -0, 9: 1e21 },
    '{"10":0,"9":1e+21,"a":[1,"é\\"",null,{"c":true}],"b":1}',
  ],
  [[], '[]'],
  [{}, '{}'],
  [{ a: undefined }, '{}'],
  ['text', '"text"'],
  [null, 'null'],
])('%j has one text, whole or in pieces', (value, text) => {
  expect(canonicalJson(value)).toBe(text);
  expect([...canonicalPieces(value)].join('')).toBe(text);
});

test('what JSON has no value for is refused, wherever it stands', () => {
  for (const value of [Number.NaN, [undefined], { a: [() => 1] }]) {
    expect(() => canonicalJson(value)).toThrow(TypeError);
    expect(() => [...canonicalPieces(value)]).toThrow(TypeError);
  }
});
