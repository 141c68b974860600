/** What several kinds of runs are told: where their input is, their network, how it learns and how it is judged. */
import { z } from 'zod';

export const DatasetReference = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[0-9a-f]{12,64})?$/, 'expected a dataset name, or name@digest')
  .describe(
    'A dataset by name (its newest version) or by version, `name@<first 12 or more hex digits of the digest>`.',
  );
export const RunId = z.uuid('expected the id of a run');

const VERSION = '[A-Za-z0-9][A-Za-z0-9._-]{0,127}(@[0-9a-f]{12,64})?';
export const ModelReference = z
  .string()
  .regex(new RegExp(`^${VERSION}$`), 'expected the name of a model, or name@digest')
  .describe('A model by name (its newest version) or by version, `name@<first 12 or more hex digits of the digest>`.');
const MODEL = /^model /;
/** The run, or the model, that a run begins with. */
export const Start = z
  .string()
  .regex(
    new RegExp(`^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|model ${VERSION})$`),
    'expected the id of a run, or `model` with its name',
  );
/** The reference of a model where that is what a run begins with: of `model NAME@DIGEST` what follows the word. */
export const modelNamedBy = (start: string): string | undefined =>
  MODEL.test(start) ? start.slice('model '.length) : undefined;

export const Normalisation = z
  .strictObject({
    mean: z.array(z.number().min(-10).max(10)).min(1).max(3),
    std: z.array(z.number().min(0.01).max(10)).min(1).max(3),
  })
  .refine(({ mean, std }) => mean.length === std.length, {
    path: ['std'],
    message: 'expected as many standard deviations as means',
  })
  .meta({
    id: 'Normalisation',
    description:
      'What an encoder does first with its input, in [0, 1]: from each channel its mean is taken, and what is left ' +
      'is divided by its standard deviation. One of each for all channels, or one for each channel.',
  });
export type Normalisation = z.infer<typeof Normalisation>;

