/** Encoders, heads and decoders as tfjs-layers models. */
import { ARCHITECTURES, type Encoder, type Projection } from '#libs/contracts';
import type { Random } from '#libs/data';
import * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import {
  BATCH_NORM_EPSILON,
  batchNormInference,
  batchNormTraining,
  findRectifiedNorm,
  leakyRelu,
  meanOverPlaces,
  relu,
} from './operations.js';

/** Weight of the old value in the running averages, for each batch: short runs need quick averages. */
const MOMENTUM = 0.9;

/** A layer of one input may be called with a list of it. */
const only = (inputs: tf.Tensor | tf.Tensor[]): tf.Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);

/**
 * Batch normalisation on the fused kernels. Config, weights and name are those of tfjs's own layer, so that a saved
 * model loads wherever tfjs does.
 */
class BatchNorm extends layers.layers.Layer {
  static className = 'BatchNormalization';
  private readonly center: boolean;
  private readonly scale: boolean;
  private readonly rectifies: boolean;
  private gamma: layers.LayerVariable | undefined;
  private beta: layers.LayerVariable | undefined;
  private movingMean!: layers.LayerVariable;
  private movingVariance!: layers.LayerVariable;

  /**
   * `scale` learns a factor and `center` an offset for each channel. `rectifies`: in training, it does the work of the
   * `Rectifier` after it.
   */
  constructor({
    center = true,
    scale = true,
    rectifies = false,
    ...config
  }: {
    name: string;
    center?: boolean;
    scale?: boolean;
    rectifies?: boolean;
  }) {
    super(config);
    this.rectifies = rectifies;
    // Now, because trying a kernel is no part of a step.
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
      if (!training) return batchNormInference(x, gamma, beta, { mean, variance });
      return batchNormTraining(
        x,
        gamma,
        beta,
        { mean, variance },
        1 - MOMENTUM,
        (averages) => {
          this.movingMean.write(averages.mean);
          this.movingVariance.write(averages.variance);
        },
        this.rectifies,
      );
    });
  }

  override getConfig() {
    return {
      ...super.getConfig(),
      axis: -1,
      momentum: MOMENTUM,
      epsilon: BATCH_NORM_EPSILON,
      center: this.center,
      scale: this.scale,
    };
  }
}

class Rectifier extends layers.layers.Layer {
  static className = 'ReLU';
  private readonly rectified: boolean;

  /** `rectified`: in training, the layer before has done it. */
  constructor({ rectified = false, ...config }: { name: string; rectified?: boolean }) {
    super(config);
    this.rectified = rectified;
  }

  override call(inputs: tf.Tensor | tf.Tensor[], { training = false }: { training?: boolean }): tf.Tensor {
    const x = only(inputs);
    return training && this.rectified ? x : relu(x);
  }
}

type Symbolic = layers.SymbolicTensor;
const apply = (layer: layers.layers.Layer, x: Symbolic | Symbolic[]): Symbolic => layer.apply(x) as Symbolic;
const batchNorm = (x: Symbolic, name: string, learns: { center?: boolean; scale?: boolean } = {}) =>
  apply(new BatchNorm({ name, ...learns }), x);
const rectify = (x: Symbolic, name: string) => apply(new Rectifier({ name }), x);
/** Both, at the cost of the first: what is saved has two layers. */
const normaliseAndRectify = (x: Symbolic, norm: string, name: string) =>
  apply(new Rectifier({ name, rectified: true }), apply(new BatchNorm({ name: norm, rectifies: true }), x));
