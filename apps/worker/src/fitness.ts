import type { Logger } from '#libs/platform';
import { isFaultOfTheMachine, type Impairment, type Storage } from './storage.js';

/** So often it is looked whether a worker that took no runs can take some again, and the other way round. */
const LOOK_MS = 1000;
/**
 * What storage was found to lack so lately may have ended a run that says so now: what it left may have made room, a
 * volume that was away may be back.
 */
const LATELY_MS = 60_000;
/** What a run says that misses a file or a folder. */
const MISSING = /^(ENOENT|ENOTDIR)$/;

interface FitnessOptions {
  storage: Storage;
  log: Logger;
  /** Why no trainer can be started; undefined where one could. Asked after one could not. */
  startTrainer: () => Promise<string | undefined>;
  /** Has others see why it takes no runs (null: it takes some). Repeated while it fails. */
  tell: (why: string | null) => Promise<void>;
  /** Called with whether runs can be taken, when that has changed. */
  onChange: (fit: boolean) => void;
}

/** What it is of its machine that has ended a run. `lasts`: it has been found to be so still. */
export interface Blame {
  why: string;
  lasts: boolean;
}

/**
 * Whether this worker can work at all: store what runs make, and start trainers. One that can't takes nothing, says so,
 * and takes up again by itself.
 */
export class Fitness {
  private impairment: Impairment | undefined;
  /** What storage was last found to be like that nothing could be stored, and when. */
  private lately: { why: string; at: number } | undefined;
  /** How often a trainer could not be started, and how many of these times were before all could. */
  private failures = 0;
  private mended = 0;
  private told: string | null = null;
  private timer: NodeJS.Timeout | undefined;
  private looking: Promise<void> = Promise.resolve();

  constructor(private readonly options: FitnessOptions) {}

  watch(): void {
    this.timer = setTimeout(() => {
      this.looking = this.look({ anew: true }).then(
        () => this.timer && this.watch(),
        (error: unknown) => this.options.log.error({ err: error }, 'the fitness of the worker could not be told'),
      );
    }, LOOK_MS);
  }

  async close(): Promise<void> {
    clearTimeout(this.timer);
    this.timer = undefined;
    await this.looking;
  }

  /** Whether a run can be taken. `anew`: what was found within the last second does not count. */
  async isFit(how: { anew?: boolean } = {}): Promise<boolean> {
    await this.look(how);
    return this.impairment === undefined;
  }

  /** What of this machine has ended a run that failed of this; undefined where it is the run's own failure. */
  async blameFor(failure: { reason: string; message: string; code?: string | undefined }): Promise<Blame | undefined> {
    const isOfMachine = isFaultOfTheMachine(failure.code);
    if (!isOfMachine && failure.reason !== 'internal_error' && failure.reason !== 'disk_full') return undefined;
    await this.look({ anew: true });
    if (this.impairment?.kind === 'storage') return { why: this.impairment.why, lasts: true };
    if (isOfMachine) return { why: failure.message, lasts: false };
    const isOfFiles = failure.reason === 'disk_full' || MISSING.test(failure.code ?? '');
    if (!isOfFiles || !this.lately || performance.now() - this.lately.at > LATELY_MS) return undefined;
    return { why: this.lately.why, lasts: false };
  }

  /** A trainer could not be started: until one can, no run is taken. */
  async trainerFailed(): Promise<void> {
    this.failures++;
    await this.look();
  }

  private async look(how: { anew?: boolean } = {}): Promise<void> {
    const found = (await this.options.storage.look(how)) ?? (await this.trainers());
    const wasFit = this.impairment === undefined;
    const { log, onChange } = this.options;
    if (found && found.why !== this.impairment?.why) log.error(`no runs are taken: ${found.why}`);
    if (!found && !wasFit) log.info('runs are taken again');
    this.impairment = found;
    if (found?.kind === 'storage') this.lately = { why: found.why, at: performance.now() };
    if (wasFit !== (found === undefined)) onChange(found === undefined);
    await this.tell(found?.why ?? null);
  }

  private async trainers(): Promise<Impairment | undefined> {
    const { failures } = this;
    if (failures === this.mended) return undefined;
    const why = await this.options.startTrainer();
    if (why === undefined) this.mended = failures;
    return why === undefined ? undefined : { kind: 'storage', why };
  }

  private async tell(why: string | null): Promise<void> {
    if (this.told === why) return;
    await this.options.tell(why).then(
      () => {
        this.told = why;
      },
      // Postgres is away; it is said the next time.
      () => undefined,
    );
  }
}
