/** The whole way, on real processes: submit → Postgres → BullMQ → worker → trainer → metrics and artifacts → read back. */
import { LoomClient, type Run, type RunSpec } from '#libs/contracts';
import { createHash, randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import type { z } from 'zod';
import { freshDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';
import { writeImageFolder } from '../support/images.js';
import { freePort, isRunning, startApp, type Started } from '../support/processes.js';

let dir: string;
let home: Awaited<ReturnType<typeof freshDatabase>>;
let api: Started;
let client: LoomClient;
let environment: Record<string, string>;
const workers: Started[] = [];

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-worker-'));
  home = await freshDatabase();
  const port = await freePort();
  environment = {
    DATABASE_URL: home.url, REDIS_URL: inject('redisUrl'), LOOM_QUEUE: `test-${randomUUID()}`, LOOM_PORT: String(port), LOOM_LOG_LEVEL: 'info',
    LOOM_ARTIFACTS_DIR: path.join(dir, 'artifacts'), LOOM_DATA_ROOT: path.join(dir, 'data'),
    // Production's rules at a test's pace.
    LOOM_HEARTBEAT_MS: '200', LOOM_LEASE_MS: '1500', LOOM_RECONCILE_MS: '300', LOOM_CHECKPOINT_SECONDS: '0.4', LOOM_CANCEL_GRACE_MS: '10000', LOOM_TRAINER_THREADS: '1',
  };
  await writeImageFolder(path.join(dir, 'data', 'stripes'), { classes: 4, perClass: 60 });
  await writeFile(path.join(dir, 'data', 'stripes', 'class0', 'damaged.jpg'), 'this is no JPEG');
  api = startApp('api', environment);
  client = new LoomClient({ url: `http://127.0.0.1:${port}` });
  await eventually(async () => { if (!await client.ready()) throw new Error(`the API is not ready: ${api.output()}`); });
}, 60_000);

afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.kill('SIGKILL')));
});

afterAll(async () => {
  await api?.kill('SIGTERM');
  await home?.drop();
  await rm(dir, { recursive: true, force: true });
});

function startWorker(): Started {
  const worker = startApp('worker', environment);
  workers.push(worker);
  return worker;
}

const submit = async (spec: z.input<typeof RunSpec>): Promise<string> => (await client.submitRun({ spec, onDuplicate: 'replicate' })).run.id;

/** Waits for the end of a run; its log lines explain one that ended otherwise than expected. */
async function ended(id: string, status: Run['status'] = 'succeeded'): Promise<Run> {
  const run = await client.follow(id, {}, { signal: AbortSignal.timeout(50_000) });
  if (run.status !== status) throw new Error(`expected run ${run.kind} to be ${status}, it is ${run.status} (${run.statusReason}): ${run.statusDetail}\n${workers.map((worker) => worker.output()).join('\n')}`);
  return run;
}

const small = { encoder: { width: 4 }, evalSplit: 'test' as const, knn: { k: 5 } };

async function prepared(name: string): Promise<void> {
  if (await client.dataset(name).catch(() => undefined)) return;
  await ended(await submit({ kind: 'prepare-dataset', name, path: 'stripes', imageSize: 16, maxCorruptFraction: 0.1 }));
}

/** Long enough to be interrupted: some 30 s on one thread. */
const longPretraining = { kind: 'pretrain', dataset: 'stripes', batchSize: 64, epochs: 2000, ...small } as const;

async function runsAt(id: string, step: number): Promise<Run> {
  return eventually(async () => {
    const run = await client.run(id);
    if (run.status !== 'running' || run.step < step) throw new Error(`expected run ${id} to be running at step ${step} or later, it is ${run.status} at ${run.step}`);
    return run;
  }, { timeoutMs: 40_000 });
}

