import { z } from 'zod';
import type { SampleShape } from './dataset.js';
import { ordered, probability } from './spec-fields.js';

export const Augmentation = z
  .strictObject({
    crop: z
      .strictObject({
        minArea: z.number().min(0.01).max(1).default(0.08),
        maxArea: z.number().min(0.01).max(1).default(1),
        minAspect: z
          .number()
          .min(0.1)
          .max(10)
          .default(3 / 4),
        maxAspect: z
          .number()
          .min(0.1)
          .max(10)
          .default(4 / 3),
        grid: z
          .enum(['corners', 'half-pixel'])
          .optional()
          .describe(
            'Where the pixels of a crop lie in its view: the outermost on the outermost (`corners`, also where left ' +
              'out), or centres in their part of the view, as torchvision has it.',
          ),
        p: probability.default(1),
      })
      .superRefine(ordered('minArea', 'maxArea'))
      .superRefine(ordered('minAspect', 'maxAspect'))
      .optional()
      .describe('Random resized crop: area as a fraction of the image, aspect ratio log-uniform.'),
    flip: z
      .strictObject({ p: probability.default(0.5) })
      .optional()
      .describe('Horizontal flip.'),
    rotate: z
      .strictObject({ maxDegrees: z.number().gt(0).max(180).default(15), p: probability.default(1) })
      .optional()
      .describe('Rotation by an angle uniform in ±maxDegrees, bilinear, edges filled with black.'),
    colorJitter: z
      .strictObject({
        brightness: z.number().min(0).max(1).default(0.4),
        contrast: z.number().min(0).max(1).default(0.4),
        saturation: z.number().min(0).max(1).default(0.4),
        hue: z.number().min(0).max(0.5).default(0.1),
        p: probability.default(0.8),
      })
      .optional()
      .describe('Factors uniform in 1 ± strength (hue: a shift of the colour circle in turns, uniform in ± strength).'),
    grayscale: z.strictObject({ p: probability.default(0.2) }).optional(),
    blur: z
      .strictObject({
        minSigma: z.number().gt(0).max(10).default(0.1),
        maxSigma: z.number().gt(0).max(10).default(2),
        p: probability.default(0.5),
      })
      .superRefine(ordered('minSigma', 'maxSigma'))
      .optional()
      .describe("Gaussian blur, kernel a tenth of the image's side, sigma uniform."),
    solarize: z
      .strictObject({ threshold: z.number().min(0).max(1).default(0.5), p: probability.default(0.2) })
      .optional()
      .describe('Inverts what is brighter than the threshold (range [0, 1]).'),
    cutout: z
      .strictObject({ size: z.number().gt(0).max(1).default(0.25), p: probability.default(1) })
      .optional()
      .describe("A black square with this fraction of the image's side, at a random place."),

    shift: z
      .strictObject({ maxFraction: z.number().gt(0).max(1).default(0.1), p: probability.default(1) })
      .optional()
      .describe('Sounds: moved in time by up to ±this fraction of the length, silence where nothing is left.'),
    pitch: z
      .strictObject({ maxSemitones: z.number().gt(0).max(24).default(2), p: probability.default(0.5) })
      .optional()
      .describe('Sounds: played faster or slower, which moves the pitch by up to ±this many semitones.'),
    gain: z
      .strictObject({ maxDecibels: z.number().gt(0).max(60).default(6), p: probability.default(1) })
      .optional()
      .describe('Sounds: louder or softer by up to ± this many decibels.'),
    noise: z
      .strictObject({
        minSnr: z.number().min(-20).max(100).default(10),
        maxSnr: z.number().min(-20).max(100).default(40),
        p: probability.default(0.5),
      })
      .superRefine(ordered('minSnr', 'maxSnr'))
      .optional()
      .describe('Sounds: white noise at a signal-to-noise ratio uniform in decibels.'),
    timeMask: z
      .strictObject({ maxFraction: z.number().gt(0).max(1).default(0.2), p: probability.default(0.5) })
      .optional()
      .describe(
        'Spectrograms: a block of up to this fraction of the frames is silenced (SpecAugment, Park et al. 2019).',
      ),
    frequencyMask: z
      .strictObject({ maxFraction: z.number().gt(0).max(1).default(0.2), p: probability.default(0.5) })
      .optional()
      .describe('Spectrograms: a block of up to this fraction of the frequency bands is silenced.'),
  })
  .meta({
    id: 'Augmentation',
    description:
      'Random transformations that make a view. A key that is absent is off; `{}` is the default strength. They ' +
      'are applied in the order of the keys below, each to every image on its own with probability `p`. ' +
      'Definitions: SimCLR (Chen et al. 2020, appendix A), section 2.7 of its reference code for the order.',
  });
export type Augmentation = z.infer<typeof Augmentation>;

/** The order in which augmentations are applied, and in which a combination is named. */
export const AUGMENTATIONS = Object.keys(Augmentation.shape) as readonly (keyof Augmentation)[];
/** Augmentations of sounds; all others are of images. */
export const SOUND_AUGMENTATIONS: readonly (keyof Augmentation)[] = [
  'shift',
  'pitch',
  'gain',
  'noise',
  'timeMask',
  'frequencyMask',
];

/**
 * What a spec that names no augmentation means: the usual views of pretraining, and gentle ones for training with
 * labels.
 */
export function defaultAugmentation(use: 'pretrain' | 'labels', sample: SampleShape): Augmentation {
  if (sample.modality === 'audio')
    return Augmentation.parse(
      use === 'pretrain'
        ? { shift: {}, pitch: {}, gain: {}, noise: {}, timeMask: {}, frequencyMask: {} }
        : { shift: {}, gain: {} },
    );
  if (use === 'labels') return Augmentation.parse({ crop: { minArea: 0.5 }, flip: {} });
  return Augmentation.parse({
    crop: { minArea: 0.2 },
    flip: {},
    ...(sample.channels === 3 ? { colorJitter: {}, grayscale: {} } : { colorJitter: { saturation: 0, hue: 0 } }),
  });
}

/** `crop+flip+colorJitter`: which augmentations are on, in canonical order; `none` without any. */
export const augmentationName = (augmentation: Augmentation): string =>
  AUGMENTATIONS.filter((name) => augmentation[name] !== undefined).join('+') || 'none';
