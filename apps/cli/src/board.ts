/** Runs as they go on: a line for each, drawn anew in place on a terminal. */
import { duration, isTerminal, RateMeter, shortNumber, type Run } from '#libs/contracts';
import { clip, paint, progressText, sparkline, statusText, width, type Output } from './render.js';

/** Metrics that a run's line shows: key, how it is called, decimals. */
const SHOWN_METRICS = [
  ['train/loss', 'loss', 3],
  ['eval/knn', 'kNN', 3],
  ['eval/accuracy', 'accuracy', 3],
  ['eval/probe_accuracy', 'probe', 3],
  ['eval/miou', 'mIoU', 3],
  ['eval/reconstruction_mse', 'error', 4],
] as const;
const CURVE = 'train/loss';
const CURVE_WIDTH = 12;
/** A curve of more points is halved to means of two: it is drawn in a dozen characters. */
const MOST_POINTS = 1024;
const [WIDEST_LABEL, NARROWEST_LABEL, WIDEST_BAR, NARROWEST_BAR] = [34, 12, 24, 6];
const REDRAW_MS = 100;
const HIDE_CURSOR = '\u001b[?25l';
const SHOW_CURSOR = '\u001b[?25h';

/** What a line says about a run beside the run itself. */
export interface Progress {
  metrics: ReadonlyMap<string, number>;
  curve?: readonly number[];
  /** Steps a second. */
  rate?: number | undefined;
  /** Seconds until the last step. */
  remaining?: number | undefined;
}

const isWaiting = (status: Run['status']): boolean => status === 'pending' || status === 'queued';

/** A part of a line: where it stands, from the left. */
interface Part {
  place: number;
  text: string;
}
/** Place of the part that says why a run has its status: it is cut rather than left out. */
const DETAIL = 9;

/**
 * A run in one line of at most `columns` characters: what matters less is left out where there is no room, and the bar
 * takes what is left.
 * Elsewhere than on a terminal there is no bar, and room for all.
 */
export function runLine(
  run: Run,
  label: string,
  progress: Progress,
  output: Output,
  labelWidth = WIDEST_LABEL,
): string {
  const total = run.status === 'running' ? (run.totalSteps ?? 0) : 0;
  const hasBar = total > 0 && Boolean(output.isTTY);
  const columns = output.isTTY ? (output.columns ?? 100) : Number.POSITIVE_INFINITY;
  const fixed = [
    label.length > labelWidth ? `${label.slice(0, labelWidth - 1)}…` : label.padEnd(labelWidth),
    statusText(run.status, output),
  ];
  const taken = fixed.reduce((sum, text) => sum + width(text) + 1, 0) + (hasBar ? NARROWEST_BAR + 1 : 0);
  const { shown, room } = fitting(partsOf(run, total, progress, output), columns - 1 - taken);
  const size = Math.max(NARROWEST_BAR, Math.min(WIDEST_BAR, NARROWEST_BAR + room));
  return [
    ...fixed,
    ...(hasBar ? [progressBar(run.step / total, size)] : []),
    ...(shown.length ? [shown.join('  ')] : []),
  ].join(' ');
}

/** What there is to say of a run, in the order in which it is given up, from the last one. */
function partsOf(run: Run, total: number, progress: Progress, output: Output): Part[] {
  const { metrics, curve = [], rate, remaining } = progress;
  const trains = run.status === 'running';
  const parts: Part[] = [];
  if (total > 0) {
    if (!output.isTTY) parts.push({ place: 0, text: `${Math.round((run.step / total) * 100)} %` });
    parts.push({ place: 1, text: progressText(run) });
    if (remaining !== undefined) parts.push({ place: 3, text: `${duration(remaining)} left` });
  }
  if (run.statusDetail && run.status !== 'succeeded') parts.push({ place: DETAIL, text: run.statusDetail });
  if (trains && rate !== undefined) parts.push({ place: 2, text: `${shortNumber(rate)} steps/s` });
  if (isWaiting(run.status)) return parts;
  const numbers = SHOWN_METRICS.flatMap(([key, name, digits]) =>
    metrics.has(key) ? [`${name} ${metrics.get(key)!.toFixed(digits)}`] : [],
  );
  parts.push(...numbers.map((text, i) => ({ place: 5 + i / 10, text })));
  if (trains && output.isTTY && curve.length > 1)
    parts.push({ place: 4, text: paint('dim', sparkline(curve, CURVE_WIDTH), output) });
  return parts;
}

/** The parts for which there is room, in the order of their places, and the columns that they leave. */
function fitting(parts: readonly Part[], room: number): { shown: string[]; room: number } {
  const kept: Part[] = [];
  for (const part of parts) {
    const size = part.place === DETAIL ? 0 : width(part.text) + 2;
    if (part.place !== DETAIL && size > room) continue;
    room -= size;
    kept.push(part);
  }
  return { shown: kept.sort((a, b) => a.place - b.place).map(({ text }) => text), room };
}

function progressBar(fraction: number, size: number): string {
  const full = Math.round(Math.min(1, Math.max(0, fraction)) * size);
  return `${'█'.repeat(full)}${'░'.repeat(size - full)}`;
}

interface Row {
  label: string;
  run: Run;
  metrics: Map<string, number>;
  curve: number[];
  said: string;
}

/**
 * One line per run. On a terminal the lines are drawn anew in place, as many as it has; elsewhere a line is written
 * when its run changes status or has done another fifth, so that a log stays readable.
 */
