import { expect, test } from 'vitest';
import { mapTexts, printable, printableJson, storableText } from './plain-text.js';

test('what Postgres refuses is left out or replaced', () => {
  expect(storableText('a\0b \ud83d \ud83d\ude00')).toBe('ab \ufffd \ud83d\ude00');
});

test('what a terminal obeys is shown as text, and tabs and line feeds stay', () => {
  expect(printable('\u001b]0;owned\u0007\t\n\r\u009b2J\u007f')).toBe('\\x1b]0;owned\\x07\t\n\\x0d\\x9b2J\\x7f');
});

test('JSON stays JSON of the same value', () => {
  const value = { 'a\u009b': ['\u007f', '\u001b[0m'] };
  const json = printableJson(JSON.stringify(value));
  expect(json).not.toMatch(new RegExp(String.raw`[\u0000-\u001f\u007f-\u009f]`));
  expect(JSON.parse(json)).toEqual(value);
});

test('texts of a value are changed, in names of fields too, and nothing else is', () => {
  const value = { a: ['b', 1, null, true], __proto__: { c: 'd' } };
  expect(mapTexts(value, (text) => text.toUpperCase())).toEqual({ A: ['B', 1, null, true] });
});
