import type { Gpu } from '#libs/contracts';
import { TrainerProcess } from './trainer-process.js';
import type { TrainerUsers } from './trainer-users.js';

/** A place for one run, with the trainer that was started for it. */
export interface Slot {
  slot: number;
  trainer: TrainerProcess;
}

/**
 * How the trainers of a machine are started: on which GPUs, in what environment, by which program (default: ours), as
 * whom (default: the user of the worker).
 */
export interface TrainerSettings {
  gpus: readonly Gpu[];
  environment: NodeJS.ProcessEnv;
  program: string | undefined;
  users?: TrainerUsers | undefined;
  /** Each in a user namespace of its own. */
  apart?: boolean;
}

/**
 * The places for runs on this machine. Each that is free has a trainer that is loaded already; each trainer sees the
 * GPU of its slot only.
 */
export class Slots {
  private readonly free: Slot[];

  constructor(
    readonly count: number,
    private readonly settings: TrainerSettings,
  ) {
    this.free = Array.from({ length: count }, (_, slot) => ({ slot, trainer: this.newTrainer(slot) }));
  }

  /** Resolves when all trainers are loaded. Rejects when one can't start, or does not see its GPU. */
  async ready(): Promise<void> {
    await Promise.all(this.free.map(({ trainer }) => trainer.ready));
  }

  /** UUIDs of the GPUs of free slots. */
  get freeGpus(): string[] {
    return this.free.flatMap(({ slot }) => this.gpuOf(slot)?.uuid ?? []);
  }

  /**
   * Takes a slot, of this GPU where there is one, with a trainer that is loaded already, or with a new one where that
   * has died. The queue hands out no more jobs than there are slots.
   */
  take(gpu: string | null): Slot {
    const place = this.free.findIndex(({ slot }) => this.gpuOf(slot)?.uuid === gpu);
    const [free] = this.free.splice(Math.max(0, place), 1);
    if (!free) throw new Error(`expected a free slot among ${this.count}, got another run`);
    return free.trainer.alive ? free : { slot: free.slot, trainer: this.newTrainer(free.slot) };
  }

  /**
   * Frees a slot and loads a trainer for the next run in it. Resolves when that is loaded; rejects when it can't start,
   * or does not see its GPU.
   */
  async release({ slot }: Slot): Promise<void> {
    const trainer = this.newTrainer(slot);
    this.free.push({ slot, trainer });
    await trainer.ready;
  }

  /**
   * Starts a trainer anew in each free slot whose own is gone. Resolves with why one could not be started; undefined
   * when all are loaded.
   */
  async startAgain(): Promise<string | undefined> {
    for (const free of this.free) if (!free.trainer.alive) free.trainer = this.newTrainer(free.slot);
    return Promise.all(this.free.map(({ trainer }) => trainer.ready)).then(
      () => undefined,
      (error: Error) => error.message,
    );
  }

  /** Kills the trainers of the slots that are free. */
  close(): void {
    for (const { trainer } of this.free) trainer.kill();
  }

  private gpuOf(slot: number): Gpu | undefined {
    return this.settings.gpus[slot % this.settings.gpus.length];
  }

  private newTrainer(slot: number): TrainerProcess {
    const { environment, program, users, apart } = this.settings;
    return new TrainerProcess(
      { ...environment, ...users?.environmentOf(slot) },
      { gpu: this.gpuOf(slot), program, user: users?.of(slot), apart },
    );
  }
}
