/** A masked autoencoder against MAE's `forward_loss` and `forward_decoder` with blocks of timm 1.0.31, in doubles. */
import { Encoder, RunSpec } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import sharp from 'sharp';
import { beforeAll, describe, expect, test } from 'vitest';
import type { z } from 'zod';
import { drawnNumbers } from '../../../tests/support/safetensors.js';
import { curvesOf, expectSameModel, run, SIZE, useTinyDataset } from '../../../tests/support/training-runs.js';
import { drawOrders, lossOf } from './masked.js';
import { readTensors } from './checkpoint.js';
import { buildEncoder } from './networks/encoder.js';
import { buildMasked, imagesOf, squaresOf } from './networks/masking.js';
import { weightsOf } from './networks/weights.js';

useTinyDataset();
beforeAll(() => loadTensorFlow({ threads: 1 }));

type Gradient = [key: string, norm: number, weighed: number];
// Of each gradient its norm, and its sum weighed by 1/n, 2/n, …, n/n.
const LOSSES: [normalise: boolean, loss: number, gradients: Gradient[]][] = [
  [
    false,
    1.615851980059579,
    [
      ['encoder/patches/kernel', 0.247862689, -0.00563025312],
      ['encoder/patches/bias', 0.0694852053, -0.0122051934],
      ['encoder/positions/class_token', 0.10004796, 0.0220988007],
      ['encoder/block1_qkv/kernel', 0.120778898, 0.0587479696],
      ['encoder/block12_mlp2/kernel', 0.101842188, 0.00179851083],
      ['encoder/norm/gamma', 0.176970297, -0.00840669982],
      ['decoder/tokens_in/kernel', 0.358942528, 0.000556286183],
      ['decoder/unmask/mask_token', 0.791252231, -0.0225187158],
      ['decoder/block1_qkv/kernel', 0.862306534, 0.102441328],
      ['decoder/block2_mlp1/bias', 0.18118519, 0.0155520935],
      ['decoder/norm/beta', 1.24661975, -0.100480103],
      ['decoder/tokens_out/kernel', 0.68628722, 1.59057097],
    ],
  ],
  [
    true,
    2.0462115505857557,
    [
      ['encoder/patches/kernel', 0.13906564, -0.00102555591],
      ['encoder/block1_qkv/kernel', 0.0991491713, 0.0618510524],
      ['decoder/unmask/mask_token', 0.50082173, 0.0721241927],
      ['decoder/tokens_out/kernel', 0.578469357, 0.455758349],
    ],
  ],
];

function rangeOf(key: string, shape: readonly number[]): [low: number, high: number] {
  if (key.endsWith('_token')) return [-0.5, 0.5];
  if (key.endsWith('/gamma')) return [0.5, 1];
  if (!key.endsWith('/kernel')) return [-0.2, 0.2];
  const limit = Math.sqrt(6 / shape.slice(0, -1).reduce((product, side) => product * side, 1));
  return [-limit, limit];
}

test.each(LOSSES)('loss and gradients are MAE’s (normalise: %s)', (normalise, expected, gradients) => {
  const architecture = Encoder.parse({ name: 'vit-tiny', width: 4, patch: 4 });
  const masking = { ratio: 0.75, blocks: 2, heads: 2, headWidth: 4, normalise };
  const atFirst = tf.memory().numTensors;
  const encoder = buildEncoder(architecture, [12, 12, 3]);
  const masked = buildMasked(encoder, architecture, masking);
  expect(masked.visible).toBe(2);
  const weights = weightsOf(encoder, masked.decoder).toSorted((a, b) => (a.key < b.key ? -1 : 1));
  weights.forEach(({ key, variable }, i) =>
    tf.tidy(() => {
      const [low, high] = rangeOf(key, variable.shape);
      variable.assign(tf.tensor(drawnNumbers(variable.size, i + 1, low, high), variable.shape));
    }),
  );
  const order = [
    [4, 0, 8, 1, 2, 3, 5, 6, 7],
    [7, 2, 0, 1, 3, 4, 5, 6, 8],
  ];
  const inverse = order.map((row) => row.map((_, square) => row.indexOf(square)));
  const before = tf.memory().numTensors;
  tf.tidy(() => {
    const orders = { order: tf.tensor2d(order, [2, 9], 'int32'), inverse: tf.tensor2d(inverse, [2, 9], 'int32') };
    const x = tf.tensor4d(drawnNumbers(2 * 12 * 12 * 3, 1000), [2, 12, 12, 3]);
    const { value, grads } = tf.variableGrads(
      () => lossOf({ masking, patch: 4, masked }, x, orders, true),
      weights.map(({ variable }) => variable),
    );
    expect(Math.abs(value.dataSync()[0]! - expected)).toBeLessThan(2e-5);
    for (const [key, norm, weighed] of gradients) {
      const values = [...grads[weights.find((weight) => weight.key === key)!.variable.name]!.dataSync()];
      const sum = values.reduce((total, each, i) => total + (each * (i + 1)) / values.length, 0);
      expect(Math.abs(Math.hypot(...values) - norm), key).toBeLessThan(2e-5);
      expect(Math.abs(sum - weighed), key).toBeLessThan(2e-5);
    }
  });
  expect(tf.memory().numTensors).toBe(before);
  masked.decoder.dispose();
  encoder.dispose();
  masked.trunk.dispose();
  expect(tf.memory().numTensors).toBe(atFirst);
});

