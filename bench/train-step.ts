/** One training step of SimCLR: encoder, projection head, NT-Xent, gradients, Adam, on the same views in both. */
import { Optimizer } from '#libs/contracts';
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { availableParallelism } from 'node:os';
import { buildEncoder, buildProjectionHead, encode, featureWidth, forward, initialise, weightsOf } from '../libs/training/src/networks.js';
import { ntXent } from '../libs/training/src/objectives.js';
import { createOptimizer } from '../libs/training/src/optimizers.js';
import { loadTensorFlow } from '../libs/training/src/tensorflow.js';
import { median, Peer, type BenchResult } from './peer.js';

const WIDTH = 32;
const BATCH = 256;
const STEPS = 5;

export async function benchTrainStep({ quick }: { quick: boolean }): Promise<BenchResult> {
  const threads = availableParallelism();
  const runtime = await loadTensorFlow({ threads });
  const random = Random.seeded(0, 'bench');
  const encoder = buildEncoder({ name: 'small-resnet', width: WIDTH }, [32, 32, 3]);
  const head = buildProjectionHead(featureWidth(encoder), { layers: 2, hidden: 256, output: 64 });
  initialise([encoder, head], random);
  const weights = weightsOf(encoder, head).filter(({ trainable }) => trainable);
  const optimizer = createOptimizer(Optimizer.parse({ name: 'adam', learningRate: 1e-3 }), weights);
  const variables = weights.map(({ variable }) => variable);
  const views = tf.tensor4d(Float32Array.from({ length: 2 * BATCH * 32 * 32 * 3 }, () => random.uniform()), [2 * BATCH, 32, 32, 3]);
  const ours = (): number => {
    const started = performance.now();
    for (let i = 0; i < STEPS; i++) {
      tf.tidy(() => {
        const { value, grads } = tf.variableGrads(() => ntXent(forward(head, encode(encoder, views, true).features, true), 0.1).loss, variables);
        optimizer.apply(variables.map((variable) => grads[variable.name]!), 1e-3);
        value.dataSync();
      });
    }
    return (performance.now() - started) / STEPS;
  };

  const peer = Peer.start('train_step_peer.py', threads);
  try {
    const { parameters, torch } = await peer.request<{ parameters: number; torch: string }>({ command: 'start', threads, width: WIDTH, batch: BATCH });
    const own = variables.reduce((sum, { size }) => sum + size, 0);
    if (own !== parameters) throw new Error(`expected equal networks, got ${own} parameters here and ${parameters} there`);
    const theirs = async () => (await peer.request<{ ms: number }>({ command: 'steps', steps: STEPS })).ms;
    ours();
    await theirs();
    const rounds: { ours: number[]; peer: number[] } = { ours: [], peer: [] };
    for (let round = 0; round < (quick ? 3 : 10); round++) {
      rounds.ours.push(ours());
      rounds.peer.push(await theirs());
      console.log(`round ${round + 1}: ours ${rounds.ours.at(-1)!.toFixed(0)} ms, PyTorch ${rounds.peer.at(-1)!.toFixed(0)} ms a step`);
    }
    const [a, b] = [median(rounds.ours), median(rounds.peer)];
    return { name: 'train-step', ours: a, peer: b, unit: 'ms per step', ratio: b / a, parameters, batch: BATCH, threads, versions: { tensorflow: runtime.version, torch } };
  } finally {
    peer.stop();
  }
}
