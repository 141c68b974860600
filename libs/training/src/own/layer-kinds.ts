/** Which layers of foreign models are trained, and of which of their settings. */
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { BatchNorm, only } from '../networks/layers.js';
import { drawInStep } from '../networks/step-seed.js';

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
/** Settings that Keras has and tfjs has not: what they have to be for the layer to be the same. */
export const FIXED: Readonly<Record<string, Setting>> = {
  groups: 1,
  keepdims: false,
  renorm: false,
  threshold: 0,
  outputPadding: null,
};

/** While it learns, a number is left out `rate` of the time, and otherwise as much more; drawn by the step's seed. */
class SeededDropout extends layers.layers.Layer {
  static className = 'Dropout';
  readonly draws: boolean;
  private readonly rate: number;

  constructor({ rate, ...config }: { name: string; rate: number }) {
    super(config);
    this.rate = rate;
    this.draws = rate > 0;
  }

  /** Numbers of a draw: one for each number of x. */
  protected shapeOfDraw(x: tf.Tensor): number[] {
    return x.shape;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], { training = false }: { training?: boolean }): tf.Tensor {
    return tf.tidy(() => {
      const x = only(inputs);
      const drawn = training && this.draws && this.trainable ? drawInStep(this.shapeOfDraw(x)) : undefined;
      if (!drawn) return tf.clone(x);
      return tf.mul(x, tf.div(tf.cast(tf.greaterEqual(drawn, this.rate), 'float32'), 1 - this.rate));
    });
  }

  override getConfig() {
    return { ...super.getConfig(), rate: this.rate, noiseShape: null, seed: null };
  }
}

/** Leaves out whole channels of rows [N, T, C]. */
class SeededSpatialDropout extends SeededDropout {
  static override className = 'SpatialDropout1D';

  protected override shapeOfDraw({ shape }: tf.Tensor): number[] {
    const [count = 1, , channels = 1] = shape;
    return [count, 1, channels];
  }
}

type Layer = layers.layers.Layer;
type Make = (settings: { name: string } & Settings) => Layer;
/** How a layer is made, and which of its settings count. */
interface Kind {
  make: Make;
  settings: readonly string[];
}
// tfjs checks what it is given; each factory has a type of settings of its own.
const made = (factory: (settings: never) => Layer, ...settings: string[]): Kind => ({
  make: (given) => factory(given as never),
  settings,
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

/** Layers by the names of their classes in files. */
export const KINDS: Readonly<Record<string, Kind>> = {
  Activation: made(activation, 'activation'),
  Add: made(add),
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
  Conv2DTranspose: made(conv2dTranspose, 'filters', ...CONVOLUTION),
  Cropping2D: made(cropping2D, 'cropping', 'dataFormat'),
  Dense: made(dense, 'units', 'activation', 'useBias'),
  DepthwiseConv2D: made(depthwiseConv2d, 'depthMultiplier', ...CONVOLUTION),
  Dot: made(dot, 'axes', 'normalize'),
  Dropout: made((settings: ConstructorParameters<typeof SeededDropout>[0]) => new SeededDropout(settings), 'rate'),
  ELU: made(elu, 'alpha'),
  Flatten: made(flatten, 'dataFormat'),
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
  ReLU: made(reLU, 'maxValue'),
  RepeatVector: made(repeatVector, 'n'),
  Rescaling: made(rescaling, 'scale', 'offset'),
  Reshape: made(reshape, 'targetShape'),
  SeparableConv2D: made(separableConv2d, 'filters', 'depthMultiplier', ...CONVOLUTION),
  Softmax: made(softmax, 'axis'),
  SpatialDropout1D: made(
    (settings: ConstructorParameters<typeof SeededDropout>[0]) => new SeededSpatialDropout(settings),
    'rate',
  ),
  UpSampling2D: made(upSampling2d, 'size', 'interpolation', 'dataFormat'),
  ZeroPadding2D: made(zeroPadding2d, 'padding', 'dataFormat'),
};
