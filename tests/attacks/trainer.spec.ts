/** A trainer that was taken over by the data that it decodes, and looks around. */
import { spawn } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { hasUserNamespaces } from '#libs/platform';
import { eventually } from '../support/eventually.js';
import { othersMayRead } from '../support/other-users.js';
import { LIMITABLE } from '../support/process-limit.js';
import { LONG, prepareStripes } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

const TAKEN = path.resolve(import.meta.dirname, '../support/taken-trainer.mjs');
const hasOthers = othersMayRead(TAKEN);
let stack: Stack;
/** Artifacts and data where another user than this one may come. */
let open: string;
beforeAll(async () => {
  open = await mkdtemp(path.join(tmpdir(), 'loom-open-'));
  await chmod(open, 0o711);
  await mkdir(path.join(open, 'data'));
  stack = await startStack({
    environment: {
      LAB_API_TOKEN: 'swordfish',
      PGPASSWORD: 'swordfish',
      LOOM_ARTIFACTS_DIR: path.join(open, 'artifacts'),
      LOOM_DATA_ROOT: path.join(open, 'data'),
    },
  });
}, 60_000);
afterEach(() => stack?.clear());
afterAll(async () => {
  await stack?.stop();
  await rm(open, { recursive: true, force: true });
});

test('finds no way to Postgres or Redis and no secret of its worker, and no stack or path of it is told', async () => {
  const program = path.resolve(import.meta.dirname, '../support/seeking-trainer.mjs');
  stack.startWorker({ LOOM_TRAINER: program });
  const id = await stack.submit({ kind: 'prepare-dataset', name: 'x', path: 'x' });
  const { statusDetail } = await stack.ended(id, 'failed');
  expect(statusDetail).not.toContain('/srv/loom');
  const { found, noNewPrivileges } = JSON.parse(statusDetail!) as { found: string[]; noNewPrivileges?: string };
  expect(found).toEqual([]);
  if (process.platform === 'linux') expect(noNewPrivileges).toBe('1');
}, 60_000);

test('another local user can read no folder that is closed, and no environment of a process', async (context) => {
  if (process.getuid?.() !== 0) context.skip('only root can become another user');
  const as = (command: string) =>
    new Promise<number>((resolve) =>
      spawn('sh', ['-c', command], { uid: 65_534, gid: 65_534, stdio: 'ignore' }).on('exit', (code) =>
        resolve(code ?? 1),
      ),
    );
  expect(await as(`cat /proc/${stack.api.pid}/environ`)).not.toBe(0);
  expect(await as(`kill -0 ${stack.api.pid}`)).not.toBe(0);
  // The folder of the stack is its owner's alone, and so is what is in it.
  expect((await stat(stack.dir)).mode & 0o077).toBe(0);
  expect(await as(`ls ${stack.dir}`)).not.toBe(0);
  expect((await readdir(stack.dir)).length).toBeGreaterThan(0);
});

/** The last words of a trainer that was taken over, and what they say. */
async function lastWords(act: string): Promise<string> {
  const id = await stack.submit({ kind: 'prepare-dataset', name: act, path: 'x' });
  return (await stack.ended(id, 'failed')).statusDetail!;
}
const uidOf = async (pid: number) => Number(/^Uid:\s+(\d+)/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1]);

test('under a root worker it is another user: its worker can’t be read, nor the store be written', async (context) => {
  if (!hasOthers) context.skip('only root can start trainers as others, and only where these may read the checkout');
  stack.startWorker({ LOOM_TRAINER: TAKEN });
  const { uid, ...came } = JSON.parse(await lastWords('look')) as Record<string, unknown>;
  expect(uid).toBeGreaterThanOrEqual(60_700);
  expect(came).toEqual({
    environment: 'EACCES',
    memory: 'EACCES',
    descriptors: 'EACCES',
    inherited: 'EACCES',
    signal: 'EPERM',
    store: 'EACCES',
    artifacts: 'EACCES',
    others: 'EACCES',
    code: 'EACCES',
    own: 'done',
  });
});

