import { z } from 'zod';

/**
 * Part of every run's digest. Raise it when the same spec would train to a different result, so that an
 * older result is never reused for newer code.
 */
export const TRAINING_CODE_VERSION = 1;

const probability = z.number().min(0).max(1);
const seed = z.int().min(0).max(2 ** 32 - 1);
/** Names become parts of paths and URLs: no separators, no dots at the start, ASCII only. */
export const Name = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'expected 1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or digit');
/** A dataset by name (its newest version) or by version, `name@<first 12 or more hex digits of the digest>`. */
export const DatasetReference = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[0-9a-f]{12,64})?$/, 'expected a dataset name, or name@digest');
export const RunId = z.uuid();

/** `low <= high`, told at the field of the lower bound. */
const ordered = <T extends Record<string, number>>(low: keyof T & string, high: keyof T & string) =>
  (value: T, context: z.RefinementCtx) => {
    if (value[low]! > value[high]!) context.addIssue({ code: 'custom', path: [low], message: `expected at most ${high} (${value[high]}), got ${value[low]}` });
  };

/**
 * Random transformations that make a view. A key that is absent is off; `{}` is the default strength.
 * They are applied in the order of the keys below, each to every image on its own with probability `p`.
 * Definitions: SimCLR (Chen et al. 2020, appendix A), section 2.7 of its reference code for the order.
 */
export const Augmentation = z.strictObject({
  /** Random resized crop: area as a fraction of the image, aspect ratio log-uniform. */
  crop: z.strictObject({
    minArea: z.number().min(0.01).max(1).default(0.08), maxArea: z.number().min(0.01).max(1).default(1),
    minAspect: z.number().min(0.1).max(10).default(3 / 4), maxAspect: z.number().min(0.1).max(10).default(4 / 3),
    p: probability.default(1),
  }).superRefine(ordered('minArea', 'maxArea')).superRefine(ordered('minAspect', 'maxAspect')).optional(),
  /** Horizontal flip. */
  flip: z.strictObject({ p: probability.default(0.5) }).optional(),
  /** Rotation by an angle uniform in ±maxDegrees, bilinear, edges filled with black. */
  rotate: z.strictObject({ maxDegrees: z.number().gt(0).max(180).default(15), p: probability.default(1) }).optional(),
  /** Factors uniform in 1 ± strength (hue: a shift of the colour circle in turns, uniform in ± strength). */
  colorJitter: z.strictObject({
    brightness: z.number().min(0).max(1).default(0.4), contrast: z.number().min(0).max(1).default(0.4),
    saturation: z.number().min(0).max(1).default(0.4), hue: z.number().min(0).max(0.5).default(0.1),
    p: probability.default(0.8),
  }).optional(),
  grayscale: z.strictObject({ p: probability.default(0.2) }).optional(),
  /** Gaussian blur, kernel a tenth of the image's side, sigma uniform. */
  blur: z.strictObject({
    minSigma: z.number().gt(0).max(10).default(0.1), maxSigma: z.number().gt(0).max(10).default(2), p: probability.default(0.5),
  }).superRefine(ordered('minSigma', 'maxSigma')).optional(),
  /** Inverts what is brighter than the threshold (range [0, 1]). */
  solarize: z.strictObject({ threshold: z.number().min(0).max(1).default(0.5), p: probability.default(0.2) }).optional(),
  /** A black square with this fraction of the image's side, at a random place. */
  cutout: z.strictObject({ size: z.number().gt(0).max(1).default(0.25), p: probability.default(1) }).optional(),
});
export type Augmentation = z.infer<typeof Augmentation>;

/** The order in which augmentations are applied, and in which a combination is named. */
export const AUGMENTATIONS = Object.keys(Augmentation.shape) as readonly (keyof Augmentation)[];

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
    name: z.literal('adam'), learningRate: learningRate.default(1e-3), weightDecay: z.number().min(0).max(1).default(0),
    beta1: z.number().min(0).lt(1).default(0.9), beta2: z.number().min(0).lt(1).default(0.999), epsilon: z.number().gt(0).max(1).default(1e-8),
  }),
  z.strictObject({
    name: z.literal('lars'), learningRate: learningRate.default(0.3), weightDecay: z.number().min(0).max(1).default(1e-6),
    momentum: z.number().min(0).lt(1).default(0.9), trustCoefficient: z.number().gt(0).max(1).default(1e-3),
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
  k: z.int().min(1).max(1000).default(20), temperature: z.number().gt(0).max(10).default(0.07),
  /** How many training images vote, spread evenly over the classes. */
  bankSize: z.int().min(1).max(200_000).default(5000),
});
export type Knn = z.infer<typeof Knn>;

const evalSplit = z.enum(['val', 'test']).default('val');
const epochs = z.int().min(1).max(10_000);
const batchSize = z.int().min(2).max(16_384);

export const PrepareDataset = z.strictObject({
  kind: z.literal('prepare-dataset'),
  name: Name,
  /** A folder of class folders (or of train/, val/, test/ with class folders in them), or a tar or tar.gz of one; relative to the data root. */
  path: z.string().min(1).max(1024).refine((path) => !path.includes('\0'), 'expected a path without NUL characters'),
  /** Side of the square that images are resized to, in pixels. */
  imageSize: z.int().min(8).max(512).default(32),
  channels: z.union([z.literal(1), z.literal(3)]).default(3),
  /** Taken from the training images, stratified and seeded, where the source has no such folder. */
  valFraction: z.number().min(0).max(0.5).default(0.1),
  testFraction: z.number().min(0).max(0.5).default(0.1),
  seed: seed.default(0),
  /** The run fails when more than this fraction of the files can't be decoded. */
  maxCorruptFraction: probability.default(0.05),
});
export type PrepareDataset = z.infer<typeof PrepareDataset>;

