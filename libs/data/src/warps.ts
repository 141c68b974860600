/** Images seen from elsewhere: rotated, sheared, moved, tilted. What lies outside has one value. */
import type { Augmentation } from '#libs/contracts';
import { floats, kernel, tensorOf, typeAttribute, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import type { Random } from './random.js';

/**
 * Where a pixel of the view is taken from: (x, y) from ((a x + b y + c) / k, (d x + e y + f) / k) with
 * k = g x + h y + 1, in pixels' centres, as [a, b, c, d, e, f, g, h].
 */
export type Warp = readonly [number, number, number, number, number, number, number, number];

export const UNMOVED: Warp = [1, 0, 0, 0, 1, 0, 0, 0];

/** [N, 8] */
export const warpsOf = (warps: readonly Warp[]): HostTensor =>
  floats(Float32Array.from(warps.flat()), [warps.length, 8]);

/** Each image through its warp [N, 8]. images: [N, H, W, C] → the same */
export function warpBy(
  images: tf.Tensor4D,
  warps: tf.Tensor,
  interpolation: 'BILINEAR' | 'NEAREST',
  outside = 0,
): tf.Tensor4D {
  const [, height, width] = images.shape;
  return kernel(
    'ImageProjectiveTransformV3',
    {
      dtype: typeAttribute('TF_FLOAT'),
      interpolation: { type: 'string', value: interpolation },
      fill_mode: { type: 'string', value: 'CONSTANT' },
    },
    [images, warps, tf.tensor1d([height, width], 'int32'), tf.scalar(outside)],
  )[0] as tf.Tensor4D;
}

/** The same, of warps that are there. */
export const warpEach = (
  images: tf.Tensor4D,
  warps: readonly Warp[],
  interpolation: 'BILINEAR' | 'NEAREST',
  outside = 0,
): tf.Tensor4D => tf.tidy(() => warpBy(images, tensorOf(warpsOf(warps)), interpolation, outside));

/** Rotation about the centre. */
export function rotation(degrees: number, height: number, width: number): Warp {
  const radians = (degrees * Math.PI) / 180;
  const [cos, sin, cx, cy] = [Math.cos(radians), Math.sin(radians), (width - 1) / 2, (height - 1) / 2];
  return [cos, -sin, cx - cos * cx + sin * cy, sin, cos, cy - sin * cx - cos * cy, 0, 0];
}

type Corner = readonly [x: number, y: number];
type Corners = readonly [Corner, Corner, Corner, Corner];

/**
 * Where the corners of an image come to lie, as torchvision's RandomPerspective draws them: each up to `distortion` of
 * half a side inwards, in whole pixels.
 */
export function drawCorners(
  height: number,
  width: number,
  { distortion }: NonNullable<Augmentation['perspective']>,
  random: Random,
): Corners {
  const across = Math.floor(distortion * Math.floor(width / 2)) + 1;
  const down = Math.floor(distortion * Math.floor(height / 2)) + 1;
  const left = () => random.integer(0, across);
  const top = () => random.integer(0, down);
  const right = () => random.integer(width - across, width);
  const bottom = () => random.integer(height - down, height);
  return [
    [left(), top()],
    [right(), top()],
    [right(), bottom()],
    [left(), bottom()],
  ];
}

/**
 * The warp that brings an image's corners to `ends` (top left, top right, bottom right, bottom left). As torchvision's
 * `perspective` it is fitted to the indices of the corner pixels and applied to places half a pixel further.
 */
export function perspective(ends: Corners, height: number, width: number): Warp {
  const starts: Corners = [
    [0, 0],
    [width - 1, 0],
    [width - 1, height - 1],
    [0, height - 1],
  ];
  const equations = ends.flatMap(([x, y], i) => {
    const [u, v] = starts[i]!;
    return [
      [x, y, 1, 0, 0, 0, -u * x, -u * y, u],
      [0, 0, 0, x, y, 1, -v * x, -v * y, v],
    ];
  });
  const [a, b, c, d, e, f, g, h] = solved(equations) as unknown as Warp;
  // Half a pixel towards the far corner, through the warp, and back.
  const k = 1 + (g + h) / 2;
  const [p, q] = [c + (a + b) / 2 - k / 2, f + (d + e) / 2 - k / 2];
  return [(a - g / 2) / k, (b - h / 2) / k, p / k, (d - g / 2) / k, (e - h / 2) / k, q / k, g / k, h / k];
}

/** Gauss' elimination with the largest pivot. equations: [n, n + 1], the last column is what each comes to */
function solved(equations: readonly (readonly number[])[]): number[] {
  const rows = equations.map((row) => [...row]);
  rows.forEach((_, column) => {
    const pivot = rows.reduce(
      (best, row, i) => (i >= column && Math.abs(row[column]!) > Math.abs(rows[best]![column]!) ? i : best),
      column,
    );
    [rows[column], rows[pivot]] = [rows[pivot]!, rows[column]!];
    const lead = rows[column];
    rows.forEach((row, i) => {
      if (i === column) return;
      const factor = row[column]! / lead[column]!;
      row.forEach((value, j) => (row[j] = value - factor * lead[j]!));
    });
  });
  return rows.map((row, i) => row.at(-1)! / row[i]!);
}
