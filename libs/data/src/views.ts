/** What an encoder sees of a sample: the sample itself, or a random view of it. */
import type { Augmentation, SampleShape } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { augment } from './augmentation.js';
import { InvalidDataError } from './npy.js';
import type { Random } from './random.js';

/** [height, width, channels] of an encoder's input for such samples. */
export function inputShape(sample: SampleShape): [number, number, number] {
  if (sample.modality === 'image') return [sample.height, sample.width, sample.channels];
  throw new InvalidDataError('expected images');
}

/** Samples as `gatherSamples` gives them → an encoder's input [N, H, W, C], about [0, 1]. The caller owns both. */
export function inputOf(sample: SampleShape, samples: tf.Tensor): tf.Tensor4D {
  if (sample.modality === 'image') return tf.clone(samples as tf.Tensor4D);
  throw new InvalidDataError('expected images');
}

/** A random view of each sample as an encoder's input. The same `random` state gives the same views. */
export function viewsOf(sample: SampleShape, samples: tf.Tensor, augmentation: Augmentation, random: Random): tf.Tensor4D {
  if (sample.modality === 'image') return augment(samples as tf.Tensor4D, augmentation, random);
  throw new InvalidDataError('expected images');
}
