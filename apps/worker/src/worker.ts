import type { Gpu } from '#libs/contracts';
import {
  ArtifactStore,
  ClaimRefusedError,
  endOrphans,
  folderWhileAlive,
  isUnavailable,
  SchemaMismatchError,
  type Ask,
  type ClaimedRun,
  type Database,
  type Env,
  type Logger,
  type RunJob,
  type Runs,
  type TemporaryFolder,
} from '#libs/platform';
import type { BeforeApplicationShutdown } from '@nestjs/common';
import { randomUUID } from 'node:crypto';
import { availableParallelism, hostname, totalmem } from 'node:os';
import path from 'node:path';
import { Fitness } from './fitness.js';
import { listGpus } from './gpus.js';
import { MemoryKills } from './memory-kills.js';
import type { RunConsumer } from './run-consumer.js';
import { Slots, type Slot } from './slots.js';
import { Storage } from './storage.js';
import { SupervisedRun } from './supervised-run.js';
import { NoGpuError, TRAINER } from './trainer-process.js';
import { canBeApart, TrainerUsers } from './trainer-users.js';

const WATCH_MS = 200;

interface Services {
  database: Database;
  runs: Runs;
  consumer: RunConsumer;
  artifacts: ArtifactStore;
  log: Logger;
  env: Env;
}

/**
 * One per machine: registers, takes runs from the queue, one a slot, and keeps their leases. It never loads TensorFlow:
 * a native training step would block its heartbeats.
 */
export class LoomWorker implements BeforeApplicationShutdown {
  readonly id: string;
  private readonly runs = new Map<string, SupervisedRun>();
  private readonly workRoot: string;
  private compiled: TemporaryFolder | undefined;
  private readonly kills = new MemoryKills();
  private readonly storage: Storage;
  private readonly fitness: Fitness;
  private slots: Slots | undefined;
  private apart = false;
  private timers: NodeJS.Timeout[] = [];
  private control: { close(): Promise<void> } | undefined;
  private beating: Promise<void> | undefined;
  private beatAgain = false;
  private draining = false;
  private outdated = false;
  /** It can't store what runs make, or start trainers. */
  private impaired = false;
  /** When the heartbeat was sent that Postgres answered last. */
  private answeredAt = performance.now();
  /** Postgres does not answer: what this worker would take another can have. */
  private cutOff = false;
  /** Ends when the claim that is under way has. */
  private claims: Promise<void> = Promise.resolve();
  private readonly told = Promise.withResolvers<void>();
  /** Resolves when this worker is asked from elsewhere to drain. */
  readonly drainAsked = this.told.promise;

  constructor(private readonly services: Services) {
    this.id = `${services.env.workerName ?? hostname()}-${randomUUID().slice(0, 8)}`;
    const { artifacts, database, env, log, runs } = services;
    this.workRoot = path.join(env.artifactsDir, 'work', this.id);
    this.storage = new Storage(artifacts, database, { workRoot: this.workRoot, minFreeBytes: env.minFreeBytes });
    this.fitness = new Fitness({
      storage: this.storage,
      log,
      startTrainer: async () => this.slots?.startAgain(),
      tell: (why) => runs.workers.setImpairment(this.id, why),
      onChange: (fit) => {
        this.impaired = !fit;
        this.queueOrNot();
      },
    });
  }

  /**
   * Resolves when runs are being taken, or would be if they could be stored. Rejects when a trainer can't start or
   * Postgres does not answer.
   */
  async start(): Promise<void> {
    const { database, runs, env, log } = this.services;
    await database.requireSessions();
    await runs.workers.checkSchema();
    const gpus = await listGpus(env.trainerEnvironment['CUDA_VISIBLE_DEVICES']);
    // Not beside the work folders: Node would make those anew where their volume is away.
    this.compiled = await folderWhileAlive('loom-compiled-');
    await endOrphans();
    const users = await this.trainerUsers(gpus);
    this.apart = !users && canBeApart(env, log);
    let slots = this.openSlots(gpus, users);
    this.slots = slots;
    await runs.workers.registerWorker({
      id: this.id,
      host: hostname(),
      pid: process.pid,
      slots: slots.count,
      versions: { node: process.versions.node },
      labels: env.workerLabels,
      gpus,
      memoryMiB: Math.floor(totalmem() / 2 ** 20),
    });
    this.timers.push(
      setInterval(() => {
        this.beat();
      }, env.heartbeatMs),
    );
    slots = await this.readySlots(slots, gpus, users);
    if (this.draining) return;
    await this.fitness.isFit();
    await runs.workers.setWorkerState(this.id, 'running');
    this.fitness.watch();
    this.takeRuns(slots);
    log.info(
      { worker: this.id, slots: slots.count, labels: env.workerLabels, gpus: gpus.map(({ name }) => name) },
      'worker ready',
    );
  }

