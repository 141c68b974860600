/** Which samples of a batch an operation falls on, and what each of them draws. */
import { kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from './random.js';

/** One value for each image, uniform in [low, high]. */
export const draw = (images: tf.Tensor4D, random: Random, low: number, high: number): Float32Array =>
  Float32Array.from({ length: images.shape[0] }, () => random.uniform(low, high));

/** One value for each image, to be broadcast over its pixels. [N, 1, 1, 1] */
export const perImage = (values: Float32Array): tf.Tensor4D => tf.tensor4d(values, [values.length, 1, 1, 1]);

/** Applies `transform` to samples drawn with probability p and leaves the others as they are. */
export function onDrawn<Samples extends tf.Tensor>(
  images: Samples,
  p: number,
  random: Random,
  transform: (drawn: Samples, places: number[]) => Samples,
): Samples {
  const drawn: number[] = [];
  for (let i = 0; i < images.shape[0]; i++) if (random.bernoulli(p)) drawn.push(i);
  if (drawn.length === 0) return images;
  if (drawn.length === images.shape[0]) return transform(images, drawn);
  const transformed = transform(tf.gather(images, tf.tensor1d(drawn, 'int32')), drawn);
  const attributes = { T: typeAttribute('TF_FLOAT'), Tindices: typeAttribute('TF_INT32') };
  return kernel('TensorScatterUpdate', attributes, [
    images,
    tf.tensor2d(drawn, [drawn.length, 1], 'int32'),
    transformed,
  ])[0] as Samples;
}

/**
 * Each image through the operation that it has drawn: `chosen` [N] are the operations' names, and one without a
 * transform leaves its images as they are. The batch is taken apart and put together once, however many there are.
 */
export function inGroups<Name>(
  images: tf.Tensor4D,
  chosen: readonly Name[],
  transform: (name: Name, group: tf.Tensor4D, places: number[]) => tf.Tensor4D,
): tf.Tensor4D {
  const groups = [...Map.groupBy(chosen.keys(), (place) => chosen[place]!)];
  if (groups.length === 1) return transform(groups[0]![0], images, groups[0]![1]);
  return tf.tidy(() => {
    const transformed = groups.map(([name, places]) =>
      tf.tidy(() => transform(name, tf.gather(images, tf.tensor1d(places, 'int32')), places)),
    );
    const order = groups.flatMap(([, places]) => places);
    const back = new Int32Array(order.length);
    order.forEach((place, i) => (back[place] = i));
    return tf.gather(tf.concat(transformed, 0), tf.tensor1d(back, 'int32'));
  });
}
