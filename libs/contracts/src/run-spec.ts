import { z } from 'zod';
import { Name, SPLITS, type SampleShape } from './dataset.js';

/**
 * Part of every run's digest. Raise it when the same spec would train to a different result, so that an
 * older result is never reused for newer code.
 */
export const TRAINING_CODE_VERSION = 4;

const probability = z.number().min(0).max(1);
const seed = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);
/** A dataset by name (its newest version) or by version, `name@<first 12 or more hex digits of the digest>`. */
export const DatasetReference = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[0-9a-f]{12,64})?$/, 'expected a dataset name, or name@digest');
export const RunId = z.uuid();

/** `low <= high`, told at the field of the lower bound. */
const ordered =
  <T extends Record<string, number>>(low: keyof T & string, high: keyof T & string) =>
  (value: T, context: z.RefinementCtx) => {
    if (value[low]! > value[high]!)
      context.addIssue({
        code: 'custom',
        path: [low],
        message: `expected at most ${high} (${value[high]}), got ${value[low]}`,
      });
  };

/**
 * Random transformations that make a view. A key that is absent is off; `{}` is the default strength.
 * They are applied in the order of the keys below, each to every image on its own with probability `p`.
 * Definitions: SimCLR (Chen et al. 2020, appendix A), section 2.7 of its reference code for the order.
 */
export const Augmentation = z
  .strictObject({
    /** Random resized crop: area as a fraction of the image, aspect ratio log-uniform. */
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
        p: probability.default(1),
      })
      .superRefine(ordered('minArea', 'maxArea'))
      .superRefine(ordered('minAspect', 'maxAspect'))
      .optional(),
    /** Horizontal flip. */
    flip: z.strictObject({ p: probability.default(0.5) }).optional(),
    /** Rotation by an angle uniform in ±maxDegrees, bilinear, edges filled with black. */
    rotate: z.strictObject({ maxDegrees: z.number().gt(0).max(180).default(15), p: probability.default(1) }).optional(),
    /** Factors uniform in 1 ± strength (hue: a shift of the colour circle in turns, uniform in ± strength). */
    colorJitter: z
      .strictObject({
        brightness: z.number().min(0).max(1).default(0.4),
        contrast: z.number().min(0).max(1).default(0.4),
        saturation: z.number().min(0).max(1).default(0.4),
        hue: z.number().min(0).max(0.5).default(0.1),
        p: probability.default(0.8),
      })
      .optional(),
    grayscale: z.strictObject({ p: probability.default(0.2) }).optional(),
    /** Gaussian blur, kernel a tenth of the image's side, sigma uniform. */
    blur: z
      .strictObject({
        minSigma: z.number().gt(0).max(10).default(0.1),
        maxSigma: z.number().gt(0).max(10).default(2),
        p: probability.default(0.5),
      })
      .superRefine(ordered('minSigma', 'maxSigma'))
      .optional(),
    /** Inverts what is brighter than the threshold (range [0, 1]). */
    solarize: z
      .strictObject({ threshold: z.number().min(0).max(1).default(0.5), p: probability.default(0.2) })
      .optional(),
    /** A black square with this fraction of the image's side, at a random place. */
    cutout: z.strictObject({ size: z.number().gt(0).max(1).default(0.25), p: probability.default(1) }).optional(),

    /** Sounds: moved in time by up to ±this fraction of the length, silence where nothing is left. */
    shift: z.strictObject({ maxFraction: z.number().gt(0).max(1).default(0.1), p: probability.default(1) }).optional(),
    /** Sounds: played faster or slower, which moves the pitch by up to ±this many semitones. */
    pitch: z
      .strictObject({ maxSemitones: z.number().gt(0).max(24).default(2), p: probability.default(0.5) })
      .optional(),
    /** Sounds: louder or softer by up to ± this many decibels. */
    gain: z.strictObject({ maxDecibels: z.number().gt(0).max(60).default(6), p: probability.default(1) }).optional(),
    /** Sounds: white noise at a signal-to-noise ratio uniform in decibels. */
    noise: z
      .strictObject({
        minSnr: z.number().min(-20).max(100).default(10),
        maxSnr: z.number().min(-20).max(100).default(40),
        p: probability.default(0.5),
      })
      .superRefine(ordered('minSnr', 'maxSnr'))
      .optional(),
    /** Spectrograms: a block of up to this fraction of the frames is silenced (SpecAugment, Park et al. 2019). */
    timeMask: z
      .strictObject({ maxFraction: z.number().gt(0).max(1).default(0.2), p: probability.default(0.5) })
      .optional(),
    /** Spectrograms: a block of up to this fraction of the frequency bands is silenced. */
    frequencyMask: z
      .strictObject({ maxFraction: z.number().gt(0).max(1).default(0.2), p: probability.default(0.5) })
      .optional(),
  })
  .meta({ id: 'Augmentation' });