/** As another user than root, which may open all files: trainers that it starts may only where they are not apart. */
const asNobody = hasOthers ? LIMITABLE : [];
const mayBeApart = hasUserNamespaces();

test('under a worker that is not root it is its user, and can read neither memory nor environment', async (context) => {
  if (!mayBeApart) context.skip('only where the system gives users namespaces');
  if (process.getuid?.() === 0 && !hasOthers) context.skip('only where others may read the checkout');
  const worker = stack.startWorker({ LOOM_TRAINER: TAKEN }, asNobody);
  const came = JSON.parse(await lastWords('look')) as Record<string, unknown>;
  expect(came).toMatchObject({ environment: 'EACCES', memory: 'EACCES', inherited: 'EACCES', own: 'done' });
  expect(worker.output()).not.toContain('trainers can read');
});

test('what it has started from a namespace of its own is gone after its end', async (context) => {
  if (!mayBeApart) context.skip('only where the system gives users namespaces');
  if (process.getuid?.() === 0 && !hasOthers) context.skip('only where others may read the checkout');
  stack.startWorker({ LOOM_TRAINER: TAKEN }, asNobody);
  const before = await sleepers();
  await lastWords('daemon');
  await eventually(async () => expect(await sleepers(before)).toEqual([]));
});

test('where it can’t work in a namespace of its own it is in none, and its worker warns', async (context) => {
  if (!mayBeApart) context.skip('only where the system gives users namespaces');
  if (process.getuid?.() === 0 && !hasOthers) context.skip('only where others may read the checkout');
  const worker = stack.startWorker({ LOOM_TRAINER: TAKEN, TEST_NEEDS_USER: '1' }, asNobody);
  expect(JSON.parse(await lastWords('look'))).toMatchObject({ environment: 'done' });
  expect(worker.output()).toContain('trainers run as the user of this worker, and could do what it can');
});

test('each slot has a user of its own, and so has each worker of the machine', async (context) => {
  if (!hasOthers) context.skip('only root can start trainers as others, and only where these may read the checkout');
  const uids = new Set<unknown>();
  stack.startWorker({ LOOM_TRAINER: TAKEN, LOOM_SLOTS: '2' });
  stack.startWorker({ LOOM_TRAINER: TAKEN, LOOM_SLOTS: '1' });
  await eventually(async () =>
    expect((await stack.client.workers()).filter((w) => w.state === 'running' && w.alive)).toHaveLength(2),
  );
  await eventually(async () => {
    for (const words of await Promise.all(Array.from({ length: 6 }, () => lastWords('look'))))
      uids.add((JSON.parse(words) as { uid: number }).uid);
    expect(uids.size).toBe(3);
  });
});

test.each(['path', 'link', 'hardlink'])(
  'a file that its worker can read, and it can not, is not stored (by %s)',
  async (theft) => {
    const secret = path.join(open, 'secret');
    await writeFile(secret, 'swordfish', { mode: 0o600 });
    // Of one user's files a hard link is no theft.
    for (const LOOM_TRAINER_UID of [...(theft === 'hardlink' ? [] : ['none']), ...(hasOthers ? ['60700'] : [])]) {
      stack.startWorker({ LOOM_TRAINER: TAKEN, LOOM_TRAINER_UID, TEST_SECRET: secret });
      expect(await lastWords(theft)).toMatch(/to be a file that the run itself has made|EPERM/);
      await stack.killWorkers();
    }
  },
  60_000,
);

test.each(hasOthers ? ['none', '60700'] : ['none'])(
  'what it has started in a session of its own is gone after its end (LOOM_TRAINER_UID=%s)',
  async (LOOM_TRAINER_UID) => {
    stack.startWorker({ LOOM_TRAINER: TAKEN, LOOM_TRAINER_UID });
    const before = await sleepers();
    await lastWords('daemon');
    await eventually(async () => expect(await sleepers(before)).toEqual([]));
  },
);

