/** Runs that train a network. */
import { z } from 'zod';
import { transformerOf } from './architectures.js';
import { Augmentation } from './augmentation.js';
import { groupedBySize, viewCount, Views, viewSizes, type View } from './pretraining-views.js';
import {
  Checkpoints,
  DatasetReference,
  Ema,
  Encoder,
  Knn,
  Optimizer,
  Patches,
  Precision,
  Probe,
  Projection,
  RunId,
  Schedule,
  Start,
} from './run-settings.js';
import { batchSize, epochs, evalSplit, labelFraction, noEncoderWithParent, seed } from './spec-fields.js';

const weight = z.number().min(0).max(1e6);
export const METHODS = [
  'simclr',
  'byol',
  'simsiam',
  'barlow-twins',
  'vicreg',
  'dcl',
  'supcon',
  'moco-v2',
  'moco-v3',
  'nnclr',
  'swav',
  'dino',
  'emp-ssl',
] as const;
/** Methods that learn from more than two views of a sample, of several sizes: small ones beside two large ones. */
export const MULTI_CROP: readonly (typeof METHODS)[number][] = ['swav', 'dino'];
/** What EMP-SSL weighs, where a spec says nothing else (Tong et al. 2023). */
export const EMP = { similarity: 200, epsilon: 0.2 };
/** Rows of a method's queue, where a spec says nothing else. */
export const QUEUE_SIZE = 4096;
/** Prototypes of SwAV and DINO, where a spec says nothing else. */
export const PROTOTYPES = 512;

/** What keeps a method from learning from these views. */
function viewFaults(method: (typeof METHODS)[number], views: readonly View[]): string[] {
  const [count, sizes] = [viewCount(views), viewSizes(views)];
  if (MULTI_CROP.includes(method)) {
    if (count < 2) return [`expected at least two views of each sample for ${method}, got ${count}`];
    return viewCount(groupedBySize(views)[0]!) < 2
      ? [`expected two views or more of the first one's size for ${method}, got one`]
      : [];
  }
  const isFew = method === 'emp-ssl' ? count < 2 : count !== 2;
  const many = method === 'emp-ssl' ? 'two views or more' : 'two views';
  return [
    ...(isFew ? [`expected ${many} of each sample for ${method}, got ${count}`] : []),
    ...(sizes.length > 1
      ? [`expected views of one size for ${method}, got ${sizes.join(', ')}: ${MULTI_CROP.join(' and ')} take several`]
      : []),
  ];
}

