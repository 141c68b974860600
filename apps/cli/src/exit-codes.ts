import { ApiError, UnreachableError } from '#libs/contracts';
import { UsageError } from './usage-error.js';
import { StackError } from './stack-lock.js';

/** Exit codes, by which scripts tell outcomes apart. */
export const EXIT = { ok: 0, failed: 1, usage: 2, unreachable: 3, interrupted: 130 } as const;

export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return EXIT.usage;
  if (error instanceof ApiError) return error.status < 500 ? EXIT.usage : EXIT.failed;
  return error instanceof UnreachableError || error instanceof StackError ? EXIT.unreachable : EXIT.failed;
}
