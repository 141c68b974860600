import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RequestError } from '../request-error.js';
import { DataRoot } from './data-root.js';

let dir: string;
let dataRoot: DataRoot;
const write = async (name: string) => {
  const file = path.join(dir, name);
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, 'x');
};

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-root-'));
  for (const name of [
    'root/pets/cats/1.jpg',
    'root/pets/cats/2.PNG',
    'root/pets/dogs/10.jpg',
    'root/pets/notes.txt',
    'root/pets/.hidden/3.jpg',
    'root/scenes/images/1.jpg',
    'root/scenes/masks/1.png',
    'root/words/yes/1.wav',
    'root/words/no/2.flac',
    'secret/of-others.txt',
  ])
    await write(name);
  await symlink(path.join(dir, 'secret'), path.join(dir, 'root', 'pets', 'out'));
  await symlink(path.join(dir, 'root', 'words'), path.join(dir, 'root', 'pets', 'sounds'));
  await symlink(path.join(dir, 'nowhere'), path.join(dir, 'root', 'pets', 'gone'));
  dataRoot = new DataRoot(path.join(dir, 'root'));
});
afterAll(() => rm(dir, { recursive: true }));

describe('a folder of the data root', () => {
  test('has folders before files, and kinds of files below; hidden ones and links out are not told of', async () => {
    expect(await dataRoot.browse('pets')).toEqual({
      path: 'pets',
      entries: [
        { name: 'cats', kind: 'folder', sizeBytes: null },
        { name: 'dogs', kind: 'folder', sizeBytes: null },
        { name: 'sounds', kind: 'folder', sizeBytes: null },
        { name: 'notes.txt', kind: 'file', sizeBytes: 1 },
      ],
      more: false,
      found: { images: 3, sounds: 0, masks: false, others: 1, all: true },
    });
    expect((await dataRoot.browse('')).entries.map(({ name }) => name)).toEqual(['pets', 'scenes', 'words']);
  });

  test('tells sounds, and masks beside images', async () => {
    expect((await dataRoot.browse('words')).found).toMatchObject({ images: 0, sounds: 2, masks: false });
    expect((await dataRoot.browse('scenes/')).found).toMatchObject({ images: 2, masks: true });
  });

  test.each(['..', '../secret', 'pets/../..', '/', 'pets/out'])('%s leads out and is refused', async (given) => {
    const error: unknown = await dataRoot.browse(given).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(RequestError);
    expect((error as RequestError).code).toBe('invalid_request');
    expect((error as RequestError).message).toBe(`path: expected a path inside the data root, got ${given}`);
  });

  test.each(['absent', 'pets/notes.txt', 'pets/gone'])('%s is no folder', async (given) => {
    const refusal = dataRoot.browse(given);
    await expect(refusal).rejects.toThrow(`expected a folder of the API's data root, got ${given}`);
    // As the document of the API says: no part of the address is at fault, but what it was asked for.
    await expect(refusal).rejects.toMatchObject({ code: 'invalid_request' });
  });
});