export const Pretrain = z
  .strictObject({
    kind: z.literal('pretrain'),
    method: z.enum(METHODS).default('simclr'),
    dataset: DatasetReference,
    from: Start.optional().describe(
      '`model NAME`: the model whose encoder it begins with. `encoder` is then that one, and is left out.',
    ),
    encoder: Encoder.prefault({}),
    projection: Projection.prefault({}),
    augmentation: Augmentation.optional(),
    views: Views.optional(),
    temperature: z
      .number()
      .min(0.01)
      .max(10)
      .default(0.1)
      .describe(
        'SimCLR, DCL, SupCon, MoCo and NNCLR: temperature of the contrastive loss. SwAV and DINO: of what foretells ' +
          'prototypes.',
      ),
    predictorHidden: z
      .int()
      .min(8)
      .max(8192)
      .default(128)
      .describe('BYOL, SimSiam, MoCo v3 and NNCLR: hidden width of the two-layer predictor.'),
    targetMomentum: z
      .number()
      .min(0)
      .max(1)
      .default(0.99)
      .describe('BYOL, MoCo and DINO: weight of the old value in the target network, from here to 1 on a cosine.'),
    queueSize: z
      .int()
      .min(16)
      .max(262_144)
      .optional()
      .describe(
        `MoCo v2: how many keys of earlier steps are negatives. NNCLR: among how many outputs of earlier steps ` +
          `neighbours are sought. ${QUEUE_SIZE} unless it is given. SwAV: how many outputs of earlier steps, of each ` +
          'large view, are assigned to prototypes along with those of the step; none unless it is given.',
      ),
    prototypes: z
      .int()
      .min(2)
      .max(65_536)
      .optional()
      .describe(`SwAV and DINO: how many directions outputs are told apart by. ${PROTOTYPES} unless it is given.`),
    swav: z
      .strictObject({
        epsilon: z.number().min(0.01).max(10).default(0.05),
        iterations: z.int().min(1).max(100).default(3),
        queueFromEpoch: z.int().min(0).max(10_000).optional(),
      })
      .optional()
      .describe(
        'SwAV: sharpness of the codes (`epsilon`, lower is sharper), iterations of Sinkhorn and Knopp, and the ' +
          'epoch, counted from 0, before which a queue does not count.',
      ),
    dino: z
      .strictObject({
        teacherTemperature: z.number().min(0.01).max(10).default(0.04),
        centerMomentum: z.number().min(0).max(1).default(0.9),
      })
      .optional()
      .describe("DINO: temperature of the teacher's softmax, and weight of the old value in the centre of its scores."),
    emp: z
      .strictObject({
        similarity: z.number().min(0).max(1e6).default(EMP.similarity),
        epsilon: z.number().min(0.01).max(10).default(EMP.epsilon),
      })
      .optional()
      .describe(
        'EMP-SSL: weight of the similarity of a view and the mean of all views of its sample, beside the coding ' +
          'rate, and the distortion (`epsilon`) up to which that is counted.',
      ),
    patches: Patches.optional().describe(
      'Online evaluation by the mean of the features of patches, as EMP-SSL is evaluated. Left out: by the whole ' +
        'image. ' +
        Patches.description,
    ),
    barlowTwins: z
      .strictObject({ lambda: weight.default(5e-3), scale: weight.default(1) })
      .prefault({})
      .describe(
        'Barlow Twins: weight of what is off the diagonal of the cross-correlation (`lambda`), and of the whole ' +
          'loss (`scale`).',
      ),
    vicreg: z
      .strictObject({ invariance: weight.default(25), variance: weight.default(25), covariance: weight.default(1) })
      .prefault({})
      .describe('VICReg: weights of the three terms of the loss.'),
    epochs: epochs.default(8),
    batchSize: batchSize.default(256),
    optimizer: Optimizer.prefault({ name: 'adam', learningRate: 4e-3 }),
    schedule: Schedule.prefault({ warmupSteps: 100 }),
    knn: Knn.prefault({}).describe(
      "Online evaluation at the end of every epoch, on the encoder's features, which get no gradient from it. " +
        Knn.description,
    ),
    probe: Probe.prefault({ maxIterations: 50 }).describe(
      `Online evaluation by a linear probe, fitted to the images that vote in kNN. ${Probe.description}`,
    ),
    collapseBelow: z
      .number()
      .min(0)
      .max(1)
      .nullable()
      .default(null)
      .describe(
        "The run ends as `collapsed` when the features' spread (1: even over the sphere, 0: one point) is below " +
          'this after an epoch.',
      ),
    checkpoints: Checkpoints.optional(),
    ema: Ema.optional(),
    precision: Precision.optional(),
    evalSplit,
    seed: seed.default(0),
  })
  .superRefine(({ method, augmentation, views }, context) => {
    if (views === undefined || typeof views === 'string') return;
    const told = (message: string) => context.addIssue({ code: 'custom', path: ['views'], message });
    if (augmentation) told('expected no views beside augmentation, which makes both alike: name one of them');
    for (const message of viewFaults(method, views)) told(message);
  })
  .meta({ id: 'Pretrain' });
export type Pretrain = z.infer<typeof Pretrain>;

