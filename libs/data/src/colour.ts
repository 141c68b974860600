/**
 * Colours of images, as torchvision has them for floats: brightness, contrast and saturation blend with black, with the
 * image's mean gray and with each pixel's gray; hue turns the colour circle of HSV; the result is clipped to [0, 1]
 * after each.
 */
import type { Augmentation } from '#libs/contracts';
import { floats, kernel, tensorOf, typeAttribute, usesGpu, type HostTensor } from '#libs/tensorflow';
import * as tf from '@tensorflow/tfjs-core';
import {
  draw,
  drawPlaces,
  flagsOf,
  inGroups,
  onDrawn,
  perImage,
  select,
  spread,
  type AnyStage,
  type Geometry,
} from './drawn.js';
import type { Random } from './random.js';

/** ITU-R BT.601 luma, as torchvision has it. */
const LUMA = [0.2989, 0.587, 0.114] as const;
/** Pixels of an image from which on one call of a kernel for each image is faster than converting a whole batch. */
const LARGE_IMAGE = 96 * 96;

/** Clips to [0, 1] in one pass; `tf.clipByValue` takes two. */
export const clip = (images: tf.Tensor): tf.Tensor4D =>
  kernel('ClipByValue', { T: typeAttribute('TF_FLOAT') }, [images, tf.scalar(0), tf.scalar(1)])[0] as tf.Tensor4D;

/** [N, H, W, 3] → [N, H, W, 1] */
export function grayOf(images: tf.Tensor4D): tf.Tensor4D {
  const [count, height, width, channels] = images.shape;
  if (channels === 1) return images;
  return tf.reshape(tf.matMul(tf.reshape(images, [-1, 3]), tf.tensor2d([...LUMA], [3, 1])), [count, height, width, 1]);
}

/** The gray of each pixel in all three channels: one product, with the luma in each column. [N, H, W, 3] → the same */
export const withoutColour = (images: tf.Tensor4D): tf.Tensor4D =>
  tf.tidy(() => {
    const columns = tf.tensor2d(
      LUMA.flatMap((weight) => [weight, weight, weight]),
      [3, 3],
    );
    return tf.reshape(tf.matMul(tf.reshape(images, [-1, 3]), columns), images.shape);
  });

/** One of the four: its factors [N] as what its tensor operations take, and these. */
interface Part {
  input(factors: Float32Array, large: boolean): HostTensor;
  apply(images: tf.Tensor4D, input: tf.Tensor, large: boolean): tf.Tensor4D;
}

const brightness: Part = {
  input: perImage,
  apply: (images, factor) => clip(tf.mul(images, factor)),
};

const contrast: Part = {
  input: perImage,
  apply: (images, factor) => {
    // The gray of the mean colour is the mean of the grays.
    const mean = grayOf(tf.mean(images, [1, 2], true));
    return clip(tf.add(tf.mul(images, factor), tf.mul(mean, tf.sub(1, factor))));
  },
};

const saturation: Part = {
  /** A pixel is multiplied with its image's f · I + (1 − f) · luma, in each column: one product for all. */
  input: (factors) =>
    floats(
      Float32Array.from(
        [...factors].flatMap((factor) =>
          LUMA.flatMap((weight, from) => LUMA.map((_, to) => (from === to ? factor : 0) + (1 - factor) * weight)),
        ),
      ),
      [factors.length, 3, 3],
    ),
  apply: (images, matrices) => {
    const [count, height, width] = images.shape;
    return clip(tf.reshape(tf.matMul(tf.reshape(images, [count, height * width, 3]), matrices), images.shape));
  },
};

/**
 * Hue, saturation and value, each [N, H, W], as TensorFlow's kernel `RGBToHSV` has them, bit for bit, which on a CPU
 * takes three times as long: it looks for the largest of three numbers as for that of thousands.
 */
function hsvOf(images: tf.Tensor4D): [hue: tf.Tensor, saturation: tf.Tensor, value: tf.Tensor] {
  const attributes = { T: typeAttribute('TF_FLOAT') };
  if (usesGpu()) {
    const [hsv] = kernel('RGBToHSV', attributes, [images]) as [tf.Tensor4D];
    return tf.unstack(hsv, 3) as [tf.Tensor, tf.Tensor, tf.Tensor];
  }
  const [r, g, b] = tf.unstack(images, 3) as [tf.Tensor, tf.Tensor, tf.Tensor];
  const value = tf.maximum(tf.maximum(r, g), b);
  const range = tf.sub(value, tf.minimum(tf.minimum(r, g), b));
  // Gray has no hue, and black no saturation: both are 0.
  const quotient = (x: tf.Tensor, by: tf.Tensor): tf.Tensor => kernel('DivNoNan', attributes, [x, by])[0]!;
  const slope = tf.mul(quotient(tf.scalar(1), range), 1 / 6);
  const between = (x: tf.Tensor, y: tf.Tensor): tf.Tensor => tf.mul(slope, tf.sub(x, y));
  const hue = tf.where(
    tf.equal(r, value),
    between(g, b),
    tf.where(tf.equal(g, value), tf.add(between(b, r), 2 / 6), tf.add(between(r, g), 4 / 6)),
  );
  return [tf.add(hue, tf.cast(tf.less(hue, 0), 'float32')), quotient(range, value), value];
}