export type Augmentation = z.infer<typeof Augmentation>;

/** The order in which augmentations are applied, and in which a combination is named. */
export const AUGMENTATIONS = Object.keys(Augmentation.shape) as readonly (keyof Augmentation)[];
/** Those that work on sounds; all others work on images. */
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

/**
 * `small-resnet`: 3x3 stride-2 stem and three residual blocks of width, 2·width, 4·width channels, made for CPUs.
 * `resnet18`: ResNet-18 with the 3x3 stride-1 stem that SimCLR uses for CIFAR; width 64 is the published one.
 */
export const Encoder = z.strictObject({
  name: z.enum(['small-resnet', 'resnet18']).default('small-resnet'),
  width: z.int().min(4).max(256).default(32),
});
export type Encoder = z.infer<typeof Encoder>;

const learningRate = z.number().gt(0).max(100);
export const Optimizer = z.discriminatedUnion('name', [
  z.strictObject({
    name: z.literal('adam'),
    learningRate: learningRate.default(1e-3),
    weightDecay: z.number().min(0).max(1).default(0),
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.999),
    epsilon: z.number().gt(0).max(1).default(1e-8),
  }),
  z.strictObject({
    name: z.literal('lars'),
    learningRate: learningRate.default(0.3),
    weightDecay: z.number().min(0).max(1).default(1e-6),
    momentum: z.number().min(0).lt(1).default(0.9),
    trustCoefficient: z.number().gt(0).max(1).default(1e-3),
  }),
]);
export type Optimizer = z.infer<typeof Optimizer>;

/** Linear warm-up over `warmupSteps` steps, then a cosine to zero at the last step; or a constant rate. */
export const Schedule = z.strictObject({
  name: z.enum(['cosine', 'constant']).default('cosine'),
  warmupSteps: z.int().min(0).max(1_000_000).default(0),
});
export type Schedule = z.infer<typeof Schedule>;

/** Weighted k-nearest-neighbour classification (Wu et al. 2018): votes weigh exp(similarity / temperature). */
export const Knn = z.strictObject({
  k: z.int().min(1).max(1000).default(20),
  temperature: z.number().gt(0).max(10).default(0.07),
  /** How many training images vote, spread evenly over the classes. */
  bankSize: z.int().min(1).max(200_000).default(5000),
});
export type Knn = z.infer<typeof Knn>;

const evalSplit = z.enum(['val', 'test']).default('val');
const epochs = z.int().min(1).max(10_000);
const batchSize = z.int().min(2).max(16_384);

/** Side of a square, or height and width, in pixels. */
const imageSide = z.int().min(8).max(1024);
const ImageSize = z.union([imageSide, z.strictObject({ height: imageSide, width: imageSide })]);

