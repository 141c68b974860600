import type {
  LogLevel,
  RunStatus,
  Split,
  SplitFiles,
  StatusReason,
  StopReason,
  TrainerInputs,
  TrainerMessage,
} from '#libs/contracts';
import {
  CorruptArtifactError,
  LeaseLostError,
  type ArtifactStore,
  type ClaimedRun,
  type Env,
  type Logger,
  type Progress,
  type Runs,
} from '#libs/platform';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { MetricBuffer } from './metric-buffer.js';
import { NoGpuError, type TrainerProcess } from './trainer-process.js';

/** Metrics, log lines and progress are written together, this often. */
const FLUSH_MS = 250;
const LONGEST_LINE = 8192;
const LINES_PER_FLUSH = 1000;
/**
 * Points that may wait to be written. A run that says more than 20,000 in a second is thinned, and so is one while
 * Postgres is away.
 */
const WAITING_POINTS = 5000;
/** How long a process that was killed may take to be gone. */
const KILL_WAIT_MS = 10_000;

interface Services {
  runs: Runs;
  artifacts: ArtifactStore;
  log: Logger;
  env: Env;
}

/** What is to be written with the next metrics. */
interface Waiting {
  lines: { level: LogLevel; message: string }[];
  events: { type: string; data: Record<string, unknown> }[];
  step: Progress['step'];
}

class RunFailure extends Error {
  constructor(
    readonly reason: StatusReason,
    message: string,
  ) {
    super(message);
  }
}

/** The parent side of one attempt: it owns the lease and all writes; its trainer owns the computation. */
export class SupervisedRun {
  /** Extended by every heartbeat that was answered. When it passes, another worker may own the run: stop at once. */
  private leaseUntil: number;
  private progressAt = performance.now();
  private stopping: StopReason | undefined;
  private lost = false;
  /** The last write is under way: that the run has ended is no news then. */
  private ending = false;
  private hung = false;
  private killTimer: NodeJS.Timeout | undefined;
  private readonly points = new MetricBuffer(WAITING_POINTS);
  private buffer: Waiting = { lines: [], events: [], step: undefined };
  private droppedLines = 0;
  private thinned = false;
  /** How many processes the kernel had killed for memory when this one began. */
  private killedForMemory = 0;
  /** Writes that may be repeated, counted, so that none is done twice. */
  private written = 0;
  /** Writes follow each other in the order in which the trainer spoke. */
  private writes: Promise<void> = Promise.resolve();
  private fault: unknown;
  private readonly workDir: string;

  constructor(
    private readonly run: ClaimedRun,
    private readonly trainer: TrainerProcess,
    private readonly services: Services,
    workRoot: string,
  ) {
    this.leaseUntil = performance.now() + services.env.leaseMs;
    this.workDir = path.join(workRoot, `${run.runId}-a${run.attempt}`);
  }

  get token() {
    return { runId: this.run.runId, attempt: this.run.attempt };
  }

  /** A heartbeat that was sent at this time found the run still ours. */
  leaseExtended(sentAt: number): void {
    this.leaseUntil = Math.max(this.leaseUntil, sentAt + this.services.env.leaseMs);
  }

  /** Called often: ends what must not go on. */
  watch(): void {
    const now = performance.now();
    if (now > this.leaseUntil) this.leaseLost('no heartbeat was answered for the length of the lease');
    else if (now - this.progressAt > this.services.env.hungMs && !this.hung) {
      this.hung = true;
      this.trainer.kill();
    }
  }

  leaseLost(why: string): void {
    if (this.lost || this.ending) return;
    this.lost = true;
    this.services.log.warn({ ...this.token, why }, 'lease lost: the trainer is killed');
    this.trainer.kill();
  }

  /**
   * Asks the trainer to stop; one that does not is killed after the grace period. A cancel overrides a drain and a
   * pause.
   */
  stop(reason: StopReason): void {
    if (this.stopping === 'cancel' || (this.stopping && reason !== 'cancel')) return;
    this.stopping = reason;
    this.trainer.send({ type: 'stop', reason });
    this.killTimer ??= setTimeout(() => this.trainer.kill(), this.services.env.cancelGraceMs);
  }

  /** Ends now, whatever is lost since the last checkpoint. */
  kill(): void {
    this.stopping ??= 'drain';
    this.trainer.kill();
  }

  /** Trains and records until the attempt has ended in Postgres, or is no longer ours. Never rejects. */
  async complete(): Promise<void> {
    const { log } = this.services;
    try {
      const status = await this.attempt();
      log.info({ ...this.token, status }, 'attempt ended');
    } catch (error) {
      if (error instanceof LeaseLostError || this.lost)
        log.warn(this.token, 'the run belongs to another attempt now, or has ended');
      else
        log.error(
          { ...this.token, err: error },
          'the attempt could not be recorded; the run is recovered when its lease expires',
        );
    } finally {
      clearTimeout(this.killTimer);
      this.trainer.kill();
      await Promise.race([this.trainer.exited, delay(KILL_WAIT_MS)]);
      await rm(this.workDir, { recursive: true, force: true }).catch((error: unknown) =>
        log.warn({ err: error }, 'a work folder could not be removed'),
      );
    }
  }

