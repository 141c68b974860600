/**
 * A disk that is full, on a real file system that is small. The number is the row of the table in docs/reliability.md.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readdir, rm, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { checkpointAt, expectKeptPromises, LONG, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

const run = promisify(execFile);
let dir: string;
let mounted = false;
let stack: Stack;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-disk-'));
  mounted = await run('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dir]).then(
    () => true,
    () => false,
  );
  if (!mounted) return;
  stack = await startStack({
    environment: {
      LOOM_ARTIFACTS_DIR: path.join(dir, 'artifacts'),
      LOOM_CHECKPOINT_SECONDS: '0.4',
      LOOM_MIN_FREE_MIB: '2',
    },
  });
  await prepareStripes(stack);
}, 90_000);
afterAll(async () => {
  await stack?.stop();
  if (mounted) await run('umount', ['-l', dir]);
  await rm(dir, { recursive: true, force: true });
});

test(
  '#14 the disk is full at a checkpoint: the run fails as disk_full, the checkpoint before is whole, nothing is ' +
    'left half-written, and it is repeated only when there is room',
  async (context) => {
    if (!mounted) context.skip('a small file system could not be mounted: this needs root');
    const worker = stack.startWorker();
    const id = await stack.submit(LONG);
    const first = await checkpointAt(stack.client, id);
    const filler = path.join(dir, 'filler');
    const { bavail, bsize } = await statfs(dir);
    await writeFile(filler, Buffer.alloc(Math.max(0, bavail * bsize - 400 * 1024)));
    await eventually(
      async () =>
        expect((await stack.client.run(id)).attempts[0]).toMatchObject({ outcome: 'failed', reason: 'disk_full' }),
      { timeoutMs: 30_000 },
    );
    expect((await stack.client.run(id)).attempts[0]!.detail).toContain('make room');
    // Its next start has been offered to the worker, and was not taken.
    await eventually(() => expect(worker.output()).toContain('too little space'), { timeoutMs: 20_000 });
    const waiting = await stack.client.run(id);
    expect(waiting.attempt).toBe(1);
    expect(await readdir(path.join(dir, 'artifacts', 'tmp'))).toEqual([]);
    expect(
      (await readdir(path.join(dir, 'artifacts', 'work'), { recursive: true })).filter((name) =>
        name.endsWith('.safetensors'),
      ),
    ).toEqual([]);

    await rm(filler);
    const resumed = await stack.goesOnAs(id, 2);
    expect(resumed.attempts[1]!.resumedFromStep).toBeGreaterThanOrEqual(first);
    expect(resumed.attempt).toBe(2);
    await stack.client.cancelRun(id);
    await stack.ended(id, 'cancelled');
    await stack.ended(await stack.submit(SHORT));
    await expectKeptPromises(stack, [id]);
  },
  120_000,
);
