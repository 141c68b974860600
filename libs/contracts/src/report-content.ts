/**
 * What the blocks of a report show, read from wherever it is kept: by the dashboard through the API, by the API from
 * its own stores for the file that opens offline.
 */
import { z } from 'zod';
import { duration, shortNumber } from './progress.js';
import { runLabel } from './references-api.js';
import { SWEEP_FIGURES, type ReportBlock, type SweepFigure } from './reports-api.js';
import { isTerminal } from './run-status.js';
import type { MetricSeries, Run } from './runs-api.js';
import { fieldText } from './spec-diff.js';
import { goalOfMetric, metricOf } from './sweep-metrics.js';
import type { SweepTable } from './sweep-results.js';
import type { Sweep } from './sweeps-api.js';

type Points = MetricSeries['points'];

export interface ReportSource {
  run(id: string): Promise<Run>;
  /** At most `CHART_POINTS` points. */
  curve(runId: string, metric: string): Promise<Points>;
  sweep(id: string): Promise<Pick<Sweep, 'name' | 'status' | 'spec'>>;
  results(id: string): Promise<SweepTable>;
  /** What the file `maps.json` of a run holds; undefined where it has none. */
  maps(run: Run): Promise<unknown>;
  /** What an error says of something that is not there, or can't be told; undefined of any other. */
  absence(error: unknown): string | undefined;
}

/** Points of a curve in a report. */
export const CHART_POINTS = 500;
/** Points of a map in a report: it is a picture and not the page of the map. */
const MOST_MAPPED = 5000;

interface Named {
  id: string;
  label: string;
}
interface Common {
  /** What is not there, a sentence each. */
  absent: string[];
  /** Whether it can still change. */
  live: boolean;
}
export interface ChartContent extends Common {
  type: 'chart';
  runs: (Named & { points: Points })[];
}
export interface TableContent extends Common {
  type: 'table';
  rows: (Named & { cells: string[] })[];
}
export interface SweepContent extends Common {
  type: 'sweep';
  /** Undefined where it is not there. `table` has what the figure shows, and nothing else. */
  sweep?: {
    id: string;
    name: string;
    /** What it is ranked by, and which way that is better. */
    ranking: { name: string; goal: 'maximize' | 'minimize' };
    parameters: Sweep['spec']['parameters'];
    table: SweepTable;
  };
}
export interface MapContent extends Common {
  type: 'map';
  /** Undefined where it is not there. Columns of the points that are drawn, of `samples` in all. */
  map?: Named & {
    name: string;
    samples: number;
    split: string;
    classes: string[];
    labels: number[] | null;
    x: number[];
    y: number[];
  };
}
export type BlockContent = ({ type: 'text' } & Common) | ChartContent | TableContent | SweepContent | MapContent;

type Of<Type extends ReportBlock['type']> = Extract<ReportBlock, { type: Type }>;

/** What a block shows. Of what is not there it says so; any other error is thrown. */
export async function blockContent(source: ReportSource, block: ReportBlock): Promise<BlockContent> {
  switch (block.type) {
    case 'text':
      return { type: 'text', absent: [], live: false };
    case 'chart':
      return chartContent(source, block);
    case 'table':
      return tableContent(source, block);
    case 'sweep':
      return sweepContent(source, block);
    case 'map':
      return mapContent(source, block);
  }
}

/** What is there; what is not is added to `absent`, as a sentence. */
async function there<T>(
  source: ReportSource,
  content: Common,
  what: string,
  read: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const absence = source.absence(error);
    if (absence === undefined) throw error;
    content.absent.push(`${what} is not shown: ${absence}`);
    return undefined;
  }
}

const runThere = async (source: ReportSource, content: Common, id: string): Promise<Run | undefined> => {
  const run = await there(source, content, `Run ${id}`, () => source.run(id));
  if (run && !isTerminal(run.status)) content.live = true;
  return run;
};

async function chartContent(source: ReportSource, { runs, metric }: Of<'chart'>): Promise<ChartContent> {
  const content: ChartContent = { type: 'chart', runs: [], absent: [], live: false };
  for (const id of runs) {
    const run = await runThere(source, content, id);
    const points = run && (await there(source, content, `Run ${id}`, () => source.curve(id, metric)));
    if (!run || !points) continue;
    if (points.length > 0) content.runs.push({ id, label: runLabel(run), points });
    else content.absent.push(`${runLabel(run)} has no curve of ${metric}${isTerminal(run.status) ? '' : ' yet'}.`);
  }
  return content;
}

async function tableContent(source: ReportSource, { runs, columns }: Of<'table'>): Promise<TableContent> {
  const content: TableContent = { type: 'table', rows: [], absent: [], live: false };
  for (const id of runs) {
    const run = await runThere(source, content, id);
    if (run) content.rows.push({ id, label: runLabel(run), cells: columns.map((column) => cellText(run, column)) });
  }
  return content;
}

/** To the minute, in UTC: the same wherever the report is read. */
const timeText = (at: string | null): string => (at === null ? '' : `${at.slice(0, 16).replace('T', ' ')} UTC`);

