import { architectureOf, Encoder } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type * as layers from '@tensorflow/tfjs-layers';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildEncoder, encode } from './encoder.js';
import { buildSegmenter, pyramidOf } from './segmenter.js';
import { forward, initialise, weightsOf } from './weights.js';

beforeAll(() => loadTensorFlow({ threads: 1 }));

const trainable = (model: layers.LayersModel) => weightsOf(model).filter((weight) => weight.trainable);
const images = (count: number, height: number, width: number, channels = 3) => {
  const random = Random.seeded(5, 'images');
  return tf.tensor4d(
    Float32Array.from({ length: count * height * width * channels }, () => random.uniform()),
    [count, height, width, channels],
  );
};
/** Weights as after a training: also normalisations and running averages are drawn. */
function drawn(encoder: layers.LayersModel): void {
  initialise([encoder], Random.seeded(4));
  const random = Random.seeded(5, 'statistics');
  for (const { key, variable } of weightsOf(encoder))
    if (!key.endsWith('/kernel'))
      tf.tidy(() => {
        const value = () => (/variance|gamma/.test(key) ? random.uniform(0.5, 1.5) : random.normal(0, 0.3));
        variable.assign(tf.tensor(Float32Array.from({ length: variable.size }, value), variable.shape));
      });
}

describe('the published networks', () => {
  test.each([
    ['resnet18', 11_689_512, 512],
    ['resnet34', 21_797_672, 512],
    ['resnet50', 25_557_032, 2048],
    ['resnet101', 44_549_160, 2048],
    ['resnet152', 60_192_808, 2048],
  ] as const)('%s with the stem of ImageNet has the parameters of torchvision’s, %i', (name, published, features) => {
    const encoder = buildEncoder({ name, width: 64, stem: 'imagenet' }, [224, 224, 3]);
    const parameters = trainable(encoder).reduce((sum, { variable }) => sum + variable.size, 0);
    // Without the classifier of 1000 classes.
    expect(parameters).toBe(published - 1000 * features - 1000);
    expect(encoder.outputs.map(({ shape }) => shape)).toEqual([
      [null, 7, 7, features],
      [null, features],
    ]);
    encoder.dispose();
  });

  test('twice the width is SimCLR’s multiplier of 2, and the stem of CIFAR keeps all places', () => {
    const { stem, pool, blocks } = architectureOf(Encoder.parse({ name: 'resnet50', width: 128 }));
    expect([stem, pool]).toEqual([[{ kernel: 3, stride: 1, channels: 128 }], false]);
    expect(blocks.at(-1)).toEqual({ width: 1024, stride: 1, channels: 4096 });
    expect(blocks.map(({ stride }) => stride).reduce((product, stride) => product * stride)).toBe(8);
  });

  test('a spec of before is what it was: no field is filled in', () => {
    expect(Encoder.parse({})).toEqual({ name: 'small-resnet', width: 32 });
    expect(architectureOf(Encoder.parse({ name: 'resnet18' })).padding).toBe('same');
  });
});

/** A map [H][W][C] of doubles. */
type Map = number[][][];
type Kernel = { values: ArrayLike<number>; shape: readonly number[] };
/** What is under a window at (row, column), which begins `pad` before the map; undefined outside of it. */
const under = (map: Map, row: number, column: number): number[] | undefined => map[row]?.[column];
const placesOf = (size: number, kernel: number, stride: number, pad: number): number[] =>
  Array.from({ length: Math.floor((size + 2 * pad - kernel) / stride) + 1 }, (_, i) => i * stride - pad);

/** torch's Conv2d(kernel, stride, padding = (kernel - 1) / 2), by its definition. */
function torchConvolution(map: Map, { values, shape }: Kernel, stride: number): Map {
  const [size, , from, to] = shape as [number, number, number, number];
  const pad = (size - 1) / 2;
  return placesOf(map.length, size, stride, pad).map((top) =>
    placesOf(map[0]!.length, size, stride, pad).map((left) => {
      const sums = new Array<number>(to).fill(0);
      for (let i = 0; i < size; i++)
        for (let j = 0; j < size; j++)
          under(map, top + i, left + j)?.forEach((value, c) => {
            for (let o = 0; o < to; o++) sums[o]! += value * values[((i * size + j) * from + c) * to + o]!;
          });
      return sums;
    }),
  );
}

