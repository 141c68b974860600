import type { Gpu, TrainerCommand, TrainerMessage } from '#libs/contracts';
import { spawnDependent } from '#libs/platform';
import type { ChildProcess } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const TRAINER = fileURLToPath(new URL('./trainer.js', import.meta.url));
/** Loading TensorFlow takes a second; a machine under load may need longer. */
const READY_TIMEOUT_MS = 120_000;
const STDERR_TAIL = 4000;
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

export interface Exit {
  code: number | null;
  signal: NodeJS.Signals | null;
}

/**
 * A process that trains one run. It dies with its worker: on Linux the kernel kills it, even inside a native call;
 * elsewhere it leaves when its channel closes. It starts before it is needed, because TensorFlow takes a while to load.
 */
export class TrainerProcess {
  private readonly child: ChildProcess;
  private stderr = '';
  /** The end of what the process wrote to stderr: native crashes explain themselves there. */
  get lastWords(): string {
    return this.stderr.trim();
  }
  readonly exited: Promise<Exit>;
  /** Resolves when TensorFlow is loaded. Rejects with a NoGpuError where it does not see `gpu`. */
  readonly ready: Promise<void>;

  /** `gpu`: the only one that it is to see; `program`: another trainer that speaks the same protocol. */
  constructor(
    environment: NodeJS.ProcessEnv,
    { gpu, program = TRAINER }: { gpu?: Gpu | undefined; program?: string | undefined } = {},
  ) {
    this.child = spawnDependent(process.execPath, [program], {
      parentDeathSignal: 'KILL',
      noNewPrivileges: true,
      env: {
        ...KEEP_MEMORY,
        ...(gpu && WARNINGS),
        ...environment,
        ...GPU_ORDER,
        ...(gpu && { CUDA_VISIBLE_DEVICES: gpu.uuid }),
      },
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      serialization: 'advanced',
    });
    this.child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-STDERR_TAIL);
    });
    this.exited = new Promise((resolve) => {
      this.child.once('exit', (code, signal) => resolve({ code, signal }));
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
      this.child.once('message', (message: TrainerMessage) => {
        clearTimeout(timer);
        if (message.type === 'ready' && message.device === 'cpu') unseen = gpu;
        if (unseen) this.kill();
        else resolve();
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
    // Whoever takes the process looks at `ready`; one that is never taken must not end the worker.
    this.ready.catch(() => undefined);
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }
  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  onMessage(handle: (message: TrainerMessage) => void): void {
    this.child.on('message', (message) => handle(message as TrainerMessage));
  }

  /** A message to a process that has gone is dropped: its exit says the rest. */
  send(command: TrainerCommand): void {
    if (this.child.connected) this.child.send(command, () => undefined);
  }

  kill(): void {
    this.child.kill('SIGKILL');
  }
}