export const PrepareDataset = z
  .strictObject({
    kind: z.literal('prepare-dataset'),
    name: Name,
    /**
     * Relative to the data root: a folder, a tar, tar.gz or zip of class folders (also with train/, val/, test/ around
     * those), a folder of WebDataset shards, Parquet files with image bytes, or IDX files.
     */
    path: z
      .string()
      .min(1)
      .max(1024)
      .refine((path) => !path.includes('\0'), 'expected a path without NUL characters'),
    /** What images are scaled to. */
    imageSize: ImageSize.default(32),
    channels: z.union([z.literal(1), z.literal(3)]).default(3),
    /** Makes a dataset of sounds: mono, resampled, cut or filled with silence to one length; loudness is kept. */
    audio: z
      .strictObject({
        sampleRate: z.int().min(1000).max(48_000).default(16_000),
        seconds: z.number().gt(0).max(60).default(1),
      })
      .optional(),
    /**
     * Makes a dataset of images with masks, from paired folders `images/` and `masks/`: 8-bit PNG whose values are
     * class ids.
     */
    masks: z
      .strictObject({
        /** Names of the class ids, from 0. */
        classes: z.array(z.string().min(1).max(128)).min(2).max(255),
        /** The id of pixels that have no class. */
        unlabelled: z.int().min(0).max(255).nullable().default(null),
      })
      .optional(),
    /**
     * How file names (without folder and ending) give the class and a group such as a speaker, e.g.
     * `{label}_{group}_{}`; `{}` stands for anything. Without it the class is the folder.
     */
    fileName: z
      .string()
      .min(1)
      .max(200)
      .refine(
        (template) => /\{label\}/.test(template),
        'expected a template with {label} in it, such as {label}_{group}_{}',
      )
      .optional(),
    /**
     * Groups that go to a split as a whole, such as the speakers kept for testing. Without it whole groups are drawn.
     */
    holdOut: z
      .strictObject({
        val: z.array(z.string()).max(10_000).default([]),
        test: z.array(z.string()).max(10_000).default([]),
      })
      .optional(),
    /** Taken from the training samples, stratified and seeded, where the source has no such folder. */
    valFraction: z.number().min(0).max(0.5).default(0.1),
    testFraction: z.number().min(0).max(0.5).default(0.1),
    seed: seed.default(0),
    /** The run fails when more than this fraction of the files can't be decoded. */
    maxCorruptFraction: probability.default(0.05),
  })
  .superRefine((spec, context) => {
    if (spec.audio && spec.masks)
      context.addIssue({ code: 'custom', path: ['masks'], message: 'expected either audio or masks, got both' });
    if (spec.holdOut && !spec.fileName?.includes('{group}'))
      context.addIssue({
        code: 'custom',
        path: ['holdOut'],
        message: 'expected a fileName template with {group} in it, which says what is held out',
      });
    if (spec.masks && spec.fileName)
      context.addIssue({
        code: 'custom',
        path: ['fileName'],
        message: 'expected no template together with masks: the classes are in the masks',
      });
  });
export type PrepareDataset = z.infer<typeof PrepareDataset>;

/** Dense layers with batch normalisation, ReLU on all but the last. */
const Projection = z.strictObject({
  layers: z.int().min(1).max(4).default(2),
  hidden: z.int().min(8).max(8192).default(256),
  output: z.int().min(8).max(8192).default(64),
});
export type Projection = z.infer<typeof Projection>;

/** L2-regularised multinomial logistic regression on frozen features. */
const Probe = z.strictObject({
  l2: z.number().min(0).max(1000).default(1e-4),
  maxIterations: z.int().min(1).max(10_000).default(200),
});
export type Probe = z.infer<typeof Probe>;

/**
 * Beside those that a worker writes from time to time to go on from: one checkpoint each `everySteps`. The newest
 * `keepLast` stay, and with `keepBest` the one after the best evaluation.
 */
const Checkpoints = z.strictObject({
  everySteps: z.int().min(1).max(10_000_000).nullable().default(null),
  keepLast: z.int().min(1).max(1000).default(2),
  /** Best: highest kNN, accuracy, mIoU, agreement with the teacher, or PSNR, of what the kind of run reports. */
  keepBest: z.boolean().default(false),
});
export type Checkpoints = z.infer<typeof Checkpoints>;

/** Instead of its last weights, those of the checkpoint that the run in `from` has at this step. */
const fromCheckpoint = z.int().min(0).max(10_000_000).optional();

