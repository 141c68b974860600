/** Whether our ResNets give torchvision's features with torchvision's weights: the largest difference of any. */
import type { Encoder } from '#libs/contracts';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import path from 'node:path';
import { placeInTorchvision } from '../libs/training/src/import/names.js';
import { buildEncoder, encode } from '../libs/training/src/networks/encoder.js';
import { weightsOf } from '../libs/training/src/networks/weights.js';
import { Peer, type BenchOptions } from './peer.js';

const NETWORKS = ['resnet18', 'resnet34', 'resnet50'] as const;
const BAR = 1e-4;

async function differenceOf(peer: Peer, name: (typeof NETWORKS)[number], size: number) {
  const folder = await mkdtemp(path.join(tmpdir(), 'bench-features-'));
  try {
    const { torchvision, shapes } = await peer.request<{ torchvision: string; shapes: Record<string, number[]> }>({
      network: name,
      seed: 0,
      count: 4,
      size,
      folder,
    });
    const read = async (file: string) => {
      const bytes = new Uint8Array(await readFile(path.join(folder, file)));
      return tf.tensor(new Float32Array(bytes.buffer), shapes[file]);
    };
    const spec: Encoder = { name, width: 64, stem: 'imagenet' };
    const encoder = buildEncoder(spec, [size, size, 3]);
    for (const { key, variable } of weightsOf(encoder)) {
      const values = await read(placeInTorchvision(key.slice('encoder/'.length), spec).name);
      variable.assign(values);
      values.dispose();
    }
    const [images, expected] = [await read('images'), await read('features')];
    const found = encode(encoder, images as tf.Tensor4D, false).features;
    const apart = tf.max(tf.abs(tf.sub(found, expected))).dataSync()[0]!;
    const largest = tf.max(tf.abs(expected)).dataSync()[0]!;
    encoder.dispose();
    return { torchvision, apart, largest };
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** @throws Error where a network's features are further apart than `BAR` of the largest of them or 1 */
export async function benchFeatures({ quick }: BenchOptions) {
  await loadTensorFlow({ threads: availableParallelism() });
  const peer = Peer.start('features_peer.py', availableParallelism());
  const cases: Record<string, Awaited<ReturnType<typeof differenceOf>>> = {};
  try {
    for (const name of NETWORKS)
      for (const size of quick ? [64] : [64, 97, 224]) {
        const found = await differenceOf(peer, name, size);
        cases[`${name}, ${size}`] = found;
        console.log(`${name}, ${size} pixels: ${found.apart.toExponential(2)} apart, the largest ${found.largest}`);
        if (!(found.apart <= BAR * Math.max(1, found.largest)))
          throw new Error(
            `expected the features of torchvision to ${BAR} of ${found.largest}, got ${found.apart} apart`,
          );
      }
  } finally {
    peer.stop();
  }
  return { name: 'features', cases };
}
