import type { RunStatus, StopReason, TrainerInputs, TrainerMessage } from '#libs/contracts';
import {
  isUnavailable,
  LeaseLostError,
  type ArtifactStore,
  type ClaimedRun,
  type Env,
  type Logger,
  type Runs,
  type StoredFile,
} from '#libs/platform';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { MemoryKills } from './memory-kills.js';
import { ProgressBuffer } from './progress-buffer.js';
import type { Blame, Fitness } from './fitness.js';
import { failureOf, failureOfDeath, RunFailure, UnfitError } from './run-failure.js';
import { verifiedInputs } from './run-inputs.js';
import { NoGpuError, type TrainerProcess } from './trainer-process.js';
import { UsageMeter } from './usage-meter.js';
import { RunFolder } from './work-folder.js';

/** Metrics, log lines and progress are written together, this often. */
const FLUSH_MS = 250;
/** How long a process that was killed may take to be gone. */
const KILL_WAIT_MS = 10_000;
/** Pauses between repeats of a write that Postgres did not answer grow from the first to the second. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;

/** What a trainer says last. Nothing is computed after it, only recorded. */
type LastWord = Extract<TrainerMessage, { type: 'succeeded' | 'stopped' | 'failed' }>;

interface Services {
  runs: Runs;
  artifacts: ArtifactStore;
  log: Logger;
  env: Env;
  fitness: Fitness;
  kills: MemoryKills;
}

/** This worker had to leave before Postgres answered: the run is recovered when its lease expires. */
class UnrecordedError extends Error {}

/** The parent side of one attempt: it owns the lease and all writes; its trainer owns the computation. */
export class SupervisedRun {
  /** Extended by every heartbeat that was answered. When it passes, another worker may own the run: stop at once. */
  private leaseUntil: number;
  /** When the trainer was heard last, or bytes of its inputs or artifacts were read. */
  private progressAt = performance.now();
  private readsInputs = true;
  /** What Postgres has to know before the trainer can go on: that it begins, and artifacts that it has handed over. */
  private awaited = 1;
  /** Writes that Postgres has not answered. */
  private unanswered = 0;
  private stopping: StopReason | undefined;
  private lost = false;
  /**
   * The trainer has said its last word, or is dead. From here on nothing is computed that another attempt could compute
   * too: no lease is needed to go on, and what is written for an attempt that is not the run's any more finds no row.
   */
  private ending = false;
  private hung = false;
  private killTimer: NodeJS.Timeout | undefined;
  /** When this worker has to leave, though Postgres may not have answered. */
  private leavesAt = Number.POSITIVE_INFINITY;
  private readonly said = new ProgressBuffer();
  private flusher: NodeJS.Timeout | undefined;
  /** Writes that may be repeated, counted, so that none is done twice. */
  private written = 0;
  /** Writes follow each other in the order in which the trainer spoke. */
  private writes: Promise<void> = Promise.resolve();
  private flushes = false;
  private fault: unknown;
  /** What it has stored, but for checkpoints, which newer ones replace. */
  private readonly stored: StoredFile[] = [];
  private readonly folder: RunFolder;
  private readonly usage: UsageMeter;

  constructor(
    private readonly run: ClaimedRun,
    private readonly trainer: TrainerProcess,
    private readonly services: Services,
    workRoot: string,
  ) {
    this.leaseUntil = performance.now() + services.env.leaseMs;
    this.folder = new RunFolder(path.join(workRoot, `${run.runId}-a${run.attempt}`));
    this.usage = new UsageMeter(trainer, run.secondsSinceFirst, (points) => this.said.addPoints(points));
  }

  get token() {
    return { runId: this.run.runId, attempt: this.run.attempt };
  }

  /** A heartbeat that was sent at this time found the run still ours. */
  leaseExtended(sentAt: number): void {
    this.leaseUntil = Math.max(this.leaseUntil, sentAt + this.services.env.leaseMs);
  }

  /** Called often: ends what must not go on, and reads what the trainer uses. */
  watch(): void {
    const now = performance.now();
    this.usage.watch();
    // A trainer that waits for Postgres is not silent, however long that takes.
    if (this.awaited > 0 && this.unanswered > 0) this.heard();
    if (now > this.leaseUntil) this.leaseLost('no heartbeat was answered for the length of the lease');
    else if (now - this.progressAt > this.services.env.hungMs && !this.hung && !this.ending) {
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
    if (reason === 'drain') this.leaveWithin(this.services.env.cancelGraceMs + this.services.env.leaseMs);
    if (this.stopping === 'cancel' || (this.stopping && reason !== 'cancel')) return;
    this.stopping = reason;
    this.trainer.send({ type: 'stop', reason });
    this.killTimer ??= setTimeout(() => this.trainer.kill(), this.services.env.cancelGraceMs);
  }

  /** Ends now, whatever is lost since the last checkpoint. */
  kill(): void {
    this.stopping ??= 'drain';
    this.leaveWithin(this.services.env.leaseMs);
    this.trainer.kill();
  }

  private leaveWithin(milliseconds: number): void {
    this.leavesAt = Math.min(this.leavesAt, performance.now() + milliseconds);
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
      clearInterval(this.flusher);
      this.trainer.kill();
      await Promise.race([this.trainer.exited, delay(KILL_WAIT_MS)]);
      await this.folder
        .remove()
        .catch((error: unknown) => log.warn({ err: error }, 'a work folder could not be removed'));
    }
  }