const weight = z.number().min(0).max(1e6);
export const METHODS = ['simclr', 'byol', 'simsiam', 'barlow-twins', 'vicreg'] as const;

export const Pretrain = z.strictObject({
  kind: z.literal('pretrain'),
  method: z.enum(METHODS).default('simclr'),
  dataset: DatasetReference,
  encoder: Encoder.prefault({}),
  projection: Projection.prefault({}),
  augmentation: Augmentation.optional(),
  /** SimCLR: of NT-Xent. */
  temperature: z.number().min(0.01).max(10).default(0.1),
  /** BYOL and SimSiam: hidden width of the two-layer predictor. */
  predictorHidden: z.int().min(8).max(8192).default(128),
  /** BYOL: weight of the old value in the target network, from here to 1 on a cosine. */
  targetMomentum: z.number().min(0).max(1).default(0.99),
  /** Barlow Twins: weight of what is off the diagonal, and of the whole. */
  barlowTwins: z.strictObject({ lambda: weight.default(5e-3), scale: weight.default(1) }).prefault({}),
  /** VICReg: weights of the three terms. */
  vicreg: z
    .strictObject({ invariance: weight.default(25), variance: weight.default(25), covariance: weight.default(1) })
    .prefault({}),
  epochs: epochs.default(8),
  batchSize: batchSize.default(256),
  optimizer: Optimizer.prefault({ name: 'adam', learningRate: 4e-3 }),
  schedule: Schedule.prefault({ warmupSteps: 100 }),
  /** Online evaluation at the end of every epoch, on the encoder's features, which get no gradient from it. */
  knn: Knn.prefault({}),
  /** The same for a linear probe, fitted to the images that vote in kNN. */
  probe: Probe.prefault({ maxIterations: 50 }),
  /**
   * The run ends as `collapsed` when the features' spread (1: even over the sphere, 0: one point) is below this after
   * an epoch.
   */
  collapseBelow: z.number().min(0).max(1).nullable().default(null),
  checkpoints: Checkpoints.optional(),
  evalSplit,
  seed: seed.default(0),
});
export type Pretrain = z.infer<typeof Pretrain>;

const noEncoderWithParent = (
  spec: { from: string | null; encoder?: Encoder | undefined },
  context: z.RefinementCtx,
) => {
  if (spec.from !== null && spec.encoder)
    context.addIssue({
      code: 'custom',
      path: ['encoder'],
      message: "expected no encoder together with `from`: the encoder is the parent run's",
    });
};

export const Finetune = z
  .strictObject({
    kind: z.literal('finetune'),
    /** `segmentation` gives each pixel a class, for datasets with masks. */
    task: z.enum(['classification', 'segmentation']).default('classification'),
    dataset: DatasetReference,
    /** The run whose encoder is tuned; null trains the same network from scratch. */
    from: RunId.nullable(),
    /** From scratch only: with `from`, the encoder is the parent's. */
    encoder: Encoder.optional(),
    /**
     * The classifier sits on the output of this layer of the projection head (SimCLRv2, section 2), 0 on the encoder's.
     * The whole network below it is tuned.
     */
    fromHeadLayer: z.int().min(0).max(4).default(0),
    /** From scratch with `fromHeadLayer` only: the head whose first layers are part of the network. */
    projection: Projection.optional(),
    /**
     * With `from` only: how the parent's layers are tuned. Without it they learn like those that are new. Few labels
     * spoil features that took all samples to learn.
     */
    backbone: z
      .strictObject({
        /** Of the learning rate; 0 leaves the parent's layers as they are. */
        rate: z.number().min(0).max(1).default(0.1),
        /**
         * What their batch normalisation goes by: the running averages of the parent's training, which then stay, or
         * each batch.
         */
        statistics: z.enum(['parent', 'batch']).default('parent'),
      })
      .optional(),
    /** Labels used: a stratified, nested, seeded subset of the training split. */
    labelFraction: z.number().gt(0).max(1).default(1),
    labelSeed: seed.default(0),
    augmentation: Augmentation.optional(),
    steps: z.int().min(1).max(1_000_000).default(500),
    batchSize: batchSize.default(64),
    optimizer: Optimizer.prefault({ name: 'adam', learningRate: 1e-3 }),
    schedule: Schedule.prefault({}),
    checkpoints: Checkpoints.optional(),
    evalSplit,
    seed: seed.default(0),
  })
  .superRefine(noEncoderWithParent)
  .superRefine((spec, context) => {
    if (spec.from === null && spec.backbone)
      context.addIssue({
        code: 'custom',
        path: ['backbone'],
        message: 'expected no `backbone` without a parent run in `from`: from scratch all layers are new',
      });
    if (spec.from !== null && spec.projection)
      context.addIssue({
        code: 'custom',
        path: ['projection'],
        message: "expected no projection together with `from`: the head is the parent run's",
      });
    if (spec.from === null && spec.fromHeadLayer > (spec.projection?.layers ?? 0)) {
      context.addIssue({
        code: 'custom',
        path: ['fromHeadLayer'],
        message:
          `expected a layer of the projection head, which has ${spec.projection?.layers ?? 0}, got ` +
          `${spec.fromHeadLayer}`,
      });
    }
    if (spec.task === 'segmentation' && spec.fromHeadLayer > 0)
      context.addIssue({
        code: 'custom',
        path: ['fromHeadLayer'],
        message: `expected 0 for segmentation, which needs the encoder's maps, got ${spec.fromHeadLayer}`,
      });
  });