describe('the main job', () => {
  test('from JPEGs to accuracies, read back through the API', async () => {
    startWorker();
    const preparing = await ended(await submit({ kind: 'prepare-dataset', name: 'stripes', path: 'stripes', imageSize: 16, maxCorruptFraction: 0.1 }));
    expect(preparing.result?.dataset?.splits.train.count).toBe(192);
    const { items: lines } = await client.logs(preparing.id);
    expect(lines.find(({ level }) => level === 'warn')?.message).toContain('class0/damaged.jpg');

    const pretraining = await submit({ kind: 'pretrain', dataset: 'stripes', batchSize: 32, epochs: 8, schedule: { warmupSteps: 5 }, ...small });
    const finetuning = await submit({ kind: 'finetune', dataset: 'stripes', from: pretraining, labelFraction: 0.25, batchSize: 16, steps: 40, evalSplit: 'test' });
    const scratch = await submit({ kind: 'finetune', dataset: 'stripes', from: null, encoder: small.encoder, labelFraction: 0.25, batchSize: 16, steps: 40, evalSplit: 'test' });
    const evaluating = await submit({ kind: 'evaluate', dataset: 'stripes', from: pretraining, knn: small.knn, evalSplit: 'test' });
    const autoencoding = await submit({ kind: 'autoencode', dataset: 'stripes', latent: 8, batchSize: 32, epochs: 3, gridImages: 8, ...small });

    const results = await Promise.all([pretraining, finetuning, scratch, evaluating, autoencoding].map((id) => ended(id)));
    const [contrastive, tuned, , evaluated, reconstructed] = results.map((run) => run.result!.metrics);
    expect(contrastive!['eval/knn']).toBeGreaterThan(0.4);
    expect(tuned!['eval/accuracy']).toBeGreaterThan(0.4);
    expect(tuned!['data/labels']).toBe(48);
    expect(evaluated!['eval/probe_accuracy']).toBeGreaterThan(0.5);
    expect(reconstructed!['eval/reconstruction_mse']).toBeLessThan(0.1);

    const [loss] = await client.metrics(pretraining, { key: ['train/loss'] });
    expect(loss!.points.map(({ step }) => step)).toEqual(Array.from({ length: 48 }, (_, step) => step + 1));
    const { items: files } = await client.artifacts(autoencoding);
    const grid = files.find(({ kind }) => kind === 'image')!;
    const bytes = Buffer.from(await new Response(await client.download(autoencoding, grid.id)).arrayBuffer());
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(grid.sha256);
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'png', width: 8 * 16, height: 2 * 16 });
  }, 120_000);

  test('a source that makes no dataset fails with what is wrong with it, and the worker goes on', async () => {
    startWorker();
    const data = (name: string) => path.join(dir, 'data', name);
    await mkdir(data('empty'), { recursive: true });
    await writeImageFolder(data('single'), { classes: 1, perClass: 3 });
    await writeImageFolder(data('damaged'), { classes: 2, perClass: 4 });
    const whole = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } }).jpeg().toBuffer();
    await writeFile(path.join(data('damaged'), 'class0', 'truncated.jpg'), whole.subarray(0, whole.length / 2));
    for (const [source, expected] of [['empty', 'it is empty'], ['single', 'found one: class0'], ['damaged', 'class0/truncated.jpg'], ['absent', 'found nothing']] as const) {
      const run = await ended(await submit({ kind: 'prepare-dataset', name: 'broken', path: source, maxCorruptFraction: 0 }), 'failed');
      expect(run.statusReason).toBe('invalid_data');
      expect(run.statusDetail).toContain(expected);
      expect(run.attempt).toBe(1);
    }
    await prepared('stripes');
  }, 90_000);
});

describe('a worker that goes', () => {
  // Protects the promise that a run survives its machine: the child dies with its worker, another worker goes on.
  test('kill -9 in mid-training: the child is gone within a second, the run goes on from its checkpoint as attempt 2 and ends once', async () => {
    const first = startWorker();
    await prepared('stripes');
    const id = await submit({ ...longPretraining, epochs: 120 });
    await runsAt(id, 20);
    await eventually(async () => { if (!(await client.artifacts(id)).items.some(({ kind }) => kind === 'checkpoint')) throw new Error('expected a checkpoint'); }, { timeoutMs: 20_000 });
    const trainer = (await client.run(id)).attempts[0]!.trainerPid!;
    expect(await isRunning(trainer)).toBe(true);
    await first.kill('SIGKILL');
    await eventually(async () => { if (await isRunning(trainer)) throw new Error('the trainer lives on'); }, { timeoutMs: 1000 });

    startWorker();
    await ended(id);
    const run = await client.run(id);
    expect(run.attempt).toBe(2);
    expect(run.attempts.map(({ outcome }) => outcome)).toEqual(['worker_lost', 'succeeded']);
    expect(run.attempts[1]!.resumedFromStep).toBeGreaterThan(0);
    const { items: events } = await client.events(id, { limit: 500 });
    expect(events.filter(({ data }) => data['status'] === 'succeeded')).toHaveLength(1);
    const [loss] = await client.metrics(id, { key: ['train/loss'], points: 10_000 });
    expect(loss!.points.map(({ step }) => step)).toEqual(Array.from({ length: run.totalSteps! }, (_, step) => step + 1));
  }, 120_000);

  test('SIGTERM: the run is handed back with a checkpoint, uncharged', async () => {
    const first = startWorker();
    await prepared('stripes');
    const id = await submit(longPretraining);
    await runsAt(id, 10);
    await first.kill('SIGTERM');
    const released = await client.run(id);
    expect(released).toMatchObject({ attempts: [{ outcome: 'preempted' }] });
    expect(['queued']).toContain(released.status);
    startWorker();
    const resumed = await runsAt(id, released.step + 1);
    expect(resumed.attempt).toBe(2);
    expect((await client.run(id)).attempts[1]!.resumedFromStep).toBe(released.step);
    await client.cancelRun(id);
    await ended(id, 'cancelled');
  }, 120_000);

  test('a cancel stops a running run within moments, and its worker takes the next', async () => {
    startWorker();
    await prepared('stripes');
    const id = await submit(longPretraining);
    await runsAt(id, 5);
    const asked = (await client.cancelRun(id)).step;
    const run = await ended(id, 'cancelled');
    expect(run.statusReason).toBe('user_cancel');
    // Steps take some 10 ms here: what passes between the request and the step it reads is more than the two steps allowed.
    expect(run.step - asked).toBeLessThan(60);
    await ended(await submit({ kind: 'evaluate', dataset: 'stripes', from: null, knn: small.knn, encoder: small.encoder, evalSplit: 'test' }));
  }, 120_000);
});
