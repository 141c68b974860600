import { describe, expect, test } from 'vitest';
import { parseTable } from './table-file.js';

describe('a table', () => {
  const cells = (name: string, given: string) =>
    parseTable(name, given, ([first]) => first === 'a').rows.map((row) => [...row.values()]);

  test('of separated values has quotes, separators and ends of lines in its cells', () => {
    expect(cells('x.csv', '\ufeffa,b\r\n"1, ""x""\n2",y\r\n,\n3, z\n')).toEqual([
      ['1, "x"\n2', 'y'],
      ['3', 'z'],
    ]);
    expect(cells('x.csv', 'a;b\n1;0,5')).toEqual([['1', '0,5']]);
    expect(cells('x.csv', 'a|b\n1|x, y')).toEqual([['1', 'x, y']]);
    expect(cells('x.csv', '\ufeffsep=|\r\na|b,c\r\n1|2;3\r\n')).toEqual([['1', '2;3']]);
    expect(cells('x.tsv', 'a\tb\n1 2\t3')).toEqual([['1 2', '3']]);
    expect(cells('x.csv', '1,2\n3,')).toEqual([
      ['1', '2'],
      ['3', ''],
    ]);
    expect(cells('x.txt', '1.png  0\n\n2.png 1\n')).toEqual([
      ['1.png', '0'],
      ['2.png', '1'],
    ]);
  });

  test('of words is separated by tabs, or by commas behind files, where each line has them', () => {
    expect(cells('x.txt', 'my cat.png\tbig cat\r\n2.png\tdog')).toEqual([
      ['my cat.png', 'big cat'],
      ['2.png', 'dog'],
    ]);
    expect(cells('x.lst', '1\t5.0\timg/a b.png\r2\t7.0\timg/2.png')).toEqual([
      ['1', '5.0', 'img/a b.png'],
      ['2', '7.0', 'img/2.png'],
    ]);
    expect(cells('x.txt', 'a,b\n1.png, 0\n2 x.png,fire truck')).toEqual([
      ['1.png', '0'],
      ['2 x.png', 'fire truck'],
    ]);
    // Commas in names, and tabs beside blanks.
    expect(cells('x.txt', 'x,1.png 0\ny,2.png 1')).toEqual([
      ['x,1.png', '0'],
      ['y,2.png', '1'],
    ]);
    expect(cells('x.txt', '1.png 0\tx\n2.png 1\ty')).toEqual([
      ['1.png', '0', 'x'],
      ['2.png', '1', 'y'],
    ]);
  });

  test('of JSON is a list of objects, or files with their labels', () => {
    expect(cells('x.json', '[{"a": 1, "b": null}, {"a": "x", "c": []}]')).toEqual([['1'], ['x']]);
    expect(cells('x.json', '{"1.png": 0, "2.png": "dog"}')).toEqual([
      ['1.png', '0'],
      ['2.png', 'dog'],
    ]);
    for (const other of ['{"images": [], "annotations": []}', '[1]', '3', 'no'])
      expect(() => cells('x.json', other)).toThrow(/a list of objects, or .* in x\.json: .*a CSV with/);
  });

  test('of JSON keeps numbers that are larger than numbers here can be', () => {
    const numbers = ['9007199254740993', '9007199254740992', '-0', '1e400', '2.50'];
    const [first, second, zero, infinite, real] = cells(
      'x.jsonl',
      numbers.map((it) => `{"a": ${it}}`).join('\n'),
    ).flat();
    expect([first, second, zero, infinite, real]).toEqual([numbers[0], numbers[1], '0', numbers[3], '2.5']);
  });

  test('of JSON Lines has the values that are texts, numbers or truth values', () => {
    const { columns, rows } = parseTable('x.jsonl', '{"a":1,"b":true}\n\n{"c":"x","d":[1]}', () => false);
    expect(columns).toEqual(['a', 'b', 'c', 'd']);
    expect(rows.map((row) => Object.fromEntries(row))).toEqual([{ a: '1', b: 'true' }, { c: 'x' }]);
    expect(() => parseTable('x.jsonl', '{"a":1}\nno', () => false)).toThrow(
      /object of JSON in line 2 of x\.jsonl, got no/,
    );
  });
});
