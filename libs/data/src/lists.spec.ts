/** Labels, groups and splits that stand in lists, in columns, or in folders. */
import { PrepareDataset } from '#libs/contracts';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { pngOf } from '../../../tests/support/png.js';
import { colour, DataRoot, reds, refusal, type Files } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const red = (value: number) => colour(value, 0, 0).png().toBuffer();
const text = (...lines: string[]) => Buffer.from(lines.join('\n'));
type More = Parameters<DataRoot['prepare']>[1];
let made = 0;
const prepared = async (files: Files, more: More) => data.prepare(await data.folder(`lists-${made++}`, files), more);
/** Red of each image by split, and its class. */
const content = ({ manifest, arrays }: Awaited<ReturnType<typeof prepared>>) =>
  Object.fromEntries(
    Object.keys(manifest.splits).map((split) => [
      split,
      reds(arrays[`${split}-samples`]!).map((value, i) => {
        const label = arrays[`${split}-labels`]?.data[i];
        return label === undefined ? value : `${value} ${manifest.classes[label]}`;
      }),
    ]),
  );
const images = (): Files => ({ 'img/1.png': red(1), 'img/2.png': red(2), 'img/3.png': red(3), 'img/4.png': red(4) });

describe('a list', () => {
  const rows = [
    'img/1.png,cat,ann,train',
    './img/2.png,dog,ben,train',
    'img/3.png,cat,cem,valid',
    'img/4.png,dog,,test',
  ];

  test.each<[string, Buffer]>([
    ['x.csv', text('file_name,label,speaker,split', ...rows)],
    ['x.tsv', text('path\tclass\tgroup\tsubset', ...rows.map((row) => row.replaceAll(',', '\t')))],
    [
      'x.jsonl',
      text(
        ...rows.map((row) => {
          const [file, label, group, split] = row.split(',');
          return JSON.stringify({ file, label, group, split });
        }),
      ),
    ],
  ])('%s says classes and splits', async (list, bytes) => {
    const expected = { train: ['1 cat', '2 dog'], val: ['3 cat'], test: ['4 dog'] };
    expect(content(await prepared({ ...images(), [list]: bytes }, { list }))).toEqual(expected);
    const packed = await data.archive(`packed-${list}.tar.gz`, { ...images(), [list]: bytes });
    expect(content(await data.prepare(packed, { list }))).toEqual(expected);
  });

  test('of classes in two writings says so', async () => {
    const list = text('file_name,label', 'img/1.png,Cat', 'img/2.png,"cat "', 'img/3.png,dog');
    const { warnings } = await prepared({ ...images(), 'x.csv': list }, { list: 'x.csv' });
    expect(warnings.join('\n')).toMatch(/the classes "Cat" and "cat " differ in nothing but .*renameClasses/);
  });

  test('of words without a head, beside the images, and names without an ending', async () => {
    const listed = { ...images(), 'img/labels.txt': text('1.png 0', '2.png 1', '4.png 1') };
    const found = await prepared(listed, { list: 'img/labels.txt' });
    expect(content(found)).toEqual({ train: ['1 0', '2 1', '4 1'] });
    expect(found.summary.leftOut).toContainEqual({
      reason: 'are not named in img/labels.txt',
      count: 1,
      examples: ['img/3.png'],
    });
    const bare = { ...images(), 'x.csv': text('image_id,dx,lesion', '1,cat,a', '2,dog,a', '3,cat,b', '9,dog,b') };
    const groups = await prepared(bare, { list: 'x.csv', columns: { group: 'lesion' }, holdOut: { test: ['b'] } });
    expect(content(groups)).toEqual({ train: ['1 cat', '2 dog'], test: ['3 cat'] });
    expect(groups.summary.leftOut).toContainEqual({
      reason: 'are named in x.csv, but are not there',
      count: 1,
      examples: ['9'],
    });
  });

  test('may name paths of another machine, which end like those here', async () => {
    const files = { 'cat/1.png': red(1), 'dog/1.png': red(2), '3.png': red(3) };
    const list = (...paths: string[]) => text('path,label', ...paths.map((each, i) => `${each},${'abc'[i]}`));
    for (const root of ['/home/ann/pets/', 'C:\\Users\\ann\\pets\\', 's3://bucket/pets/']) {
      const there = list(`${root}cat/1.png`, `${root}dog/1.png`, `${root}3.png`);
      const found = await prepared({ ...files, 'x.csv': there }, { list: 'x.csv' });
      expect(content(found)).toEqual({ train: ['3 c', '1 a', '2 b'] });
    }
    const alike = { ...files, 'x.csv': list('/train/3.png', '/test/3.png') };
    expect(await refusal(prepared(alike, { list: 'x.csv' }))).toMatch(
      /each path in x\.csv to mean a file of its own, both \/train\/3\.png and \/test\/3\.png end like 3\.png/,
    );
    const absent = { ...files, 'x.csv': list('/pets/cat/1.png', '/pets/bird/1.png') };
    expect(await refusal(prepared(absent, { list: 'x.csv' }))).toMatch(/left out, such as \/pets\/bird\/1\.png/);
  });

  test('may have numbers of rows in a column without a name, as pandas writes them', async () => {
    const list = text(',file_name,label', '0,img/1.png,cat', '1,img/2.png,dog', '2,img/3.png,cat');
    const found = await prepared({ ...images(), 'x.csv': list }, { list: 'x.csv' });
    expect(content(found)).toEqual({ train: ['1 cat', '2 dog', '3 cat'] });
    expect(found.warnings.join()).not.toContain('group');
  });

  test('has its files where their endings are, when it has no head: not in the numbers of MXNet', async () => {
    const found = await prepared(
      { ...images(), 'x.lst': text('1\t5.0\timg/2.png', '2\t7.0\timg/1.png', '3\t5.0\timg/3.png') },
      { list: 'x.lst' },
    );
    expect(content(found)).toEqual({ train: ['1 7.0', '2 5.0', '3 5.0'] });
    const labelFirst = { ...images(), 'y.txt': text('cat img/1.png', 'dog img/2.png') };
    expect(content(await prepared(labelFirst, { list: 'y.txt' }))).toEqual({ train: ['1 cat', '2 dog'] });
  });

  test('is read in UTF-16 where it says so; what is no text is told', async () => {
    const list = 'file_name,label\nimg/1.png,café\nimg/2.png,cafè\n';
    const wide = { ...images(), 'x.csv': Buffer.from(`\ufeff${list}`, 'utf16le') };
    expect(content(await prepared(wide, { list: 'x.csv' }))).toEqual({ train: ['1 café', '2 cafè'] });
    const latin = { ...images(), 'x.csv': Buffer.from(list, 'latin1') };
    expect(await refusal(prepared(latin, { list: 'x.csv' }))).toMatch(/x\.csv to be text in UTF-8, .*iconv/);
  });

  test('can be of masks, or of nothing but samples', async () => {
    const mask = (id: number) => pngOf(Array.from({ length: 8 }, () => new Array<number>(8).fill(id)));
    const files = {
      'a/1.png': red(1),
      'b/x.png': mask(1),
      'c/other.png': red(9),
      'x.csv': text('image,mask', 'a/1.png,b/x.png'),
    };
    const { arrays } = await prepared(files, { list: 'x.csv', masks: { classes: ['p', 'q'] } });
    expect(arrays['train-masks']!.data).toEqual(new Array(64).fill(1));
    const plain = await prepared({ ...images(), 'x.csv': text('image', 'img/2.png', 'img/4.png') }, { list: 'x.csv' });
    expect(content(plain)).toEqual({ train: [2, 4] });
    expect(plain.warnings.join()).not.toContain('columns.label');
    const oneHot = { ...images(), 'x.csv': text('image,MEL,NV', '1,1.0,0.0', '2,0.0,1.0') };
    expect((await prepared(oneHot, { list: 'x.csv' })).warnings.join('\n')).toMatch(
      /x\.csv has no column label, class, .*: if it is one of MEL, NV, columns\.label says so/,
    );
  });

  test.each<[string, Files, NonNullable<More>, RegExp]>([
    ['absent', {}, { list: 'x.csv' }, /expected the lists x\.csv among the files of the source, found none/],
    [
      'without a column of files',
      { 'x.csv': text('a,label', 'b,c') },
      { list: 'x.csv' },
      /a column of files in x\.csv/,
    ],
    [
      'without the column that is named',
      { 'x.csv': text('path,label', 'b,c') },
      { list: 'x.csv', columns: { label: 'kind' } },
      /expected a column kind in x\.csv \(columns\.label\), found path, label/,
    ],
    [
      'of files that are elsewhere',
      { 'x.csv': text('path,label', '/data/7.png,cat', '/data/8.png,dog') },
      { list: 'x.csv' },
      /found none of those that it names \(\/data\/7\.png, \/data\/8\.png\); the source has img\/1\.png/,
    ],
    [
      'of one class, the other of which is not there',
      { 'x.csv': text('path,label', 'img/1.png,cat', 'gone.png,dog') },
      { list: 'x.csv' },
      /at least two classes .*found one: cat; \d+ files were left out, such as gone\.png, which are named in x\.csv/,
    ],
    [
      'that contradicts itself',
      { 'x.csv': text('path,label', 'img/1.png,cat', 'img/1.png,dog') },
      { list: 'x.csv' },
      /expected img\/1\.png once in x\.csv, found it as cat and as dog/,
    ],
    [
      'of a split that is none',
      { 'x.csv': text('path,label,split', 'img/1.png,cat,fold3') },
      { list: 'x.csv' },
      /expected train, val or test as a split in x\.csv, got fold3/,
    ],
    [
      'that can mean several files',
      { 'b/1.png': red(9), 'x.csv': text('path,label', '1.png,cat') },
      { list: 'x.csv' },
      /to mean one file, it can mean b\/1\.png, img\/1\.png/,
    ],
  ])('%s is refused', async (_, files, more, why) => {
    expect(await refusal(prepared({ ...images(), ...files }, more))).toMatch(why);
  });
});

