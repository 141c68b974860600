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

test('activations, limits and windows that only foreign networks have are computed alike', async () => {
  const x = layers.input({ shape: [6, 5, 4], name: 'images' });
  const through = (...chain: layers.layers.Layer[]) =>
    chain.reduce((value, layer) => layer.apply(value) as layers.SymbolicTensor, x);
  const words = [
    ...['elu', 'gelu', 'gelu_new', 'hardSigmoid', 'linear', 'logSoftmax', 'mish', 'relu', 'relu6', 'selu'],
    ...['sigmoid', 'softmax', 'softplus', 'softsign', 'swish', 'tanh'],
  ] as NonNullable<Parameters<typeof layers.layers.activation>[0]['activation']>[];
  const { activation, concatenate, conv2dTranspose, depthwiseConv2d, rescaling, reLU, separableConv2d } = layers.layers;
  // From -4 to 4: on both sides of every bend.
  const wide = () => rescaling({ scale: 8, offset: -4 });
  const outputs = [
    ...words.map((word) => through(wide(), activation({ activation: word }))),
    through(wide(), reLU({ maxValue: 1.5 })),
    through(rescaling({ scale: [1, 2, 3, 4] as never, offset: [0, 1, 0, 1] as never })),
    through(layers.layers.upSampling2d({ size: [2, 3], interpolation: 'bilinear' })),
    ...([2, 3, 4] as const).flatMap((strides) =>
      (['same', 'valid'] as const).map((padding) =>
        through(conv2dTranspose({ filters: 3, kernelSize: [3, 2], strides, padding, useBias: true })),
      ),
    ),
    through(depthwiseConv2d({ kernelSize: [3, 2], strides: 2, depthMultiplier: 2, padding: 'same' })),
    through(separableConv2d({ filters: 5, kernelSize: 3, strides: 2, depthMultiplier: 2, padding: 'valid' })),
    through(separableConv2d({ filters: 5, kernelSize: 3, dilationRate: 2, padding: 'same', activation: 'relu' })),
    concatenate({ axis: 1 }).apply([x, x]) as layers.SymbolicTensor,
  ];
  const model = layers.model({ inputs: x, outputs });
  const images = uniform([2, 6, 5, 4]);
  const expected = model.predict(images) as tf.Tensor[];
  const names = outputs.map((_, i) => `out${i}`);
  const results = await byOnnx(Buffer.concat(onnxOf(model, names, {})), [images], names);
  expected.forEach((values, i) => expectClose(results[i]!, values, 1e-5));
});

test.each<[string, () => layers.layers.Layer, RegExp]>([
  [
    'an unknown layer',
    () => layers.layers.thresholdedReLU({ name: 'odd' }),
    /expected one of Activation.*got ThresholdedReLU in layer odd/,
  ],
  [
    'channels first',
    () => layers.layers.conv2d({ name: 'odd', filters: 2, kernelSize: 3, dataFormat: 'channelsFirst' }),
    /expected dataFormat channelsLast.*got "channelsFirst" in layer odd/,
  ],
  [
    'normalisation over several axes',
    () => layers.layers.layerNormalization({ name: 'odd', axis: [1, 2, 3] }),
    /expected axis -1 or 3.*got \[1,2,3\] in layer odd/,
  ],
  [
    'another axis',
    () => layers.layers.batchNormalization({ name: 'odd', axis: 1 }),
    /expected axis -1 or 3.*got 1 in layer odd .*: export to tfjs or safetensors/,
  ],
])('%s gives no ONNX file', (_, layer, message) => {
  const x = layers.input({ shape: [4, 4, 3] });
  const model = layers.model({ inputs: x, outputs: layer().apply(x) as layers.SymbolicTensor });
  const attempt = () => onnxOf(model, ['y'], {});
  expect(attempt).toThrow(message);
  expect(attempt).toThrow(expect.objectContaining({ reason: 'invalid_spec' }));
});