  /** Whom trainers run as where that is not this worker's user; who that is was only a wish unless it was said. */
  private async trainerUsers(gpus: readonly Gpu[]): Promise<TrainerUsers | undefined> {
    const { env } = this.services;
    const program = env.trainerProgram ?? TRAINER;
    try {
      return await TrainerUsers.take(env, { slots: this.slotCount(gpus), program, dir: this.compiled!.path });
    } catch (error) {
      if (env.trainerUid !== undefined) throw error;
      this.warnOfSharedUser(error as Error);
      return undefined;
    }
  }

  private warnOfSharedUser({ message }: Error): void {
    this.services.log.warn(
      `trainers run as the user of this worker, and could do what it can: ${message}; see LOOM_TRAINER_UID`,
    );
  }

  /** Resolves when trainers are loaded: as nobody else where they can't be as others, and that was only a wish. */
  private async readySlots(slots: Slots, gpus: readonly Gpu[], users: TrainerUsers | undefined): Promise<Slots> {
    try {
      await slots.ready();
      await users?.closeCode();
      return slots;
    } catch (error) {
      const isWish = this.apart || (users && this.services.env.trainerUid === undefined);
      if (!isWish || this.draining) throw error;
      this.warnOfSharedUser(error as Error);
      slots.close();
      users?.release();
      this.apart = false;
      this.slots = this.openSlots(gpus, undefined);
      await this.slots.ready();
      return this.slots;
    }
  }

  /** A slot for each GPU, unless the environment says how many. */
  private slotCount(gpus: readonly Gpu[]): number {
    return this.services.env.slots ?? Math.max(1, gpus.length);
  }

  private openSlots(gpus: readonly Gpu[], users: TrainerUsers | undefined): Slots {
    const { env } = this.services;
    const count = this.slotCount(gpus);
    const threads = env.trainerThreads ?? Math.max(1, Math.floor(availableParallelism() / count));
    return new Slots(count, {
      gpus,
      environment: {
        // What one trainer has compiled the next ones load: a seventh less of the time until it is ready.
        NODE_COMPILE_CACHE: this.compiled!.path,
        ...env.trainerEnvironment,
        LOOM_TRAINER_THREADS: String(threads),
      },
      program: env.trainerProgram,
      users,
      apart: this.apart,
    });
  }

  private takeRuns(slots: Slots): void {
    const { consumer, database, env, log } = this.services;
    this.timers.push(
      setInterval(() => {
        for (const run of this.runs.values()) run.watch();
        if (performance.now() - this.answeredAt > env.leaseMs / 2) this.leaveQueue();
      }, WATCH_MS),
    );
    // A cancel, a pause or a drain is told at once; should the notification be lost, the next heartbeat brings it.
    this.control = database.listen(['run_control', 'worker_control'], (_, id) => {
      if (id === '' || id === this.id || this.holds(id)) this.beat();
    });
    consumer
      .take(slots.count, (job) => this.process(job, slots))
      .catch((error: unknown) => log.error({ err: error }, 'the queue consumer has ended'));
    this.queueOrNot();
  }

  /** A drain is over before Nest closes what it needs: the consumer, the queue, Postgres. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.drain();
  }

  /** Stops taking runs, has those it holds write a checkpoint, hands them back and ends. */
  private async drain(): Promise<void> {
    const { runs, consumer, log } = this.services;
    this.draining = true;
    log.info({ worker: this.id, runs: this.runs.size }, 'draining');
    await runs.workers
      .setWorkerState(this.id, 'draining')
      .catch((error: unknown) => log.warn({ err: error }, 'the state draining could not be recorded'));
    for (const run of this.runs.values()) run.stop('drain');
    await consumer.close();
    this.slots?.close();
    for (const timer of this.timers) clearInterval(timer);
    await this.fitness.close();
    await this.control?.close();
    await this.beating;
    await runs.workers
      .setWorkerState(this.id, 'stopped')
      .catch((error: unknown) => log.warn({ err: error }, 'the state stopped could not be recorded'));
    await this.storage.close();
    await this.compiled?.remove();
  }

  /** For a drain that must not take long: the runs go on elsewhere from the checkpoints they have. */
  killRuns(): void {
    for (const run of this.runs.values()) run.kill();
  }

  private holds(runId: string): boolean {
    return [...this.runs.values()].some(({ token }) => token.runId === runId);
  }

  /** What is done with a job: its first act is the claim, and it ends when the attempt has ended in Postgres. */
  private async process(job: RunJob, slots: Slots): Promise<void> {
    const { runs, log } = this.services;
    if (this.cutOff)
      throw Object.assign(new Error('a job came before Postgres has answered a heartbeat again'), {
        code: 'ETIMEDOUT',
      });
    if (this.draining || !(await this.fitness.isFit())) return runs.outbox.offerAgain(job);
    const taken = await this.claim(job, slots);
    if (taken === 'refused') return;
    if (!taken) {
      log.info(job, "nothing to do: the run is done, cancelled, or another's");
      return;
    }
    await this.supervise(taken.claimed, taken.slot, slots);
  }

