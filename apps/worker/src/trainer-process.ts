import type { Gpu, TrainerCommand, TrainerMessage } from '#libs/contracts';
import { endRemains, newMark, spawnDependent } from '#libs/platform';
import type { ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Lines, LONGEST_MESSAGE, parseMessage } from './trainer-messages.js';
import type { TrainerUser } from './trainer-users.js';

export const TRAINER = fileURLToPath(new URL('./trainer.js', import.meta.url));
/** Loading TensorFlow takes a second; a machine under load may need longer. */
const READY_TIMEOUT_MS = 120_000;
const STDERR_TAIL = 4000;
/** What a process that has gone has written is there to be read: longer only others hold its channel open. */
const LAST_WORDS_MS = 5000;
/**
 * Has a Node program take this descriptor for the channel to its parent. The parent reads it itself: Node's own end
 * throws at what it can't decode, where nobody can catch it.
 */
const CHANNEL = { NODE_CHANNEL_FD: '3', NODE_CHANNEL_SERIALIZATION_MODE: 'json' };
/** Has TensorFlow print warnings: they say why it can't use a GPU. */
const WARNINGS = { TF_CPP_MIN_LOG_LEVEL: '1' };
/** By which an index in CUDA_VISIBLE_DEVICES means to CUDA what it means to nvidia-smi, and so to `listGpus`. */
const GPU_ORDER = { CUDA_DEVICE_ORDER: 'PCI_BUS_ID' };
/**
 * glibc hands large blocks back to the kernel when they are freed and asks for them anew, so that each step would pay
 * for its tensors' pages again. Here the process keeps what it once had, in large pages: a step allocates what the step
 * before freed.
 * Other C libraries ignore it.
 */
export const KEEP_MEMORY = {
  GLIBC_TUNABLES: [
    'glibc.malloc.mmap_max=0',
    `glibc.malloc.trim_threshold=${2 ** 40}`,
    `glibc.malloc.top_pad=${2 ** 26}`,
    'glibc.malloc.hugetlb=1',
  ].join(':'),
};

/** As many as Node takes by itself, of which one computes a step while others read and write files. */
const LEAST_POOL = 4;
/** Threads that decode files, for as many cores as a trainer may use. Node reads it when a process starts. */
const pool = ({ LOOM_TRAINER_THREADS: threads }: NodeJS.ProcessEnv) => ({
  UV_THREADPOOL_SIZE: String(Math.max(LEAST_POOL, Number(threads) || availableParallelism())),
});

/**
 * A trainer was given a GPU that its TensorFlow does not see. On a CPU it would take a hundred times as long, and say
 * nothing of it.
 */
export class NoGpuError extends Error {
  constructor({ name, uuid }: Gpu, lastWords: string) {
    const why = lastWords
      .split('\n')
      .filter((line) => /^[WEF]\d{4} /.test(line))
      .join('; ');
    super(
      `expected TensorFlow to see GPU ${name} (${uuid}), but it sees none: run \`npm run setup\` on this machine, ` +
        `which brings CUDA's libraries where nvidia-smi answers, or start the worker with CUDA_VISIBLE_DEVICES= ` +
        `(empty) to train on the CPU${why && `; TensorFlow said: ${why}`}`,
    );
  }
}

/** Trainers of this worker that live. */
const living = new Set<number>();

interface TrainerOptions {
  /** The only one that it is to see. */
  gpu?: Gpu | undefined;
  /** Another trainer that speaks the same protocol. */
  program?: string | undefined;
  /** Whom it runs as, where that is not the user of the worker. */
  user?: TrainerUser | undefined;
  /** In a user namespace of its own, so that it can't look into processes of its user, its worker among them. */
  apart?: boolean | undefined;
}

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/**
 * A process that trains one run. It dies with its worker: on Linux the kernel kills it, even inside a native call;
 * elsewhere it leaves when its channel closes. It starts before it is needed, because TensorFlow takes a while to load.
 */
export class TrainerProcess {
  /** When it was started, in milliseconds of the monotonic clock (`CLOCK_MONOTONIC`). */
  readonly bornAtMs = Number(process.hrtime.bigint() / 1_000_000n);
  private readonly child: ChildProcess;
  private readonly channel: Duplex | undefined;
  private stderr = '';
  private handle: ((message: TrainerMessage) => void) | undefined;
  /** What it said, where it is no message: it is not followed any further then. */
  garbled: string | undefined;
  /** The end of what the process wrote to stderr: native crashes explain themselves there. */
  get lastWords(): string {
    return this.stderr.trim();
  }
  /** Resolves when the process has gone, and all that it said has been heard. */
  readonly exited: Promise<Exit>;
  /** Resolves when TensorFlow is loaded. Rejects with a NoGpuError where it does not see `gpu`. */
  readonly ready: Promise<void>;

