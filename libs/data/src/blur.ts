/** Images made less sharp, or sharper. */
import { floats, tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { clip } from './colour.js';
import { perImage } from './drawn.js';

/** Rows of a blurred image that are computed together: a band around the diagonal of a large matrix is mostly zeros. */
const BLUR_ROWS = 64;

/** Of images of this height: ⌊⌊H/10⌋/2⌋, at least 1. */
const radiusOf = (height: number): number => Math.max(1, Math.floor(Math.floor(height / 10) / 2));

/** Weights of each image's sigma, those of sigma 0 of an image that stays as it is. [N, 2 radius + 1] */
export function kernelsOf(sigmas: Float32Array, height: number): HostTensor {
  const radius = radiusOf(height);
  const size = 2 * radius + 1;
  const values = new Float32Array(sigmas.length * size);
  sigmas.forEach((sigma, n) => {
    if (sigma === 0) values[n * size + radius] = 1;
    else values.set(gaussianKernel(sigma, radius), n * size);
  });
  return floats(values, [sigmas.length, size]);
}

/**
 * Separable Gaussian of SimCLR by the weights of each image (`kernelsOf`), zeros outside the image. Each pass is a
 * product with a banded matrix for each image, which keeps the sigmas apart.
 */
export function blurBy(images: tf.Tensor4D, kernels: tf.Tensor): tf.Tensor4D {
  return tf.tidy(() => {
    const [count, height, width, channels] = images.shape;
    const radius = radiusOf(height);
    // Each pass puts the axis that it blurs last: [N, H, WC] → [N, WC, H] = [N, W, CH] → [N, CH, W].
    const vertical = blurAndMoveLast(tf.reshape(images, [count, height, width * channels]), kernels, radius);
    const both = blurAndMoveLast(tf.reshape(vertical, [count, width, channels * height]), kernels, radius);
    return tf.transpose(tf.reshape(both, [count, channels, height, width]), [0, 2, 3, 1]);
  });
}

/** The same by each image's sigma. */
export const gaussianBlur = (images: tf.Tensor4D, sigmas: Float32Array): tf.Tensor4D =>
  tf.tidy(() => blurBy(images, tensorOf(kernelsOf(sigmas, images.shape[1]))));

/** Normalised Gaussian weights of a radius. [2 radius + 1] */
export function gaussianKernel(sigma: number, radius: number): Float64Array {
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp(-((i - radius) ** 2) / (2 * sigma * sigma)),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Each row of an image becomes a column, the weighted sum of the rows around it. x: [N, H, M] → [N, M, H] */
function blurAndMoveLast(x: tf.Tensor3D, kernels: tf.Tensor, radius: number): tf.Tensor3D {
  const height = x.shape[1];
  const size = 2 * radius + 1;
  // Its last column is 0, which a matrix has where it has no weight.
  const padded = tf.pad2d(kernels as tf.Tensor2D, [
    [0, 0],
    [0, 1],
  ]);
  const blocks: tf.Tensor3D[] = [];
  for (let first = 0; first < height; first += BLUR_ROWS) {
    const rows = Math.min(BLUR_ROWS, height - first);
    const from = Math.max(0, first - radius);
    const inputs = Math.min(height, first + rows + radius) - from;
    // Row r of image n's matrix holds its weights around the input row r.
    const places = new Int32Array(rows * inputs).fill(size);
    for (let row = 0; row < rows; row++) {
      const centre = first + row - from;
      for (let input = Math.max(0, centre - radius); input <= Math.min(inputs - 1, centre + radius); input++)
        places[row * inputs + input] = input - centre + radius;
    }
    const bands: tf.Tensor = tf.gather(padded, tf.tensor2d(places, [rows, inputs], 'int32'), 1);
    blocks.push(tf.matMul(tf.slice3d(x, [0, from, 0], [-1, inputs, -1]), bands, true, true));
  }
  return tf.concat3d(blocks, 2);
}

/**
 * f · x + (1 − f) · x smoothed by 3 x 3 weights of 1, in the middle 5, over 13; pixels of the edge stay as they are.
 * As torchvision's `adjust_sharpness`: 0 smooths, 1 changes nothing, 2 sharpens. `factors` [N], non-negative.
 */
export const adjustSharpness = (images: tf.Tensor4D, factors: Float32Array): tf.Tensor4D =>
  tf.tidy(() => {
    const [, height, width, channels] = images.shape;
    if (height <= 2 || width <= 2) return tf.clone(images);
    const weights = tf.tensor4d(
      Array.from({ length: 9 }, (_, i) => Array.from({ length: channels }, () => (i === 4 ? 5 : 1) / 13)).flat(),
      [3, 3, channels, 1],
    );
    const inner = tf.slice4d(images, [0, 1, 1, 0], [-1, height - 2, width - 2, -1]);
    const change = tf.mul(
      tf.sub(tf.depthwiseConv2d(images, weights, 1, 'valid'), inner),
      tensorOf(perImage(factors.map((f) => 1 - f))),
    );
    return clip(
      tf.add(
        images,
        tf.pad(change, [
          [0, 0],
          [1, 1],
          [1, 1],
          [0, 0],
        ]),
      ),
    );
  });
