/**
 * One training step of SimCLR and of the image autoencoder: networks, loss, gradients, Adam. Where the peer's network
 * is ours layer by layer, it is given our weights and inputs, and has to find our loss.
 */
import { Optimizer, type Encoder } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { KEEP_MEMORY } from '../apps/worker/src/trainer-process.js';
import { buildAutoencoder } from '../libs/training/src/autoencoder.js';
import { CompiledStep } from '../libs/training/src/compiled-step.js';
import { buildEncoder, encode, featureWidth } from '../libs/training/src/networks/encoder.js';
import { buildProjectionHead } from '../libs/training/src/networks/heads.js';
import { forward, initialise, weightsOf } from '../libs/training/src/networks/weights.js';
import { ntXent } from '../libs/training/src/methods/contrastive-losses.js';
import { meanSquaredError } from '../libs/training/src/objectives.js';
import { createOptimizer } from '../libs/training/src/optimizers.js';
import { median, Peer, type BenchOptions, type BenchResult } from './peer.js';
import { printProfile } from './profile.js';

interface Case {
  kind: 'simclr' | 'autoencoder';
  encoder: Encoder;
  batch: number;
  steps: number;
  /** Of an image; 32 unless it is given. */
  side?: number;
  /** How many images a GPU takes at once; 256 unless it is given. */
  batchOnGpu?: number;
  /** Whether the peer's network is this one to the last zero of its padding. */
  alike?: boolean;
}
interface Measured {
  ours: number;
  /** The fastest of `peers`. */
  peer: number;
  peers: Record<string, number>;
  ratio: number;
  parameters: number;
  batch: number;
}
/** How PyTorch is run: each is a process of its own. */
const PEERS: Record<string, { compiled: boolean; environment: Record<string, string> }> = {
  eager: { compiled: false, environment: {} },
  'eager, memory kept': { compiled: false, environment: KEEP_MEMORY },
  compiled: { compiled: true, environment: {} },
  'compiled, memory kept': { compiled: true, environment: KEEP_MEMORY },
};
const SIDE = 32;
const LATENT = 64;
const CASES: Record<string, Case> = {
  'SimCLR, small network': { kind: 'simclr', encoder: { name: 'small-resnet', width: 32 }, batch: 256, steps: 5 },
  'SimCLR, ResNet-18': { kind: 'simclr', encoder: { name: 'resnet18', width: 64 }, batch: 32, steps: 2 },
  autoencoder: { kind: 'autoencoder', encoder: { name: 'small-resnet', width: 32 }, batch: 256, steps: 4 },
  'SimCLR, ResNet-50 at 224': {
    kind: 'simclr',
    encoder: { name: 'resnet50', width: 64, stem: 'imagenet' },
    batch: 8,
    steps: 1,
    side: 224,
    batchOnGpu: 64,
    alike: true,
  },
  'SimCLR, ViT-small at 224': {
    kind: 'simclr',
    encoder: { name: 'vit-small', width: 64 },
    batch: 8,
    steps: 1,
    side: 224,
    batchOnGpu: 64,
    alike: true,
  },
};
const MAIN = 'SimCLR, small network';
/** A GPU takes as many images of ResNet-18 as a user would give it, and many steps in the time of one. */
const onGpu = (each: Case): Case => ({ ...each, batch: each.batchOnGpu ?? 256, steps: 20 });
/** By how much a loss in another order of sums may be another, in parts of it. */
const LOSS_TOLERANCE = 1e-4;
/** In which both take the memory that they keep, and find their pace. */
const UNCOUNTED_ROUNDS = 3;

export function millisecondsAStep(step: () => void, steps: number): number {
  const started = performance.now();
  for (let i = 0; i < steps; i++) step();
  return (performance.now() - started) / steps;
}

