import {
  isShare,
  isUsage,
  metricWord,
  shortNumber,
  USAGE_METRICS,
  type DiffRow,
  type Estimate,
  type MetricSeries,
  type Run,
  type RunDetail,
  type SweepTable,
} from '#libs/contracts';
import { styleText } from 'node:util';
import type { MetricVerdict, Verdict } from './reproduce.js';

type Style = Parameters<typeof styleText>[0];
export interface Output {
  isTTY?: boolean;
  columns?: number;
  rows?: number;
  write(text: string): unknown;
  on?(event: 'resize', listener: () => void): unknown;
  off?(event: 'resize', listener: () => void): unknown;
}

/** Text in a style where the output is a terminal that wants colours, else as it is. */
export const paint = (style: Style, text: string, output: Output): string =>
  output.isTTY && colourWanted ? styleText(style, text, { validateStream: false }) : text;
let colourWanted = true;
/** Follows https://no-color.org. */
export const setColour = (wanted: boolean): void => {
  colourWanted = wanted;
};

const STATUS_STYLE: Partial<Record<Run['status'], Style>> = {
  succeeded: 'green',
  running: 'cyan',
  failed: 'red',
  timed_out: 'red',
  upstream_failed: 'red',
  cancelled: 'yellow',
  cancelling: 'yellow',
  pausing: 'yellow',
  paused: 'yellow',
  retrying: 'yellow',
  pending: 'dim',
  queued: 'dim',
};
export const statusText = (status: Run['status'], output: Output): string =>
  paint(STATUS_STYLE[status] ?? 'bold', status, output);
const bold = (text: string, output: Output): string => paint('bold', text, output);

