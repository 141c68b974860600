import { z } from 'zod';
import { Name } from './dataset.js';
import { probability, seed } from './spec-fields.js';

const imageSide = z.int().min(8).max(1024);
const ImageSize = z.union([imageSide, z.strictObject({ height: imageSide, width: imageSide })]);

export const PrepareDataset = z
  .strictObject({
    kind: z.literal('prepare-dataset'),
    name: Name,
    path: z
      .string()
      .min(1)
      .max(1024)
      .refine((path) => !path.includes('\0'), 'expected a path without NUL characters')
      .describe(
        'Relative to the data root: a folder, a tar, tar.gz or zip of class folders (also with train/, val/, ' +
          'test/ around those), a folder of WebDataset shards, Parquet files with image bytes, or IDX files. Without ' +
          'class folders or labels it becomes a dataset without classes, for pretraining.',
      ),
    imageSize: ImageSize.default(32).describe(
      'What images are scaled to: the side of a square, or height and width, in pixels.',
    ),
    channels: z.union([z.literal(1), z.literal(3)]).default(3),
    audio: z
      .strictObject({
        sampleRate: z.int().min(1000).max(48_000).default(16_000),
        seconds: z.number().gt(0).max(60).default(1),
      })
      .optional()
      .describe(
        'Makes a dataset of sounds: mono, resampled, cut or filled with silence to one length; loudness is kept.',
      ),
    masks: z
      .strictObject({
        classes: z.array(z.string().min(1).max(128)).min(2).max(255).describe('Names of the class ids, from 0.'),
        unlabelled: z.int().min(0).max(255).nullable().default(null).describe('The id of pixels that have no class.'),
      })
      .optional()
      .describe(
        'Makes a dataset of images with masks, from paired folders `images/` and `masks/`: 8-bit PNG whose values ' +
          'are class ids.',
      ),
    fileName: z
      .string()
      .min(1)
      .max(200)
      .refine(
        (template) => /\{label\}/.test(template),
        'expected a template with {label} in it, such as {label}_{group}_{}',
      )
      .optional()
      .describe(
        'How file names (without folder and ending) give the class and a group such as a speaker, e.g. ' +
          '`{label}_{group}_{}`; `{}` stands for anything. Without it the class is the folder.',
      ),
    holdOut: z
      .strictObject({
        val: z.array(z.string()).max(10_000).default([]),
        test: z.array(z.string()).max(10_000).default([]),
      })
      .optional()
      .describe(
        'Groups that go to a split as a whole, such as the speakers kept for testing. Without it whole groups are ' +
          'drawn.',
      ),
    valFraction: z
      .number()
      .min(0)
      .max(0.5)
      .default(0.1)
      .describe(
        'Part of the training samples that is put aside for validation, stratified and seeded, where the source ' +
          'has no such folder.',
      ),
    testFraction: z
      .number()
      .min(0)
      .max(0.5)
      .default(0.1)
      .describe('Part of the training samples that is put aside for testing, likewise.'),
    seed: seed.default(0),
    dryRun: z
      .boolean()
      .optional()
      .describe('Only looks: all is decoded, and the run ends with the summary, but no dataset version is made.'),
    maxCorruptFraction: probability
      .default(0.05)
      .describe(
        "The run fails when more than this fraction of the files can't be decoded, for whatever reason: damaged, cut " +
          'short, or of a format that is not read.',
      ),
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
  })
  .meta({ id: 'PrepareDataset' });
export type PrepareDataset = z.infer<typeof PrepareDataset>;
