/** The residual encoder of images and spectrograms. */
import { architectureOf, type Architecture, type Encoder } from '#libs/contracts';
import type * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import {
  apply,
  averagePool,
  batchNorm,
  convolution,
  maxPool,
  normaliseAndRectify,
  rectify,
  type Symbolic,
} from './layers.js';

type Block = Architecture['blocks'][number];

/**
 * Convolutions and a shortcut, which is a 1x1 convolution where the shape changes (He et al. 2015). Of a bottleneck
 * the 3x3 convolution has the stride, as torchvision's.
 */
function residualBlock(x: Symbolic, name: string, block: Block, { bottleneck, padding }: Architecture): Symbolic {
  const { width, stride, channels } = block;
  const kernels = bottleneck ? [1, 3, 1] : [3, 3];
  const strided = bottleneck ? 1 : 0;
  let inner = x;
  kernels.forEach((kernel, i) => {
    const isLast = i === kernels.length - 1;
    const convolved = convolution(inner, `${name}_conv${i + 1}`, isLast ? channels : width, kernel, {
      strides: i === strided ? stride : 1,
      padding,
    });
    inner = isLast
      ? batchNorm(convolved, `${name}_bn${i + 1}`)
      : normaliseAndRectify(convolved, `${name}_bn${i + 1}`, `${name}_relu${i + 1}`);
  });
  const changes = stride !== 1 || x.shape.at(-1) !== channels;
  const shortcut = changes
    ? batchNorm(convolution(x, `${name}_shortcut`, channels, 1, { strides: stride }), `${name}_shortcut_bn`)
    : x;
  return rectify(apply(layers.layers.add({ name: `${name}_add` }), [inner, shortcut]), `${name}_relu${kernels.length}`);
}

/**
 * Inputs [N, H, W, C] about [0, 1] → feature map [N, s, s, F] and its mean over places [N, F], the representation h.
 */
export function buildEncoder(encoder: Encoder, inputShape: readonly [number, number, number]): layers.LayersModel {
  const architecture = architectureOf(encoder);
  const { stem, pool, blocks, padding } = architecture;
  const images = layers.input({ shape: [...inputShape], name: 'images' });
  let x = images;
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
