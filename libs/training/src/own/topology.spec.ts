import * as tf from '@tensorflow/tfjs-core';
import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  convolution,
  drawn,
  functional,
  input,
  kerasModel,
  layer,
  writeModel,
  type Model,
} from '../../../../tests/support/layers-models.js';
import { expectExported } from '../../../../tests/support/exports.js';
import { inputs, run, trained, useTinyDataset } from '../../../../tests/support/training-runs.js';
import { KINDS } from './layer-kinds.js';

useTinyDataset();

type Json = Record<string, unknown>;
/** How an import ends: with a message, or as it should. */
async function refusalOf(model: Model | string, edit: (json: Json) => unknown = (json) => json): Promise<string> {
  const folder = path.join(inputs.dataRoot, 'refused');
  if (typeof model === 'string') await writeFile(path.join(folder, 'model.json'), model);
  else await writeModel({ ...model, json: edit(model.json) as Json }, folder);
  const before = tf.memory().numTensors;
  const outcome = await run({ kind: 'import-model', name: 'own', path: 'refused/model.json' }).catch(
    (error: Error) => error,
  );
  expect(tf.memory().numTensors).toBe(before);
  if (!(outcome instanceof Error)) return 'taken in';
  expect(outcome.name, outcome.stack).toBe('InvalidDataError');
  return outcome.message;
}

const configOf = (json: Json): { layers: Json[]; input_layers: unknown; output_layers: unknown } =>
  ((json['modelTopology'] as Json)['model_config'] as Json)['config'] as never;
const layerOf = (json: Json, name: string): Json => configOf(json).layers.find((each) => each['name'] === name)!;
/** The model with other settings of a layer. */
const withSettings = (name: string, settings: Json) => (json: Json) => {
  Object.assign(layerOf(json, name)['config'] as Json, settings);
  return json;
};
const withLayer = (name: string, more: Json) => (json: Json) => {
  Object.assign(layerOf(json, name), more);
  return json;
};

