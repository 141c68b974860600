import type * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { beforeAll, expect, test } from 'vitest';
import { byOnnx, expectClose, uniform } from '../../../../tests/support/onnx-runtime.js';
import { onnxOf } from './onnx.js';
import { loadTensorFlow } from '#libs/tensorflow';

beforeAll(() => loadTensorFlow({ threads: 1 }));

test('layers and settings that no network here has yet are computed alike', async () => {
  const [sound, other] = [
    layers.input({ shape: [21, 2], name: 'sound' }),
    layers.input({ shape: [9, 3], name: 'other' }),
  ];
  const places = layers.layers
    .conv1d({ filters: 3, kernelSize: 5, strides: 2, activation: 'tanh', padding: 'valid', name: 'places' })
    .apply(sound) as layers.SymbolicTensor;
  const wide = layers.layers
    .conv1d({ filters: 4, kernelSize: 4, dilationRate: 3, padding: 'same', useBias: false, name: 'wide' })
    .apply(layers.layers.concatenate().apply([places, other])) as layers.SymbolicTensor;
  const mean = layers.layers.globalAveragePooling1d({}).apply(wide) as layers.SymbolicTensor;
  const map = layers.layers
    .upSampling2d({ size: [3, 2] })
    .apply(
      layers.layers
        .reshape({ targetShape: [4, 3, 3] })
        .apply(layers.layers.flatten().apply(layers.layers.leakyReLU({ alpha: 0.2 }).apply(wide))),
    ) as layers.SymbolicTensor;
  const uneven = layers.layers
    .conv2d({ filters: 2, kernelSize: [2, 5], strides: [3, 2], padding: 'same', activation: 'relu' })
    .apply(
      layers.layers
        .cropping2D({
          cropping: [
            [1, 0],
            [0, 2],
          ],
        })
        .apply(map),
    ) as layers.SymbolicTensor;
  const model = layers.model({
    inputs: [sound, other],
    outputs: [uneven, layers.layers.dense({ units: 3, activation: 'sigmoid' }).apply(mean) as layers.SymbolicTensor],
  });
  const x = [uniform([2, 21, 2], 1), uniform([2, 9, 3], 2)];
  const expected = model.predict(x) as tf.Tensor[];
  const results = await byOnnx(Buffer.concat(onnxOf(model, ['map', 'odds'], {})), x, ['map', 'odds']);
  expected.forEach((values, i) => expectClose(results[i]!, values, 1e-5));
});

test.each<[string, () => layers.layers.Layer, RegExp]>([
  ['an unknown layer', () => layers.layers.elu({ name: 'odd' }), /expected one of Conv1D.*got ELU in layer odd/],
  ['a limit', () => layers.layers.reLU({ name: 'odd', maxValue: 6 }), /maxValue.*got 6 in layer odd/],
  [
    'another interpolation',
    () => layers.layers.upSampling2d({ name: 'odd', interpolation: 'bilinear' }),
    /expected interpolation nearest.*got "bilinear" in layer odd/,
  ],
  [
    'another activation',
    () => layers.layers.activation({ name: 'odd', activation: 'softmax' }),
    /expected activation linear or relu.*got "softmax" in layer odd/,
  ],
  ['a dense layer over a map', () => layers.layers.dense({ name: 'odd', units: 2 }), /expected vectors.*in layer odd/],
  [
    'another axis',
    () => layers.layers.batchNormalization({ name: 'odd', axis: 1 }),
    /expected axis -1 or 3.*got 1 in layer odd/,
  ],
])('%s gives no ONNX file', (_, layer, message) => {
  const x = layers.input({ shape: [4, 4, 3] });
  const model = layers.model({ inputs: x, outputs: layer().apply(x) as layers.SymbolicTensor });
  const attempt = () => onnxOf(model, ['y'], {});
  expect(attempt).toThrow(message);
  expect(attempt).toThrow(expect.objectContaining({ reason: 'invalid_spec' }));
});
