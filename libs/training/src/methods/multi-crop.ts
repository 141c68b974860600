/** Views of several sizes through one encoder, for methods that learn from small views beside large ones. */
import { transformerOf, type Encoder } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildEncoder, encode } from '../networks/encoder.js';
import { withLayersOf } from '../networks/layers.js';
import { forward } from '../networks/weights.js';
import { TrainingError } from '../train-context.js';
import type { Learner } from './method.js';

/** An encoder's layers in a network for images of another shape. */
const withItsLayers = (encoder: LayersModel, architecture: Encoder, shape: readonly [number, number, number]) =>
  withLayersOf(encoder, () => buildEncoder(architecture, shape));

/** An encoder for views of all sizes. */
export interface MultiCrop {
  /** Its networks for other sizes than the first. */
  shared: readonly LayersModel[];
  /**
   * The projection head's outputs for views of all sizes, those of one size below those of the size before: each size
   * passes through the encoder by itself, and all pass through the head together (SwAV, resnet50.py; DINO, utils.py).
   */
  project(views: readonly tf.Tensor4D[]): tf.Tensor2D;
}

export function multiCrop({ spec, encoder, head, shapes }: Learner): MultiCrop {
  if (shapes.length > 1 && transformerOf(spec.encoder)?.positions === 'learnt')
    throw new TrainingError(
      'invalid_spec',
      'expected views of one size for an encoder with learnt positions, which are for one size, got ' +
        `${shapes.map(([height, width]) => `${height} x ${width}`).join(', ')}: take positions of sines and cosines`,
    );
  const shared = shapes.slice(1).map((shape) => withItsLayers(encoder, spec.encoder, shape));
  const encoders = [encoder, ...shared];
  return {
    shared,
    project: (views) =>
      forward(head, tf.concat(views.map((each, i) => encode(encoders[i]!, each, true).features)), true),
  };
}
