/** Parts of images that are covered with black. */
import type { Augmentation } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from './random.js';

/** Boxes that RandomErasing draws until one fits. */
const ERASING_TRIES = 10;

/** 0 inside a square at a random place that lies wholly in the image, 1 elsewhere. [N, H, W, 1] */
export function cutoutMask(
  count: number,
  height: number,
  width: number,
  { size, p }: NonNullable<Augmentation['cutout']>,
  random: Random,
): tf.Tensor4D {
  const side = Math.max(1, Math.round(size * Math.min(height, width)));
  const mask = new Float32Array(count * height * width).fill(1);
  for (let i = 0; i < count; i++) {
    if (!random.bernoulli(p)) continue;
    const top = random.integer(0, height - side + 1);
    const left = random.integer(0, width - side + 1);
    for (let y = top; y < top + side; y++)
      mask.fill(0, (i * height + y) * width + left, (i * height + y) * width + left + side);
  }
  return tf.tensor4d(mask, [count, height, width, 1]);
}

/**
 * The same with a box as torchvision's RandomErasing draws it: area uniform, aspect (height to width) log-uniform, ten
 * tries, else none. [N, H, W, 1]
 */
export function erasingMask(
  count: number,
  height: number,
  width: number,
  { minArea, maxArea, minAspect, maxAspect, p }: NonNullable<Augmentation['erasing']>,
  random: Random,
): tf.Tensor4D {
  const mask = new Float32Array(count * height * width).fill(1);
  for (let i = 0; i < count; i++) {
    if (!random.bernoulli(p)) continue;
    for (let attempt = 0; attempt < ERASING_TRIES; attempt++) {
      const area = height * width * random.uniform(minArea, maxArea);
      const aspect = Math.exp(random.uniform(Math.log(minAspect), Math.log(maxAspect)));
      const [h, w] = [Math.round(Math.sqrt(area * aspect)), Math.round(Math.sqrt(area / aspect))];
      if (h >= height || w >= width) continue;
      const top = random.integer(0, height - h + 1);
      const left = random.integer(0, width - w + 1);
      for (let y = top; y < top + h; y++)
        mask.fill(0, (i * height + y) * width + left, (i * height + y) * width + left + w);
      break;
    }
  }
  return tf.tensor4d(mask, [count, height, width, 1]);
}
