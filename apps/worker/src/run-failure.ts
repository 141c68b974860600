/** Why an attempt ended without a result, in the classes that decide whether it is repeated. */
import type { StatusReason } from '#libs/contracts';
import { CorruptArtifactError } from '#libs/platform';
import { readFile } from 'node:fs/promises';
import type { Exit } from './trainer-process.js';

export class RunFailure extends Error {
  constructor(
    readonly reason: StatusReason,
    message: string,
  ) {
    super(message);
  }
}

/** What V8, the C++ library and TensorFlow say when memory is out, on a GPU or not. */
const OUT_OF_MEMORY =
  /heap out of memory|Array buffer allocation failed|std::bad_alloc|OOM when allocating|RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|Cannot allocate memory/i;
/** What CUDA says of a card that is broken, or was lost. */
const GPU_FAULT =
  /CUDA_ERROR_(ECC|HARDWARE|ILLEGAL|LAUNCH|MISALIGNED|INVALID_DEVICE|NO_DEVICE|DEVICE_UNAVAILABLE|UNKNOWN)|CUDNN_STATUS_(INTERNAL|EXECUTION)|uncorrectable ECC|Xid/i;

/** How many processes the kernel of this machine has killed for want of memory; 0 where it does not say. */
export async function kernelKills(): Promise<number> {
  return Number(/^oom_kill (\d+)$/m.exec(await readFile('/proc/vmstat', 'utf8').catch(() => ''))?.[1] ?? 0);
}

/**
 * Of a trainer that died by itself. `words`: the end of what it wrote to stderr; `killsBefore`: what `kernelKills` was
 * when it began.
 */
export async function failureOfDeath({ code, signal }: Exit, words: string, killsBefore: number): Promise<RunFailure> {
  const ending = signal ?? `exit code ${code}`;
  const how = `the trainer process ended with ${ending}${words ? `; its last words: ${words}` : ''}`;
  if (OUT_OF_MEMORY.test(words) || (signal === 'SIGKILL' && (await kernelKills()) > killsBefore))
    return new RunFailure(
      'oom',
      `not enough memory: lower the batch size or the width, or take a machine with more; ${how}`,
    );
  return new RunFailure(GPU_FAULT.test(words) ? 'gpu_error' : 'worker_crash', how);
}

/** Failure of a run by anything that was thrown. */
export function failureOf(error: unknown): RunFailure {
  if (error instanceof RunFailure) return error;
  if (error instanceof CorruptArtifactError) return new RunFailure('internal_error', error.message);
  if ((error as NodeJS.ErrnoException)?.code === 'ENOSPC')
    return new RunFailure('disk_full', 'no space is left where artifacts are stored: make room, then retry the run');
  return new RunFailure('internal_error', error instanceof Error ? error.message : String(error));
}
