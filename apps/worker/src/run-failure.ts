/** Why an attempt ended without a result, in the classes that decide whether it is repeated. */
import type { StatusReason } from '#libs/contracts';
import { CorruptArtifactError, NoFileError } from '#libs/platform';
import type { Exit } from './trainer-process.js';

export class RunFailure extends Error {
  constructor(
    readonly reason: StatusReason,
    message: string,
    /** What the system called it. */
    readonly code?: string,
  ) {
    super(message);
  }
}

/** What this worker could not do for a run that it had taken: that is no failure of the run. */
export class UnfitError extends Error {}

/** What V8, the C++ library and TensorFlow say when memory is out, on a GPU or not. */
const OUT_OF_MEMORY =
  /heap out of memory|Array buffer allocation failed|std::bad_alloc|OOM when allocating|RESOURCE_EXHAUSTED|CUDA_ERROR_OUT_OF_MEMORY|Cannot allocate memory/i;
/** What CUDA says of a card that is broken, or was lost. */
const GPU_FAULT =
  /CUDA_ERROR_(ECC|HARDWARE|ILLEGAL|LAUNCH|MISALIGNED|INVALID_DEVICE|NO_DEVICE|DEVICE_UNAVAILABLE|UNKNOWN)|CUDNN_STATUS_(INTERNAL|EXECUTION)|uncorrectable ECC|Xid/i;

/**
 * Of a trainer that died by itself. `words`: the end of what it wrote to stderr; `killedForMemory`: whether the kernel
 * killed it for that, asked only of one that was killed.
 */
export async function failureOfDeath(
  { code, signal }: Exit,
  words: string,
  killedForMemory: () => Promise<boolean>,
): Promise<RunFailure> {
  const ending = signal ?? `exit code ${code}`;
  const how = `the trainer process ended with ${ending}${words ? `; its last words: ${words}` : ''}`;
  if (OUT_OF_MEMORY.test(words) || (signal === 'SIGKILL' && (await killedForMemory())))
    return new RunFailure(
      'oom',
      `not enough memory: lower the batch size or the width, or take a machine with more; ${how}`,
    );
  return new RunFailure(GPU_FAULT.test(words) ? 'gpu_error' : 'worker_crash', how);
}

/** Failure of a run by anything that was thrown. */
export function failureOf(error: unknown): RunFailure {
  if (error instanceof RunFailure) return error;
  if (error instanceof NoFileError) return new RunFailure('worker_crash', error.message);
  if (error instanceof CorruptArtifactError) return new RunFailure('internal_error', error.message);
  if ((error as NodeJS.ErrnoException)?.code === 'ENOSPC')
    return new RunFailure(
      'disk_full',
      'no space is left where artifacts are stored: make room, then retry the run',
      'ENOSPC',
    );
  return new RunFailure(
    'internal_error',
    error instanceof Error ? error.message : String(error),
    (error as NodeJS.ErrnoException)?.code,
  );
}