/** Of a square, or height and width. */
type Size = number | [height: number, width: number];
function convolution(
  x: Symbolic,
  name: string,
  filters: number,
  kernelSize: Size,
  strides: Size = 1,
  useBias = false,
): Symbolic {
  const layer = layers.layers.conv2d({
    name,
    filters,
    kernelSize,
    strides,
    padding: 'same',
    useBias,
    kernelInitializer: 'zeros',
  });
  // The layer's own call computes the gradient for its input also where that is an image, which nobody asks for.
  if (!useBias) {
    const [skips, ...sides] = [kernelSize === 1 && strides === 2, ...x.shape.slice(1, 3)] as [boolean, number, number];
    layer.call = (inputs) => {
      const input = only(inputs) as tf.Tensor4D;
      const kernel = layer.weights[0]!.read() as tf.Tensor4D;
      // A window of one place at every second place sees a quarter of its input: its kernel's gradient passes over all
      // of it.
      return skips && sides.every((side) => side % 2 === 0)
        ? tf.conv2d(everySecond(input), kernel, 1, 'same')
        : tf.conv2d(input, kernel, strides, 'same');
    };
  }
  return apply(layer, x);
}
/** The first of each two places, along height and width. [N, 2h, 2w, C] → [N, h, w, C] */
function everySecond(x: tf.Tensor4D): tf.Tensor4D {
  const [count, height, width, channels] = x.shape;
  const pairs = tf.reshape<tf.Rank.R4>(x, [(count * height) / 2, 2, width / 2, 2 * channels]);
  return tf.reshape(tf.slice4d(pairs, [0, 0, 0, 0], [-1, 1, -1, channels]), [count, height / 2, width / 2, channels]);
}
/** Mean over places, the representation of a map. */
function averagePool(x: Symbolic, name: string): Symbolic {
  const layer = layers.layers.globalAveragePooling2d({ name });
  layer.call = (inputs) => meanOverPlaces(only(inputs) as tf.Tensor4D);
  return apply(layer, x);
}
const dense = (x: Symbolic, name: string, units: number, useBias = true) =>
  apply(layers.layers.dense({ name, units, useBias, kernelInitializer: 'zeros' }), x);

/** Two 3x3 convolutions and a shortcut (He et al. 2015), the latter a 1x1 convolution where the shape changes. */
function residualBlock(x: Symbolic, name: string, filters: number, strides: number): Symbolic {
  const first = normaliseAndRectify(
    convolution(x, `${name}_conv1`, filters, 3, strides),
    `${name}_bn1`,
    `${name}_relu1`,
  );
  const second = batchNorm(convolution(first, `${name}_conv2`, filters, 3), `${name}_bn2`);
  const changes = strides !== 1 || x.shape.at(-1) !== filters;
  const shortcut = changes
    ? batchNorm(convolution(x, `${name}_shortcut`, filters, 1, strides), `${name}_shortcut_bn`)
    : x;
  return rectify(apply(layers.layers.add({ name: `${name}_add` }), [second, shortcut]), `${name}_relu2`);
}

/**
 * Inputs [N, H, W, C] about [0, 1] → feature map [N, s, s, F] and its mean over places [N, F], the representation h.
 */
export function buildEncoder(
  { name, width }: Encoder,
  inputShape: readonly [number, number, number],
): layers.LayersModel {
  const { stemStride, blocks } = ARCHITECTURES[name];
  const images = layers.input({ shape: [...inputShape], name: 'images' });
  let x = normaliseAndRectify(convolution(images, 'stem_conv', width, 3, stemStride), 'stem_bn', 'stem_relu');
  blocks.forEach(([factor, stride], i) => {
    x = residualBlock(x, `block${i + 1}`, factor * width, stride);
  });
  const features = averagePool(x, 'features');
  return layers.model({ inputs: images, outputs: [x, features], name: 'encoder' });
}

export const featureWidth = (encoder: layers.LayersModel): number => encoder.outputs[1]!.shape.at(-1)!;

/**
 * h [N, F] → z [N, output]: dense layers with batch normalisation, ReLU on all but the last, whose normalisation has no
 * offset (SimCLRv2, `projection_head` in tf2/model.py). `through`: only the first so many layers, for finetuning from
 * the middle. `affineEnd: false` leaves out the last factor too (SimSiam, builder.py).
 */
export function buildProjectionHead(
  inputWidth: number,
  { layers: depth, hidden, output }: Projection,
  { through = depth, affineEnd = true, name = 'projection' } = {},
): layers.LayersModel {
  const features = layers.input({ shape: [inputWidth], name: 'features' });
  let x: Symbolic = features;
  for (let layer = 1; layer <= through; layer++) {
    const isLast = layer === depth;
    x = dense(x, `dense${layer}`, isLast ? output : hidden, false);
    x = isLast
      ? batchNorm(x, `bn${layer}`, { center: false, scale: affineEnd })
      : normaliseAndRectify(x, `bn${layer}`, `relu${layer}`);
  }
  return layers.model({ inputs: features, outputs: x, name });
}

/** z [N, D] → p [N, D]: the predictor of BYOL and SimSiam. */
export function buildPredictor(width: number, hidden: number): layers.LayersModel {
  const z = layers.input({ shape: [width], name: 'projected' });
  const inner = normaliseAndRectify(dense(z, 'dense1', hidden, false), 'bn1', 'relu1');
  return layers.model({ inputs: z, outputs: dense(inner, 'dense2', width), name: 'predictor' });
}

