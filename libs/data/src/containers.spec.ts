import { truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, refusal, twoClasses, zipOf } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const png = (r: number, g = 0) => colour(r, g, 0).png().toBuffer();

test('what systems and disk stations keep in folders is no sample, whatever they are packed in', async () => {
  const files = twoClasses();
  const kept = ['@eaDir/cats/9.png', 'cats/@eaDir/0.png/SYNOPHOTO_THUMB_M.png', '$RECYCLE.BIN/cats/9.png'];
  const all = { ...files, ...Object.fromEntries([...kept, 'dogs/__MACOSX/9.png'].map((name) => [name, png(9)])) };
  const sources = [data.folder('systems', all), data.archive('systems.zip', all), data.archive('systems.tar', all)];
  const found = await Promise.all(sources.map(async (source) => data.prepare(await source)));
  const { manifest } = await data.prepare(await data.folder('without systems', files));
  for (const { manifest: same, warnings } of found) expect([same.digest, warnings]).toEqual([manifest.digest, []]);
});

describe('a zip', () => {
  test('gives what its folder gives', async () => {
    const files = twoClasses();
    const [folder, zip, wrapped] = await Promise.all([
      data.folder('plain', files),
      data.archive('plain.zip', Object.fromEntries(Object.entries(files).reverse())),
      data.archive('mac.zip', {
        ...Object.fromEntries(Object.entries(files).map(([name, bytes]) => [`pets/${name}`, bytes])),
        'pets/': Buffer.alloc(0),
        '__MACOSX/pets/cats/._0.png': Buffer.from('x'),
      }),
    ]);
    const digests = await Promise.all(
      [folder, zip, wrapped].map(async (source) => (await data.prepare(source)).manifest.digest),
    );
    expect(new Set(digests).size).toBe(1);
  });

  test('whose files hold more than it says has damaged files, not more memory', async () => {
    const bomb = await zipOf({ ...twoClasses(), 'cats/bomb.png': Buffer.alloc(8 * 2 ** 20) });
    // The size in the directory, the last place of the bomb's name but for the local header's.
    const entry = bomb.lastIndexOf('cats/bomb.png') - 46;
    bomb.writeUInt32LE(100, entry + 24);
    await writeFile(path.join(data.root, 'bomb.zip'), bomb);
    const { manifest, warnings } = await data.prepare('bomb.zip', { maxCorruptFraction: 0.1 });
    expect(manifest.splits.train.count).toBe(20);
    expect(warnings.join()).toMatch(/1 of 21 files could not be decoded: cats\/bomb\.png/);
  });

  test('with a note too large to be read has its samples all the same', async () => {
    const files = twoClasses();
    const zip = await zipOf({ ...files, 'annotations.json': Buffer.alloc(2) });
    zip.writeUInt32LE(2 ** 30, zip.lastIndexOf('annotations.json') - 46 + 24);
    await writeFile(path.join(data.root, 'noted.zip'), zip);
    const { manifest, warnings } = await data.prepare('noted.zip');
    expect(manifest.splits.train.count).toBe(Object.keys(files).length);
    expect(warnings.join()).toMatch(/1 files are no images .*annotations\.json/);
  });

  test.each<[string, () => Promise<string>, RegExp]>([
    ['empty', () => data.archive('empty.zip', {}), /images in class folders in empty\.zip, found none: it is empty/],
    [
      'cut short',
      async () => {
        const name = await data.archive('cut.zip', twoClasses());
        await truncate(path.join(data.root, name), 600);
        return name;
      },
      /cut\.zip to be a whole zip archive/,
    ],
    [
      'encrypted',
      () => data.archive('secret.zip', twoClasses(), { flags: 1 }),
      /secret\.zip without encryption, cats\/0\.png is encrypted/,
    ],
    [
      'of an unknown method',
      () => data.archive('lzma.zip', twoClasses(), { method: 14 }),
      /stored or deflated, cats\/0\.png is compressed by method 14/,
    ],
    [
      'with a path out of it',
      () => data.archive('slip.zip', { ...twoClasses(), '../slip.png': png(1) }),
      /names inside the archive slip\.zip, got "\.\.\/slip\.png"/,
    ],
    [
      'with a path from the root',
      () => data.archive('root.zip', { ...twoClasses(), '/etc/slip.png': png(1) }),
      /names inside the archive root\.zip, got "\/etc\/slip\.png"/,
    ],
    [
      'with a path out of it by backslashes',
      () => data.archive('back.zip', { ...twoClasses(), '..\\slip.png': png(1) }),
      /names inside the archive back\.zip/,
    ],
    [
      'with a file that unpacks to a gigabyte',
      () => data.archive('huge.zip', twoClasses(), { claimedSize: 2 ** 30 }),
      /cats\/0\.png \(expected files of at most 268435456 bytes in an archive, it has 1073741824: give the unpacked/,
    ],
  ])('%s is told in one sentence', async (_, make, expected) => {
    expect(await refusal(data.prepare(await make()))).toMatch(expected);
  });
});
