/** One digest for the same content, whatever packs it: archives are held against the folder that they were made of. */
import { execFile, execFileSync } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { appendFile, open, rename, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, zipOf } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const run = promisify(execFile);
const red = (value: number) => colour(value, 0, 0).png().toBuffer();
const at = (...parts: string[]) => path.join(data.root, ...parts);
const digestOf = async (source: string) => (await data.prepare(source)).manifest.digest;
const tar = async (name: string, folder: string, ...options: string[]) => {
  await run('tar', [...options, '-cf', at(name), '-C', data.root, folder]);
  return name;
};
const isGnu = execFileSync('tar', ['--version']).includes('GNU tar');

describe.skipIf(!isGnu)('GNU tar', () => {
  test.each([
    ['gnu', []],
    ['oldgnu', []],
    ['posix', ['--sparse-version=0.0']],
    ['posix', ['--sparse-version=0.1']],
    ['posix', ['--sparse-version=1.0']],
  ])('stores a sparse file without its holes, which are read all the same (%s, %j)', async (format, options) => {
    const folder = `sparse-${format}-${options.join()}`;
    await data.folder(folder, { 'cat/1.png': red(1), 'dog/1.png': red(2) });
    const [side, pieces] = [512, 40];
    const header = `P6 ${side} ${side} 255\n`;
    const file = await open(at(folder, 'cat/2.ppm'), 'w');
    await file.write(header);
    for (let i = 0; i < pieces; i++)
      await file.write(Buffer.alloc(3 * side, i + 100), 0, 3 * side, header.length + 3 * side * 12 * i);
    await file.truncate(header.length + 3 * side * side);
    await file.close();
    const source = await tar(`${folder}.tar`, folder, `--format=${format}`, '--sparse', ...options);
    expect((await stat(at(source))).size).toBeLessThan(0.6 * 3 * side * side);
    expect(await digestOf(source)).toBe(await digestOf(folder));
  });

  test.each(['v7', 'ustar', 'gnu', 'posix'])('packs names that are no UTF-8, each its own (%s)', async (format) => {
    const folder = `latin-${format}`;
    await data.folder(folder, { 'dog/1.png': red(2), 'x/1.png': red(1), 'y/1.png': red(3), 'ü/1.png': red(4) });
    for (const [from, to] of [
      ['x', 'caf\xe9'],
      ['y', 'caf\xe8'],
    ] as const)
      await rename(at(folder, from), Buffer.concat([Buffer.from(at(folder, '/')), Buffer.from(to, 'latin1')]));
    const source = await tar(`${folder}.tar`, folder, `--format=${format}`);
    const { manifest } = await data.prepare(source);
    expect(manifest.classes).toEqual(['caf\\xE8', 'caf\\xE9', 'dog', 'ü']);
    expect(manifest.digest).toBe(await digestOf(folder));
  });

  test('has a label, and lists of folders where it packs what has changed: neither is a file', async () => {
    await data.folder('backup', { 'cat/1.png': red(1), 'dog/1.png': red(2) });
    const sources = [
      await tar('labelled.tar', 'backup', '--label=cats and dogs'),
      await tar('incremental.tar', 'backup', `--listed-incremental=${at('snapshot')}`),
    ];
    for (const source of sources) {
      const { manifest, warnings } = await data.prepare(source);
      expect(warnings).toEqual([]);
      expect(manifest.digest).toBe(await digestOf('backup'));
    }
  });
});

test('what lies behind the end of a tar is nothing of it, unless it is another tar', async () => {
  await data.folder('ended', { 'cat/1.png': red(1), 'dog/1.png': red(2) });
  const source = await tar('ended.tar', 'ended');
  await appendFile(at(source), Buffer.alloc(3000, 'x'));
  expect(await digestOf(source)).toBe(await digestOf('ended'));
  const [first, second] = [await tar('first.tar', 'ended/cat'), await tar('second.tar', 'ended/dog')];
  await run('sh', ['-c', 'cat "$0" "$1" > "$2"', at(first), at(second), at('both.tar')]);
  expect(await digestOf('both.tar')).toBe(await digestOf('ended'));
});

