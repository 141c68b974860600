import { z } from 'zod';
import { Name } from './dataset.js';
import { probability, seed } from './spec-fields.js';

const imageSide = z.int().min(8).max(1024);
const ImageSize = z.union([imageSide, z.strictObject({ height: imageSide, width: imageSide })]);

const listFile = z.string().min(1).max(1024);
const column = z.string().min(1).max(200);
const Columns = z.strictObject({
  sample: column.optional(),
  label: column.optional(),
  group: column.optional(),
  split: column.optional(),
  mask: column.optional(),
});

const ClassOrNone = z.string().min(1).max(128).nullable();

const Masks = z
  .strictObject({
    classes: z.array(z.string().min(1).max(128)).min(2).max(255).describe('Names of the class ids, from 0.'),
    unlabelled: z.int().min(0).max(65_535).nullable().default(null).describe('The id of pixels that have no class.'),
    values: z
      .record(z.string().regex(/^(0|[1-9]\d{0,4})$/, 'expected a whole number up to 65535'), ClassOrNone)
      .optional()
      .describe(
        'The class of each value, null for none, where values are not places in `classes`: `{0: background, 255: ' +
          'cell}`. Several values can be of one class.',
      ),
    colours: z
      .record(z.string().regex(/^#[0-9a-f]{6}$/i, 'expected a colour such as #ff8000'), ClassOrNone)
      .optional()
      .describe("The class of each colour, null for none, where masks are pictures: `{'#ff0000': car}`."),
    suffix: z
      .string()
      .min(1)
      .max(100)
      .optional()
      .describe(
        "What names of masks have behind their images' names, before the ending. Those of Cityscapes, ADE20K and " +
          'CamVid are known, and so are `_mask`, `_label`, `_seg` and `_gt`, and the same before the names (`mask_`).',
      ),
  })
  .superRefine(({ classes, values, colours }, context) => {
    for (const [field, table] of Object.entries({ values, colours }))
      for (const [key, name] of Object.entries(table ?? {}))
        if (name !== null && !classes.includes(name))
          context.addIssue({
            code: 'custom',
            path: [field, key],
            message: `expected null or one of the classes ${classes.slice(0, 20).join(', ')}, got ${name}`,
          });
    if (values && colours)
      context.addIssue({ code: 'custom', path: ['colours'], message: 'expected either values or colours, got both' });
  })
  .describe(
    'Makes a dataset of images with masks, from paired folders `images/` and `masks/`, or those of VOC, Cityscapes, ' +
      'ADE20K and CamVid: PNG whose values are class ids, of up to 16 bits, or whose colours mean classes.',
  );

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
        windows: z
          .strictObject({
            hopSeconds: z
              .number()
              .gt(0)
              .max(3600)
              .optional()
              .describe('From the beginning of a window to that of the next; left out, they lie one behind another.'),
            most: z.int().min(1).max(10_000).default(1000).describe('Of one recording.'),
          })
          .optional()
          .describe(
            'Takes many samples of `seconds` from each recording instead of its beginning alone. The last one counts ' +
              'where at least half of it is sound. All windows of a recording go to one split.',
          ),
      })
      .optional()
      .describe(
        'Makes a dataset of sounds: mono, resampled, cut or filled with silence to one length; loudness is kept.',
      ),
    masks: Masks.optional(),
    fileName: z
      .string()
      .min(1)
      .max(200)
      .refine(
        (template) => /\{(label|group)\}/.test(template),
        'expected a template with {label} in it, such as {label}_{group}_{}, or with {group}',
      )
      .optional()
      .describe(
        'How file names (without ending) give the class and a group such as a speaker, e.g. `{label}_{group}_{}`; ' +
          '`{}` stands for anything. With `/` it is of the folders before the name, too: `{label}/{group}/{}`. ' +
          'Without {label} the class is the folder.',
      ),
    list: listFile
      .optional()
      .describe(
        'A CSV, TSV or JSON Lines file among the files, or a text of paths and labels: it says which are samples, ' +
          'and their labels, groups, splits and masks.',
      ),
    columns: Columns.optional().describe(
      'Which columns of `list`, of Parquet files or of folders such as `species=cat`, or which file or field of JSON ' +
        'in WebDataset shards is the label, where they are not called as usual.',
    ),
    splitLists: z
      .strictObject({ train: listFile.optional(), val: listFile.optional(), test: listFile.optional() })
      .optional()
      .describe(
        'Texts among the files that name one sample a line: those of a split. What none names is of train, or left ' +
          'out where train has a list.',
      ),
    renameClasses: z
      .record(z.string(), z.string().min(1).max(128))
      .optional()
      .describe('New names of classes; several that get one name become one class.'),
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
    if (spec.holdOut && !spec.fileName?.includes('{group}') && !spec.columns?.group && !spec.list)
      context.addIssue({
        code: 'custom',
        path: ['holdOut'],
        message: 'expected a fileName template with {group} in it, or columns.group, which says what is held out',
      });
    if (spec.list && spec.fileName)
      context.addIssue({
        code: 'custom',
        path: ['fileName'],
        message: 'expected either list or fileName, got both: the list says what is of which class',
      });
    if (spec.masks && spec.renameClasses)
      context.addIssue({
        code: 'custom',
        path: ['renameClasses'],
        message: 'expected masks.classes to have the names, and masks.values to merge classes',
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
