import type { Gpu } from '#libs/contracts';
import {
  ArtifactStore,
  ClaimRefusedError,
  isUnavailable,
  SchemaMismatchError,
  type Database,
  type Env,
  type Logger,
  type RunJob,
  type RunQueue,
  type Runs,
} from '#libs/platform';
import { randomUUID } from 'node:crypto';
import { mkdir, readdir, rm, statfs } from 'node:fs/promises';
import { availableParallelism, hostname, totalmem } from 'node:os';
import path from 'node:path';
import { listGpus } from './gpus.js';
import { SupervisedRun } from './supervised-run.js';
import { TrainerProcess } from './trainer-process.js';

const WATCH_MS = 200;

interface Services {
  database: Database;
  runs: Runs;
  queue: RunQueue;
  artifacts: ArtifactStore;
  log: Logger;
  env: Env;
}

/**
 * One per machine: registers, takes runs from the queue, one a slot, and keeps their leases. It never loads TensorFlow:
 * a native training step would block its heartbeats.
 */
export class LoomWorker {
  readonly id: string;
  private readonly runs = new Map<string, SupervisedRun>();
  private readonly workRoot: string;
  /** Slots that are free, each with a trainer that is loaded already. */
  private readonly free: { slot: number; trainer: TrainerProcess }[] = [];
  private slots = 1;
  private gpus: Gpu[] = [];
  private consumer: ReturnType<RunQueue['consume']> | undefined;
  private timers: NodeJS.Timeout[] = [];
  private control: { close(): Promise<void> } | undefined;
  private beating: Promise<void> | undefined;
  private beatAgain = false;
  private draining = false;
  private outdated = false;
  private full = false;
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
    this.workRoot = path.join(services.env.artifactsDir, 'work', `${hostname()}.${process.pid}`);
  }

  /**
   * Resolves when runs are being taken. Rejects when a trainer can't start, Postgres does not answer or a folder can't
   * be written.
   */
  async start(): Promise<void> {
    const { runs, queue, log, env, database } = this.services;
    await runs.workers.checkSchema();
    await this.removeLeftovers();
    await mkdir(this.workRoot, { recursive: true });
    this.gpus = await listGpus(env.trainerEnvironment['CUDA_VISIBLE_DEVICES']);
    this.slots = env.slots ?? Math.max(1, this.gpus.length);
    for (let slot = 0; slot < this.slots; slot++) this.free.push({ slot, trainer: this.newTrainer(slot) });
    await runs.workers.registerWorker({
      id: this.id,
      host: hostname(),
      pid: process.pid,
      slots: this.slots,
      versions: { node: process.versions.node },
      labels: env.workerLabels,
      gpus: this.gpus,
      memoryMiB: Math.floor(totalmem() / 2 ** 20),
    });
    this.timers.push(
      setInterval(() => {
        this.beat();
      }, env.heartbeatMs),
    );
    await Promise.all(this.free.map(({ trainer }) => trainer.ready));
    if (this.draining) return;
    await runs.workers.setWorkerState(this.id, 'running');
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
    this.consumer = queue.consume(
      this.slots,
      (job) => this.process(job),
      (error) => log.warn({ err: error }, 'the queue does not answer'),
    );
    this.consumer.run().catch((error: unknown) => log.error({ err: error }, 'the queue consumer has ended'));
    log.info(
      { worker: this.id, slots: this.slots, labels: env.workerLabels, gpus: this.gpus.map(({ name }) => name) },
      'worker ready',
    );
  }

  /** Stops taking runs, has those it holds write a checkpoint, hands them back and ends. */
  async drain(): Promise<void> {
    const { runs, log } = this.services;
    this.draining = true;
    log.info({ worker: this.id, runs: this.runs.size }, 'draining');
    await runs.workers
      .setWorkerState(this.id, 'draining')
      .catch((error: unknown) => log.warn({ err: error }, 'the state draining could not be recorded'));
    for (const run of this.runs.values()) run.stop('drain');
    await this.consumer?.close();
    for (const { trainer } of this.free) trainer.kill();
    for (const timer of this.timers) clearInterval(timer);
    await this.control?.close();
    await this.beating;
    await runs.workers
      .setWorkerState(this.id, 'stopped')
      .catch((error: unknown) => log.warn({ err: error }, 'the state stopped could not be recorded'));
    await rm(this.workRoot, { recursive: true, force: true });
  }

  /** For a drain that must not take long: the runs go on elsewhere from the checkpoints they have. */
  killRuns(): void {
    for (const run of this.runs.values()) run.kill();
  }

  private holds(runId: string): boolean {
    return [...this.runs.values()].some(({ token }) => token.runId === runId);
  }

  /** The processor: its first act is the claim, and it ends when the attempt has ended in Postgres. */
  private async process(job: RunJob): Promise<void> {
    const { runs, log } = this.services;
    if (this.cutOff)
      throw Object.assign(new Error('a job came before Postgres has answered a heartbeat again'), {
        code: 'ETIMEDOUT',
      });
    if (this.draining || !(await this.hasSpace())) return runs.outbox.offerAgain(job);
    // One after the other: each is given one of the GPUs that are free then.
    const claiming = this.claims.then(async () => {
      const claimed = await runs.claims.claim(
        job,
        this.id,
        this.free.flatMap(({ slot }) => this.gpuOf(slot)?.uuid ?? []),
      );
      return claimed && { claimed, ...this.takeSlot(claimed.gpu) };
    });
    this.claims = claiming.then(
      () => undefined,
      () => undefined,
    );
    const taken = await claiming.catch((error: unknown) => {
      if (isUnavailable(error)) this.leaveQueue();
      if (!(error instanceof ClaimRefusedError)) throw error;
      if (error instanceof SchemaMismatchError) this.leaveToOthers(error);
      log.info({ ...job, why: error.message }, 'claim refused: the run is offered again');
      return null;
    });
    if (taken === null) return;
    if (!taken) {
      log.info(job, "nothing to do: the run is done, cancelled, or another's");
      return;
    }
    const { claimed, slot, trainer } = taken;
    const run = new SupervisedRun(claimed, trainer, this.services, this.workRoot);
    this.runs.set(`${claimed.runId}:${claimed.attempt}`, run);
    log.info({ ...run.token, kind: claimed.spec.kind, pid: trainer.pid }, 'attempt begins');
    try {
      // A drain may have begun while the claim was under way.
      if (this.draining) run.stop('drain');
      await run.complete();
    } finally {
      this.runs.delete(`${claimed.runId}:${claimed.attempt}`);
      if (!this.draining) this.free.push({ slot, trainer: this.newTrainer(slot) });
      if (this.outdated && this.runs.size === 0) this.told.resolve();
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
    void this.consumer?.pause(true);
  }

  private returnToQueue(): void {
    if (!this.cutOff) return;
    this.cutOff = false;
    this.services.log.info({ worker: this.id }, 'Postgres answers again');
    if (!this.outdated && !this.draining) void this.consumer?.resume();
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
    void this.consumer?.pause(true);
    if (this.runs.size === 0) this.told.resolve();
  }

  /** False where a run could not store what it makes; said once each time it comes to that. */
  private async hasSpace(): Promise<boolean> {
    const { log, env } = this.services;
    const { bavail, bsize } = await statfs(env.artifactsDir);
    const enough = bavail * bsize >= env.minFreeBytes;
    if (!enough && !this.full)
      log.error(
        { freeMiB: Math.floor((bavail * bsize) / 2 ** 20), neededMiB: env.minFreeBytes / 2 ** 20 },
        'too little space is left where artifacts are stored: no runs are taken until there is room',
      );
    this.full = !enough;
    return enough;
  }

  private gpuOf(slot: number): Gpu | undefined {
    return this.gpus[slot % this.gpus.length];
  }

  /** A trainer that sees the GPU of its slot only. */
  private newTrainer(slot: number): TrainerProcess {
    const { env } = this.services;
    const threads = env.trainerThreads ?? Math.max(1, Math.floor(availableParallelism() / this.slots));
    // What one trainer has compiled the next ones load: a seventh less of the time until it is ready.
    return new TrainerProcess(
      {
        NODE_COMPILE_CACHE: path.join(this.workRoot, 'compiled'),
        ...env.trainerEnvironment,
        LOOM_TRAINER_THREADS: String(threads),
      },
      { gpu: this.gpuOf(slot), program: env.trainerProgram },
    );
  }

  /**
   * A slot, of this GPU where there is one, with a trainer that is loaded already, or with a new one where that has
   * died. The queue hands out no more jobs than there are slots.
   */
  private takeSlot(gpu: string | null): { slot: number; trainer: TrainerProcess } {
    const [free] = this.free.splice(
      Math.max(
        0,
        this.free.findIndex(({ slot }) => this.gpuOf(slot)?.uuid === gpu),
      ),
      1,
    );
    if (!free) throw new Error(`expected a free slot among ${this.slots}, got another run`);
    return free.trainer.alive ? free : { slot: free.slot, trainer: this.newTrainer(free.slot) };
  }

  /**
   * Extends all leases at once. Runs that the answer does not name are lost; those it wants cancelled or paused are
   * stopped, and so are all when it wants a drain.
   */
  private beat(): void {
    if (this.beating) {
      this.beatAgain = true;
      return;
    }
    const sentAt = performance.now();
    const held = [...this.runs.values()];
    this.beating = this.services.runs.leases
      .heartbeat(
        this.id,
        held.map(({ token }) => token),
      )
      .then(({ drain, asked }) => {
        this.answeredAt = sentAt;
        this.returnToQueue();
        for (const run of held) {
          const answer = asked.get(run.token.runId);
          if (!answer) {
            run.leaseLost('another attempt has begun, or the run has ended');
            continue;
          }
          run.leaseExtended(sentAt);
          if (answer !== 'go on') run.stop(answer);
        }
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

  /** Work folders of processes of this host that are gone. */
  private async removeLeftovers(): Promise<void> {
    const root = path.dirname(this.workRoot);
    const names = await readdir(root).catch(() => []);
    for (const name of names) {
      const [, pid] = /^(?:.*)\.(\d+)$/.exec(name) ?? [];
      if (!name.startsWith(`${hostname()}.`) || !pid || isAlive(Number(pid))) continue;
      await rm(path.join(root, name), { recursive: true, force: true });
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
