/** Who holds the stack of a folder: one process at a time, named in the folder's lock. */
import { createHash, randomUUID } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { link, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
// Past the lib's index, which brings Prisma: commands that start nothing answer three times as fast without it.
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

const lockOf = (dir: string): string => path.join(dir, 'lock');

/** The process that holds the stack of `dir`, while it lives and is known to be the one. */
export function runningPid(dir: string, sources?: ProcessSources): number | undefined {
  const last = chainOf(lockOf(dir)).at(-1);
  const holder = last && holderOf(last.text, sources);
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
  const pid = liveHolder(dir, chainOf(lockOf(dir)).at(-1), sources);
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
 *
 * A lock appears with all of its text, by link(2). One that a process left behind that is gone is followed by a claim,
 * a file whose name is made from that lock's text: link(2) lets one starter make it, and only that one replaces the
 * lock, by rename(2). Who makes a claim too late, after the lock that it follows was replaced, finds that no chain of
 * claims leads there from the lock of today, and begins again. A starter that dies between claim and rename leaves a
 * claim that is followed in the same way.
 * @throws StackRunningError, StackError
 */
export async function takeLock(dir: string, sources?: ProcessSources): Promise<() => void> {
  const lock = lockOf(dir);
  const nonce = randomUUID();
  const draft = `${lock}.${nonce}`;
  const own = `${process.pid} ${identityOf(process.pid, sources)} ${nonce}\n`;
  const release = () => {
    // Who removed the folder may have begun anew in it.
    if (textOf(lock) === own) rmSync(lock, { force: true });
  };
  try {
    await writeFile(draft, own);
    for (;;) {
      if (await linked(draft, lock)) return release;
      const chain = chainOf(lock);
      const last = chain.at(-1);
      if (!last) continue;
      const pid = liveHolder(dir, last, sources);
      if (pid !== undefined) throw new StackRunningError(dir, pid);
      const claim = claimOn(lock, last.text);
      if (!(await linked(draft, claim))) continue;
      if (chainOf(lock).at(-1)?.text !== own) {
        await rm(claim, { force: true });
        continue;
      }
      await rename(claim, lock);
      for (const { file } of chain.slice(1)) await rm(file, { force: true });
      return release;
    }
  } catch (error) {
    if (error instanceof StackError) throw error;
    throw new StackError(`expected to be able to write in ${dir}: ${(error as Error).message}`);
  } finally {
    await rm(draft, { force: true }).catch(() => undefined);
  }
}

interface Link {
  file: string;
  text: string;
}

/** The lock and the claims that follow it, the last of which is of the process that holds it or is about to. */
function chainOf(lock: string): Link[] {
  const chain: Link[] = [];
  for (let file = lock, text = textOf(file); text !== undefined; text = textOf(file)) {
    chain.push({ file, text });
    file = claimOn(lock, text);
  }
  return chain;
}

const claimOn = (lock: string, text: string): string =>
  `${lock}.${createHash('sha256').update(text).digest('hex').slice(0, 16)}`;

function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** Whether the file appeared here, with all that is in the draft; false where there is one. */
async function linked(draft: string, file: string): Promise<boolean> {
  try {
    await link(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Whom a lock's text names, and whether it lives; undefined where the system does not say which process that is. */
function holderOf(text: string, sources?: ProcessSources): { pid: number; lives: boolean | undefined } | undefined {
  const [first, identity = ''] = text.split(/\s/);
  const pid = Number(first);
  return pid > 0 ? { pid, lives: isStill(pid, identity, sources) } : undefined;
}

/** @throws StackError where a process lives under the holder's id that nobody can tell from it */
function liveHolder(dir: string, last: Link | undefined, sources?: ProcessSources): number | undefined {
  const holder = last && holderOf(last.text, sources);
  if (!holder) return undefined;
  const { pid, lives } = holder;
  if (lives === undefined)
    throw new StackError(
      `expected to be told whether process ${pid} holds the stack of ${dir}: end it with \`kill ${pid}\` if it does, ` +
        `else remove ${last.file}, and run the command again`,
    );
  return lives ? pid : undefined;
}
