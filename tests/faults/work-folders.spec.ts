/**
 * Faults of the folders in which runs have their files under way. The number is the row of the table in
 * docs/reliability.md.
 */
import { execFile } from 'node:child_process';
import { mkdir, rm, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { fit, givenBack, impairedBy, uncharged, workingOf } from '../support/impairment.js';
import { mountReadOnly } from '../support/own-store.js';
import { checkpointAt, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

const run = promisify(execFile);
let stack: Stack;
/** Where all workers have their folders. */
let work: string;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.3', LOOM_MIN_FREE_MIB: '1' } });
  work = path.join(stack.environment['LOOM_ARTIFACTS_DIR']!, 'work');
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(() => stack?.stop());

/** Runs that train, of a worker that has two slots, and its folder. */
async function training(): Promise<{ active: string[]; folder: string }> {
  stack.startWorker({ LOOM_SLOTS: '2' });
  const active = [await stack.submit({ ...MEDIUM, seed: 1 }), await stack.submit({ ...MEDIUM, seed: 2 })];
  for (const id of active) await checkpointAt(stack.client, id);
  return { active, folder: path.join(work, (await workingOf(stack))!.id) };
}

test('#42 a work folder is read-only for a while: its runs go back uncharged and go on later', async (context) => {
  const { active, folder } = await training();
  const isMounted = await mountReadOnly(folder, folder).then(
    () => true,
    () => false,
  );
  if (!isMounted) context.skip('a folder could not be mounted read-only: this needs root');
  const waiting = await stack.submit({ ...SHORT, seed: 3 });
  try {
    await impairedBy(stack, `nothing can be written to ${work}: EROFS`);
    await givenBack(stack, ...active);
    expect((await stack.client.run(waiting)).attempt).toBe(0);
  } finally {
    await run('umount', ['-l', folder]);
  }
  await fit(stack);
  await uncharged(stack, ...active, waiting);
}, 120_000);

test.each([
  ['the folder of a worker', (folder: string) => folder],
  ['the folder of all workers', () => work],
])(
  '#42 %s is removed while runs train: they go back uncharged, and it is made anew',
  async (_, removed) => {
    const { active, folder } = await training();
    await rm(removed(folder), { recursive: true, force: true, maxRetries: 10 });
    await givenBack(stack, ...active);
    expect((await stack.client.run(active[0]!)).attempts[0]!.detail).toContain('work folder of the run is gone');
    await uncharged(stack, ...active, await stack.submit({ ...SHORT, seed: 4 }));
  },
  120_000,
);

test('#42 work folders that can not be made for a while: nothing is taken, and all goes on afterwards', async () => {
  const { active } = await training();
  // Its worker makes the folder anew once a second.
  await eventually(async () => {
    await rm(work, { recursive: true, force: true });
    await writeFile(work, '');
  });
  const waiting = await stack.submit({ ...SHORT, seed: 7 });
  try {
    await impairedBy(stack, `nothing can be written to ${work}: ENOTDIR`);
    await givenBack(stack, ...active);
    expect((await stack.client.run(waiting)).attempt).toBe(0);
  } finally {
    await rm(work);
  }
  await fit(stack);
  await uncharged(stack, ...active, waiting);
}, 120_000);

test('#42 work folders on a full device of their own: nothing is taken until there is room', async (context) => {
  await mkdir(work, { recursive: true });
  const isMounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', work]).then(
    () => true,
    () => false,
  );
  if (!isMounted) context.skip('a small file system could not be mounted: this needs root');
  try {
    stack.startWorker();
    await uncharged(stack, await stack.submit({ ...SHORT, seed: 5 }));
    const filler = path.join(work, 'filler');
    const { bavail, bsize } = await statfs(work);
    await writeFile(filler, Buffer.alloc(bavail * bsize - 400 * 1024));
    await impairedBy(stack, 'too little space is left where runs have their files under way');
    const waiting = await stack.submit({ ...SHORT, seed: 6 });
    await eventually(async () => expect((await stack.client.run(waiting)).status).toBe('queued'));
    await rm(filler);
    await fit(stack);
    await uncharged(stack, waiting);
    expect((await stack.client.run(waiting)).attempts).toHaveLength(1);
  } finally {
    await stack.killWorkers();
    await run('umount', ['-l', work]);
  }
}, 120_000);