const hue: Part = {
  // Hue is periodic: what reaches 1 begins at 0 again.
  input: (turns, large) =>
    large
      ? floats(turns, [turns.length])
      : floats(
          turns.map((turn) => turn - Math.floor(turn)),
          [turns.length, 1, 1],
        ),
  apply: (images, turns, large) => {
    const attributes = { T: typeAttribute('TF_FLOAT') };
    if (large) {
      const each = tf.unstack(turns);
      return tf.stack(
        tf.unstack(images).map((image, i) => kernel('AdjustHue', attributes, [image, each[i]!])[0]!),
      ) as tf.Tensor4D;
    }
    const [hue, saturation, value] = hsvOf(images);
    const shifted = tf.add(hue, turns);
    const wrapped = tf.sub(shifted, tf.cast(tf.greaterEqual(shifted, 1), 'float32'));
    return kernel('HSVToRGB', attributes, [tf.stack([wrapped, saturation, value], 3)])[0] as tf.Tensor4D;
  },
};

/** On a CPU, the kernel that turns all pixels by one angle is twice as fast as converting to HSV and back. */
const isLarge = (height: number, width: number): boolean => height * width >= LARGE_IMAGE && !usesGpu();

const adjusting =
  ({ input, apply }: Part) =>
  (images: tf.Tensor4D, factors: Float32Array): tf.Tensor4D =>
    tf.tidy(() => {
      const large = isLarge(images.shape[1], images.shape[2]);
      return apply(images, tensorOf(input(factors, large)), large);
    });
/** f · x: blend with black. `factors` [N], non-negative, as in the two that follow. */
export const adjustBrightness = adjusting(brightness);
/** f · x + (1 − f) · mean gray of the image. */
export const adjustContrast = adjusting(contrast);
/** f · x + (1 − f) · gray of the pixel. */
export const adjustSaturation = adjusting(saturation);
/** Turns the hue of HSV by `turns` [N], each in [-0.5, 0.5] of the colour circle. */
export const adjustHue = adjusting(hue);

const PARTS = { brightness, contrast, saturation, hue };
const ADJUST = { brightness: adjustBrightness, contrast: adjustContrast, saturation: adjustSaturation, hue: adjustHue };
const NAMES = ['brightness', 'contrast', 'saturation', 'hue'] as const;
type Settings = NonNullable<Augmentation['colorJitter']>;

/** The factors of so many images, of each of the four that is on, in order. */
const drawFactors = (count: number, settings: Settings, random: Random): [(typeof NAMES)[number], Float32Array][] =>
  NAMES.filter((name) => settings[name] > 0).map((name) => [
    name,
    name === 'hue'
      ? draw(count, random, -settings.hue, settings.hue)
      : draw(count, random, 1 - settings[name], 1 + settings[name]),
  ]);

/**
 * Brightness, contrast, saturation and hue of each image by what it draws: in this order, or (`order: random`) in one
 * that each image draws first, as torchvision and SimCLR have it.
 */
export function jitterColours({ count, height, width }: Geometry, settings: Settings): AnyStage<tf.Tensor4D> {
  if (settings.order === 'random')
    return {
      transform: (images, random) =>
        onDrawn(images, settings.p, random, (drawn) => jitterInAnyOrder(drawn, settings, random)),
    };
  const large = isLarge(height, width);
  const names = NAMES.filter((name) => settings[name] > 0);
  return {
    draw: (random) => {
      const places = drawPlaces(count, settings.p, random);
      return [
        flagsOf(count, places),
        ...drawFactors(places.length, settings, random).map(([name, factors]) =>
          PARTS[name].input(spread(count, places, factors, name === 'hue' ? 0 : 1), large),
        ),
      ];
    },
    apply: (images, next) => {
      const flags = next();
      const jittered = names.reduce((image, name) => PARTS[name].apply(image, next(), large), images);
      return select(flags, jittered, images);
    },
  };
}

function jitterInAnyOrder(images: tf.Tensor4D, settings: Settings, random: Random): tf.Tensor4D {
  const count = images.shape[0];
  const orders = Array.from({ length: count }, () => [...random.permutation(4)]);
  const drawn = new Map(drawFactors(count, settings, random));
  return NAMES.reduce(
    (jittered, _, turn) =>
      inGroups(
        jittered,
        orders.map((order) => NAMES[order[turn]!]!),
        (name, group, places) => {
          const factors = drawn.get(name);
          if (!factors) return group;
          return ADJUST[name](
            group,
            Float32Array.from(places, (place) => factors[place]!),
          );
        },
      ),
    images,
  );
}
