/** What the columns of tables, and folders that say a column, are called where the spec does not say. */
import type { PrepareDataset } from '#libs/contracts';

export type Columns = NonNullable<PrepareDataset['columns']>;
export type Role = keyof Columns;

export const USUAL: Readonly<Record<Role, readonly string[]>> = {
  sample: ['file_name', 'filename', 'file', 'path', 'filepath', 'image', 'image_path', 'audio', 'image_id', '1'],
  label: ['label', 'class', 'class_name', 'category', 'target', 'dx', '2'],
  group: ['group', 'speaker', 'speaker_id', 'patient', 'patient_id', 'subject'],
  split: ['split', 'subset', 'set'],
  mask: ['mask', 'mask_path'],
};
