/** What people ask of runs and workers while they work, on real processes: pause, resume, drain, placement. */
import type { LoomClient } from '#libs/contracts';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { twoGpus } from '../support/gpus.js';
import { writeImageFolder } from '../support/images.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
let client: LoomClient;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '60' } });
  ({ client } = stack);
  await writeImageFolder(path.join(stack.dataRoot, 'stripes'), { classes: 4, perClass: 40 });
  stack.startWorker();
  await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'stripes', path: 'stripes', imageSize: 16 }));
  await stack.killWorkers();
}, 90_000);

afterEach(() => stack.killWorkers());
afterAll(() => stack?.stop());

/** Long enough to be interrupted: some 30 s on one thread. */
const long = {
  kind: 'pretrain',
  dataset: 'stripes',
  batchSize: 64,
  epochs: 4000,
  encoder: { width: 4 },
  evalSplit: 'test',
  knn: { k: 5 },
} as const;

test('a run beyond its time limit is stopped, and ends as timed out', async () => {
  stack.startWorker();
  const id = await stack.submit(long, { maxSeconds: 3 });
  await stack.ended(id, 'timed_out');
  const run = await client.run(id);
  expect(run).toMatchObject({
    maxSeconds: 3,
    statusReason: 'time_limit',
    statusDetail: expect.stringMatching(/^it took \d+\.\d s, its time limit is 3 s/) as string,
    attempts: [{ outcome: 'timed_out', reason: 'time_limit' }],
  });
  const [{ startedAt, endedAt }] = run.attempts as [(typeof run.attempts)[0]];
  expect(Date.parse(endedAt!) - Date.parse(startedAt)).toBeGreaterThanOrEqual(3000);
});

test('a pause writes a checkpoint and frees the slot, and a resume goes on at that very step', async () => {
  stack.startWorker();
  const id = await stack.submit(long);
  await stack.reaches(id, 'running', 25);
  expect((await client.pauseRun(id)).status).toBe('pausing');
  const paused = await stack.reaches(id, 'paused');
  expect(paused).toMatchObject({ statusReason: 'user_pause', attempts: [{ outcome: 'paused' }] });
  expect((await client.artifacts(id)).items.filter(({ kind }) => kind === 'checkpoint')).toMatchObject([
    { step: paused.step },
  ]);

  // The only slot is free.
  const other = await stack.submit({ ...long, seed: 1 });
  await stack.reaches(other, 'running', 1);
  await client.pauseRun(other);
  await stack.reaches(other, 'paused');
  expect((await client.cancelRun(other)).status).toBe('cancelled');

  expect((await client.resumeRun(id)).status).toBe('queued');
  const resumed = await stack.reaches(id, 'running', paused.step + 25);
  expect(resumed.attempts).toMatchObject([{ outcome: 'paused' }, { attempt: 2, resumedFromStep: paused.step }]);
  const [loss] = await client.metrics(id, { key: ['train/loss'], points: 10_000 });
  const steps = loss!.points.map(({ step }) => step);
  expect(steps.at(-1)).toBeGreaterThan(paused.step);
  expect(
    new Set(steps.slice(1).map((step, i) => step - steps[i]!)),
    `a curve without holes or repeats, got ${steps.join()}`,
  ).toEqual(new Set([10]));
  await client.cancelRun(id);
  await stack.reaches(id, 'cancelled');
}, 120_000);

/** What `loom` prints; rejects with its exit code and what it wrote to stderr. */
async function loom(...words: string[]): Promise<string> {
  const cli = path.resolve(import.meta.dirname, '..', '..', 'dist', 'apps', 'cli', 'src', 'main.js');
  return (await promisify(execFile)(process.execPath, [cli, '--url', client.url, ...words])).stdout;
}