describe('links', () => {
  const files = async () => ({ 'cat/1.png': await red(1), 'cat/2.png': await red(2), 'dog/1.png': await red(3) });
  /** Links by name: to a file, to a folder, through one, to a file in a hidden folder. */
  const LINKS = {
    'dog/2.png': '../cat/1.png',
    kitten: 'cat',
    'dog/3.png': '../kitten/2.png',
    'dog/4.png': './../.store/deep/9.png',
  };

  test('to files and folders are followed in a tar and a zip as in a folder', async () => {
    await data.folder('linked', { ...(await files()), '.store/deep/9.png': red(9) });
    for (const [name, target] of Object.entries(LINKS)) await symlink(target, at('linked', name));
    const { manifest, arrays } = await data.prepare('linked');
    expect(manifest.classes).toEqual(['cat', 'dog', 'kitten']);
    expect(reds(arrays['train-samples']!)).toEqual([1, 2, 3, 1, 2, 9, 1, 2]);
    expect(await digestOf(await tar('linked.tar', 'linked'))).toBe(manifest.digest);

    const zip = await zipOf({
      ...(await files()),
      '.store/deep/9.png': red(9),
      ...Object.fromEntries(Object.entries(LINKS).map(([name, target]) => [name, Buffer.from(target)])),
    });
    for (const name of Object.keys(LINKS)) zip.writeUInt32LE(0o120777 * 0x10000, zip.lastIndexOf(name) - 46 + 38);
    await writeFile(at('linked.zip'), zip);
    expect(await digestOf('linked.zip')).toBe(manifest.digest);
  });

  /** A tar of two classes and of these links. */
  async function linkedTar(name: string, links: readonly (readonly [name: string, target: string])[]): Promise<string> {
    const packed = pack();
    for (const [file, bytes] of Object.entries(await files())) packed.entry({ name: file }, bytes);
    for (const [link, linkname] of links) packed.entry({ name: link, type: 'symlink', linkname });
    packed.finalize();
    await pipeline(packed, createWriteStream(at(name)));
    return name;
  }

  test('in circles, to a folder above and out of the archive are named', async () => {
    const source = await linkedTar('circles.tar', [
      ['cat/up', '..'],
      ['dog/here', '../dog'],
      ['round', 'about'],
      ['about', 'round'],
      ['out', '../../etc'],
      ['root', '/etc'],
    ]);
    const { manifest, warnings } = await data.prepare(source);
    expect(manifest.classes).toEqual(['cat', 'dog']);
    const told = warnings.join('\n');
    expect(told).toMatch(/cat\/up, dog\/here is a link to a folder that it lies in/);
    for (const [name, target] of ['round about', 'about round', 'out ../../etc', 'root /etc'].map((it) =>
      it.split(' '),
    ))
      expect(told).toContain(`${name} is a symbolic link to ${target}, which is no file of the archive`);
  });

  test('that multiply are refused before they take memory', async () => {
    const links = Array.from({ length: 24 }, (_, level) =>
      ['a', 'b'].map((name) => [`l${level}/${name}`, `../l${level + 1}`] as const),
    );
    const source = await linkedTar('bomb.tar', [...links.flat(), ['l24/x.png', '../cat/1.png']]);
    expect(await refusal(data.prepare(source))).toMatch(/expected links to at most 1000000 files and folders/);
  });
});

test('names in a zip are the bytes of the file system where Unix made it, and of code page 437 elsewhere', async () => {
  await data.folder('bytes', { 'dog/1.png': red(2), 'x/1.png': red(1) });
  await rename(at('bytes/x'), Buffer.concat([Buffer.from(at('bytes/')), Buffer.from('caf\x82', 'latin1')]));
  const zip = (await zipOf({ 'cafX/1.png': red(1), 'dog/1.png': red(2) })).toString('latin1');
  const named = zip.replaceAll('cafX', 'caf\x82');
  await writeFile(at('unix.zip'), Buffer.from(named, 'latin1'));
  expect(await digestOf('unix.zip')).toBe(await digestOf('bytes'));
  // Made by DOS, and without the flag that says UTF-8.
  const dos = named.replaceAll('PK\x01\x02\x14\x03\x14\0\0\x08', 'PK\x01\x02\x14\0\x14\0\0\0');
  await writeFile(at('dos.zip'), Buffer.from(dos, 'latin1'));
  expect((await data.prepare('dos.zip')).manifest.classes).toEqual(['café', 'dog']);
});

test('a tar in which a pipe takes the place of a file does not have the file', async () => {
  const packed = pack();
  for (const [name, value] of Object.entries({ 'cat/1.png': 1, 'cat/2.png': 2, 'dog/1.png': 3 }))
    packed.entry({ name }, await red(value));
  packed.entry({ name: 'cat/1.png', type: 'fifo' });
  packed.finalize();
  await pipeline(packed, createWriteStream(at('pipe.tar')));
  const { arrays } = await data.prepare('pipe.tar', { maxCorruptFraction: 0.5 });
  expect(reds(arrays['train-samples']!)).toEqual([2, 3]);
});

test('a tar whose names no system would take is refused at once', async () => {
  const packed = pack();
  packed.entry({ name: 'a/'.repeat(500_000) + '1.png' }, await red(1));
  packed.finalize();
  await pipeline(packed, createWriteStream(at('long.tar')));
  expect(await refusal(data.prepare('long.tar'))).toMatch(/names of at most 4096 characters in an archive/);
});
