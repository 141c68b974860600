/**
 * RandAugment (Cubuk et al. 2020) and TrivialAugment (Müller and Hutter 2021, its wide ranges) with torchvision's
 * operations and magnitudes: each image draws its operations from one list.
 */
import { UNLABELLED, type Augmentation } from '#libs/contracts';
import { tensorOf } from '#libs/tensorflow';
import type * as tf from '@tensorflow/tfjs-core';
import { adjustSharpness } from './blur.js';
import { adjustBrightness, adjustContrast, adjustSaturation } from './colour.js';
import { inGroups, perImage, type Seen } from './drawn.js';
import type { Random } from './random.js';
import { autocontrast, equalize, posterize, solarize } from './tone.js';
import { rotation, UNMOVED, warpEach, type Warp } from './warps.js';

/** Magnitudes go from the least to the most in so many. */
const MAGNITUDES = 31;

/** The most that an operation does, in its own unit; of `posterize` how many of 8 bits are dropped. */
interface Ranges {
  /** In parts of the side that it is along. */
  shear: number;
  /** Pixels along a side of so many. */
  translate(side: number): number;
  degrees: number;
  enhance: number;
  bits: number;
}
export const RAND: Ranges = { shear: 0.3, translate: (side) => (150 / 331) * side, degrees: 30, enhance: 0.9, bits: 4 };
export const TRIVIAL: Ranges = { shear: 0.99, translate: () => 32, degrees: 135, enhance: 0.99, bits: 6 };

/** Operations that move an image, by the part of the most that they do, in [-1, 1]. */
const MOVES = {
  // About the outer corner of the first pixel, half a pixel from its centre.
  shearX: (part, { shear }) => [1, part * shear, (part * shear) / 2, 0, 1, 0, 0, 0],
  shearY: (part, { shear }) => [1, 0, 0, part * shear, 1, (part * shear) / 2, 0, 0],
  translateX: (part, { translate }, _, width) => [1, 0, -Math.trunc(part * translate(width)), 0, 1, 0, 0, 0],
  translateY: (part, { translate }, height) => [1, 0, 0, 0, 1, -Math.trunc(part * translate(height)), 0, 0],
  rotate: (part, { degrees }, height, width) => rotation(part * degrees, height, width),
} satisfies Record<string, (part: number, ranges: Ranges, height: number, width: number) => Warp>;

type Parts = readonly number[];
const factors = (parts: Parts, { enhance }: Ranges) => Float32Array.from(parts, (part) => 1 + part * enhance);

/** Operations that change the values of images [N, H, W, C], by the part of the most that they do to each. */
const CHANGES = {
  brightness: (images, parts, ranges) => adjustBrightness(images, factors(parts, ranges)),
  color: (images, parts, ranges) => (images.shape[3] === 1 ? images : adjustSaturation(images, factors(parts, ranges))),
  contrast: (images, parts, ranges) => adjustContrast(images, factors(parts, ranges)),
  sharpness: (images, parts, ranges) => adjustSharpness(images, factors(parts, ranges)),
  posterize: (images, parts, { bits }) =>
    posterize(
      images,
      parts.map((part) => Math.round(8 - part * bits)),
    ),
  solarize: (images, parts) => solarize(images, tensorOf(perImage(Float32Array.from(parts, (part) => 1 - part)))),
  autocontrast: (images) => autocontrast(images),
  equalize: (images) => equalize(images),
} satisfies Record<string, (images: tf.Tensor4D, parts: Parts, ranges: Ranges) => tf.Tensor4D>;

export type Operation = 'identity' | keyof typeof MOVES | keyof typeof CHANGES;
const OPERATIONS = ['identity', ...Object.keys(MOVES), ...Object.keys(CHANGES)] as Operation[];
const moves = (operation: Operation): operation is keyof typeof MOVES => Object.hasOwn(MOVES, operation);
/** Operations whose magnitude is as often negative. */
const SIGNED: ReadonlySet<Operation> = new Set<Operation>([
  ...(Object.keys(MOVES) as (keyof typeof MOVES)[]),
  'brightness',
  'color',
  'contrast',
  'sharpness',
]);

/** An operation that an image has drawn; `part`: its magnitude in parts of the most, in [-1, 1]. */
interface Drawn {
  operation: Operation;
  part: number;
}
const NOTHING: Drawn = { operation: 'identity', part: 0 };

/** So many operations one after the other, each of the same magnitude (0 to 30), for each image. */
export function randAugment(
  seen: Seen,
  { operations, magnitude, p }: NonNullable<Augmentation['randAugment']>,
  random: Random,
): Seen {
  const drawn = Array.from({ length: seen.views.shape[0] }, () => {
    const falls = random.bernoulli(p);
    return Array.from({ length: operations }, () => (falls ? drawOperation(random, () => magnitude) : NOTHING));
  });
  return Array.from({ length: operations }).reduce<Seen>(
    (changed, _, turn) =>
      applyDrawn(
        changed,
        drawn.map((each) => each[turn]!),
        RAND,
      ),
    seen,
  );
}

/** One operation of any magnitude for each image. */
export const trivialAugment = (seen: Seen, { p }: NonNullable<Augmentation['trivialAugment']>, random: Random): Seen =>
  applyDrawn(
    seen,
    Array.from({ length: seen.views.shape[0] }, () =>
      random.bernoulli(p) ? drawOperation(random, () => random.integer(0, MAGNITUDES)) : NOTHING,
    ),
    TRIVIAL,
  );

function drawOperation(random: Random, magnitude: () => number): Drawn {
  const operation = OPERATIONS[random.integer(0, OPERATIONS.length)]!;
  const part = magnitude() / (MAGNITUDES - 1);
  return { operation, part: SIGNED.has(operation) && random.bernoulli(0.5) ? -part : part };
}

/** drawn: [N] */
export function applyDrawn(seen: Seen, drawn: readonly Drawn[], ranges: Ranges): Seen {
  const [, height, width] = seen.views.shape;
  const warps = drawn.map(({ operation, part }) =>
    moves(operation) ? MOVES[operation](part, ranges, height, width) : UNMOVED,
  );
  const views = inGroups(
    seen.views,
    drawn.map(({ operation }) => (moves(operation) ? 'move' : operation)),
    (operation, group, places) => {
      if (operation === 'identity') return group;
      if (operation === 'move')
        return warpEach(
          group,
          places.map((place) => warps[place]!),
          'NEAREST',
        );
      return CHANGES[operation](
        group,
        places.map((place) => drawn[place]!.part),
        ranges,
      );
    },
  );
  return { views, masks: seen.masks && warpEach(seen.masks, warps, 'NEAREST', UNLABELLED) };
}
