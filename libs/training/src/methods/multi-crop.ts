/** Views of several sizes through one encoder, for methods that learn from small views beside large ones. */
import { transformerOf, type Encoder } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import type { LayersModel } from '@tensorflow/tfjs-layers';
import { buildEncoder, encode } from '../networks/encoder.js';
import { forward, weightsOf } from '../networks/weights.js';
import { TrainingError } from '../session.js';
import type { Learner } from './method.js';

/** An encoder's weights in a network for images of another shape. It is not to be disposed of beside the encoder. */
function withItsWeights(encoder: LayersModel, architecture: Encoder, shape: readonly [number, number, number]) {
  const other = buildEncoder(architecture, shape);
  const weights = new Map(weightsOf(encoder).map(({ key, variable }) => [key, variable]));
  for (const layer of other.layers)
    for (const weight of layer.weights) {
      const own = weight.read() as tf.Variable;
      const shared = weights.get(`${encoder.name}/${layer.name}/${weight.originalName.split('/').at(-1)!}`);
      if (!shared) throw new Error(`expected a weight ${weight.originalName} in the encoder, found none`);
      // What a layer's variable reads and writes: tfjs has no way to build a layer on weights that are there.
      Reflect.set(weight, 'val', shared);
      own.dispose();
    }
  return other;
}

/**
 * The projection head's outputs for views of all sizes, those of one size below those of the size before: each size
 * passes through the encoder by itself, and all pass through the head together (SwAV, resnet50.py; DINO, utils.py).
 */
export function multiCrop({ spec, encoder, head, shapes }: Learner): (views: readonly tf.Tensor4D[]) => tf.Tensor2D {
  if (shapes.length > 1 && transformerOf(spec.encoder)?.positions === 'learnt')
    throw new TrainingError(
      'invalid_spec',
      'expected views of one size for an encoder with learnt positions, which are for one size, got ' +
        `${shapes.map(([height, width]) => `${height} x ${width}`).join(', ')}: take positions of sines and cosines`,
    );
  const encoders = [encoder, ...shapes.slice(1).map((shape) => withItsWeights(encoder, spec.encoder, shape))];
  return (views) => forward(head, tf.concat(views.map((each, i) => encode(encoders[i]!, each, true).features)), true);
}
