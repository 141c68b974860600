/**
 * One training step of SimCLR and of the image autoencoder: networks, loss, gradients, Adam, on the same inputs in
 * both.
 */
import { Optimizer, type Encoder } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { availableParallelism, tmpdir } from 'node:os';
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
}
interface Measured {
  ours: number;
  peer: number;
  ratio: number;
  parameters: number;
  batch: number;
}
const SIDE = 32;
const LATENT = 64;
const CASES: Record<string, Case> = {
  'SimCLR, small network': { kind: 'simclr', encoder: { name: 'small-resnet', width: 32 }, batch: 256, steps: 5 },
  'SimCLR, ResNet-18': { kind: 'simclr', encoder: { name: 'resnet18', width: 64 }, batch: 32, steps: 2 },
  autoencoder: { kind: 'autoencoder', encoder: { name: 'small-resnet', width: 32 }, batch: 256, steps: 4 },
};
const MAIN = 'SimCLR, small network';
/** A GPU takes as many images of ResNet-18 as a user would give it, and many steps in the time of one. */
const onGpu = (each: Case): Case => ({ ...each, batch: 256, steps: 20 });
/** In which both take the memory that they keep, and find their pace. */
const UNCOUNTED_ROUNDS = 3;

/** One step as a graph, the same operation by operation, and how many parameters it moves. */
function stepOf({ kind, encoder: architecture, batch }: Case): {
  step: () => void;
  operations: () => void;
  parameters: number;
  dispose: () => void;
} {
  const random = Random.seeded(0, 'bench');
  const samples = kind === 'simclr' ? 2 * batch : batch;
  const x = tf.tensor4d(
    Float32Array.from({ length: samples * SIDE * SIDE * 3 }, () => random.uniform()),
    [samples, SIDE, SIDE, 3],
  );
  const { models, loss } = kind === 'simclr' ? contrast(architecture) : reconstruction(architecture);
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
    tmpdir(),
  );
  return {
    parameters: variables.reduce((sum, { size }) => sum + size, 0),
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

function contrast(architecture: Encoder) {
  const encoder = buildEncoder(architecture, [SIDE, SIDE, 3]);
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

export async function benchTrainStep({ quick, profile }: BenchOptions): Promise<BenchResult> {
  const threads = availableParallelism();
  const runtime = await loadTensorFlow({ threads });
  const cases: Record<string, Measured> = {};
  let torch = '';
  for (const [name, onCpu] of Object.entries(CASES)) {
    const each = runtime.gpu ? onGpu(onCpu) : onCpu;
    const { kind, encoder, batch, steps } = each;
    const { step, operations, parameters, dispose } = stepOf(each);
    const ours = (): number => {
      const started = performance.now();
      for (let i = 0; i < steps; i++) step();
      return (performance.now() - started) / steps;
    };
    const peer = Peer.start('train_step_peer.py', threads);
    try {
      const start = await peer.request<{ parameters: number; torch: string }>({
        command: 'start',
        threads,
        device: runtime.gpu ? 'cuda' : 'cpu',
        kind,
        encoder: encoder.name,
        width: encoder.width,
        latent: LATENT,
        batch,
      });
      ({ torch } = start);
      if (parameters !== start.parameters)
        throw new Error(`expected equal networks, got ${parameters} parameters here and ${start.parameters} there`);
      const theirs = async () => (await peer.request<{ ms: number }>({ command: 'steps', steps })).ms;
      for (let round = 0; round < UNCOUNTED_ROUNDS; round++) {
        ours();
        await theirs();
      }
      const rounds: { ours: number[]; peer: number[] } = { ours: [], peer: [] };
      for (let round = 0; round < (quick ? 3 : 10); round++) {
        rounds.ours.push(ours());
        rounds.peer.push(await theirs());
        console.log(
          `${name}, round ${round + 1}: ours ${rounds.ours.at(-1)!.toPrecision(3)} ms, PyTorch ` +
            `${rounds.peer.at(-1)!.toPrecision(3)} ms a step`,
        );
      }
      const [a, b] = [median(rounds.ours), median(rounds.peer)];
      cases[name] = { ours: a, peer: b, ratio: b / a, parameters, batch };
    } finally {
      peer.stop();
    }
    if (profile) printProfile(name, operations, quick ? 5 : 20);
    dispose();
  }
  const { ours, peer, ratio } = cases[MAIN]!;
  return {
    name: 'train-step',
    ours,
    peer,
    unit: `ms per step, ${MAIN}`,
    ratio,
    cases,
    threads,
    gpu: runtime.gpu,
    versions: { tensorflow: runtime.version, torch },
  };
}
