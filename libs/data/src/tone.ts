/** How bright each value of an image becomes, as torchvision has it for floats. */
import * as tf from '@tensorflow/tfjs-core';

/** Values of 8 bits. */
const LEVELS = 256;

/** Inverts what is at least as bright as its image's threshold. `thresholds`: [N, 1, 1, 1] or one for all */
export const solarize = (images: tf.Tensor4D, thresholds: tf.TensorLike | tf.Tensor): tf.Tensor4D =>
  tf.where(tf.less(images, thresholds), images, tf.sub(1, images));

/** Rounds down to 2^bits levels, as `posterize` does: ⌊x · 2^bits⌋ / 2^bits, of 1 the level below. bits: [N] */
export const posterize = (images: tf.Tensor4D, bits: readonly number[]): tf.Tensor4D =>
  tf.tidy(() => {
    const levels = tf.tensor4d(
      bits.map((each) => 2 ** each),
      [bits.length, 1, 1, 1],
    );
    return tf.div(tf.minimum(tf.floor(tf.mul(images, levels)), tf.sub(levels, 1)), levels);
  });

/** Stretches each channel to [0, 1], as `autocontrast` does; one of a single value stays. */
export const autocontrast = (images: tf.Tensor4D): tf.Tensor4D =>
  tf.tidy(() => {
    const [least, most] = [tf.min(images, [1, 2], true), tf.max(images, [1, 2], true)];
    const range = tf.sub(most, least);
    const flat = tf.equal(range, 0);
    const stretched = tf.div(tf.sub(images, tf.where(flat, 0, least)), tf.where(flat, 1, range));
    return tf.clipByValue<tf.Tensor4D>(stretched as tf.Tensor4D, 0, 1);
  });

/**
 * Makes all of 256 levels of each channel as frequent, as `equalize` (and Pillow) does; a channel whose levels but the
 * last have fewer than 255 pixels keeps its values. The result lies on the levels.
 */
export function equalize(images: tf.Tensor4D): tf.Tensor4D {
  const [count, height, width, channels] = images.shape;
  const values = images.dataSync<'float32'>();
  const equalized = new Float32Array(values.length);
  const pixels = height * width;
  const levels = new Uint8Array(pixels);
  for (let n = 0; n < count; n++)
    for (let channel = 0; channel < channels; channel++) {
      const first = n * pixels * channels + channel;
      // As a float becomes a byte: not rounded, and 1 is the last level.
      for (let i = 0; i < pixels; i++)
        levels[i] = Math.floor(Math.fround(values[first + i * channels]! * (LEVELS - 1e-3)));
      const table = equalizing(levels);
      for (let i = 0; i < pixels; i++) equalized[first + i * channels] = table[levels[i]!]! / (LEVELS - 1);
    }
  return tf.tensor4d(equalized, images.shape);
}

/** The level that each level becomes. */
function equalizing(levels: Uint8Array): Uint8Array {
  const frequencies = new Uint32Array(LEVELS);
  for (const level of levels) frequencies[level]!++;
  const last = frequencies[frequencies.findLastIndex((frequency) => frequency > 0)]!;
  const step = Math.floor((levels.length - last) / (LEVELS - 1));
  if (step === 0) return Uint8Array.from({ length: LEVELS }, (_, level) => level);
  let below = Math.floor(step / 2);
  return Uint8Array.from(frequencies, (frequency) => {
    const level = Math.min(LEVELS - 1, Math.floor(below / step));
    below += frequency;
    return level;
  });
}
