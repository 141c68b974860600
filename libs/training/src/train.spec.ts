import { RunSpec, type DatasetManifest, type MetricPoint, type StopReason, type TrainerInputs } from '#libs/contracts';
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { readTensors } from './checkpoint.js';
import { Stopped, TrainingError, type TrainContext } from './session.js';
import { loadTensorFlow } from './tensorflow.js';
import { train, type TrainSpec } from './train.js';

const SIZE = 8;
const CLASSES = 3;
let dir: string;
let inputs: TrainerInputs;

/** A .npy file of version 1, written here by the format's description. */
async function npy(file: string, type: '|u1' | '<i4', shape: number[], data: Uint8Array | Int32Array): Promise<string> {
  const text = `{'descr': '${type}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`.padEnd(117) + '\n';
  const length = Buffer.alloc(2);
  length.writeUInt16LE(text.length);
  await writeFile(file, Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, Buffer.from(text, 'latin1'), new Uint8Array(data.buffer)]));
  return file;
}

beforeAll(async () => {
  // One thread: with more, sums may be taken in another order.
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-train-'));
  const random = Random.seeded(1, 'data');
  const files: TrainerInputs['dataset'] = { manifest: undefined as unknown as DatasetManifest, files: {} };
  const splits: Record<string, object> = {};
  for (const [split, count] of [['train', 96], ['val', 30]] as const) {
    const labels = Int32Array.from({ length: count }, (_, i) => i % CLASSES);
    const images = Uint8Array.from({ length: count * SIZE * SIZE * 3 }, (_, i) => {
      const label = labels[Math.floor(i / (SIZE * SIZE * 3))]!;
      return Math.min(255, Math.max(0, (i % 3 === label ? 180 : 60) + random.normal(0, 30)));
    });
    files.files[split] = {
      images: await npy(path.join(dir, `${split}-images.npy`), '|u1', [count, SIZE, SIZE, 3], images), labels: await npy(path.join(dir, `${split}-labels.npy`), '<i4', [count], labels),
    };
    splits[split] = { count, countPerClass: Array<number>(CLASSES).fill(count / CLASSES), images: '0'.repeat(64), labels: '0'.repeat(64) };
  }
  files.manifest = { name: 'tiny', digest: '0'.repeat(64), imageSize: SIZE, channels: 3, classes: ['r', 'g', 'b'], splits } as DatasetManifest;
  inputs = { dataRoot: dir, dataset: files };
});
afterAll(() => rm(dir, { recursive: true, force: true }));

interface Outcome { metrics: Record<string, number>; points: MetricPoint[]; files: Map<string, string>; stopped?: Stopped }

/** Trains, is told to stop before `stopAt` + 1, and keeps every file that was stored. */
async function run(spec: z.input<typeof RunSpec>, options: { stopAt?: number; reason?: StopReason; checkpoint?: string; parentModel?: string } = {}): Promise<Outcome> {
  const workDir = await mkdtemp(path.join(dir, 'run-'));
  const stop = new AbortController();
  const points: MetricPoint[] = [];
  const files = new Map<string, string>();
  const context: TrainContext = {
    signal: stop.signal, workDir, checkpointEverySeconds: 1000,
    progress: (step) => { if (step === options.stopAt) stop.abort(options.reason ?? 'drain'); },
    metrics: (more) => points.push(...more), log: () => {},
    store: async ({ name, kind, path: file }) => {
      const kept = path.join(dir, `${path.basename(workDir)}-${name}`);
      await copyFile(file, kept);
      files.set(kind, kept);
    },
  };
  try {
    const { metrics } = await train(RunSpec.parse(spec) as TrainSpec, { ...inputs, ...(options.checkpoint && { checkpoint: options.checkpoint }), ...(options.parentModel && { parentModel: options.parentModel }) }, context);
    return { metrics, points, files };
  } catch (error) {
    if (error instanceof Stopped) return { metrics: {}, points, files, stopped: error };
    throw error;
  }
}

const without = (metrics: Record<string, number>, name: string) => Object.fromEntries(Object.entries(metrics).filter(([key]) => key !== name));

