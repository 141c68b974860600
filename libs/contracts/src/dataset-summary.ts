/** What became of a source's files, class by class and split by split: for people, beside the dataset version. */
import { z } from 'zod';
import { SampleShape, SPLITS } from './dataset.js';

const count = z.int().min(0);

const SummarySplit = z.object({
  count,
  countPerClass: z.array(count).optional().describe('Where samples have a class, in the order of `classes`.'),
  pixelsPerClass: z.array(count).optional().describe('Where pixels have a class, in the order of `classes`.'),
  unlabelledPixels: count.optional().describe('Pixels of masks that have no class.'),
});

export const DatasetSummary = z
  .object({
    dryRun: z.boolean().describe('Whether it was only looked at: there is no dataset version of it.'),
    sample: SampleShape,
    classes: z.array(z.string()),
    splits: z.object({ train: SummarySplit, val: SummarySplit.optional(), test: SummarySplit.optional() }),
    sounds: z
      .object({
        cut: count.describe('Longer than the length asked for.'),
        padded: count.describe('Shorter, followed by silence.'),
      })
      .optional(),
    leftOut: z
      .array(z.object({ reason: z.string(), count, examples: z.array(z.string()) }))
      .describe('Files and folders that gave no sample, by why, with the first few of them.'),
    warnings: z.array(z.string()).describe('What else may not be as it was meant.'),
  })
  .meta({ id: 'DatasetSummary', description: 'What a prepare-dataset run made, or would make, of its source.' });
export type DatasetSummary = z.infer<typeof DatasetSummary>;
export type SummarySplit = z.infer<typeof SummarySplit>;

/** `preview.json` of a run that only looked at a source: its classes, each with files of the same run. */
export interface DatasetPreview {
  /** A picture or sounds; the name is empty where samples have no class. */
  groups: { name: string; files: string[] }[];
  /** Classes of pixels with their colours, where there are masks. */
  masks?: { name: string; colour: string }[];
}

const KINDS_OF_NUMBER = [
  ['countPerClass', 'samples'],
  ['pixelsPerClass', 'pixels'],
] as const;

/** A table of the splits, and of their classes where there are any: head, then rows of text. */
export function summaryTable({ classes, splits }: DatasetSummary): { head: string[]; rows: string[][] } {
  const present = SPLITS.filter((split) => splits[split] !== undefined);
  const row = (name: string, of: (split: SummarySplit) => number): string[] => [
    name,
    ...present.map((split) => of(splits[split]!).toLocaleString('en')),
  ];
  const perClass = KINDS_OF_NUMBER.find(([key]) => splits.train[key] !== undefined);
  return {
    head: [perClass?.[1] === 'pixels' ? 'pixels of' : 'samples of', ...present],
    rows: [
      ...(perClass ? classes.map((name, label) => row(name, (split) => split[perClass[0]]?.[label] ?? 0)) : []),
      ...(present.some((split) => splits[split]!.unlabelledPixels)
        ? [row('(no class)', ({ unlabelledPixels }) => unlabelledPixels ?? 0)]
        : []),
      row(perClass?.[1] === 'pixels' ? 'images' : 'all', (split) => split.count),
    ],
  };
}
