/**
 * Random views of sounds and of their spectrograms as batched tensor operations. Each sample draws its own parameters.
 * Order: time shift, pitch, gain, noise; on spectrograms the two masks of SpecAugment (Park et al. 2019, section 2).
 */
import type { Augmentation } from '#libs/contracts';
import { kernel, typeAttribute } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { onDrawn } from './drawn.js';
import type { Random } from './random.js';
import { resample } from './resampling.js';

/**
 * Views of `sounds`, float32 [N, length] in [-1, 1]; the same shape and range. The caller owns both. The same `random`
 * state gives the same views; a sound that an operation does not fall on is not touched by it.
 */
export function augmentSounds(
  sounds: tf.Tensor2D,
  { shift, pitch, gain, noise }: Augmentation,
  random: Random,
): tf.Tensor2D {
  return tf.tidy(() => {
    const draw = (drawn: tf.Tensor2D, low: number, high: number): Float32Array =>
      Float32Array.from({ length: drawn.shape[0] }, () => random.uniform(low, high));
    let views = sounds;
    if (shift) {
      const most = Math.round(shift.maxFraction * sounds.shape[1]);
      views = onDrawn(views, shift.p, random, (drawn) =>
        shiftInTime(
          drawn,
          Int32Array.from({ length: drawn.shape[0] }, () => random.integer(-most, most + 1)),
        ),
      );
    }
    if (pitch)
      views = onDrawn(views, pitch.p, random, (drawn) =>
        shiftPitch(drawn, draw(drawn, -pitch.maxSemitones, pitch.maxSemitones)),
      );
    if (gain)
      views = onDrawn(views, gain.p, random, (drawn) =>
        amplify(drawn, draw(drawn, -gain.maxDecibels, gain.maxDecibels)),
      );
    if (noise)
      views = onDrawn(views, noise.p, random, (drawn) =>
        addNoise(drawn, draw(drawn, noise.minSnr, noise.maxSnr), random),
      );
    return views === sounds ? tf.clone(sounds) : views;
  });
}

/** One value for each sound, to be broadcast over its samples. [N, 1] */
const perSound = (values: Float32Array): tf.Tensor2D => tf.tensor2d(values, [values.length, 1]);

/** Later by so many samples [N], earlier where that is negative; silence where nothing is left. sounds: [N, length] */
export const shiftInTime = (sounds: tf.Tensor2D, samples: Int32Array): tf.Tensor2D =>
  tf.tidy(() => {
    const [count, length] = sounds.shape;
    // Output x samples input x + c. Whole numbers are exact in 32 bits up to 16 million.
    const transforms = Float32Array.from([...samples].flatMap((later) => [1, 0, -later, 0, 1, 0, 0, 0]));
    const attributes = {
      dtype: typeAttribute('TF_FLOAT'),
      interpolation: { type: 'string' as const, value: 'NEAREST' },
      fill_mode: { type: 'string' as const, value: 'CONSTANT' },
    };
    const [moved] = kernel('ImageProjectiveTransformV3', attributes, [
      tf.reshape(sounds, [count, 1, length, 1]),
      tf.tensor2d(transforms, [count, 8]),
      tf.tensor1d([1, length], 'int32'),
      tf.scalar(0),
    ]);
    return tf.reshape(moved!, [count, length]);
  });

/** Steps of playing speed: 1 / 1024 of a sound's own, less than a hundredth of a semitone. */
const SPEED_STEPS = 1024;

/**
 * Played faster by 2^(semitones / 12), semitones [N], about the middle: cut where it gets longer, silence at both ends
 * where it gets shorter. Resampled as files are, so that nothing folds back. sounds: [N, length]
 */
export function shiftPitch(sounds: tf.Tensor2D, semitones: Float32Array): tf.Tensor2D {
  const [count, length] = sounds.shape;
  const values = sounds.dataSync<'float32'>();
  const shifted = new Float32Array(count * length);
  semitones.forEach((each, i) => {
    const speed = Math.round(2 ** (each / 12) * SPEED_STEPS);
    const whole = values.subarray(i * length, (i + 1) * length);
    const surplus = Math.ceil((length * SPEED_STEPS) / speed) - length;
    const sound =
      speed === SPEED_STEPS ? whole : resample(whole, speed, SPEED_STEPS, length, Math.max(0, Math.floor(surplus / 2)));
    shifted.set(
      sound.map((value) => Math.max(-1, Math.min(1, value))),
      i * length + Math.max(0, Math.floor(-surplus / 2)),
    );
  });
  return tf.tensor2d(shifted, [count, length]);
}

/** Louder by so many decibels [N], clipped to [-1, 1]. sounds: [N, length] */
export const amplify = (sounds: tf.Tensor2D, decibels: Float32Array): tf.Tensor2D =>
  tf.tidy(() =>
    tf.clipByValue(tf.mul<tf.Tensor2D>(sounds, perSound(decibels.map((value) => 10 ** (value / 20)))), -1, 1),
  );

/**
 * White noise whose power is the sound's own over 10^(snr / 10), snrs [N] in decibels, then clipped to [-1, 1]; a
 * silent sound stays silent. sounds: [N, length]
 */
export const addNoise = (sounds: tf.Tensor2D, snrs: Float32Array, random: Random): tf.Tensor2D =>
  tf.tidy(() => {
    const noise = tf.tensor2d(
      Float32Array.from({ length: sounds.size }, () => random.normal()),
      sounds.shape,
    );
    const powerOf = (x: tf.Tensor2D) => tf.mean(tf.square(x), 1, true);
    const factor = tf.sqrt(
      tf.div(
        tf.mul(powerOf(sounds), perSound(snrs.map((snr) => 10 ** (-snr / 10)))),
        tf.maximum(powerOf(noise), 1e-12),
      ),
    );
    return tf.clipByValue(tf.add<tf.Tensor2D>(sounds, tf.mul(noise, factor)), -1, 1);
  });

/**
 * Spectrograms [N, frames, bands, C] of which a block of frames, and one of bands, is silenced (0). The caller owns
 * both.
 */
export function maskSpectrograms(
  spectrograms: tf.Tensor4D,
  { timeMask, frequencyMask }: Augmentation,
  random: Random,
): tf.Tensor4D {
  return tf.tidy(() => {
    const [count, frames, bands] = spectrograms.shape;
    let masked = spectrograms;
    if (timeMask)
      masked = tf.mul(masked, tf.tensor4d(keptPlaces(count, frames, timeMask, random), [count, frames, 1, 1]));
    if (frequencyMask)
      masked = tf.mul(masked, tf.tensor4d(keptPlaces(count, bands, frequencyMask, random), [count, 1, bands, 1]));
    return masked === spectrograms ? tf.clone(spectrograms) : masked;
  });
}

/**
 * 0 in a block of 1 to maxFraction · size places that lies wholly inside, where one is drawn; 1 elsewhere. [count,
 * size]
 */
function keptPlaces(
  count: number,
  size: number,
  { maxFraction, p }: NonNullable<Augmentation['timeMask']>,
  random: Random,
): Float32Array {
  const kept = new Float32Array(count * size).fill(1);
  for (let i = 0; i < count; i++) {
    if (!random.bernoulli(p)) continue;
    const width = random.integer(1, Math.max(1, Math.floor(maxFraction * size)) + 1);
    const first = i * size + random.integer(0, size - width + 1);
    kept.fill(0, first, first + width);
  }
  return kept;
}
