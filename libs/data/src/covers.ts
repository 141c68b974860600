/** Parts of images that are covered with black. */
import type { Augmentation } from '#libs/contracts';
import { floats, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { Geometry } from './drawn.js';
import type { Random } from './random.js';

/** Boxes that RandomErasing draws until one fits. */
const ERASING_TRIES = 10;

/** Boxes of so many images: top, bottom, left, right, the first of each inside; none where all are 0. [N, 4] */
class Boxes {
  readonly values: Float32Array;
  constructor(private readonly count: number) {
    this.values = new Float32Array(4 * count);
  }
  set(i: number, top: number, left: number, height: number, width: number): void {
    this.values.set([top, top + height, left, left + width], 4 * i);
  }
  get host(): HostTensor {
    return floats(this.values, [this.count, 4]);
  }
}

/** 0 inside of each image's box [N, 4], 1 elsewhere. [N, H, W, 1] */
export function keptOutside(boxes: tf.Tensor, height: number, width: number): tf.Tensor4D {
  return tf.tidy(() => {
    const [top, bottom, left, right] = tf.split(boxes, 4, 1) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const within = (side: number, first: tf.Tensor, end: tf.Tensor): tf.Tensor => {
      const places = tf.range(0, side);
      return tf.logicalAnd(tf.greaterEqual(places, first), tf.less(places, end));
    };
    const inside = tf.logicalAnd(
      tf.expandDims(within(height, top, bottom), 2),
      tf.expandDims(within(width, left, right), 1),
    );
    return tf.expandDims(tf.sub(1, tf.cast(inside, 'float32')), 3);
  });
}

/** Of each image that it falls on, a square at a random place that lies wholly in it. [N, 4] */
export function drawCutouts(
  { count, height, width }: Geometry,
  { size, p }: NonNullable<Augmentation['cutout']>,
  random: Random,
): HostTensor {
  const side = Math.max(1, Math.round(size * Math.min(height, width)));
  const boxes = new Boxes(count);
  for (let i = 0; i < count; i++) {
    if (!random.bernoulli(p)) continue;
    const top = random.integer(0, height - side + 1);
    const left = random.integer(0, width - side + 1);
    boxes.set(i, top, left, side, side);
  }
  return boxes.host;
}

/**
 * The same with a box as torchvision's RandomErasing draws it: area uniform, aspect (height to width) log-uniform, ten
 * tries, else none. [N, 4]
 */
export function drawErasings(
  { count, height, width }: Geometry,
  { minArea, maxArea, minAspect, maxAspect, p }: NonNullable<Augmentation['erasing']>,
  random: Random,
): HostTensor {
  const boxes = new Boxes(count);
  for (let i = 0; i < count; i++) {
    if (!random.bernoulli(p)) continue;
    for (let attempt = 0; attempt < ERASING_TRIES; attempt++) {
      const area = height * width * random.uniform(minArea, maxArea);
      const aspect = Math.exp(random.uniform(Math.log(minAspect), Math.log(maxAspect)));
      const [h, w] = [Math.round(Math.sqrt(area * aspect)), Math.round(Math.sqrt(area / aspect))];
      if (h >= height || w >= width) continue;
      const top = random.integer(0, height - h + 1);
      const left = random.integer(0, width - w + 1);
      boxes.set(i, top, left, h, w);
      break;
    }
  }
  return boxes.host;
}