const BOTTLENECKS = ['resnet50', 'resnet101', 'resnet152'] as const;
export const TRANSFORMERS = ['vit-tiny', 'vit-small', 'vit-base'] as const;
/** Settings that only networks of convolutions have, and those that only transformers have. */
const OF_CONVOLUTIONS = ['stem', 'padding', 'skRatio', 'seRatio'] as const;
const OF_TRANSFORMERS = ['patch', 'pooling', 'positions', 'stochasticDepth'] as const;
/** What `encoder.name` is of a model of the users' own. */
export const OWN_NETWORK = 'layers';
const OF_OWN = ['model', 'features'] as const;
export const Encoder = z
  .strictObject({
    name: z
      .enum(['small-resnet', 'resnet18', 'resnet34', ...BOTTLENECKS, ...TRANSFORMERS, OWN_NETWORK])
      .default('small-resnet'),
    model: ModelReference.optional().describe(
      'A layers model that was taken in (`loom models add NAME model.json`), by name, version, or the run that took ' +
        'it in: it is trained, from the weights that it has. `name` is `layers` then.',
    ),
    features: z
      .string()
      .min(1)
      .max(200)
      .optional()
      .describe(
        'Layers of a model: the name of the one that gives the features. A map of places gives the mean over them. ' +
          'Left out: what the model gives.',
      ),
    width: z.int().min(4).max(256).default(32),
    stem: z
      .enum(['cifar', 'imagenet'])
      .optional()
      .describe(
        'What comes before the blocks: a 3x3 convolution of stride 1 (`cifar`), or a 7x7 convolution and a 3x3 max ' +
          'pool of stride 2 each (`imagenet`). Left out: `cifar`, but for `small-resnet` its own.',
      ),
    padding: z
      .enum(['same', 'symmetric', 'simclr'])
      .optional()
      .describe(
        "Where convolutions of stride 2 have their zeros: as TensorFlow's SAME, the odd one at the end (`same`), or " +
          'as many at both ends, as torchvision (`symmetric`), or so but for the max pool, as SimCLR (`simclr`). ' +
          'Left out: `symmetric` with the stem `imagenet`, otherwise `same`.',
      ),
    skRatio: z
      .number()
      .gt(0)
      .max(1)
      .optional()
      .describe(
        'Selective kernels in the bottlenecks, as in SimCLRv2 (there 0.0625): of two 3x3 convolutions each channel ' +
          'gets a mixture, which a layer of this part of their width chooses, 32 at least. Shortcuts take means ' +
          'before they halve, and the stem `imagenet` is three 3x3 convolutions (ResNet-D).',
      ),
    seRatio: z
      .number()
      .gt(0)
      .max(1)
      .optional()
      .describe(
        'Squeeze and excitation: each channel of a block is weighed by what all have in the mean, through a layer of ' +
          "this part of the block's width.",
      ),
    patch: z
      .int()
      .min(2)
      .max(64)
      .optional()
      .describe(
        'Transformers: height and width of the squares that an image is cut into. Left out: 16, for images of 224; ' +
          'of images of 32, squares of 4 tell more. A last square that is not whole is filled up with zeros.',
      ),
    pooling: z
      .enum(['class', 'mean'])
      .optional()
      .describe(
        'Transformers: what the features are. Of a token that belongs to no square, as BERT and ViT have it ' +
          '(`class`), or of the mean over all squares, without such a token (`mean`). Left out: `class`.',
      ),
    positions: z
      .enum(['sine-cosine', 'learnt'])
      .optional()
      .describe(
        'Transformers: how a token tells where its square is. By sines and cosines that stay as they are, for images ' +
          'of any size, or by numbers that are learnt, as weights of timm have them; those are for one size of ' +
          'images, and where a run sees another they are interpolated. Left out: `sine-cosine`.',
      ),
    stochasticDepth: z
      .number()
      .min(0)
      .max(0.9)
      .optional()
      .describe(
        'Transformers: how often the last block leaves a sample as it is while training (Huang et al. 2016); those ' +
          'before it do so less, the first never. Left out: 0.',
      ),
    normalisation: Normalisation.optional(),
  })
  .overwrite((encoder) =>
    encoder.model !== undefined && encoder.name === 'small-resnet' ? { ...encoder, name: OWN_NETWORK } : encoder,
  )
  .superRefine((encoder, context) => {
    const { name } = encoder;
    const isOwn = name === OWN_NETWORK;
    for (const field of isOwn ? [...OF_CONVOLUTIONS, ...OF_TRANSFORMERS] : OF_OWN)
      if (encoder[field] !== undefined)
        context.addIssue({
          code: 'custom',
          path: [field],
          message: isOwn
            ? `expected no \`${field}\` beside a model, which has its layers as they are`
            : `expected no \`${field}\` of ${name}: that is of a model that was taken in`,
        });
    const isTransformer = TRANSFORMERS.some((each) => each === name);
    for (const field of isTransformer ? OF_CONVOLUTIONS : OF_TRANSFORMERS)
      if (encoder[field] !== undefined && !isOwn)
        context.addIssue({
          code: 'custom',
          path: [field],
          message: isTransformer
            ? `expected no \`${field}\` of a transformer, whose only convolution is that of its squares, got ${name}`
            : `expected a transformer (${TRANSFORMERS.join(', ')}) for \`${field}\`, got ${name}`,
        });
  })
  .superRefine(({ name, skRatio }, context) => {
    if (skRatio !== undefined && !BOTTLENECKS.some((each) => each === name))
      context.addIssue({
        code: 'custom',
        path: ['skRatio'],
        message: `expected a network of bottlenecks (${BOTTLENECKS.join(', ')}) for selective kernels, got ${name}`,
      });
  })
  .meta({
    id: 'Encoder',
    description:
      '`small-resnet`: 3x3 stride-2 stem and three residual blocks of width, 2·width, 4·width channels, made for ' +
      'CPUs. `resnet18`: ResNet-18 with the 3x3 stride-1 stem that SimCLR uses for CIFAR; width 64 is the published ' +
      "one. `resnet34`; `resnet50`, `resnet101` and `resnet152` of bottlenecks (torchvision's: the stride in the 3x3 " +
      'convolution): their features are 32·width wide. `width` is 64 times what SimCLR calls the width multiplier: ' +
      '64 for 1x, 128 for 2x. `vit-tiny`, `vit-small` and `vit-base`: vision transformers of 12 blocks with 3, 6 and ' +
      '12 heads (Dosovitskiy et al. 2021, Touvron et al. 2021); `width` is that of a head, 64 the published one. ' +
      '`layers`: a layers model that was taken in (`model`); of it `width` is but the least number of channels in ' +
      "an autoencoder's decoder.",
  });
