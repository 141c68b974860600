/** Checkpoints of SimCLRv2, written by TensorFlow and held against a forward pass typed anew from its resnet.py. */
import { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeBundle } from '../../../../tests/support/tensor-bundles.js';
import { inputs, run, useTinyDataset } from '../../../../tests/support/training-runs.js';
import { readTensors } from '../checkpoint.js';
import { buildEncoder, encode } from '../networks/encoder.js';
import { restored, type ModelState } from '../run-inputs.js';

useTinyDataset();

type Values = Map<string, { name: string; shape: number[]; values: Float32Array }>;

/**
 * The network of resnet.py with variables that are drawn where it makes them, in the order in which it makes them: so
 * their names and shapes come of the published code, not of ours.
 */
class Simclr {
  readonly variables: Values = new Map();
  private readonly counts = new Map<string, number>();
  private readonly random = Random.seeded(5, 'simclr');

  constructor(
    private readonly width: number,
    private readonly isSelective: boolean,
    private readonly isCifar: boolean,
  ) {}

  private variable(layer: string, part: string, shape: number[], draw: () => number): tf.Tensor {
    const name = `base_model/${layer}/${part}`;
    if (!this.variables.has(name)) {
      const count = shape.reduce((product, side) => product * side, 1);
      this.variables.set(name, { name, shape, values: Float32Array.from({ length: count }, draw) });
    }
    return tf.tensor(this.variables.get(name)!.values, shape);
  }

  private next(kind: string): string {
    const number = this.counts.get(kind) ?? 0;
    this.counts.set(kind, number + 1);
    return number === 0 ? kind : `${kind}_${number}`;
  }

  private convolve(x: tf.Tensor4D, filters: number, size: number, strides: number): tf.Tensor4D {
    const before = Math.floor((size - 1) / 2);
    const after = size - 1 - before;
    const padded =
      strides > 1
        ? tf.pad(x, [
            [0, 0],
            [before, after],
            [before, after],
            [0, 0],
          ])
        : x;
    const shape = [size, size, x.shape[3], filters];
    const spread = Math.sqrt(1 / (size * size * x.shape[3]));
    const kernel = this.variable(this.next('conv2d'), 'kernel', shape, () => this.random.normal(0, spread));
    return tf.conv2d(padded, kernel as tf.Tensor4D, strides, strides === 1 ? 'same' : 'valid');
  }

  private normalise(x: tf.Tensor4D, rectified = true): tf.Tensor4D {
    const layer = this.next('batch_normalization');
    const of = (part: string, mean: number, spread: number) =>
      this.variable(layer, part, [x.shape[3]], () => mean + spread * this.random.uniform());
    const [gamma, beta] = [of('gamma', 0.5, 1), of('beta', -0.2, 0.4)];
    const [mean, variance] = [of('moving_mean', -0.2, 0.4), of('moving_variance', 0.5, 1)];
    const scaled = tf.mul(tf.div(tf.sub(x, mean), tf.sqrt(tf.add(variance, 1e-5))), gamma);
    const y = tf.add<tf.Tensor4D>(scaled, beta);
    return rectified ? tf.relu(y) : y;
  }

  private selective(x: tf.Tensor4D, filters: number, strides: number): tf.Tensor4D {
    const both = this.normalise(this.convolve(x, 2 * filters, 3, strides));
    const streams = tf.stack(tf.split(both, 2, 3));
    const seen = tf.mean<tf.Tensor4D>(tf.sum(streams, 0), [1, 2], true);
    const inner = this.normalise(this.convolve(seen, Math.max(Math.floor(filters * 0.0625), 32), 1, 1));
    const mixing = tf.stack(tf.split(this.convolve(inner, 2 * filters, 1, 1), 2, 3));
    const shares = tf.exp(tf.sub(mixing, tf.logSumExp(mixing, 0, true)));
    return tf.sum(tf.mul(streams, shares), 0);
  }

  private shortcut(x: tf.Tensor4D, filters: number, strides: number): tf.Tensor4D {
    if (!this.isSelective) return this.normalise(this.convolve(x, filters, 1, strides), false);
    const padded =
      strides > 1
        ? tf.pad<tf.Tensor4D>(x, [
            [0, 0],
            [0, 1],
            [0, 1],
            [0, 0],
          ])
        : x;
    const mean = tf.avgPool(padded, 2, strides, strides === 1 ? 'same' : 'valid');
    return this.normalise(this.convolve(mean, filters, 1, 1), false);
  }

  private block(x: tf.Tensor4D, filters: number, strides: number, projects: boolean): tf.Tensor4D {
    const shortcut = projects ? this.shortcut(x, 4 * filters, strides) : x;
    const narrow = this.normalise(this.convolve(x, filters, 1, 1));
    const inner = this.isSelective
      ? this.selective(narrow, filters, strides)
      : this.normalise(this.convolve(narrow, filters, 3, strides));
    return tf.relu(tf.add(this.normalise(this.convolve(inner, 4 * filters, 1, 1), false), shortcut));
  }

