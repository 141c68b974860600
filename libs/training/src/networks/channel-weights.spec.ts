import { Encoder } from '#libs/contracts';
import { Random } from '#libs/data';
import { loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { beforeAll, expect, test } from 'vitest';
import { excite, mixture } from './channel-weights.js';
import { CompiledStep } from '../compiled-step.js';
import { buildEncoder } from './encoder.js';
import { averageWindows, convolution, maxPool, normaliseAndRectify } from './layers.js';
import { forward, initialise, weightsOf } from './weights.js';

beforeAll(() => loadTensorFlow({ threads: 1 }));

type Maps = number[][][][];
const COUNT = 2;
const CHANNELS = 3;
const uniform = (shape: [number, number, number, number], seed: number): tf.Tensor4D => {
  const random = Random.seeded(seed, 'map');
  return tf.tensor4d(
    Float32Array.from({ length: shape.reduce((product, side) => product * side, 1) }, () => random.uniform(-1, 1)),
    shape,
  );
};
/** All weights drawn, and read by the layer's and the weight's name. */
function drawn(model: layers.LayersModel): (key: string) => number[][] {
  initialise([model], Random.seeded(2));
  const random = Random.seeded(3, 'others');
  for (const { key, variable } of weightsOf(model))
    if (!key.endsWith('/kernel'))
      tf.tidy(() => {
        const values = Float32Array.from({ length: variable.size }, () => random.uniform(0.5, 1.5));
        variable.assign(tf.tensor(values, variable.shape));
      });
  const weights = new Map(
    weightsOf(model).map(({ key, variable }) => [key.slice(model.name.length + 1), variable.arraySync()]),
  );
  return (key) => weights.get(key) as number[][];
}
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const times = (vector: readonly number[], kernel: number[][]): number[] =>
  kernel[0]!.map((_, o) => vector.reduce((sum, value, i) => sum + value * kernel[i]![o]!, 0));
const meanOf = (map: number[][][]): number[] =>
  map[0]![0]!.map((_, c) => map.flat().reduce((sum, place) => sum + place[c]!, 0) / map.flat().length);
const expectClose = (found: tf.Tensor, expected: Maps): void => {
  expect(tf.max(tf.abs(tf.sub(found, tf.tensor4d(expected)))).dataSync()[0]).toBeLessThan(2e-5);
};

test('squeeze and excitation weighs channels by its definition', () => {
  const x = layers.input({ shape: [3, 2, CHANNELS] });
  const model = layers.model({ inputs: x, outputs: excite(x, 'se', 2), name: 'model' });
  const weight = drawn(model);
  const map = uniform([COUNT, 3, 2, CHANNELS], 1);
  const expected = map.arraySync().map((each) => {
    const reduced = times(meanOf(each), weight('se_reduce/kernel')).map((value, i) =>
      Math.max(0, value + (weight('se_reduce/bias') as unknown as number[])[i]!),
    );
    const factors = times(reduced, weight('se_expand/kernel')).map((value, i) =>
      sigmoid(value + (weight('se_expand/bias') as unknown as number[])[i]!),
    );
    return each.map((row) => row.map((place) => place.map((value, c) => value * factors[c]!)));
  });
  expectClose(forward(model, map, false), expected);
});

// SK_Conv2D of google-research/simclr, tf2/resnet.py, after its two convolutions.
test('selective kernels mix two maps by a softmax of two logits for each channel', () => {
  const [one, other] = ['one', 'other'].map((name) => layers.input({ shape: [3, 2, CHANNELS], name })) as [
    layers.SymbolicTensor,
    layers.SymbolicTensor,
  ];
  const model = layers.model({ inputs: [one, other], outputs: mixture(one, other, 'sk', 4), name: 'model' });
  const weight = drawn(model);
  const maps = [uniform([COUNT, 3, 2, CHANNELS], 1), uniform([COUNT, 3, 2, CHANNELS], 2)];
  const [first, second] = maps.map((map) => map.arraySync()) as [Maps, Maps];
  const statistics = ['gamma', 'beta', 'moving_mean', 'moving_variance'].map((key) =>
    weight(`sk_bn/${key}`),
  ) as unknown as [number[], number[], number[], number[]];
  const [gamma, beta, mean, variance] = statistics;
  const expected = first.map((map, n) => {
    const both = map.map((row, r) => row.map((place, q) => place.map((value, c) => value + second[n]![r]![q]![c]!)));
    const seen = times(meanOf(both), weight('sk_mix1/kernel')).map((value, i) =>
      Math.max(0, ((value - mean[i]!) / Math.sqrt(variance[i]! + 1e-5)) * gamma[i]! + beta[i]!),
    );
    const logits = times(seen, weight('sk_mix2/kernel'));
    return map.map((row, r) =>
      row.map((place, q) =>
        place.map((value, c) => {
          const share = sigmoid(logits[c]! - logits[CHANNELS + c]!);
          return share * value + (1 - share) * second[n]![r]![q]![c]!;
        }),
      ),
    );
  });
  expectClose(forward(model, maps, false), expected);
});

// Zeros count where a window of stride 2 sees them; a window of stride 1 has only what there is.
test.each([
  [2, [2.5, 2.25, 3.75, 2.25]],
  [1, [2.5, 3.75, 4.5, 5.5, 6.5, 7, 7.5, 8.5, 9]],
])('means of windows of stride %i on an odd side', (stride, expected) => {
  const x = layers.input({ shape: [3, 3, 1] });
  const model = layers.model({ inputs: x, outputs: averageWindows(x, 'mean', stride) });
  const found = forward(model, tf.tensor4d([1, 2, 4, 3, 4, 5, 7, 8, 9], [1, 3, 3, 1]), false);
  expect([...found.dataSync()]).toEqual(expected);
});

// Parameters in millions that SimCLRv2 publishes for its networks with selective kernels.
test.each([
  ['resnet50', 35],
  ['resnet101', 65],
] as const)('%s with selective kernels has the %i million parameters of SimCLRv2’s', (name, published) => {
  const encoder = buildEncoder({ name, width: 64, stem: 'imagenet', skRatio: 0.0625 }, [32, 32, 3]);
  const parameters = weightsOf(encoder)
    .filter(({ trainable }) => trainable)
    .reduce((sum, { variable }) => sum + variable.size, 0);
  expect(Math.round(parameters / 1e6)).toBe(published);
  encoder.dispose();
});

test('a compiled step takes the gradients of all of it that its operations give one by one', () => {
  const images = layers.input({ shape: [5, 6, CHANNELS] });
  const mixed = mixture(
    normaliseAndRectify(convolution(images, 'a', 4, 3), 'a_bn', 'a_relu'),
    normaliseAndRectify(convolution(images, 'b', 4, 3), 'b_bn', 'b_relu'),
    'sk',
    5,
  );
  const weighed = excite(averageWindows(maxPool(mixed, 'pool', 'symmetric'), 'mean', 2), 'se', 3);
  const model = layers.model({ inputs: images, outputs: averageWindows(weighed, 'same', 1), name: 'model' });
  drawn(model);
  const weights = weightsOf(model);
  const variables = weights.filter(({ trainable }) => trainable).map(({ variable }) => variable);
  const [x, target] = [uniform([7, 5, 6, CHANNELS], 1), uniform([7, 2, 2, 4], 2)];
  const gradients = ([input, wanted]: tf.Tensor[]) => {
    const { grads } = tf.variableGrads(
      () => tf.sum<tf.Scalar>(tf.mul(forward(model, input!, true), wanted!)),
      variables,
    );
    return variables.map(({ name }) => tf.sum<tf.Scalar>(tf.square(grads[name]!)));
  };
  const before = weights.map(({ variable }) => variable.dataSync());
  const expected = tf.tidy(() => gradients([x, target]).map((square) => square.dataSync()[0]!));
  weights.forEach(({ variable }, i) => {
    tf.tidy(() => {
      variable.assign(tf.tensor(before[i]!, variable.shape));
    });
  });
  const graph = new CompiledStep(
    (inputs) => Object.fromEntries(gradients(inputs).map((square, i) => [String(i), square])),
    weights.map(({ variable }) => variable),
  );
  const found = tf.tidy(() => graph.run([x, target]));
  expected.forEach((square, i) => {
    expect(square, variables[i]!.name).toBeGreaterThan(0);
    expect(Math.abs(found[i]! / square - 1), variables[i]!.name).toBeLessThan(1e-3);
  });
  graph.dispose();
});

test('selective kernels are for bottlenecks', () => {
  expect(Encoder.parse({ name: 'resnet50', skRatio: 0.0625 })).toEqual({
    name: 'resnet50',
    width: 32,
    skRatio: 0.0625,
  });
  expect(() => Encoder.parse({ name: 'resnet18', skRatio: 0.0625 })).toThrow(
    'expected a network of bottlenecks (resnet50, resnet101, resnet152) for selective kernels, got resnet18',
  );
});
