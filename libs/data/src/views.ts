/** What an encoder sees of a sample: the sample itself, or a random view of it. */
import { sampleAt, type Augmentation, type Autoencode, type SampleShape, type View } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { augment } from './augmentation.js';
import type { SampleSplit } from './dataset.js';
import type { Random } from './random.js';
import { augmentSounds, maskSpectrograms } from './sound-augmentation.js';
import { logMel, spectrogramShape } from './sound.js';

/**
 * [height, width, channels] of an encoder's input for such samples: sounds are [frames, bands, 1], as waveforms [1,
 * length, 1].
 */
export function inputShape(
  sample: SampleShape,
  domain: Autoencode['domain'] = 'spectrogram',
): [number, number, number] {
  if (sample.modality === 'image') return [sample.height, sample.width, sample.channels];
  return domain === 'waveform' ? [1, sample.length, 1] : [...spectrogramShape(sample), 1];
}

/**
 * Samples as `gatherSamples` gives them → an encoder's input [N, H, W, C]: about [0, 1], waveforms in [-1, 1]. The
 * caller owns both.
 */
export function inputOf(
  sample: SampleShape,
  samples: tf.Tensor,
  domain: Autoencode['domain'] = 'spectrogram',
): tf.Tensor4D {
  if (sample.modality === 'image') return tf.clone(samples as tf.Tensor4D);
  return domain === 'waveform'
    ? tf.reshape(samples, [-1, 1, sample.length, 1])
    : logMel(samples as tf.Tensor2D, sample.sampleRate);
}

/**
 * The split as a network sees it that has learnt from views of this size: of each image the largest square in its
 * middle, at the size, antialiased where it shrinks. Without a size the split itself. It has no masks.
 */
export const seenAt = (split: SampleSplit, size: number | undefined): SampleSplit =>
  size === undefined ? split : { ...split, sample: sampleAt(split.sample, size), masks: undefined };

/**
 * A random view of each sample as an encoder's input, sounds as spectrograms, images at their size or at `size` on both
 * sides. The same `random` state gives the same views.
 */
export function viewsOf(
  sample: SampleShape,
  samples: tf.Tensor,
  augmentation: Augmentation,
  random: Random,
  size?: number,
): tf.Tensor4D {
  if (sample.modality === 'image') return augment(samples as tf.Tensor4D, augmentation, random, size);
  return tf.tidy(() =>
    maskSpectrograms(
      logMel(augmentSounds(samples as tf.Tensor2D, augmentation, random), sample.sampleRate),
      augmentation,
      random,
    ),
  );
}

/**
 * All views of each sample, of one size, those by one combination of augmentations below those by the one before: view
 * v of sample i of N at row v · N + i.
 */
export const viewsOfEach = (
  sample: SampleShape,
  samples: tf.Tensor,
  views: readonly View[],
  random: Random,
): tf.Tensor4D =>
  tf.tidy(() =>
    tf.concat(
      // Those that are made alike in one pass, which needs fewer operations.
      views.map(({ augmentation, count, size }) =>
        viewsOf(sample, tf.concat(Array.from({ length: count }, () => samples)), augmentation, random, size),
      ),
    ),
  );
