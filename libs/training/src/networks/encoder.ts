/** The residual encoder of images and spectrograms. */
import { ARCHITECTURES, type Encoder } from '#libs/contracts';
import type * as tf from '@tensorflow/tfjs-core';
import * as layers from '@tensorflow/tfjs-layers';
import { apply, averagePool, batchNorm, convolution, normaliseAndRectify, rectify, type Symbolic } from './layers.js';

/** Two 3x3 convolutions and a shortcut, which is a 1x1 convolution where the shape changes (He et al. 2015). */
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

export interface Encoded {
  map: tf.Tensor4D;
  features: tf.Tensor2D;
}

export function encode(encoder: layers.LayersModel, images: tf.Tensor4D, training: boolean): Encoded {
  const [map, features] = encoder.apply(images, { training }) as [tf.Tensor4D, tf.Tensor2D];
  return { map, features };
}