export const Finetune = z
  .strictObject({
    kind: z.literal('finetune'),
    task: z
      .enum(['classification', 'segmentation'])
      .default('classification')
      .describe('`segmentation` gives each pixel a class, for datasets with masks.'),
    dataset: DatasetReference,
    from: Start.nullable().describe(
      'The run whose encoder is tuned, or `model NAME`; null trains the same network from scratch.',
    ),
    encoder: Encoder.optional().describe(
      `From scratch only: with \`from\`, the encoder is the parent's. ${Encoder.description}`,
    ),
    fromHeadLayer: z
      .int()
      .min(0)
      .max(4)
      .default(0)
      .describe(
        'The classifier sits on the output of this layer of the projection head (SimCLRv2, section 2), 0 on the ' +
          "encoder's. The whole network below it is tuned.",
      ),
    projection: Projection.optional().describe(
      'From scratch with `fromHeadLayer` only: the head whose first layers are part of the network. ' +
        Projection.description,
    ),
    backbone: z
      .strictObject({
        rate: z
          .number()
          .min(0)
          .max(1)
          .default(0.1)
          .describe(
            "Learning rate of the parent's layers as a part of that of the new ones; 0 leaves them as they are.",
          ),
        statistics: z
          .enum(['parent', 'batch'])
          .default('parent')
          .describe(
            "What the batch normalisation of the parent's layers goes by: the running averages of the parent's " +
              'training, which then stay, or each batch.',
          ),
      })
      .optional()
      .describe(
        "With `from` only: how the parent's layers are tuned. Without it they learn like those that are new. Few " +
          'labels spoil features that took all samples to learn.',
      ),
    layerDecay: z
      .number()
      .gt(0)
      .max(1)
      .optional()
      .describe(
        'Lower layers learn slower: the learning rate of a block, or a layer of the head, is this part of that of ' +
          'the one above. Left out: all learn alike. With `backbone` its rate counts too.',
      ),
    fineTuneAfterBlock: z
      .int()
      .min(0)
      .max(4)
      .optional()
      .describe(
        "With `from` only: the parent's layers up to the end of this group of blocks (0: what comes before the " +
          'blocks) stay as they are, normalised by their running averages; those after it are tuned (SimCLRv2).',
      ),
    labelFraction,
    labelSeed: seed.default(0),
    augmentation: Augmentation.optional(),
    steps: z.int().min(1).max(1_000_000).default(500),
    batchSize: batchSize.default(64),
    optimizer: Optimizer.prefault({ name: 'adam', learningRate: 1e-3 }),
    schedule: Schedule.prefault({}),
    checkpoints: Checkpoints.optional(),
    ema: Ema.optional(),
    precision: Precision.optional(),
    evalSplit,
    seed: seed.default(0),
  })
  .superRefine(noEncoderWithParent)
  .superRefine(({ task, encoder }, context) => {
    if (task === 'segmentation' && encoder && transformerOf(encoder))
      context.addIssue({
        code: 'custom',
        path: ['encoder', 'name'],
        message:
          'expected an encoder with maps of several resolutions for segmentation, such as resnet18, got ' +
          encoder.name,
      });
  })
  .superRefine((spec, context) => {
    if (spec.from === null && spec.backbone)
      context.addIssue({
        code: 'custom',
        path: ['backbone'],
        message: 'expected no `backbone` without a parent run in `from`: from scratch all layers are new',
      });
    if (spec.from === null && spec.fineTuneAfterBlock !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['fineTuneAfterBlock'],
        message: 'expected no `fineTuneAfterBlock` without a parent run in `from`: from scratch all layers are new',
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
  })
  .meta({ id: 'Finetune' });
export type Finetune = z.infer<typeof Finetune>;

export const Distill = z
  .strictObject({
    kind: z.literal('distill'),
    dataset: DatasetReference,
    from: RunId.describe('The teacher: a finetuned classifier.'),
    encoder: Encoder.prefault({}).describe(`The student. ${Encoder.description}`),
    temperature: z.number().min(0.01).max(100).default(1).describe('Temperature of both softmaxes (SimCLRv2, eq. 2).'),
    labelWeight: z
      .number()
      .min(0)
      .max(1)
      .default(0)
      .describe("Weight of the cross-entropy on labels, in [0, 1]; the rest is the teacher's. 0 needs no labels."),
    labelFraction,
    labelSeed: seed.default(0),
    augmentation: Augmentation.optional(),
    epochs: epochs.default(8),
    batchSize: batchSize.default(128),
    optimizer: Optimizer.prefault({ name: 'adam', learningRate: 2e-3 }),
    schedule: Schedule.prefault({}),
    checkpoints: Checkpoints.optional(),
    ema: Ema.optional(),
    precision: Precision.optional(),
    evalSplit,
    seed: seed.default(0),
  })
  .meta({ id: 'Distill' });
export type Distill = z.infer<typeof Distill>;
