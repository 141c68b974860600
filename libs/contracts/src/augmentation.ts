import { z } from 'zod';
import type { SampleShape } from './dataset.js';
import { ordered, probability } from './spec-fields.js';

interface ColourStrengths {
  strength?: number | undefined;
  brightness: number;
  contrast: number;
  saturation: number;
  hue: number;
}
/** What colour jitter is where nothing is said. It is that of strength 0.5. */
const USUAL = { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 };

/** `strength` says what the four are: beside it they are not told as well. */
const strengthAlone = (settings: ColourStrengths, context: z.RefinementCtx): void => {
  if (settings.strength === undefined) return;
  for (const part of Object.keys(USUAL) as (keyof typeof USUAL)[])
    if (settings[part] !== USUAL[part])
      context.addIssue({
        code: 'custom',
        path: [part],
        message: `expected no ${part} beside strength, which says what it is`,
      });
};

/** The four that SimCLR's one number stands for (Chen et al. 2020, appendix A), in its place. */
const fromStrength = <Settings extends ColourStrengths>({ strength, ...settings }: Settings): Settings =>
  (strength === undefined
    ? settings
    : {
        ...settings,
        brightness: 0.8 * strength,
        contrast: 0.8 * strength,
        saturation: 0.8 * strength,
        hue: 0.2 * strength,
      }) as Settings;

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
    perspective: z
      .strictObject({ distortion: z.number().gt(0).max(1).default(0.5), p: probability.default(0.5) })
      .optional()
      .describe('Tilted: each corner moves inwards by up to this part of half a side, black outside.'),
    randAugment: z
      .strictObject({
        operations: z.int().min(1).max(14).default(2),
        magnitude: z.int().min(0).max(30).default(9),
        p: probability.default(1),
      })
      .optional()
      .describe(
        'RandAugment (Cubuk et al. 2020): so many operations one after the other, drawn from 14 by each image, each ' +
          "of the same magnitude of 0 to 30; operations and magnitudes are torchvision's.",
      ),
    trivialAugment: z
      .strictObject({ p: probability.default(1) })
      .optional()
      .describe(
        'TrivialAugment (Müller and Hutter 2021): one operation of 14 and its magnitude, drawn by each image; ' +
          "torchvision's `TrivialAugmentWide`.",
      ),
    colorJitter: z
      .strictObject({
        strength: z
          .number()
          .min(0)
          .max(1.25)
          .optional()
          .describe(
            "SimCLR's one number for the four below: brightness, contrast and saturation 0.8 times it, hue 0.2 " +
              'times it. They are what a run keeps.',
          ),
        brightness: z.number().min(0).max(1).default(USUAL.brightness),
        contrast: z.number().min(0).max(1).default(USUAL.contrast),
        saturation: z.number().min(0).max(1).default(USUAL.saturation),
        hue: z.number().min(0).max(0.5).default(USUAL.hue),
        order: z
          .enum(['fixed', 'random'])
          .optional()
          .describe(
            'Brightness, contrast, saturation, hue (`fixed`, also where left out), or an order that each image ' +
              'draws, as torchvision and SimCLR have it.',
          ),
        p: probability.default(0.8),
      })
      .superRefine(strengthAlone)
      .overwrite(fromStrength)
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
    sharpness: z
      .strictObject({ factor: z.number().min(0).max(10).default(2), p: probability.default(0.5) })
      .optional()
      .describe('Sharper by a factor above 1, smoother below.'),
    solarize: z
      .strictObject({ threshold: z.number().min(0).max(1).default(0.5), p: probability.default(0.2) })
      .optional()
      .describe('Inverts what is brighter than the threshold (range [0, 1]).'),
    posterize: z
      .strictObject({ bits: z.int().min(1).max(8).default(4), p: probability.default(0.5) })
      .optional()
      .describe('So many bits are kept of each value.'),
    autocontrast: z
      .strictObject({ p: probability.default(0.5) })
      .optional()
      .describe('The darkest value of each channel becomes 0, the brightest 1.'),
    equalize: z
      .strictObject({ p: probability.default(0.5) })
      .optional()
      .describe('All of 256 levels become as frequent, in each channel.'),
    cutout: z
      .strictObject({ size: z.number().gt(0).max(1).default(0.25), p: probability.default(1) })
      .optional()
      .describe("A black square with this fraction of the image's side, at a random place."),
    erasing: z
      .strictObject({
        minArea: z.number().gt(0).max(1).default(0.02),
        maxArea: z.number().gt(0).max(1).default(0.33),
        minAspect: z.number().gt(0).max(10).default(0.3),
        maxAspect: z.number().gt(0).max(10).default(3.3),
        p: probability.default(0.5),
      })
      .superRefine(ordered('minArea', 'maxArea'))
      .superRefine(ordered('minAspect', 'maxAspect'))
      .optional()
      .describe('A black box: area as a fraction of the image, aspect ratio (height to width) log-uniform.'),

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
export const SOUND_AUGMENTATIONS = ['shift', 'pitch', 'gain', 'noise', 'timeMask', 'frequencyMask'] as const;
export type SoundAugmentation = (typeof SOUND_AUGMENTATIONS)[number];
export const isOfSounds = (name: keyof Augmentation): name is SoundAugmentation =>
  SOUND_AUGMENTATIONS.some((other) => other === name);

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