  private async attempt(): Promise<RunStatus> {
    const { runs } = this.services;
    try {
      const last = await this.train();
      // What the trainer said before its last word is written before that.
      await this.flush();
      if (last.type === 'succeeded') {
        await this.services.artifacts.checkHolds(this.stored);
        return await this.persist(() => runs.leases.succeed(this.token, last.result));
      }
      if (last.type === 'stopped' && last.reason === 'rung' && this.run.stopAtStep !== null)
        return await this.persist(() => runs.leases.reachRung(this.token, last.step));
      if (last.type === 'stopped' && !this.stopping)
        throw new RunFailure('worker_crash', `the trainer stopped (${last.reason}), and nobody had asked it to`);
      // Postgres knows whether it was to be cancelled, to pause, or to go on elsewhere.
      if (last.type === 'stopped') return await this.persist(() => runs.leases.release(this.token));
      throw new RunFailure(last.reason, last.message, last.code);
    } catch (error) {
      if (error instanceof LeaseLostError || error instanceof UnrecordedError || this.lost) throw error;
      return await this.failed(error);
    }
  }

  /** Of the run's own failure it fails; by what this worker could not do it is given back, uncharged. */
  private async failed(error: unknown): Promise<RunStatus> {
    const { fitness, runs } = this.services;
    const failure = failureOf(error);
    const blame =
      error instanceof UnfitError
        ? { why: error.message, lasts: true }
        : ((await fitness.blameFor(failure)) ?? (await this.lostFolder(failure)));
    this.ending = true;
    if (!blame) return this.persist(() => runs.leases.fail(this.token, failure.reason, failure.message));
    this.services.log.warn({ ...this.token, why: blame.why }, 'the run is given back: this worker can not work on it');
    return this.persist(() =>
      blame.lasts ? runs.leases.release(this.token, blame.why) : runs.leases.giveBack(this.token, blame.why),
    );
  }

  /** A run whose work folder was taken from under it, and that fails where it misses it, has not failed by itself. */
  private async lostFolder({ reason }: RunFailure): Promise<Blame | undefined> {
    const isOfFiles = reason === 'internal_error' || reason === 'disk_full' || reason === 'worker_crash';
    if (!isOfFiles || !(await this.folder.isGone())) return undefined;
    return {
      why: `the work folder of the run is gone: ${this.folder.path} was removed, or its volume is away`,
      lasts: false,
    };
  }

  /** Starts the trainer and follows it to its last word. All writes before that are done then. */
  private async train(): Promise<LastWord> {
    const { artifacts, fitness, runs } = this.services;
    await this.folder.make(this.trainer.user).catch(async (error: Error) => {
      await fitness.isFit({ anew: true });
      throw new UnfitError(error.message);
    });
    await this.trainer.ready.catch(async (error: Error) => {
      if (error instanceof NoGpuError) throw new RunFailure('gpu_error', error.message);
      await fitness.trainerFailed();
      throw new UnfitError(error.message);
    });
    // In another store each of its files would be missing, and each checkpoint be passed over.
    await artifacts.checkIdentity();
    await this.services.kills.begin();
    // A trainer that is gone needs no inputs, which storage may never give.
    const found = await Promise.race([this.inputs(), this.trainer.exited.then(() => undefined)]);
    if (!found) return this.death();
    await this.persist(() => runs.recorder.begin(this.token, found.step, this.trainer.pid));
    this.heard();
    this.awaited--;
    this.readsInputs = false;
    this.flusher = setInterval(() => {
      // While Postgres is away one waits, and takes all that is said until it answers.
      if (this.flushes) return;
      this.flushes = true;
      this.enqueue(() => this.flush().finally(() => (this.flushes = false)));
    }, FLUSH_MS);
    this.usage.begin();
    const last = await this.lastWord(found.inputs);
    await this.usage.end(last !== undefined);
    clearInterval(this.flusher);
    // The write of an artifact whose storage stands still never ends.
    if (!this.hung) await this.writes;
    if (this.fault) throw this.fault;
    return last ?? (await this.death());
  }

