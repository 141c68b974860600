/**
 * Random views of images as batched tensor operations. Each image draws its own parameters. Order and definitions
 * follow SimCLR (Chen et al. 2020, appendix A; `data_util.py`), those of what SimCLR has not torchvision's for floats.
 */
import { UNLABELLED, type Augmentation, type SoundAugmentation } from '#libs/contracts';
import * as tf from '@tensorflow/tfjs-core';
import { adjustSharpness, gaussianBlur } from './blur.js';
import { grayOf, jitterColours } from './colour.js';
import { cutoutMask, erasingMask } from './covers.js';
import { drawWindows, resampleByCorners, resampleByPixels } from './crops.js';
import { draw, onDrawn } from './drawn.js';
import { randAugment, trivialAugment, type Seen } from './policies.js';
import type { Random } from './random.js';
import { autocontrast, equalize, posterize, solarize } from './tone.js';
import { drawCorners, perspective, rotation, UNMOVED, warpEach, type Warp } from './warps.js';

/**
 * Views of `images`, float32 [N, H, W, C] in [0, 1] with C = 1 or 3; the same range, and the same shape, or [N, size,
 * size, C]: a crop then comes straight from the image, and a view without one shows the square in its middle. The
 * caller owns both. The same `random` state gives the same views; an image that an operation does not fall on is not
 * touched by it.
 * @throws RangeError for operations on colour when C = 1.
 */
export function augment(images: tf.Tensor4D, augmentation: Augmentation, random: Random, size?: number): tf.Tensor4D {
  return augmentBoth(images, undefined, augmentation, random, size).views;
}

/**
 * The views that `augment` gives for the same `random` state, with each pixel's class where the pixel went: masks int32
 * [N, H, W] → the same. What moves pixels takes the class of the nearest one; what lies outside the image, or is
 * covered, is `UNLABELLED`, for nothing there can be recognised. The caller owns all four.
 * @throws RangeError for operations on colour when C = 1.
 */
export function augmentWithMask(
  images: tf.Tensor4D,
  masks: tf.Tensor3D,
  augmentation: Augmentation,
  random: Random,
): { views: tf.Tensor4D; masks: tf.Tensor3D } {
  return tf.tidy(() => {
    const seen = augmentBoth(images, tf.expandDims(tf.cast(masks, 'float32'), 3), augmentation, random);
    return { views: seen.views, masks: tf.cast(tf.squeeze(seen.masks!, [3]), 'int32') };
  });
}

/** masks: float32 [N, H, W, 1] */
function augmentBoth(
  images: tf.Tensor4D,
  masks: tf.Tensor4D | undefined,
  augmentation: Augmentation,
  random: Random,
  size?: number,
): Seen {
  const { crop, flip, colorJitter, grayscale } = augmentation;
  if (images.shape[3] === 1 && (grayscale || (colorJitter && (colorJitter.saturation > 0 || colorJitter.hue > 0)))) {
    throw new RangeError('expected images of three channels for grayscale, saturation or hue, got one');
  }
  return tf.tidy(() => {
    let seen: Seen = { views: images, masks };
    if (crop || flip || size !== undefined) seen = cropped(seen, augmentation, random, size);
    for (const name of Object.keys(OPERATIONS) as Name[]) seen = applied(seen, name, augmentation, random);
    return { views: seen.views === images ? tf.clone(images) : seen.views, ...(seen.masks && { masks: seen.masks }) };
  });
}

function cropped({ views, masks }: Seen, { crop, flip }: Augmentation, random: Random, size?: number): Seen {
  const windows = drawWindows(views, crop, flip, random, size !== undefined);
  if (size !== undefined)
    return {
      views: resampleByPixels(views, windows, 'bilinear', size),
      masks: masks && resampleByPixels(masks, windows, 'nearest', size),
    };
  const resample = crop?.grid === 'half-pixel' ? resampleByPixels : resampleByCorners;
  return { views: resample(views, windows, 'bilinear'), masks: masks && resample(masks, windows, 'nearest') };
}

