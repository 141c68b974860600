/** Random resized crops, and mirrored ones. */
import { UNLABELLED, type Augmentation } from '#libs/contracts';
import { floats, tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { Geometry } from './drawn.js';
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
export interface Window extends CropBox {
  mirrored: boolean;
}

/** The largest square in the middle of an image. */
export function centredSquare(height: number, width: number): CropBox {
  const side = Math.min(height, width);
  return { top: Math.floor((height - side) / 2), left: Math.floor((width - side) / 2), height: side, width: side };
}

/** `isSquare`: a view of a whole image shows the square in its middle. */
export function drawWindows(
  { count, height, width }: Pick<Geometry, 'count' | 'height' | 'width'>,
  crop: Augmentation['crop'],
  flip: Augmentation['flip'],
  random: Random,
  isSquare = false,
): Window[] {
  const whole = isSquare ? centredSquare(height, width) : { top: 0, left: 0, height, width };
  return Array.from({ length: count }, () => {
    const box = crop && random.bernoulli(crop.p) ? drawCrop(height, width, crop, random) : whole;
    return { ...box, mirrored: flip !== undefined && random.bernoulli(flip.p) };
  });
}

export type Method = 'bilinear' | 'nearest';

/** Where a window begins and ends, in fractions of the image. */
const sidesOf = (from: number, length: number, whole: number): [number, number] =>
  length === whole
    ? [0, 1]
    : [Math.max(EDGE, from / (whole - 1)), Math.min(1 - EDGE, (from + length - 1) / (whole - 1))];

/** Corners of each window in fractions of the image, as `CropAndResize` takes them. [N, 4] */
export function cornersOf(windows: readonly Window[], height: number, width: number): HostTensor {
  const boxes = windows.flatMap((window) => {
    const [y1, y2] = sidesOf(window.top, window.height, height);
    const [x1, x2] = sidesOf(window.left, window.width, width);
    // Swapped x coordinates mirror.
    return window.mirrored ? [y1, x2, y2, x1] : [y1, x1, y2, x2];
  });
  return floats(Float32Array.from(boxes), [windows.length, 4]);
}

/**
 * The windows [N · k, 4] at the size of their images, in one pass: the outermost pixels of a window lie on those of the
 * view, as TensorFlow's `CropAndResize` has it. images: [N, H, W, C], for the windows from the first on and again →
 * [N · k, H, W, C]
 */
export function resampleByCorners(images: tf.Tensor4D, corners: tf.Tensor, method: Method): tf.Tensor4D {
  const [count, height, width] = images.shape;
  const places = Int32Array.from({ length: corners.shape[0] }, (_, i) => i % count);
  return tf.image.cropAndResize(
    images,
    corners as tf.Tensor2D,
    tf.tensor1d(places, 'int32'),
    [height, width],
    method,
    method === 'nearest' ? UNLABELLED : 0,
  );
}

/**
 * Where each place of a view lies in its image along one side, and how far it reaches: [N, places, 2], whole pixels and
 * the part of one beyond, and [N, 3], the reach in pixels, and where the window begins and ends.
 */
type Spans = readonly [HostTensor, HostTensor];
/** Of rows and columns. */
export type Grid = readonly [...Spans, ...Spans];

/** Images of this size on `down` x `across` places, on torchvision's grid: see `resampleByPixels`. */
export const gridOf = (windows: readonly Window[], method: Method, down: number, across: number): Grid => [
  ...spansOf(
    windows.map((w) => ({ from: w.top, length: w.height, mirrored: false })),
    down,
    method,
  ),
  ...spansOf(
    windows.map((w) => ({ from: w.left, length: w.width, mirrored: w.mirrored })),
    across,
    method,
  ),
];

function spansOf(
  windows: readonly { from: number; length: number; mirrored: boolean }[],
  places: number,
  method: Method,
): Spans {
  const centres = new Float32Array(windows.length * places * 2);
  const reaches = new Float32Array(windows.length * 3);
  windows.forEach(({ from, length, mirrored }, n) => {
    const shrinks = method === 'bilinear' && length > places;
    reaches.set([shrinks ? length / places : 1, from, from + length], n * 3);
    for (let i = 0; i < places; i++) {
      const place = ((i + 0.5) * length) / places;
      const centre = centreOf(place, length, method, shrinks);
      const whole = Math.floor(centre);
      centres.set([from + whole, centre - whole], (n * places + (mirrored ? places - 1 - i : i)) * 2);
    }
  });
  return [floats(centres, [windows.length, places, 2]), floats(reaches, [windows.length, 3])];
}

/** In pixels' centres from a window's first. Beyond its outermost pixels there is nothing but them. */
function centreOf(place: number, length: number, method: Method, shrinks: boolean): number {
  if (method === 'nearest') return Math.floor(place);
  return shrinks ? place - 0.5 : Math.min(Math.max(0, place - 0.5), length - 1);
}

/**
 * What each place of a view takes of those of its image [N, places, whole]: less the farther a centre is, and nothing
 * beyond the reach (linear interpolation, and Pillow's and torch's antialiased bilinear filter).
 */
function weightsOf(centres: tf.Tensor, reaches: tf.Tensor, whole: number): tf.Tensor3D {
  return tf.tidy(() => {
    const [at, part] = tf.split(centres, 2, 2) as [tf.Tensor, tf.Tensor];
    const [reach, from, end] = tf.split(tf.expandDims(reaches, 1), 3, 2) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const places = tf.range(0, whole);
    const inside = tf.cast(tf.logicalAnd(tf.greaterEqual(places, from), tf.less(places, end)), 'float32');
    // Whole numbers first: they are exact.
    const distances = tf.abs(tf.sub(tf.sub(places, at), part));
    const weights = tf.mul(tf.relu(tf.sub(1, tf.div(distances, reach))), inside);
    return tf.div(weights, tf.sum(weights, 2, true));
  });
}

/**
 * The windows at the size of their images, or at another (`gridOf`), as torchvision's `resized_crop` with antialiasing
 * has them: the grid is of pixels' centres (half a pixel from the edge), and beyond the outermost ones of a window
 * there is nothing but them. Rows and columns are sums by a matrix each: of two places, or of all that a place of a
 * view covers where it shows fewer. images: [N, H, W, C] → [N, down, across, C]. One window is for all images.
 */
export const resampleByGrid = (
  images: tf.Tensor4D,
  [rowCentres, rowReaches, columnCentres, columnReaches]: readonly [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor],
): tf.Tensor4D =>
  tf.tidy(() => {
    const [count, height, width, channels] = images.shape;
    const [down, across] = [rowCentres.shape[1]!, columnCentres.shape[1]!];
    const rows = weightsOf(rowCentres, rowReaches, height);
    const columns = weightsOf(columnCentres, columnReaches, width);
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

/** The same, of windows that are there, at the size of their images or at `size` on both sides. */
export const resampleByPixels = (
  images: tf.Tensor4D,
  windows: readonly Window[],
  method: Method,
  size?: number,
): tf.Tensor4D =>
  tf.tidy(() => {
    const [, height, width] = images.shape;
    const grid = gridOf(windows, method, size ?? height, size ?? width);
    return resampleByGrid(images, grid.map(tensorOf) as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]);
  });

/**
 * The largest square in the middle of each image at this size, antialiased where it shrinks. images: [N, H, W, C] →
 * [N, size, size, C]. The caller owns both.
 */
export function resizedWhole(images: tf.Tensor4D, size: number): tf.Tensor4D {
  const [, height, width] = images.shape;
  return resampleByPixels(images, [{ ...centredSquare(height, width), mirrored: false }], 'bilinear', size);
}