test('the command line acts on runs by filter, and never on all of them by mistake', async () => {
  const ids = [
    await stack.submit(long, { tags: ['bulk'] }),
    await stack.submit(long, { tags: ['bulk'], name: 'second' }),
    await stack.submit(long, { tags: ['other'] }),
  ];
  expect(await loom('pause', '--tag', 'bulk', '--dry-run')).toBe('pause would change 2 runs\n');
  expect(await loom('pause', '--tag', 'bulk', '--name', 'SECOND')).toBe('pause changed 1 run\n');
  expect(await loom('cancel', '--status', 'queued,paused', '--tag', 'bulk')).toBe('cancel changed 2 runs\n');
  expect(await Promise.all(ids.map(async (id) => (await client.run(id)).status))).toEqual([
    'cancelled',
    'cancelled',
    'queued',
  ]);
  expect(await loom('cancel', '--tag', 'bulk')).toBe('cancel changed 0 runs; left as they are: 2 cancelled\n');
  await expect(loom('cancel')).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/expected ids, or a filter/) as string,
  });
  await expect(loom('cancel', ids[2]!, '--all')).rejects.toMatchObject({ code: 2 });
  await expect(loom('cancel', '--status', 'happy')).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining('happy is none of them') as string,
  });
  expect(await loom('cancel', ids[2]!)).toBe(`${ids[2]!} cancelled\n`);
}, 60_000);

test('a drain by the command line: its run goes on elsewhere, uncharged, and the process ends', async () => {
  const first = stack.startWorker();
  const id = await stack.submit(long);
  await stack.reaches(id, 'running', 5);
  const { workerId } = await client.run(id);
  const second = stack.startWorker();
  await eventually(
    () => {
      expect(second.output()).toContain('worker ready');
    },
    { timeoutMs: 30_000 },
  );
  expect(await loom('drain', workerId!)).toBe(`${workerId!} draining\n`);
  await eventually(
    () => {
      expect(first.child.exitCode, first.output()).toBe(0);
    },
    { timeoutMs: 20_000 },
  );
  const resumed = await eventually(
    async () => {
      const run = await client.run(id);
      expect(run.attempts[1]?.resumedFromStep, stack.explain(run)).toBeGreaterThanOrEqual(5);
      return run;
    },
    { timeoutMs: 30_000 },
  );
  expect(resumed.attempts).toMatchObject([{ outcome: 'preempted', workerId }, { attempt: 2 }]);
  expect(resumed.attempts[1]!.workerId).not.toBe(workerId);
  const states = new Map((await client.workers()).map((worker) => [worker.id, worker.state]));
  expect([states.get(workerId!), states.get(resumed.attempts[1]!.workerId)]).toEqual(['stopped', 'running']);
  await expect(loom('drain', workerId!)).rejects.toMatchObject({ code: 2 });
  await client.cancelRun(id);
  await stack.reaches(id, 'cancelled');
}, 120_000);

test('a drain overtakes a run that is on its way to the worker, and a signal after it does not hurry it', async () => {
  const worker = stack.startWorker();
  const id = await stack.submit(long);
  const run = await stack.reaches(id, 'running', 5);
  const waiting = await stack.submit({ ...long, seed: 2 });
  await client.drainWorker(run.workerId!);
  worker.child.kill('SIGTERM');
  await eventually(
    () => {
      expect(worker.child.exitCode, worker.output()).toBe(0);
    },
    { timeoutMs: 20_000 },
  );
  const handedBack = await client.run(id);
  expect(handedBack).toMatchObject({ status: 'queued', attempts: [{ outcome: 'preempted' }] });
  expect((await client.artifacts(id)).items.filter(({ kind }) => kind === 'checkpoint')).toMatchObject([
    { step: handedBack.step },
  ]);
  expect(await client.run(waiting)).toMatchObject({ status: 'queued', attempts: [] });
  for (const each of [id, waiting]) await client.cancelRun(each);
}, 120_000);

test('a worker that is told to drain while its trainers load ends well', async () => {
  const known = new Set((await client.workers()).map(({ id }) => id));
  const worker = stack.startWorker();
  const { id } = await eventually(
    async () => {
      const registered = (await client.workers()).find((each) => !known.has(each.id));
      if (!registered) throw new Error(`expected a worker that starts: ${worker.output()}`);
      return registered;
    },
    { timeoutMs: 30_000, intervalMs: 10 },
  );
  await client.drainWorker(id);
  await eventually(
    () => {
      expect(worker.child.exitCode, worker.output()).toBe(0);
    },
    { timeoutMs: 30_000 },
  );
  expect((await client.workers()).find((each) => each.id === id)).toMatchObject({ state: 'stopped', alive: false });
}, 90_000);