/** torch's MaxPool2d(3, 2, padding = 1): what is padded is -Infinity. */
const torchMaxPool = (map: Map): Map =>
  placesOf(map.length, 3, 2, 1).map((top) =>
    placesOf(map[0]!.length, 3, 2, 1).map((left) =>
      map[0]![0]!.map((_, c) =>
        Math.max(
          ...Array.from(
            { length: 9 },
            (_each, k) => under(map, top + Math.floor(k / 3), left + (k % 3))?.[c] ?? -Infinity,
          ),
        ),
      ),
    ),
  );

/** torchvision's ResNet at inference in double precision, with the weights of an encoder. */
function torchFeatures(spec: Encoder, encoder: layers.LayersModel, image: Map): number[] {
  const weights = new Map(weightsOf(encoder).map(({ key, variable }) => [key.slice('encoder/'.length), variable]));
  const valuesOf = (key: string): Kernel => ({ values: weights.get(key)!.dataSync(), shape: weights.get(key)!.shape });
  const convolve = (map: Map, name: string, stride = 1): Map =>
    torchConvolution(map, valuesOf(`${name}/kernel`), stride);
  const each = (map: Map, change: (value: number, channel: number) => number): Map =>
    map.map((row) => row.map((place) => place.map(change)));
  const normalise = (map: Map, name: string): Map => {
    const [gamma, beta, mean, variance] = ['gamma', 'beta', 'moving_mean', 'moving_variance'].map(
      (key) => valuesOf(`${name}/${key}`).values,
    ) as [ArrayLike<number>, ArrayLike<number>, ArrayLike<number>, ArrayLike<number>];
    return each(map, (x, c) => ((x - mean[c]!) / Math.sqrt(variance[c]! + 1e-5)) * gamma[c]! + beta[c]!);
  };
  const rectify = (map: Map): Map => each(map, (value) => Math.max(value, 0));
  let x = torchMaxPool(rectify(normalise(convolve(image, 'stem_conv', 2), 'stem_bn')));
  const isBottleneck = !['resnet18', 'resnet34'].includes(spec.name);
  const counts = { resnet18: [2, 2, 2, 2], resnet50: [3, 4, 6, 3] }[spec.name as 'resnet18' | 'resnet50'];
  let block = 0;
  counts.forEach((count, stage) => {
    for (let i = 0; i < count; i++) {
      const name = `block${++block}`;
      const stride = stage > 0 && i === 0 ? 2 : 1;
      let inner = x;
      (isBottleneck ? [1, stride, 1] : [stride, 1]).forEach((step, k, all) => {
        inner = normalise(convolve(inner, `${name}_conv${k + 1}`, step), `${name}_bn${k + 1}`);
        if (k < all.length - 1) inner = rectify(inner);
      });
      const shortcut = weights.has(`${name}_shortcut/kernel`)
        ? normalise(convolve(x, `${name}_shortcut`, stride), `${name}_shortcut_bn`)
        : x;
      x = rectify(inner.map((row, r) => row.map((place, q) => place.map((value, c) => value + shortcut[r]![q]![c]!))));
    }
  });
  const places = x.flat();
  return places[0]!.map((_, c) => places.reduce((sum, place) => sum + place[c]!, 0) / places.length);
}