  /** The claimed run and its slot; undefined where there is nothing to do. One claim follows the other. */
  private async claim(job: RunJob, slots: Slots): Promise<{ claimed: ClaimedRun; slot: Slot } | undefined | 'refused'> {
    const { runs, log } = this.services;
    // Each is given one of the GPUs that are free then.
    const claiming = this.claims.then(async () => {
      const claimed = await runs.claims.claim(job, this.id, slots.freeGpus);
      return claimed ? { claimed, slot: slots.take(claimed.gpu) } : undefined;
    });
    this.claims = claiming.then(
      () => undefined,
      () => undefined,
    );
    try {
      return await claiming;
    } catch (error) {
      if (isUnavailable(error)) this.leaveQueue();
      if (!(error instanceof ClaimRefusedError)) throw error;
      if (error instanceof SchemaMismatchError) this.leaveToOthers(error);
      log.info({ ...job, why: error.message }, 'claim refused: the run is offered again');
      return 'refused';
    }
  }

  private async supervise(claimed: ClaimedRun, slot: Slot, slots: Slots): Promise<void> {
    const run = new SupervisedRun(
      claimed,
      slot.trainer,
      { ...this.services, fitness: this.fitness, kills: this.kills },
      this.workRoot,
    );
    const key = `${claimed.runId}:${claimed.attempt}`;
    this.runs.set(key, run);
    this.services.log.info({ ...run.token, kind: claimed.spec.kind, pid: slot.trainer.pid }, 'attempt begins');
    try {
      // A drain may have begun while the claim was under way.
      if (this.draining) run.stop('drain');
      await run.complete();
    } finally {
      this.runs.delete(key);
      if (!this.draining) void this.loadNext(slots, slot);
      if (this.outdated && this.runs.size === 0) this.told.resolve();
    }
  }

  /** Frees a slot. Where no trainer can be started for it, no run is taken before one can. */
  private async loadNext(slots: Slots, slot: Slot): Promise<void> {
    try {
      await slots.release(slot);
    } catch (error) {
      // What a run does not find on its GPU is that run's to say.
      if (!this.draining && !(error instanceof NoGpuError)) await this.fitness.trainerFailed();
    }
  }

  /**
   * Takes nothing while Postgres does not answer: a job goes back into the queue at once, for a worker that can claim
   * its run.
   */
  private leaveQueue(): void {
    if (this.cutOff) return;
    this.cutOff = true;
    this.services.log.warn({ worker: this.id }, 'Postgres does not answer: no runs are taken until it does');
    this.queueOrNot();
  }

  private returnToQueue(): void {
    if (!this.cutOff) return;
    this.cutOff = false;
    this.services.log.info({ worker: this.id }, 'Postgres answers again');
    this.queueOrNot();
  }

  /**
   * The database was migrated under a worker of another version: it takes no more runs, and leaves when those it has
   * are done.
   */
  private leaveToOthers(error: SchemaMismatchError): void {
    if (this.outdated) return;
    this.outdated = true;
    this.services.log.error(
      { err: error },
      'this worker is of another version than the database: it takes no more runs and ends when it has none',
    );
    this.queueOrNot();
    if (this.runs.size === 0) this.told.resolve();
  }

  /** Jobs are taken while this worker could do something with them. */
  private queueOrNot(): void {
    if (this.cutOff || this.impaired || this.outdated) this.services.consumer.pause();
    else if (!this.draining) this.services.consumer.resume();
  }

  /**
   * Extends all leases at once. Runs that the answer does not name are lost; those it wants cancelled or paused,
   * or whose time limit is used up, are stopped, and so are all when it wants a drain.
   */
  private beat(): void {
    if (this.beating) {
      this.beatAgain = true;
      return;
    }
    const sentAt = performance.now();
    const held = [...this.runs.values()];
    const tokens = held.map(({ token }) => token);
    this.beating = this.services.runs.leases
      .heartbeat(this.id, tokens)
      .then(({ drain, asked }) => {
        this.answeredAt = sentAt;
        this.returnToQueue();
        for (const run of held) obey(run, asked.get(run.token.runId), sentAt);
        if (drain) this.told.resolve();
      })
      .catch((error: unknown) => this.services.log.warn({ err: error }, 'a heartbeat failed'))
      .finally(() => {
        this.beating = undefined;
        if (this.beatAgain) {
          this.beatAgain = false;
          this.beat();
        }
      });
  }
}

/** What a heartbeat that was sent at this time was answered about a run: undefined where it is no longer ours. */
function obey(run: SupervisedRun, answer: Ask | undefined, sentAt: number): void {
  if (!answer) {
    run.leaseLost('another attempt has begun, or the run has ended');
    return;
  }
  run.leaseExtended(sentAt);
  // Postgres knows why it was stopped when it is handed back.
  if (answer !== 'go on') run.stop(answer === 'time out' ? 'cancel' : answer);
}
