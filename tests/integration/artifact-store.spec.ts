/** Which folder is taken for the store that artifacts are in. */
import { ArtifactStore, ForeignStoreError, identify } from '#libs/platform';
import { SubmitRun } from '#libs/contracts';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { database, platform, usePlatform } from '../support/platform.js';

usePlatform(60_000);
let root: string;
/** Each test has a folder of its own, which is not there yet. */
let dir: string;

beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'loom-identity-'));
});
beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE artifact_store`;
  dir = path.join(root, randomUUID());
});
afterAll(() => rm(root, { recursive: true, force: true }));

const take = async (folder = dir) => {
  const store = new ArtifactStore(folder);
  await identify(store, database);
  return store;
};
const known = async () =>
  (await database.prisma.$queryRaw<{ id: string }[]>`SELECT id::text AS id FROM artifact_store`).map(({ id }) => id);
const idIn = async (folder: string) => (await readFile(path.join(folder, 'store-id'), 'utf8')).trim();

/** An artifact that Postgres names, and a folder that holds its file. */
async function artifact(): Promise<{ folder: string; sha256: string }> {
  const store = new ArtifactStore(path.join(root, randomUUID()));
  const file = path.join(root, randomUUID());
  await writeFile(file, file);
  const stored = await store.put(file);
  const { runId } = await platform.submission.submitRun(
    SubmitRun.parse({ spec: { kind: 'pretrain', dataset: 'shapes', batchSize: 32, seed: 1 } }),
  );
  const token = (await platform.claims.claim({ runId, attempt: 1 }, 'w'))!;
  await platform.recorder.addArtifact(token, { name: 'model', kind: 'model', mime: 'x', step: null, ...stored });
  return { folder: store.dir, sha256: stored.sha256 };
}

test('a folder that is not there is made the store where nothing is stored yet, once', async () => {
  const [first, second] = await Promise.all([take(), take()]);
  expect(first.id).toBe(second.id);
  expect(await known()).toEqual([first.id]);
  expect(await idIn(dir)).toBe(first.id);
});

test('a folder without an id, or with another, is not the store that Postgres knows', async () => {
  const { id } = await take();
  const other = path.join(root, randomUUID());
  await expect(take(other)).rejects.toThrow(`found no file store-id in it: is the volume mounted?`);
  expect(await readdir(root)).not.toContain(path.basename(other));
  await writeFile(path.join(dir, 'store-id'), randomUUID());
  await expect(take()).rejects.toThrow(ForeignStoreError);
  await writeFile(path.join(dir, 'store-id'), id!);
  expect((await take()).id).toBe(id);
});

test('where Postgres names artifacts and no store, a folder that holds none of them is not made it', async () => {
  const { folder, sha256 } = await artifact();
  await expect(take()).rejects.toThrow(ForeignStoreError);
  await expect(take()).rejects.toThrow('found none of the 1 newest and no file store-id in it: is the volume mounted?');
  expect(await readdir(root)).not.toContain(path.basename(dir));
  expect(await known()).toEqual([]);

  const store = await take(folder);
  expect(await store.size(sha256)).toBeGreaterThan(0);
  expect(await known()).toEqual([await idIn(folder)]);
});

test('a folder that was given an id on purpose is the store, though the artifacts are lost', async () => {
  await artifact();
  const id = randomUUID();
  const { dir: empty } = new ArtifactStore(await mkdtemp(path.join(root, 'empty-')));
  await writeFile(path.join(empty, 'store-id'), `${id}\n`);
  expect((await take(empty)).id).toBe(id);
});
