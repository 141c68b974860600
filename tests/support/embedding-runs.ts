/** Embeddings inside the test's own process: 60 striped images of three classes, and networks as they begin. */
import {
  RunSpec,
  type DatasetManifest,
  type Embed,
  type SampleShape,
  type StopReason,
  type TrainerInputs,
} from '#libs/contracts';
import { NpyWriter, Random } from '#libs/data';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { buildAutoencoder } from '../../libs/training/src/autoencoder.js';
import { initialise } from '../../libs/training/src/networks/weights.js';
import { newEncoder, storeModel } from '../../libs/training/src/run-inputs.js';
import { Stopped, type TrainContext } from '../../libs/training/src/train-context.js';
import { loadTensorFlow } from '#libs/tensorflow';
import { train } from '../../libs/training/src/train.js';

export const [HEIGHT, WIDTH, CHANNELS, COUNT] = [12, 48, 3, 60] as const;
export const classes = ['dark', 'middle', 'bright'];
export const sample: SampleShape = { modality: 'image', height: HEIGHT, width: WIDTH, channels: CHANNELS };
export const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
export const alignTo = '0c2b8d0e-6c0e-4b7e-9d3f-6a4c2e1f7a55';
export let dir: string;
export let inputs: TrainerInputs;

/** Loads TensorFlow and writes the dataset and its parent before the tests of a file, and removes all after them. */
export function useEmbeddingInputs(): void {
  beforeAll(async () => {
    // One thread: with more, sums may be taken in another order.
    await loadTensorFlow({ threads: 1 });
    dir = await mkdtemp(path.join(tmpdir(), 'loom-embed-'));
    const random = Random.seeded(1, 'data');
    const labels = Int32Array.from({ length: COUNT }, (_, i) => i % 3);
    const images = Uint8Array.from({ length: COUNT * HEIGHT * WIDTH * CHANNELS }, (_, i) =>
      Math.max(0, Math.min(255, 50 + 70 * labels[Math.floor(i / (HEIGHT * WIDTH * CHANNELS))]! + random.normal(0, 20))),
    );
    const files = { samples: path.join(dir, 'samples.npy'), labels: path.join(dir, 'labels.npy') };
    for (const [file, type, shape, data] of [
      [files.samples, '|u1', [HEIGHT, WIDTH, CHANNELS], images],
      [files.labels, '<i4', [], labels],
    ] as const) {
      const writer = await NpyWriter.create(file, type, shape);
      await writer.append(data);
      await writer.close();
    }
    const described = { count: COUNT, countPerClass: [20, 20, 20], samples: '0'.repeat(64), labels: '0'.repeat(64) };
    const manifest: DatasetManifest = {
      name: 'tiny',
      digest: 'ab'.repeat(32),
      sample,
      classes,
      splits: { train: described, val: described },
    };
    inputs = {
      dataRoot: dir,
      dataset: { manifest, files: { train: files, val: files } },
      parentModel: await parentModel('encoder'),
    };
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));
}

export const contextIn = (workDir: string, rest: Partial<TrainContext> = {}): TrainContext => ({
  signal: new AbortController().signal,
  workDir,
  checkpointEverySeconds: 1000,
  progress: () => {},
  metrics: () => {},
  log: () => {},
  store: async () => {},
  ...rest,
});

/** A model file as pretraining or autoencoding stores it, of networks as they begin. */
export async function parentModel(kind: 'encoder' | 'autoencoder'): Promise<string> {
  const workDir = await mkdtemp(path.join(dir, 'parent-'));
  const encoder = { name: 'small-resnet', width: 4 } as const;
  if (kind === 'encoder') {
    const model = newEncoder(encoder, sample, 3);
    await storeModel({ kind: 'pretrain', sample, classes, encoder }, [model], contextIn(workDir));
    model.dispose();
  } else {
    const architecture = { encoder, latent: 5, variant: 'variational', domain: 'spectrogram' } as const;
    const { models } = buildAutoencoder(architecture, sample);
    initialise(models, Random.seeded(3));
    await storeModel({ kind: 'autoencode', sample, classes, ...architecture }, models, contextIn(workDir));
    for (const model of models) model.dispose();
  }
  return path.join(workDir, 'model.safetensors');
}

export interface Outcome {
  metrics: Record<string, number>;
  workDir: string;
  stored: Record<string, string>;
  lines: string[];
  steps: number[];
  stopped?: Stopped;
}
type Spec = Partial<Omit<Embed, 'tsne' | 'umap'>> & { tsne?: Partial<Embed['tsne']>; umap?: Partial<Embed['umap']> };
export const spec: Spec = {
  split: 'val',
  maps: ['pca', 'tsne', 'umap'],
  tsne: { iterations: 100, perplexity: 5 },
  umap: { epochs: 30, neighbors: 8 },
};

/** Is told to stop at its `stopAt`-th sign of life. */
export async function run(
  changes: Spec = {},
  more: Partial<TrainerInputs> = {},
  { stopAt, reason = 'cancel' }: { stopAt?: number; reason?: StopReason } = {},
): Promise<Outcome> {
  const workDir = await mkdtemp(path.join(dir, 'run-'));
  const stop = new AbortController();
  const outcome: Outcome = { metrics: {}, workDir, stored: {}, lines: [], steps: [] };
  const context = contextIn(workDir, {
    signal: stop.signal,
    log: (level, message) => outcome.lines.push(`${level}: ${message}`),
    progress: (step) => {
      if (outcome.steps.push(step) === stopAt) stop.abort(reason);
    },
    store: async ({ name, kind }) => {
      outcome.stored[name] = kind;
    },
  });
  try {
    const parsed = RunSpec.parse({ kind: 'embed', dataset: 'tiny', from, ...spec, ...changes }) as Embed;
    outcome.metrics = (await train(parsed, { ...inputs, ...more }, context)).metrics;
  } catch (error) {
    if (!(error instanceof Stopped)) throw error;
    outcome.stopped = error;
  }
  return outcome;
}

interface StoredMap {
  x: number[];
  y: number[];
  parameters: Record<string, unknown>;
  alignment?: { to: string; disparity: number; scale: number };
}
export interface StoredMaps {
  dataset: string;
  rows: number[];
  labels: number[] | null;
  predictions: number[] | null;
  predictedBy: string | null;
  classes: string[];
  dimensions: number;
  atlas: { columns: number; tile: { width: number; height: number }; points: number[] };
  maps: Record<string, StoredMap>;
}
export const fileOf = ({ workDir }: Outcome, name: string) => path.join(workDir, name);
export const mapsOf = async (outcome: Outcome) =>
  JSON.parse(await readFile(fileOf(outcome, 'maps.json'), 'utf8')) as StoredMaps;
