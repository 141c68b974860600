/** The estimate of a run's memory against what its trainer, a process of its own, takes at its peak. */
import {
  encoderModelOf,
  neededMiB,
  RunSpec,
  type ModelManifest,
  type TrainerCommand,
  type TrainerInputs,
  type TrainerMessage,
} from '#libs/contracts';
import { lackOfBfloat16, loadTensorFlow, processor } from '#libs/tensorflow';
import { Random } from '#libs/data';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { KEEP_MEMORY } from '../../apps/worker/src/trainer-process.js';
import { kerasModel, writeModel } from '../support/layers-models.js';
import { npy } from '../support/npy.js';

const TRAINER = path.resolve('dist/apps/worker/src/trainer.js');
const JUDGED = 64;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'loom-memory-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

/** Images of two batches to learn from, and few to be judged by. */
async function images(size: number, batch: number): Promise<TrainerInputs> {
  const random = Random.seeded(1, 'data');
  const [files, splits]: [Record<string, object>, Record<string, object>] = [{}, {}];
  for (const [split, count] of Object.entries({ train: Math.max(4, 2 * batch), val: JUDGED })) {
    const file = (name: string) => path.join(dir, `${split}-${name}.npy`);
    files[split] = {
      samples: await npy(
        file('images'),
        [count, size, size, 3],
        Uint8Array.from({ length: count * size * size * 3 }, () => random.integer(0, 256)),
      ),
      labels: await npy(
        file('labels'),
        [count],
        Int32Array.from({ length: count }, (_, i) => i % 4),
      ),
    };
    const [samples, labels] = ['0'.repeat(64), '0'.repeat(64)];
    splits[split] = { count, countPerClass: [count / 4, count / 4, count / 4, count / 4], samples, labels };
  }
  const sample = { modality: 'image', height: size, width: size, channels: 3 };
  const manifest = { name: 'x', digest: '0'.repeat(64), sample, classes: ['a', 'b', 'c', 'd'], splits };
  return { dataRoot: dir, dataset: { manifest, files } } as unknown as TrainerInputs;
}

/** The most memory that the kernel has seen of a process, MiB; 0 of one that has gone. */
async function peakOf(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}

/** Trains in a process of its own. Returns its peak in MiB, what it says at its end, and its files by name. */
async function trained(spec: RunSpec, inputs: TrainerInputs) {
  const trainer = fork(TRAINER, {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    env: { ...process.env, ...KEEP_MEMORY, LOOM_TRAINER_THREADS: '2' },
  });
  const tell = (command: TrainerCommand) => trainer.send(command);
  const files = new Map<string, string>();
  let last: TrainerMessage | undefined;
  let peak = 0;
  const look = async () => (peak = Math.max(peak, await peakOf(trainer.pid!)));
  trainer.on('message', (message: TrainerMessage) => {
    void look();
    last = message;
    const limits = { checkpointEverySeconds: 1e6, stopAtStep: null, overlapsEvaluation: false };
    if (message.type === 'ready') tell({ type: 'start', spec, inputs, workDir: dir, ...limits });
    if (message.type === 'artifact') {
      const { id } = message;
      files.set(message.name, message.path);
      void look().then(() => tell({ type: 'stored', id }));
    }
  });
  const looking = setInterval(() => void look(), 20);
  await once(trainer, 'exit');
  clearInterval(looking);
  return { peak, last, files };
}

/** What is known of a model of one's own, which a run has taken in. */
async function ownModel(inputs: TrainerInputs): Promise<{ file: string; manifest: ModelManifest }> {
  await writeModel(kerasModel(null), path.join(dir, 'keras'));
  const spec = RunSpec.parse({ kind: 'import-model', name: 'own', path: 'keras/model.json' });
  const { last, files } = await trained(spec, inputs);
  if (last?.type !== 'succeeded') throw new Error(`expected a model that is taken in, got ${JSON.stringify(last)}`);
  const file = path.join(dir, 'own.safetensors');
  await copyFile([...files.values()][0]!, file);
  return { file, manifest: last.result.model! };
}

const evaluation = { evalSplit: 'val' as const, knn: { k: 5, bankSize: JUDGED } };
const pretrain = { kind: 'pretrain' as const, dataset: 'x', epochs: 1, probe: { maxIterations: 1 }, ...evaluation };
const autoencode = { kind: 'autoencode' as const, dataset: 'x', epochs: 1, ...evaluation };
const sized = (size: number) => [{ augmentation: { crop: {}, flip: {}, colorJitter: {} }, count: 2, size }];
const small = { augmentation: { crop: {} }, count: 4, size: 16 };
const few = { ...pretrain, batchSize: 4 };
const some = { ...pretrain, batchSize: 64 };
const wide = { width: 32 };
const narrow = { width: 8 };

