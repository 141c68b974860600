/** Faults of workers and trainers. The numbers are rows of the table in docs/reliability.md. */
import { open } from 'node:fs/promises';
import path from 'node:path';
import { Queue } from 'bullmq';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { twoGpus } from '../support/gpus.js';
import { isRunning, preload } from '../support/processes.js';
import { checkpointAt, expectKeptPromises, LONG, MEDIUM, prepareStripes, SHORT } from '../support/small-runs.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.4' } });
  await prepareStripes(stack);
}, 90_000);
afterEach(() => stack?.clear());
afterAll(() => stack?.stop());

const trainerOf = async (id: string): Promise<number> => (await stack.client.run(id)).attempts.at(-1)!.trainerPid!;
const gone = (pid: number, withinMs: number) =>
  eventually(
    async () => {
      if (await isRunning(pid)) throw new Error(`process ${pid} lives on`);
    },
    { timeoutMs: withinMs },
  );
const proves = async (...ids: string[]) => expectKeptPromises(stack, ids);

test(
  '#1 kill -9 of a worker in mid-training: its trainer is gone within a second, the run goes on from its checkpoint ' +
    'and ends once',
  async () => {
    const first = stack.startWorker();
    const id = await stack.submit(MEDIUM);
    await stack.runsAt(id, 20);
    const checkpoint = await checkpointAt(stack.client, id);
    const trainer = await trainerOf(id);
    expect(await isRunning(trainer)).toBe(true);
    await first.kill('SIGKILL');
    await gone(trainer, 1000);
    stack.startWorker();
    await stack.ended(id);
    const run = await stack.client.run(id);
    expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['worker_lost', 'succeeded']);
    expect(run.attempts[1]!.resumedFromStep).toBeGreaterThanOrEqual(checkpoint);
    await proves(id);
  },
);

test(
  '#2 kill -9 of a trainer: the signal is in the reason, the run is repeated after a pause, its worker takes other ' +
    'runs at once',
  async () => {
    stack.startWorker();
    const id = await stack.submit(LONG);
    await stack.runsAt(id, 10);
    process.kill(await trainerOf(id), 'SIGKILL');
    const other = await stack.submit(SHORT);
    await stack.ended(other);
    const run = await stack.goesOnAs(id, 2);
    expect(run.attempts[0]).toMatchObject({ outcome: 'failed', reason: 'worker_crash' });
    expect(run.attempts[0]!.detail).toContain('SIGKILL');
    await stack.client.cancelRun(id);
    await stack.ended(id, 'cancelled');
    await proves(id, other);
  },
);

test(
  '#3 a worker that is stopped beyond its lease and goes on: another has taken over, nothing that it writes counts, ' +
    'its trainer is killed',
  async () => {
    const zombie = stack.startWorker();
    const id = await stack.submit(LONG);
    await stack.runsAt(id, 10);
    await checkpointAt(stack.client, id);
    const trainer = await trainerOf(id);
    process.kill(zombie.pid, 'SIGSTOP');
    stack.startWorker();
    await stack.goesOnAs(id, 2);
    process.kill(zombie.pid, 'SIGCONT');
    await gone(trainer, 2000);
    const before = (await stack.client.run(id)).step;
    await stack.runsAt(id, before + 20);
    await stack.client.cancelRun(id);
    const run = await stack.ended(id, 'cancelled');
    expect(run.attempt).toBe(2);
    await proves(id);
  },
);

test('#4 a trainer that hangs: its worker lives, the run is killed as hung and repeated', async () => {
  // Longer than a trainer takes to begin on a busy machine.
  stack.startWorker({ LOOM_HUNG_MS: '5000' });
  const id = await stack.submit(LONG);
  await stack.runsAt(id, 10);
  process.kill(await trainerOf(id), 'SIGSTOP');
  const run = await stack.goesOnAs(id, 2);
  expect(run.attempts[0]).toMatchObject({ outcome: 'failed', reason: 'hung' });
  await stack.client.cancelRun(id);
  await stack.ended(id, 'cancelled');
  await proves(id);
});

