/** Vision transformers with timm's weights, against timm 1.0.31 on torch 2.15.0 in double precision. */
import { InvalidDataError } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import type { ImportModel } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { drawnNumbers, drawnTransformer, writeTensorsTo, type Tensor } from '../../../../tests/support/safetensors.js';
import { encode } from '../networks/encoder.js';
import { weightsOf } from '../networks/weights.js';
import { crossEntropy } from '../objectives.js';
import { placeInTimm } from './names.js';
import { SafetensorsFile } from './safetensors.js';
import { encoderFrom } from './weights.js';

let dir: string;
beforeAll(async () => {
  await loadTensorFlow({ threads: 1 });
  dir = await mkdtemp(path.join(tmpdir(), 'loom-transformers-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

type As = Pick<ImportModel, 'as' | 'normalisation'>;
async function given(tensors: ReadonlyMap<string, Tensor>, as: As) {
  const file = await writeTensorsTo(path.join(dir, 'w.safetensors'), tensors);
  const opened = await SafetensorsFile.open(file, 'w.safetensors');
  try {
    return await encoderFrom(opened, { path: 'w.safetensors', ...as });
  } finally {
    await opened.close();
  }
}
const imagesOf = (count: number, side: number): tf.Tensor4D =>
  tf.tensor4d(drawnNumbers(count * side * side * 3, 1000), [count, side, side, 3]);

// Features 0, d/4, d/2 and 3d/4 of each of two images, and the sum of all.
test.each<['vit-small' | 'vit-tiny', object, number, object, number[][], number]>([
  [
    'vit-small',
    { width: 384, patch: 16, squares: 4, pooling: 'class' },
    32,
    { width: 64, patch: 16, pooling: 'class' },
    [
      [0.354586, 0.399777, 0.730256, -0.766147],
      [1.119789, -3.137309, 0.327023, -0.215654],
    ],
    -4.85990351,
  ],
  [
    'vit-tiny',
    { width: 192, patch: 8, squares: 9, pooling: 'mean' },
    24,
    { width: 64, patch: 8, pooling: 'mean' },
    [
      [-0.249614, -0.045285, 0.467867, 0.971921],
      [-0.418238, 0.044938, 0.86244, 0.27408],
    ],
    -4.9876511,
  ],
])('features of %s with %o are those of timm', async (as, shape, side, architecture, expected, sum) => {
  const found = await given(drawnTransformer(shape as Parameters<typeof drawnTransformer>[0]), { as });
  expect(found).toMatchObject({
    architecture: { name: as, positions: 'learnt', normalisation: { mean: [0.485, 0.456, 0.406] }, ...architecture },
    sample: { modality: 'image', height: side, width: side, channels: 3 },
    beside: [],
  });
  const features = tf.tidy(() => encode(found.encoder, imagesOf(2, side), false).features.arraySync());
  features.forEach((row, i) =>
    expected[i]!.forEach((value, c) => expect(Math.abs(row[(c * row.length) / 4]! - value)).toBeLessThan(1e-4)),
  );
  expect(Math.abs(features.flat().reduce((a, b) => a + b) - sum)).toBeLessThan(2e-3);
  found.encoder.dispose();
});

/** Of each gradient its norm, and its sum weighed by 1/n, 2/n, …, n/n in the order in which timm's weight lies. */
const GRADIENTS: readonly [name: string, norm: number, weighed: number][] = [
  ['cls_token', 1.98764427, 0.587935412],
  ['pos_embed', 2.12731478, 0.0634770237],
  ['patch_embed.proj.weight', 7.50520925, -1.46343981],
  ['patch_embed.proj.bias', 0.783877509, -0.270550293],
  ['blocks.0.norm1.weight', 1.52774994, 0.864876212],
  ['blocks.0.norm1.bias', 1.76949125, -0.134366827],
  ['blocks.0.attn.qkv.weight', 3.1441207, -0.302975869],
  ['blocks.0.attn.qkv.bias', 1.43586603, 1.21975405],
  ['blocks.0.attn.proj.weight', 2.00057019, -0.0878454634],
  ['blocks.0.attn.proj.bias', 0.936160825, 0.000883977225],
  ['blocks.0.norm2.weight', 0.85394991, -0.485819741],
  ['blocks.0.norm2.bias', 1.09153928, 0.194130016],
  ['blocks.0.mlp.fc1.weight', 1.87728559, 0.0684803321],
  ['blocks.0.mlp.fc1.bias', 0.691856387, -0.154193172],
  ['blocks.0.mlp.fc2.weight', 4.10752694, -2.07258803],
  ['blocks.0.mlp.fc2.bias', 0.753783738, -0.119541885],
  ['blocks.11.attn.qkv.weight', 0.389770014, -0.000681392092],
  ['blocks.11.mlp.fc2.weight', 0.487191761, 0.718124885],
  ['norm.weight', 0.963736699, 1.11128264],
  ['norm.bias', 0.292562492, -0.16655405],
];

test('a step has torch’s loss and gradients, and the loss after it', async () => {
  const tensors = drawnTransformer({ width: 12, patch: 4, squares: 4, pooling: 'class', classes: 3 });
  const { encoder, beside } = await given(tensors, { as: 'vit-tiny' });
  expect(beside).toEqual(['head.weight', 'head.bias']);
  const [weight, bias] = beside.map((name) => {
    const { bytes, shape } = tensors.get(name)!;
    return tf.tensor(new Float32Array(bytes.buffer as ArrayBuffer), shape as [number]);
  }) as [tf.Tensor2D, tf.Tensor1D];
  const [x, labels] = [imagesOf(4, 8), tf.tensor1d([0, 1, 2, 1], 'int32')];
  const loss = (): tf.Scalar =>
    crossEntropy(tf.add(tf.matMul(encode(encoder, x, true).features, weight, false, true), bias), labels);
  const learnt = weightsOf(encoder).filter(({ trainable }) => trainable);
  const before = tf.memory().numTensors;
  tf.tidy(() => {
    const { value, grads } = tf.variableGrads(
      loss,
      learnt.map(({ variable }) => variable),
    );
    expect(Math.abs(value.dataSync()[0]! - 2.1981308943701836)).toBeLessThan(2e-5);
    const found = new Map(
      learnt.map(({ key, variable }) => {
        const place = placeInTimm(key.slice('encoder/'.length), 'norm');
        const gradient = grads[variable.name]!;
        // Turned there and back: [out, in] of [in, out].
        const turned = gradient.rank === 4 ? tf.transpose(gradient, [3, 2, 0, 1]) : tf.transpose(gradient);
        return [place.name, [...(key.endsWith('/kernel') ? turned : gradient).dataSync()]] as const;
      }),
    );
    for (const [name, norm, weighed] of GRADIENTS) {
      const values = found.get(name)!;
      const largest = Math.max(1, norm);
      const sum = values.reduce((total, each, i) => total + (each * (i + 1)) / values.length, 0);
      expect(Math.abs(Math.hypot(...values) - norm), name).toBeLessThan(2e-5 * largest);
      expect(Math.abs(sum - weighed), name).toBeLessThan(2e-5 * largest);
    }
    for (const { variable } of learnt) variable.assign(tf.sub(variable, tf.mul(grads[variable.name]!, 0.05)));
    expect(Math.abs(loss().dataSync()[0]! - 1.4364534670494182)).toBeLessThan(2e-5);
  });
  expect(tf.memory().numTensors).toBe(before);
  encoder.dispose();
  tf.dispose([weight, bias, x, labels]);
});

describe('what does not fit is named', () => {
  const changed = (change: (tensors: Map<string, Tensor>) => void): Map<string, Tensor> => {
    const tensors = drawnTransformer({ width: 12, patch: 4, squares: 4, pooling: 'class' });
    change(tensors);
    return tensors;
  };
  const value = { dtype: 'F32', shape: [12], bytes: new Uint8Array(48) };
  test.each<[string, (tensors: Map<string, Tensor>) => void, As, RegExp]>([
    [
      'missing, left over and of another shape',
      (tensors) => {
        tensors.delete('blocks.3.norm2.bias');
        tensors.set('blocks.0.ls1.gamma', value);
        tensors.set('norm.weight', { ...value, shape: [3], bytes: new Uint8Array(12) });
      },
      { as: 'vit-tiny' },
      /missing: blocks\.3\.norm2\.bias; left over: blocks\.0\.ls1\.gamma; of another shape: norm\.weight \[3\] for \[12\]$/,
    ],
    [
      'a ResNet’s',
      (tensors) => tensors.delete('patch_embed.proj.weight'),
      { as: 'vit-tiny' },
      /patch_embed\.proj\.weight of 4 axes of vit-tiny in w\.safetensors, found cls_token/,
    ],
    [
      'no square',
      (tensors) => tensors.set('pos_embed', { ...value, shape: [1, 1, 12] }),
      { as: 'vit-tiny' },
      /square images of 1 or 3 channels, .* 1 positions/,
    ],
    [
      'of other heads',
      () => undefined,
      { as: 'vit-base' },
      /to give 12 times 4 to 256 channels, .* got \[12, 3, 4, 4\]/,
    ],
  ])('%s', async (_, change, as, why) => {
    const before = tf.memory().numTensors;
    const refusal = given(changed(change), as);
    await expect(refusal).rejects.toThrow(InvalidDataError);
    await expect(refusal).rejects.toThrow(why);
    expect(tf.memory().numTensors).toBe(before);
  });
});
