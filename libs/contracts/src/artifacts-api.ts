/** What runs leave behind: artifacts, and versions of datasets. */
import { z } from 'zod';
import { DatasetManifest, Name } from './dataset.js';
import { dateTime } from './http-fields.js';

export const Artifact = z
  .object({
    id: z.uuid(),
    runId: z.uuid(),
    attempt: z.int(),
    name: z.string(),
    kind: z.string(),
    mime: z.string(),
    sizeBytes: z.int(),
    sha256: z.string(),
    step: z.int().nullable(),
    createdAt: dateTime,
  })
  .meta({ id: 'Artifact' });
export type Artifact = z.output<typeof Artifact>;

/** Kind of the files that programs beside its worker add to a run. */
export const ATTACHMENT = 'attachment';

/**
 * Names that trainers give to their files (`context.store` in libs/training): whoever adds a file takes another, also
 * where the run has none of it yet.
 */
const OF_TRAINERS =
  /^((compression|classification|segmentation|maps|quality|export|preview)\.json|(reconstructions|segmentation|views|samples|interpolation|preview-\d+|atlas(-\d+)?)\.(png|webp)|(reconstruction|interpolation|sample|preview)-.*\.wav|embeddings\.npy|.*\.(safetensors|onnx|model\.json|weights\.bin))$/;

/** No longer than a part of a path that the API takes. */
export const ArtifactName = Name.max(100).refine(
  (name) => !OF_TRAINERS.test(name),
  'expected a name that trainers give to no file of theirs, such as classification.json or model.onnx',
);
export const AddArtifact = z.strictObject({
  mime: z
    .string()
    .max(100)
    .regex(/^[a-z]+\/[a-z0-9][a-z0-9.+-]*$/, 'expected a media type such as text/csv')
    .default('application/octet-stream')
    .describe('What the file is served as.'),
});
export type AddArtifact = z.output<typeof AddArtifact>;

const amount = z.object({ files: z.int(), bytes: z.int() });
export const CollectResult = z.object({ orphans: amount, leftovers: amount, kept: amount }).meta({
  id: 'CollectResult',
  description:
    'Files that nothing names any more and that are gone (or, validate_only, would go), what was left ' +
    'half-written, and what stays.',
});
export type CollectResult = z.output<typeof CollectResult>;

export const Dataset = z
  .object({ name: z.string(), digest: z.string(), manifest: DatasetManifest, runId: z.uuid(), createdAt: dateTime })
  .meta({ id: 'Dataset' });
export type Dataset = z.output<typeof Dataset>;