export type Finetune = z.infer<typeof Finetune>;

export const Distill = z.strictObject({
  kind: z.literal('distill'),
  dataset: DatasetReference,
  /** The teacher: a finetuned classifier. */
  from: RunId,
  /** The student. */
  encoder: Encoder.prefault({}),
  /** Of both softmaxes (SimCLRv2, eq. 2). */
  temperature: z.number().min(0.01).max(100).default(1),
  /** Weight of the cross-entropy on labels, in [0, 1]; the rest is the teacher's. 0 needs no labels. */
  labelWeight: z.number().min(0).max(1).default(0),
  labelFraction: z.number().gt(0).max(1).default(1),
  labelSeed: seed.default(0),
  augmentation: Augmentation.optional(),
  epochs: epochs.default(8),
  batchSize: batchSize.default(128),
  optimizer: Optimizer.prefault({ name: 'adam', learningRate: 2e-3 }),
  schedule: Schedule.prefault({}),
  checkpoints: Checkpoints.optional(),
  evalSplit,
  seed: seed.default(0),
});
export type Distill = z.infer<typeof Distill>;

export const Autoencode = z.strictObject({
  kind: z.literal('autoencode'),
  dataset: DatasetReference,
  /**
   * `denoising` reproduces the clean sample from a noisy one; `variational` makes the latent space one to sample from.
   */
  variant: z.enum(['plain', 'denoising', 'variational']).default('plain'),
  /** Denoising: standard deviation of the noise, where samples lie in [0, 1] (sounds in [-1, 1]). */
  noise: z.number().gt(0).max(2).default(0.1),
  /**
   * Variational: weight of the KL term against the squared error summed over a sample, and how many steps it takes to
   * get there.
   */
  beta: z.number().min(0).max(1000).default(1),
  klWarmupSteps: z.int().min(0).max(1_000_000).default(0),
  /**
   * Of sounds: what is encoded and reproduced. A spectrogram is turned into sound by Griffin-Lim. Networks of waveforms
   * have a shape of their own: of `encoder` only the width counts.
   */
  domain: z.enum(['spectrogram', 'waveform']).default('spectrogram'),
  /** Width of the bottleneck, in numbers per sample. */
  latent: z.int().min(2).max(4096).default(64),
  encoder: Encoder.prefault({}),
  epochs: epochs.default(5),
  batchSize: batchSize.default(128),
  optimizer: Optimizer.prefault({ name: 'adam', learningRate: 1e-3 }),
  schedule: Schedule.prefault({}),
  /** How many samples of the evaluation split are shown next to their reconstructions. */
  gridImages: z.int().min(1).max(64).default(16),
  knn: Knn.prefault({}),
  checkpoints: Checkpoints.optional(),
  evalSplit,
  seed: seed.default(0),
});
export type Autoencode = z.infer<typeof Autoencode>;

