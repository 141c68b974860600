import type { Precision } from '#libs/contracts';
import { Random } from '#libs/data';
import { filters, floats, Graph, loadTensorFlow } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { afterEach, beforeAll, expect, test, vi } from 'vitest';
import { CompiledStep } from './compiled-step.js';

beforeAll(() => loadTensorFlow({ threads: 2 }));
afterEach(() => {
  vi.restoreAllMocks();
});

type Shape = [number, number, number, number];
interface Layer {
  /** [N, H, W, C] */
  images: Shape;
  /** [rows, columns, C, K] */
  filter: Shape;
  strides?: number;
  pad?: 'same' | 'valid';
}
const LAYER: Layer = { images: [5, 9, 8, 16], filter: [3, 3, 16, 32] };

const random = Random.seeded(4, 'minimal filtering');
const drawn = (shape: Shape) =>
  Float32Array.from({ length: shape.reduce((product, side) => product * side) }, () => random.normal(0, 1));

/** A convolution's output, and the gradients of its squares, one after the other. */
const outputAndGradients = ({ strides = 1, pad = 'same' }: Layer, inputs: tf.Tensor[]): tf.Tensor1D => {
  const [images, filter] = inputs as [tf.Tensor4D, tf.Tensor4D];
  const convolve = (x: tf.Tensor4D, f: tf.Tensor4D) => tf.conv2d(x, f, strides, pad);
  const squares = (x: tf.Tensor, f: tf.Tensor) => tf.sum(tf.square(convolve(x as tf.Tensor4D, f as tf.Tensor4D)));
  const results = [convolve(images, filter), ...tf.grads(squares)(inputs)];
  return tf.concat(results.map((each) => tf.reshape(each, [-1])));
};

/** What a graph gives for it, by which operations, and what TensorFlow's operations give one by one. */
async function bothWays(layer: Layer, precision: Precision = 'float32') {
  const inputs = [floats(drawn(layer.images), layer.images), floats(drawn(layer.filter), layer.filter)];
  const added = vi.spyOn(Graph.prototype, 'add');
  const compiled = new CompiledStep((given) => ({ all: outputAndGradients(layer, given) }), [], precision);
  const { values } = await compiled.compute(inputs);
  compiled.dispose();
  const expected = tf.tidy(() =>
    outputAndGradients(
      layer,
      inputs.map(({ values: each, shape }) => tf.tensor(each as Float32Array, [...shape])),
    ).dataSync(),
  );
  const operations = new Set(added.mock.calls.map(([{ operation }]) => operation));
  return {
    own: [...operations].filter((each) => each.startsWith('Loom')).sort(),
    theirs: [...operations].filter((each) => each.includes('Conv2D')).sort(),
    values: values as Float32Array,
    expected: expected as Float32Array,
  };
}

const OWN = ['LoomConvolution', 'LoomConvolutionFilterGradient', 'LoomConvolutionInputGradient'];
const THEIRS = ['Conv2D', 'Conv2DBackpropFilter', 'Conv2DBackpropInput'];

test("a step's 3x3 convolution and its gradients are this project's own, where there are some", async () => {
  const { own, theirs, values, expected } = await bothWays(LAYER);
  expect({ own, theirs }).toEqual(filters(5, 9, 8, 16, 32) ? { own: OWN, theirs: [] } : { own: [], theirs: THEIRS });
  const most = Math.max(...expected.map(Math.abs));
  expect(Math.max(...values.map((value, i) => Math.abs(value - expected[i]!)))).toBeLessThan(1e-5 * most);
});

test.each<[string, Layer]>([
  ['1x1 convolution', { ...LAYER, filter: [1, 1, 16, 32] }],
  ['5x5 convolution', { ...LAYER, filter: [5, 5, 16, 32] }],
  ['convolution with a stride', { ...LAYER, strides: 2 }],
  ['convolution without zeros around', { ...LAYER, pad: 'valid' }],
  ['convolution of other channels than by sixteens', { ...LAYER, filter: [3, 3, 16, 24] }],
  ['convolution of few places', { images: [8, 2, 2, 16], filter: [3, 3, 16, 32] }],
])("a %s is TensorFlow's", async (_, layer) => {
  const { own, theirs, values, expected } = await bothWays(layer);
  expect({ own, theirs }).toEqual({ own: [], theirs: THEIRS });
  expect(values.length).toBe(expected.length);
});

test("in bfloat16 they are TensorFlow's, whose pass knows no others", async () => {
  const { own, theirs } = await bothWays(LAYER, 'bfloat16');
  expect({ own, theirs }).toEqual({ own: [], theirs: THEIRS });
});