export type Encoder = z.infer<typeof Encoder>;

export const Projection = z
  .strictObject({
    layers: z.int().min(1).max(4).default(2),
    hidden: z.int().min(8).max(8192).default(256),
    output: z.int().min(8).max(8192).default(64),
  })
  .meta({ id: 'Projection', description: 'Dense layers with batch normalisation, ReLU on all but the last.' });
export type Projection = z.infer<typeof Projection>;

const learningRate = z.number().gt(0).max(100);
/** What any optimiser may be told beside its own; absent: nothing is clipped or scaled. */
const common = {
  scaling: z
    .enum(['linear', 'sqrt'])
    .optional()
    .describe(
      '`learningRate` is that of a batch, as SimCLR has it: `linear` times batchSize / 256, `sqrt` times the root of ' +
        'batchSize. Without it, it is the learning rate as it stands.',
    ),
  clipNorm: z
    .number()
    .gt(0)
    .max(1e6)
    .optional()
    .describe('Gradients whose norm, over all weights together, is above this are shortened to it.'),
};
const Adam = z
  .strictObject({
    name: z.literal('adam'),
    learningRate: learningRate.default(1e-3),
    weightDecay: z.number().min(0).max(1).default(0),
    beta1: z.number().min(0).lt(1).default(0.9),
    beta2: z.number().min(0).lt(1).default(0.999),
    epsilon: z.number().gt(0).max(1).default(1e-8),
    ...common,
  })
  .meta({ id: 'Adam' });
const Lars = z
  .strictObject({
    name: z.literal('lars'),
    learningRate: learningRate.default(0.3),
    weightDecay: z.number().min(0).max(1).default(1e-6),
    momentum: z.number().min(0).lt(1).default(0.9),
    trustCoefficient: z.number().gt(0).max(1).default(1e-3),
    ...common,
  })
  .meta({ id: 'Lars' });
const Sgd = z
  .strictObject({
    name: z.literal('sgd'),
    learningRate: learningRate.default(0.03),
    weightDecay: z
      .number()
      .min(0)
      .max(1)
      .default(5e-4)
      .describe('Added to the gradient, as PyTorch does; not for biases and normalisation.'),
    momentum: z.number().min(0).lt(1).default(0.9),
    nesterov: z.boolean().default(false),
    ...common,
  })
  .meta({ id: 'Sgd' });
const NamedOptimizer = z.discriminatedUnion('name', [Adam, Lars, Sgd]);
export type Optimizer = z.infer<typeof NamedOptimizer>;
/** Settings without a name are those of Adam, as where none is given at all. */
const withName = (given: z.input<typeof NamedOptimizer>): unknown =>
  typeof given === 'object' && given !== null && !Array.isArray(given) && !('name' in given)
    ? { name: 'adam', ...(given as object) }
    : given;
export const Optimizer = z.preprocess(withName, NamedOptimizer).meta({ id: 'Optimizer' });