/** One step as a graph, the same operation by operation, and how many parameters it moves. */
export function stepOf(
  { kind, encoder: architecture, batch }: Case,
  side = SIDE,
): {
  step: () => void;
  operations: () => void;
  parameters: number;
  /** What the first step starts from, by name, and its inputs as `x`. */
  start: () => { values: Record<string, tf.Tensor>; loss: number };
  dispose: () => void;
} {
  const random = Random.seeded(0, 'bench');
  const samples = kind === 'simclr' ? 2 * batch : batch;
  const x = tf.tensor4d(
    Float32Array.from({ length: samples * side * side * 3 }, () => random.uniform()),
    [samples, side, side, 3],
  );
  const { models, loss } = kind === 'simclr' ? contrast(architecture, side) : reconstruction(architecture);
  initialise(models, random);
  const weights = weightsOf(...models).filter(({ trainable }) => trainable);
  const variables = weights.map(({ variable }) => variable);
  const optimizer = createOptimizer(Optimizer.parse({ name: 'adam', learningRate: 1e-3 }), weights);
  // As `Session` does it.
  const update = ([images, ...rates]: tf.Tensor[]) => {
    const { value, grads } = tf.variableGrads(() => loss(images as tf.Tensor4D), variables);
    optimizer.apply(
      variables.map((variable) => grads[variable.name]!),
      rates as tf.Scalar[],
    );
    return { loss: value };
  };
  const inputs = () => [x, ...optimizer.rates(1e-3, 0).map((rate) => tf.scalar(rate))];
  const compiled = new CompiledStep(
    update,
    [...weightsOf(...models), ...optimizer.slots()].map(({ variable }) => variable),
  );
  return {
    parameters: variables.reduce((sum, { size }) => sum + size, 0),
    start: () => ({
      values: { x, ...Object.fromEntries(weights.map(({ key, variable }) => [key, variable])) },
      loss: tf.tidy(() => loss(x).dataSync()[0]!),
    }),
    step: () =>
      tf.tidy(() => {
        compiled.run(inputs());
      }),
    operations: () =>
      tf.tidy(() => {
        update(inputs()).loss.dataSync();
      }),
    dispose: () => {
      compiled.dispose();
      optimizer.dispose();
      for (const model of models) model.dispose();
      x.dispose();
    },
  };
}

function contrast(architecture: Encoder, side: number) {
  const encoder = buildEncoder(architecture, [side, side, 3]);
  const head = buildProjectionHead(featureWidth(encoder), { layers: 2, hidden: 256, output: 64 });
  return {
    models: [encoder, head],
    loss: (x: tf.Tensor4D) => ntXent(forward(head, encode(encoder, x, true).features, true), 0.1).loss,
  };
}

function reconstruction(encoder: Encoder) {
  const { models, code, decode } = buildAutoencoder(
    { encoder, latent: LATENT, variant: 'plain', domain: 'spectrogram' },
    { modality: 'image', height: SIDE, width: SIDE, channels: 3 },
  );
  return { models, loss: (x: tf.Tensor4D) => meanSquaredError(decode(code(x, true).mean, true), x) };
}

/** Weights and inputs of ours, each a file of float32 in a folder, and the loss that they give. */
interface Given {
  folder: string;
  shapes: Record<string, number[]>;
  loss: number;
}

async function givenBy({ values, loss }: ReturnType<ReturnType<typeof stepOf>['start']>): Promise<Given> {
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-train-step-'));
  for (const [key, tensor] of Object.entries(values))
    await writeFile(path.join(folder, key.replaceAll('/', '.')), tensor.dataSync());
  const { x: _, ...weights } = values;
  return { folder, shapes: Object.fromEntries(Object.entries(weights).map(([key, { shape }]) => [key, shape])), loss };
}