  private stem(images: tf.Tensor4D): tf.Tensor4D {
    const { width } = this;
    if (this.isCifar) return this.normalise(this.convolve(images, width, 3, 1));
    if (!this.isSelective) return tf.maxPool(this.normalise(this.convolve(images, width, 7, 2)), 3, 2, 'same');
    const first = this.normalise(this.convolve(images, width / 2, 3, 2));
    const second = this.normalise(this.convolve(first, width / 2, 3, 1));
    return tf.maxPool(this.normalise(this.convolve(second, width, 3, 1)), 3, 2, 'same');
  }

  /** Images in [0, 1] → features of ResNet-50. */
  features(images: tf.Tensor4D): tf.Tensor2D {
    this.counts.clear();
    let x = this.stem(images);
    [3, 4, 6, 3].forEach((blocks, group) => {
      for (let i = 0; i < blocks; i++)
        x = this.block(x, this.width * 2 ** group, group > 0 && i === 0 ? 2 : 1, i === 0);
    });
    return tf.mean(x, [1, 2]);
  }
}

const images = (side: number): tf.Tensor4D => {
  const random = Random.seeded(3, 'images');
  return tf.tensor4d(
    Float32Array.from({ length: 2 * side * side * 3 }, () => random.uniform()),
    [2, side, side, 3],
  );
};
const beside = [
  { name: 'global_step', shape: [], values: Float32Array.of(7) },
  { name: 'base_model/conv2d/kernel/Momentum', shape: [1], values: Float32Array.of(0) },
  { name: 'head_contrastive/nl_0/dense/kernel', shape: [2, 2], values: new Float32Array(4) },
];

test.each([
  ['with selective kernels', true, false],
  ['as SimCLR had it', false, false],
  ['with the stem of CIFAR', false, true],
] as const)('features of a ResNet-50 %s are those of the published code', async (_, isSelective, isCifar) => {
  const theirs = new Simclr(8, isSelective, isCifar);
  const expected = tf.tidy(() => theirs.features(images(40)).arraySync());
  const name = `model-${isSelective}-${isCifar}.ckpt-12`;
  await writeBundle(path.join(inputs.dataRoot, name), [...theirs.variables.values(), ...beside]);
  const outcome = await run({ kind: 'import-model', name: 'own', path: `${name}.index`, as: 'resnet50' });
  expect(outcome.lines.join('\n')).toContain('head_contrastive/nl_0/dense/kernel');
  const parent = await readTensors<ModelState>(outcome.files.get('model')!);
  expect(parent.state.encoder).toMatchObject({ name: 'resnet50', width: 8, padding: 'simclr' });
  const encoder = restored(buildEncoder(parent.state.encoder, [40, 40, 3]), parent);
  const found = tf.tidy(() => encode(encoder, images(40), false).features.arraySync());
  const most = Math.max(...found.flatMap((row, i) => row.map((value, j) => Math.abs(value - expected[i]![j]!))));
  expect(most).toBeLessThan(1e-4 * Math.max(...expected.flat()));
  encoder.dispose();
});

describe('what is no such checkpoint', () => {
  const refusalOf = async (prefix: string, as: 'resnet50' | 'resnet101' = 'resnet50'): Promise<string> => {
    const spec = { kind: 'import-model', name: 'own', path: `${prefix}.index`, as } as const;
    const outcome = await run(spec).catch((error: Error) => error);
    if (!(outcome instanceof Error)) return 'taken in';
    expect(outcome.name, outcome.stack).toBe('InvalidDataError');
    return outcome.message;
  };

  test('is told: another network, a file that is cut off or changed, numbers that are gone', async () => {
    const theirs = new Simclr(4, false, true);
    tf.tidy(() => theirs.features(images(8)));
    const prefix = path.join(inputs.dataRoot, 'broken');
    await writeBundle(prefix, [...theirs.variables.values()]);
    expect(await refusalOf('broken', 'resnet101')).toMatch(/missing: .*base_model\/conv2d_53\/kernel/);
    const whole = await readFile(`${prefix}.index`);
    await writeFile(`${prefix}.index`, whole.subarray(0, whole.length - 9));
    expect(await refusalOf('broken')).toMatch(/does not end as one/);
    await writeFile(`${prefix}.index`, whole.subarray(0, 20));
    expect(await refusalOf('broken')).toMatch(/it has 20 bytes/);
    // Whatever byte is another, it is refused or read: nothing else comes of it.
    const random = Random.seeded(1, 'bytes');
    for (let i = 0; i < 60; i++) {
      const changed = Buffer.from(whole);
      changed[random.integer(0, whole.length)] = random.integer(0, 256);
      await writeFile(`${prefix}.index`, changed);
      await refusalOf('broken');
    }
    await writeFile(`${prefix}.index`, whole);
    await truncate(`${prefix}.data-00000-of-00001`, 100);
    expect(await refusalOf('broken')).toMatch(/lies outside of the files beside it/);
  });
});
