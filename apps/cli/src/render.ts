import type { Estimate, Run, SweepTable } from '#libs/contracts';
import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];
export interface Output { isTTY?: boolean; columns?: number; write(text: string): unknown }

/** Text in a style where the output is a terminal that wants colours, else as it is. */
const paint = (style: Style, text: string, output: Output): string => (output.isTTY && colourWanted ? styleText(style, text, { validateStream: false }) : text);
let colourWanted = true;
/** Follows https://no-color.org. */
export const setColour = (wanted: boolean): void => { colourWanted = wanted; };

const STATUS_STYLE: Partial<Record<Run['status'], Style>> = {
  succeeded: 'green', running: 'cyan', failed: 'red', timed_out: 'red', upstream_failed: 'red', cancelled: 'yellow', cancelling: 'yellow', pausing: 'yellow', paused: 'yellow', retrying: 'yellow', pending: 'dim', queued: 'dim',
};
export const statusText = (status: Run['status'], output: Output): string => paint(STATUS_STYLE[status] ?? 'bold', status, output);
export const bold = (text: string, output: Output): string => paint('bold', text, output);

// eslint-disable-next-line no-control-regex -- the escape character is what is looked for
const ESCAPES = /\u001b\[[0-9;]*m/g;
/** The same, kept as parts by `split`. */
const STYLED = new RegExp(`(${ESCAPES.source})`);
const width = (text: string): number => text.replace(ESCAPES, '').length;

/** Columns as wide as their widest cell; numbers on the right. */
export function table(header: readonly string[], rows: readonly (readonly string[])[], output: Output): string {
  const widths = header.map((title, i) => Math.max(width(title), ...rows.map((row) => width(row[i] ?? ''))));
  const numeric = header.map((_title, i) => rows.length > 0 && rows.every((row) => /^[-+]?[\d.,]*( ?%)?( ?± ?[\d.]+)?$|^–$/.test((row[i] ?? '').replace(ESCAPES, ''))));
  const line = (cells: readonly string[]) => cells.map((cell, i) => {
    const space = ' '.repeat(widths[i]! - width(cell));
    return numeric[i] ? space + cell : cell + space;
  }).join('  ').trimEnd();
  return [bold(line(header), output), ...rows.map(line)].map((text) => `${text}\n`).join('');
}

const MISSING = '–';
const percent = (fraction: number): string => `${Number((fraction * 100).toPrecision(3))} %`;

function accuracy(estimate: Estimate | null | undefined, sign = false): string {
  if (!estimate) return MISSING;
  const points = (estimate.mean * 100).toFixed(1);
  return (sign && estimate.mean >= 0 ? `+${points}` : points) + (estimate.ci95 === null ? '' : ` ± ${(estimate.ci95 * 100).toFixed(1)}`);
}

/** A sweep's result: accuracies in %, gains in percentage points over the from-scratch control on the same labels. */
function sweepTableText({ rows }: SweepTable, output: Output): string {
  const fractionsOf = (field: 'accuracy' | 'scratch' | 'gain') => [...new Set(rows.flatMap((row) => Object.keys(row[field])))].sort((a, b) => Number(a) - Number(b));
  const columns = (['accuracy', 'scratch', 'gain'] as const).flatMap((field) => fractionsOf(field).map((fraction) => ({ field, fraction })));
  const probes = ([['probe', 'probe'], ['randomProbe', 'random encoder\'s']] as const).filter(([field]) => rows.some((row) => row[field]));
  const header = ['combination', 'kNN', ...probes.map(([, title]) => title), ...columns.map(({ field, fraction }) => `${field} ${percent(Number(fraction))}`)];
  return table(header, rows.map((row) => [row.combo, accuracy(row.knn), ...probes.map(([field]) => accuracy(row[field])), ...columns.map(({ field, fraction }) => accuracy(row[field][fraction], field === 'gain'))]), output);
}

/** What each augmentation adds to the others, in percentage points, and which parameters matter. */
function insightsText({ effects, importance, measure }: SweepTable, output: Output): string {
  const effect = effects.length ? `\nwhat each adds to all others (${measure})\n${table(['augmentation', 'effect'], effects.map(({ name, effect: each }) => [name, accuracy(each, true)]), output)}` : '';
  const important = importance.filter(({ importance: share }) => share >= 0.01);
  return effect + (important.length ? `\nwhat matters (share of the variance of ${measure})\n${table(['parameter', 'importance'], important.map(({ parameter, importance: share }) => [parameter, share.toFixed(2)]), output)}` : '');
}

/** What a sweep found: the table, and the composition matrix where augmentations were tried in pairs. */
export const resultsText = (results: SweepTable, output: Output): string =>
  sweepTableText(results, output) + insightsText(results, output) + (results.composition ? `\n${compositionText(results.composition, output)}` : '');

/** Steps of the 256 terminal colours from dark blue over green to yellow. */
const HEAT = [17, 18, 24, 30, 36, 71, 107, 143, 179, 221] as const;

/** The composition matrix as a heat map: colours where the output is a terminal that wants them, numbers in % everywhere. */
function compositionText({ names, measure, cells }: NonNullable<SweepTable['composition']>, output: Output): string {
  const values = cells.flat().flatMap((cell) => (cell ? [cell.mean] : []));
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const widest = Math.max(...names.map((name) => name.length), 5);
  const cell = (estimate: Estimate | null) => {
    const text = ` ${(estimate ? (100 * estimate.mean).toFixed(1) : MISSING).padStart(widest)} `;
    if (!estimate || !output.isTTY || !colourWanted) return text;
    const place = Math.round(((estimate.mean - low) / (high - low || 1)) * (HEAT.length - 1));
    return `\u001b[48;5;${HEAT[place]}m\u001b[38;5;${place < 5 ? 255 : 16}m${text}\u001b[0m`;
  };
  const title = measure === 'kNN' ? 'kNN accuracy' : `accuracy on ${percent(Number(measure.split(' ')[1]))} of the labels`;
  return `${bold(`${title}, in %: each augmentation with each, alone on the diagonal`, output)}\n${' '.repeat(widest)} ${names.map((name) => ` ${name.padStart(widest)} `).join('')}\n`
    + cells.map((row, i) => `${names[i]!.padEnd(widest)} ${row.map(cell).join('')}\n`).join('');
}

export function age(iso: string | null, now: number = Date.now()): string {
  if (iso === null) return MISSING;
  const seconds = Math.max(0, (now - Date.parse(iso)) / 1000);
  return seconds < 60 ? `${Math.floor(seconds)} s` : seconds < 3600 ? `${Math.floor(seconds / 60)} min` : seconds < 86_400 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86_400)} d`;
}

export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return `${power ? (count / 1000 ** power).toFixed(1) : count} ${units[power]}`;
}

export const progressText = ({ step, totalSteps }: Pick<Run, 'step' | 'totalSteps'>): string => (totalSteps ? `${step}/${totalSteps}` : step ? String(step) : MISSING);

const WAITS = { slot: 'a slot', max_running: 'its project\'s max_running', gpu_seconds: 'its project has used its gpu_seconds', placement: 'a worker that fits', backoff: 'its repeat' } as const;

/** What a run waits for, behind how many, and until when. */
export function waitText({ waitsFor, jobsAhead, predictedStartAt }: Pick<Run, 'waitsFor' | 'jobsAhead' | 'predictedStartAt'>, now: number = Date.now()): string {
  if (waitsFor === null) return '';
  const seconds = predictedStartAt === null ? null : Math.max(0, Date.parse(predictedStartAt) - now) / 1000;
  const when = seconds === null ? '' : `, in about ${seconds < 90 ? `${Math.ceil(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`}`;
  return `${WAITS[waitsFor]}${jobsAhead ? `, ${jobsAhead} ahead` : ''}${when}`;
}

export function runsText(runs: readonly Run[], output: Output): string {
  return table(['id', 'kind', 'name', 'status', 'steps', 'age'], runs.map((run) => [
    run.id, run.kind, run.name ?? MISSING, statusText(run.status, output) + (run.statusReason ? ` (${run.statusReason})` : '') + (run.waitsFor ? `, ${waitText(run)}` : ''), progressText(run), age(run.createdAt),
  ]), output);
}

/** What is worth a word while a run goes on. */
const SHOWN_METRICS = [['train/loss', 'loss', 3], ['eval/knn', 'kNN', 3], ['eval/accuracy', 'accuracy', 3], ['eval/probe_accuracy', 'probe', 3], ['eval/miou', 'mIoU', 3], ['eval/reconstruction_mse', 'error', 4]] as const;

export function runLine(run: Run, label: string, metrics: ReadonlyMap<string, number>, output: Output): string {
  const numbers = SHOWN_METRICS.flatMap(([key, name, digits]) => (metrics.has(key) ? [`${name} ${metrics.get(key)!.toFixed(digits)}`] : []));
  const total = run.totalSteps ?? 0;
  const bar = run.status === 'running' && total > 0 ? ` ${progressBar(run.step / total, output)} ${progressText(run)}` : '';
  return `${label.padEnd(34)} ${statusText(run.status, output)}${bar}${numbers.length && run.status !== 'pending' && run.status !== 'queued' ? `  ${numbers.join('  ')}` : ''}${run.statusDetail && run.status !== 'succeeded' ? `  ${run.statusDetail}` : ''}`;
}

function progressBar(fraction: number, output: Output): string {
  const full = Math.round(Math.min(1, fraction) * 16);
  return output.isTTY ? `${'█'.repeat(full)}${'░'.repeat(16 - full)}` : `${Math.round(fraction * 100)} %`;
}

/**
 * One line per run. On a terminal the lines are drawn anew in place; elsewhere a line is written when its run changes status
 * or has done another fifth, so that a log stays readable.
 */
export class ProgressBoard {
  private readonly rows = new Map<string, { label: string; run: Run; metrics: Map<string, number>; said: string }>();
  private drawn = 0;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly output: Output) {}

  add(run: Run, label: string): void {
    const known = this.rows.get(run.id);
    if (known) known.run = run;
    else this.rows.set(run.id, { label, run, metrics: new Map(), said: '' });
    this.show(run.id);
  }

  update(run: Run): void {
    const row = this.rows.get(run.id);
    if (!row) return;
    row.run = run;
    this.show(run.id);
  }

  metrics(runId: string, points: readonly { key: string; value: number }[]): void {
    const row = this.rows.get(runId);
    if (!row) return;
    for (const { key, value } of points) row.metrics.set(key, value);
    if (this.output.isTTY) this.show(runId);
  }

  private show(runId: string): void {
    if (this.output.isTTY) {
      this.timer ??= setTimeout(() => { this.timer = undefined; this.draw(); }, 100);
      return;
    }
    const row = this.rows.get(runId)!;
    const fifth = row.run.status === 'running' && row.run.totalSteps ? Math.floor((row.run.step / row.run.totalSteps) * 5) : 0;
    const said = `${row.run.status} ${fifth}`;
    if (said === row.said) return;
    row.said = said;
    if (row.run.status !== 'pending' && row.run.status !== 'queued') this.output.write(`${runLine(row.run, row.label, row.metrics, this.output)}\n`);
  }

  private draw(): void {
    const columns = this.output.columns ?? 100;
    const lines = [...this.rows.values()].map(({ run, label, metrics }) => clip(runLine(run, label, metrics, this.output), columns));
    this.output.write(`${this.drawn ? `\u001b[${this.drawn}A` : ''}${lines.map((line) => `\u001b[2K${line}\n`).join('')}`);
    this.drawn = lines.length;
  }

  /** Leaves the last state on the screen. */
  end(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (this.output.isTTY && this.rows.size) this.draw();
    this.drawn = 0;
    this.rows.clear();
  }
}

/** A line that wraps would break drawing in place. */
function clip(text: string, columns: number): string {
  if (width(text) < columns) return text;
  let shown = 0;
  return text.split(STYLED).map((part, i) => {
    if (i % 2) return part;
    const kept = part.slice(0, Math.max(0, columns - 2 - shown));
    shown += kept.length;
    return kept;
  }).join('');
}
