/** What runs leave behind: artifacts, and versions of datasets. */
import { z } from 'zod';
import { DatasetManifest } from './dataset.js';
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
