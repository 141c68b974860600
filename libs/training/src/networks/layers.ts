/** Layers of all networks, on kernels of their own where tfjs's are slow. Saved models load wherever tfjs does. */
import type { Normalisation } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import {
  BATCH_NORM_EPSILON,
  batchNormInference,
  batchNormTraining,
  findRectifiedNorm,
  meanOverPlaces,
  relu,
} from './operations.js';

/** Weight of the old running average at each batch: low, because short runs need quick averages. */
const MOMENTUM = 0.9;

/** The input of a layer that has one: tfjs may pass it as a list. */
export const only = (inputs: tf.Tensor | tf.Tensor[]): tf.Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);

/**
 * Batch normalisation on the fused kernels. Config, weights and name are those of tfjs's own layer, so that a saved
 * model loads wherever tfjs does.
 */
export class BatchNorm extends layers.layers.Layer {
  static className = 'BatchNormalization';
  private readonly center: boolean;
  private readonly scale: boolean;
  private readonly rectifies: boolean;
  private readonly momentum: number;
  private readonly epsilon: number;
  private gamma: layers.LayerVariable | undefined;
  private beta: layers.LayerVariable | undefined;
  private movingMean!: layers.LayerVariable;
  private movingVariance!: layers.LayerVariable;

  /**
   * `scale` learns a factor and `center` an offset for each channel. `rectifies`: applies ReLU too while training, and
   * the `Rectifier` after it passes that on. `momentum`: the weight of the old running average; `epsilon`: what is
   * added to the variance.
   */
  constructor({
    center = true,
    scale = true,
    rectifies = false,
    momentum = MOMENTUM,
    epsilon = BATCH_NORM_EPSILON,
    ...config
  }: {
    name: string;
    center?: boolean;
    scale?: boolean;
    rectifies?: boolean;
    momentum?: number;
    epsilon?: number;
  }) {
    super(config);
    this.rectifies = rectifies;
    this.momentum = momentum;
    this.epsilon = epsilon;
    // The fused kernel is tried here, because trying one is no part of a compiled step.
    if (rectifies) findRectifiedNorm();
    this.center = center;
    this.scale = scale;
  }

  override build(inputShape: layers.Shape): void {
    const channels = [inputShape.at(-1)!];
    const { ones, zeros } = layers.initializers;
    if (this.scale) this.gamma = this.addWeight('gamma', channels, 'float32', ones());
    if (this.center) this.beta = this.addWeight('beta', channels, 'float32', zeros());
    this.movingMean = this.addWeight('moving_mean', channels, 'float32', zeros(), undefined, false);
    this.movingVariance = this.addWeight('moving_variance', channels, 'float32', ones(), undefined, false);
    this.built = true;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], { training = false }: { training?: boolean }): tf.Tensor {
    return tf.tidy(() => {
      const x = only(inputs);
      const [mean, variance] = [this.movingMean.read() as tf.Tensor1D, this.movingVariance.read() as tf.Tensor1D];
      const gamma = (this.gamma?.read() ?? tf.onesLike(mean)) as tf.Tensor1D;
      const beta = (this.beta?.read() ?? tf.zerosLike(mean)) as tf.Tensor1D;
      // As in Keras: what does not learn goes by its averages, which stay.
      if (!training || !this.trainable) return batchNormInference(x, gamma, beta, { mean, variance }, this.epsilon);
      return batchNormTraining(
        x,
        gamma,
        beta,
        { mean, variance },
        1 - this.momentum,
        (averages) => {
          this.movingMean.write(averages.mean);
          this.movingVariance.write(averages.variance);
        },
        this.rectifies,
        this.epsilon,
      );
    });
  }

  override getConfig() {
    return {
      ...super.getConfig(),
      axis: -1,
      momentum: this.momentum,
      epsilon: this.epsilon,
      center: this.center,
      scale: this.scale,
    };
  }
}

