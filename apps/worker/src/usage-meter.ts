/** What a trainer uses of its machine, measured from outside of it: by procfs, and by what nvidia-smi tells. */
import type { Gpu, MetricPoint } from '#libs/contracts';
import { statFields } from '#libs/platform';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { GpuUsage } from './gpu-usage.js';

/** The second reading comes early: runs that take no longer than that have hardly used anything. */
const FIRST_S = 0.5;
const EVERY_S = 10;
/**
 * A run that is so many intervals old is read less often, in proportion to its age: 360 points in its first hour, some
 * 1,800 in a day and 2,800 in a week, whatever it trains.
 */
const DENSE = 500;
/** How long the end of an attempt waits for a reading. */
const LAST_MS = 1000;
/** Places in /proc/PID/stat (proc(5), fields 14 to 17), counted from the field after the name. */
const TIMES = [11, 12, 13, 14];
/** A unit of these times in seconds, the same on all Linux machines that are left (USER_HZ). */
const TICK_S = 0.01;

const gpus = new GpuUsage();

/** Where procfs is, what the time is in seconds, and who knows about GPUs. */
export interface UsageSources {
  proc: string;
  now: () => number;
  gpus: Pick<GpuUsage, 'of'>;
}
const SYSTEM: UsageSources = { proc: '/proc', now: () => performance.now() / 1000, gpus };

interface Measured {
  pid: number;
  gpu?: Gpu | undefined;
}

/** Reads what one trainer uses, from when it begins to when it has said its last word. */
export class UsageMeter {
  private readonly made: number;
  private state: 'waits' | 'reads' | 'ended' = 'waits';
  private dueAt = 0;
  /** When it was read last. */
  private readAt = Number.NEGATIVE_INFINITY;
  /** Processor time, in seconds, at an earlier moment: what is between two readings counts. */
  private before: { at: number; used: number } | undefined;
  private reading: Promise<void> = Promise.resolve();

  /**
   * @param ageS how long ago, in seconds, the first attempt of the run began
   * @param tell is given the points of each reading
   */
  constructor(
    private readonly trainer: Measured,
    private readonly ageS: number,
    private readonly tell: (points: MetricPoint[]) => void,
    private readonly sources: UsageSources = SYSTEM,
  ) {
    this.made = sources.now();
  }

  /** The trainer begins: what processor time it has used until now was for being there. */
  begin(): void {
    this.state = 'reads';
    this.dueAt = this.sources.now() + FIRST_S;
    this.read();
  }

  /** Called often: reads where it is time to. */
  watch(): void {
    const now = this.sources.now();
    if (this.state !== 'reads' || now < this.dueAt) return;
    this.dueAt = now + Math.max(EVERY_S, this.age(now) / DENSE);
    this.read();
  }

  /**
   * Nothing is read from here on, but for a last time where the trainer may still be there and was not read just now:
   * it leaves when it has said its last word. What takes long is not waited for.
   */
  async end(alive: boolean): Promise<void> {
    if (this.state !== 'reads') return;
    this.state = 'ended';
    if (!alive) return;
    const over = new AbortController();
    const late = delay(LAST_MS, undefined, { signal: over.signal }).catch(() => undefined);
    if (this.sources.now() - this.readAt >= FIRST_S) this.read();
    await Promise.race([this.reading, late]);
    over.abort();
  }

  private age(now: number): number {
    return this.ageS + now - this.made;
  }

  /** Reads when the reading before is done, as of now. */
  private read(): void {
    this.readAt = this.sources.now();
    const step = Math.floor(this.age(this.readAt));
    this.reading = this.reading.then(() => this.tellAt(step));
  }

  private async tellAt(step: number): Promise<void> {
    const [used, memoryMiB, gpu] = await Promise.all([
      this.processorTime(),
      this.memory(),
      this.trainer.gpu ? this.sources.gpus.of(this.trainer.gpu) : {},
    ]);
    const values: Record<string, number | undefined> = {
      'system/cpu_percent': used && this.percentOf(used),
      'system/memory_mib': memoryMiB,
      ...gpu,
    };
    this.tell(Object.entries(values).flatMap(([key, value]) => (value === undefined ? [] : [{ key, step, value }])));
  }

  /** Of one core, since the reading before; undefined where none was before. */
  private percentOf(now: { at: number; used: number }): number | undefined {
    const { before } = this;
    this.before = now;
    if (!before || now.at <= before.at) return undefined;
    return (100 * (now.used - before.used)) / (now.at - before.at);
  }

  /** Of the process and of those of its own that have ended; undefined where the system does not say. */
  private async processorTime(): Promise<{ at: number; used: number } | undefined> {
    const stat = await this.file('stat');
    if (stat === undefined) return undefined;
    const fields = statFields(stat);
    const used = TICK_S * TIMES.reduce((sum, place) => sum + Number(fields[place]), 0);
    return Number.isFinite(used) ? { at: this.sources.now(), used } : undefined;
  }

  /** In MiB; undefined where the system does not say, or the process is gone. */
  private async memory(): Promise<number | undefined> {
    const [, kibibytes] = /^VmRSS:\s+(\d+) kB$/m.exec((await this.file('status')) ?? '') ?? [];
    return kibibytes === undefined ? undefined : Number(kibibytes) / 1024;
  }

  private file(name: 'stat' | 'status'): Promise<string | undefined> {
    return readFile(`${this.sources.proc}/${this.trainer.pid}/${name}`, 'utf8').catch(() => undefined);
  }
}