export const Pretrain = z.strictObject({
  kind: z.literal('pretrain'),
  method: z.enum(['simclr']).default('simclr'),
  dataset: DatasetReference,
  encoder: Encoder.prefault({}),
  /** Projection head: `layers` dense layers with batch normalisation, ReLU on all but the last. */
  projection: z.strictObject({
    layers: z.int().min(1).max(4).default(2), hidden: z.int().min(8).max(8192).default(256), output: z.int().min(8).max(8192).default(64),
  }).prefault({}),
  augmentation: Augmentation.prefault({ crop: { minArea: 0.2 }, flip: {}, colorJitter: {}, grayscale: {} }),
  temperature: z.number().min(0.01).max(10).default(0.1),
  epochs: epochs.default(8),
  batchSize: batchSize.default(256),
  optimizer: Optimizer.prefault({ name: 'adam', learningRate: 4e-3 }),
  schedule: Schedule.prefault({ warmupSteps: 100 }),
  /** Online evaluation at the end of every epoch, on the encoder's features. */
  knn: Knn.prefault({}),
  evalSplit,
  seed: seed.default(0),
});
export type Pretrain = z.infer<typeof Pretrain>;

export const Finetune = z.strictObject({
  kind: z.literal('finetune'),
  task: z.enum(['classification']).default('classification'),
  dataset: DatasetReference,
  /** The pretraining (or autoencoder) run whose encoder is tuned; null trains the same network from scratch. */
  from: RunId.nullable(),
  /** From scratch only: with `from`, the encoder is the parent's. */
  encoder: Encoder.optional(),
  /** Labels used: a stratified, nested, seeded subset of the training split. */
  labelFraction: z.number().gt(0).max(1).default(1),
  labelSeed: seed.default(0),
  augmentation: Augmentation.prefault({ crop: { minArea: 0.5 }, flip: {} }),
  steps: z.int().min(1).max(1_000_000).default(500),
  batchSize: batchSize.default(64),
  optimizer: Optimizer.prefault({ name: 'adam', learningRate: 1e-3 }),
  schedule: Schedule.prefault({}),
  evalSplit,
  seed: seed.default(0),
}).superRefine((spec, context) => {
  if (spec.from !== null && spec.encoder) context.addIssue({ code: 'custom', path: ['encoder'], message: 'expected no encoder together with `from`: the encoder is the parent run\'s' });
});
export type Finetune = z.infer<typeof Finetune>;

export const Autoencode = z.strictObject({
  kind: z.literal('autoencode'),
  dataset: DatasetReference,
  /** Width of the bottleneck, in numbers per image. */
  latent: z.int().min(2).max(4096).default(64),
  encoder: Encoder.prefault({}),
  epochs: epochs.default(5),
  batchSize: batchSize.default(128),
  optimizer: Optimizer.prefault({ name: 'adam', learningRate: 1e-3 }),
  schedule: Schedule.prefault({}),
  /** How many images of the evaluation split the reconstruction grid shows. */
  gridImages: z.int().min(1).max(64).default(16),
  knn: Knn.prefault({}),
  evalSplit,
  seed: seed.default(0),
});
export type Autoencode = z.infer<typeof Autoencode>;

export const Evaluate = z.strictObject({
  kind: z.literal('evaluate'),
  dataset: DatasetReference,
  /** The run whose encoder is evaluated, frozen; null evaluates a randomly initialised one. */
  from: RunId.nullable(),
  encoder: Encoder.optional(),
  knn: Knn.prefault({}),
  /** L2-regularised multinomial logistic regression on the frozen features. */
  probe: z.strictObject({
    l2: z.number().min(0).max(1000).default(1e-4), maxIterations: z.int().min(1).max(10_000).default(200),
  }).prefault({}),
  labelFraction: z.number().gt(0).max(1).default(1),
  labelSeed: seed.default(0),
  evalSplit,
  seed: seed.default(0),
}).superRefine((spec, context) => {
  if (spec.from !== null && spec.encoder) context.addIssue({ code: 'custom', path: ['encoder'], message: 'expected no encoder together with `from`: the encoder is the parent run\'s' });
});
export type Evaluate = z.infer<typeof Evaluate>;

/** What a run does. One zod union is the validation, the type, the OpenAPI schema and the form. */
export const RunSpec = z.discriminatedUnion('kind', [PrepareDataset, Pretrain, Finetune, Autoencode, Evaluate]).meta({ id: 'RunSpec' });
export type RunSpec = z.infer<typeof RunSpec>;
export type RunKind = RunSpec['kind'];
export const RUN_KINDS = ['prepare-dataset', 'pretrain', 'finetune', 'autoencode', 'evaluate'] as const satisfies readonly RunKind[];

/** The runs that a run waits for and takes its input from. */
export const parentsOf = (spec: RunSpec): string[] => ('from' in spec && spec.from !== null ? [spec.from] : []);

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
    const entries = Object.entries(value).filter(([, v]) => v !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, v]) => `${JSON.stringify(key)}:${canonicalJson(v)}`).join(',')}}`;
  }
  throw new TypeError(`expected a JSON value, got ${typeof value}`);
}

/**
 * How many images of each class a label fraction keeps: `round(fraction · count)`.
 * The API refuses a run for which a class keeps none, and the trainer draws exactly these.
 */
export const labelsPerClass = (countPerClass: readonly number[], fraction: number): number[] =>
  countPerClass.map((count) => Math.round(fraction * count));