// eslint-disable-next-line no-control-regex -- the escape character is what is looked for
const ESCAPES = /\u001b\[[0-9;]*m/g;
/** The same pattern with a group, so that `split` keeps the escape codes. */
const STYLED = new RegExp(`(${ESCAPES.source})`);
export const width = (text: string): number => text.replace(ESCAPES, '').length;

/** Columns as wide as their widest cell; numbers on the right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[], output: Output): string {
  const widths = header.map((title, i) => Math.max(width(title), ...rows.map((row) => width(row[i] ?? ''))));
  const numeric = header.map(
    (_title, i) =>
      rows.length > 0 &&
      rows.every((row) => /^[-+]?[\d.,]*( ?%)?( ?± ?[\d.]+)?$|^–$/.test((row[i] ?? '').replace(ESCAPES, ''))),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => {
        const space = ' '.repeat(widths[i]! - width(cell));
        return numeric[i] ? space + cell : cell + space;
      })
      .join('  ')
      .trimEnd();
  return [bold(line(header), output), ...rows.map(line)].map((text) => `${text}\n`).join('');
}

export const MISSING = '–';
const percent = (fraction: number): string => `${Number((fraction * 100).toPrecision(3))} %`;

/** Of a metric that is a share in % without the sign, of any other as it is. */
function estimated(estimate: Estimate | null | undefined, metric: string, sign = false): string {
  if (!estimate) return MISSING;
  const number = (value: number) => (isShare(metric) ? (value * 100).toFixed(1) : shortNumber(value));
  const { mean, ci95 } = estimate;
  return `${sign && mean >= 0 ? '+' : ''}${number(mean)}${ci95 === null ? '' : ` ± ${number(ci95)}`}`;
}

/** What `±` is, where one was written. */
const intervalText = (written: string): string =>
  written.includes('±') ? '± is half of the 95 % interval over seeds\n' : '';

/** A sweep's result: accuracies in %, gains in percentage points over the from-scratch control on the same labels. */
function sweepTableText({ rows, measure }: SweepTable, output: Output): string {
  const fractionsOf = (field: 'accuracy' | 'scratch' | 'gain') =>
    [...new Set(rows.flatMap((row) => Object.keys(row[field])))].sort((a, b) => Number(a) - Number(b));
  const columns = (['accuracy', 'scratch', 'gain'] as const).flatMap((field) =>
    fractionsOf(field).map((fraction) => ({ field, fraction })),
  );
  const probes = (
    [
      ['probe', 'probe'],
      ['randomProbe', "random encoder's"],
    ] as const
  ).filter(([field]) => rows.some((row) => row[field]));
  const header = [
    'combination',
    'kNN',
    ...probes.map(([, title]) => title),
    ...columns.map(({ field, fraction }) => `${field} ${percent(Number(fraction))}`),
  ];
  const text = table(
    header,
    rows.map((row) => [
      row.combo,
      estimated(row.knn, 'eval/knn'),
      ...probes.map(([field]) => estimated(row[field], 'eval/probe_accuracy')),
      ...columns.map(({ field, fraction }) => estimated(row[field][fraction], measure, field === 'gain')),
    ]),
    output,
  );
  return text + (rows.length > 0 ? `shares in %\n${intervalText(text)}` : '');
}

/** How many other trials came to the same as the best, at its label fraction. */
function equalToBest({ best, coordinates: { axes, lines } }: SweepTable): number {
  const fraction = axes.findIndex((axis) => axis.endsWith('.labelFraction'));
  const fractionOf = (trial: number | undefined) =>
    fraction < 0 ? undefined : lines.find((line) => line.trial === trial)?.values[fraction];
  return lines.filter(
    ({ trial, value }) =>
      trial !== best?.trial && value === best?.value && fractionOf(trial) === fractionOf(best?.trial),
  ).length;
}

/** Which run is the best, and what can be done with it. */
function bestText(results: SweepTable): string {
  const { best } = results;
  if (!best) return '';
  const { trial, value, runId, reproduce } = best;
  const equal = equalToBest(results);
  const others = equal === 0 ? '' : ` (the first of ${equal + 1} that came to the same)`;
  return (
    `\nbest: trial ${trial} with ${value}${others}, run ${runId}\n` +
    `\`loom run ${runId}\` shows it, \`${reproduce}\` trains it anew\n`
  );
}

/** What each augmentation adds to the others, in percentage points, and which parameters matter. */
function insightsText({ effects, importance, measure }: SweepTable, output: Output): string {
  const effect = effects.length
    ? `\nwhat each adds to all others (${measure})\n${table(
        ['augmentation', 'effect'],
        effects.map(({ name, effect: each }) => [name, estimated(each, measure, true)]),
        output,
      )}`
    : '';
  const important = importance.filter(({ importance: share }) => share >= 0.01);
  return (
    effect +
    (important.length
      ? `\nwhat matters (in % of the variance of ${measure})\n${table(
          ['parameter', 'importance'],
          important.map(({ parameter, importance: share }) => [parameter, `${(100 * share).toFixed(0)} %`]),
          output,
        )}`
      : '')
  );
}

/** What a sweep found: the table, and the composition matrix where augmentations were tried in pairs. */
export const resultsText = (results: SweepTable, output: Output): string =>
  sweepTableText(results, output) +
  bestText(results) +
  insightsText(results, output) +
  (results.composition ? `\n${compositionText(results.composition, results.measure, output)}` : '');

/** Steps of the 256 terminal colours from dark blue over green to yellow. */
const HEAT = [17, 18, 24, 30, 36, 71, 107, 143, 179, 221] as const;

/**
 * The composition matrix as a heat map: colours where the output is a terminal that wants them, numbers everywhere.
 * `judgedBy`: what the sweep is judged by, where something was finetuned.
 */
function compositionText(
  { names, measure, branches, cells }: NonNullable<SweepTable['composition']>,
  judgedBy: string,
  output: Output,
): string {
  const metric = measure === 'kNN' ? 'eval/knn' : judgedBy;
  const values = cells.flat().flatMap((cell) => (cell ? [cell.mean] : []));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const widest = Math.max(...names.map((name) => name.length), 5);
  const cell = (estimate: Estimate | null) => {
    const text = ` ${estimated(estimate && { ...estimate, ci95: null }, metric).padStart(widest)} `;
    if (!estimate || !output.isTTY || !colourWanted) return text;
    const place = Math.round(((estimate.mean - low) / (high - low || 1)) * (HEAT.length - 1));
    return `\u001b[48;5;${HEAT[place]}m\u001b[38;5;${place < 5 ? 255 : 16}m${text}\u001b[0m`;
  };
  const labels = percent(Number(measure.split(' ')[1]));
  const what = measure === 'kNN' ? 'kNN accuracy' : `${metricWord(metric)} on ${labels} of the labels`;
  const title = `${what}${isShare(metric) ? ', in %' : ''}`;
  const where = branches === 'one' ? ', on one of the two views' : '';
  const head = bold(`${title}: each augmentation with each, alone on the diagonal${where}`, output);
  const columns = names.map((name) => ` ${name.padStart(widest)} `).join('');
  const rows = cells.map((row, i) => `${names[i]!.padEnd(widest)} ${row.map(cell).join('')}\n`).join('');
  return `${head}\n${' '.repeat(widest)} ${columns}\n${rows}`;
}

export function age(iso: string | null, now: number = Date.now()): string {
  if (iso === null) return MISSING;
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

export function progressText({ step, totalSteps }: Pick<Run, 'step' | 'totalSteps'>): string {
  if (totalSteps) return `${step}/${totalSteps}`;
  return step ? String(step) : MISSING;
}

const WAITS = {
  slot: 'a slot',
  max_running: "its project's max_running",
  gpu_seconds: 'its project has used its gpu_seconds',
  placement: 'a worker that fits',
  backoff: 'its repeat',
} as const;

function soonText(seconds: number): string {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

/** What a run waits for, behind how many, and until when. */
export function waitText(
  { waitsFor, jobsAhead, predictedStartAt }: Pick<Run, 'waitsFor' | 'jobsAhead' | 'predictedStartAt'>,
  now: number = Date.now(),
): string {
  if (waitsFor === null) return '';
  const when =
    predictedStartAt === null ? '' : `, in about ${soonText(Math.max(0, Date.parse(predictedStartAt) - now) / 1000)}`;
  return `${WAITS[waitsFor]}${jobsAhead ? `, ${jobsAhead} ahead` : ''}${when}`;
}

const LEVELS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;

/**
 * A curve in at most `size` characters: means of equal numbers of neighbours, from the lowest to the highest value or
 * between the bounds that are given, so that curves can be compared. What is not finite is left out.
 */
export function sparkline(values: readonly number[], size: number, bounds?: readonly [number, number]): string {
  const finite = values.filter((value) => Number.isFinite(value));
  const count = Math.min(size, finite.length);
  const means = Array.from({ length: count }, (_, i) => {
    const part = finite.slice(Math.floor((i * finite.length) / count), Math.floor(((i + 1) * finite.length) / count));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [low, high] = bounds ?? [Math.min(...means), Math.max(...means)];
  return means
    .map((mean) => LEVELS[high > low ? Math.min(7, Math.max(0, Math.floor(((mean - low) / (high - low)) * 8))) : 3])
    .join('');
}

/** The curves of a run, each with where it begins, where it ends and how far it goes; empty where there are none. */
export function curvesText(series: readonly MetricSeries[], output: Output): string {
  const rows = series
    .filter(({ key, points }) => points.length > 1 && !isUsage(key))
    .map(({ key, points }) => {
      const values = points.map(({ value }) => value);
      return [
        key,
        sparkline(values, 32),
        shortNumber(values[0]!),
        shortNumber(values.at(-1)!),
        shortNumber(Math.min(...values)),
        shortNumber(Math.max(...values)),
      ];
    });
  return rows.length ? table(['curve', '', 'first', 'last', 'lowest', 'highest'], rows, output) : '';
}

/** What a run used of its machine; empty where nobody has seen it. */
export function usageText(series: readonly MetricSeries[], output: Output): string {
  const rows = Object.entries(USAGE_METRICS).flatMap(([key, words]) => {
    const values = series.find((each) => each.key === key)?.points.map(({ value }) => value) ?? [];
    return values.length > 0
      ? [[words, sparkline(values, 32), shortNumber(values.at(-1)!), shortNumber(Math.max(...values))]]
      : [];
  });
  return rows.length ? table(['machine', '', 'last', 'highest'], rows, output) : '';
}

/** Runs side by side: their last metrics, their curves on one scale, and what tells their specs apart. */
export interface Comparison {
  runs: RunDetail[];
  /** The last value of each run by metric; null where it has none. */
  metrics: Record<string, (number | null)[]>;
  /** The points of each run by metric; null where it has none. */
  curves: Record<string, (MetricSeries['points'] | null)[]>;
  spec: DiffRow[];
}

/** @param every also fields of the specs that are equal */
export function comparisonText({ runs, metrics, curves, spec }: Comparison, output: Output, every: boolean): string {
  const titles = runs.map(({ name, kind }, i) => `${i + 1} ${name ?? kind}`);
  const two = runs.length === 2;
  const numbers = Object.entries(metrics).map(([key, values]) => {
    const [a, b] = values;
    return [
      key,
      ...values.map((value) => (value === null ? MISSING : shortNumber(value))),
      ...(two
        ? [typeof a === 'number' && typeof b === 'number' ? `${b >= a ? '+' : ''}${shortNumber(b - a)}` : MISSING]
        : []),
    ];
  });
  const drawn = Object.entries(curves).map(([key, each]) => {
    const values = each.map((points) => points?.map(({ value }) => value) ?? []);
    const all = values.flat();
    const bounds = [Math.min(...all), Math.max(...all)] as const;
    return [key, ...values.map((some) => (some.length ? sparkline(some, 24, bounds) : MISSING))];
  });
  const fields = spec
    .filter(({ differs }) => every || differs)
    .map(({ path, values }) => [path, ...values.map((value) => value ?? MISSING)]);
  return [
    table(
      ['', 'id', 'kind', 'name', 'status', 'steps'],
      runs.map((run, i) => [
        String(i + 1),
        run.id,
        run.kind,
        run.name ?? MISSING,
        statusText(run.status, output),
        progressText(run),
      ]),
      output,
    ),
    numbers.length ? table(['metric', ...titles, ...(two ? ['difference'] : [])], numbers, output) : 'no metrics yet\n',
    ...(drawn.length ? [table(['curve', ...titles], drawn, output)] : []),
    fields.length ? table(['spec', ...titles], fields, output) : 'their specs are equal\n',
  ].join('\n');
}

/** What a reproduction came to, run by run, parents first. */
export function reproductionText(verdicts: readonly Verdict[], tolerance: number, output: Output): string {
  const missed = verdicts.filter(({ within }) => !within).length;
  const all = `${verdicts.length} ${verdicts.length === 1 ? 'run' : 'runs'}`;
  const sum = missed ? `${missed} of ${all} not reproduced` : 'reproduced';
  return `${verdicts.map((verdict) => verdictText(verdict, output)).join('\n')}\n${sum} within ${tolerance}\n`;
}

function verdictText(
  { kind, original, again, status, metrics, dataset, model, within }: Verdict,
  output: Output,
): string {
  const number = (value: number | null) => (value === null ? MISSING : shortNumber(value));
  const outcome =
    status === 'succeeded'
      ? paint(within ? 'green' : 'red', within ? 'reproduced' : 'not reproduced', output)
      : statusText(status, output);
  const rows = metrics.map((metric) => [
    metric.key,
    number(metric.original),
    number(metric.again),
    differenceText(metric, output),
  ]);
  return [
    `${bold(kind, output)} ${original} → ${again}: ${outcome}\n`,
    rows.length ? table(['metric', 'original', 'again', ''], rows, output) : '',
    dataset ? `dataset ${dataset.original ?? MISSING} → ${dataset.again ?? MISSING}\n` : '',
    model ? `model ${model.original ?? MISSING} → ${model.again ?? MISSING}\n` : '',
  ].join('');
}

function differenceText({ difference, within }: MetricVerdict, output: Output): string {
  if (difference === 0) return paint('green', 'equal', output);
  if (difference === null) return paint('red', 'only one has it', output);
  const text = `differs by ${shortNumber(Math.abs(difference))}`;
  return within ? paint('green', text, output) : paint('red', `${text}, too much`, output);
}

/** A line that wraps would break drawing in place. */
export function clip(text: string, columns: number): string {
  if (width(text) < columns) return text;
  let shown = 0;
  return text
    .split(STYLED)
    .map((part, i) => {
      if (i % 2) return part;
      const kept = part.slice(0, Math.max(0, columns - 2 - shown));
      shown += kept.length;
      return kept;
    })
    .join('');
}
