/**
 * The whole way, on real processes: submit → Postgres → BullMQ → worker → trainer → metrics and artifacts → read back.
 */
import { isUsage, USAGE_METRICS, type LoomClient } from '#libs/contracts';
import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { eventually } from '../support/eventually.js';
import { writeImageFolder } from '../support/images.js';
import { startProxy } from '../support/proxy.js';
import { startStack, type Stack } from '../support/stack.js';

let stack: Stack;
let client: LoomClient;

beforeAll(async () => {
  stack = await startStack({ environment: { LOOM_CHECKPOINT_SECONDS: '0.4' } });
  ({ client } = stack);
  await writeImageFolder(path.join(stack.dataRoot, 'stripes'), { classes: 4, perClass: 60 });
  await writeFile(path.join(stack.dataRoot, 'stripes', 'class0', 'damaged.jpg'), 'this is no JPEG');
}, 60_000);

afterEach(() => stack.killWorkers());
afterAll(() => stack?.stop());

const small = { encoder: { width: 4 }, evalSplit: 'test' as const, knn: { k: 5 } };

async function prepared(name: string): Promise<void> {
  if (await client.dataset(name).catch(() => undefined)) return;
  await stack.ended(
    await stack.submit({ kind: 'prepare-dataset', name, path: 'stripes', imageSize: 16, maxCorruptFraction: 0.1 }),
  );
}

test.each([
  ['refuses', 'cut'],
  ['swallows what is sent', 'blackhole'],
] as const)(
  'a worker whose Postgres %s while it leaves ends all the same, and says what it could not write',
  async (_, fault) => {
    const proxy = await startProxy(stack.environment['DATABASE_URL']!);
    const worker = stack.startWorker({ DATABASE_URL: proxy.url, LOOM_NETWORK_TIMEOUT_MS: '1000' });
    try {
      await eventually(() => expect(worker.output()).toContain('worker ready'), { timeoutMs: 30_000 });
      proxy[fault]();
      await worker.kill('SIGTERM');
      expect(worker.child.exitCode, worker.output()).toBe(0);
      for (const state of ['draining', 'stopped'])
        expect(worker.output()).toContain(`the state ${state} could not be recorded`);
    } finally {
      await proxy.close();
    }
  },
  40_000,
);

describe('the main job', () => {
  test('from JPEGs to accuracies, read back through the API', async () => {
    stack.startWorker();
    const preparing = await stack.ended(
      await stack.submit({
        kind: 'prepare-dataset',
        name: 'stripes',
        path: 'stripes',
        imageSize: 16,
        maxCorruptFraction: 0.1,
      }),
    );
    expect(preparing.result?.dataset?.splits.train.count).toBe(192);
    const { items: lines } = await client.logs(preparing.id);
    expect(lines.find(({ level }) => level === 'warn')?.message).toContain('class0/damaged.jpg');

    const pretraining = await stack.submit({
      kind: 'pretrain',
      dataset: 'stripes',
      batchSize: 32,
      epochs: 8,
      schedule: { warmupSteps: 5 },
      ...small,
    });
    const finetuning = await stack.submit({
      kind: 'finetune',
      dataset: 'stripes',
      from: pretraining,
      labelFraction: 0.25,
      batchSize: 16,
      steps: 40,
      evalSplit: 'test',
    });
    const scratch = await stack.submit({
      kind: 'finetune',
      dataset: 'stripes',
      from: null,
      encoder: small.encoder,
      labelFraction: 0.25,
      batchSize: 16,
      steps: 40,
      evalSplit: 'test',
    });
    const evaluating = await stack.submit({
      kind: 'evaluate',
      dataset: 'stripes',
      from: pretraining,
      knn: small.knn,
      evalSplit: 'test',
    });
    const autoencoding = await stack.submit({
      kind: 'autoencode',
      dataset: 'stripes',
      latent: 8,
      batchSize: 32,
      epochs: 3,
      gridImages: 8,
      ...small,
    });

    const results = await Promise.all(
      [pretraining, finetuning, scratch, evaluating, autoencoding].map((id) => stack.ended(id)),
    );
    const [contrastive, tuned, , evaluated, reconstructed] = results.map((run) => run.result!.metrics);
    expect(contrastive!['eval/knn']).toBeGreaterThan(0.4);
    expect(tuned!['eval/accuracy']).toBeGreaterThan(0.4);
    expect(tuned!['data/labels']).toBe(48);
    expect(evaluated!['eval/probe_accuracy']).toBeGreaterThan(0.5);
    expect(reconstructed!['eval/reconstruction_mse']).toBeLessThan(0.1);

    // However short each was.
    for (const run of [preparing, ...results]) {
      const used = await client.metrics(run.id, { key: Object.keys(USAGE_METRICS) });
      const [cpu, memory] = ['cpu_percent', 'memory_mib'].map((key) =>
        used.find((each) => each.key === `system/${key}`),
      );
      expect(memory?.points.length, run.kind).toBeGreaterThan(0);
      for (const { step, value } of memory!.points) {
        expect(value).toBeGreaterThan(40);
        expect(value).toBeLessThan(20_000);
        expect(step).toBeLessThanOrEqual((Date.parse(run.finishedAt!) - Date.parse(run.startedAt!)) / 1000 + 1);
      }
      for (const { value } of cpu?.points ?? []) expect(value).toBeGreaterThanOrEqual(0);
      // It is told of, and nothing is chosen by it.
      expect(Object.keys({ ...run.metrics, ...run.result!.metrics }).filter(isUsage)).toEqual([]);
    }
    const [loss] = await client.metrics(pretraining, { key: ['train/loss'] });
    expect(loss!.points.map(({ step }) => step)).toEqual(Array.from({ length: 48 }, (_, step) => step + 1));
    const { items: files } = await client.artifacts(autoencoding);
    const grid = files.find(({ kind }) => kind === 'image')!;
    const bytes = Buffer.from(await new Response(await client.download(autoencoding, grid.id)).arrayBuffer());
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(grid.sha256);
    expect(await sharp(bytes).metadata()).toMatchObject({ format: 'png', width: 8 * 16, height: 2 * 16 });
  }, 120_000);

  test('a source that makes no dataset fails with what is wrong with it, and the worker goes on', async () => {
    stack.startWorker();
    const data = (name: string) => path.join(stack.dataRoot, name);
    await mkdir(data('empty'), { recursive: true });
    await writeImageFolder(data('single'), { classes: 1, perClass: 3 });
    await writeImageFolder(data('damaged'), { classes: 2, perClass: 4 });
    const whole = await sharp({ create: { width: 64, height: 64, channels: 3, background: 'red' } })
      .jpeg()
      .toBuffer();
    await writeFile(path.join(data('damaged'), 'class0', 'truncated.jpg'), whole.subarray(0, whole.length / 2));
    for (const [source, expected] of [
      ['empty', 'it is empty'],
      ['damaged', 'class0/truncated.jpg'],
      ['absent', 'found nothing'],
    ] as const) {
      const run = await stack.ended(
        await stack.submit({ kind: 'prepare-dataset', name: 'broken', path: source, maxCorruptFraction: 0 }),
        'failed',
      );
      expect(run.statusReason).toBe('invalid_data');
      expect(run.statusDetail).toContain(expected);
      expect(run.attempt).toBe(1);
    }
    const single = await stack.ended(await stack.submit({ kind: 'prepare-dataset', name: 'single', path: 'single' }));
    expect(single.result).toMatchObject({ dataset: { classes: [] } });
    await prepared('stripes');
  }, 90_000);
});