const CELLS: Record<string, (run: Run) => string> = {
  status: ({ status }) => status.replaceAll('_', ' '),
  kind: ({ kind }) => kind,
  project: ({ project }) => project,
  dataset: ({ spec }) => ('dataset' in spec ? spec.dataset : ''),
  tags: ({ tags }) => tags.join(', '),
  created: ({ createdAt }) => timeText(createdAt),
  finished: ({ finishedAt }) => timeText(finishedAt),
  duration: ({ startedAt, finishedAt }) =>
    startedAt && finishedAt ? duration((Date.parse(finishedAt) - Date.parse(startedAt)) / 1000) : '',
};

function cellText(run: Run, column: string): string {
  const [kind, ...rest] = column.split(':');
  const key = rest.join(':');
  if (kind === 'spec') return fieldText(run.spec, key) ?? '';
  if (kind !== 'metric') return CELLS[column]!(run);
  const value = Object.hasOwn(run.metrics, key) ? run.metrics[key] : undefined;
  return value === undefined ? '' : shortNumber(value);
}

/** Which fields of a sweep's results a figure is drawn from. */
const DRAWN_FROM: Record<SweepFigure, (keyof SweepTable)[]> = {
  composition: ['composition'],
  'label-efficiency': ['rows'],
  effects: ['effects'],
  importance: ['importance'],
  results: ['rows'],
  coordinates: ['coordinates'],
};

/** The table with what one figure shows. */
function tableFor(figure: SweepFigure, table: SweepTable): SweepTable {
  const { sweepId, complete, measure } = table;
  const nothing: SweepTable = {
    sweepId,
    complete,
    measure,
    rows: [],
    composition: null,
    effects: [],
    importance: [],
    best: null,
    coordinates: { axes: [], lines: [] },
    labels: [],
  };
  return { ...nothing, ...Object.fromEntries(DRAWN_FROM[figure].map((field) => [field, table[field]])) };
}

const hasResults: Record<SweepFigure, (table: SweepTable) => boolean> = {
  composition: ({ composition }) => composition?.cells.some((row) => row.some((cell) => cell !== null)) ?? false,
  'label-efficiency': ({ rows }) => rows.some(({ accuracy }) => Object.keys(accuracy).length > 0),
  effects: ({ effects }) => effects.length > 0,
  importance: ({ importance }) => importance.length > 0,
  results: ({ rows }) => rows.length > 0,
  coordinates: ({ coordinates: { axes, lines } }) =>
    axes.length > 0 && lines.filter(({ value }) => value !== null).length > 1,
};

async function sweepContent(source: ReportSource, { sweep: id, figure }: Of<'sweep'>): Promise<SweepContent> {
  const content: SweepContent = { type: 'sweep', absent: [], live: false };
  const sweep = await there(source, content, `Sweep ${id}`, () => source.sweep(id));
  const table = sweep && (await there(source, content, `Sweep ${id}`, () => source.results(id)));
  if (!sweep || !table) return content;
  content.live = sweep.status === 'running' || sweep.status === 'paused';
  if (!hasResults[figure](table))
    content.absent.push(`Sweep ${sweep.name} has nothing for “${SWEEP_FIGURES[figure]}”${content.live ? ' yet' : ''}.`);
  else {
    const { parameters } = sweep.spec;
    const metric = metricOf(sweep.spec);
    content.sweep = {
      id,
      name: sweep.name,
      ranking: { name: metric.name, goal: goalOfMetric(metric) ?? 'maximize' },
      parameters,
      table: tableFor(figure, table),
    };
  }
  return content;
}

const coordinate = z.array(z.number());
/** What of `maps.json` a report shows. A file of that name may be anybody's. */
const Maps = z.object({
  split: z.string(),
  classes: z.array(z.string()),
  labels: z.array(z.int().min(0)).nullable(),
  maps: z.record(z.string(), z.object({ x: coordinate, y: coordinate })),
});

async function mapContent(source: ReportSource, { run: id, map: asked }: Of<'map'>): Promise<MapContent> {
  const content: MapContent = { type: 'map', absent: [], live: false };
  const run = await runThere(source, content, id);
  const file = run && (await there(source, content, `Run ${id}`, () => source.maps(run)));
  if (!run) return content;
  const { data } = Maps.safeParse(file);
  const name = asked ?? Object.keys(data?.maps ?? {}).at(-1);
  const found = name !== undefined && Object.hasOwn(data?.maps ?? {}, name) ? data!.maps[name] : undefined;
  if (!data || !found || name === undefined)
    content.absent.push(
      `${runLabel(run)} has no map${asked ? ` by ${asked}` : ''}${isTerminal(run.status) ? '' : ' yet'}.`,
    );
  else {
    const samples = Math.min(found.x.length, found.y.length);
    const every = Math.max(1, Math.ceil(samples / MOST_MAPPED));
    const drawn = Array.from({ length: Math.ceil(samples / every) }, (_, i) => i * every);
    const { split, classes, labels } = data;
    content.map = {
      id,
      label: runLabel(run),
      name,
      samples,
      split,
      classes,
      labels: labels && drawn.map((i) => labels[i] ?? -1),
      x: drawn.map((i) => rounded(found.x[i]!)),
      y: drawn.map((i) => rounded(found.y[i]!)),
    };
  }
  return content;
}

/** Five digits: no eye sees more of a map. */
const rounded = (value: number): number => Number(value.toPrecision(5));