/** Batch normalisation by statistics that were given to it: also while training, and none is learnt. */
class FixedNorm extends BatchNorm {
  override call(inputs: tf.Tensor | tf.Tensor[]): tf.Tensor {
    return super.call(inputs, { training: false });
  }
}

class Rectifier extends layers.layers.Layer {
  static className = 'ReLU';
  private readonly rectified: boolean;

  /** `rectified`: while training, the layer before has applied ReLU already. */
  constructor({ rectified = false, ...config }: { name: string; rectified?: boolean }) {
    super(config);
    this.rectified = rectified;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], { training = false }: { training?: boolean }): tf.Tensor {
    const x = only(inputs);
    return training && this.trainable && this.rectified ? x : relu(x);
  }
}

export type Symbolic = layers.SymbolicTensor;
/** Layers that are taken, by their names, in the place of new ones while a network is built. */
let known: ReadonlyMap<string, layers.layers.Layer> | undefined;
/** A layer that has to be built anew for another shape of input takes its weights from the one that is known. */
interface Sharing {
  shareWeights(known: layers.layers.Layer): void;
}

/** What `build` makes, of the layers of a network wherever those have weights: both learn by the same ones. */
export function withLayersOf<T>(network: layers.LayersModel, build: () => T): T {
  const before = known;
  known = new Map(network.layers.filter(({ weights }) => weights.length > 0).map((layer) => [layer.name, layer]));
  try {
    return build();
  } finally {
    known = before;
  }
}

export function apply(layer: layers.layers.Layer, x: Symbolic | Symbolic[]): Symbolic {
  const shared = known?.get(layer.name);
  if (shared && 'shareWeights' in layer) (layer as layers.layers.Layer & Sharing).shareWeights(shared);
  else if (shared) return shared.apply(x) as Symbolic;
  return layer.apply(x) as Symbolic;
}
export const batchNorm = (x: Symbolic, name: string, learns: { center?: boolean; scale?: boolean } = {}) =>
  apply(new BatchNorm({ name, ...learns }), x);
export const rectify = (x: Symbolic, name: string) => apply(new Rectifier({ name }), x);
/** (x - mean) / std for each channel; see `Encoder.normalisation`. */
export function normaliseInputs(x: Symbolic, name: string, { mean, std }: Normalisation): Symbolic {
  const channels = x.shape.at(-1)!;
  const layer = new FixedNorm({ name, center: false, scale: false });
  const normalised = apply(layer, x);
  const ofEach = (values: readonly number[]): number[] =>
    values.length === 1 ? Array<number>(channels).fill(values[0]!) : [...values];
  tf.tidy(() => {
    const variance = std.map((each) => each ** 2 - BATCH_NORM_EPSILON);
    layer.setWeights([tf.tensor1d(ofEach(mean)), tf.tensor1d(ofEach(variance))]);
  });
  return normalised;
}
/** Batch normalisation and ReLU at the cost of the former; the saved model has both layers. */
export const normaliseAndRectify = (x: Symbolic, norm: string, name: string) =>
  apply(new Rectifier({ name, rectified: true }), apply(new BatchNorm({ name: norm, rectifies: true }), x));
/** Side of a square, or height and width: of a kernel or a stride. */
export type Size = number | [height: number, width: number];
/**
 * Zeros around a window: as TensorFlow's SAME, or as many at both ends of an axis where the stride is above 1; or
 * (`simclr`) so of convolutions only.
 */
export type Padding = 'same' | 'symmetric' | 'simclr';
/** As many zeros at both ends as leave a window of an odd size its places with every stride. */
const padded = (x: Symbolic, name: string, [height, width]: [number, number]): Symbolic => {
  const [rows, columns] = [(height - 1) / 2, (width - 1) / 2];
  return apply(
    layers.layers.zeroPadding2d({
      name: `${name}_pad`,
      padding: [
        [rows, rows],
        [columns, columns],
      ],
    }),
    x,
  );
};
const sidesOf = (size: Size): [number, number] => (typeof size === 'number' ? [size, size] : size);