/** h [N, F] → logits [N, classes] */
export function buildClassifier(inputWidth: number, classes: number): layers.LayersModel {
  const features = layers.input({ shape: [inputWidth], name: 'features' });
  return layers.model({ inputs: features, outputs: dense(features, 'logits', classes), name: 'classifier' });
}

/** Feature map [N, s, s, F] → latent [N, L] */
export function buildBottleneck(encoder: layers.LayersModel, latent: number): layers.LayersModel {
  const map = layers.input({ shape: encoder.outputs[0]!.shape.slice(1), name: 'map' });
  return layers.model({
    inputs: map,
    outputs: dense(apply(layers.layers.flatten({ name: 'flatten' }), map), 'latent', latent),
    name: 'bottleneck',
  });
}

/**
 * Latent [N, L] → sample [N, H, W, C] in [0, 1]: the encoder's way back by nearest-neighbour upsampling and
 * convolutions, cut to the size of the input.
 */
export function buildDecoder(encoder: layers.LayersModel, latent: number, width: number): layers.LayersModel {
  const [, height, columns, channels] = encoder.inputs[0]!.shape as [null, number, number, number];
  const [, mapHeight, mapWidth, depth] = encoder.outputs[0]!.shape as [null, number, number, number];
  const code = layers.input({ shape: [latent], name: 'latent' });
  let x = rectify(dense(code, 'unfold', mapHeight * mapWidth * depth), 'unfold_relu');
  x = apply(layers.layers.reshape({ targetShape: [mapHeight, mapWidth, depth], name: 'unfold_map' }), x);
  let scale = 1;
  for (let stage = 1; mapHeight * scale < height || mapWidth * scale < columns; stage++) {
    scale *= 2;
    x = apply(layers.layers.upSampling2d({ size: [2, 2], name: `up${stage}` }), x);
    x = normaliseAndRectify(
      convolution(x, `up${stage}_conv`, Math.max(width, depth / 2 ** stage), 3),
      `up${stage}_bn`,
      `up${stage}_relu`,
    );
  }
  const cut = [
    [mapHeight * scale, height],
    [mapWidth * scale, columns],
  ].map(([have, want]) => [Math.floor((have! - want!) / 2), Math.ceil((have! - want!) / 2)]) as [
    [number, number],
    [number, number],
  ];
  if (cut.flat().some((side) => side > 0)) x = apply(layers.layers.cropping2D({ cropping: cut, name: 'crop' }), x);
  const pixels = apply(
    layers.layers.activation({ activation: 'sigmoid', name: 'pixels' }),
    convolution(x, 'pixels_conv', channels, 3, 1, true),
  );
  return layers.model({ inputs: code, outputs: pixels, name: 'decoder' });
}

/** Channels of a segmenter's maps are half the encoder's at that resolution, but at least so many. */
const SEGMENTER_WIDTH = 16;

/**
 * A model over the encoder's layers that gives the last map of each resolution [N, h, w, C], finest first. It shares
 * the encoder's weights and is disposed of with it.
 */
export function pyramidOf(encoder: layers.LayersModel, { name }: Encoder): layers.LayersModel {
  const { blocks } = ARCHITECTURES[name];
  const last = blocks.flatMap((_, i) => (blocks[i + 1]?.[1] === 1 ? [] : [`block${i + 1}_relu2`]));
  return layers.model({
    inputs: encoder.inputs,
    outputs: last.map((layer) => encoder.getLayer(layer).output as Symbolic),
    name: 'pyramid',
  });
}

/**
 * Maps of a pyramid → logits of each pixel [N, H, W, classes]. As in a U-Net (Ronneberger et al. 2015), a map is
 * brought to the size of the next finer one, here by nearest-neighbour upsampling and a cut at the ends that halving
 * had rounded up, put beside it, and both go through a 3x3 convolution.
 */