/** Augmentations of images after crop and flip, which are one. */
type Name = Exclude<keyof Augmentation, SoundAugmentation | 'crop' | 'flip'>;
type Settings<Each extends keyof Augmentation> = NonNullable<Augmentation[Each]>;
type Operation<Each extends keyof Augmentation> = (seen: Seen, settings: Settings<Each>, random: Random) => Seen;

function applied<Each extends Name>(seen: Seen, name: Each, augmentation: Augmentation, random: Random): Seen {
  const settings = augmentation[name] as Settings<Each> | undefined;
  return settings ? tf.tidy(() => ({ ...(OPERATIONS[name] as Operation<Each>)(seen, settings, random) })) : seen;
}

/** What changes values where it falls, and leaves pixels where they are. */
const values =
  <Each extends Name & { [Other in Name]: Settings<Other> extends { p: number } ? Other : never }[Name]>(
    transform: (drawn: tf.Tensor4D, settings: Settings<Each>, random: Random) => tf.Tensor4D,
  ): Operation<Each> =>
  (seen, settings, random) => ({
    ...seen,
    views: onDrawn(seen.views, settings.p, random, (drawn) => transform(drawn, settings, random)),
  });

/** What moves pixels where it falls: each image by a warp that it draws. */
function warped(seen: Seen, p: number, random: Random, drawWarps: (count: number) => Warp[]): Seen {
  const all: Warp[] = Array.from({ length: seen.views.shape[0] }, () => UNMOVED);
  const views = onDrawn(seen.views, p, random, (drawn, places) => {
    const warps = drawWarps(places.length);
    places.forEach((place, i) => (all[place] = warps[i]!));
    return warpEach(drawn, warps, 'BILINEAR');
  });
  return { views, masks: seen.masks && warpEach(seen.masks, all, 'NEAREST', UNLABELLED) };
}

/** What covers pixels: `kept` is 0 where it does, else 1. [N, H, W, 1] */
const covered = ({ views, masks }: Seen, kept: tf.Tensor4D): Seen => ({
  views: tf.mul(views, kept),
  masks: masks && tf.where(tf.cast(kept, 'bool'), masks, UNLABELLED),
});

/** In the order in which they are applied. */
export const OPERATIONS: { [Each in Name]: Operation<Each> } = {
  rotate: (seen, { maxDegrees, p }, random) => {
    const [, height, width] = seen.views.shape;
    return warped(seen, p, random, (count) =>
      Array.from({ length: count }, () =>
        rotation(Math.fround(random.uniform(-maxDegrees, maxDegrees)), height, width),
      ),
    );
  },
  perspective: (seen, settings, random) => {
    const [, height, width] = seen.views.shape;
    return warped(seen, settings.p, random, (count) =>
      Array.from({ length: count }, () => perspective(drawCorners(height, width, settings, random), height, width)),
    );
  },
  randAugment,
  trivialAugment,
  colorJitter: values(jitterColours),
  grayscale: values((drawn) => tf.broadcastTo(grayOf(drawn), drawn.shape)),
  blur: values((drawn, { minSigma, maxSigma }, random) => gaussianBlur(drawn, draw(drawn, random, minSigma, maxSigma))),
  sharpness: values((drawn, { factor }) => adjustSharpness(drawn, new Float32Array(drawn.shape[0]).fill(factor))),
  solarize: values((drawn, { threshold }) => solarize(drawn, threshold)),
  posterize: values((drawn, { bits }) => posterize(drawn, new Array<number>(drawn.shape[0]).fill(bits))),
  autocontrast: values(autocontrast),
  equalize: values(equalize),
  cutout: (seen, settings, random) => {
    const [count, height, width] = seen.views.shape;
    return covered(seen, cutoutMask(count, height, width, settings, random));
  },
  erasing: (seen, settings, random) => {
    const [count, height, width] = seen.views.shape;
    return covered(seen, erasingMask(count, height, width, settings, random));
  },
};