test.each(hasOthers ? ['none', '60700'] : ['none'])(
  'what it had started is gone after the start of the next worker, where its own was killed (LOOM_TRAINER_UID=%s)',
  async (LOOM_TRAINER_UID) => {
    const before = await sleepers();
    const worker = stack.startWorker({ LOOM_TRAINER: TAKEN, LOOM_TRAINER_UID, TEST_STAYS: '1' });
    const id = await stack.submit({ kind: 'prepare-dataset', name: 'daemon', path: 'x' });
    await eventually(async () => expect(await sleepers(before)).toHaveLength(2));
    await worker.kill('SIGKILL');
    expect(await sleepers(before)).toHaveLength(2);
    await stack.client.cancelRun(id);
    stack.startWorker({ LOOM_TRAINER: TAKEN, LOOM_TRAINER_UID });
    await eventually(async () => expect(await sleepers(before)).toEqual([]));
  },
);

/** Ids of the processes that the trainer leaves behind, but for those that were there before. */
async function sleepers(before: readonly string[] = []): Promise<string[]> {
  const found: string[] = [];
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && !before.includes(name)))
    if ((await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')) === ['sleep', '600', ''].join('\0'))
      found.push(pid);
  return found;
}

test('a run is trained by another user than root, and its files are its worker’s', async (context) => {
  if (!hasOthers) context.skip('only root can start trainers as others, and only where these may read the checkout');
  const opened = {
    ...stack,
    dataRoot: path.join(open, 'data'),
    startWorker: () => stack.startWorker({ LOOM_CHECKPOINT_SECONDS: '0.5', LOOM_TRAINER_UID: '60700' }),
  };
  await prepareStripes(opened);
  const worker = opened.startWorker();
  const id = await stack.submit(LONG);
  const run = await stack.runsAt(id, 5);
  expect(await uidOf(run.attempts.at(-1)!.trainerPid!)).toBeGreaterThanOrEqual(60_700);
  const [checkpoint] = await eventually(async () => {
    const { items } = await stack.client.artifacts(id);
    expect(items.length).toBeGreaterThan(0);
    return items;
  });
  const { sha256 } = checkpoint!;
  expect(await stat(path.join(open, 'artifacts', 'sha256', sha256.slice(0, 2), sha256))).toMatchObject({ uid: 0 });
  await stack.client.cancelRun(id);
  await mkdir(path.join(open, 'data', 'closed'), { mode: 0o700 });
  const closed = await stack.submit({ kind: 'prepare-dataset', name: 'closed', path: 'closed' });
  expect(await stack.ended(closed, 'failed')).toMatchObject({
    statusReason: 'invalid_data',
    statusDetail: expect.stringContaining('may read, the source is none (EACCES): change its permissions') as string,
  });
  await worker.kill('SIGTERM');
}, 90_000);

test('a user that trainers can’t run as ends the start, or is warned of where nobody asked for it', async (context) => {
  if (!hasOthers) context.skip('only root can start trainers as others, and only where these may read the checkout');
  const refused = stack.startWorker({ LOOM_DATA_ROOT: stack.dataRoot, LOOM_TRAINER_UID: '60700' });
  await eventually(() => expect(refused.child.exitCode, refused.output()).toBe(1), { timeoutMs: 30_000 });
  expect(refused.output()).toContain(`others can't enter ${stack.dir}`);
  const nobody = stack.startWorker({ LOOM_TRAINER_UID: '65534' });
  await eventually(() => expect(nobody.child.exitCode, nobody.output()).toBe(1), { timeoutMs: 30_000 });
  expect(nobody.output()).toContain('expected an id that is no user');
  const shared = stack.startWorker({ LOOM_DATA_ROOT: stack.dataRoot, LOOM_TRAINER: TAKEN });
  expect(JSON.parse(await lastWords('look'))).toMatchObject({ uid: 0 });
  expect(shared.output()).toContain('trainers run as the user of this worker, and could do what it can');
});
