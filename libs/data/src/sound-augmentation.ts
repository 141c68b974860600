/**
 * Random views of sounds and of their spectrograms as batched tensor operations. Each sample draws its own parameters.
 * Order: time shift, pitch, gain, noise; on spectrograms the two masks of SpecAugment (Park et al. 2019, section 2).
 */
import type { Augmentation } from '#libs/contracts';
import { floats, kernel, tensorOf, typeAttribute, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { draw, drawPlaces, inOrder, isGraphable, onDrawn, spread, type AnyStage, type Stage } from './drawn.js';
import type { Random } from './random.js';
import { resample } from './resampling.js';

/**
 * Views of `sounds`, float32 [N, length] in [-1, 1]; the same shape and range. The caller owns both. The same `random`
 * state gives the same views; a sound that an operation does not fall on is not touched by it.
 */
export function augmentSounds(sounds: tf.Tensor2D, augmentation: Augmentation, random: Random): tf.Tensor2D {
  const [count, length] = sounds.shape;
  return applyNow(sounds, soundStages(count, length, augmentation), random);
}

/** Each stage, drawn and applied. The caller owns both. */
function applyNow<Samples extends tf.Tensor>(
  samples: Samples,
  stages: readonly AnyStage<Samples>[],
  random: Random,
): Samples {
  return tf.tidy(() => {
    const views = stages.reduce((before, stage) => {
      if (!isGraphable(stage)) return stage.transform(before, random);
      return stage.apply(before, inOrder(stage.draw(random).map(tensorOf)));
    }, samples);
    return views === samples ? tf.clone(samples) : views;
  });
}

/** What an augmentation does to so many sounds of this length, in order. */
export function soundStages(
  count: number,
  length: number,
  { shift, pitch, gain, noise }: Augmentation,
): AnyStage<tf.Tensor2D>[] {
  const stages: AnyStage<tf.Tensor2D>[] = [];
  if (shift) {
    const most = Math.round(shift.maxFraction * length);
    stages.push({
      draw: (random) => {
        const places = drawPlaces(count, shift.p, random);
        const later = places.map(() => random.integer(-most, most + 1));
        return [shiftsOf(spread(count, places, later, 0))];
      },
      apply: (sounds, next) => shiftBy(sounds, next()),
    });
  }
  if (pitch)
    stages.push({
      transform: (sounds, random) =>
        onDrawn(sounds, pitch.p, random, (drawn) =>
          shiftPitch(drawn, draw(drawn.shape[0], random, -pitch.maxSemitones, pitch.maxSemitones)),
        ),
    });
  if (gain)
    stages.push({
      draw: (random) => {
        const places = drawPlaces(count, gain.p, random);
        return [gainsOf(spread(count, places, draw(places.length, random, -gain.maxDecibels, gain.maxDecibels), 0))];
      },
      apply: (sounds, next) => amplifyBy(sounds, next()),
    });
  if (noise)
    stages.push({
      draw: (random) => {
        const places = drawPlaces(count, noise.p, random);
        const snrs = draw(places.length, random, noise.minSnr, noise.maxSnr);
        return noisesOf(spread(count, places, snrs, 0), places, length, random);
      },
      apply: (sounds, next) => addNoiseBy(sounds, next(), next()),
    });
  return stages;
}

/** One value for each sound, to be broadcast over its samples. [N, 1] */
const perSound = (values: Float32Array): HostTensor => floats(values, [values.length, 1]);

/** Output x samples input x + c. Whole numbers are exact in 32 bits up to 16 million. [N, 8] */
const shiftsOf = (samples: ArrayLike<number>): HostTensor =>
  floats(Float32Array.from(Array.from(samples).flatMap((later) => [1, 0, -later, 0, 1, 0, 0, 0])), [samples.length, 8]);

const shiftBy = (sounds: tf.Tensor2D, shifts: tf.Tensor): tf.Tensor2D =>
  tf.tidy(() => {
    const [count, length] = sounds.shape;
    const attributes = {
      dtype: typeAttribute('TF_FLOAT'),
      interpolation: { type: 'string' as const, value: 'NEAREST' },
      fill_mode: { type: 'string' as const, value: 'CONSTANT' },
    };
    const [moved] = kernel('ImageProjectiveTransformV3', attributes, [
      tf.reshape(sounds, [count, 1, length, 1]),
      shifts,
      tf.tensor1d([1, length], 'int32'),
      tf.scalar(0),
    ]);
    return tf.reshape(moved!, [count, length]);
  });

/** Later by so many samples [N], earlier where that is negative; silence where nothing is left. sounds: [N, length] */
export const shiftInTime = (sounds: tf.Tensor2D, samples: Int32Array): tf.Tensor2D =>
  tf.tidy(() => shiftBy(sounds, tensorOf(shiftsOf(samples))));

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

const gainsOf = (decibels: Float32Array): HostTensor => perSound(decibels.map((value) => 10 ** (value / 20)));
const amplifyBy = (sounds: tf.Tensor2D, gains: tf.Tensor): tf.Tensor2D =>
  tf.clipByValue(tf.mul<tf.Tensor2D>(sounds, gains), -1, 1);

/** Louder by so many decibels [N], clipped to [-1, 1]. sounds: [N, length] */
export const amplify = (sounds: tf.Tensor2D, decibels: Float32Array): tf.Tensor2D =>
  tf.tidy(() => amplifyBy(sounds, tensorOf(gainsOf(decibels))));

/** Ratios of powers by their decibels [N], and white noise for these places, silence for all others. */
function noisesOf(snrs: Float32Array, places: readonly number[], length: number, random: Random): HostTensor[] {
  const noise = new Float32Array(snrs.length * length);
  for (const place of places) for (let i = place * length; i < (place + 1) * length; i++) noise[i] = random.normal();
  return [perSound(snrs.map((snr) => 10 ** (-snr / 10))), floats(noise, [snrs.length, length])];
}

const addNoiseBy = (sounds: tf.Tensor2D, ratios: tf.Tensor, noise: tf.Tensor): tf.Tensor2D =>
  tf.tidy(() => {
    const powerOf = (x: tf.Tensor) => tf.mean(tf.square(x), 1, true);
    const factor = tf.sqrt(tf.div(tf.mul(powerOf(sounds), ratios), tf.maximum(powerOf(noise), 1e-12)));
    return tf.clipByValue(tf.add<tf.Tensor2D>(sounds, tf.mul(noise, factor)), -1, 1);
  });

/**
 * White noise whose power is the sound's own over 10^(snr / 10), snrs [N] in decibels, then clipped to [-1, 1]; a
 * silent sound stays silent. sounds: [N, length]
 */
export const addNoise = (sounds: tf.Tensor2D, snrs: Float32Array, random: Random): tf.Tensor2D =>
  tf.tidy(() => {
    const [ratios, noise] = noisesOf(snrs, [...snrs.keys()], sounds.shape[1], random) as [HostTensor, HostTensor];
    return addNoiseBy(sounds, tensorOf(ratios), tensorOf(noise));
  });

/**
 * Spectrograms [N, frames, bands, C] of which a block of frames, and one of bands, is silenced (0). The caller owns
 * both.
 */
export function maskSpectrograms(spectrograms: tf.Tensor4D, augmentation: Augmentation, random: Random): tf.Tensor4D {
  const [count, frames, bands] = spectrograms.shape;
  return applyNow(spectrograms, spectrogramStages(count, frames, bands, augmentation), random);
}

/** What an augmentation does to so many spectrograms, in order. */
export const spectrogramStages = (
  count: number,
  frames: number,
  bands: number,
  { timeMask, frequencyMask }: Augmentation,
): Stage<tf.Tensor4D>[] => [
  ...(timeMask
    ? [silencing((random) => floats(keptPlaces(count, frames, timeMask, random), [count, frames, 1, 1]))]
    : []),
  ...(frequencyMask
    ? [silencing((random) => floats(keptPlaces(count, bands, frequencyMask, random), [count, 1, bands, 1]))]
    : []),
];

const silencing = (drawKept: (random: Random) => HostTensor): Stage<tf.Tensor4D> => ({
  draw: (random) => [drawKept(random)],
  apply: (spectrograms, next) => tf.mul(spectrograms, next()),
});

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
