import { z } from 'zod';

/** Names become parts of paths and URLs: no separators, no dots at the start, ASCII only. */
export const Name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    'expected 1 to 128 of A-Z a-z 0-9 . _ - beginning with a letter or digit',
  );

export const SPLITS = ['train', 'val', 'test'] as const;
export type Split = (typeof SPLITS)[number];

export const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

export const SampleShape = z
  .discriminatedUnion('modality', [
    z.strictObject({
      modality: z.literal('image'),
      height: z.int().min(1),
      width: z.int().min(1),
      channels: z.union([z.literal(1), z.literal(3)]),
    }),
    z.strictObject({ modality: z.literal('audio'), sampleRate: z.int().min(1), length: z.int().min(1) }),
  ])
  .describe(
    'What one sample is. Images: uint8 [count, height, width, channels]. Sounds: int16 [count, length], mono, ' +
      '`length` samples each.',
  );
export type SampleShape = z.infer<typeof SampleShape>;
export type ImageShape = Extract<SampleShape, { modality: 'image' }>;
export type AudioShape = Extract<SampleShape, { modality: 'audio' }>;

/** A sample of this height and width; without a size, and of sounds, the sample itself. */
export const sampleAt = (sample: SampleShape, size: number | undefined): SampleShape =>
  size === undefined || sample.modality === 'audio' ? sample : { ...sample, height: size, width: size };

/** Value of a mask's pixel that belongs to no class: it counts neither in the loss nor in the metrics. */
export const UNLABELLED = 255;

export const DatasetSplit = z
  .strictObject({
    count: z.int().min(0),
    samples: Sha256,
    labels: Sha256.optional().describe('Where samples have a class: an int32 .npy of shape [count].'),
    countPerClass: z
      .array(z.int().min(0))
      .optional()
      .describe('Where samples have a class: how many of each there are, in the order of `classes`.'),
    masks: Sha256.optional().describe(
      'Where pixels have a class: a uint8 .npy of shape [count, height, width], `UNLABELLED` or an index of `classes`.',
    ),
  })
  .describe('One split of a dataset version. `samples` is a .npy as `SampleShape` says.');
export type DatasetSplit = z.infer<typeof DatasetSplit>;

export const DatasetManifest = z
  .strictObject({
    name: Name,
    digest: Sha256,
    sample: SampleShape,
    classes: z.array(z.string()).describe('Empty where neither samples nor pixels have a class.'),
    splits: z.strictObject({ train: DatasetSplit, val: DatasetSplit.optional(), test: DatasetSplit.optional() }),
  })
  .meta({
    id: 'DatasetManifest',
    description:
      'An immutable dataset version. Its digest is the sha256 of the manifest in canonical JSON without `digest` ' +
      'and `name`: the same samples, labels and classes give the same digest, wherever and whenever they were ' +
      'prepared.',
  });
export type DatasetManifest = z.infer<typeof DatasetManifest>;

/**
 * Sizes of the groups that a label fraction takes its part of: the classes, or all samples as one where pixels have the
 * labels.
 */
export const strataOf = ({ count, countPerClass }: DatasetSplit): number[] => countPerClass ?? [count];

/**
 * How many images of each class a label fraction keeps: `round(fraction · count)`.
 * The API refuses a run for which a class keeps none, and the trainer draws exactly these.
 */
export const labelsPerClass = (countPerClass: readonly number[], fraction: number): number[] =>
  countPerClass.map((count) => Math.round(fraction * count));

/** `32 x 32 x 3`, `1 s at 8000 Hz`, for people. */
export const sampleText = (sample: SampleShape): string =>
  sample.modality === 'image'
    ? `${sample.height} x ${sample.width} x ${sample.channels}`
    : `${Number((sample.length / sample.sampleRate).toFixed(3))} s at ${sample.sampleRate} Hz`;
