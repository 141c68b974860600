/**
 * Which samples of a batch an operation falls on, and what each of them draws. What is drawn are arrays of the same
 * shapes each time, so that the operation itself can be part of a graph: it runs over all samples, and those that it
 * does not fall on are taken as they were, or have drawn what changes nothing.
 */
import { kernel, typeAttribute, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from './random.js';

/** Images, and the classes of their pixels where they have any (float32 [N, H, W, 1]). */
export interface Seen {
  views: tf.Tensor4D;
  masks?: tf.Tensor4D | undefined;
}

/** What an operation is given, without its values. */
export interface Geometry {
  count: number;
  height: number;
  width: number;
  channels: number;
  /** Whether pixels have a class. */
  hasMasks?: boolean;
}

/** An operation in two halves: what it draws, and tensor operations that take it in the same order by `next`. */
export interface Stage<Samples> {
  draw(random: Random): HostTensor[];
  apply(samples: Samples, next: () => tf.Tensor): Samples;
}

/** One that can't be part of a graph: its tensor operations differ by what it draws, or it reads values. */
export interface DirectStage<Samples> {
  transform(samples: Samples, random: Random): Samples;
}

export type AnyStage<Samples> = Stage<Samples> | DirectStage<Samples>;
export const isGraphable = <Samples>(stage: AnyStage<Samples>): stage is Stage<Samples> => 'draw' in stage;

/** What takes tensors one after the other. */
export function inOrder(tensors: readonly tf.Tensor[]): () => tf.Tensor {
  let taken = 0;
  return () => tensors[taken++]!;
}

/** One value for each place, uniform in [low, high]. */
export const draw = (count: number, random: Random, low: number, high: number): Float32Array =>
  Float32Array.from({ length: count }, () => random.uniform(low, high));

/** One value for each image, to be broadcast over its pixels. [N, 1, 1, 1] */
export const perImage = (values: Float32Array): HostTensor => ({
  dtype: 'float32',
  shape: [values.length, 1, 1, 1],
  values,
});

/** Places of the samples that an operation of probability p falls on. */
export function drawPlaces(count: number, p: number, random: Random): number[] {
  const drawn: number[] = [];
  for (let i = 0; i < count; i++) if (random.bernoulli(p)) drawn.push(i);
  return drawn;
}

/** [N] */
export function flagsOf(count: number, places: readonly number[]): HostTensor {
  const values = new Uint8Array(count);
  for (const place of places) values[place] = 1;
  return { dtype: 'bool', shape: [count], values };
}

/** The values at their places, `neutral` at all others. [N] */
export function spread(
  count: number,
  places: readonly number[],
  values: ArrayLike<number>,
  neutral: number,
): Float32Array {
  const all = new Float32Array(count).fill(neutral);
  places.forEach((place, i) => (all[place] = values[i]!));
  return all;
}

/** Of each sample that a flag [N] stands for the changed one, else the other; both of the same shape. */
export const select = <Samples extends tf.Tensor>(flags: tf.Tensor, changed: Samples, others: Samples): Samples =>
  kernel('Select', { T: typeAttribute('TF_FLOAT') }, [flags, changed, others])[0] as Samples;

/** Applies `transform` to samples drawn with probability p and leaves the others as they are: no graph has this. */
export function onDrawn<Samples extends tf.Tensor>(
  images: Samples,
  p: number,
  random: Random,
  transform: (drawn: Samples, places: number[]) => Samples,
): Samples {
  const drawn = drawPlaces(images.shape[0], p, random);
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