export const Evaluate = z
  .strictObject({
    kind: z.literal('evaluate'),
    dataset: DatasetReference,
    /** The run whose encoder is evaluated, frozen; null evaluates a randomly initialised one. */
    from: RunId.nullable(),
    checkpoint: fromCheckpoint,
    encoder: Encoder.optional(),
    /** `pixels` leaves the network out: the control that says what the raw samples are worth. */
    features: z.enum(['encoder', 'pixels']).default('encoder'),
    knn: Knn.prefault({}),
    probe: Probe.prefault({}),
    labelFraction: z.number().gt(0).max(1).default(1),
    labelSeed: seed.default(0),
    evalSplit,
    seed: seed.default(0),
  })
  .superRefine(noEncoderWithParent)
  .superRefine((spec, context) => {
    if (spec.features === 'pixels' && (spec.from !== null || spec.encoder))
      context.addIssue({
        code: 'custom',
        path: ['features'],
        message: 'expected `from: null` and no encoder where the features are the raw samples',
      });
    if (spec.from === null && spec.checkpoint !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['checkpoint'],
        message: 'expected no checkpoint without a run in `from`',
      });
  });
export type Evaluate = z.infer<typeof Evaluate>;

export const Interpolate = z.strictObject({
  kind: z.literal('interpolate'),
  dataset: DatasetReference,
  /** The autoencoder. */
  from: RunId,
  /** Two rows of `split`, or the means of two classes. */
  between: z
    .union([
      z.strictObject({ rows: z.tuple([z.int().min(0), z.int().min(0)]) }),
      z.strictObject({ classes: z.tuple([z.string(), z.string()]) }),
    ])
    .prefault({ rows: [0, 1] }),
  /** `slerp` turns on the sphere (Shoemake 1985), which keeps the length where `linear` shortens it. */
  path: z.enum(['linear', 'slerp']).default('linear'),
  /** Points on the path, both ends included. */
  points: z.int().min(2).max(64).default(9),
  /**
   * How many samples are drawn: from the prior of a variational autoencoder, from the spread of the latent codes of
   * others.
   */
  samples: z.int().min(0).max(64).default(8),
  split: z.enum(SPLITS).default('val'),
  seed: seed.default(0),
});
export type Interpolate = z.infer<typeof Interpolate>;

export const Embed = z.strictObject({
  kind: z.literal('embed'),
  dataset: DatasetReference,
  /** The run whose encoder gives the features. */
  from: RunId,
  checkpoint: fromCheckpoint,
  split: z.enum(SPLITS).default('val'),
  /** At most so many samples, spread evenly over the classes. */
  maxSamples: z.int().min(10).max(200_000).default(5000),
  maps: z
    .array(z.enum(['pca', 'tsne', 'umap']))
    .min(1)
    .max(3)
    .default(['pca', 'umap'])
    .refine((maps) => new Set(maps).size === maps.length, 'expected each map once'),
  tsne: z
    .strictObject({
      perplexity: z.number().min(2).max(200).default(30),
      iterations: z.int().min(100).max(10_000).default(750),
    })
    .prefault({}),
  umap: z
    .strictObject({
      neighbors: z.int().min(2).max(200).default(15),
      minDistance: z.number().min(0).max(1).default(0.1),
      epochs: z.int().min(10).max(2000).default(200),
    })
    .prefault({}),
  /** Another embed run of the same samples: its maps are turned, mirrored, scaled and moved onto here (Procrustes). */
  alignTo: RunId.nullable().default(null),
  seed: seed.default(0),
});
export type Embed = z.infer<typeof Embed>;

export const ExportModel = z.strictObject({
  kind: z.literal('export'),
  /** The run whose networks are written. */
  from: RunId,
  formats: z
    .array(z.enum(['tfjs', 'safetensors', 'onnx']))
    .min(1)
    .max(3)
    .default(['tfjs', 'safetensors', 'onnx'])
    .refine((formats) => new Set(formats).size === formats.length, 'expected each format once'),
});
export type ExportModel = z.infer<typeof ExportModel>;