test(
  'runs go to workers with the labels they ask for, none is lost to others, and each trainer sees the GPU of its ' +
    'slot or does not start',
  async () => {
    const redispatched = async () =>
      /loom_reconciler_repairs\{kind="redispatched"\} (\d+)/.exec(
        await (await fetch(`${client.url}/metrics`)).text(),
      )![1];
    const repairs = await redispatched();

    const plain = stack.startWorker();
    const ids = await Promise.all(
      [1, 2].map((seed) => stack.submit({ ...long, seed }, { requires: { labels: { gpu: 'a100' } } })),
    );
    const elsewhere = await stack.submit({ ...long, seed: 3 }, { requires: { labels: { gpu: 'h100' } } });
    const anywhere = await stack.submit({ ...long, seed: 4 });
    const [plainId] = [(await stack.reaches(anywhere, 'running', 1)).workerId];
    expect(await Promise.all(ids.map(async (id) => (await client.run(id)).status))).toEqual(['queued', 'queued']);
    await client.cancelRun(anywhere);
    await stack.reaches(anywhere, 'cancelled');

    // Its TensorFlow is the one for CPUs.
    const blind = stack.startWorker(await twoGpus(stack.dir, { seen: false }));
    await eventually(
      () => {
        expect(blind.child.exitCode, blind.output()).toBe(1);
      },
      { timeoutMs: 30_000 },
    );
    expect(blind.output()).toMatch(
      /expected TensorFlow to see GPU NVIDIA A100-SXM4-80GB \(GPU-[ab]{4}\), but it sees none: run `npm run setup`/,
    );

    // The plain worker is idle and takes part in the race for every job.
    const fits = stack.startWorker({
      ...(await twoGpus(stack.dir, { seen: true })),
      LOOM_WORKER_LABELS: 'gpu=a100,zone=b',
      LOOM_WORKER_NAME: 'a100',
    });
    const runs = await Promise.all(ids.map((id) => stack.reaches(id, 'running', 1)));
    const worker = (await client.workers()).find(({ id }) => id === runs[0]!.workerId)!;
    expect(worker).toMatchObject({
      slots: 2,
      labels: { gpu: 'a100', zone: 'b' },
      gpus: [
        { index: 0, uuid: 'GPU-aaaa', name: 'NVIDIA A100-SXM4-80GB', memoryMiB: 81920, driver: '550.54' },
        { uuid: 'GPU-bbbb' },
      ],
    });
    expect(runs.map(({ workerId }) => workerId)).toEqual([worker.id, worker.id]);
    const seen = await Promise.all(
      runs.map(
        async ({ attempts }) =>
          /CUDA_VISIBLE_DEVICES=([^\0]*)/.exec(await readFile(`/proc/${attempts[0]!.trainerPid}/environ`, 'utf8'))?.[1],
      ),
    );
    expect(seen.sort()).toEqual(['GPU-aaaa', 'GPU-bbbb']);
    expect(await loom('workers')).toContain('gpu=a100,zone=b');
    const temperature = 'system/gpu_temperature_c';
    const others = ['system/gpu_memory_mib', 'system/gpu_percent'];
    const told = async (id: string) =>
      (await client.metrics(id, { key: [...others, temperature] })).map(({ key }) => key).toSorted();
    // The second card does not tell its temperature.
    await eventually(async () =>
      expect((await Promise.all(ids.map(told))).sort((a, b) => a.length - b.length)).toEqual([
        others,
        [...others, temperature],
      ]),
    );
    expect(await client.run(elsewhere)).toMatchObject({ status: 'queued', attempts: [] });
    expect(plain.child.exitCode).toBe(null);
    expect(plainId).not.toBe(worker.id);
    expect(await redispatched(), fits.output()).toBe(repairs);
    await loom('cancel', '--status', 'queued,running');
    for (const id of [...ids, elsewhere]) await stack.reaches(id, 'cancelled');
  },
  180_000,
);

test('a collection by the command line keeps what is named and what is young', async () => {
  const kept = /^would remove orphans: 0 \(0 B\), leftovers: 0 \(0 B\); kept: (\d+) \(.+ [kM]?B\)\n$/.exec(
    await loom('gc', '--dry-run'),
  )?.[1];
  expect(Number(kept)).toBeGreaterThan(3);
  expect(await loom('gc')).toContain(`removed orphans: 0 (0 B), leftovers: 0 (0 B); kept: ${kept!} `);
}, 30_000);
