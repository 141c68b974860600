/** Images made less sharp, or sharper. */
import * as tf from '@tensorflow/tfjs-core';
import { clip } from './colour.js';
import { perImage } from './drawn.js';

/** Rows of a blurred image that are computed together: a band around the diagonal of a large matrix is mostly zeros. */
const BLUR_ROWS = 64;

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
      perImage(factors.map((f) => 1 - f)),
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
