/** What lies below the data root, from which datasets are prepared. */
import { z } from 'zod';

export const BrowseDataRoot = z.strictObject({
  path: z
    .string()
    .max(1024)
    .regex(/^[^\0]*$/, 'expected a path without NUL characters')
    .default('')
    .describe('A folder, relative to the data root; the root itself where it is empty.'),
});
export type BrowseDataRoot = z.output<typeof BrowseDataRoot>;

export const DataFolder = z
  .object({
    path: z.string().describe('Relative to the data root, with `/`.'),
    entries: z
      .array(z.object({ name: z.string(), kind: z.enum(['folder', 'file']), sizeBytes: z.int().nullable() }))
      .describe('By name, folders first; the size of files in bytes. Hidden ones are left out.'),
    more: z.boolean().describe('Whether there are more than these.'),
    found: z
      .object({
        images: z.int(),
        sounds: z.int(),
        masks: z.boolean().describe('Whether a folder of masks lies beside one of images.'),
        others: z.int(),
        all: z.boolean().describe('Whether every file was seen; of large folders it is the first few thousand.'),
      })
      .describe('Files of each kind in the folder and those below it, by their names.'),
  })
  .meta({ id: 'DataFolder', description: 'A folder below the data root.' });
export type DataFolder = z.output<typeof DataFolder>;
