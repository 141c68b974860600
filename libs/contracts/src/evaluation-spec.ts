/** Runs that look at what others have learnt, or hand it on: nothing is trained. */
import { z } from 'zod';
import { SPLITS } from './dataset.js';
import { DatasetReference, Encoder, Knn, Patches, Probe, RunId, Start } from './run-settings.js';
import { evalSplit, labelFraction, noEncoderWithParent, seed } from './spec-fields.js';

const fromCheckpoint = z
  .int()
  .min(0)
  .max(10_000_000)
  .optional()
  .describe('Instead of its last weights, those of the checkpoint that the run in `from` has at this step.');

export const Evaluate = z
  .strictObject({
    kind: z.literal('evaluate'),
    dataset: DatasetReference,
    from: Start.nullable().describe(
      'The run whose encoder is evaluated, frozen, or `model NAME`; null evaluates a randomly initialised one.',
    ),
    checkpoint: fromCheckpoint,
    encoder: Encoder.optional(),
    features: z
      .enum(['encoder', 'pixels'])
      .default('encoder')
      .describe('`pixels` leaves the network out: the control that says what the raw samples are worth.'),
    patches: Patches.optional().describe(
      `The features are the mean of those of patches. Left out: those of the whole image. ${Patches.description}`,
    ),
    knn: Knn.prefault({}),
    probe: Probe.prefault({}),
    labelFraction,
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
    if (spec.features === 'pixels' && spec.patches)
      context.addIssue({
        code: 'custom',
        path: ['patches'],
        message: 'expected no patches where the features are the raw samples',
      });
    if (spec.from === null && spec.checkpoint !== undefined)
      context.addIssue({
        code: 'custom',
        path: ['checkpoint'],
        message: 'expected no checkpoint without a run in `from`',
      });
  })
  .meta({ id: 'Evaluate' });
export type Evaluate = z.infer<typeof Evaluate>;

export const Interpolate = z
  .strictObject({
    kind: z.literal('interpolate'),
    dataset: DatasetReference,
    from: RunId.describe('The autoencoder.'),
    between: z
      .union([
        z.strictObject({ rows: z.tuple([z.int().min(0), z.int().min(0)]) }),
        z.strictObject({ classes: z.tuple([z.string(), z.string()]) }),
      ])
      .prefault({ rows: [0, 1] })
      .describe('Two rows of `split`, or the means of two classes.'),
    path: z
      .enum(['linear', 'slerp'])
      .default('linear')
      .describe('`slerp` turns on the sphere (Shoemake 1985), which keeps the length where `linear` shortens it.'),
    points: z.int().min(2).max(64).default(9).describe('Points on the path, both ends included.'),
    samples: z
      .int()
      .min(0)
      .max(64)
      .default(8)
      .describe(
        'How many samples are drawn: from the prior of a variational autoencoder, from the spread of the latent ' +
          'codes of others.',
      ),
    split: z.enum(SPLITS).default('val'),
    seed: seed.default(0),
  })
  .meta({ id: 'Interpolate' });
export type Interpolate = z.infer<typeof Interpolate>;

export const Embed = z
  .strictObject({
    kind: z.literal('embed'),
    dataset: DatasetReference,
    from: Start.describe('The run whose encoder gives the features, or `model NAME`.'),
    checkpoint: fromCheckpoint,
    split: z.enum(SPLITS).default('val'),
    maxSamples: z
      .int()
      .min(10)
      .max(200_000)
      .default(5000)
      .describe('At most so many samples, spread evenly over the classes.'),
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
        epochs: z
          .int()
          .min(10)
          .max(2000)
          .optional()
          .describe('Without it as umap-learn has it: 500 for up to 10,000 samples, 200 for more.'),
      })
      .prefault({}),
    alignTo: RunId.nullable()
      .default(null)
      .describe(
        'Another embed run of the same samples: its maps are turned, mirrored, scaled and moved onto here ' +
          '(Procrustes).',
      ),
    seed: seed.default(0),
  })
  .meta({ id: 'Embed' });
export type Embed = z.infer<typeof Embed>;

export const ExportModel = z
  .strictObject({
    kind: z.literal('export'),
    from: Start.describe('The run whose networks are written, or `model NAME`.'),
    formats: z
      .array(z.enum(['tfjs', 'safetensors', 'onnx']))
      .min(1)
      .max(3)
      .default(['tfjs', 'safetensors', 'onnx'])
      .refine((formats) => new Set(formats).size === formats.length, 'expected each format once'),
  })
  .meta({ id: 'ExportModel' });
export type ExportModel = z.infer<typeof ExportModel>;
