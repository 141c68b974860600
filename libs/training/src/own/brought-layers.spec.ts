/** Layers that people bring: those that draw, by what they draw; those that are refused, by what is said of them. */
import * as tf from '@tensorflow/tfjs-core';
import { InvalidDataError } from '#libs/data';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { convolution, drawn, functional, input, layer, writeModel } from '../../../../tests/support/layers-models.js';
import { expectSameModel, inputs, run, trained, useTinyDataset } from '../../../../tests/support/training-runs.js';
import { withStepSeed } from '../networks/step-seed.js';
import { KINDS } from './layer-kinds.js';
import { topologyFrom } from './topology.js';

useTinyDataset();

type Json = Record<string, unknown>;
/** The description of a network in which a layer of a class comes first. */
const withFirst = (className: string, config: Json, version = '2.15.0'): Json => {
  const json = functional(
    [
      input([8, 8, 3]),
      layer(className, 'brought', config, 'input_1'),
      layer('GlobalAveragePooling2D', 'pool', {}, 'brought'),
    ],
    'pool',
  );
  (json['modelTopology'] as Json)['keras_version'] = version;
  return json;
};
const refusalOf = (...given: Parameters<typeof withFirst>): string => {
  try {
    topologyFrom(withFirst(...given), 'model.json');
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidDataError);
    return (error as Error).message;
  }
  return 'taken in';
};