const cases: [string, number, z.input<typeof RunSpec>][] = [
  ['hardly anything', 16, { ...few, encoder: { width: 4 } }],
  ['layers of a model', 32, { ...pretrain, batchSize: 256, encoder: { model: 'own', features: 'pool' } }],
  ['SimCLR', 32, { ...pretrain, batchSize: 256, encoder: wide }],
  ['SimCLR on larger images', 96, { ...some, encoder: wide }],
  ['SimCLR in a large batch', 8, { ...pretrain, batchSize: 1024, encoder: narrow }],
  ['SimCLR on views of larger pictures', 256, { ...some, encoder: narrow, views: sized(32) }],
  ['SimCLR on views larger than their pictures', 32, { ...some, encoder: { width: 16 }, views: sized(96) }],
  ['BYOL with LARS', 32, { ...pretrain, method: 'byol', batchSize: 128, encoder: wide, optimizer: { name: 'lars' } }],
  ['DCL in a large batch', 8, { ...pretrain, method: 'dcl', batchSize: 1024, encoder: narrow }],
  ['SupCon in a large batch', 8, { ...pretrain, method: 'supcon', batchSize: 1024, encoder: narrow }],
  ['MoCo v2 with a long queue', 16, { ...some, method: 'moco-v2', encoder: narrow, queueSize: 65_536 }],
  ['NNCLR with a long queue', 16, { ...some, method: 'nnclr', encoder: narrow, queueSize: 65_536 }],
  ['MoCo v3 in a large batch', 8, { ...pretrain, method: 'moco-v3', batchSize: 1024, encoder: narrow }],
  [
    'VICReg with a wide head',
    16,
    { ...some, method: 'vicreg', encoder: narrow, projection: { layers: 3, hidden: 1024, output: 2048 } },
  ],
  [
    'Barlow Twins with a wide head',
    16,
    { ...some, method: 'barlow-twins', encoder: narrow, projection: { layers: 3, hidden: 1024, output: 2048 } },
  ],
  [
    'SwAV with small views and many prototypes',
    32,
    { ...some, method: 'swav', prototypes: 3000, queueSize: 512, encoder: wide, views: [...sized(32), small] },
  ],
  ['DINO with small views', 32, { ...some, method: 'dino', encoder: wide, views: [...sized(32), small] }],
  [
    'EMP-SSL of many patches, and a wide head',
    32,
    {
      ...pretrain,
      method: 'emp-ssl',
      batchSize: 32,
      encoder: wide,
      projection: { layers: 2, hidden: 256, output: 512 },
      views: [{ augmentation: { crop: {} }, count: 6 }],
    },
  ],
  ['a ResNet-18', 32, { ...pretrain, batchSize: 32, encoder: { name: 'resnet18', width: 32 } }],
  ['a ResNet-50 of many weights', 16, { ...few, encoder: { name: 'resnet50', width: 32 } }],
  [
    'SGD that is clipped, of many weights',
    16,
    { ...few, encoder: { name: 'resnet50', width: 32 }, optimizer: { name: 'sgd', clipNorm: 1 } },
  ],
  ['averages of many weights', 16, { ...few, encoder: { name: 'resnet50', width: 32 }, ema: { decay: 0.9 } }],
  ['a transformer', 32, { ...some, encoder: { name: 'vit-tiny', width: 16, patch: 4 } }],
  ['a transformer in a small batch', 32, { ...few, encoder: { name: 'vit-tiny', width: 16, patch: 4 } }],
  [
    'a transformer of many tokens, and the mean over them',
    64,
    { ...few, encoder: { name: 'vit-tiny', width: 16, patch: 4, pooling: 'mean' } },
  ],
  ['a transformer of many weights', 16, { ...few, encoder: { name: 'vit-small', width: 64, patch: 8 } }],
  [
    'a masked autoencoder',
    32,
    {
      ...autoencode,
      variant: 'masked',
      encoder: { name: 'vit-tiny', width: 32, patch: 4 },
      masking: { blocks: 2 },
      batchSize: 64,
    },
  ],
  ['an autoencoder', 32, { ...autoencode, encoder: wide, batchSize: 256 }],
  ['a finetuning', 32, { kind: 'finetune', dataset: 'x', from: null, encoder: wide, batchSize: 256, steps: 2 }],
];

/** Checks that the estimate is at least what a run takes, and at most twice as much. */
async function expectNear(name: string, size: number, given: z.input<typeof RunSpec>) {
  const spec = RunSpec.parse(given);
  const batch = 'batchSize' in spec ? spec.batchSize : 0;
  const inputs = await images(size, batch);
  const own = encoderModelOf(spec) === undefined ? undefined : await ownModel(inputs);
  const { peak, last } = await trained(spec, { ...inputs, ...(own && { encoderModel: own.file }) });
  expect(last, name).toMatchObject({ type: 'succeeded' });
  const { sample, splits } = inputs.dataset!.manifest;
  const inherited = own && ({ ...own.manifest.encoder, features: 'pool', made: own.manifest } as never);
  const needed = neededMiB(spec, { sample, inherited, trainCount: splits.train.count, host: true })!;
  const said = `${name}: ${needed} MiB estimated, ${peak.toFixed(0)} at the peak`;
  expect(needed / peak, said).toBeGreaterThan(1);
  expect(needed / peak, said).toBeLessThan(2);
}

describe.runIf(process.platform === 'linux')('a trainer', () => {
  test.each(cases)(
    'that learns %s takes at most what is estimated, and at least half of it',
    (name, size, given) => expectNear(name, size, given),
    120_000,
  );

  test('in bfloat16 takes at most what is estimated', async ({ skip }) => {
    await loadTensorFlow({ threads: 1 });
    const lack = lackOfBfloat16(processor());
    skip(lack !== undefined, lack);
    const spec = { ...pretrain, batchSize: 256, encoder: wide, precision: 'bfloat16' as const };
    await expectNear('bfloat16', 32, spec);
  }, 120_000);
});
