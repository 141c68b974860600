/**
 * Random views of images as batched tensor operations. Each image draws its own parameters. Order and definitions
 * follow SimCLR (Chen et al. 2020, appendix A; `data_util.py`), colour operations torchvision's float definitions:
 * brightness, contrast and saturation blend with black, with the image's mean gray and with each pixel's gray; hue
 * turns the colour circle of HSV; the result is clipped to [0, 1] after each. Within colour jitter the order is fixed.
 */
import { UNLABELLED, type Augmentation } from '#libs/contracts';
import { kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { drawWindows, resampleByCorners, resampleByPixels } from './crops.js';
import type { Random } from './random.js';

/** ITU-R BT.601 luma, as torchvision has it. */
const LUMA = [0.2989, 0.587, 0.114] as const;
/** Pixels of an image from which on one call of a kernel for each image is faster than converting a whole batch. */
const LARGE_IMAGE = 96 * 96;
/** Rows of a blurred image that are computed together: a band around the diagonal of a large matrix is mostly zeros. */
const BLUR_ROWS = 64;

/**
 * Views of `images`, float32 [N, H, W, C] in [0, 1] with C = 1 or 3; the same shape and range. The caller owns both.
 * The same `random` state gives the same views; an image that an operation does not fall on is not touched by it.
 * @throws RangeError for operations on colour when C = 1.
 */
export function augment(images: tf.Tensor4D, augmentation: Augmentation, random: Random): tf.Tensor4D {
  return augmentBoth(images, undefined, augmentation, random).views;
}

/**
 * The views that `augment` gives for the same `random` state, with each pixel's class where the pixel went: masks int32
 * [N, H, W] → the same. Crop, flip and rotation take the class of the nearest pixel; what lies outside the image, or
 * under a cutout, is `UNLABELLED`, for nothing there can be recognised. The caller owns all four.
 * @throws RangeError for operations on colour when C = 1.
 */
export function augmentWithMask(
  images: tf.Tensor4D,
  masks: tf.Tensor3D,
  augmentation: Augmentation,
  random: Random,
): { views: tf.Tensor4D; masks: tf.Tensor3D } {
  return tf.tidy(() => {
    const { views, moved } = augmentBoth(images, tf.expandDims(tf.cast(masks, 'float32'), 3), augmentation, random);
    return { views, masks: tf.cast(tf.squeeze(moved!, [3]), 'int32') };
  });
}

/** masks: float32 [N, H, W, 1] */
function augmentBoth(
  images: tf.Tensor4D,
  masks: tf.Tensor4D | undefined,
  augmentation: Augmentation,
  random: Random,
): { views: tf.Tensor4D; moved?: tf.Tensor4D } {
  const [, height, width, channels] = images.shape;
  const { crop, flip, rotate, colorJitter, grayscale, blur, solarize, cutout } = augmentation;
  if (channels === 1 && (grayscale || (colorJitter && (colorJitter.saturation > 0 || colorJitter.hue > 0)))) {
    throw new RangeError('expected images of three channels for grayscale, saturation or hue, got one');
  }
  return tf.tidy(() => {
    let views: tf.Tensor4D = images;
    let moved = masks;
    if (crop || flip) {
      const windows = drawWindows(views, crop, flip, random);
      const resample = crop?.grid === 'half-pixel' ? resampleByPixels : resampleByCorners;
      views = resample(views, windows, 'bilinear');
      moved &&= resample(moved, windows, 'nearest');
    }
    if (rotate) {
      const turned = new Float32Array(views.shape[0]);
      views = onDrawn(views, rotate.p, random, (drawn, places) => {
        const degrees = draw(drawn, random, -rotate.maxDegrees, rotate.maxDegrees);
        places.forEach((place, i) => {
          turned[place] = degrees[i]!;
        });
        return rotateEach(drawn, degrees);
      });
      moved &&= rotateEach(moved, turned, 'NEAREST', UNLABELLED);
    }
    if (colorJitter) {
      const { brightness, contrast, saturation, hue } = colorJitter;
      views = onDrawn(views, colorJitter.p, random, (drawn) => {
        let jittered = drawn;
        if (brightness > 0) jittered = adjustBrightness(jittered, draw(drawn, random, 1 - brightness, 1 + brightness));
        if (contrast > 0) jittered = adjustContrast(jittered, draw(drawn, random, 1 - contrast, 1 + contrast));
        if (saturation > 0) jittered = adjustSaturation(jittered, draw(drawn, random, 1 - saturation, 1 + saturation));
        if (hue > 0) jittered = adjustHue(jittered, draw(drawn, random, -hue, hue));
        return jittered;
      });
    }
    if (grayscale) views = onDrawn(views, grayscale.p, random, (drawn) => tf.broadcastTo(grayOf(drawn), drawn.shape));
    if (blur)
      views = onDrawn(views, blur.p, random, (drawn) =>
        gaussianBlur(drawn, draw(drawn, random, blur.minSigma, blur.maxSigma)),
      );
    if (solarize)
      views = onDrawn(views, solarize.p, random, (drawn) =>
        tf.where(tf.less(drawn, solarize.threshold), drawn, tf.sub(1, drawn)),
      );
    if (cutout) {
      const kept = cutoutMask(views.shape[0], height, width, cutout, random);
      views = tf.mul(views, kept);
      moved &&= tf.where(tf.cast(kept, 'bool'), moved, UNLABELLED);
    }
    return { views: views === images ? tf.clone(images) : views, ...(moved && { moved }) };
  });
}

/** One value for each image, uniform in [low, high]. */
const draw = (images: tf.Tensor4D, random: Random, low: number, high: number): Float32Array =>
  Float32Array.from({ length: images.shape[0] }, () => random.uniform(low, high));

/** One value for each image, to be broadcast over its pixels. [N, 1, 1, 1] */
const perImage = (values: Float32Array): tf.Tensor4D => tf.tensor4d(values, [values.length, 1, 1, 1]);

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

/** Rotation about the centre, with one value `outside`. */
function rotateEach(
  images: tf.Tensor4D,
  degrees: Float32Array,
  interpolation: 'BILINEAR' | 'NEAREST' = 'BILINEAR',
  outside = 0,
): tf.Tensor4D {
  const [count, height, width] = images.shape;
  const transforms = new Float32Array(count * 8);
  degrees.forEach((angle, i) => {
    const radians = (angle * Math.PI) / 180;
    const [cos, sin, cx, cy] = [Math.cos(radians), Math.sin(radians), (width - 1) / 2, (height - 1) / 2];
    // Output (x, y) samples input (a x + b y + c, d x + e y + f).
    transforms.set([cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy, 0, 0], i * 8);
  });
  return kernel(
    'ImageProjectiveTransformV3',
    {
      dtype: typeAttribute('TF_FLOAT'),
      interpolation: { type: 'string', value: interpolation },
      fill_mode: { type: 'string', value: 'CONSTANT' },
    },
    [images, tf.tensor2d(transforms, [count, 8]), tf.tensor1d([height, width], 'int32'), tf.scalar(outside)],
  )[0] as tf.Tensor4D;
}

/** Clips to [0, 1] in one pass; `tf.clipByValue` takes two. */
const clip = (images: tf.Tensor): tf.Tensor4D =>
  kernel('ClipByValue', { T: typeAttribute('TF_FLOAT') }, [images, tf.scalar(0), tf.scalar(1)])[0] as tf.Tensor4D;

/** [N, H, W, 3] → [N, H, W, 1] */
function grayOf(images: tf.Tensor4D): tf.Tensor4D {
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

/**
 * Separable Gaussian of SimCLR: radius ⌊⌊H/10⌋/2⌋ (at least 1), zeros outside the image. Each pass is a product with a
 * banded matrix for each image, which keeps the sigmas apart.
 */
export function gaussianBlur(images: tf.Tensor4D, sigmas: Float32Array): tf.Tensor4D {
  return tf.tidy(() => {
    const [count, height, width, channels] = images.shape;
    const radius = Math.max(1, Math.floor(Math.floor(height / 10) / 2));
    // Each pass puts the axis that it blurs last: [N, H, WC] → [N, WC, H] = [N, W, CH] → [N, CH, W].
    const vertical = blurAndMoveLast(tf.reshape(images, [count, height, width * channels]), sigmas, radius);
    const both = blurAndMoveLast(tf.reshape(vertical, [count, width, channels * height]), sigmas, radius);
    return tf.transpose(tf.reshape(both, [count, channels, height, width]), [0, 2, 3, 1]);
  });
}

/** Normalised Gaussian weights of a radius. [2 radius + 1] */
export function gaussianKernel(sigma: number, radius: number): Float64Array {
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-((i - radius) ** 2) / (2 * sigma * sigma)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Each row of an image becomes a column, the weighted sum of the rows around it. x: [N, H, M] → [N, M, H] */
function blurAndMoveLast(x: tf.Tensor3D, sigmas: Float32Array, radius: number): tf.Tensor3D {
  const height = x.shape[1];
  const kernels = [...sigmas].map((sigma) => gaussianKernel(sigma, radius));
  const blocks: tf.Tensor3D[] = [];
  for (let first = 0; first < height; first += BLUR_ROWS) {
    const rows = Math.min(BLUR_ROWS, height - first);
    const from = Math.max(0, first - radius);
    const inputs = Math.min(height, first + rows + radius) - from;
    // Row r of image n's matrix holds its kernel around the input row r. bands: [N, rows, inputs]
    const bands = new Float32Array(sigmas.length * rows * inputs);
    kernels.forEach((weights, n) => {
      for (let row = 0; row < rows; row++) {
        const centre = first + row - from;
        for (let input = Math.max(0, centre - radius); input <= Math.min(inputs - 1, centre + radius); input++)
          bands[(n * rows + row) * inputs + input] = weights[input - centre + radius]!;
      }
    });
    blocks.push(
      tf.matMul(
        tf.slice3d(x, [0, from, 0], [-1, inputs, -1]),
        tf.tensor3d(bands, [sigmas.length, rows, inputs]),
        true,
        true,
      ),
    );
  }
  return tf.concat3d(blocks, 2);
}

/** 0 inside a square at a random place that lies wholly in the image, 1 elsewhere. [N, H, W, 1] */
function cutoutMask(
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
