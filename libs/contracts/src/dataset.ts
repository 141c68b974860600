import { z } from 'zod';
import { Name } from './run-spec.js';

export const SPLITS = ['train', 'val', 'test'] as const;
export type Split = (typeof SPLITS)[number];

const Sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/** One split of a dataset version: `images` is a uint8 .npy of shape [count, size, size, channels], `labels` an int32 .npy of shape [count]. */
export const DatasetSplit = z.strictObject({
  count: z.int().min(0),
  /** Images of each class, in the order of `classes`. */
  countPerClass: z.array(z.int().min(0)),
  images: Sha256,
  labels: Sha256,
});
export type DatasetSplit = z.infer<typeof DatasetSplit>;

/**
 * An immutable dataset version. Its digest is the sha256 of the manifest in canonical JSON without `digest` and
 * `name`: the same pixels, labels and classes give the same digest, wherever and whenever they were prepared.
 */
export const DatasetManifest = z.strictObject({
  name: Name,
  digest: Sha256,
  imageSize: z.int(),
  channels: z.union([z.literal(1), z.literal(3)]),
  classes: z.array(z.string()).min(2),
  splits: z.strictObject({ train: DatasetSplit, val: DatasetSplit.optional(), test: DatasetSplit.optional() }),
}).meta({ id: 'DatasetManifest' });
export type DatasetManifest = z.infer<typeof DatasetManifest>;
