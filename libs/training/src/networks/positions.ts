/** Where squares of an image are, as numbers to add to their tokens. */
import * as tf from '@tensorflow/tfjs-core';

/** Wavelengths are from 2π to this many times 2π squares. */
const LONGEST = 10_000;

/**
 * Sines and cosines of column and row, each of a quarter of the width (Vaswani et al. 2017, section 3.5; in two
 * dimensions MAE's `get_2d_sincos_pos_embed`); zeros in what is left of a width that is no multiple of four. Squares
 * row by row → [rows · columns, width]
 */
export function sineCosine(rows: number, columns: number, width: number): Float32Array {
  const waves = Math.floor(width / 4);
  const values = new Float32Array(rows * columns * width);
  for (let square = 0; square < rows * columns; square++) {
    const places = [square % columns, Math.floor(square / columns)];
    places.forEach((place, axis) => {
      for (let wave = 0; wave < waves; wave++) {
        const angle = place / LONGEST ** (wave / waves);
        const at = square * width + 2 * axis * waves + wave;
        values[at] = Math.sin(angle);
        values[at + waves] = Math.cos(angle);
      }
    });
  }
  return values;
}

/**
 * Positions that were learnt for one grid of squares, for another: interpolated between the four nearest. The first
 * `before` rows belong to no square, and stay.
 */
export function resizedPositions(
  { values, shape }: { values: Float32Array; shape: number[] },
  { from, to, before }: { from: readonly number[]; to: readonly number[]; before: number },
): { values: Float32Array; shape: number[] } {
  if (from.join() === to.join()) return { values, shape };
  const width = shape.at(-1)!;
  return tf.tidy(() => {
    const all = tf.tensor2d(values, [shape[0]!, width]);
    const squares = tf.reshape<tf.Rank.R4>(tf.slice2d(all, [before, 0], [-1, -1]), [1, from[0]!, from[1]!, width]);
    const resized = tf.image.resizeBilinear(squares, to as [number, number], false, true);
    const rows = tf.concat2d([tf.slice2d(all, [0, 0], [before, -1]), tf.reshape(resized, [-1, width])], 0);
    return { values: rows.dataSync<'float32'>(), shape: rows.shape };
  });
}