export const Schedule = z
  .strictObject({
    name: z.enum(['cosine', 'constant']).default('cosine'),
    warmupSteps: z.int().min(0).max(1_000_000).default(0),
    warmupEpochs: z
      .number()
      .min(0)
      .max(10_000)
      .optional()
      .describe('The warm-up in epochs of the samples that are trained on, in place of `warmupSteps`.'),
  })
  .refine(({ warmupSteps, warmupEpochs }) => warmupEpochs === undefined || warmupSteps === 0, {
    path: ['warmupEpochs'],
    message: 'expected one of `warmupSteps` and `warmupEpochs`, got both',
  })
  .meta({
    id: 'Schedule',
    description:
      'Linear warm-up over `warmupSteps` steps or `warmupEpochs` epochs, then a cosine to zero at the last step; or ' +
      'a constant rate.',
  });
export type Schedule = z.infer<typeof Schedule>;

export const Knn = z
  .strictObject({
    k: z.int().min(1).max(1000).default(20),
    temperature: z.number().gt(0).max(10).default(0.07),
    bankSize: z
      .int()
      .min(1)
      .max(200_000)
      .default(5000)
      .describe('How many training images vote, spread evenly over the classes.'),
  })
  .meta({
    id: 'Knn',
    description:
      'Weighted k-nearest-neighbour classification (Wu et al. 2018): votes weigh exp(similarity / temperature).',
  });
export type Knn = z.infer<typeof Knn>;

export const Ema = z.strictObject({ decay: z.number().min(0).max(0.999999).default(0.999) }).meta({
  id: 'Ema',
  description:
    'An exponential moving average of all weights, statistics of normalisation too: after each step `decay` times ' +
    'its old value and the rest of the weight. It is what evaluations judge and what the run stores; training goes ' +
    'on with the weights themselves. Left out: there is none.',
});
export type Ema = z.infer<typeof Ema>;

export const Precision = z.enum(['float32', 'bfloat16']).meta({
  id: 'Precision',
  description:
    '`bfloat16`: TensorFlow computes the products of the networks, convolutions too, in bfloat16 while they learn. ' +
    'Weights, what optimisers remember, statistics, losses and views stay in float32, and so do evaluations. Needs a ' +
    'CPU that has avx512_bf16, amx_bf16 or avx_ne_convert; on any other machine, and on a GPU, the run fails as it ' +
    'begins. Left out: `float32`.',
});
export type Precision = z.infer<typeof Precision>;

export const Patches = z
  .strictObject({
    count: z.int().min(1).max(128).default(16),
    area: z.number().min(0.01).max(1).default(0.25).describe('Of a patch, in parts of the image.'),
  })
  .meta({
    id: 'Patches',
    description: 'Squares at random places of an image, the same ones each time, brought to the size of the image.',
  });
export type Patches = z.infer<typeof Patches>;

const l2 = z.number().min(0).max(1000);
export const Probe = z
  .strictObject({
    l2: z
      .union([l2, z.array(l2).min(2).max(20)])
      .default(1e-4)
      .describe(
        'Of several the one with the least loss on a fifth of the labels, which is held out; the probe is then ' +
          'fitted to all of them.',
      ),
    maxIterations: z.int().min(1).max(10_000).default(200),
  })
  .meta({ id: 'Probe', description: 'L2-regularised multinomial logistic regression on frozen features.' });
export type Probe = z.infer<typeof Probe>;

export const Checkpoints = z
  .strictObject({
    everySteps: z.int().min(1).max(10_000_000).nullable().default(null),
    keepLast: z.int().min(1).max(1000).default(2),
    keepBest: z
      .boolean()
      .default(false)
      .describe(
        'Whether the checkpoint after the best evaluation stays. Best: highest kNN, accuracy, mIoU, agreement ' +
          'with the teacher, or PSNR, of what the kind of run reports.',
      ),
  })
  .meta({
    id: 'Checkpoints',
    description:
      'Beside those that a worker writes from time to time to go on from: one checkpoint each `everySteps`. The ' +
      'newest `keepLast` stay, and with `keepBest` the one after the best evaluation.',
  });
export type Checkpoints = z.infer<typeof Checkpoints>;