describe('what is refused is told, before anything is built of it', () => {
  test.each<[string, (json: Json) => unknown, RegExp]>([
    [
      'a layer of somebody’s own class',
      withLayer('conv2', { class_name: 'MyAttention' }),
      /expected layers that tfjs has .* got conv2 of the class MyAttention/,
    ],
    ['a class with the name of a member', withLayer('conv2', { class_name: 'toString' }), /of the class toString/],
    ['a Lambda', withLayer('conv2', { class_name: 'Lambda' }), /of the class Lambda/],
    ['groups', withSettings('conv2', { groups: 2 }), /expected groups of 1 of layer conv2 .* got 2/],
    [
      'channels first',
      withSettings('conv2', { data_format: 'channels_first' }),
      /data_format of layer conv2 .*channelsLast/,
    ],
    ['an unknown activation', withSettings('conv2', { activation: 'evil' }), /activation of layer conv2 .* got "evil"/],
    ['an object as a setting', withSettings('conv2', { filters: { a: 1 } }), /filters of layer conv2/],
    ['another axis', withSettings('stem/bn', { axis: [1] }), /layer stem\/bn .* last axis, got axis \[1\]/],
    [
      'shares of one along another axis',
      withLayer('dropout', { class_name: 'Softmax', config: { name: 'dropout', axis: 1 } }),
      /layer dropout \(Softmax\) can't be built .* last axis, got axis 1/,
    ],
    [
      'more filters than weights',
      withSettings('conv2', { filters: 1e9 }),
      /conv2\/kernel of shape \[3, 3, 8, 1000000000\].* got \[3, 3, 8, 12\]/,
    ],
    ['filters that are none', withSettings('conv2', { filters: -4 }), /layer conv2 \(Conv2D\) can't be built/],
    ['a window that is too large', withSettings('conv2', { padding: 'valid', kernel_size: [90, 90] }), /conv2/],
    [
      'a cycle',
      withLayer('stem/conv', { inbound_nodes: [[['add', 0, 0, {}]]] }),
      /wait for each other, or for layers that there are not: stem\/conv for add/,
    ],
    ['a layer that is not there', withLayer('conv2', { inbound_nodes: [[['nobody', 0, 0, {}]]] }), /conv2 for nobody/],
    ['a second result', withLayer('conv2', { inbound_nodes: [[['add', 0, 1, {}]]] }), /its only result, got/],
    [
      'a call as inference',
      withLayer('stem/bn', { inbound_nodes: [[['stem/conv', 0, 0, { training: false }]]] }),
      /called without training/,
    ],
    ['two layers of a name', (json) => (configOf(json).layers.push(layerOf(json, 'add')), json), /one name/],
    [
      'two inputs',
      (json) => (
        (configOf(json).input_layers = [
          ['input_1', 0, 0],
          ['pool', 0, 0],
        ]),
        json
      ),
      /expected a model of one input/,
    ],
    ['no output', (json) => ((configOf(json).output_layers = [['nobody', 0, 0]]), json), /its output is of no layer/],
    [
      'rows as input',
      withSettings('input_1', { batch_input_shape: [null, 10, 3] }),
      /expected an input \[null, height, width, 1 or 3\]/,
    ],
    ['five channels', withSettings('input_1', { batch_input_shape: [null, 8, 8, 5] }), /1 or 3\], got \[null,8,8,5\]/],
    ['a graph', (json) => ({ ...json, format: 'graph-model' }), /convert it with --output_format=tfjs_layers_model/],
    ['a list', () => [], /it has \{\}|it has no modelTopology/],
    [
      'an upsampling without end',
      withLayer('dropout', { class_name: 'UpSampling2D', config: { name: 'dropout', size: [99999, 99999] } }),
      /expected layer dropout .* numbers a sample/,
    ],
  ])('%s', async (_, edit, message) => {
    expect(await refusalOf(kerasModel(), edit)).toMatch(message);
  });

  test('text that is no JSON, and keys by which an object’s kind is changed', async () => {
    await refusalOf(kerasModel());
    expect(await refusalOf('{"a":')).toMatch(/expected refused\/model.json to be JSON/);
    expect(await refusalOf('['.repeat(200_000))).toMatch(/to be JSON|layers model/);
    expect(await refusalOf('{"modelTopology": {"__proto__": {"polluted": true}}}')).toMatch(/no key __proto__/);
    expect(await refusalOf('{"modelTopology": {"constructor": {"prototype": {"polluted": 1}}}}')).toMatch(
      /no key constructor/,
    );
    expect(({} as Json)['polluted']).toBeUndefined();
  });

  test('models in each other, again and again', async () => {
    // Each is applied twice to what it has made: without an end to that, 2 to the power of 14 times.
    const inside = (depth: number): Json => {
      const own = { name: 'n', layers: [input([8, 8, 3], 'in'), ...(depth > 0 ? [inside(depth - 1)] : [])] };
      const calls = [[['in', 0, 0, {}]], [['n', 1, 0, {}]]];
      const ends = depth > 0 ? ['n', 2, 0] : ['in', 0, 0];
      return {
        class_name: 'Functional',
        name: 'n',
        config: { ...own, input_layers: [['in', 0, 0]], output_layers: [ends] },
        inbound_nodes: calls,
      };
    };
    await refusalOf(kerasModel());
    const { config } = inside(14);
    const text = JSON.stringify({ modelTopology: { class_name: 'Functional', config }, weightsManifest: [] });
    expect(await refusalOf(text)).toMatch(/models inside of it are applied more than/);
  });
});

