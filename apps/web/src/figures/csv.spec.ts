import { expect, test } from 'vitest';
import { csv } from './csv.js';

test('CSV quotes what needs it', () =>
  expect(
    csv([
      ['a', 'b,c'],
      ['say "x"', null],
      [1.5, undefined],
    ]),
  ).toBe('a,"b,c"\r\n"say ""x""",\r\n1.5,\r\n'));