describe('what torchvision computes', () => {
  test.each([
    ['resnet18', 64, 48],
    ['resnet50', 64, 48],
    ['resnet50', 37, 51],
  ] as const)('%s of %i x %i pixels with the stem of ImageNet gives the same features', (name, height, width) => {
    const spec: Encoder = { name, width: 4, stem: 'imagenet' };
    const encoder = buildEncoder(spec, [height, width, 3]);
    drawn(encoder);
    const x = images(1, height, width);
    const expected = torchFeatures(spec, encoder, (x.arraySync() as Map[])[0]!);
    const found = tf.tidy(() => encode(encoder, x, false).features.dataSync());
    const largest = Math.max(...expected.map(Math.abs));
    expect(largest).toBeGreaterThan(0.1);
    const apart = Math.max(...expected.map((value, i) => Math.abs(value - found[i]!)));
    expect(apart).toBeLessThan(1e-5 * Math.max(1, largest));
    // TensorFlow's own padding gives others: this test can tell them apart.
    const other = buildEncoder({ ...spec, padding: 'same' }, [height, width, 3]);
    drawn(other);
    const shifted = tf.tidy(() => encode(other, x, false).features.dataSync());
    if (height % 2 === 0)
      expect(Math.max(...expected.map((value, i) => Math.abs(value - shifted[i]!)))).toBeGreaterThan(1e-3);
    for (const model of [encoder, other]) model.dispose();
  });
});

test('gradients of a bottleneck network are those that its values change by', () => {
  const encoder = buildEncoder({ name: 'resnet50', width: 4, stem: 'imagenet' }, [16, 12, 3]);
  drawn(encoder);
  const weights = trainable(encoder);
  const x = images(3, 16, 12);
  const value = (): tf.Scalar => tf.mean(tf.square(encode(encoder, x, false).features));
  const { grads } = tf.variableGrads(
    value,
    weights.map(({ variable }) => variable),
  );
  for (const { key, variable } of weights)
    expect(tf.max(tf.abs(grads[variable.name]!)).dataSync()[0], key).toBeGreaterThan(0);
  for (const key of ['stem_conv/kernel', 'stem_bn/gamma', 'block4_conv2/kernel', 'block16_bn3/beta']) {
    const { variable } = weights.find((weight) => weight.key === `encoder/${key}`)!;
    const gradient = grads[variable.name]!;
    const [start, step] = [tf.clone(variable), 1e-3];
    const direction = tf.div(gradient, tf.norm(gradient));
    const at = (by: number) =>
      tf.tidy(() => {
        variable.assign(tf.add(start, tf.mul(direction, by)));
        return value().dataSync()[0]!;
      });
    const slope = (at(step) - at(-step)) / (2 * step);
    variable.assign(start);
    const length = tf.norm(gradient).dataSync()[0]!;
    expect(Math.abs(slope / length - 1), `${key}: ${slope}, by gradient ${length}`).toBeLessThan(0.05);
  }
  encoder.dispose();
});

test.each([
  [
    'resnet50',
    undefined,
    [
      [33, 20, 16],
      [17, 10, 32],
      [9, 5, 64],
      [5, 3, 128],
    ],
  ],
  [
    'resnet34',
    'imagenet',
    [
      [17, 10, 4],
      [9, 5, 4],
      [5, 3, 8],
      [3, 2, 16],
      [2, 1, 32],
    ],
  ],
] as const)('a segmenter on %s with the stem %s has the map of each resolution', (name, stem, maps) => {
  const spec: Encoder = { name, width: 4, ...(stem && { stem }) };
  const encoder = buildEncoder(spec, [33, 20, 3]);
  const pyramid = pyramidOf(encoder, spec);
  const segmenter = buildSegmenter(pyramid, 5);
  initialise([encoder, segmenter], Random.seeded(6));
  expect(pyramid.outputs.map(({ shape }) => shape.slice(1))).toEqual(maps);
  const x = images(2, 33, 20);
  const found = forward<tf.Tensor[]>(pyramid, x, false);
  expect(forward<tf.Tensor>(segmenter, found, false).shape).toEqual([2, 33, 20, 5]);
  expect(found.at(-1)!.dataSync()).toEqual(encode(encoder, x, false).map.dataSync());
});
