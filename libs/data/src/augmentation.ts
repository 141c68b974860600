/**
 * Random views of images as batched tensor operations. Each image draws its own parameters. Order and definitions
 * follow SimCLR (Chen et al. 2020, appendix A; `data_util.py`), those of what SimCLR has not torchvision's for floats.
 */
import { UNLABELLED, type Augmentation, type SoundAugmentation } from '#libs/contracts';
import { tensorOf, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import { adjustSharpness, blurBy, kernelsOf } from './blur.js';
import { jitterColours, withoutColour } from './colour.js';
import { drawCutouts, drawErasings, keptOutside } from './covers.js';
import { cornersOf, drawWindows, gridOf, resampleByCorners, resampleByGrid } from './crops.js';
import {
  draw,
  drawPlaces,
  flagsOf,
  inOrder,
  isGraphable,
  onDrawn,
  select,
  spread,
  type AnyStage,
  type Geometry,
  type Seen,
  type Stage,
} from './drawn.js';
import { randAugment, trivialAugment } from './policies.js';
import type { Random } from './random.js';
import { autocontrast, equalize, posterize, solarize } from './tone.js';
import { drawCorners, perspective, rotation, UNMOVED, warpBy, warpsOf, type Warp } from './warps.js';

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
  const [count, height, width, channels] = images.shape;
  const stages = stagesOf({ count, height, width, channels, hasMasks: masks !== undefined }, augmentation, size);
  return tf.tidy(() => {
    const seen = stages.reduce<Seen>((before, stage) => applyNow(stage, before, random), { views: images, masks });
    return { views: seen.views === images ? tf.clone(images) : seen.views, ...(seen.masks && { masks: seen.masks }) };
  });
}

function applyNow(stage: AnyStage<Seen>, seen: Seen, random: Random): Seen {
  return tf.tidy(() => {
    if (!isGraphable(stage)) return { ...stage.transform(seen, random) };
    return { ...stage.apply(seen, inOrder(stage.draw(random).map(tensorOf))) };
  });
}

/**
 * What an augmentation does to images of which there are `count`, or to `copies` views of each, in order: view v of
 * image i of N is at row v · N + i.
 * @throws RangeError for operations on colour when there is one channel.
 */
export function stagesOf(images: Geometry, augmentation: Augmentation, size?: number, copies = 1): AnyStage<Seen>[] {
  const { crop, flip, colorJitter, grayscale } = augmentation;
  if (images.channels === 1 && (grayscale || (colorJitter && (colorJitter.saturation > 0 || colorJitter.hue > 0)))) {
    throw new RangeError('expected images of three channels for grayscale, saturation or hue, got one');
  }
  const all = { ...images, count: images.count * copies };
  const first = crop || flip || size !== undefined ? [cropped(all, augmentation, size, copies)] : repeated(copies);
  const seen = size === undefined ? all : { ...all, height: size, width: size };
  return [...first, ...(Object.keys(OPERATIONS) as Name[]).flatMap((name) => operationOf(name, seen, augmentation))];
}

/** The images one below the other so many times, where a stage does not bring that with it. */
const repeated = (copies: number): Stage<Seen>[] =>
  copies === 1
    ? []
    : [
        {
          draw: () => [],
          apply: ({ views, masks }) => ({ views: again(views, copies), masks: masks && again(masks, copies) }),
        },
      ];
const again = (images: tf.Tensor4D, copies: number): tf.Tensor4D =>
  copies === 1 ? images : tf.concat4d(new Array<tf.Tensor4D>(copies).fill(images), 0);

function cropped(all: Geometry, { crop, flip }: Augmentation, size: number | undefined, copies: number): Stage<Seen> {
  const { height, width } = all;
  const draw = (random: Random) => drawWindows(all, crop, flip, random, size !== undefined);
  if (size === undefined && crop?.grid !== 'half-pixel')
    return {
      draw: (random) => [cornersOf(draw(random), height, width)],
      apply: ({ views, masks }, next) => {
        const corners = next();
        return {
          views: resampleByCorners(views, corners, 'bilinear'),
          masks: masks && resampleByCorners(masks, corners, 'nearest'),
        };
      },
    };
  const [down, across] = [size ?? height, size ?? width];
  return {
    draw: (random) => {
      const windows = draw(random);
      return [
        ...gridOf(windows, 'bilinear', down, across),
        ...(all.hasMasks ? gridOf(windows, 'nearest', down, across) : []),
      ];
    },
    apply: ({ views, masks }, next) => {
      const grid = () => [next(), next(), next(), next()] as const;
      return {
        views: resampleByGrid(again(views, copies), grid()),
        masks: masks && resampleByGrid(again(masks, copies), grid()),
      };
    },
  };
}