/** What a run does. One zod union is the validation, the type, the OpenAPI schema and the form. */
export const RunSpec = z
  .discriminatedUnion('kind', [
    PrepareDataset,
    Pretrain,
    Finetune,
    Distill,
    Autoencode,
    Evaluate,
    Interpolate,
    Embed,
    ExportModel,
  ])
  .meta({ id: 'RunSpec' });
export type RunSpec = z.infer<typeof RunSpec>;
export type RunKind = RunSpec['kind'];
export const RUN_KINDS = [
  'prepare-dataset',
  'pretrain',
  'finetune',
  'distill',
  'autoencode',
  'evaluate',
  'interpolate',
  'embed',
  'export',
] as const satisfies readonly RunKind[];

const TRAINED = ['pretrain', 'finetune', 'distill', 'autoencode'] as const;
/** Of which kind the run in `from` has to be. */
export const PARENT_KINDS: Record<RunKind, readonly RunKind[]> = {
  'prepare-dataset': [],
  pretrain: [],
  autoencode: [],
  finetune: TRAINED,
  evaluate: TRAINED,
  embed: TRAINED,
  export: TRAINED,
  distill: ['finetune', 'distill'],
  interpolate: ['autoencode'],
};

/** The runs that a run waits for and takes its input from, the one whose model it uses first. */
export const parentsOf = (spec: RunSpec): string[] => [
  ...('from' in spec && spec.from !== null ? [spec.from] : []),
  ...('alignTo' in spec && spec.alignTo !== null ? [spec.alignTo] : []),
];

/** Settings that only some methods of pretraining, variants of autoencoders or kinds of maps read. */
const READ_BY: Record<string, readonly string[]> = {
  temperature: ['simclr'],
  predictorHidden: ['byol', 'simsiam'],
  targetMomentum: ['byol'],
  barlowTwins: ['barlow-twins'],
  vicreg: ['vicreg'],
  noise: ['denoising'],
  beta: ['variational'],
  klWarmupSteps: ['variational'],
  tsne: ['tsne'],
  umap: ['umap'],
};

/**
 * Without the settings that the run's method, variant or maps do not read: specs that differ in those only train to the
 * same result.
 */
export function withoutUnread(spec: RunSpec): Record<string, unknown> {
  const chosen =
    spec.kind === 'pretrain'
      ? [spec.method]
      : spec.kind === 'autoencode'
        ? [spec.variant]
        : spec.kind === 'embed'
          ? spec.maps
          : undefined;
  return chosen
    ? Object.fromEntries(
        Object.entries(spec).filter(
          ([key]) => READ_BY[key]?.some((reader) => (chosen as string[]).includes(reader)) ?? true,
        ),
      )
    : spec;
}

/**
 * JSON with sorted keys and no insignificant space (RFC 8785 for the values that specs hold): equal specs
 * give equal text, whatever the order in which their keys were written. Throws on what JSON can't hold.
 */
export function canonicalJson(value: unknown): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new TypeError(`expected a finite number, got ${value}`);
    return JSON.stringify(value);
  }
  if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  if (typeof value === 'object') {
    // A sweep of 10,000 trials comes here a million times.
    const fields = value as Record<string, unknown>;
    let text = '';
    for (const key of Object.keys(fields).sort())
      if (fields[key] !== undefined) text += `${text && ','}${JSON.stringify(key)}:${canonicalJson(fields[key])}`;
    return `{${text}}`;
  }
  throw new TypeError(`expected a JSON value, got ${typeof value}`);
}

/**
 * How many images of each class a label fraction keeps: `round(fraction · count)`.
 * The API refuses a run for which a class keeps none, and the trainer draws exactly these.
 */
export const labelsPerClass = (countPerClass: readonly number[], fraction: number): number[] =>
  countPerClass.map((count) => Math.round(fraction * count));