  private async attempt(): Promise<RunStatus> {
    const { runs } = this.services;
    try {
      await mkdir(this.workDir, { recursive: true });
      const final = await this.train();
      // What the trainer said before its last word is written before that.
      await this.writes;
      await this.flush();
      this.ending = true;
      if (final.type === 'succeeded') return await this.persist(() => runs.leases.succeed(this.token, final.result));
      if (final.type === 'stopped' && final.reason === 'rung')
        return await this.persist(() => runs.leases.reachRung(this.token, final.step));
      // Postgres knows whether it was to be cancelled, to pause, or to go on elsewhere.
      if (final.type === 'stopped') return await this.persist(() => runs.leases.release(this.token));
      throw new RunFailure(final.reason, final.message);
    } catch (error) {
      if (error instanceof LeaseLostError || this.lost) throw error;
      const { reason, message } = failureOf(error);
      this.ending = true;
      return await this.persist(() => runs.leases.fail(this.token, reason, message));
    }
  }

  /** Starts the trainer and follows it to its last word. */
  private async train(): Promise<Extract<TrainerMessage, { type: 'succeeded' | 'stopped' | 'failed' }>> {
    const { runs, env } = this.services;
    await this.trainer.ready.catch((error: Error) => {
      throw new RunFailure(error instanceof NoGpuError ? 'gpu_error' : 'internal_error', error.message);
    });
    const { inputs, step } = await this.inputs();
    await this.persist(() => runs.recorder.begin(this.token, step, this.trainer.pid));
    this.killedForMemory = await kernelKills();
    this.progressAt = performance.now();

    const flusher = setInterval(() => {
      this.enqueue(() => this.flush());
    }, FLUSH_MS);
    try {
      const final = await new Promise<
        Extract<TrainerMessage, { type: 'succeeded' | 'stopped' | 'failed' }> | undefined
      >((resolve) => {
        this.trainer.onMessage((message) => {
          if (message.type === 'succeeded' || message.type === 'stopped' || message.type === 'failed') resolve(message);
          else this.hear(message);
        });
        void this.trainer.exited.then(() => resolve(undefined));
        this.trainer.send({
          type: 'start',
          spec: this.run.spec,
          inputs,
          workDir: this.workDir,
          checkpointEverySeconds: env.checkpointSeconds,
          stopAtStep: this.run.stopAtStep,
        });
        if (this.stopping) this.trainer.send({ type: 'stop', reason: this.stopping });
      });
      await this.writes;
      if (this.fault) throw this.fault;
      return final ?? (await this.death());
    } finally {
      clearInterval(flusher);
    }
  }

  /** The trainer is gone without a last word. */
  private async death(): Promise<{ type: 'stopped'; reason: StopReason; step: number }> {
    const { code, signal } = await this.trainer.exited;
    if (this.lost) throw new LeaseLostError(this.token);
    if (this.stopping) return { type: 'stopped', reason: this.stopping, step: 0 };
    if (this.hung)
      throw new RunFailure(
        'hung',
        `the trainer made no progress for ${this.services.env.hungMs / 1000} s and was killed`,
      );
    const words = this.trainer.lastWords;
    const how = `the trainer process ended with ${signal ?? `exit code ${code}`}${words ? `; its last words: ${words}` : ''}`;
    if (OUT_OF_MEMORY.test(words) || (signal === 'SIGKILL' && (await kernelKills()) > this.killedForMemory))
      throw new RunFailure(
        'oom',
        `not enough memory: lower the batch size or the width, or take a machine with more; ${how}`,
      );
    throw new RunFailure(GPU_FAULT.test(words) ? 'gpu_error' : 'worker_crash', how);
  }

  private hear(message: TrainerMessage): void {
    if (message.type === 'progress') {
      this.progressAt = performance.now();
      this.buffer.step = { step: message.step, totalSteps: message.totalSteps };
    } else if (message.type === 'metrics') {
      this.points.add(message.points);
    } else if (message.type === 'log') {
      if (this.buffer.lines.length < LINES_PER_FLUSH)
        this.buffer.lines.push({ level: message.level, message: message.message.slice(0, LONGEST_LINE) });
      else this.droppedLines++;
    } else if (message.type === 'artifact') {
      this.enqueue(() => this.keep(message));
    }
  }

  /** Does a write after those before it. The first that fails ends the run. */
  private enqueue(write: () => Promise<void>): void {
    this.writes = this.writes
      .then(async () => {
        if (this.fault) return;
        await write();
      })
      .catch((error: unknown) => {
        this.fault ??= error;
        if (error instanceof LeaseLostError) this.leaseLost(error.message);
        else this.trainer.kill();
      });
  }