describe('what does not learn here is refused by its name, with what to do', () => {
  const other = (className: string, advice: RegExp): [string, RegExp] => [
    className,
    new RegExp(`got brought of the class ${className} in model.json: ${advice.source}`),
  ];
  test.each<[string, RegExp]>([
    ...['LSTM', 'GRU', 'SimpleRNN', 'Bidirectional', 'TimeDistributed', 'ConvLSTM2D'].map((name) =>
      other(name, /recurrent layers do not learn here: end the model at the layer before/),
    ),
    ...['MultiHeadAttention', 'Attention', 'AdditiveAttention'].map((name) =>
      other(name, /tfjs has no attention that learns: the transformers here/),
    ),
    ...['RandomFlip', 'RandomRotation', 'RandomZoom', 'RandomContrast', 'RandAugment', 'MixUp'].map((name) =>
      other(name, /leave it out: views are made by the spec's `augmentation`/),
    ),
    other('Normalization', /leave it out, and give its mean and deviation .* by --mean and --std/),
    ...['Resizing', 'CenterCrop'].map((name) => other(name, /leave it out: .*--image-size/)),
    ...['Embedding', 'TextVectorization'].map((name) => other(name, /the input of a model is one picture/)),
    other('ThresholdedReLU', /it has no gradient in tfjs: take ReLU, or PReLU/),
    ...['Lambda', 'TFOpLambda'].map((name) => other(name, /it is code/)),
    ...['ZeroPadding1D', 'UpSampling1D', 'GroupNormalization', 'Subtract', 'Conv3D'].map((name) =>
      other(name, /Activation, Add, AlphaDropout, /),
    ),
  ])('%s', (className, message) => {
    expect(refusalOf(className, {})).toMatch(message);
  });

  test.each<[string, string, Json, RegExp, string?]>([
    ['a slope that tfjs’s ReLU has not', 'ReLU', { negative_slope: 0.1 }, /expected negative_slope of 0 of .* got 0.1/],
    ['a threshold', 'ReLU', { threshold: 1 }, /expected threshold of 0 of layer brought .* got 1/],
    ['a shape of noise', 'Dropout', { rate: 0.5, noise_shape: [null, 1] }, /expected no noise_shape of layer brought/],
    ...['DepthwiseConv2D', 'Conv2DTranspose'].map((name): [string, string, Json, RegExp] => [
      'a dilation that tfjs forgets',
      name,
      { ...convolution(4, 3), dilation_rate: [2, 2] },
      /expected dilation_rate of 1 of layer brought .* got \[2,2\]/,
    ]),
    [
      'a padding of outputs',
      'Conv2DTranspose',
      { ...convolution(4, 3), output_padding: [1, 1] },
      /expected no output_padding of layer brought .* got \[1,1\]/,
    ],
    [
      'a mean square instead of a deviation',
      'LayerNormalization',
      { axis: -1, rms_scaling: true },
      /expected rms_scaling of false of layer brought/,
    ],
    [
      'Keras’s grid of places between others',
      'UpSampling2D',
      { size: [2, 2], interpolation: 'bilinear' },
      /interpolation of layer brought .* to be nearest, got "bilinear", which tfjs computes on another grid than Keras/,
    ],
    [
      'Keras 3’s hard_sigmoid',
      'Activation',
      { activation: 'hard_sigmoid' },
      /got "hard_sigmoid", which is relu6\(x \+ 3\) \/ 6 in Keras 3, .*: write the former by layers/,
      '3.15.1',
    ],
    ['leaky_relu as a word', 'Activation', { activation: 'leaky_relu' }, /activation of layer brought .* to be linear/],
    ['exponential', 'Activation', { activation: 'exponential' }, /activation of layer brought .* got "exponential"/],
    ['a causal window', 'Conv1D', { filters: 4, padding: 'causal' }, /to be same, valid, got "causal"/],
  ])('%s', (_, className, config, message, version = '2.15.0') => {
    expect(refusalOf(className, config, version)).toMatch(message);
  });

  test.each<[string, Json, string]>([
    ['UpSampling2D', { size: [2, 2], interpolation: 'bilinear' }, 'tfjs-layers 4.22.0'],
    ['Activation', { activation: 'hard_sigmoid' }, '2.15.0'],
    ['ReLU', { max_value: 6, negative_slope: 0, threshold: 0 }, '3.15.1'],
    ['Conv2DTranspose', { ...convolution(4, 3), output_padding: null }, '2.15.0'],
    ...['silu', 'swish', 'gelu', 'elu', 'selu', 'mish', 'relu6', 'log_softmax', 'softplus'].map(
      (activation): [string, Json, string] => ['Activation', { activation }, '3.15.1'],
    ),
  ])('%s of %o is what tfjs computes in a file of %s', (className, config, version) => {
    expect(refusalOf(className, config, version)).toBe('taken in');
  });
});

describe('layers that draw', () => {
  const made = (className: string, config: Json) => KINDS[className]!.make({ name: 'drawing', ...config });
  const seed = () => tf.tensor1d([1, 2], 'int32');
  /** What a layer makes of x in a step, numbers drawn by the seed [1, 2]. */
  const inStep = (className: string, config: Json, x: tf.Tensor, training = true): tf.Tensor =>
    tf.tidy(() => withStepSeed(seed(), () => made(className, config).call(x, { training }) as tf.Tensor));
  const momentsOf = (x: tf.Tensor): [mean: number, deviation: number] => {
    const { mean, variance } = tf.moments(x);
    return [mean.dataSync()[0]!, Math.sqrt(variance.dataSync()[0]!)];
  };

  test.each<[string, Json, mean: number, deviation: number]>([
    ['GaussianNoise', { stddev: 0.3 }, 1, 0.3],
    ['GaussianDropout', { rate: 0.2 }, 1, 0.5],
    ['Dropout', { rate: 0.2 }, 1, 0.5],
    ['SpatialDropout2D', { rate: 0.2 }, 1, 0.5],
    ['SpatialDropout1D', { rate: 0.2 }, 1, 0.5],
  ])('%s %o of ones has their mean, and a deviation', (className, config, mean, deviation) => {
    tf.tidy(() => {
      const x = tf.ones(className.endsWith('1D') ? [64, 4, 256] : [64, 2, 2, 256]);
      const [found, spread] = momentsOf(inStep(className, config, x));
      expect(Math.abs(found - mean)).toBeLessThan(0.03);
      expect(Math.abs(spread - deviation)).toBeLessThan(0.03);
    });
  });

  test('AlphaDropout keeps mean and deviation of numbers about 0', () => {
    tf.tidy(() => {
      const x = tf.randomNormal([64, 1024], 0, 1, 'float32', 3);
      const [mean, deviation] = momentsOf(inStep('AlphaDropout', { rate: 0.3 }, x));
      expect(Math.abs(mean)).toBeLessThan(0.02);
      expect(Math.abs(deviation - 1)).toBeLessThan(0.02);
    });
  });

  test('whole channels of a sample, and no others, are left out by a spatial dropout', () => {
    tf.tidy(() => {
      const left = inStep('SpatialDropout2D', { rate: 0.5 }, tf.ones([8, 3, 3, 16]));
      const most = tf.max(left, [1, 2]);
      expect(tf.min(left, [1, 2]).dataSync()).toEqual(most.dataSync());
      expect([...new Set(most.dataSync())].sort()).toEqual([0, 2]);
    });
  });

  const EACH: [string, Json][] = [
    ['AlphaDropout', { rate: 0.3 }],
    ['Dropout', { rate: 0.3 }],
    ['GaussianDropout', { rate: 0.3 }],
    ['GaussianNoise', { stddev: 0.3 }],
    ['SpatialDropout1D', { rate: 0.3 }],
    ['SpatialDropout2D', { rate: 0.3 }],
  ];
  test.each(EACH)('%s draws by the step’s seed, each draw another, and nothing at inference', (className, config) => {
    tf.tidy(() => {
      const x = tf.ones(className.endsWith('1D') ? [4, 2, 8] : [4, 2, 2, 8]);
      const first = inStep(className, config, x).dataSync();
      expect(inStep(className, config, x).dataSync()).toEqual(first);
      const drawing = made(className, config);
      const twice = withStepSeed(seed(), () => [0, 1].map(() => drawing.call(x, { training: true }) as tf.Tensor));
      expect(twice[0]!.dataSync()).toEqual(first);
      expect(twice[1]!.dataSync()).not.toEqual(first);
      expect(inStep(className, config, x, false).dataSync()).toEqual(x.dataSync());
    });
  });

  test.each<[string, Json]>([
    ['Dropout', { rate: 1 }],
    ['GaussianDropout', { rate: -0.1 }],
    ['GaussianNoise', { stddev: -1 }],
  ])('%s %o is refused', (className, config) => {
    expect(() => made(className, config)).toThrow(/expected a (rate|stddev) of at least 0/);
  });

  test('all of them in one network: a run that is resumed ends in the same weights, bit for bit', async () => {
    const chain = EACH.filter(([name]) => name !== 'SpatialDropout1D').map(([className, config], i) =>
      layer(className, `drawing${i}`, config, i === 0 ? 'conv' : `drawing${i - 1}`),
    );
    const last = `drawing${chain.length - 1}`;
    const model = (layers: Json[]) => ({
      json: functional(layers, 'pool'),
      weights: drawn({ 'conv/kernel': [3, 3, 3, 8], 'conv/bias': [8] }),
    });
    const first = [input([8, 8, 3]), layer('Conv2D', 'conv', convolution(8, 3, { activation: 'selu' }), 'input_1')];
    const takenIn = async (folder: string, layers: Json[]) => {
      await writeModel(model([...first, ...layers]), path.join(inputs.dataRoot, folder));
      const { files } = await run({ kind: 'import-model', name: 'own', path: `${folder}/model.json` });
      return { ...inputs, encoderModel: files.get('model')! };
    };
    const spec = {
      kind: 'finetune',
      dataset: 'tiny',
      from: null,
      encoder: { model: 'own' },
      batchSize: 9,
      steps: 6,
    } as const;
    const all = await takenIn('drawing', [...chain, layer('GlobalAveragePooling2D', 'pool', {}, last)]);
    const whole = await trained(all, spec);
    const before = tf.memory().numTensors;
    const begun = await trained(all, spec, { stopAt: 3 });
    expect(begun.stopped).toMatchObject({ step: 3 });
    const resumed = await trained(all, spec, { checkpoint: begun.files.get('checkpoint')! });
    expect(tf.memory().numTensors).toBe(before);
    await expectSameModel(resumed, whole);
    const still = await takenIn('still', [layer('GlobalAveragePooling2D', 'pool', {}, 'conv')]);
    expect((await trained(still, spec)).metrics).not.toEqual(whole.metrics);
  });
});
