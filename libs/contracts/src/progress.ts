/** How fast runs go and when they will be done, and how such numbers are written. Pure. */
import type { Run } from './runs-api.js';

/** Looked at this far back: long enough to even out evaluations between epochs, short enough to follow a change. */
const WINDOW_MS = 60_000;
const SHORTEST_MS = 2000;

/** Steps of runs as they were seen, newest last. */
export class RateMeter {
  private readonly seen = new Map<string, { at: number; step: number }[]>();

  /**
   * Notes where runs are. The clock of a run starts with its steps; one that waits or went back (to a checkpoint, as
   * another attempt) begins anew.
   */
  note(runs: readonly Pick<Run, 'id' | 'step' | 'status'>[], now: number): void {
    for (const { id, step, status } of runs) {
      if (status !== 'running') {
        this.seen.delete(id);
        continue;
      }
      const marks = this.seen.get(id) ?? [];
      const last = marks.at(-1);
      if (last && (step < last.step || (marks.length === 1 && step === last.step))) marks.length = 0;
      marks.push({ at: now, step });
      while (marks.length > 2 && now - marks[1]!.at > WINDOW_MS) marks.shift();
      this.seen.set(id, marks);
    }
  }

  /**
   * Steps per second: of the last minute where we have watched long enough, else since the attempt began.
   * Undefined while nothing is known.
   */
  rate(
    run: Pick<Run, 'id' | 'step' | 'startedAt' | 'attempt'>,
    now: number,
    attempt?: { startedAt: string; resumedFromStep: number },
  ): number | undefined {
    const marks = this.seen.get(run.id) ?? [];
    const [first, last] = [marks[0], marks.at(-1)];
    if (first && last && last.at - first.at >= SHORTEST_MS && last.step > first.step)
      return (last.step - first.step) / ((last.at - first.at) / 1000);
    const since = attempt?.startedAt ?? (run.attempt <= 1 ? run.startedAt : null);
    const done = run.step - (attempt?.resumedFromStep ?? 0);
    const elapsed = since === null ? 0 : (now - Date.parse(since)) / 1000;
    return done > 0 && elapsed > 0 ? done / elapsed : undefined;
  }

  /** Seconds until the last step; undefined while nothing is known or where the number of steps is not. */
  remaining(
    run: Pick<Run, 'id' | 'step' | 'totalSteps' | 'startedAt' | 'attempt'>,
    now: number,
    attempt?: { startedAt: string; resumedFromStep: number },
  ): number | undefined {
    const rate = this.rate(run, now, attempt);
    return rate === undefined || run.totalSteps === null ? undefined : Math.max(0, run.totalSteps - run.step) / rate;
  }
}

/** `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: two units at most. */
export function duration(seconds: number): string {
  const units: [string, number][] = [
    ['d', 86_400],
    ['h', 3600],
    ['min', 60],
    ['s', 1],
  ];
  const whole = Math.max(0, Math.round(seconds));
  const at = units.findIndex(([, size]) => whole >= size);
  if (at < 0) return '0 s';
  const [unit, size] = units[at]!;
  const next = units[at + 1];
  const rest = next ? Math.floor((whole % size) / next[1]) : 0;
  return `${Math.floor(whole / size)} ${unit}${next && rest > 0 ? ` ${rest} ${next[0]}` : ''}`;
}

/** `just now`, `12 s ago`, `3 h ago`: one unit. */
export function ago(iso: string, now: number): string {
  const seconds = (now - Date.parse(iso)) / 1000;
  return seconds < 2 ? 'just now' : `${duration(seconds).split(' ').slice(0, 2).join(' ')} ago`;
}

export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return `${power ? (count / 1000 ** power).toFixed(1) : count} ${units[power]}`;
}

/** Four digits that tell: `0.9312`, `1,234`, `3.2e-5`. */
export function shortNumber(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size >= 1e9) return value.toExponential(2).replace('+', '');
  if (size >= 1000) return Math.round(value).toLocaleString('en');
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(4)));
}