test.each(['a flipped byte', 'a truncated file'] as const)(
  '#16 %s in the newest checkpoint: it is found, the one before is taken, and an event says so',
  async (damage) => {
    const first = stack.startWorker();
    const id = await stack.submit(LONG);
    await checkpointAt(stack.client, id, (await checkpointAt(stack.client, id)) + 1);
    await first.kill('SIGKILL');
    const [newest, older] = (await stack.client.artifacts(id)).items
      .filter(({ kind }) => kind === 'checkpoint')
      .sort((a, b) => b.step! - a.step!);
    const file = await open(
      path.join(stack.environment['LOOM_ARTIFACTS_DIR']!, 'sha256', newest!.sha256.slice(0, 2), newest!.sha256),
      'r+',
    );
    if (damage === 'a truncated file') await file.truncate(newest!.sizeBytes - 1);
    else {
      const byte = Buffer.alloc(1);
      await file.read(byte, 0, 1, newest!.sizeBytes - 100);
      await file.write(Buffer.from([byte[0]! ^ 1]), 0, 1, newest!.sizeBytes - 100);
    }
    await file.close();
    stack.startWorker();
    const run = await stack.goesOnAs(id, 2);
    expect(run.attempts[1]!.resumedFromStep).toBe(older!.step);
    const { items: events } = await stack.client.events(id, { limit: 500 });
    expect(events.find(({ type }) => type === 'checkpoint_corrupt')?.data).toMatchObject({
      step: newest!.step,
      sha256: newest!.sha256,
    });
    await stack.client.cancelRun(id);
    await stack.ended(id, 'cancelled');
  },
);

test.each([3_600_000, -3_600_000])(
  '#17 a worker whose clock is off by %i ms keeps its run, and its times are those of the database',
  async (shift) => {
    stack.startWorker({ TEST_CLOCK_SHIFT_MS: String(shift), NODE_OPTIONS: preload('skewed-clock.mjs') });
    // One more, so that a run that is believed lost has somewhere to go.
    const id = await stack.submit(MEDIUM);
    await stack.runsAt(id, 5);
    stack.startWorker();
    const run = await stack.ended(id);
    expect(run.attempt).toBe(1);
    for (const time of [run.startedAt, run.finishedAt])
      expect(Math.abs(Date.parse(time!) - Date.now())).toBeLessThan(120_000);
    await proves(id);
  },
);

test('#19 a job that is delivered twice is run once', async () => {
  const queue = new Queue(stack.environment['LOOM_QUEUE']!, { connection: { url: stack.environment['REDIS_URL']! } });
  const id = await stack.submit(SHORT);
  for (const copy of [1, 2, 3]) await queue.add('run', { runId: id, attempt: 1 }, { jobId: `copy-${copy}-${id}` });
  stack.startWorker();
  stack.startWorker();
  await stack.ended(id);
  await queue.add('run', { runId: id, attempt: 1 }, { jobId: `late-${id}` });
  await eventually(async () => {
    if (await queue.getJob(`late-${id}`)) throw new Error('the late copy is still there');
  });
  await queue.close();
  expect((await stack.client.run(id)).attempts).toHaveLength(1);
  await proves(id);
});

test(
  '#20 a run that kills its trainer each time is set aside with its last words, and the runs beside ' + 'it go on',
  async () => {
    stack.startWorker({ NODE_OPTIONS: preload('poison.mjs'), TEST_POISON: '666' });
    const poison = await stack.submit({ ...LONG, seed: 666 }, { name: 'poison' });
    const others = [await stack.submit(SHORT), await stack.submit({ ...SHORT, seed: 1 })];
    for (const other of others) await stack.ended(other);
    await stack.ended(poison, 'failed');
    const run = await stack.client.run(poison);
    expect(run.attempts.map(({ outcome, reason }) => [outcome, reason])).toEqual([
      ['failed', 'worker_crash'],
      ['failed', 'worker_crash'],
      ['failed', 'worker_crash'],
    ]);
    expect(run.statusDetail).toContain('poisoned');
    await stack.ended(await stack.submit({ ...SHORT, seed: 2 }));
    await proves(poison, ...others);
  },
);

test('#21 a trainer that runs out of memory: the run fails as oom without a repeat, its worker goes on', async () => {
  const starved = stack.startWorker({
    NODE_OPTIONS: `${preload('poison.mjs')} --max-old-space-size=200`,
    TEST_HUNGRY: '777',
  });
  const id = await stack.submit({ ...LONG, seed: 777 });
  const run = await stack.ended(id, 'failed');
  expect(run).toMatchObject({ statusReason: 'oom', attempt: 1 });
  expect(await isRunning(starved.pid)).toBe(true);
  await stack.ended(await stack.submit(SHORT));
  await proves(id);
});

