/** Layers models as Keras's converter writes them: `model.json`, and weights in two pieces beside it. */
import { Random } from '#libs/data';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';

type Json = Record<string, unknown>;
export interface Weight {
  name: string;
  shape: number[];
  values: Float32Array;
  /** Left out: float32. */
  dtype?: 'int32';
}
export interface Model {
  json: Json;
  weights: Weight[];
}

const initializer = { class_name: 'GlorotUniform', config: { seed: null } };

/** A layer as Keras 2 describes it, called once on each of `from`. */
export const layer = (className: string, name: string, config: Json, ...from: string[]): Json => ({
  class_name: className,
  name,
  config: { name, trainable: true, dtype: 'float32', ...config },
  // A model inside of this one counts the call in which it was made.
  inbound_nodes: from.length ? [from.map((each) => [each, each === 'inner' ? 1 : 0, 0, {}])] : [],
});
export const input = (shape: (number | null)[], name = 'input_1'): Json => ({
  class_name: 'InputLayer',
  name,
  config: { batch_input_shape: [null, ...shape], dtype: 'float32', sparse: false, ragged: false, name },
  inbound_nodes: [],
});

/** Settings of a convolution, of which only some count here. */
export const convolution = (filters: number, kernel: number, config: Json = {}): Json => ({
  filters,
  kernel_size: [kernel, kernel],
  strides: [1, 1],
  padding: 'same',
  data_format: 'channels_last',
  dilation_rate: [1, 1],
  groups: 1,
  activation: 'linear',
  use_bias: true,
  kernel_initializer: initializer,
  bias_initializer: { class_name: 'Zeros', config: {} },
  kernel_regularizer: null,
  ...config,
});

/** A file of such layers, from the first to the last of them. */
export const functional = (layers: Json[], output: string, start = 'input_1'): Json => ({
  format: 'layers-model',
  generatedBy: 'keras v2.15.0',
  convertedBy: 'TensorFlow.js Converter v4.22.0',
  modelTopology: {
    keras_version: '2.15.0',
    backend: 'tensorflow',
    model_config: {
      class_name: 'Functional',
      config: {
        name: 'model',
        trainable: true,
        layers,
        input_layers: [[start, 0, 0]],
        output_layers: [[output, 0, 0]],
      },
    },
  },
});

/** Weights drawn for layers, by their shapes. Variances are positive. */
export function drawn(shapes: Record<string, number[]>, seed = 1): Weight[] {
  const random = Random.seeded(seed, 'layers model');
  return Object.entries(shapes).map(([name, shape]) => {
    const count = shape.reduce((product, side) => product * side, 1);
    const fanIn = Math.max(1, count / shape.at(-1)!);
    const isScale = /gamma|variance/.test(name);
    const values = Float32Array.from({ length: count }, () =>
      isScale ? 0.5 + random.uniform() : random.normal(0, Math.sqrt(2 / (shape.length > 1 ? fanIn : 50))),
    );
    return { name, shape, values };
  });
}

const normalisation = (name: string, channels: number): Record<string, number[]> =>
  Object.fromEntries(
    ['gamma', 'beta', 'moving_mean', 'moving_variance'].map((part) => [`${name}/${part}`, [channels]]),
  );

/**
 * A small network of its own: convolutions with biases and activations, normalisation, a model inside, a dropout, a
 * sum, and a classifier. Layer `pool` gives 12 features.
 */
export function kerasModel(side: number | null = 8, isSequential = false): Model {
  const norm = { axis: [3], momentum: 0.9, epsilon: 0.001, center: true, scale: true };
  const parts = [
    input([null, null, 8], 'inner_input'),
    layer(
      'DepthwiseConv2D',
      'depthwise',
      {
        kernel_size: [3, 3],
        strides: [1, 1],
        padding: 'same',
        depth_multiplier: 1,
        use_bias: false,
        activation: 'linear',
      },
      'inner_input',
    ),
    layer('Conv2D', 'pointwise', convolution(8, 1, { activation: 'swish' }), 'depthwise'),
  ];
  const graph = { input_layers: [['inner_input', 0, 0]], output_layers: [['pointwise', 0, 0]] };
  const inner = {
    class_name: isSequential ? 'Sequential' : 'Functional',
    name: 'inner',
    config: {
      name: 'inner',
      layers: isSequential ? parts.map(({ inbound_nodes: _, ...each }) => each) : parts,
      ...(!isSequential && graph),
    },
    inbound_nodes: [[['stem_relu', 0, 0, {}]]],
  };
  const layers = [
    input([side, side, 3]),
    layer('Rescaling', 'rescaling', { scale: 2, offset: -1 }, 'input_1'),
    layer('Conv2D', 'stem/conv', convolution(8, 3, { use_bias: false }), 'rescaling'),
    layer('BatchNormalization', 'stem/bn', norm, 'stem/conv'),
    layer('ReLU', 'stem_relu', { max_value: 6, negative_slope: 0, threshold: 0 }, 'stem/bn'),
    inner,
    layer('Add', 'add', {}, 'stem_relu', 'inner'),
    layer('Conv2D', 'conv2', convolution(12, 3, { strides: [2, 2], activation: 'relu' }), 'add'),
    layer('Dropout', 'dropout', { rate: 0.2, noise_shape: null, seed: null }, 'conv2'),
    layer('GlobalAveragePooling2D', 'pool', { data_format: 'channels_last', keepdims: false }, 'dropout'),
    layer('Dense', 'predictions', { units: 5, activation: 'softmax', use_bias: true }, 'pool'),
  ];
  return {
    json: functional(layers, 'predictions'),
    weights: drawn({
      'stem/conv/kernel': [3, 3, 3, 8],
      ...normalisation('stem/bn', 8),
      'depthwise/depthwise_kernel': [3, 3, 8, 1],
      'pointwise/kernel': [1, 1, 8, 8],
      'pointwise/bias': [8],
      'conv2/kernel': [3, 3, 8, 12],
      'conv2/bias': [12],
      'predictions/kernel': [12, 5],
      'predictions/bias': [5],
    }),
  };
}

/** Writes a model's files into a folder; returns the path of `model.json`. */
export async function writeModel({ json, weights }: Model, folder: string, name = 'model.json'): Promise<string> {
  await mkdir(folder, { recursive: true });
  const bytes = Buffer.concat(weights.map(({ values }) => Buffer.from(values.buffer)));
  const half = 4 * Math.floor(bytes.length / 8);
  const paths = ['group1-shard1of2.bin', 'group1-shard2of2.bin'];
  await writeFile(path.join(folder, paths[0]!), bytes.subarray(0, half));
  await writeFile(path.join(folder, paths[1]!), bytes.subarray(half));
  const manifest = [
    { paths, weights: weights.map(({ name: own, shape, dtype = 'float32' }) => ({ name: own, shape, dtype })) },
  ];
  const file = path.join(folder, name);
  await writeFile(file, JSON.stringify({ ...json, weightsManifest: manifest }));
  return file;
}
