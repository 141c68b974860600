/** The encoder of images and spectrograms: a residual network, or a transformer. */
import { architectureOf, isOwnNetwork, transformerOf, type Architecture, type Encoder } from '#libs/contracts';
import type * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import {
  apply,
  averagePool,
  averageWindows,
  batchNorm,
  convolution,
  maxPool,
  normaliseAndRectify,
  normaliseInputs,
  rectify,
  type Symbolic,
} from './layers.js';
import { excite, mixture } from './channel-weights.js';
import { buildTransformer } from './transformer.js';
import { buildOwnNetwork, topologyOf } from '../own/own-network.js';

type Block = Architecture['blocks'][number];

/** A block's 3x3 convolution, normalised and rectified, or a mixture of two. */
function spatial(x: Symbolic, name: string, { width, stride }: Block, { padding, mixing }: Architecture): Symbolic {
  const convolve = (suffix: string): Symbolic =>
    normaliseAndRectify(
      convolution(x, `${name}_conv${suffix}`, width, 3, { strides: stride, padding }),
      `${name}_bn${suffix}`,
      `${name}_relu${suffix}`,
    );
  return mixing ? mixture(convolve('2a'), convolve('2b'), `${name}_sk`, mixing(width)) : convolve('2');
}

/** Takes the mean of each 2x2 window, and changes channels by a 1x1 convolution (He et al. 2019, ResNet-D). */
function averagedShortcut(x: Symbolic, name: string, { channels, stride }: Block): Symbolic {
  return convolution(averageWindows(x, `${name}_mean`, stride), name, channels, 1);
}

/**
 * Convolutions and a shortcut, which is a 1x1 convolution where the shape changes (He et al. 2015). Of a bottleneck
 * the 3x3 convolution has the stride, as torchvision's.
 */
function residualBlock(x: Symbolic, name: string, block: Block, architecture: Architecture): Symbolic {
  const { width, stride, channels } = block;
  const { bottleneck, padding, mixing, squeeze } = architecture;
  const last = bottleneck ? 3 : 2;
  const first = normaliseAndRectify(
    convolution(x, `${name}_conv1`, width, bottleneck ? 1 : 3, { strides: bottleneck ? 1 : stride, padding }),
    `${name}_bn1`,
    `${name}_relu1`,
  );
  const inner = bottleneck ? spatial(first, name, block, architecture) : first;
  let through = batchNorm(convolution(inner, `${name}_conv${last}`, channels, bottleneck ? 1 : 3), `${name}_bn${last}`);
  if (squeeze) through = excite(through, `${name}_se`, squeeze(width));
  const changes = stride !== 1 || x.shape.at(-1) !== channels;
  const shortcutName = `${name}_shortcut`;
  const shortcut = (): Symbolic =>
    batchNorm(
      mixing
        ? averagedShortcut(x, shortcutName, block)
        : convolution(x, shortcutName, channels, 1, { strides: stride }),
      `${shortcutName}_bn`,
    );
  return rectify(
    apply(layers.layers.add({ name: `${name}_add` }), [through, changes ? shortcut() : x]),
    `${name}_relu${last}`,
  );
}

/**
 * Inputs [N, H, W, C] about [0, 1] → feature map [N, s, s, F] and the representation h [N, F]: the map's mean over
 * places, or what a transformer's `pooling` makes. Of a model of its users' own the settings have its layers with them.
 * @throws OwnNetworkError where those do not fit the input
 */
export function buildEncoder(encoder: Encoder, inputShape: readonly [number, number, number]): layers.LayersModel {
  if (transformerOf(encoder)) return buildTransformer(encoder, inputShape);
  const topology = topologyOf(encoder);
  if (topology) return buildOwnNetwork({ ...encoder, topology }, inputShape);
  if (isOwnNetwork(encoder)) throw new Error('expected an encoder with its layers, got one without');
  const architecture = architectureOf(encoder);
  const { stem, pool, blocks, padding } = architecture;
  const images = layers.input({ shape: [...inputShape], name: 'images' });
  let x = encoder.normalisation ? normaliseInputs(images, 'normalisation', encoder.normalisation) : images;
  stem.forEach(({ kernel, stride, channels }, i) => {
    const name = i === stem.length - 1 ? 'stem' : `stem${i + 1}`;
    const convolved = convolution(x, `${name}_conv`, channels, kernel, { strides: stride, padding });
    x = normaliseAndRectify(convolved, `${name}_bn`, `${name}_relu`);
  });
  if (pool) x = maxPool(x, 'stem_pool', padding);
  blocks.forEach((block, i) => {
    x = residualBlock(x, `block${i + 1}`, block, architecture);
  });
  const features = averagePool(x, 'features');
  return layers.model({ inputs: images, outputs: [x, features], name: 'encoder' });
}

/** Names of the layers that give the last map of each resolution, finest first. */
export function lastOfEachResolution(encoder: Encoder): string[] {
  const { blocks, bottleneck, pool } = architectureOf(encoder);
  return [
    ...(pool ? ['stem_relu'] : []),
    ...blocks.flatMap((_, i) => (blocks[i + 1]?.stride === 1 ? [] : [`block${i + 1}_relu${bottleneck ? 3 : 2}`])),
  ];
}

export const featureWidth = (encoder: layers.LayersModel): number => encoder.outputs[1]!.shape.at(-1)!;

export interface Encoded {
  map: tf.Tensor4D;
  features: tf.Tensor2D;
}

export function encode(encoder: layers.LayersModel, images: tf.Tensor4D, training: boolean): Encoded {
  const [map, features] = encoder.apply(images, { training }) as [tf.Tensor4D, tf.Tensor2D];
  return { map, features };
}