export function convolution(
  x: Symbolic,
  name: string,
  filters: number,
  kernelSize: Size,
  { strides = 1, padding = 'same', useBias = false }: { strides?: Size; padding?: Padding; useBias?: boolean } = {},
): Symbolic {
  const pads =
    padding !== 'same' && Math.max(...sidesOf(strides)) > 1 && Math.max(...sidesOf(kernelSize)) > 1 ? 'valid' : 'same';
  const layer = layers.layers.conv2d({
    name,
    filters,
    kernelSize,
    strides,
    padding: pads,
    useBias,
    kernelInitializer: 'zeros',
  });
  // The layer's own call computes the gradient for its input also where that is an image, which nobody asks for.
  if (!useBias) {
    const skips = kernelSize === 1 && strides === 2;
    layer.call = (inputs) => {
      const input = only(inputs) as tf.Tensor4D;
      const sides = input.shape.slice(1, 3);
      const kernel = layer.weights[0]!.read() as tf.Tensor4D;
      // A window of one place at every second place sees a quarter of its input: its kernel's gradient passes over all
      // of it.
      return skips && sides.every((side) => side % 2 === 0)
        ? tf.conv2d(everySecond(input), kernel, 1, 'same')
        : tf.conv2d(input, kernel, strides, pads);
    };
  }
  return apply(layer, pads === 'valid' ? padded(x, name, sidesOf(kernelSize)) : x);
}
/**
 * The largest of each 3x3 window at every second place. x is rectified: zeros around it then change no maximum, and get
 * no gradient that counts.
 */
export function maxPool(x: Symbolic, name: string, padding: Padding): Symbolic {
  const isPadded = padding === 'symmetric';
  return apply(
    layers.layers.maxPooling2d({ name, poolSize: 3, strides: 2, padding: isPadded ? 'valid' : 'same' }),
    isPadded ? padded(x, name, [3, 3]) : x,
  );
}
/**
 * The mean of each 2x2 window, at every place or (`stride` 2) every second one. As SimCLRv2 pads it: where a side is
 * odd, the last windows of stride 2 see zeros, which count, and those of stride 1 only what there is.
 */
export function averageWindows(x: Symbolic, name: string, stride: number): Symbolic {
  const [, height, width] = x.shape as [null, number, number, number];
  const ends: [[number, number], [number, number]] = [
    [0, height % 2],
    [0, width % 2],
  ];
  const whole =
    stride > 1 && (height % 2 || width % 2)
      ? apply(layers.layers.zeroPadding2d({ name: `${name}_pad`, padding: ends }), x)
      : x;
  const padding = stride > 1 ? 'valid' : 'same';
  return apply(layers.layers.averagePooling2d({ name, poolSize: 2, strides: stride, padding }), whole);
}
/** Every second place along height and width: [N, 2h, 2w, C] → [N, h, w, C] */
function everySecond(x: tf.Tensor4D): tf.Tensor4D {
  const [count, height, width, channels] = x.shape;
  const pairs = tf.reshape<tf.Rank.R4>(x, [(count * height) / 2, 2, width / 2, 2 * channels]);
  return tf.reshape(tf.slice4d(pairs, [0, 0, 0, 0], [-1, 1, -1, channels]), [count, height / 2, width / 2, channels]);
}
/** Feature map [N, h, w, C] → its mean over places [N, C], the representation. */
export function averagePool(x: Symbolic, name: string): Symbolic {
  const layer = layers.layers.globalAveragePooling2d({ name });
  layer.call = (inputs) => meanOverPlaces(only(inputs) as tf.Tensor4D);
  return apply(layer, x);
}
export const dense = (x: Symbolic, name: string, units: number, useBias = true) =>
  apply(layers.layers.dense({ name, units, useBias, kernelInitializer: 'zeros' }), x);