test('#21 a tensor larger than the memory that the machine gives: the same, in words that help', async () => {
  // 1.5 GB are enough for TensorFlow, and not for a batch of this width.
  stack.startWorker({}, ['prlimit', `--data=${1.5 * 2 ** 30}`]);
  const id = await stack.submit({
    kind: 'pretrain',
    dataset: 'stripes',
    batchSize: 192,
    epochs: 1,
    encoder: { width: 256 },
    evalSplit: 'test',
    knn: { k: 5 },
  });
  const run = await stack.ended(id, 'failed');
  expect(run).toMatchObject({ statusReason: 'oom', attempt: 1 });
  expect(run.statusDetail).toContain('lower the batch size');
});

test(
  '#22 SIGTERM: nothing more is taken, the run is handed back with a checkpoint, uncharged, within ' +
    'the grace period',
  async () => {
    const first = stack.startWorker();
    const id = await stack.submit(LONG);
    await stack.runsAt(id, 10);
    const waiting = await stack.submit(SHORT);
    const asked = performance.now();
    await first.kill('SIGTERM');
    expect(first.child.exitCode).toBe(0);
    expect(performance.now() - asked).toBeLessThan(10_000);
    const released = await stack.client.run(id);
    expect(released).toMatchObject({ status: 'queued', attempts: [{ outcome: 'preempted' }] });
    expect((await stack.client.run(waiting)).attempt).toBe(0);
    stack.startWorker({ LOOM_SLOTS: '2' });
    const run = await stack.goesOnAs(id, 2);
    expect(run.attempts[1]!.resumedFromStep).toBe(released.step);
    await stack.ended(waiting);
    await stack.client.cancelRun(id);
    await stack.ended(id, 'cancelled');
    await proves(id, waiting);
  },
);

test(
  '#23 a second SIGTERM does not wait for a trainer that does not stop, and neither does the end of ' +
    'the grace period',
  async () => {
    for (const signals of [2, 1]) {
      const worker = stack.startWorker({ LOOM_CANCEL_GRACE_MS: signals === 2 ? '60000' : '1000' });
      const id = await stack.submit(LONG);
      await stack.runsAt(id, 10);
      const trainer = await trainerOf(id);
      process.kill(trainer, 'SIGSTOP');
      process.kill(worker.pid, 'SIGTERM');
      await eventually(async () => {
        if ((await stack.client.workers()).find(({ pid }) => pid === worker.pid)?.state !== 'draining')
          throw new Error('expected the worker to drain');
      });
      if (signals === 2) process.kill(worker.pid, 'SIGTERM');
      await gone(trainer, 5000);
      await worker.kill('SIGCONT');
      expect((await stack.client.run(id)).attempts[0]).toMatchObject({ outcome: 'preempted' });
      await stack.client.cancelRun(id);
      await stack.ended(id, 'cancelled');
    }
  },
);

test(
  '#24 cancel: a run that waits at once, one that trains within moments, one that is stuck in a native call when ' +
    'the grace period has passed',
  async () => {
    const queued = await stack.submit(LONG);
    expect((await stack.client.cancelRun(queued)).status).toBe('cancelled');

    stack.startWorker({ LOOM_CANCEL_GRACE_MS: '1500' });
    const running = await stack.submit(LONG);
    await stack.runsAt(running, 5);
    const asked = (await stack.client.cancelRun(running)).step;
    const stopped = await stack.ended(running, 'cancelled');
    // Steps take some 10 ms here: what passes between the request and the step it reads is more than the two steps
    // allowed.
    expect(stopped.step - asked).toBeLessThan(60);

    const stuck = await stack.submit(LONG);
    await stack.runsAt(stuck, 5);
    process.kill(await trainerOf(stuck), 'SIGSTOP');
    await stack.client.cancelRun(stuck);
    await stack.ended(stuck, 'cancelled');
    await stack.ended(await stack.submit(SHORT));
    await proves(queued, running, stuck);
  },
);

test('a GPU on which a trainer died is avoided by the attempts that follow', async () => {
  stack.startWorker(await twoGpus(stack.dir, { seen: true }));
  const id = await stack.submit(LONG);
  await stack.runsAt(id, 5);
  process.kill(await trainerOf(id), 'SIGKILL');
  const run = await stack.goesOnAs(id, 2);
  expect(new Set(run.attempts.map(({ gpu }) => gpu))).toEqual(new Set(['GPU-aaaa', 'GPU-bbbb']));
  await stack.client.cancelRun(id);
  await stack.ended(id, 'cancelled');
});
