/** Keras 3 describes networks otherwise than Keras 2, and names weights otherwise: the same network comes of both. */
import * as tf from '@tensorflow/tfjs-core';
import path from 'node:path';
import { expect, test } from 'vitest';
import { expectExported, featuresOf } from '../../../../tests/support/exports.js';
import { asKeras3, namedAsKeras3 } from '../../../../tests/support/keras-3.js';
import {
  convolution,
  drawn,
  functional,
  input,
  layer,
  writeModel,
  type Model,
  type Weight,
} from '../../../../tests/support/layers-models.js';
import { uniform } from '../../../../tests/support/onnx-runtime.js';
import { inputs, run, trained, useTinyDataset, type Outcome } from '../../../../tests/support/training-runs.js';
import { readTensors } from '../checkpoint.js';
import type { ModelState } from '../run-inputs.js';

useTinyDataset();

type Json = Record<string, unknown>;
const normalisation = { axis: -1, momentum: 0.99, epsilon: 0.001, center: true, scale: true };
const depthwise = { kernel_size: [3, 3], strides: [1, 1], padding: 'same', depth_multiplier: 1, use_bias: false };

/** What people bring: a residual network with all kinds of convolutions, normalisations and a dropout. */
const LAYERS = [
  input([8, 8, 3], 'input_layer'),
  layer('Rescaling', 'rescaling', { scale: 2, offset: -1 }, 'input_layer'),
  layer('Conv2D', 'conv2d', convolution(8, 3, { use_bias: false }), 'rescaling'),
  layer('BatchNormalization', 'norm', normalisation, 'conv2d'),
  layer('ReLU', 're_lu', { max_value: null, negative_slope: 0, threshold: 0 }, 'norm'),
  layer('DepthwiseConv2D', 'depthwise', { ...depthwise, activation: 'linear' }, 're_lu'),
  layer('BatchNormalization', 'norm_1', normalisation, 'depthwise'),
  layer('Activation', 'activation', { activation: 'silu' }, 'norm_1'),
  layer('Conv2D', 'conv2d_1', convolution(8, 1), 'activation'),
  layer('Add', 'add', {}, 're_lu', 'conv2d_1'),
  layer('PReLU', 'p_re_lu', { shared_axes: [1, 2] }, 'add'),
  layer('SeparableConv2D', 'separable', { ...convolution(12, 3), depth_multiplier: 1, strides: [2, 2] }, 'p_re_lu'),
  layer('LayerNormalization', 'layer_norm', { axis: -1, epsilon: 1e-3, center: true, scale: true }, 'separable'),
  layer('Dense', 'dense', { units: 12, activation: 'gelu', use_bias: true }, 'layer_norm'),
  layer('Dropout', 'dropout', { rate: 0.2, noise_shape: null, seed: null }, 'dense'),
  layer('GlobalAveragePooling2D', 'pool', { data_format: 'channels_last', keepdims: false }, 'dropout'),
  layer('Dense', 'dense_1', { units: 5, activation: 'softmax', use_bias: true }, 'pool'),
];
const normWeights = (name: string) =>
  Object.fromEntries(['gamma', 'beta', 'moving_mean', 'moving_variance'].map((part) => [`${name}/${part}`, [8]]));
const KERAS_2: Model = {
  json: functional(LAYERS, 'dense_1', 'input_layer'),
  weights: drawn({
    'conv2d/kernel': [3, 3, 3, 8],
    ...normWeights('norm'),
    'depthwise/depthwise_kernel': [3, 3, 8, 1],
    ...normWeights('norm_1'),
    'conv2d_1/kernel': [1, 1, 8, 8],
    'conv2d_1/bias': [8],
    'p_re_lu/alpha': [1, 1, 8],
    'separable/depthwise_kernel': [3, 3, 8, 1],
    'separable/pointwise_kernel': [1, 1, 8, 12],
    'separable/bias': [12],
    'layer_norm/gamma': [12],
    'layer_norm/beta': [12],
    'dense/kernel': [12, 12],
    'dense/bias': [12],
    'dense_1/kernel': [12, 5],
    'dense_1/bias': [5],
  }),
};

