/**
 * Faults of the store that artifacts are in, on file systems of the test's own. The numbers are rows of the table in
 * docs/reliability.md.
 */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, expect, test, type TestContext } from 'vitest';
import { eventually } from '../support/eventually.js';
import { fit, impairedBy, uncharged } from '../support/impairment.js';
import { checkpointAt, LONG, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { mountReadOnly } from '../support/own-store.js';
import { startStack, type Stack } from '../support/stack.js';

const run = promisify(execFile);
let dir: string;
/** Where the store is mounted, and what holds its files. */
let store: string;
let volume: string;
let mounted = false;
let stack: Stack;

const mount = () => run('mount', ['--bind', volume, store]);
const isMounted = () =>
  run('mountpoint', ['-q', store]).then(
    () => true,
    () => false,
  );
const unmount = () => run('umount', ['-l', store]);

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-store-'));
  [store, volume] = [path.join(dir, 'artifacts'), path.join(dir, 'volume')];
  await mkdir(store);
  await mkdir(volume);
  mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=512m,nr_inodes=16000', 'tmpfs', volume])
    .then(mount)
    .then(
      () => true,
      () => false,
    );
  if (!mounted) return;
  stack = await startStack({
    environment: { LOOM_ARTIFACTS_DIR: store, LOOM_CHECKPOINT_SECONDS: '0.3', LOOM_MIN_FREE_MIB: '1' },
  });
  await prepareStripes(stack);
}, 90_000);
afterEach(async () => {
  await stack?.clear();
  // What a test that failed has left unmounted.
  if (mounted && !(await isMounted())) await mount();
});
afterAll(async () => {
  await stack?.stop();
  if (mounted) {
    await unmount().catch(() => undefined);
    await run('umount', ['-l', volume]);
  }
  await rm(dir, { recursive: true, force: true });
});

const needsRoot = (context: TestContext) => {
  if (!mounted) context.skip('a file system could not be mounted: this needs root');
};
const isImpaired = (why: string) => impairedBy(stack, why);
const isFit = () => fit(stack);
const succeedUncharged = (...ids: string[]) => uncharged(stack, ...ids);
const impaired = async () =>
  Number(/^loom_workers_impaired (\S+)$/m.exec(await (await fetch(`${stack.client.url}/metrics`)).text())?.[1]);

test(
  '#41 the volume drops in mid-run: nothing is written beside it, its worker says so and takes nothing; with the ' +
    'volume back all goes on',
  async (context) => {
    needsRoot(context);
    stack.startWorker();
    const active = await stack.submit(MEDIUM);
    await checkpointAt(stack.client, active);
    const waiting = await stack.submit({ ...SHORT, seed: 1 });
    await unmount();
    await isImpaired('is the volume mounted?');
    expect(await impaired()).toBe(1);
    expect((await stack.client.run(waiting)).attempt).toBe(0);
    expect(await readdir(store)).toEqual([]);
    await mount();
    await isFit();
    await succeedUncharged(active, waiting);
  },
  120_000,
);

test('#41 without the volume, where Postgres knows artifacts and no store, no store is made', async (context) => {
  needsRoot(context);
  const database = new pg.Client({ connectionString: stack.database.url });
  await database.connect();
  await database.query('TRUNCATE artifact_store');
  await database.end();
  await unmount();
  stack.startWorker();
  await isImpaired('is the volume mounted?');
  expect(await readdir(store)).toEqual([]);
  await mount();
  await isFit();
  await succeedUncharged(await stack.submit({ ...SHORT, seed: 8 }));
}, 120_000);

test('#41 a worker that starts without the volume takes nothing until it is there', async (context) => {
  needsRoot(context);
  await unmount();
  stack.startWorker();
  await isImpaired('is the volume mounted?');
  const id = await stack.submit({ ...SHORT, seed: 2 });
  expect(await readdir(store)).toEqual([]);
  await mount();
  await succeedUncharged(id);
}, 120_000);

/** A way to break the store, the way back, and what is said of it. */
const BROKEN: Record<string, { breaks: () => Promise<unknown>; mends: () => Promise<unknown>; said: string }> = {
  'is read-only': {
    breaks: () => mountReadOnly(volume, store),
    mends: unmount,
    said: 'EROFS',
  },
  'has no inodes left': {
    breaks: async () => {
      await mkdir(path.join(volume, 'filler'));
      for (let i = 0; ; i++) {
        const made = await writeFile(path.join(volume, 'filler', String(i)), '').then(
          () => true,
          () => false,
        );
        if (!made) return;
      }
    },
    mends: () => rm(path.join(volume, 'filler'), { recursive: true }),
    said: 'inodes are left',
  },
  'is missing': {
    breaks: async () => {
      await unmount();
      await rename(store, `${store}-away`);
    },
    mends: async () => {
      await rename(`${store}-away`, store);
      await mount();
    },
    said: 'is the volume mounted?',
  },
};

test.each(Object.entries(BROKEN))(
  '#42 the artifact folder %s for a while: no run fails, none is charged, and its worker takes up again by itself',
  async (_, { breaks, mends, said }) => {
    if (!mounted) return;
    stack.startWorker({ LOOM_SLOTS: '2' });
    const active = [await stack.submit({ ...MEDIUM, seed: 3 }), await stack.submit({ ...MEDIUM, seed: 4 })];
    for (const id of active) await checkpointAt(stack.client, id);
    await breaks();
    const waiting = [await stack.submit({ ...SHORT, seed: 5 }), await stack.submit({ ...SHORT, seed: 6 })];
    await isImpaired(said);
    // What it has taken comes to where it would store something, and is given back.
    await eventually(
      async () => {
        for (const id of active) expect((await stack.client.run(id)).status).toBe('queued');
      },
      { timeoutMs: 30_000 },
    );
    expect((await stack.client.run(active[0]!)).attempts[0]).toMatchObject({ outcome: 'preempted' });
    await mends();
    await isFit();
    await succeedUncharged(...active, ...waiting);
  },
  120_000,
);

test('#42 a part of the store that is another device: files are copied there whole', async (context) => {
  needsRoot(context);
  const temporary = path.join(store, 'tmp');
  await mkdir(temporary, { recursive: true });
  await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', temporary]);
  try {
    stack.startWorker();
    const id = await stack.submit({ ...LONG, epochs: 2, seed: 7 });
    await succeedUncharged(id);
    expect(await readdir(temporary)).toEqual([]);
    // What a collection takes, and what a copy that was broken off has left.
    const orphan = path.join(store, 'sha256', '00', '0'.repeat(64));
    const lastWeek = new Date(Date.now() - 7 * 86_400_000);
    await mkdir(path.dirname(orphan), { recursive: true });
    const left = [orphan, `${orphan}.${randomUUID()}`];
    for (const file of left) {
      await writeFile(file, 'orphan');
      await utimes(file, lastWeek, lastWeek);
    }
    expect(await stack.client.collectArtifacts()).toMatchObject({ orphans: { files: 1 }, leftovers: { files: 1 } });
    const there = await readdir(path.dirname(orphan));
    for (const file of left) expect(there).not.toContain(path.basename(file));
  } finally {
    await run('umount', ['-l', temporary]);
  }
}, 120_000);
