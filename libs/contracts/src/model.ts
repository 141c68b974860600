/** Weights that were trained elsewhere, as runs begin with them: how they are taken in, and what is known of them. */
import { z } from 'zod';
import { Name, SampleShape, Sha256 } from './dataset.js';
import { dateTime } from './http-fields.js';
import { Encoder, Normalisation, TRANSFORMERS } from './run-settings.js';

/** Networks that torchvision and timm have by these names. */
export const PUBLISHED_NETWORKS = [
  'resnet18',
  'resnet34',
  'resnet50',
  'resnet101',
  'resnet152',
  ...TRANSFORMERS,
] as const;

/** Whether a path is that of a layers model's description; otherwise it is one of safetensors. */
export const isLayersModel = (path: string): boolean => /\.json$/i.test(path);

export const ImportModel = z
  .strictObject({
    kind: z.literal('import-model'),
    name: Name,
    path: z
      .string()
      .min(1)
      .max(1024)
      .refine((path) => !path.includes('\0'), 'expected a path without NUL characters')
      .describe(
        'Relative to the data root: a safetensors file; the `model.json` of a layers model of tfjs, or the `.index` ' +
          'of a checkpoint of SimCLR, with its numbers beside it.',
      ),
    as: z
      .enum(PUBLISHED_NETWORKS)
      .optional()
      .describe(
        "The network that weights of torchvision's, timm's or SimCLR's names are of; width and stem are read from " +
          'them. Left out for a file that this program exported, and for a layers model: those say it themselves.',
      ),
    normalisation: Normalisation.optional().describe(
      "What torchvision's and timm's weights expect of their input. Left out for those of three channels: the mean " +
        'and standard deviation of ImageNet, 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.',
    ),
  })
  .superRefine(({ as, normalisation, path }, context) => {
    const told = (field: string, message: string) => context.addIssue({ code: 'custom', path: [field], message });
    if (isLayersModel(path) && as !== undefined)
      told('as', `expected none with ${path}: a layers model says itself of which layers it is`);
    if (as === undefined && normalisation && !isLayersModel(path))
      told('normalisation', 'expected none without `as`: a file that this program exported says it itself');
  })
  .meta({ id: 'ImportModel' });
export type ImportModel = z.infer<typeof ImportModel>;

export const ModelManifest = z
  .strictObject({
    name: Name,
    digest: Sha256,
    encoder: Encoder.describe('The network, with what it does to its input (`normalisation`) where it does something.'),
    sample: SampleShape.describe('What it was made for. Images may be of another size.'),
    parameters: z.int().min(0).describe('Numbers in its weights, running averages among them.'),
    weights: Sha256,
    layers: z
      .array(
        z.strictObject({ name: z.string(), shape: z.array(z.int().min(0)), parameters: z.int().min(0) }).meta({
          id: 'ModelLayer',
          description: 'A layer: what it gives of a sample of the size that the model was made for, and its weights.',
        }),
      )
      .optional()
      .describe('Of a layers model, in the order in which they are computed: `encoder.features` names one of them.'),
  })
  .meta({
    id: 'ModelManifest',
    description:
      'An immutable version of a model. Its digest is the sha256 of the manifest in canonical JSON without `digest` ' +
      'and `name`: the same weights for the same input give the same digest.',
  });
export type ModelManifest = z.infer<typeof ModelManifest>;

export const Model = z
  .object({ name: z.string(), digest: z.string(), manifest: ModelManifest, runId: z.uuid(), createdAt: dateTime })
  .meta({ id: 'Model', description: 'A version of a model, and the run that took it in.' });
export type Model = z.output<typeof Model>;
