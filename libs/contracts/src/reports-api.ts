/** Reports: pages of text, charts, tables, figures of sweeps and maps that a team writes about its runs. */
import { z } from 'zod';
import { dateTime } from './http-fields.js';

const MOST_BLOCKS = 50;
/** Characters of all texts of a report together. */
const LONGEST_TEXTS = 200_000;
const LONGEST_TEXT = 50_000;
/** Runs of one chart, as on the page that compares runs; more colours are not told apart. */
export const MOST_CHARTED = 20;
const MOST_LISTED = 100;
const MOST_COLUMNS = 20;

/** C0, DEL and C1: no text of one line has them. Written out, so that readers of the OpenAPI document understand it. */
const CONTROL = String.raw`\u0000-\u001f\u007f-\u009f`;
const line = (longest: number) =>
  z
    .string()
    .min(1)
    .max(longest)
    .regex(new RegExp(`^[^${CONTROL}]*$`), 'expected one line of text, without control characters')
    .regex(/\S/, 'expected text, got spaces alone');
const title = line(200).optional().describe('What stands above it; left out: what it shows.');
const runs = (most: number) =>
  z
    .array(z.uuid('expected the id of a run'))
    .min(1)
    .max(most)
    .refine((ids) => new Set(ids).size === ids.length, 'expected each run once');

/** Columns of a table of runs that are neither a metric nor a field of the spec. */
export const REPORT_COLUMNS = ['status', 'kind', 'project', 'dataset', 'tags', 'created', 'finished', 'duration'];
const Column = z
  .string()
  .max(256)
  .regex(
    new RegExp(`^(?:${REPORT_COLUMNS.join('|')}|metric:[^${CONTROL}]+|spec:[^${CONTROL}]+)$`),
    `expected ${REPORT_COLUMNS.join(', ')}, metric:KEY or spec:FIELD`,
  );

/** Figures of a sweep, with what each is called. */
export const SWEEP_FIGURES = {
  composition: 'Augmentations in pairs',
  'label-efficiency': 'Label efficiency',
  effects: 'What each augmentation adds',
  importance: 'Which parameters matter',
  results: 'Table of results',
  coordinates: 'Parallel coordinates',
} as const;
export type SweepFigure = keyof typeof SWEEP_FIGURES;

export const REPORT_MAPS = ['pca', 'tsne', 'umap'] as const;

const TextBlock = z
  .strictObject({
    type: z.literal('text'),
    markdown: z
      .string()
      .max(LONGEST_TEXT)
      .describe('CommonMark with tables. HTML in it is shown as text; pictures and links of other schemes are none.'),
  })
  .meta({ id: 'TextBlock' });
const ChartBlock = z
  .strictObject({
    type: z.literal('chart'),
    title,
    metric: line(128),
    runs: runs(MOST_CHARTED),
    axis: z.enum(['step', 'time']).default('step').describe('Steps, or seconds since the first point.'),
    log: z.boolean().default(false).describe('Whether the values have a logarithmic axis.'),
    smoothing: z.number().min(0).max(0.99).default(0).describe('Weight of the moving average; 0: none.'),
  })
  .meta({ id: 'ChartBlock' });
const TableBlock = z
  .strictObject({
    type: z.literal('table'),
    title,
    runs: runs(MOST_LISTED),
    columns: z.array(Column).min(1).max(MOST_COLUMNS),
  })
  .meta({ id: 'TableBlock' });
const SweepBlock = z
  .strictObject({
    type: z.literal('sweep'),
    sweep: z.uuid('expected the id of a sweep'),
    figure: z.enum(Object.keys(SWEEP_FIGURES) as [SweepFigure, ...SweepFigure[]]),
  })
  .meta({ id: 'SweepBlock' });
const MapBlock = z
  .strictObject({
    type: z.literal('map'),
    title,
    run: z.uuid('expected the id of a run of kind embed'),
    map: z.enum(REPORT_MAPS).optional().describe('Left out: the last that the run has made.'),
  })
  .meta({ id: 'MapBlock' });

export const ReportBlock = z
  .discriminatedUnion('type', [TextBlock, ChartBlock, TableBlock, SweepBlock, MapBlock])
  .meta({
    id: 'ReportBlock',
    description:
      'A part of a report: text, a chart of one metric of runs, a table of runs, a figure of a sweep, a latent map. ' +
      'What it names may be deleted later: the report then says so in its place.',
  });
export type ReportBlock = z.output<typeof ReportBlock>;

const written = {
  title: line(200),
  blocks: z
    .array(ReportBlock)
    .max(MOST_BLOCKS)
    .refine(
      (blocks) =>
        blocks.reduce((sum, block) => sum + (block.type === 'text' ? block.markdown.length : 0), 0) <= LONGEST_TEXTS,
      `expected at most ${LONGEST_TEXTS.toLocaleString('en')} characters of text in all`,
    )
    .describe('In the order of the page.'),
};
export const WriteReport = z.strictObject(written).meta({ id: 'WriteReport' });
export type WriteReport = z.output<typeof WriteReport>;

export const ReplaceReport = z
  .strictObject({
    ...written,
    version: z
      .int()
      .min(1)
      .max(2 ** 31 - 1)
      .describe('Of the report that was edited: where somebody has saved since, nothing is changed (409).'),
  })
  .meta({ id: 'ReplaceReport' });
export type ReplaceReport = z.output<typeof ReplaceReport>;

export const ListedReport = z
  .object({
    id: z.uuid(),
    title: z.string(),
    version: z.int().describe('One more with each time that it is saved.'),
    createdAt: dateTime,
    updatedAt: dateTime,
  })
  .meta({ id: 'ListedReport', description: 'A report without what is in it.' });
export type ListedReport = z.output<typeof ListedReport>;

export const Report = ListedReport.extend({ blocks: z.array(ReportBlock) }).meta({
  id: 'Report',
  description: 'A page of text, charts, tables, figures of sweeps and maps, in order.',
});
export type Report = z.output<typeof Report>;
