/** Folders that say a column and its value, as Hive, Spark and Arrow write them. */
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, wavOf, type Files } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

type More = Parameters<DataRoot['prepare']>[1];
type Prepared = Awaited<ReturnType<DataRoot['prepare']>>;
const red = (value: number) => colour(value, 0, 0).png().toBuffer();
/** Images of these names, the first of red 1, the second of red 2 and so on; all else as text. */
const pictures = (...names: string[]): Files =>
  Object.fromEntries(names.map((name, i) => [name, name.endsWith('.png') ? red(i + 1) : Buffer.from('x')]));
/** A table of one image. */
const table = async (value: number, columns: Record<string, string> = {}): Promise<Buffer> =>
  Buffer.from(
    parquetWriteBuffer({
      columnData: [
        { name: 'image', data: [new Uint8Array(await red(value))], type: 'BYTE_ARRAY' },
        ...Object.entries(columns).map(([name, cell]) => ({ name, data: [cell], type: 'STRING' as const })),
      ],
    }),
  );
/** Tables of these names, the first of red 1, the second of red 2 and so on. */
const tables = (...names: string[]): Files => Object.fromEntries(names.map((name, i) => [name, table(i + 1)]));

let made = 0;
const prepared = async (files: Files, more?: More) => data.prepare(await data.folder(`hive-${made++}`, files), more);
/** Red and class of each image by split. */
const content = ({ manifest, arrays }: Prepared) =>
  Object.fromEntries(
    Object.keys(manifest.splits).map((split) => [
      split,
      reds(arrays[`${split}-samples`]!).map((value, i) => {
        const label = arrays[`${split}-labels`]?.data[i];
        return label === undefined ? `${value}` : `${value} ${manifest.classes[label]}`;
      }),
    ]),
  );

describe.each([
  ['pictures', pictures, 'png'],
  ['Parquet', tables, 'parquet'],
] as const)('folders that say columns, of %s,', (_, of, ending) => {
  test('have the class and the split as values', async () => {
    const files = of(
      `split=train/label=cat/a.${ending}`,
      `split=train/label=dog/a.${ending}`,
      `split=validation/label=dog/b.${ending}`,
      `split=test/label=cat/c.${ending}`,
    );
    const found = await prepared(files);
    expect(found.manifest.classes).toEqual(['cat', 'dog']);
    expect(content(found)).toEqual({ train: ['1 cat', '2 dog'], val: ['3 dog'], test: ['4 cat'] });
    expect(found.warnings.filter((each) => !/has no sample of 1 of 2 classes/.test(each))).toEqual([]);
  });

  test('have values that are no words of splits, escaped ones, and none', async () => {
    const found = await prepared(
      of(
        `label=test tube/1.${ending}`,
        `label=a%2Fb/1.${ending}`,
        `label=caf%C3%A9/1.${ending}`,
        `label=100%25 100% %ff/1.${ending}`,
        `label=train/1.${ending}`,
        `label=__HIVE_DEFAULT_PARTITION__/1.${ending}`,
      ),
    );
    expect(content(found)).toEqual({ train: ['4 100% 100% %ff', '2 a/b', '3 café', '1 test tube', '5 train'] });
    expect(found.summary.leftOut).toEqual([
      expect.objectContaining({ count: 1, examples: [expect.stringContaining('__HIVE_DEFAULT_PARTITION__')] }),
    ]);
  });

  test('of other columns are named and are no classes, unless the spec says so', async () => {
    const files = of(`site=north/1.${ending}`, `site=south/1.${ending}`);
    const found = await prepared(files);
    expect(found.manifest.classes).toEqual([]);
    expect(found.warnings.join('\n')).toMatch(/the folders site=… are taken for neither .*\(columns\.label: site\)/);
    const chosen = await prepared(files, { columns: { label: 'site' } });
    expect(content(chosen)).toEqual({ train: ['1 north', '2 south'] });
    expect(chosen.warnings).toEqual([]);
    const held = { columns: { label: 'label', group: 'site' }, holdOut: { test: ['south'] } };
    const grouped = ['north', 'south'].flatMap((site) =>
      ['cat', 'dog'].map((label) => `site=${site}/label=${label}/1.${ending}`),
    );
    expect(content(await prepared(of(...grouped), held))).toEqual({
      train: ['1 cat', '2 dog'],
      test: ['3 cat', '4 dog'],
    });
  });

  test('of a split some of whose values are none are refused', async () => {
    const files = of(`split=train/label=cat/1.${ending}`, `split=final/label=dog/1.${ending}`);
    expect(await refusal(prepared(files))).toMatch(
      /expected train, val or test as a split in the folders split=…, got final/,
    );
    const others = await prepared(of(`set=upper/label=cat/1.${ending}`, `set=lower/label=dog/1.${ending}`));
    expect(others.manifest.classes).toEqual(['cat', 'dog']);
    expect(others.warnings.join('\n')).toContain('the folders set=…');
  });
});