const small = { encoder: { width: 4 }, knn: { k: 3 } };
const specs: Record<string, z.input<typeof RunSpec>> = {
  pretrain: { kind: 'pretrain', dataset: 'tiny', batchSize: 19, epochs: 4, schedule: { warmupSteps: 3 }, projection: { hidden: 8, output: 8 }, ...small },
  finetune: { kind: 'finetune', dataset: 'tiny', from: null, encoder: { width: 4 }, batchSize: 9, steps: 20 },
  autoencode: { kind: 'autoencode', dataset: 'tiny', latent: 4, batchSize: 19, epochs: 4, ...small },
};

describe.each(Object.keys(specs))('%s', (kind) => {
  const spec = specs[kind]!;

  // Protects exact resume: losing a worker must not change what a run learns.
  test('20 steps, stopped at 11 and resumed, end in the very weights and curves of a run that was never stopped', async () => {
    const whole = await run(spec);
    const first = await run(spec, { stopAt: 11 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 11 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    const [expected, found] = [await readTensors(whole.files.get('model')!), await readTensors(second.files.get('model')!)];
    expect([...found.tensors.keys()]).toEqual([...expected.tensors.keys()]);
    for (const [key, { values }] of expected.tensors) expect(found.tensors.get(key)!.values, key).toEqual(values);
    const curves = (outcomes: Outcome[]) => outcomes.flatMap(({ points }) => points.filter(({ key }) => key !== 'train/images_per_second'));
    expect(curves([first, second])).toEqual(curves([whole]));
    expect(curves([whole]).filter(({ key }) => key === 'train/loss').map(({ step }) => step)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  }, 60_000);

  test('an evaluation that a stop breaks off is made up for after the resume', async () => {
    const whole = await run(spec);
    const first = await run(spec, { stopAt: 20 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 20 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(without(second.metrics, 'train/images_per_second')).toEqual(without(whole.metrics, 'train/images_per_second'));
    expect(Object.keys(whole.metrics)).toEqual(expect.arrayContaining(['train/loss', 'train/learning_rate', 'train/images_per_second']));
  }, 60_000);

  test('a cancel stops within two steps and writes no checkpoint', async () => {
    const { stopped, files } = await run(spec, { stopAt: 5, reason: 'cancel' });
    expect(stopped!.step).toBeLessThanOrEqual(7);
    expect(files.size).toBe(0);
  });

  test('a run leaves no tensor behind', async () => {
    await run(spec, { stopAt: 2, reason: 'cancel' });
    const before = tf.memory().numTensors;
    await run(spec, { stopAt: 6, reason: 'cancel' });
    expect(tf.memory().numTensors).toBe(before);
  });
});

test('a loss that is no number ends the run and says where', async () => {
  const failure = await run({ ...specs['finetune'], optimizer: { name: 'lars', learningRate: 100, trustCoefficient: 1, momentum: 0.99 }, steps: 400 } as z.input<typeof RunSpec>).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(TrainingError);
  expect(failure).toMatchObject({ reason: 'nan_loss', message: expect.stringMatching(/at step \d+, got (NaN|Infinity)/) as string });
}, 60_000);

test('a finetuning starts from its parent\'s encoder, and an evaluation leaves it as it is', async () => {
  const parent = await run(specs['pretrain']!);
  const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
  const parentModel = parent.files.get('model')!;
  const tuned = await run({ kind: 'finetune', dataset: 'tiny', from, batchSize: 9, steps: 60, labelFraction: 0.5 }, { parentModel });
  expect(tuned.metrics['eval/accuracy']).toBeGreaterThan(0.8);
  expect(tuned.metrics['data/labels']).toBe(48);
  const evaluated = await run({ kind: 'evaluate', dataset: 'tiny', from, knn: { k: 3 } }, { parentModel });
  expect(evaluated.metrics['eval/knn']).toBe(parent.metrics['eval/knn']);
  // Chance is a third.
  expect(evaluated.metrics['eval/probe_accuracy']).toBeGreaterThan(0.6);
}, 60_000);