  private async flush(): Promise<void> {
    const { lines, events, step } = this.buffer;
    const { points, stride } = this.points.take();
    if (points.length === 0 && lines.length === 0 && events.length === 0 && !step) return;
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
    this.buffer = { lines: [], events: [], step: undefined };
    const { recorder } = this.services.runs;
    const write = ++this.written;
    await this.persist(() => recorder.record(this.token, { step, points, lines, events }, write));
  }

  /** File → store → fenced row → the trainer may go on. */
  private async keep(message: Extract<TrainerMessage, { type: 'artifact' }>): Promise<void> {
    await this.flush();
    const { name, kind, mime, step } = message;
    const stored = await this.services.artifacts.put(message.path);
    const { recorder } = this.services.runs;
    const write = ++this.written;
    await this.persist(() => recorder.addArtifact(this.token, { name, kind, mime, step, ...stored }, write));
    this.progressAt = performance.now();
    this.trainer.send({ type: 'stored', id: message.id });
  }

  /** The files a run needs, each compared with its sha256, and the newest checkpoint that is whole. */
  private async inputs(): Promise<{ inputs: TrainerInputs; step: number | null }> {
    const { artifacts, env, log } = this.services;
    const { dataset, parentModel, parentCheckpoint, alignTo, checkpoints } = this.run;
    const inputs: TrainerInputs = { dataRoot: env.dataRoot };
    if (dataset) {
      const files: Partial<Record<Split, SplitFiles>> = {};
      for (const split of ['train', 'val', 'test'] as const) {
        const arrays = dataset.splits[split];
        if (!arrays) continue;
        files[split] = {
          samples: await artifacts.verified(arrays.samples),
          ...(arrays.labels && { labels: await artifacts.verified(arrays.labels) }),
          ...(arrays.masks && { masks: await artifacts.verified(arrays.masks) }),
        };
      }
      inputs.dataset = { manifest: dataset, files };
    }
    if (parentModel) inputs.parentModel = await artifacts.verified(parentModel);
    if (parentCheckpoint) inputs.parentCheckpoint = await artifacts.verified(parentCheckpoint);
    if (alignTo) inputs.alignTo = await artifacts.verified(alignTo);
    for (const checkpoint of checkpoints) {
      try {
        inputs.checkpoint = await artifacts.verified(checkpoint.sha256);
        return { inputs, step: checkpoint.step };
      } catch (error) {
        if (!(error instanceof CorruptArtifactError)) throw error;
        log.warn({ ...this.token, err: error }, 'a checkpoint is not whole, the one before is taken');
        this.buffer.lines.push({
          level: 'warn',
          message: `checkpoint of step ${checkpoint.step} is not whole and was passed over: ${error.message}`,
        });
        this.buffer.events.push({ type: 'checkpoint_corrupt', data: checkpoint });
      }
    }
    return { inputs, step: null };
  }

  /** Repeats a write while Postgres is away, for as long as the lease can last. */
  private async persist<Result>(write: () => Promise<Result>): Promise<Result> {
    const until = performance.now() + this.services.env.leaseMs;
    for (let pauseMs = 100; ; pauseMs = Math.min(2 * pauseMs, 2000)) {
      if (this.lost) throw new LeaseLostError(this.token);
      try {
        return await write();
      } catch (error) {
        if (error instanceof LeaseLostError || performance.now() > until) throw error;
        this.services.log.warn({ ...this.token, err: error }, 'a write failed, it is repeated');
        await delay(pauseMs);
      }
    }
  }
}

/** What V8, the C++ library and TensorFlow say when memory is out, on a GPU or not. */
const OUT_OF_MEMORY =
  /heap out of memory|Array buffer allocation failed|std::bad_alloc|OOM when allocating|RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|Cannot allocate memory/i;
/** What CUDA says of a card that is broken, or was lost. */
const GPU_FAULT =
  /CUDA_ERROR_(ECC|HARDWARE|ILLEGAL|LAUNCH|MISALIGNED|INVALID_DEVICE|NO_DEVICE|DEVICE_UNAVAILABLE|UNKNOWN)|CUDNN_STATUS_(INTERNAL|EXECUTION)|uncorrectable ECC|Xid/i;

/** How many processes the kernel of this machine has killed for want of memory; 0 where it does not say. */
async function kernelKills(): Promise<number> {
  return Number(/^oom_kill (\d+)$/m.exec(await readFile('/proc/vmstat', 'utf8').catch(() => ''))?.[1] ?? 0);
}

function failureOf(error: unknown): { reason: StatusReason; message: string } {
  if (error instanceof RunFailure) return { reason: error.reason, message: error.message };
  if (error instanceof CorruptArtifactError) return { reason: 'internal_error', message: error.message };
  if ((error as NodeJS.ErrnoException)?.code === 'ENOSPC')
    return {
      reason: 'disk_full',
      message: 'no space is left where artifacts are stored: make room, then retry the run',
    };
  return { reason: 'internal_error', message: error instanceof Error ? error.message : String(error) };
}