/** Augmentations of images after crop and flip, which are one. */
type Name = Exclude<keyof Augmentation, SoundAugmentation | 'crop' | 'flip'>;
type Settings<Each extends keyof Augmentation> = NonNullable<Augmentation[Each]>;
type Operation<Each extends keyof Augmentation> = (images: Geometry, settings: Settings<Each>) => AnyStage<Seen>;

function operationOf<Each extends Name>(name: Each, images: Geometry, augmentation: Augmentation): AnyStage<Seen>[] {
  const settings = augmentation[name] as Settings<Each> | undefined;
  return settings ? [(OPERATIONS[name] as Operation<Each>)(images, settings)] : [];
}

/** What changes values, and leaves pixels where they are. */
function ofViews(stage: AnyStage<tf.Tensor4D>): AnyStage<Seen> {
  if (!isGraphable(stage))
    return { transform: (seen, random) => ({ ...seen, views: stage.transform(seen.views, random) }) };
  return { draw: stage.draw, apply: (seen, next) => ({ ...seen, views: stage.apply(seen.views, next) }) };
}

/** Settings of what falls on an image with a probability. */
type WithProbability = Name & { [Other in Name]: Settings<Other> extends { p: number } ? Other : never }[Name];

/** What changes values where it falls, and draws nothing else. */
const values =
  <Each extends WithProbability>(
    transform: (images: tf.Tensor4D, settings: Settings<Each>) => tf.Tensor4D,
  ): Operation<Each> =>
  ({ count }, settings) =>
    ofViews({
      draw: (random) => [flagsOf(count, drawPlaces(count, settings.p, random))],
      apply: (images, next) => select(next(), transform(images, settings), images),
    });

/** What moves pixels where it falls: each image by a warp that it draws. */
const warped = ({ count }: Geometry, p: number, drawWarp: (random: Random) => Warp): Stage<Seen> => ({
  draw: (random) => {
    const all = new Array<Warp>(count).fill(UNMOVED);
    for (const place of drawPlaces(count, p, random)) all[place] = drawWarp(random);
    return [warpsOf(all)];
  },
  apply: ({ views, masks }, next) => {
    const warps = next();
    return { views: warpBy(views, warps, 'BILINEAR'), masks: masks && warpBy(masks, warps, 'NEAREST', UNLABELLED) };
  },
});

/** What covers a box of pixels with black. */
const covered = ({ height, width }: Geometry, drawBoxes: (random: Random) => HostTensor): Stage<Seen> => ({
  draw: (random) => [drawBoxes(random)],
  apply: ({ views, masks }, next) => {
    const kept = keptOutside(next(), height, width);
    return { views: tf.mul(views, kept), masks: masks && tf.where(tf.cast(kept, 'bool'), masks, UNLABELLED) };
  },
});

/** In the order in which they are applied. */
export const OPERATIONS: { [Each in Name]: Operation<Each> } = {
  rotate: (images, { maxDegrees, p }) =>
    warped(images, p, (random) =>
      rotation(Math.fround(random.uniform(-maxDegrees, maxDegrees)), images.height, images.width),
    ),
  perspective: (images, settings) => {
    const { height, width } = images;
    return warped(images, settings.p, (random) =>
      perspective(drawCorners(height, width, settings, random), height, width),
    );
  },
  randAugment: (_, settings) => ({ transform: (seen, random) => randAugment(seen, settings, random) }),
  trivialAugment: (_, settings) => ({ transform: (seen, random) => trivialAugment(seen, settings, random) }),
  colorJitter: (images, settings) => ofViews(jitterColours(images, settings)),
  grayscale: values(withoutColour),
  blur: ({ count, height }, { minSigma, maxSigma, p }) =>
    ofViews({
      draw: (random) => {
        const places = drawPlaces(count, p, random);
        const sigmas = draw(places.length, random, minSigma, maxSigma);
        return [kernelsOf(spread(count, places, sigmas, 0), height)];
      },
      apply: (images, next) => blurBy(images, next()),
    }),
  sharpness: values((images, { factor }) => adjustSharpness(images, new Float32Array(images.shape[0]).fill(factor))),
  solarize: values((images, { threshold }) => solarize(images, threshold)),
  posterize: values((images, { bits }) => posterize(images, new Array<number>(images.shape[0]).fill(bits))),
  autocontrast: values(autocontrast),
  equalize: (_, { p }) => ofViews({ transform: (images, random) => onDrawn(images, p, random, equalize) }),
  cutout: (images, settings) => covered(images, (random) => drawCutouts(images, settings, random)),
  erasing: (images, settings) => covered(images, (random) => drawErasings(images, settings, random)),
};
