/** Archives that are compressed otherwise than by gzip, and those of one class each. */
import { rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, twoClasses } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const red = (value: number) => colour(value, 0, 0).png().toBuffer();

describe('a compressed tar', () => {
  test('by Zstandard, or called otherwise than it is packed, is read', async () => {
    const plain = await data.prepare(await data.folder('plain', twoClasses()));
    const packed = await data.prepare(await data.archive('packed.tar.zst', twoClasses()));
    expect(packed.manifest.digest).toBe(plain.manifest.digest);
    await data.archive('gzipped.tar.gz', twoClasses());
    await rename(path.join(data.root, 'gzipped.tar.gz'), path.join(data.root, 'gzipped.tar'));
    expect((await data.prepare('gzipped.tar')).manifest.digest).toBe(plain.manifest.digest);
  });

  test.each([
    ['x.tar.bz2', '425a6839', /compressed by bzip2: unpack it and give the folder, or pack it anew as \.tar\.zst/],
    ['x.tar.xz', 'fd377a585a00', /compressed by xz/],
    ['x.tar.zst', '28b52ffd0000', /expected x\.tar\.zst to be a whole tar\.zst archive/],
  ])('%s that is not read is refused with what to do', async (name, magic, why) => {
    await writeFile(path.join(data.root, name), Buffer.concat([Buffer.from(magic, 'hex'), Buffer.alloc(50, 1)]));
    expect(await refusal(data.prepare(name))).toMatch(why);
  });
});

describe('archives of one class each', () => {
  const tars = async (folder: string, names: readonly string[]) => {
    for (const [i, name] of names.entries())
      await data.archive(`${folder}/${name}`, { [`${i}.png`]: red(10 * i + 1), 'notes.txt': Buffer.from('x') });
    return folder;
  };

  test.each([
    ['words', ['cat.tar', 'dog.tar.gz', 'rare bird.tar'], ['cat', 'dog', 'rare bird']],
    ['synsets', ['n01440764.tar', 'n01440765.tar'], ['n01440764', 'n01440765']],
  ])('are folders of their names: %s', async (folder, names, classes) => {
    const { manifest, arrays } = await data.prepare(await tars(folder, names));
    expect(manifest.classes).toEqual(classes);
    expect(reds(arrays['train-samples']!)).toEqual(classes.map((_, i) => 10 * i + 1));
  });

  test('can lie in folders of splits', async () => {
    const source = await tars('split', ['train/cat.tar', 'train/dog.tar', 'val/cat.tar', 'val/dog.tar']);
    const { manifest } = await data.prepare(source);
    expect([manifest.classes, manifest.splits.train.count, manifest.splits.val?.count]).toEqual([['cat', 'dog'], 2, 2]);
  });

  test('are no shards: those have numbers', async () => {
    const { manifest } = await data.prepare(await tars('shards', ['shard-000003.tar', 'shard-000007.tar']));
    expect([manifest.classes, manifest.splits.train.count]).toEqual([[], 2]);
  });
});