async function takenIn(model: Model, folder: string): Promise<Outcome> {
  await writeModel(model, path.join(inputs.dataRoot, folder));
  return run({ kind: 'import-model', name: 'own', path: `${folder}/model.json` });
}
const fileOf = (outcome: Outcome): string => outcome.files.get('model')!;

/** Features of two images that are drawn: those of Keras 3.15.1 with the same weights, on JAX. */
const BY_KERAS = [
  [
    ...[1.361909, -0.05162966, 0.979465, 0.8447881, -0.1292064, 0.2473283],
    ...[-0.04781326, -0.1562408, 0.2404105, 0.1200381, 0.6710094, 0.8262728],
  ],
  [
    ...[1.524553, -0.02588589, 1.162022, 0.9778314, -0.1494464, 0.3841877],
    ...[-0.09928227, -0.1537572, 0.1852219, -0.06444061, 0.6200068, 1.03704],
  ],
];

test.each(['.h5', '.keras'] as const)('a network of a %s of Keras 3 is that of Keras 2', async (file) => {
  const weights = namedAsKeras3(KERAS_2.weights, LAYERS, file);
  // Whole numbers, of which no layer is made: how far a dropout's draws have come.
  const draws = 'layers/dropout/seed_generator/vars/0';
  const others: Weight[] = [{ name: draws, shape: [2], values: new Float32Array(2), dtype: 'int32' }];
  const [old, taken] = [
    await readTensors<ModelState>(fileOf(await takenIn(KERAS_2, 'keras-2'))),
    await takenIn({ json: asKeras3(KERAS_2.json, file), weights: [...weights, ...others] }, `keras-3${file}`),
  ];
  expect(taken.lines.join('\n')).toContain(draws);
  const { state, tensors } = await readTensors<ModelState>(fileOf(taken));
  expect(state).toEqual(old.state);
  expect([...tensors]).toEqual([...old.tensors]);
});

test('its features are Keras’s own, it learns, and its export gives what it gives', async () => {
  const model = { json: asKeras3(KERAS_2.json, '.keras'), weights: namedAsKeras3(KERAS_2.weights, LAYERS, '.keras') };
  const encoderModel = fileOf(await takenIn(model, 'keras-3'));
  const images = uniform([2, 8, 8, 3]);
  const features = await featuresOf(encoderModel, images, { features: 'pool' });
  const expected = tf.tensor2d(BY_KERAS);
  expect(tf.max(tf.abs(tf.sub(features, expected))).dataSync()[0]).toBeLessThan(1e-5);
  tf.dispose([images, features, expected]);
  const outcome = await trained(
    { ...inputs, encoderModel },
    {
      kind: 'pretrain',
      dataset: 'tiny',
      encoder: { model: 'own', features: 'pool' },
      batchSize: 19,
      epochs: 1,
      knn: { k: 3 },
    },
  );
  expect(outcome.metrics['train/loss']).toBeGreaterThan(0);
  await expectExported(fileOf(outcome));
});

test('what + makes of two values is a sum, whose parts stand beside each other', async () => {
  const json = asKeras3(KERAS_2.json, '.keras');
  const { layers } = ((json['modelTopology'] as Json)['model_config'] as { config: { layers: Json[] } }).config;
  const sum = layers.find(({ name }) => name === 'add')!;
  const [call] = sum['inbound_nodes'] as { args: unknown[][] }[];
  sum['inbound_nodes'] = [{ args: call!.args[0], kwargs: {} }];
  const weights = namedAsKeras3(KERAS_2.weights, LAYERS, '.keras');
  const [one, other] = [await takenIn(KERAS_2, 'keras-2'), await takenIn({ json, weights }, 'operator')];
  expect((await readTensors(fileOf(other))).state).toEqual((await readTensors(fileOf(one))).state);
});
