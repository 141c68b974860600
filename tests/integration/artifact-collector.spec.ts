/** The collection of files that nothing names any more: what it takes, what it leaves, beside those who store. */
import { DatasetManifest, SubmitRun } from '#libs/contracts';
import { ArtifactCollector, ArtifactStore, Database, identify, Runs, type Token } from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { freshDatabase } from '../support/database.js';

const GRACE_SECONDS = 60;
let home: Awaited<ReturnType<typeof freshDatabase>>;
let database: Database;
let runs: Runs;
let dir: string;
let store: ArtifactStore;
let collector: ArtifactCollector;
let token: Token;

beforeAll(async () => {
  home = await freshDatabase();
  database = new Database(home.url);
  runs = new Runs(database, { dataRoot: '/data', leaseMs: 60_000 });
});

beforeEach(async () => {
  await database.prisma.$executeRaw`TRUNCATE run, dataset, worker, artifact_store CASCADE`;
  if (dir) await rm(dir, { recursive: true, force: true });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-collect-'));
  store = new ArtifactStore(path.join(dir, 'artifacts'));
  await identify(store, database);
  collector = new ArtifactCollector(database, store, { collectGraceSeconds: GRACE_SECONDS });
  const { runId } = await runs.submission.submitRun(
    SubmitRun.parse({ spec: { kind: 'prepare-dataset', name: 'shapes', path: 'shapes' } }),
  );
  token = (await runs.claims.claim({ runId, attempt: 1 }, 'w'))!;
});

afterAll(async () => {
  await database.close();
  await home.drop();
  await rm(dir, { recursive: true, force: true });
});

async function source(text: string): Promise<string> {
  const file = path.join(dir, randomUUID());
  await writeFile(file, text);
  return file;
}
const put = async (text: string): Promise<string> => (await store.put(await source(text))).sha256;
const age = async (file: string): Promise<void> => {
  const then = new Date(Date.now() - 2 * GRACE_SECONDS * 1000);
  await utimes(file, then, then);
};
const old = async (text: string): Promise<string> => {
  const sha256 = await put(text);
  await age(store.path(sha256));
  return sha256;
};
const name = (sha256: string, kind = 'model') =>
  runs.recorder.addArtifact(token, {
    name: kind,
    kind,
    mime: 'application/octet-stream',
    sha256,
    sizeBytes: 1,
    step: null,
  });
const none = { files: 0, bytes: 0 };
/** Where a collection puts files aside: in their own folder, and in version 0.1 with what is under way. */
const aside = (sha256: string) => [
  `${store.path(sha256)}.aside-${randomUUID()}`,
  path.join(store.dir, 'tmp', `${sha256}.${randomUUID()}`),
];

test('takes old files that nothing names and leavings of the dead; a dry run takes nothing', async () => {
  const named = await old('named');
  await name(named);
  const [samples, labels] = [await old('samples'), await old('labels')];
  const orphan = await old('orphan');
  const young = await put('young');
  const tmp = path.join(store.dir, 'tmp');
  for (const file of ['half-old', 'half-young']) await writeFile(path.join(tmp, file), 'half');
  await age(path.join(tmp, 'half-old'));
  // `busy` has an old name and a young file in it.
  for (const folder of ['dead', 'busy', 'alive']) {
    await mkdir(path.join(store.dir, 'work', folder, 'run'), { recursive: true });
    await writeFile(path.join(store.dir, 'work', folder, 'run', 'file'), '12345678');
    if (folder !== 'busy') await age(path.join(store.dir, 'work', folder, 'run', 'file'));
    await age(path.join(store.dir, 'work', folder, 'run'));
    await age(path.join(store.dir, 'work', folder));
  }
  await runs.workers.registerWorker({ id: 'alive', host: 'host', pid: 9, slots: 1, versions: {} });
  const split = { count: 8, countPerClass: [4, 4], samples, labels };
  await runs.leases.succeed(token, {
    metrics: {},
    dataset: DatasetManifest.parse({
      name: 'shapes',
      digest: 'd'.repeat(64),
      sample: { modality: 'image', height: 16, width: 16, channels: 3 },
      classes: ['a', 'b'],
      splits: { train: split },
    }),
  });

  const expected = {
    orphans: { files: 1, bytes: 6 },
    leftovers: { files: 2, bytes: 12 },
    kept: { files: 4, bytes: 5 + 7 + 6 + 5 },
  };
  expect(await collector.collect({ dryRun: true })).toEqual(expected);
  await store.verified(orphan);
  expect((await readdir(tmp)).sort()).toEqual(['half-old', 'half-young']);

  expect(await collector.collect({ dryRun: false })).toEqual(expected);
  expect(await store.size(orphan)).toBeUndefined();
  for (const sha256 of [named, samples, labels, young]) await store.verified(sha256);
  expect(await readdir(tmp)).toEqual(['half-young']);
  expect((await readdir(path.join(store.dir, 'work'))).sort()).toEqual(['alive', 'busy']);
  expect(await collector.collect({ dryRun: false })).toEqual({ ...expected, orphans: none, leftovers: none });
});

test('a checkpoint that newer ones replaced is an orphan, the two that count are not', async () => {
  const sha256s = await Promise.all([1, 2, 3].map((step) => old(`checkpoint ${step}`)));
  for (const [step, sha256] of sha256s.entries())
    await runs.recorder.addArtifact(token, { name: 'c', kind: 'checkpoint', mime: 'x', sha256, sizeBytes: 1, step });
  expect((await collector.collect({ dryRun: false })).orphans.files).toBe(1);
  expect(await Promise.all(sha256s.map((sha256) => store.size(sha256)))).toEqual([undefined, 12, 12]);
});

test('a file that is stored again while it is being collected is there afterwards, whoever comes first', async () => {
  const text = 'stored again and again';
  const file = await source(text);
  let collected = 0;
  for (let round = 0; round < 60; round++) {
    const sha256 = await old(text);
    const [result] = await Promise.all([
      collector.collect({ dryRun: false }),
      collector.collect({ dryRun: false }),
      store.put(file),
    ]);
    collected += result.orphans.files;
    await store.verified(sha256);
    await name(sha256);
    await database.prisma.artifact.deleteMany();
  }
  // The two did meet.
  expect(collected).toBeGreaterThan(0);
  expect(await readdir(path.join(store.dir, 'tmp'))).toEqual([]);
});

test('a copy that was broken off is never taken for the file that it was to be, and goes when it is old', async () => {
  const sha256 = await put('whole');
  await name(sha256);
  const folder = path.dirname(store.path(sha256));
  await rm(store.path(sha256));
  const [dead, alive] = [`${sha256}.${randomUUID()}`, `${sha256}.${randomUUID()}`];
  for (const copy of [dead, alive]) await writeFile(path.join(folder, copy), 'who');
  await age(path.join(folder, dead));
  expect((await collector.collect({ dryRun: true })).leftovers).toEqual({ files: 1, bytes: 3 });
  expect((await collector.collect({ dryRun: false })).leftovers).toEqual({ files: 1, bytes: 3 });
  expect(await readdir(folder)).toEqual([alive]);
});

test('a file that had been stored anew goes back when the collection died that had put it aside', async () => {
  const sha256 = await old('precious');
  await name(sha256);
  for (const place of aside(sha256)) {
    await rename(store.path(sha256), place);
    await collector.collect({ dryRun: false });
    await store.verified(sha256);
    expect(await readdir(path.dirname(place))).not.toContain(path.basename(place));
  }
});