test('orders are as many of each kind, and have their ways back', () => {
  const { order, inverse } = drawOrders(400, 5, Random.seeded(1, 'orders'));
  const [there, back] = [order, inverse].map((each) => each.arraySync()) as [number[][], number[][]];
  there.forEach((row, i) => expect(row.map((square) => back[i]![square])).toEqual([0, 1, 2, 3, 4]));
  for (let square = 0; square < 5; square++)
    for (let place = 0; place < 5; place++) {
      const count = there.filter((row) => row[place] === square).length;
      expect(count).toBeGreaterThan(45);
      expect(count).toBeLessThan(120);
    }
  tf.dispose([order, inverse]);
});

test('squares go back to the images that they are of, whole or not', () => {
  const x = tf.tensor4d(drawnNumbers(2 * 7 * 9 * 3, 1), [2, 7, 9, 3]);
  const squares = squaresOf(x, 4);
  expect(squares.shape).toEqual([2, 6, 48]);
  expect(imagesOf(squares, 4, [7, 9, 3]).arraySync()).toEqual(x.arraySync());
});

describe('a run', () => {
  const spec = {
    kind: 'autoencode',
    variant: 'masked',
    dataset: 'tiny',
    encoder: { name: 'vit-tiny', width: 4, patch: 2, stochasticDepth: 0.1 },
    masking: { blocks: 1, heads: 2, headWidth: 4 },
    epochs: 1,
    batchSize: 24,
    knn: { k: 3 },
    gridImages: 4,
    evalSplit: 'val',
  } as const satisfies z.input<typeof RunSpec>;

  test('stopped and resumed ends in the very weights, leaves no tensor, and shows what the decoder makes', async () => {
    const whole = await run(spec);
    const before = tf.memory().numTensors;
    const first = await run(spec, { stopAt: 2 });
    expect(first.stopped).toMatchObject({ reason: 'drain', step: 2 });
    const second = await run(spec, { checkpoint: first.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(second, whole);
    expect(curvesOf(first, second)).toEqual(curvesOf(whole));
    expect(Object.keys(whole.metrics)).toEqual(
      expect.arrayContaining(['train/loss', 'eval/reconstruction_mse', 'eval/psnr', 'eval/knn']),
    );
    const { tensors } = await readTensors(whole.files.get('model')!);
    expect([...tensors.keys()].every((key) => key.startsWith('encoder/'))).toBe(true);
    const { data, info } = await sharp(whole.all.get('reconstructions.png'))
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: 4 * SIZE, height: 3 * SIZE });
    const band = (index: number) => data.subarray(index * SIZE * info.width * 3, (index + 1) * SIZE * info.width * 3);
    const same = [...band(0)].map((value, i) => value === band(1)[i]);
    // A quarter of the squares is seen, and stays in the picture below.
    const seen = same.filter(Boolean).length / same.length;
    expect(seen).toBeGreaterThanOrEqual(0.25);
    expect(seen).toBeLessThan(0.4);
    const kept = [...band(2)].filter((value, i) => same[i] && Math.abs(value - band(0)[i]!) <= 1).length;
    expect(kept / same.filter(Boolean).length).toBeGreaterThan(0.9);
    expect(band(2).equals(band(1))).toBe(false);
  }, 120_000);

  test('its encoder is exported and embedded as any; it has no latent vector to walk in', async () => {
    const { files } = await run({ ...spec, masking: { ...spec.masking, normalise: true } });
    const parentModel = files.get('model')!;
    const from = '6f1f64f4-0d1b-4a39-8a3a-1c7f2f0c4b11';
    const exported = await run({ kind: 'export', from, formats: ['onnx'] }, { parentModel });
    expect([...exported.all.keys()]).toEqual(['encoder.onnx', 'export.json']);
    const mapped = await run({ kind: 'embed', dataset: 'tiny', from, maps: ['pca'], split: 'val' }, { parentModel });
    expect(mapped.all.has('maps.json')).toBe(true);
    await expect(run({ kind: 'interpolate', dataset: 'tiny', from }, { parentModel })).rejects.toThrow(
      /expected an autoencoder with a latent vector, got a masked one/,
    );
  }, 120_000);

  test('of a single square is refused: there is nothing to see', async () => {
    await expect(run({ ...spec, encoder: { ...spec.encoder, patch: 8 } })).rejects.toThrow(
      /expected at least two squares in a sample, .* got one of 8 x 8 for 8 x 8/,
    );
  });

  test('needs a transformer, and what is masked needs the variant', () => {
    const told = (given: object) =>
      RunSpec.safeParse({ ...spec, ...given }).error?.issues.map(({ message }) => message);
    expect(told({ encoder: {} })).toEqual([
      'expected a transformer, such as vit-tiny, for the variant masked, got small-resnet',
    ]);
    expect(told({ variant: 'plain' })).toEqual(['expected the variant masked with `masking`, got plain']);
    expect(told({ domain: 'waveform' })).toEqual(['expected spectrograms for the variant masked, got waveform']);
  });
});
