/** Random resized crops, and mirrored ones. */
import { UNLABELLED, type Augmentation } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from './random.js';

const CROP_TRIES = 10;
/**
 * Sides of a crop keep so far from the image's edge, in fractions of the image: rounding would push some beyond it,
 * where all is black.
 */
const EDGE = 1e-6;
export interface CropBox {
  top: number;
  left: number;
  height: number;
  width: number;
}

/**
 * torchvision's RandomResizedCrop: area uniform, aspect log-uniform, ten tries, then the largest centred crop of an
 * allowed aspect. Whole pixels.
 */
export function drawCrop(
  imageHeight: number,
  imageWidth: number,
  { minArea, maxArea, minAspect, maxAspect }: NonNullable<Augmentation['crop']>,
  random: Random,
): CropBox {
  for (let attempt = 0; attempt < CROP_TRIES; attempt++) {
    const area = imageHeight * imageWidth * random.uniform(minArea, maxArea);
    const aspect = Math.exp(random.uniform(Math.log(minAspect), Math.log(maxAspect)));
    const width = Math.round(Math.sqrt(area * aspect));
    const height = Math.round(Math.sqrt(area / aspect));
    if (width < 1 || height < 1 || width > imageWidth || height > imageHeight) continue;
    return {
      top: random.integer(0, imageHeight - height + 1),
      left: random.integer(0, imageWidth - width + 1),
      height,
      width,
    };
  }
  const aspect = Math.min(Math.max(imageWidth / imageHeight, minAspect), maxAspect);
  const width = Math.min(imageWidth, Math.round(imageHeight * aspect));
  const height = Math.min(imageHeight, Math.round(imageWidth / aspect));
  return { top: Math.floor((imageHeight - height) / 2), left: Math.floor((imageWidth - width) / 2), height, width };
}

/** What a view shows of an image. */
interface Window extends CropBox {
  mirrored: boolean;
}

/** The largest square in the middle of an image. */
export function centredSquare(height: number, width: number): CropBox {
  const side = Math.min(height, width);
  return { top: Math.floor((height - side) / 2), left: Math.floor((width - side) / 2), height: side, width: side };
}

/** `isSquare`: a view of a whole image shows the square in its middle. */
export function drawWindows(
  images: tf.Tensor4D,
  crop: Augmentation['crop'],
  flip: Augmentation['flip'],
  random: Random,
  isSquare = false,
): Window[] {
  const [count, height, width] = images.shape;
  const whole = isSquare ? centredSquare(height, width) : { top: 0, left: 0, height, width };
  return Array.from({ length: count }, () => {
    const box = crop && random.bernoulli(crop.p) ? drawCrop(height, width, crop, random) : whole;
    return { ...box, mirrored: flip !== undefined && random.bernoulli(flip.p) };
  });
}

type Method = 'bilinear' | 'nearest';

/** Where a window begins and ends, in fractions of the image. */
const sidesOf = (from: number, length: number, whole: number): [number, number] =>
  length === whole
    ? [0, 1]
    : [Math.max(EDGE, from / (whole - 1)), Math.min(1 - EDGE, (from + length - 1) / (whole - 1))];

/**
 * The windows at the size of their images, in one pass: the outermost pixels of a window lie on those of the view, as
 * TensorFlow's `CropAndResize` has it. images: [N, H, W, C] → the same
 */
export function resampleByCorners(images: tf.Tensor4D, windows: readonly Window[], method: Method): tf.Tensor4D {
  const [count, height, width] = images.shape;
  const boxes = windows.flatMap((window) => {
    const [y1, y2] = sidesOf(window.top, window.height, height);
    const [x1, x2] = sidesOf(window.left, window.width, width);
    // Swapped x coordinates mirror.
    return window.mirrored ? [y1, x2, y2, x1] : [y1, x1, y2, x2];
  });
  return tf.image.cropAndResize(
    images,
    tf.tensor2d(boxes, [count, 4]),
    tf.range(0, count, 1, 'int32'),
    [height, width],
    method,
    method === 'nearest' ? UNLABELLED : 0,
  );
}

/**
 * The windows at the size of their images, or at `size` on both sides, as torchvision's `resized_crop` with
 * antialiasing has them: the grid is of pixels' centres (half a pixel from the edge), and beyond the outermost ones of
 * a window there is nothing but them. Rows and columns are sums by a matrix each: of two places, or of all that a
 * place of a view covers where it shows fewer. images: [N, H, W, C] → the same, or [N, size, size, C]
 */
export const resampleByPixels = (
  images: tf.Tensor4D,
  windows: readonly Window[],
  method: Method,
  size?: number,
): tf.Tensor4D =>
  tf.tidy(() => {
    const [count, height, width, channels] = images.shape;
    const [down, across] = [size ?? height, size ?? width];
    const rows = weightsOf(
      windows.map((w) => ({ from: w.top, length: w.height, mirrored: false })),
      height,
      down,
      method,
    );
    const columns = weightsOf(
      windows.map((w) => ({ from: w.left, length: w.width, mirrored: w.mirrored })),
      width,
      across,
      method,
    );
    const narrowed = tf.reshape<tf.Rank.R4>(tf.matMul(rows, tf.reshape(images, [count, height, width * channels])), [
      count,
      down,
      width,
      channels,
    ]);
    // [N, H, W, C] → [N, W, H · C]: columns come to the front.
    const turned = tf.reshape(tf.transpose(narrowed, [0, 2, 1, 3]), [count, width, down * channels]);
    const resampled = tf.reshape<tf.Rank.R4>(tf.matMul(columns, turned), [count, across, down, channels]);
    return tf.transpose<tf.Tensor4D>(resampled, [0, 2, 1, 3]);
  });

/**
 * The largest square in the middle of each image at this size, antialiased where it shrinks. images: [N, H, W, C] →
 * [N, size, size, C]. The caller owns both.
 */
export function resizedWhole(images: tf.Tensor4D, size: number): tf.Tensor4D {
  const [count, height, width] = images.shape;
  const window = { ...centredSquare(height, width), mirrored: false };
  return resampleByPixels(images, new Array<Window>(count).fill(window), 'bilinear', size);
}

/** What each place of a view takes of those of its image: [N, places, whole]. */
function weightsOf(
  spans: readonly { from: number; length: number; mirrored: boolean }[],
  whole: number,
  places: number,
  method: Method,
): tf.Tensor3D {
  const weights = new Float32Array(spans.length * places * whole);
  spans.forEach(({ from, length, mirrored }, n) => {
    for (let i = 0; i < places; i++) {
      const row = (n * places + (mirrored ? places - 1 - i : i)) * whole + from;
      const place = ((i + 0.5) * length) / places;
      if (method === 'nearest') {
        weights[row + Math.floor(place)] = 1;
        continue;
      }
      if (length > places) {
        triangle(place, length, length / places).forEach((weight, j) => (weights[row + j] = weight));
        continue;
      }
      const centre = Math.max(0, place - 0.5);
      const before = Math.floor(centre);
      weights[row + before]! += 1 - (centre - before);
      weights[row + Math.min(before + 1, length - 1)]! += centre - before;
    }
  });
  return tf.tensor3d(weights, [spans.length, places, whole]);
}

/**
 * What a place that covers `reach` > 1 of `length` places takes of each of them: less the farther its centre is, and
 * nothing beyond `reach` (Pillow's and torch's antialiased bilinear filter).
 */
function triangle(centre: number, length: number, reach: number): number[] {
  const weights = Array.from({ length }, (_, j) => Math.max(0, 1 - Math.abs(j + 0.5 - centre) / reach));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}