describe('pictures in folders that say columns', () => {
  test('have classes by other folders where they say none', async () => {
    const around = await prepared(
      pictures('d/split=train/cat/1.png', 'd/split=train/dog/1.png', 'd/split=test/dog/2.png'),
    );
    expect(content(around)).toEqual({ train: ['1 cat', '2 dog'], test: ['3 dog'] });
    const within = await prepared(pictures('cat/split=train/1.png', 'dog/split=train/1.png', 'dog/split=val/1.png'));
    expect(content(within)).toEqual({ train: ['1 cat', '2 dog'], val: ['3 dog'] });
    const parted = await prepared(pictures('year=2020/cat/1.png', 'year=2021/dog/1.png', 'logo.png'));
    expect(content(parted)).toEqual({ train: ['1 cat', '2 dog'] });
    expect(parted.warnings.join('\n')).toMatch(/1 files .*logo\.png[^]*the folders year=…/);
  });

  test('have splits by other folders, and name what lies in none and what is lost', async () => {
    const found = await prepared(
      pictures(
        'train/label=cat/x/1.png',
        'train/label=dog/1.png',
        'val/label=dog/1.png',
        'train/2.png',
        'label=dog/3.png',
        'train/label=fish/notes.txt',
      ),
    );
    expect(content(found)).toEqual({ train: ['1 cat', '2 dog'], val: ['3 dog'] });
    const told = found.warnings.join('\n');
    expect(told).toMatch(/train\/2\.png lie in no folder label=…/);
    expect(told).toMatch(/label=dog\/3\.png lie beside the folders of splits/);
    expect(told).toMatch(/1 folders give no class, .*: fish \(only notes\.txt\)/);
    expect(found.paths['train']).toEqual(['train/label=cat/x/1.png', 'train/label=dog/1.png']);
  });

  test('make one dataset however they are packed', async () => {
    const files = pictures('label=b/1.png', 'label=a/2.png', 'label=b/3.png');
    const folder = await prepared(files);
    for (const name of ['hive.tar', 'hive.zip'])
      expect((await data.prepare(await data.archive(name, files))).manifest.digest).toBe(folder.manifest.digest);
  });

  test('are none where a class among others is called so', async () => {
    const found = await prepared(pictures('x/1.png', 'y/1.png', 'x=y/1.png'));
    expect(found.manifest.classes).toEqual(['x', 'x=y', 'y']);
  });

  test('without a label for any of them make a dataset without classes', async () => {
    const found = await prepared(pictures('label=__HIVE_DEFAULT_PARTITION__/1.png', 'label=/2.png'));
    expect(content(found)).toEqual({ train: ['2', '1'] });
  });

  test('have names that no folder has told', async () => {
    const files = pictures('label=a/1.png', 'label=b/1.png');
    expect(await refusal(prepared(files, { columns: { group: 'who' } }))).toMatch(
      /expected folders who=… \(columns\.group\), found those of label/,
    );
  });
});

test('sounds of a speaker are never divided between splits', async () => {
  const files = Object.fromEntries(
    ['ann', 'ben', 'cem', 'dan'].flatMap((speaker, i) =>
      ['no', 'yes'].map((word) => [`speaker=${speaker}/label=${word}/1.wav`, wavOf([i + 1], 1000)]),
    ),
  );
  const audio = { sampleRate: 1000, seconds: 0.001 };
  const { manifest, arrays, infos } = await prepared(files, { audio, testFraction: 0.25 });
  expect(manifest.classes).toEqual(['no', 'yes']);
  expect(new Set(arrays['test-samples']!.data).size).toBe(1);
  expect(infos.join()).toMatch(/test is made of the groups (ann|ben|cem|dan)\b/);
});

test('Parquet has the columns of its files before those of its folders, and some of either is refused', async () => {
  const both = await prepared({
    'class=0/x.parquet': table(1, { label: 'cat' }),
    'class=1/x.parquet': table(2, { label: 'dog' }),
  });
  expect(content(both)).toEqual({ train: ['1 cat', '2 dog'] });
  const chosen = await prepared(
    { 'kind=0/x.parquet': table(1, { label: 'cat' }), 'kind=1/x.parquet': table(2, { label: 'dog' }) },
    { columns: { label: 'kind' } },
  );
  expect(content(chosen)).toEqual({ train: ['1 0', '2 1'] });
  const some = prepared({ 'label=cat/x.parquet': table(1), 'x.parquet': table(2) });
  expect(await refusal(some)).toMatch(
    /every Parquet file \(label=cat\/x\.parquet has one by its folder\), x\.parquet has/,
  );
  const absent = prepared(tables('label=a/x.parquet', 'label=b/x.parquet'), { columns: { label: 'kind' } });
  expect(await refusal(absent)).toMatch(
    /expected a column kind in label=a\/x\.parquet \(columns\.label\), found image/,
  );
});
