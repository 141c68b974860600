/** Runs of every kind of training inside the test's own process: tiny networks on tiny images. */
import { RunSpec, type DatasetManifest, type MetricPoint, type StopReason, type TrainerInputs } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import { Stopped, train, type TrainContext } from '#libs/training';
import { copyFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect } from 'vitest';
import type { z } from 'zod';
import { readTensors } from '../../libs/training/src/checkpoint.js';
import { npy } from './npy.js';

type TrainSpec = Parameters<typeof train>[0];

export const SIZE = 8;
export const CLASSES = 3;
let dir: string;
/** The dataset `tiny`: 96 images to train on and 30 to validate with, each class bright in a channel of its own. */
export let inputs: TrainerInputs;

/** Loads TensorFlow and writes the dataset `tiny` before the tests of a file, and removes what they left after them. */
export function useTinyDataset(): void {
  beforeAll(async () => {
    // One thread: with more, sums may be taken in another order.
    await loadTensorFlow({ threads: 1 });
    dir = await mkdtemp(path.join(tmpdir(), 'loom-train-'));
    const random = Random.seeded(1, 'data');
    const files: TrainerInputs['dataset'] = { manifest: undefined as unknown as DatasetManifest, files: {} };
    const splits: Record<string, object> = {};
    for (const [split, count] of [
      ['train', 96],
      ['val', 30],
    ] as const) {
      const labels = Int32Array.from({ length: count }, (_, i) => i % CLASSES);
      const images = Uint8Array.from({ length: count * SIZE * SIZE * 3 }, (_, i) => {
        const label = labels[Math.floor(i / (SIZE * SIZE * 3))]!;
        return Math.min(255, Math.max(0, (i % 3 === label ? 180 : 60) + random.normal(0, 30)));
      });
      files.files[split] = {
        samples: await npy(path.join(dir, `${split}-images.npy`), [count, SIZE, SIZE, 3], images),
        labels: await npy(path.join(dir, `${split}-labels.npy`), [count], labels),
      };
      splits[split] = {
        count,
        countPerClass: Array<number>(CLASSES).fill(count / CLASSES),
        samples: '0'.repeat(64),
        labels: '0'.repeat(64),
      };
    }
    files.manifest = {
      name: 'tiny',
      digest: '0'.repeat(64),
      sample: { modality: 'image', height: SIZE, width: SIZE, channels: 3 },
      classes: ['r', 'g', 'b'],
      splits,
    } as DatasetManifest;
    inputs = { dataRoot: dir, dataset: files };
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
}

export interface Outcome {
  metrics: Record<string, number>;
  points: MetricPoint[];
  /** The last file of each kind. */
  files: Map<string, string>;
  /** Files by their names. */
  all: Map<string, string>;
  /** What is said of each file, by its name. */
  described: Map<string, { kind: string; mime: string }>;
  /** Names of files in the order in which they were stored. */
  stored: string[];
  lines: string[];
  stopped?: Stopped;
}
export interface Options {
  stopAt?: number;
  sign?: number;
  reason?: StopReason;
  checkpoint?: string;
  parentModel?: string;
  parentCheckpoint?: string;
  checkpointEverySeconds?: number;
  rung?: number;
  overlaps?: boolean;
}

/** The points of a run, of its parts one after the other, but for those that say how fast it was. */
export const curvesOf = (...outcomes: Outcome[]): MetricPoint[] =>
  outcomes.flatMap(({ points }) => points.filter(({ key }) => key !== 'train/images_per_second'));

/** Two runs have ended in the very weights, bit for bit. */
export async function expectSameModel(found: Outcome, expected: Outcome): Promise<void> {
  const [{ tensors }, { tensors: whole }] = [
    await readTensors(found.all.get('model.safetensors')!),
    await readTensors(expected.all.get('model.safetensors')!),
  ];
  expect([...tensors.keys()]).toEqual([...whole.keys()]);
  for (const [key, { values }] of whole) expect(tensors.get(key)!.values, key).toEqual(values);
}

/** A run on the dataset `tiny`. */
export const run = (spec: z.input<typeof RunSpec>, options?: Options): Promise<Outcome> =>
  trained(inputs, spec, options);

/**
 * Trains on a dataset, is told to stop by the `sign`-th sign of life of step `stopAt`, and keeps the files that were
 * stored, the last of each kind and each by its name, under the data root.
 */
export async function trained(
  given: TrainerInputs,
  spec: z.input<typeof RunSpec>,
  options: Options = {},
): Promise<Outcome> {
  const workDir = await mkdtemp(path.join(given.dataRoot, 'run-'));
  const stop = new AbortController();
  const points: MetricPoint[] = [];
  const files = new Map<string, string>();
  const all = new Map<string, string>();
  const described: Outcome['described'] = new Map();
  const stored: string[] = [];
  const lines: string[] = [];
  let signs = 0;
  const context: TrainContext = {
    signal: stop.signal,
    workDir,
    checkpointEverySeconds: options.checkpointEverySeconds ?? 1000,
    stopAtStep: options.rung ?? null,
    overlapsEvaluation: options.overlaps ?? false,
    progress: (step) => {
      if (step === options.stopAt && ++signs === (options.sign ?? 1)) stop.abort(options.reason ?? 'drain');
    },
    metrics: (more) => points.push(...more),
    log: (level, message) => lines.push(`${level}: ${message}`),
    store: async ({ name, kind, mime, path: file }) => {
      stored.push(name);
      const kept = path.join(given.dataRoot, `${path.basename(workDir)}-${name}`);
      await copyFile(file, kept);
      files.set(kind, kept);
      all.set(name, kept);
      described.set(name, { kind, mime });
    },
  };
  const outcome = { metrics: {}, points, files, all, described, stored, lines };
  try {
    const { metrics } = await train(
      RunSpec.parse(spec) as TrainSpec,
      {
        ...given,
        ...(options.checkpoint && { checkpoint: options.checkpoint }),
        ...(options.parentModel && { parentModel: options.parentModel }),
        ...(options.parentCheckpoint && { parentCheckpoint: options.parentCheckpoint }),
      },
      context,
    );
    return { ...outcome, metrics };
  } catch (error) {
    if (error instanceof Stopped) return { ...outcome, stopped: error };
    throw error;
  }
}

/** Metrics but for one. */
export const without = (metrics: Record<string, number>, name: string) =>
  Object.fromEntries(Object.entries(metrics).filter(([key]) => key !== name));

/** The smallest network, and an evaluation that takes no time. */
export const small = { encoder: { width: 4 }, knn: { k: 3 } };
/** Specs of 20 steps each, of every kind of training. */
export const specs: Record<string, z.input<typeof RunSpec>> = {
  pretrain: {
    kind: 'pretrain',
    dataset: 'tiny',
    batchSize: 19,
    epochs: 4,
    schedule: { warmupSteps: 3 },
    projection: { hidden: 8, output: 8 },
    ...small,
  },
  finetune: { kind: 'finetune', dataset: 'tiny', from: null, encoder: { width: 4 }, batchSize: 9, steps: 20 },
  autoencode: { kind: 'autoencode', dataset: 'tiny', latent: 4, batchSize: 19, epochs: 4, ...small },
  ...Object.fromEntries(
    (['byol', 'simsiam', 'barlow-twins', 'vicreg'] as const).map((method) => [
      method,
      {
        kind: 'pretrain',
        method,
        dataset: 'tiny',
        batchSize: 19,
        epochs: 4,
        predictorHidden: 8,
        projection: { hidden: 8, output: 8 },
        schedule: { warmupSteps: 3 },
        ...small,
      },
    ]),
  ),
  'finetune from the middle of a head': {
    kind: 'finetune',
    dataset: 'tiny',
    from: null,
    encoder: { width: 4 },
    projection: { layers: 3, hidden: 8, output: 8 },
    fromHeadLayer: 1,
    batchSize: 9,
    steps: 20,
  },
  'denoising autoencoder': {
    kind: 'autoencode',
    variant: 'denoising',
    dataset: 'tiny',
    latent: 4,
    batchSize: 19,
    epochs: 4,
    ...small,
  },
  'variational autoencoder': {
    kind: 'autoencode',
    variant: 'variational',
    klWarmupSteps: 10,
    dataset: 'tiny',
    latent: 4,
    batchSize: 19,
    epochs: 4,
    ...small,
  },
};