describe('weights', () => {
  const manifestOf = async (edit: (manifest: { paths: string[]; weights: Json[] }) => void): Promise<string> => {
    const folder = path.join(inputs.dataRoot, 'refused');
    const { json, weights } = kerasModel();
    await writeModel({ json, weights }, folder);
    const manifest = {
      paths: ['group1-shard1of2.bin', 'group1-shard2of2.bin'],
      weights: weights.map(({ name, shape }): Json => ({ name, shape, dtype: 'float32' })),
    };
    edit(manifest);
    return refusalOf(JSON.stringify({ ...json, weightsManifest: [manifest] }));
  };

  test('of other shapes, missing, outside, cut short, of other types, without an end', async () => {
    expect(await manifestOf(({ weights }) => (weights[0]!['shape'] = [3, 3, 8, 3]))).toMatch(
      /stem\/conv\/kernel of shape \[3, 3, 3, 8\].* got \[3, 3, 8, 3\]/,
    );
    expect(await manifestOf(({ weights }) => (weights[0]!['name'] = 'other/kernel'))).toMatch(
      /expected stem\/conv\/kernel .* found other\/kernel/,
    );
    expect(await manifestOf(({ paths }) => (paths[0] = '../../../etc/passwd'))).toMatch(
      /inside the data root|found nothing/,
    );
    expect(await manifestOf(({ paths }) => (paths[0] = '/etc/passwd'))).toMatch(/found nothing/);
    expect(await manifestOf(({ paths }) => paths.pop())).toMatch(
      /its weights have \d+ bytes, group1-shard1of2.bin \d+/,
    );
    expect(await manifestOf(({ weights }) => (weights[0]!['dtype'] = 'int32'))).toMatch(
      /is of int32, expected float32/,
    );
    expect(await manifestOf(({ weights }) => (weights[0]!['shape'] = [2 ** 40, 2 ** 40]))).toMatch(/has the shape/);
    expect(await manifestOf(({ weights }) => (weights[0]!['shape'] = [-1]))).toMatch(/no name and shape/);
    expect(await manifestOf(({ weights }) => (weights[1]!['name'] = weights[0]!['name']))).toMatch(/have the name/);
  });

  test('that are no numbers, and variances below 0', async () => {
    const broken = (name: string, value: number): Model => {
      const model = kerasModel();
      model.weights.find((each) => each.name === name)!.values[0] = value;
      return model;
    };
    expect(await refusalOf(broken('conv2/kernel', Number.NaN))).toMatch(/finite values in conv2\/kernel/);
    expect(await refusalOf(broken('stem/bn/moving_variance', -1))).toMatch(/variances of at least 0/);
  });
});

interface Tried {
  config?: Json;
  weights?: Record<string, number[]>;
  /** What it is applied to: the map itself, or rows or a vector made of it. */
  from?: 'first' | 'rows' | 'vector';
  twice?: true;
}

