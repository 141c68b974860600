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

/** Tars of cat/1.ppm (red 1) and dog/1.ppm (red 2): by bzip2 in two pieces, and by xz. */
const BZIP2 = Buffer.from(
  '' +
    'QlpoOTFBWSZTWX3XfuQAASzfgPyQQAH/wEAAQIBsgt4ACAggAJIFVU9I0MammgYmIbU9BFQppoYAIMmRkfj2UhykDNMKSVWKqxBE' +
    'MK/hedgvKieggCJXBVYRAwJGQZFBvtidAZyAJmoblC7Ba4ql6l2RVWsWTerphFYcJoFz7pHWSUH5JNCaaIbC7kinChIPuu/cgEJa' +
    'aDkxQVkmU1lWczzWAAAKYADAAEAAAAggACClNBmMTYk8XckU4UJBWczzWA==',
  'base64',
);
const XZ = Buffer.from(
  '' +
    '/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4Cf/AHpdADGYSushqavKdEuANBBbtBQPk1MajYbxu3WdMixTrX/c3DI1Enb8TVWHPNmC' +
    'Lzn4Jzd5w7FLRak5DiQ+0nZrUZb28ILRe4oB42MsTJIICxfjWCSYYrddtGqeH53AIiL1/0XQgBap/89SX4b4pF4OKEjbANQZxQXc' +
    'nxwAAAAAo2gUme38cycAAZYBgFAAALiQ77SxxGf7AgAAAAAEWVo=',
  'base64',
);

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
    ['pets.tar.bz2', BZIP2],
    ['pets.txz', XZ],
  ])('%s by bzip2 or xz is read', async (name, bytes) => {
    await writeFile(path.join(data.root, name), bytes);
    const { manifest, arrays } = await data.prepare(name);
    expect([manifest.classes, reds(arrays['train-samples']!)]).toEqual([
      ['cat', 'dog'],
      [1, 2],
    ]);
  });

  test.each([
    ['x.tar.lz4', '04224d18', /compressed by LZ4: unpack it and give the folder, or pack it anew as \.tar\.zst/],
    ['x.tar.bz2', '425a6839', /expected x\.tar\.bz2 to be a whole tar\.bz2 archive: its bzip2 is damaged/],
    ['x.tar.xz', 'fd377a585a00', /expected x\.tar\.xz to be a whole tar\.xz archive: its xz is damaged/],
    ['x.tar.zst', '28b52ffd0000', /expected x\.tar\.zst to be a whole tar\.zst archive/],
  ])('%s that is not read is refused with what to do', async (name, magic, why) => {
    await writeFile(path.join(data.root, name), Buffer.concat([Buffer.from(magic, 'hex'), Buffer.alloc(50, 1)]));
    expect(await refusal(data.prepare(name))).toMatch(why);
  });

  test.each([
    ['bz2', BZIP2, /damaged or ends early/],
    ['xz', XZ, /its xz (is damaged|ends early)/],
  ])('by %s that is cut or changed anywhere is refused, and never a tar of less', async (ending, bytes, why) => {
    const name = `broken.tar.${ending}`;
    for (let at = 6; at < bytes.length; at += 29) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 0x10;
      for (const broken of [bytes.subarray(0, at), changed]) {
        await writeFile(path.join(data.root, name), broken);
        expect.soft(await refusal(data.prepare(name)), `byte ${at} of ${broken.length}`).toMatch(why);
      }
    }
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

describe('archives of one split each', () => {
  test('have classes by their folders, however many are of one split', async () => {
    for (const [i, name] of ['train-0.tar', 'train-1.tar', 'dev.tar'].entries())
      await data.archive(`by-split/${name}`, { 'cat/1.png': red(10 * i + 1), 'dog/1.png': red(10 * i + 2) });
    const { manifest, arrays, warnings } = await data.prepare('by-split');
    expect([manifest.classes, manifest.splits.train.count, manifest.splits.val?.count]).toEqual([['cat', 'dog'], 4, 2]);
    expect(arrays['train-labels']!.data).toEqual([0, 0, 1, 1]);
    expect(warnings).toEqual([]);
  });

  test('are shards where they have no folders of classes', async () => {
    for (const name of ['train-0.tar', 'val-0.tar'])
      await data.archive(`flat-split/${name}`, { 'keys/1.png': red(1), 'keys/2.png': red(2) });
    const { manifest } = await data.prepare('flat-split');
    expect([manifest.classes, manifest.splits.train.count, manifest.splits.val?.count]).toEqual([[], 2, 2]);
  });
});

describe('parts of a whole that were packed one by one', () => {
  test('have the classes of their folders, as the whole has', async () => {
    const files = (...reds: number[]) =>
      Object.fromEntries(reds.map((value) => [`pets/${value % 2 ? 'cat' : 'dog'}/1.png`, red(value)]));
    for (const [i, name] of ['pets-part1.tar', 'pets-part2.tar.gz', 'pets-part3.tar'].entries())
      await data.archive(`parts/${name}`, i < 2 ? files(2 * i + 1, 2 * i + 2) : files(5));
    const { manifest, arrays } = await data.prepare('parts');
    expect(manifest.classes).toEqual(['cat', 'dog']);
    expect(reds(arrays['train-samples']!)).toEqual([1, 3, 5, 2, 4]);
  });

  test('are shards where something else belongs to samples', async () => {
    for (const name of ['0.tar', '1.tar'])
      await data.archive(`described/${name}`, {
        'a/1.png': red(1),
        'a/1.txt': Buffer.from('a cat'),
        'b/2.png': red(2),
        'b/2.txt': Buffer.from('a dog'),
      });
    expect((await data.prepare('described')).manifest.classes).toEqual([]);
  });
});