export function buildSegmenter(pyramid: layers.LayersModel, classes: number): layers.LayersModel {
  const maps = pyramid.outputs.map(({ shape }, i) => layers.input({ shape: shape.slice(1), name: `map${i + 1}` }));
  const inputSize = pyramid.inputs[0]!.shape.slice(1, 3) as [number, number];
  const sizeOf = ({ shape }: Symbolic) => shape.slice(1, 3) as [number, number];
  let x = maps.at(-1)!;
  const stages: { skip?: Symbolic; size: [number, number] }[] = maps
    .slice(0, -1)
    .toReversed()
    .map((skip) => ({ skip, size: sizeOf(skip) }));
  if (sizeOf(maps[0]!).join() !== inputSize.join()) stages.push({ size: inputSize });
  stages.forEach(({ skip, size }, i) => {
    const name = `up${i + 1}`;
    x = apply(layers.layers.upSampling2d({ size: [2, 2], name }), x);
    const surplus = sizeOf(x).map((side, axis): [number, number] => [0, side - size[axis]!]) as [
      [number, number],
      [number, number],
    ];
    if (surplus.some(([, end]) => end > 0))
      x = apply(layers.layers.cropping2D({ cropping: surplus, name: `${name}_cut` }), x);
    const channels = Math.max(SEGMENTER_WIDTH, (skip ?? x).shape.at(-1)! / 2);
    if (skip) x = apply(layers.layers.concatenate({ name: `${name}_join` }), [x, skip]);
    x = normaliseAndRectify(convolution(x, `${name}_conv`, channels, 3), `${name}_bn`, `${name}_relu`);
  });
  return layers.model({ inputs: maps, outputs: convolution(x, 'logits', classes, 1, 1, true), name: 'segmenter' });
}

/** Of both stages, in time. */
const WAVE_STRIDE = 8;
const WAVE_DEPTH = 4;
const WAVE_STEM: Size = [1, 25];
const WAVE_KERNEL: Size = [1, 9];
// Batch normalisation and ReLU, as above, leave a decoder of waveforms at silence: measured on tones, 0 dB against 4.
const WAVE_LEAK = 0.2;
function leak(x: Symbolic, name: string): Symbolic {
  const layer = layers.layers.leakyReLU({ alpha: WAVE_LEAK, name });
  layer.call = (inputs) => leakyRelu(only(inputs), WAVE_LEAK);
  return apply(layer, x);
}

/**
 * Waveforms [N, 1, length, 1] in [-1, 1] → feature map [N, 1, ⌈length / 64⌉, 4 · width] and its mean over time [N, 4 ·
 * width].
 */
export function buildWaveformEncoder(width: number, length: number): layers.LayersModel {
  const sounds = layers.input({ shape: [1, length, 1], name: 'sounds' });
  const stem = leak(convolution(sounds, 'stem_conv', width, WAVE_STEM, [1, WAVE_STRIDE], true), 'stem_leak');
  const map = leak(
    convolution(stem, 'stage_conv', WAVE_DEPTH * width, WAVE_KERNEL, [1, WAVE_STRIDE], true),
    'stage_leak',
  );
  const features = averagePool(map, 'features');
  return layers.model({ inputs: sounds, outputs: [map, features], name: 'encoder' });
}

/** Numbers that a stretch of time has in a code, at least. */
const NUMBERS_A_STRETCH = 8;

/**
 * In how many stretches of equal length a code of so many numbers divides the steps of a waveform's map: the most that
 * divide the code evenly.
 */
function stretchesOf(latent: number, steps: number): number {
  let stretches = Math.min(steps, Math.max(1, Math.floor(latent / NUMBERS_A_STRETCH)));
  while (latent % stretches !== 0) stretches--;
  return stretches;
}

/**
 * Feature map [N, 1, s, F] of waveforms → latent [N, codes · L], one code after the other. Each stretch of time gives
 * its part of a code, by the same weights: a dense layer over all of a sound learns sounds by heart.
 */
export function buildWaveformBottleneck(
  encoder: layers.LayersModel,
  latent: number,
  codes: number,
): layers.LayersModel {
  const [, , steps, depth] = encoder.outputs[0]!.shape as [null, 1, number, number];
  const stretches = stretchesOf(latent, steps);
  const length = Math.ceil(steps / stretches);
  const map = layers.input({ shape: [1, steps, depth], name: 'map' });
  const padded =
    stretches * length > steps
      ? apply(
          layers.layers.zeroPadding2d({
            padding: [
              [0, 0],
              [0, stretches * length - steps],
            ],
            name: 'fill',
          }),
          map,
        )
      : map;
  const parts = Array.from({ length: codes }, (_, i) =>
    apply(
      layers.layers.flatten({ name: `flatten${i + 1}` }),
      convolution(padded, `latent${i + 1}`, latent / stretches, [1, length], [1, length], true),
    ),
  );
  return layers.model({
    inputs: map,
    outputs: codes > 1 ? apply(layers.layers.concatenate({ name: 'codes' }), parts) : parts[0]!,
    name: 'bottleneck',
  });
}

