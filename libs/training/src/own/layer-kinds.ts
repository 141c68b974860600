/** Which layers of foreign models are trained, and of which of their settings. */
import * as layers from '@tensorflow/tfjs-layers';
import { BatchNorm } from '../networks/layers.js';
import * as drawing from './drawing-layers.js';

/** What a layer may be set to: no text but what is chosen among, and no object. */
export type Setting = number | boolean | string | null | Setting[];
export type Settings = Readonly<Record<string, Setting>>;

const ACTIVATIONS = [
  ...['linear', 'relu', 'relu6', 'elu', 'selu', 'gelu', 'gelu_new', 'swish', 'mish', 'sigmoid', 'hardSigmoid'],
  ...['tanh', 'softmax', 'logSoftmax', 'softplus', 'softsign'],
];
/** Words that settings may have; those of Keras have been put into tfjs's spelling. */
export const WORDS: Readonly<Record<string, readonly string[]>> = {
  activation: ACTIVATIONS,
  padding: ['same', 'valid'],
  dataFormat: ['channelsLast'],
  interpolation: ['nearest', 'bilinear'],
};
/** Settings that Keras has and tfjs has not: what they have to be, if they are there, for the layer to be the same. */
export const FIXED: Readonly<Record<string, readonly Setting[]>> = {
  groups: [1],
  keepdims: [false],
  renorm: [false],
  threshold: [0],
  outputPadding: [],
  noiseShape: [],
  rmsScaling: [false],
};

type Layer = layers.layers.Layer;
type Make = (settings: { name: string } & Settings) => Layer;
/** How a layer is made, which of its settings count, and which, beside `FIXED`, have to be what they are here. */
interface Kind {
  make: Make;
  settings: readonly string[];
  fixed?: Readonly<Record<string, readonly Setting[]>>;
  /** It draws while it learns. */
  draws?: true;
}
// tfjs checks what it is given; each factory has a type of settings of its own.
const made = (factory: (settings: never) => Layer, ...settings: string[]): Kind => ({
  make: (given) => factory(given as never),
  settings,
});
const drawn = <Given extends object>(Drawn: new (settings: Given) => Layer, ...settings: string[]): Kind => ({
  ...made((given: Given) => new Drawn(given), ...settings),
  draws: true,
});
const {
  activation,
  add,
  average,
  averagePooling1d,
  averagePooling2d,
  concatenate,
  conv1d,
  conv2d,
  conv2dTranspose,
  cropping2D,
  dense,
  depthwiseConv2d,
  dot,
  elu,
  flatten,
  globalAveragePooling1d,
  globalAveragePooling2d,
  globalMaxPooling1d,
  globalMaxPooling2d,
  layerNormalization,
  leakyReLU,
  maximum,
  maxPooling1d,
  maxPooling2d,
  minimum,
  multiply,
  permute,
  prelu,
  reLU,
  repeatVector,
  rescaling,
  reshape,
  separableConv2d,
  softmax,
  upSampling2d,
  zeroPadding2d,
} = layers.layers;
const CONVOLUTION = ['kernelSize', 'strides', 'padding', 'dilationRate', 'activation', 'useBias', 'dataFormat'];
const WINDOW = ['poolSize', 'strides', 'padding', 'dataFormat'];
/** Of layers that take a dilation, and that tfjs computes as if there were none. */
const UNDILATED = { dilationRate: [1, [1, 1]] };