/** A step of PyTorch on the same network. @throws Error where the networks are of different sizes */
async function startPeer(
  name: string,
  { kind, encoder, batch, steps, side = SIDE }: Case,
  { threads, device, parameters, given }: { threads: number; device: string; parameters: number; given: Given | null },
) {
  const { compiled, environment } = PEERS[name]!;
  const peer = Peer.start('train_step_peer.py', threads, 'requirements.txt', environment);
  const start = await peer.request<{ parameters: number; torch: string; mode: string | null; loss: number }>({
    command: 'start',
    threads,
    device,
    kind,
    encoder: encoder.name,
    width: encoder.width,
    stem: encoder.stem ?? 'small',
    patch: encoder.patch ?? 16,
    side,
    given,
    latent: LATENT,
    batch,
    trial: steps,
    compiled,
  });
  if (parameters !== start.parameters)
    throw new Error(`expected equal networks, got ${parameters} parameters here and ${start.parameters} there`);
  if (given && Math.abs(start.loss - given.loss) > LOSS_TOLERANCE * given.loss)
    throw new Error(`expected equal losses of equal networks, got ${given.loss} here and ${start.loss} there`);
  return { name: start.mode === null ? name : `${name} (${start.mode})`, torch: start.torch, peer };
}

/** Ours and all peers in turns; medians in ms a step. */
async function measure(
  name: string,
  each: Case,
  { threads, device, rounds }: { threads: number; device: string; rounds: number },
  profiledSteps: number,
): Promise<Measured & { torch: string }> {
  const { step, operations, parameters, start, dispose } = stepOf(each, each.side);
  const peers: Awaited<ReturnType<typeof startPeer>>[] = [];
  const given = each.alike ? await givenBy(start()) : null;
  try {
    for (const peer of Object.keys(PEERS))
      peers.push(await startPeer(peer, each, { threads, device, parameters, given }));
    const times: { ours: number[]; peers: number[][] } = { ours: [], peers: peers.map(() => []) };
    for (let round = -UNCOUNTED_ROUNDS; round < rounds; round++) {
      const mine = millisecondsAStep(step, each.steps);
      const theirs: number[] = [];
      for (const { peer } of peers)
        theirs.push((await peer.request<{ ms: number }>({ command: 'steps', steps: each.steps })).ms);
      if (round < 0) continue;
      times.ours.push(mine);
      theirs.forEach((ms, i) => times.peers[i]!.push(ms));
      const words = peers.map((peer, i) => `${peer.name} ${theirs[i]!.toPrecision(3)}`);
      console.log(`${name}, round ${round + 1}, ms a step: ours ${mine.toPrecision(3)}, PyTorch ${words.join(', ')}`);
    }
    const mine = median(times.ours);
    const byPeer = Object.fromEntries(peers.map((peer, i) => [peer.name, median(times.peers[i]!)]));
    const fastest = Math.min(...Object.values(byPeer));
    if (profiledSteps > 0) printProfile(name, operations, profiledSteps);
    const { torch } = peers[0]!;
    return { ours: mine, peer: fastest, peers: byPeer, ratio: fastest / mine, parameters, batch: each.batch, torch };
  } finally {
    for (const { peer } of peers) peer.stop();
    if (given) await rm(given.folder, { recursive: true });
    dispose();
  }
}

export async function benchTrainStep({
  quick,
  profile,
  only,
  rounds = quick ? 3 : 10,
}: BenchOptions): Promise<BenchResult> {
  const threads = availableParallelism();
  const runtime = await loadTensorFlow({ threads });
  const device = runtime.gpu ? 'cuda' : 'cpu';
  const profiledSteps = quick ? 5 : 20;
  const cases: Record<string, Measured> = {};
  let torch = '';
  for (const [name, onCpu] of Object.entries(CASES)) {
    if (only !== undefined && name !== only) continue;
    const each = runtime.gpu ? onGpu(onCpu) : onCpu;
    const measured = await measure(name, each, { threads, device, rounds }, profile ? profiledSteps : 0);
    ({ torch } = measured);
    cases[name] = measured;
  }
  const main = cases[MAIN] ? MAIN : only;
  if (main === undefined || !cases[main])
    throw new Error(`expected --only one of ${Object.keys(CASES).join('; ')}, got ${only}`);
  const { ours, peer, ratio } = cases[main];
  return {
    name: 'train-step',
    ours,
    peer,
    unit: `ms per step, ${main}`,
    ratio,
    cases,
    threads,
    gpu: runtime.gpu,
    versions: { tensorflow: runtime.version, torch },
  };
}