describe('lists of splits', () => {
  const words = (): Files => ({
    'yes/1.png': red(1),
    'yes/2.png': red(2),
    'no/1.png': red(3),
    'no/2.png': red(4),
    'testing_list.txt': text('yes/2.png', 'no/2.png', ''),
  });

  test('name the samples of a split; all else is of train, or left out where train has a list', async () => {
    const splitLists = { test: 'testing_list.txt' };
    expect(content(await prepared(words(), { splitLists }))).toEqual({
      train: ['3 no', '1 yes'],
      test: ['4 no', '2 yes'],
    });
    const both = { ...words(), 'train.txt': text('yes/1 1', 'no/1 -1'), 'yes/3.png': red(9) };
    const found = await prepared(both, { splitLists: { ...splitLists, train: 'train.txt' } });
    expect(content(found)).toEqual({ train: ['3 no', '1 yes'], test: ['4 no', '2 yes'] });
    expect(found.summary.leftOut).toContainEqual({
      reason: 'are in none of the lists of splits',
      count: 1,
      examples: ['yes/3.png'],
    });
    const twice = { ...both, 'train.txt': text('yes/2') };
    expect(await refusal(prepared(twice, { splitLists: { ...splitLists, train: 'train.txt' } }))).toMatch(
      /yes\/2\.png in two/,
    );
  });
});

