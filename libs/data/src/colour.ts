/**
 * Colours of images, as torchvision has them for floats: brightness, contrast and saturation blend with black, with the
 * image's mean gray and with each pixel's gray; hue turns the colour circle of HSV; the result is clipped to [0, 1]
 * after each.
 */
import type { Augmentation } from '#libs/contracts';
import { kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { draw, inGroups, perImage } from './drawn.js';
import type { Random } from './random.js';

/** ITU-R BT.601 luma, as torchvision has it. */
const LUMA = [0.2989, 0.587, 0.114] as const;
/** Pixels of an image from which on one call of a kernel for each image is faster than converting a whole batch. */
const LARGE_IMAGE = 96 * 96;

/** Clips to [0, 1] in one pass; `tf.clipByValue` takes two. */
export const clip = (images: tf.Tensor): tf.Tensor4D =>
  kernel('ClipByValue', { T: typeAttribute('TF_FLOAT') }, [images, tf.scalar(0), tf.scalar(1)])[0] as tf.Tensor4D;

/** [N, H, W, 3] → [N, H, W, 1] */
export function grayOf(images: tf.Tensor4D): tf.Tensor4D {
  const [count, height, width, channels] = images.shape;
  if (channels === 1) return images;
  return tf.reshape(tf.matMul(tf.reshape(images, [-1, 3]), tf.tensor2d([...LUMA], [3, 1])), [count, height, width, 1]);
}

/** f · x: blend with black. `factors` [N], non-negative, as in the two that follow. */
export const adjustBrightness = (images: tf.Tensor4D, factors: Float32Array): tf.Tensor4D =>
  tf.tidy(() => clip(tf.mul(images, perImage(factors))));

/** f · x + (1 − f) · mean gray of the image. */
export const adjustContrast = (images: tf.Tensor4D, factors: Float32Array): tf.Tensor4D =>
  tf.tidy(() => {
    const factor = perImage(factors);
    // The gray of the mean colour is the mean of the grays.
    const mean = grayOf(tf.mean(images, [1, 2], true));
    return clip(tf.add(tf.mul(images, factor), tf.mul(mean, tf.sub(1, factor))));
  });

/** f · x + (1 − f) · gray of the pixel. */
export const adjustSaturation = (images: tf.Tensor4D, factors: Float32Array): tf.Tensor4D =>
  tf.tidy(() => {
    const [count, height, width] = images.shape;
    // One product of each pixel with its image's f · I + (1 − f) · luma, in each column.
    const matrices = tf.tensor3d(
      [...factors]
        .flatMap((factor) =>
          LUMA.map((weight, from) => LUMA.map((_, to) => (from === to ? factor : 0) + (1 - factor) * weight)),
        )
        .flat(),
      [count, 3, 3],
    );
    return clip(tf.reshape(tf.matMul(tf.reshape(images, [count, height * width, 3]), matrices), images.shape));
  });

/** Turns the hue of HSV by `turns` [N], each in [-0.5, 0.5] of the colour circle. */
export const adjustHue = (images: tf.Tensor4D, turns: Float32Array): tf.Tensor4D =>
  tf.tidy(() => {
    const attributes = { T: typeAttribute('TF_FLOAT') };
    // The kernel that turns all pixels by one angle is twice as fast as converting to HSV and back.
    if (images.shape[1] * images.shape[2] >= LARGE_IMAGE) {
      return tf.stack(
        tf.unstack(images).map((image, i) => kernel('AdjustHue', attributes, [image, tf.scalar(turns[i]!)])[0]!),
      ) as tf.Tensor4D;
    }
    const [hsv] = kernel('RGBToHSV', attributes, [images]) as [tf.Tensor4D];
    // Hue is periodic: what reaches 1 begins at 0 again. Saturation and value stay below 2.
    const shift = tf.tensor4d(
      [...turns].flatMap((turn) => [turn - Math.floor(turn), 0, 0]),
      [turns.length, 1, 1, 3],
    );
    const shifted = tf.add(hsv, shift);
    const wrapped = tf.sub(shifted, tf.cast(tf.greaterEqual(shifted, tf.tensor4d([1, 2, 2], [1, 1, 1, 3])), 'float32'));
    return kernel('HSVToRGB', attributes, [wrapped])[0] as tf.Tensor4D;
  });

const ADJUST = { brightness: adjustBrightness, contrast: adjustContrast, saturation: adjustSaturation, hue: adjustHue };
const PARTS = ['brightness', 'contrast', 'saturation', 'hue'] as const;

/**
 * Brightness, contrast, saturation and hue of each image by what it draws: in this order, or (`order: random`) in one
 * that each image draws first, as torchvision and SimCLR have it.
 */
export function jitterColours(
  images: tf.Tensor4D,
  settings: NonNullable<Augmentation['colorJitter']>,
  random: Random,
): tf.Tensor4D {
  const count = images.shape[0];
  const orders = settings.order === 'random' && Array.from({ length: count }, () => [...random.permutation(4)]);
  const drawn = Object.fromEntries(
    PARTS.filter((part) => settings[part] > 0).map((part) => [
      part,
      part === 'hue'
        ? draw(images, random, -settings.hue, settings.hue)
        : draw(images, random, 1 - settings[part], 1 + settings[part]),
    ]),
  );
  const adjusted = (part: (typeof PARTS)[number], group: tf.Tensor4D, places?: number[]): tf.Tensor4D => {
    const values = drawn[part];
    if (!values) return group;
    return ADJUST[part](group, places ? Float32Array.from(places, (place) => values[place]!) : values);
  };
  if (!orders) return PARTS.reduce((jittered, part) => adjusted(part, jittered), images);
  return PARTS.reduce(
    (jittered, _, turn) =>
      inGroups(
        jittered,
        orders.map((order) => PARTS[order[turn]!]!),
        adjusted,
      ),
    images,
  );
}
