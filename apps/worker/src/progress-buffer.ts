import type { LogLevel, MetricPoint } from '#libs/contracts';
import type { Progress } from '#libs/platform';
import { MetricBuffer } from './metric-buffer.js';

const LONGEST_LINE = 8192;
/** Log lines that may wait to be written. */
const WAITING_LINES = 1000;
/**
 * Points that may wait to be written. A run that says more than 20,000 in a second is thinned, and so is one while
 * Postgres is away.
 */
const WAITING_POINTS = 5000;

/** What an attempt has said and is not written yet: its step, metrics, log lines and events, of bounded size. */
export class ProgressBuffer {
  private readonly points = new MetricBuffer(WAITING_POINTS);
  private step: Progress['step'];
  private lines: { level: LogLevel; message: string }[] = [];
  private events: { type: string; data: Record<string, unknown> }[] = [];
  private droppedLines = 0;
  private thinned = false;

  reach(step: number, totalSteps: number): void {
    this.step = { step, totalSteps };
  }

  addPoints(points: readonly MetricPoint[]): void {
    this.points.add(points);
  }

  addLine(level: LogLevel, message: string): void {
    if (this.lines.length < WAITING_LINES) this.lines.push({ level, message: message.slice(0, LONGEST_LINE) });
    else this.droppedLines++;
  }

  addEvent(type: string, data: Record<string, unknown>): void {
    this.events.push({ type, data });
  }

  /** Everything that waits, and a line on what was left out; undefined where there is nothing. */
  take(): Progress | undefined {
    const { lines, events, step } = this;
    const { points, stride } = this.points.take();
    if (points.length === 0 && lines.length === 0 && events.length === 0 && !step) return undefined;
    if (this.droppedLines)
      lines.push({
        level: 'warn',
        message: `${this.droppedLines} more lines came than can be written, and were dropped`,
      });
    if (stride > 1 && !this.thinned)
      lines.push({
        level: 'warn',
        message: `metrics came faster than they can be written: every ${stride}th step of some stretches is kept`,
      });
    this.thinned ||= stride > 1;
    this.droppedLines = 0;
    this.lines = [];
    this.events = [];
    this.step = undefined;
    return { step, points, lines, events };
  }
}