  /** Has the trainer begin, and hears it until its last word; undefined where it dies without one. */
  private lastWord(inputs: TrainerInputs): Promise<LastWord | undefined> {
    return new Promise((resolve) => {
      this.trainer.onMessage((message) => {
        if (message.type === 'succeeded' || message.type === 'stopped' || message.type === 'failed') {
          this.ending = true;
          resolve(message);
        } else this.hear(message);
      });
      void this.trainer.exited.then(() => resolve(undefined));
      const { spec, stopAtStep } = this.run;
      const { checkpointSeconds: checkpointEverySeconds, overlapsEvaluation } = this.services.env;
      const settings = { workDir: this.folder.path, checkpointEverySeconds, stopAtStep, overlapsEvaluation };
      this.trainer.send({ type: 'start', spec, inputs, ...settings });
      if (this.stopping) this.trainer.send({ type: 'stop', reason: this.stopping });
    });
  }

  /** The trainer is gone without a last word. */
  private async death(): Promise<LastWord> {
    const exit = await this.trainer.exited;
    if (this.lost) throw new LeaseLostError(this.token);
    const { garbled } = this.trainer;
    if (garbled !== undefined)
      throw new RunFailure('worker_crash', `the trainer said what is no message of its protocol: ${garbled}`);
    if (this.stopping) return { type: 'stopped', reason: this.stopping, step: 0 };
    if (this.hung) {
      const seconds = this.services.env.hungMs / 1000;
      throw new RunFailure(
        'hung',
        this.readsInputs
          ? `the storage of artifacts gave nothing for ${seconds} s while the inputs of the run were verified`
          : `the trainer made no progress for ${seconds} s and was killed`,
      );
    }
    const { lastWords, pid, bornAtMs } = this.trainer;
    throw await failureOfDeath(exit, lastWords, () => this.services.kills.includes(pid, bornAtMs));
  }

  private readonly heard = (): void => {
    this.progressAt = performance.now();
  };

  private hear(message: Exclude<TrainerMessage, LastWord>): void {
    if (message.type === 'progress') {
      this.heard();
      this.said.reach(message.step, message.totalSteps);
    } else if (message.type === 'metrics') {
      this.said.addPoints(message.points);
    } else if (message.type === 'log') {
      this.said.addLine(message.level, message.message);
    } else if (message.type === 'artifact') {
      this.awaited++;
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
    const progress = this.said.take();
    if (!progress) return;
    const write = ++this.written;
    await this.persist(() => this.services.runs.recorder.record(this.token, progress, write));
  }

  /** File → store → fenced row → the trainer may go on. */
  private async keep(message: Extract<TrainerMessage, { type: 'artifact' }>): Promise<void> {
    await this.flush();
    const { name, kind, mime, step } = message;
    const stored = await this.services.artifacts.put(message.path, this.heard, {
      folder: this.folder.path,
      uid: this.trainer.user?.uid,
    });
    if (kind !== 'checkpoint') this.stored.push(stored);
    const write = ++this.written;
    const { recorder } = this.services.runs;
    await this.persist(() => recorder.addArtifact(this.token, { name, kind, mime, step, ...stored }, write));
    this.heard();
    this.awaited--;
    this.trainer.send({ type: 'stored', id: message.id });
  }

  private inputs(): ReturnType<typeof verifiedInputs> {
    const { artifacts, env, log } = this.services;
    return verifiedInputs(this.run, {
      artifacts,
      dataRoot: env.dataRoot,
      onRead: this.heard,
      onCorrupt: (checkpoint, error) => {
        log.warn({ ...this.token, err: error }, 'a checkpoint is not whole, the one before is taken');
        this.said.addLine(
          'warn',
          `checkpoint of step ${checkpoint.step} is not whole and was passed over: ${error.message}`,
        );
        this.said.addEvent('checkpoint_corrupt', { ...checkpoint });
      },
    });
  }

  /**
   * Repeats a write. While Postgres is away that goes on for as long as the run can be this worker's: until the lease
   * is lost where a trainer computes, and until another attempt has begun where one has finished, whose result would
   * otherwise be computed again. What Postgres refuses is repeated for the length of a lease.
   * @throws LeaseLostError
   * @throws UnrecordedError when this worker has to leave first
   */
  private async persist<Result>(write: () => Promise<Result>): Promise<Result> {
    this.unanswered++;
    return this.repeated(write).finally(() => this.unanswered--);
  }

  private async repeated<Result>(write: () => Promise<Result>): Promise<Result> {
    const until = performance.now() + this.services.env.leaseMs;
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
      if (this.lost) throw new LeaseLostError(this.token);
      try {
        return await write();
      } catch (error) {
        if (error instanceof LeaseLostError) throw error;
        const unavailable = isUnavailable(error);
        if (unavailable && performance.now() > this.leavesAt) throw new UnrecordedError((error as Error).message);
        if (!unavailable && performance.now() > until) throw error;
        this.services.log.warn({ ...this.token, err: error }, 'a write failed, it is repeated');
        await delay(pauseMs);
      }
    }
  }
}
