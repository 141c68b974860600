/** Who holds the stack of a folder: one process at a time, by a lock of the kernel's that ends with it. */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
// Past the lib's index, which brings Prisma: commands that start nothing answer three times as fast without it.
import { isLocked, lockFile } from '../../../libs/platform/src/machine/file-lock.js';
import { identityOf, isStill, type ProcessSources } from '../../../libs/platform/src/machine/process-identity.js';

/** A worker writes a checkpoint before it goes, so that the next start goes on from there. */
export const STOP_GRACE_MS = 20_000;

/** The stack can't be brought up; the message says what to do. */
export class StackError extends Error {}

/** Another process holds the stack of this folder. */
export class StackRunningError extends StackError {
  constructor(
    readonly dir: string,
    readonly pid: number,
  ) {
    super(`expected nothing to run in ${dir}, but process ${pid} does: use it, or end it with \`loom down\``);
  }
}

const lockOf = (dir: string): string => path.join(dir, 'stack.lock');
/** Names the process that has the lock. */
const holderFile = (dir: string): string => path.join(dir, 'holder');

const NAMING_MS = 10_000;

const isHeld = (dir: string): boolean => isLocked(lockOf(dir));

/** The process that holds the stack of `dir`, while it lives and is known to be the one. */
export function runningPid(dir: string, sources?: ProcessSources): number | undefined {
  const holder = isHeld(dir) ? holderOf(dir, sources) : undefined;
  return holder?.lives ? holder.pid : undefined;
}

/**
 * Ends the stack of `dir`, whoever holds it; false when none runs.
 * @throws StackError where it does not end in time, or where the system does not say whether its process is the stack's
 */
export async function stopStack(
  dir: string,
  timeoutMs = STOP_GRACE_MS + 30_000,
  sources?: ProcessSources,
): Promise<boolean> {
  const pid = await liveHolder(dir, sources);
  if (pid === undefined) return false;
  process.kill(pid, 'SIGTERM');
  for (const until = performance.now() + timeoutMs; runningPid(dir, sources) === pid; await delay(100)) {
    if (performance.now() > until)
      throw new StackError(
        `expected process ${pid} to end within ${timeoutMs / 1000} s: end it with \`kill -9 ${pid}\``,
      );
  }
  return true;
}

/**
 * Makes this process the holder of `dir`, until the function is called that is returned.
 * @throws StackRunningError, StackError
 */
export async function takeLock(dir: string, sources?: ProcessSources): Promise<() => void> {
  try {
    for (;;) {
      const lock = lockFile(lockOf(dir));
      if (lock) {
        const draft = `${holderFile(dir)}.${process.pid}`;
        writeFileSync(draft, `${process.pid} ${identityOf(process.pid, sources)}\n`);
        renameSync(draft, holderFile(dir));
        return () => {
          rmSync(holderFile(dir), { force: true });
          lock.release();
        };
      }
      const pid = await liveHolder(dir, sources);
      if (pid !== undefined) throw new StackRunningError(dir, pid);
    }
  } catch (error) {
    if (error instanceof StackError) throw error;
    throw new StackError(`expected to be able to write in ${dir}: ${(error as Error).message}`);
  }
}

/** Whom the folder names, and whether it lives, undefined where the system does not say which process that is. */
function holderOf(dir: string, sources?: ProcessSources): { pid: number; lives: boolean | undefined } | undefined {
  let text: string;
  try {
    text = readFileSync(holderFile(dir), 'utf8');
  } catch {
    return undefined;
  }
  const [first, identity = ''] = text.split(/\s/);
  const pid = Number(first);
  return pid > 0 ? { pid, lives: isStill(pid, identity, sources) } : undefined;
}

/**
 * Who has the lock; undefined where nobody has. Between the lock and its name is a moment in which the folder names
 * nobody, or one that is gone.
 * @throws StackError where nobody can tell whether the process that is named is the one
 */
async function liveHolder(dir: string, sources?: ProcessSources): Promise<number | undefined> {
  for (const until = performance.now() + NAMING_MS; isHeld(dir); await delay(20)) {
    const holder = holderOf(dir, sources);
    if (holder?.lives) return holder.pid;
    if (holder && holder.lives === undefined)
      throw new StackError(
        `expected to be told whether process ${holder.pid} holds the stack of ${dir}: end it with ` +
          `\`kill ${holder.pid}\` if it does, and run the command again`,
      );
    if (performance.now() > until)
      throw new StackError(
        `expected ${holderFile(dir)} to name the process that holds ${lockOf(dir)}: end that process ` +
          `(\`fuser ${lockOf(dir)}\` says which it is), and run the command again`,
      );
  }
  return undefined;
}