  /** Whom it runs as, where that is not the user of the worker. */
  readonly user: TrainerUser | undefined;
  /** The GPU that it sees; none where it computes on the processor. */
  readonly gpu: Gpu | undefined;
  private readonly mark = newMark(randomUUID());

  constructor(environment: NodeJS.ProcessEnv, { gpu, program = TRAINER, user, apart = false }: TrainerOptions = {}) {
    this.user = user;
    this.gpu = gpu;
    this.child = spawnDependent(process.execPath, [program], {
      parentDeathSignal: 'KILL',
      noNewPrivileges: true,
      user,
      apart,
      env: {
        ...KEEP_MEMORY,
        ...(gpu && WARNINGS),
        ...pool(environment),
        ...environment,
        ...GPU_ORDER,
        ...CHANNEL,
        ...this.mark,
        ...(gpu && { CUDA_VISIBLE_DEVICES: gpu.uuid }),
      },
      stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
      // A process group of its own: what it starts ends with it.
      detached: true,
    });
    if (this.child.pid !== undefined) living.add(this.child.pid);
    // Neither is there where the system had no descriptors left, or no process.
    this.channel = this.child.stdio?.[3] as Duplex | undefined;
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-STDERR_TAIL);
    });
    this.exited = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => {
        living.delete(this.pid);
        void this.endRest()
          .then(() => this.heardAll())
          .then(() => resolve({ code, signal }));
      });
      this.child.once('error', (error) => {
        this.stderr += error.message;
        resolve({ code: null, signal: null });
      });
    });
    this.ready = new Promise((resolve, reject) => {
      let unseen: Gpu | undefined;
      const timer = setTimeout(
        () => reject(new Error(`expected the trainer to load TensorFlow within ${READY_TIMEOUT_MS / 1000} s`)),
        READY_TIMEOUT_MS,
      );
      this.handle = (message) => {
        clearTimeout(timer);
        if (message.type === 'ready' && message.device === 'cpu') unseen = gpu;
        if (unseen) this.kill();
        else resolve();
      };
      this.child.once('error', (error) => {
        clearTimeout(timer);
        reject(new Error(`a trainer could not be started: ${error.message}`));
      });
      // 'close' comes when all that the process wrote has arrived, 'exit' may come before.
      this.child.once('close', (code, signal) => {
        clearTimeout(timer);
        reject(
          unseen
            ? new NoGpuError(unseen, this.lastWords)
            : new Error(
                `the trainer ended before it was ready (${signal ?? `exit code ${code}`}): ` +
                  `${this.lastWords || 'no output'}`,
              ),
        );
      });
    });
    this.follow();
    // Whoever takes the process looks at `ready`; one that is never taken must not end the worker.
    this.ready.catch(() => undefined);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }
  get alive(): boolean {
    return this.child.pid !== undefined && this.child.exitCode === null && this.child.signalCode === null;
  }

  onMessage(handle: (message: TrainerMessage) => void): void {
    this.handle = handle;
  }

  private follow(): void {
    const lines = new Lines();
    this.channel?.on('data', (piece: Buffer) => {
      if (this.garbled !== undefined) return;
      const said = lines.push(piece);
      if (!said) this.refuse(`more than ${LONGEST_MESSAGE / 2 ** 20} MiB in one message`);
      for (const line of said ?? []) {
        const message = parseMessage(line);
        if (message && this.garbled === undefined) this.handle?.(message);
        else this.refuse(line.slice(0, 200));
      }
    });
    // A process that has gone takes nothing and says nothing: its exit says the rest.
    this.channel?.on('error', () => undefined);
  }

  private refuse(line: string): void {
    this.garbled ??= line;
    this.kill();
  }

  /** A message to a process that has gone is dropped: its exit says the rest. */
  send(command: TrainerCommand): void {
    if (this.channel?.writable) this.channel.write(`${JSON.stringify(command)}\n`);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }

  /**
   * The end of the channel. The system tells of the ends of all processes as soon as one has ended: then what others
   * have said before they went is still to be read.
   */
  private async heardAll(): Promise<void> {
    if (!this.channel || this.channel.closed) return;
    const giveUp = new AbortController();
    await Promise.race([
      once(this.channel, 'close', { signal: giveUp.signal }),
      delay(LAST_WORDS_MS, undefined, { signal: giveUp.signal }),
    ]).catch(() => undefined);
    giveUp.abort();
  }

  /** Ends what a process that has gone has left behind of its own: its group, and what has left that. */
  private async endRest(): Promise<void> {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      /* There is nothing left. */
    }
    await endRemains({ uid: this.user?.uid, mark: Object.values(this.mark)[0], but: living });
  }
}