describe('groups', () => {
  const spoken = (): Files =>
    Object.fromEntries(
      ['yes', 'no'].flatMap((word, w) =>
        ['ann', 'ben', 'cem'].map((speaker, s) => [`${word}/${speaker}_0.png`, red(10 * w + s)] as const),
      ),
    );

  test('by file names, of classes that are folders', async () => {
    const found = await prepared(spoken(), { fileName: '{group}_{}', holdOut: { test: ['ben'] } });
    expect(content(found)).toEqual({ train: ['10 no', '12 no', '0 yes', '2 yes'], test: ['11 no', '1 yes'] });
  });

  test('by folders, below or above those of classes', async () => {
    const below = Object.fromEntries(Object.entries(spoken()).map(([name, bytes]) => [name.replace('_', '/'), bytes]));
    const expected = { train: ['10 no', '12 no', '0 yes', '2 yes'], test: ['11 no', '1 yes'] };
    const holdOut = { test: ['ben'] };
    expect(content(await prepared(below, { fileName: '{label}/{group}/{}', holdOut }))).toEqual(expected);
    expect(content(await prepared(below, { fileName: '{group}/{}', holdOut }))).toEqual(expected);
    const above = Object.fromEntries(
      Object.entries(spoken()).map(([name, bytes]) => [name.replace(/(\w+)\/(\w+)_/, '$2/$1/'), bytes]),
    );
    const found = await prepared(above, { fileName: '{group}/{label}/{}', holdOut });
    expect(found.manifest.splits.test!.countPerClass).toEqual([1, 1]);
    const drawn = await prepared(below, { fileName: '{group}/{}', valFraction: 0.3 });
    expect([...new Set((content(drawn)['val'] as string[]).map((each) => parseInt(each) % 10))]).toHaveLength(1);
  });
});