export class ProgressBoard {
  private readonly rows = new Map<string, Row>();
  private readonly meter = new RateMeter();
  /** What stands on the screen below the line where the cursor was when the board began. */
  private drawn: string[] = [];
  private longest = NARROWEST_LABEL;
  private notice = '';
  private timer: NodeJS.Timeout | undefined;
  private hidden = false;
  private readonly showCursor = () => {
    if (this.hidden) this.output.write(SHOW_CURSOR);
    this.hidden = false;
  };
  private readonly resized = () => this.soon();

  constructor(
    private readonly output: Output,
    private readonly now: () => number = Date.now,
  ) {}

  add(run: Run, label: string): void {
    const known = this.rows.get(run.id);
    this.longest = Math.max(this.longest, label.length);
    if (!known) this.rows.set(run.id, { label, run, metrics: new Map(), curve: [], said: '' });
    this.update(run);
  }

  update(run: Run): void {
    const row = this.rows.get(run.id);
    if (!row) return;
    row.run = run;
    // The last line of a run shows the metrics of its result: the last points may still be on their way.
    for (const [key, value] of Object.entries(run.metrics)) row.metrics.set(key, value);
    this.meter.note([run], this.now());
    this.show(run.id);
  }

  metrics(runId: string, points: readonly { key: string; value: number }[]): void {
    const row = this.rows.get(runId);
    if (!row) return;
    for (const { key, value } of points) {
      row.metrics.set(key, value);
      if (key === CURVE) row.curve.push(value);
    }
    while (row.curve.length > MOST_POINTS)
      row.curve = row.curve.flatMap((value, i) => (i % 2 ? [(value + row.curve[i - 1]!) / 2] : []));
    if (this.output.isTTY) this.show(runId);
  }

  /**
   * Shows a notice that concerns all runs below their lines until it is replaced; elsewhere than on a terminal it is
   * written once. An empty text takes it away.
   */
  note(text: string): void {
    if (text === this.notice) return;
    this.notice = text;
    if (this.output.isTTY) this.soon();
    else if (text) this.output.write(`${text}\n`);
  }

  private show(runId: string): void {
    if (this.output.isTTY) return this.soon();
    const row = this.rows.get(runId)!;
    const fifth =
      row.run.status === 'running' && row.run.totalSteps ? Math.floor((row.run.step / row.run.totalSteps) * 5) : 0;
    const said = `${row.run.status} ${fifth}`;
    if (said === row.said) return;
    row.said = said;
    if (!isWaiting(row.run.status)) this.output.write(`${this.line(row)}\n`);
  }

  private line({ run, label, metrics, curve }: Row): string {
    const share = this.output.isTTY
      ? Math.max(NARROWEST_LABEL, Math.floor((this.output.columns ?? 100) * 0.35))
      : WIDEST_LABEL;
    const [rate, remaining] =
      run.status === 'running' ? [this.meter.rate(run, this.now()), this.meter.remaining(run, this.now())] : [];
    return runLine(
      run,
      label,
      { metrics, curve, rate, remaining },
      this.output,
      Math.min(WIDEST_LABEL, this.longest, share),
    );
  }

  private soon(): void {
    if (this.rows.size === 0) return;
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.draw(this.fitting());
    }, REDRAW_MS);
  }

  /** As many lines as fit the terminal, runs that train first; the others are counted by status in the last line. */
  private fitting(): string[] {
    const most = Math.max(1, (this.output.rows ?? 24) - 3);
    const rows = [...this.rows.values()];
    if (rows.length <= most) return rows.map((row) => this.line(row));
    const rank = ({ run: { status } }: Row) => {
      if (isWaiting(status)) return 1;
      return isTerminal(status) ? 2 : 0;
    };
    const order = rows.toSorted((a, b) => rank(a) - rank(b));
    const counts = [...Map.groupBy(order.slice(most - 1), ({ run }) => run.status)].map(
      ([status, { length }]) => `${length} ${status}`,
    );
    return [
      ...order.slice(0, most - 1).map((row) => this.line(row)),
      paint('dim', `… and ${counts.join(', ')}`, this.output),
    ];
  }

  private draw(lines: readonly string[]): void {
    if (!this.hidden) {
      this.output.on?.('resize', this.resized);
      process.once('exit', this.showCursor);
    }
    const columns = this.output.columns ?? 100;
    const all = [...lines, ...(this.notice ? [paint('yellow', this.notice, this.output)] : [])].map((line) =>
      clip(line, columns),
    );
    // A terminal that was made narrower has wrapped the lines drawn before.
    const height = this.drawn.reduce((sum, line) => sum + Math.max(1, Math.ceil(width(line) / columns)), 0);
    const up = height ? `\r\u001b[${height}A` : '';
    const text = all.map((line) => `\u001b[2K${line}\n`).join('');
    this.output.write(`${this.hidden ? '' : HIDE_CURSOR}${up}${text}\u001b[0J`);
    this.hidden = true;
    this.drawn = all;
  }

  /** Leaves the last state of all runs on the screen, and the cursor as it was. */
  end(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.notice = '';
    if (this.output.isTTY && this.rows.size) this.draw([...this.rows.values()].map((row) => this.line(row)));
    this.output.off?.('resize', this.resized);
    process.off('exit', this.showCursor);
    this.showCursor();
    this.drawn = [];
    this.rows.clear();
  }
}
