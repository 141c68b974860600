/** What an encoder sees of a sample: the sample itself, or a random view of it. */
import { sampleAt, type Augmentation, type Autoencode, type SampleShape, type View } from '#libs/contracts';
import { floatsOfBytes, hostTensorOf, tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { augment, augmentWithMask, stagesOf } from './augmentation.js';
import { gatherStored, gatherStoredMasks, samplesOf, type SampleSplit } from './dataset.js';
import { inOrder, isGraphable, type AnyStage, type Seen } from './drawn.js';
import type { Random } from './random.js';
import { augmentSounds, maskSpectrograms, soundStages, spectrogramStages } from './sound-augmentation.js';
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

/**
 * The views of a batch in two halves: what is drawn, as arrays of the same shapes each time, and tensor operations that
 * make the views of it and of the stored samples, as part of a graph. Together they do what `viewsOf` does, and draw as
 * much. Where an augmentation can't be part of a graph, its views are made while they are drawn.
 */
export class DrawnViews {
  private readonly makers: Maker[];

  /** Of so many samples of a split, of several sizes: of each size the views as `viewsOfEach` has them. */
  constructor(
    private readonly split: SampleSplit,
    private readonly sizes: readonly (readonly View[])[],
    count: number,
  ) {
    this.makers = sizes.flatMap((views) => views.map((view) => makerOf(split, view, count)));
  }

  /** The stored samples of these rows, and what is drawn for their views. */
  draw(rows: Int32Array, random: Random): HostTensor[] {
    const stored = gatherStored(this.split, rows);
    return [...stored, ...this.makers.flatMap((maker) => maker.draw(stored, random))];
  }

  /** Of each size its views [N · views, H, W, C], by what `draw` gave, in order by `next`. */
  make(next: () => tf.Tensor): tf.Tensor4D[] {
    return tf.tidy(() => {
      const samples = samplesOf(this.split, next);
      const views = this.makers.map((maker) => tf.tidy(() => maker.make(samples, next)))[Symbol.iterator]();
      return this.sizes.map((alike) =>
        tf.concat4d(
          alike.map(() => views.next().value!),
          0,
        ),
      );
    });
  }
}

/** Makes one view of a batch, or all that are made alike. */
interface Maker {
  draw(stored: readonly HostTensor[], random: Random): HostTensor[];
  make(samples: tf.Tensor, next: () => tf.Tensor): tf.Tensor4D;
}

function makerOf(split: SampleSplit, view: View, count: number): Maker {
  const { sample } = split;
  const maker = sample.modality === 'image' ? imageMaker(sample, view, count) : soundMaker(sample, view, count);
  if (maker) return maker;
  return {
    draw: (stored, random) => {
      const made = tf.tidy(() => viewsOfEach(sample, samplesOf(split, inOrder(stored.map(tensorOf))), [view], random));
      const host = hostTensorOf(made);
      made.dispose();
      return [host];
    },
    make: (_, next) => tf.clone(next() as tf.Tensor4D),
  };
}

/** Nothing where an augmentation can't be part of a graph. */
function imageMaker(
  { height, width, channels }: Extract<SampleShape, { modality: 'image' }>,
  { augmentation, count: copies, size }: View,
  count: number,
): Maker | undefined {
  const stages = stagesOf({ count, height, width, channels }, augmentation, size, copies);
  if (!stages.every(isGraphable)) return undefined;
  return {
    draw: (_, random) => stages.flatMap((stage) => stage.draw(random)),
    make: (samples, next) =>
      stages.reduce<Seen>((seen, stage) => stage.apply(seen, next), { views: tf.clone(samples as tf.Tensor4D) }).views,
  };
}

function soundMaker(
  sample: Extract<SampleShape, { modality: 'audio' }>,
  { augmentation, count: copies }: View,
  count: number,
): Maker | undefined {
  const all = count * copies;
  const [frames, bands] = spectrogramShape(sample);
  const sounds = soundStages(all, sample.length, augmentation);
  const spectrograms = spectrogramStages(all, frames, bands, augmentation);
  if (!sounds.every(isGraphable)) return undefined;
  return {
    draw: (_, random) => [...sounds, ...spectrograms].flatMap((stage) => stage.draw(random)),
    make: (samples, next) => {
      const repeated = tf.concat2d(new Array<tf.Tensor2D>(copies).fill(samples as tf.Tensor2D), 0);
      const changed = sounds.reduce((before, stage) => stage.apply(before, next), repeated);
      return spectrograms.reduce((before, stage) => stage.apply(before, next), logMel(changed, sample.sampleRate));
    },
  };
}

/** As `DrawnViews`, one view of each image with the classes of its pixels. */
export class DrawnMasks {
  private readonly stages: AnyStage<Seen>[];

  constructor(
    private readonly split: SampleSplit,
    private readonly augmentation: Augmentation,
    count: number,
  ) {
    const [height, width, channels] = inputShape(split.sample);
    this.stages = stagesOf({ count, height, width, channels, hasMasks: true }, augmentation);
  }

  draw(rows: Int32Array, random: Random): HostTensor[] {
    const [stored, masks] = [gatherStored(this.split, rows), gatherStoredMasks(this.split, rows)];
    const { stages } = this;
    if (stages.every(isGraphable)) return [...stored, masks, ...stages.flatMap((stage) => stage.draw(random))];
    const made = tf.tidy(() =>
      augmentWithMask(
        samplesOf(this.split, inOrder(stored.map(tensorOf))) as tf.Tensor4D,
        tf.cast(floatsOfBytes(tensorOf(masks)), 'int32') as tf.Tensor3D,
        this.augmentation,
        random,
      ),
    );
    const hosts = [hostTensorOf(made.views), hostTensorOf(made.masks)];
    tf.dispose({ ...made });
    return hosts;
  }

  /** views: float32 [N, H, W, C]; masks: int32 [N, H, W] */
  make(next: () => tf.Tensor): { views: tf.Tensor4D; masks: tf.Tensor3D } {
    const { stages, split } = this;
    if (!stages.every(isGraphable))
      return { views: tf.clone(next() as tf.Tensor4D), masks: tf.clone(next() as tf.Tensor3D) };
    return tf.tidy(() => {
      const images: Seen = {
        views: samplesOf(split, next) as tf.Tensor4D,
        masks: tf.expandDims(floatsOfBytes(next()), 3),
      };
      const seen = stages.reduce((before, stage) => stage.apply(before, next), images);
      return { views: seen.views, masks: tf.cast(tf.squeeze(seen.masks!, [3]), 'int32') };
    });
  }
}