/**
 * Latent [N, L] → waveform [N, 1, length, 1] in [-1, 1]: the encoder's way back by nearest-neighbour upsampling and a
 * convolution, and one that gives all samples of a step at once (sub-pixel convolution, Shi et al. 2016), which beats
 * upsampling to single samples by 1.5 dB in half the time. Cut to the length of the input.
 */
export function buildWaveformDecoder(encoder: layers.LayersModel, latent: number, width: number): layers.LayersModel {
  const length = encoder.inputs[0]!.shape[2]!;
  const [, , steps, depth] = encoder.outputs[0]!.shape as [null, 1, number, number];
  const stretches = stretchesOf(latent, steps);
  const stretch = Math.ceil(steps / stretches);
  const code = layers.input({ shape: [latent], name: 'latent' });
  const places = apply(
    layers.layers.reshape({ targetShape: [1, stretches, latent / stretches], name: 'stretches' }),
    code,
  );
  const unfolded = apply(
    layers.layers.reshape({ targetShape: [1, stretches * stretch, depth], name: 'unfold_map' }),
    convolution(places, 'unfold', stretch * depth, 1, 1, true),
  );
  const up = apply(layers.layers.upSampling2d({ size: [1, WAVE_STRIDE], name: 'up' }), unfolded);
  const blocks = convolution(
    leak(convolution(up, 'up_conv', width, WAVE_KERNEL, 1, true), 'up_leak'),
    'samples_conv',
    WAVE_STRIDE,
    WAVE_KERNEL,
    1,
    true,
  );
  const available = stretches * stretch * WAVE_STRIDE ** 2;
  let x = apply(layers.layers.reshape({ targetShape: [1, available, 1], name: 'samples_in_time' }), blocks);
  if (available > length)
    x = apply(
      layers.layers.cropping2D({
        cropping: [
          [0, 0],
          [0, available - length],
        ],
        name: 'crop',
      }),
      x,
    );
  return layers.model({
    inputs: code,
    outputs: apply(layers.layers.activation({ activation: 'tanh', name: 'samples' }), x),
    name: 'decoder',
  });
}

/** A model's weights by `model/layer/weight`. Trainable ones are variables that gradients are taken for. */
export interface NamedWeight {
  key: string;
  variable: tf.Variable;
  trainable: boolean;
}

export function weightsOf(...models: layers.LayersModel[]): NamedWeight[] {
  return models.flatMap((model) =>
    model.layers.flatMap((layer) =>
      layer.weights.map((weight) => ({
        key: `${model.name}/${layer.name}/${weight.originalName.split('/').at(-1)!}`,
        variable: weight.read() as tf.Variable,
        trainable: weight.trainable,
      })),
    ),
  );
}

/**
 * He et al. 2015: kernels normal with variance 2 / fan-in, from a seed; all else keeps its constant. `zero`: layers
 * that start at 0.
 */
export function initialise(models: layers.LayersModel[], random: Random, zero: readonly string[] = []): void {
  for (const { key, variable } of weightsOf(...models)) {
    if (!key.endsWith('/kernel') || zero.some((layer) => key.includes(`/${layer}/`))) continue;
    const { shape } = variable;
    const fanIn = shape.slice(0, -1).reduce((product, side) => product * side, 1);
    const values = Float32Array.from({ length: variable.size }, () => random.normal(0, Math.sqrt(2 / fanIn)));
    tf.tidy(() => {
      variable.assign(tf.tensor(values, shape));
    });
  }
}

export interface Encoded {
  map: tf.Tensor4D;
  features: tf.Tensor2D;
}

export function encode(encoder: layers.LayersModel, images: tf.Tensor4D, training: boolean): Encoded {
  const [map, features] = encoder.apply(images, { training }) as [tf.Tensor4D, tf.Tensor2D];
  return { map, features };
}

export const forward = <T extends tf.Tensor | tf.Tensor[] = tf.Tensor>(
  model: layers.LayersModel,
  x: tf.Tensor | tf.Tensor[],
  training: boolean,
): T => model.apply(x, { training }) as T;