describe('classes', () => {
  const animals = (): Files => ({ 'cat/1.png': red(1), 'lion/1.png': red(2), 'dog/1.png': red(3) });

  test('are renamed and merged', async () => {
    const found = await prepared(animals(), { renameClasses: { cat: 'feline', lion: 'feline' } });
    expect(content(found)).toEqual({ train: ['1 feline', '3 dog', '2 feline'] });
    expect(await refusal(prepared(animals(), { renameClasses: { tiger: 'feline' } }))).toMatch(
      /expected renameClasses to name classes that there are \(cat, dog, lion\), got tiger/,
    );
  });

  test('of Parquet are of the column that is chosen, as are images, groups and splits', async () => {
    const pictures = await Promise.all([1, 2, 3, 4].map(red));
    const column = (name: string, values: readonly string[]) => ({ name, data: [...values], type: 'STRING' as const });
    const table = parquetWriteBuffer({
      columnData: [
        { name: 'thumb', data: pictures.map(() => new Uint8Array(3)), type: 'BYTE_ARRAY' as const },
        { name: 'picture', data: pictures.map((bytes) => new Uint8Array(bytes)), type: 'BYTE_ARRAY' as const },
        column('label', ['x', 'x', 'x', 'y']),
        column('coarse', ['cat', 'dog', 'cat', 'dog']),
        column('who', ['ann', 'ann', 'ben', 'ben']),
        column('fold', ['train', 'train', 'validation', 'test']),
      ],
    });
    const file = { 'x.parquet': Buffer.from(table) };
    const columns = { sample: 'picture', label: 'coarse' };
    const bySplit = await prepared(file, { columns: { ...columns, split: 'fold' } });
    expect(content(bySplit)).toEqual({ train: ['1 cat', '2 dog'], val: ['3 cat'], test: ['4 dog'] });
    const byGroup = await prepared(file, { columns: { ...columns, group: 'who' }, holdOut: { val: ['ben'] } });
    expect(content(byGroup)).toEqual({ train: ['1 cat', '2 dog'], val: ['3 cat', '4 dog'] });
    expect(await refusal(prepared(file, { columns: { sample: 'picture', label: 'fine' } }))).toMatch(
      /expected a column fine in x\.parquet \(columns\.label\), found thumb, picture/,
    );
  });
});

test('Parquet whose labels are called otherwise, or whose images are elsewhere, says what it has', async () => {
  const table = (pictures: readonly (string | Uint8Array)[], type: 'STRING' | 'BYTE_ARRAY') =>
    Buffer.from(
      parquetWriteBuffer({
        columnData: [
          { name: 'image', data: [...pictures], type },
          { name: 'species', data: ['cat', 'dog'], type: 'STRING' },
        ],
      }),
    );
  const pictures = (await Promise.all([1, 2].map(red))).map((bytes) => new Uint8Array(bytes));
  const { manifest, warnings } = await prepared({ 'x.parquet': table(pictures, 'BYTE_ARRAY') }, {});
  expect(manifest.classes).toEqual([]);
  expect(warnings.join('\n')).toMatch(/x\.parquet has no column label, .*: if it is one of species, columns\.label/);
  expect(await refusal(prepared({ 'x.parquet': table(['a/1.png', 'a/2.png'], 'STRING') }, {}))).toMatch(
    /bytes of a file in the column image, found the text "a\/1\.png": paths are not followed, write the bytes/,
  );
});

test('a column of Parquet that is called split has splits where it holds nothing else', async () => {
  const pictures = await Promise.all([1, 2, 3].map(red));
  const withSplits = (...splits: string[]): Files => ({
    'train.parquet': Buffer.from(
      parquetWriteBuffer({
        columnData: [
          { name: 'image', data: pictures.map((bytes) => new Uint8Array(bytes)), type: 'BYTE_ARRAY' },
          { name: 'label', data: ['cat', 'dog', 'cat'], type: 'STRING' },
          { name: 'split', data: splits, type: 'STRING' },
        ],
      }),
    ),
  });
  expect(content(await prepared(withSplits('train', 'train', 'dev'), {}))).toEqual({
    train: ['1 cat', '2 dog'],
    val: ['3 cat'],
  });
  expect(content(await prepared(withSplits('upper', 'lower', 'dev'), {}))).toEqual({
    train: ['1 cat', '2 dog', '3 cat'],
  });
});

test('what does not go together is refused in the spec', () => {
  const issues = (more: object) =>
    PrepareDataset.safeParse({ kind: 'prepare-dataset', name: 'x', path: 'x', ...more }).error?.issues.map(({ path }) =>
      path.join('.'),
    );
  expect(issues({ list: 'x.csv', fileName: '{label}' })).toEqual(['fileName']);
  expect(issues({ masks: { classes: ['a', 'b'] }, renameClasses: { a: 'b' } })).toEqual(['renameClasses']);
  expect(issues({ holdOut: { test: ['a'] } })).toEqual(['holdOut']);
  expect(issues({ holdOut: { test: ['a'] }, columns: { group: 'who' } })).toBeUndefined();
});