/** Settings of a layer for maps [8, 8, 4], and its weights. */
const TRIED: Record<string, Tried> = {
  Activation: { config: { activation: 'hard_sigmoid' } },
  Add: { twice: true },
  AlphaDropout: { config: { rate: 0.3, noise_shape: null } },
  Average: { twice: true },
  AveragePooling1D: { config: { pool_size: [2], strides: [2], padding: 'valid' }, from: 'rows' },
  AveragePooling2D: { config: { pool_size: [2, 2], strides: [2, 2], padding: 'same' } },
  BatchNormalization: {
    config: { axis: -1, momentum: 0.99, epsilon: 1e-3, center: true, scale: false },
    weights: { beta: [4], moving_mean: [4], moving_variance: [4] },
  },
  Concatenate: { config: { axis: -1 }, twice: true },
  Conv1D: {
    config: { filters: 4, kernel_size: [3], strides: [1], padding: 'same', activation: 'gelu', use_bias: true },
    weights: { kernel: [3, 4, 4], bias: [4] },
    from: 'rows',
  },
  Conv2D: { config: convolution(4, 3, { activation: 'elu' }), weights: { kernel: [3, 3, 4, 4], bias: [4] } },
  Conv2DTranspose: {
    config: { ...convolution(4, 3, { strides: [2, 2] }), output_padding: null },
    weights: { kernel: [3, 3, 4, 4], bias: [4] },
  },
  Cropping2D: {
    config: {
      cropping: [
        [1, 1],
        [0, 2],
      ],
    },
  },
  Dense: { config: { units: 4, activation: 'selu', use_bias: true }, weights: { kernel: [4, 4], bias: [4] } },
  DepthwiseConv2D: {
    config: { kernel_size: [3, 3], strides: [1, 1], padding: 'same', depth_multiplier: 2, use_bias: true },
    weights: { depthwise_kernel: [3, 3, 4, 2], bias: [8] },
  },
  Dot: { config: { axes: 2, normalize: false }, from: 'rows', twice: true },
  Dropout: { config: { rate: 0.5 } },
  ELU: { config: { alpha: 1 } },
  Flatten: {},
  GaussianDropout: { config: { rate: 0.3 } },
  GaussianNoise: { config: { stddev: 0.2 } },
  GlobalAveragePooling1D: { from: 'rows' },
  GlobalAveragePooling2D: {},
  GlobalMaxPooling1D: { from: 'rows' },
  GlobalMaxPooling2D: {},
  LayerNormalization: {
    config: { axis: [3], epsilon: 1e-6, center: true, scale: true },
    weights: { gamma: [4], beta: [4] },
  },
  LeakyReLU: { config: { negative_slope: 0.2 } },
  Maximum: { twice: true },
  MaxPooling1D: { config: { pool_size: [2], strides: [2], padding: 'valid' }, from: 'rows' },
  MaxPooling2D: { config: { pool_size: [3, 3], strides: [2, 2], padding: 'same' } },
  Minimum: { twice: true },
  Multiply: { twice: true },
  PReLU: { config: { shared_axes: [1, 2] }, weights: { alpha: [1, 1, 4] } },
  Permute: { config: { dims: [2, 1, 3] } },
  ReLU: { config: { max_value: 6 } },
  RepeatVector: { config: { n: 3 }, from: 'vector' },
  Rescaling: { config: { scale: 0.5, offset: 0.1 } },
  Reshape: { config: { target_shape: [4, 64] } },
  SeparableConv2D: {
    config: { ...convolution(4, 3), depth_multiplier: 1 },
    weights: { depthwise_kernel: [3, 3, 4, 1], pointwise_kernel: [1, 1, 4, 4], bias: [4] },
  },
  Softmax: { config: { axis: -1 } },
  SpatialDropout1D: { config: { rate: 0.5 }, from: 'rows' },
  SpatialDropout2D: { config: { rate: 0.5, data_format: 'channels_last' } },
  UpSampling2D: { config: { size: [2, 2], interpolation: 'nearest' } },
  ZeroPadding2D: {
    config: {
      padding: [
        [1, 1],
        [1, 0],
      ],
    },
  },
};

describe('a layer of each class that is taken in learns, and is exported with the same features', () => {
  test('of every class', () => {
    expect(Object.keys(TRIED).sort()).toEqual(Object.keys(KINDS).sort());
  });

  test.each(Object.entries(TRIED))('%s', async (className, { config = {}, weights = {}, from = 'first', twice }) => {
    const before = {
      first: [],
      rows: [layer('Reshape', 'rows', { target_shape: [64, 4] }, 'first')],
      vector: [layer('GlobalAveragePooling2D', 'vector', {}, 'first')],
    };
    const layers = [
      input([8, 8, 3]),
      layer('Conv2D', 'first', convolution(4, 3), 'input_1'),
      ...before[from],
      layer(className, 'tried', config, from, ...(twice ? [from] : [])),
    ];
    const named = Object.fromEntries(Object.entries(weights).map(([name, shape]) => [`tried/${name}`, shape]));
    const folder = path.join(inputs.dataRoot, `tried-${className}`);
    await writeModel(
      {
        json: functional(layers, 'tried'),
        weights: drawn({ 'first/kernel': [3, 3, 3, 4], 'first/bias': [4], ...named }),
      },
      folder,
    );
    const taken = await run({ kind: 'import-model', name: 'own', path: `tried-${className}/model.json` });
    const tensors = tf.memory().numTensors;
    const outcome = await trained(
      { ...inputs, encoderModel: taken.files.get('model')! },
      { kind: 'finetune', dataset: 'tiny', from: null, encoder: { model: 'own' }, batchSize: 9, steps: 3 },
    );
    expect(outcome.metrics['train/loss']).toBeGreaterThan(0);
    expect(tf.memory().numTensors).toBe(tensors);
    await expectExported(outcome.files.get('model')!);
  });
});