/** Layers by the names of their classes in files. */
export const KINDS: Readonly<Record<string, Kind>> = {
  Activation: made(activation, 'activation'),
  Add: made(add),
  AlphaDropout: drawn(drawing.AlphaDropout, 'rate'),
  Average: made(average),
  AveragePooling1D: made(averagePooling1d, 'poolSize', 'strides', 'padding'),
  AveragePooling2D: made(averagePooling2d, ...WINDOW),
  BatchNormalization: made(
    (settings: ConstructorParameters<typeof BatchNorm>[0]) => new BatchNorm(settings),
    ...['axis', 'momentum', 'epsilon', 'center', 'scale'],
  ),
  Concatenate: made(concatenate, 'axis'),
  Conv1D: made(conv1d, 'filters', ...CONVOLUTION),
  Conv2D: made(conv2d, 'filters', ...CONVOLUTION),
  Conv2DTranspose: { ...made(conv2dTranspose, 'filters', ...CONVOLUTION), fixed: UNDILATED },
  Cropping2D: made(cropping2D, 'cropping', 'dataFormat'),
  Dense: made(dense, 'units', 'activation', 'useBias'),
  DepthwiseConv2D: { ...made(depthwiseConv2d, 'depthMultiplier', ...CONVOLUTION), fixed: UNDILATED },
  Dot: made(dot, 'axes', 'normalize'),
  Dropout: drawn(drawing.Dropout, 'rate'),
  ELU: made(elu, 'alpha'),
  Flatten: made(flatten, 'dataFormat'),
  GaussianDropout: drawn(drawing.GaussianDropout, 'rate'),
  GaussianNoise: drawn(drawing.GaussianNoise, 'stddev'),
  GlobalAveragePooling1D: made(globalAveragePooling1d),
  GlobalAveragePooling2D: made(globalAveragePooling2d, 'dataFormat'),
  GlobalMaxPooling1D: made(globalMaxPooling1d),
  GlobalMaxPooling2D: made(globalMaxPooling2d, 'dataFormat'),
  LayerNormalization: made(layerNormalization, 'axis', 'epsilon', 'center', 'scale'),
  LeakyReLU: made(leakyReLU, 'alpha'),
  Maximum: made(maximum),
  MaxPooling1D: made(maxPooling1d, 'poolSize', 'strides', 'padding'),
  MaxPooling2D: made(maxPooling2d, ...WINDOW),
  Minimum: made(minimum),
  Multiply: made(multiply),
  PReLU: made(prelu, 'sharedAxes'),
  Permute: made(permute, 'dims'),
  ReLU: { ...made(reLU, 'maxValue'), fixed: { negativeSlope: [0] } },
  RepeatVector: made(repeatVector, 'n'),
  Rescaling: made(rescaling, 'scale', 'offset'),
  Reshape: made(reshape, 'targetShape'),
  SeparableConv2D: made(separableConv2d, 'filters', 'depthMultiplier', ...CONVOLUTION),
  Softmax: made(softmax, 'axis'),
  SpatialDropout1D: drawn(drawing.SpatialDropout1D, 'rate'),
  SpatialDropout2D: drawn(drawing.SpatialDropout2D, 'rate'),
  UpSampling2D: made(upSampling2d, 'size', 'interpolation', 'dataFormat'),
  ZeroPadding2D: made(zeroPadding2d, 'padding', 'dataFormat'),
};

const RECURRENT = ['Bidirectional', 'ConvLSTM2D', 'GRU', 'LSTM', 'RNN', 'SimpleRNN', 'TimeDistributed'];
const ATTENTION = ['AdditiveAttention', 'Attention', 'GroupedQueryAttention', 'MultiHeadAttention'];
const OF_PICTURES = ['CenterCrop', 'Resizing'];
const OF_TEXT = ['CategoryEncoding', 'Discretization', 'Embedding', 'Hashing', 'StringLookup', 'TextVectorization'];
const CODE = ['Lambda', 'SlicingOpLambda', 'TFOpLambda'];

/** What to do about a layer that people bring and that is not trained here. Undefined for any other. */
export function adviceOn(className: string): string | undefined {
  if (RECURRENT.includes(className))
    return 'recurrent layers do not learn here: end the model at the layer before, whose rows can be the features';
  if (ATTENTION.includes(className))
    return 'tfjs has no attention that learns: the transformers here (`encoder: {name: vit-small}`) have';
  if (className === 'Normalization')
    return 'leave it out, and give its mean and deviation (of an input in [0, 1]) by --mean and --std';
  if (/^Random[A-Z]|^(AugMix|AutoContrast|CutMix|Equalization|MixUp|RandAugment|Solarization)$/.test(className))
    return "leave it out: views are made by the spec's `augmentation`";
  if (OF_PICTURES.includes(className))
    return 'leave it out: a dataset is prepared at the size that a network sees (--image-size)';
  if (OF_TEXT.includes(className)) return 'the input of a model is one picture';
  if (className === 'ThresholdedReLU') return 'it has no gradient in tfjs: take ReLU, or PReLU';
  if (CODE.includes(className)) return 'it is code: write what it does by layers (Rescaling, Add, Multiply, Reshape)';
  return undefined;
}

/**
 * Why a word of one program is another thing in tfjs, and what to do. Undefined where it means the same.
 * @param madeBy the version that a description says of itself
 */
export function meantOtherwise(word: string, madeBy: string): string | undefined {
  if (word === 'hardSigmoid' && /^3\./.test(madeBy))
    return (
      'which is relu6(x + 3) / 6 in Keras 3, and max(0, min(1, x / 5 + 1 / 2)) in tfjs: write the former by layers ' +
      '(Rescaling, ReLU with max_value 6, Rescaling)'
    );
  if (word === 'bilinear' && !/^tfjs-layers /.test(madeBy))
    return 'which tfjs computes on another grid than Keras: take nearest, or Conv2DTranspose';
  return undefined;
}
