import { truncate } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, wavOf } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const png = (r: number, g = 0) => colour(r, g, 0).png().toBuffer();

describe('WebDataset shards', () => {
  const sample = (key: string, red: number, label: string | object) => ({
    [`${key}.png`]: png(red),
    ...(typeof label === 'string'
      ? { [`${key}.cls`]: Buffer.from(label) }
      : { [`${key}.json`]: Buffer.from(JSON.stringify(label)) }),
  });

  test("give samples by key, classes by .cls or .json, splits by the shards' names", async () => {
    await data.archive('shards/pets-train-000001.tar', {
      ...sample('deep/003', 40, { label: 10, caption: 'x' }),
      ...sample('deep/004', 50, { label: 9 }),
      '005.png': png(60),
      '006.cls': Buffer.from('1'),
      'deep/007.png': png(1),
      'deep/007.json': Buffer.from('{no'),
    });
    await data.archive('shards/pets-val-000000.tar.gz', { ...sample('000', 70, '9'), '__key__.txt': Buffer.from('x') });
    await data.archive('shards/pets-train-000000.tar', {
      '000.x.png': png(10),
      '000.cls': Buffer.from('9'),
      ...sample('001', 20, '10\n'),
      ...sample('002', 30, '9'),
    });
    const { manifest, arrays, warnings } = await data.prepare('shards');
    // Numbers in the order of their value.
    expect(manifest.classes).toEqual(['9', '10']);
    expect(reds(arrays['train-samples']!)).toEqual([10, 20, 30, 40, 50]);
    expect(arrays['train-labels']!.data).toEqual([0, 1, 0, 1, 0]);
    expect([reds(arrays['val-samples']!), arrays['val-labels']!.data]).toEqual([[70], [0]]);
    expect(warnings.join()).toMatch(/4 files .*pets-train-000001\.tar\/005\.png, .*006, .*007\.png, .*__key__/);
  });

  test('are taken from one tar as well, and from keys by template', async () => {
    await data.archive('one.tar', { ...sample('a_1', 1, 'cat'), ...sample('b_1', 2, 'dog') });
    expect((await data.prepare('one.tar')).manifest.classes).toEqual(['cat', 'dog']);
    expect((await data.prepare('one.tar', { fileName: '{label}_{}' })).manifest.classes).toEqual(['a', 'b']);
  });

  test('have labels of JSON that differ in their last digit alone', async () => {
    const described = (key: string, label: string) => ({
      [`${key}.png`]: png(1),
      [`${key}.json`]: Buffer.from(`{"label": ${label}}`),
    });
    await data.archive('ids.tar', { ...described('a', '9007199254740993'), ...described('b', '9007199254740992') });
    expect((await data.prepare('ids.tar')).manifest.classes).toEqual(['9007199254740992', '9007199254740993']);
  });

  test.each(['cls', 'class', 'label', 'target', 'label.txt', 'target.cls', 'jsn'])(
    'have labels in .%s, in one tar and in a folder',
    async (ending) => {
      const labelled = (key: string, red: number, label: string) => ({
        [`${key}.png`]: png(red),
        [`${key}.txt`]: Buffer.from(`a caption of ${key}`),
        [`${key}.${ending}`]: Buffer.from(ending === 'jsn' ? JSON.stringify({ cls: label }) : `${label}\n`),
      });
      const files = { ...labelled('a/1', 1, '3'), ...labelled('a/2', 2, '12') };
      for (const name of [`alias-${ending}.tar`, `alias-${ending}/0.tar`]) {
        await data.archive(name, files);
        const { manifest, arrays } = await data.prepare(name.replace('/0.tar', ''));
        expect([manifest.classes, arrays['train-labels']!.data]).toEqual([
          ['3', '12'],
          [0, 1],
        ]);
      }
    },
  );

  test('whose files may be labels under other names say which, and one is chosen', async () => {
    const other = (key: string, place: number) => ({
      [`${key}.png`]: png(place),
      [`${key}.index`]: Buffer.from(String(place % 2)),
      [`${key}.input.cls`]: Buffer.from('8'),
      [`${key}.output.cls`]: Buffer.from('9'),
      [`${key}.target`]: Buffer.of(0x80, 0, 1),
      [`${key}.json`]: Buffer.from(JSON.stringify({ caption: 'x', kind: `k${place}`, box: [1] })),
    });
    await data.archive('untold/0.tar', { ...other('0', 1), ...other('1', 2), ...other('2', 3) });
    const { manifest, warnings } = await data.prepare('untold');
    expect(manifest.classes).toEqual([]);
    expect(warnings.join('\n')).toMatch(
      /no sample .* such as \.cls: .* the files \.index, \.input\.cls, \.output\.cls, \.target or the fields caption, kind of/,
    );
    const labels = async (label: string) => {
      const found = await data.prepare('untold', { columns: { label } });
      return found.arrays['train-labels']!.data.map((each) => found.manifest.classes[each]);
    };
    expect(await labels('index')).toEqual(['1', '0', '1']);
    expect(await labels('kind')).toEqual(['k1', 'k2', 'k3']);
  });

  test('have labels of any bytes, each its own', async () => {
    const labelled = (key: string, label: string) => ({
      [`${key}.png`]: png(1),
      [`${key}.cls`]: Buffer.from(label, 'latin1'),
    });
    await data.archive('latin.tar', { ...labelled('0', 'caf\xe9'), ...labelled('1', 'caf\xe8') });
    expect((await data.prepare('latin.tar')).manifest.classes).toEqual(['caf\\xE8', 'caf\\xE9']);
  });

  test('hold sounds, too', async () => {
    await data.archive(
      'words/0.tar',
      Object.fromEntries(
        ['yes', 'no'].flatMap((word, i) => [
          [`${i}.wav`, wavOf([i + 1, i + 2], 1000)],
          [`${i}.cls`, Buffer.from(word)],
        ]),
      ),
    );
    const { arrays } = await data.prepare('words', { audio: { sampleRate: 1000, seconds: 0.003 } });
    expect(arrays['train-samples']!.data).toEqual([1, 2, 0, 2, 3, 0]);
    expect(arrays['train-labels']!.data).toEqual([1, 0]);
  });

  test('that are cut short are told, and masks are not looked for in them', async () => {
    await data.archive('cut/0.tar', { ...sample('0', 1, 'a'), ...sample('1', 2, 'b') });
    await truncate(path.join(data.root, 'cut/0.tar'), 1000);
    expect(await refusal(data.prepare('cut'))).toMatch(/0\.tar to be a whole tar archive/);
    expect(await refusal(data.prepare('shards', { masks: { classes: ['a', 'b'] } }))).toMatch(
      /folders images and masks, .* got WebDataset shards at shards/,
    );
  });
});
