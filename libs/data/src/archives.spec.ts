/** What archives hold beside plain files, read as unpacking them would. */
import { execFile } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { link, mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { pack, type Header } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { colour, DataRoot, reds, refusal, zipOf } from '../../../tests/support/sources.js';

let data: DataRoot;
beforeAll(async () => {
  data = await DataRoot.create();
});
afterAll(() => data.remove());

const run = promisify(execFile);
const red = (value: number) => colour(value, 0, 0).png().toBuffer();

/** A tar of these entries in their order, with what tools rarely write. */
async function tarOf(
  name: string,
  entries: readonly (Partial<Header> & { name: string; bytes?: Buffer })[],
): Promise<string> {
  const tar = pack();
  for (const { bytes, ...header } of entries) {
    if (bytes) tar.entry(header, bytes);
    else tar.entry(header);
  }
  tar.finalize();
  await pipeline(tar, createWriteStream(path.join(data.root, name)));
  return name;
}
const plain = async () => [
  { name: 'cat/1.png', bytes: await red(1) },
  { name: 'dog/1.png', bytes: await red(2) },
];
const redsOf = async (source: string, more: object = {}) => {
  const { manifest, arrays, warnings } = await data.prepare(source, more);
  return { classes: manifest.classes, reds: reds(arrays['train-samples']!), warnings: warnings.join('\n') };
};

describe('a tar', () => {
  test('passes over what is hidden, in whatever folder', async () => {
    const hidden = ['.cache/cat/9.png', 'cat/.ipynb_checkpoints/1-checkpoint.png', './dog/._1.png'];
    const source = await tarOf('hidden.tar', [
      ...(await plain()),
      ...(await Promise.all(hidden.map(async (name) => ({ name, bytes: await red(9) })))),
    ]);
    expect(await redsOf(source)).toMatchObject({ classes: ['cat', 'dog'], reds: [1, 2] });
  });

  test('has the files that its links lead to, and names those that lead nowhere', async () => {
    const source = await tarOf('links.tar', [
      ...(await plain()),
      { name: 'cat/2.png', type: 'link', linkname: 'cat/1.png' },
      { name: 'dog/2.png', type: 'symlink', linkname: '../cat/1.png' },
      { name: 'dog/3.png', type: 'symlink', linkname: '2.png' },
      { name: 'dog/4.png', type: 'symlink', linkname: '/etc/passwd' },
      { name: 'dog/5.png', type: 'fifo' },
    ]);
    const { warnings, ...rest } = await redsOf(source, { maxCorruptFraction: 0.5 });
    expect(rest).toEqual({ classes: ['cat', 'dog'], reds: [1, 1, 2, 1, 1] });
    expect(warnings).toMatch(
      /2 of 7 files .*dog\/4\.png \(is a symbolic link to \/etc\/passwd.*dog\/5\.png \(is a fifo/,
    );
  });

  test('with a file of more than is unpacked into memory names it, and goes on behind it', async () => {
    const [cat, dog] = await plain();
    const source = await tarOf('large.tar', [cat!, { name: 'cat/2.png', bytes: Buffer.alloc(2 ** 28 + 1) }, dog!]);
    const { warnings, ...rest } = await redsOf(source, { maxCorruptFraction: 0.5 });
    expect(rest).toEqual({ classes: ['cat', 'dog'], reds: [1, 2] });
    expect(warnings).toMatch(/1 of 3 files could not be decoded: cat\/2\.png \(expected files of at most 268435456/);
  });

  test('in which a name comes twice has the last of them, as a zip has', async () => {
    const again = [...(await plain()), { name: './cat/1.png', bytes: await red(7) }];
    expect((await redsOf(await tarOf('twice.tar', again))).reds).toEqual([7, 2]);
    const [first, last] = [await zipOf({ 'cat/1.png': red(1), 'dog/1.png': red(2), 'cat/x.png': red(7) }), 'cat/1.png'];
    for (let at = first.indexOf('cat/x.png'); at >= 0; at = first.indexOf('cat/x.png')) first.write(last, at);
    await writeFile(path.join(data.root, 'twice.zip'), first);
    expect((await redsOf('twice.zip')).reds).toEqual([7, 2]);
  });

  test('of Unix V7 is read, and a sparse file whose map is damaged is named', async () => {
    const folder = path.join(data.root, 'by-tar');
    await data.folder('by-tar', { 'cat/1.png': red(1), 'dog/1.png': red(2) });
    const target = path.join(data.root, 'v7.tar');
    await run('tar', ['--format=v7', '-cf', target, '-C', folder, 'cat', 'dog']);
    expect((await redsOf('v7.tar')).reds).toEqual([1, 2]);
    const sparse = { 'GNU.sparse.major': '1', 'GNU.sparse.minor': '0', 'GNU.sparse.name': 'cat/2.tif' };
    const source = await tarOf('sparse.tar', [
      ...(await plain()),
      { name: 'cat/GNUSparseFile.0/2.tif', pax: sparse, bytes: Buffer.alloc(1024) },
    ]);
    expect((await redsOf(source, { maxCorruptFraction: 0.5 })).warnings).toMatch(
      /cat\/2\.tif \(its map of a sparse file is damaged/,
    );
  });
});

test('a name that is no UTF-8 is read, told apart, and the same in a folder and a tar', async () => {
  await data.folder('latin', { 'dog/1.png': red(2), 'x/1.png': red(1), 'y/1.png': red(3) });
  const at = (name: Buffer) => Buffer.concat([Buffer.from(path.join(data.root, 'latin/')), name]);
  await rename(path.join(data.root, 'latin/x'), at(Buffer.from('caf\xe9', 'latin1')));
  await rename(path.join(data.root, 'latin/y'), at(Buffer.from('caf\xe8', 'latin1')));
  await run('sh', ['-c', 'cd "$0" && tar -cf latin.tar latin', data.root]);
  const [folder, tar] = await Promise.all([data.prepare('latin'), data.prepare('latin.tar')]);
  expect(folder.manifest.classes).toEqual(['caf\\xE8', 'caf\\xE9', 'dog']);
  expect(reds(folder.arrays['train-samples']!)).toEqual([3, 1, 2]);
  expect(tar.manifest.digest).toBe(folder.manifest.digest);
});

test('a zip whose file is not what was packed has a damaged file', async () => {
  const zip = await zipOf({ 'cat/1.png': red(1), 'dog/1.png': red(2) });
  // The first place is the local header's CRC, which nobody reads; the last one counts.
  const entry = zip.lastIndexOf('cat/1.png') - 46;
  zip[entry + 16]! ^= 1;
  await writeFile(path.join(data.root, 'crc.zip'), zip);
  expect(await refusal(data.prepare('crc.zip'))).toMatch(/1 of 2 files .*cat\/1\.png \(.*its CRC-32 differs\)/);
});

test('hidden folders of a zip are passed over', async () => {
  const source = await data.archive('hidden.zip', { 'cat/1.png': red(1), 'dog/1.png': red(2), '.git/x/1.png': red(3) });
  expect(await redsOf(source)).toMatchObject({ classes: ['cat', 'dog'], reds: [1, 2] });
});

describe('a folder', () => {
  test('with a named pipe in it is read without waiting for the pipe', async () => {
    await data.folder('pipe', { 'cat/1.png': red(1), 'dog/1.png': red(2) });
    await run('mkfifo', [path.join(data.root, 'pipe/cat/9.png')]);
    const { warnings, ...rest } = await redsOf('pipe', { maxCorruptFraction: 0.5 });
    expect(rest).toEqual({ classes: ['cat', 'dog'], reds: [1, 2] });
    expect(warnings).toMatch(/cat\/9\.png \(is a named pipe, not a file\)/);
  });

  test('with links has what they lead to; one to a folder above ends there', async () => {
    await data.folder('linked', { 'cat/1.png': red(1) });
    const at = (name: string) => path.join(data.root, 'linked', name);
    await mkdir(at('dog'));
    await link(at('cat/1.png'), at('dog/1.png'));
    await symlink('cat', at('kitten'));
    await symlink('..', at('dog/up'));
    const { warnings, ...rest } = await redsOf('linked');
    expect(rest).toEqual({ classes: ['cat', 'dog', 'kitten'], reds: [1, 1, 1] });
    expect(warnings).toMatch(/dog\/up is a link to a folder that it lies in/);
  });
});
