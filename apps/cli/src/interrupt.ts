/** Ctrl-C: the first asks a command to end, the second does not wait for it. */
import type { Command } from 'commander';
import { EXIT } from './exit-codes.js';

/** A Ctrl-C reaches the whole group, and programs that started this one pass it on: that is one and the same. */
const ONE_SIGNAL_MS = 500;
/**
 * How long a command may take to end after Ctrl-C: to say what goes on, or to cancel it. What holds a stack takes as
 * long as it takes.
 */
const FAREWELL_MS = 300;
const CANCELLING_MS = 10_000;

/** Aborted by the first Ctrl-C, or SIGTERM. */
export const interrupted = new AbortController();
let interruptedAt = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // The second does not wait for checkpoints: processes end with this one.
    if (interrupted.signal.aborted && performance.now() - interruptedAt > ONE_SIGNAL_MS) process.exit(EXIT.interrupted);
    if (!interrupted.signal.aborted) interruptedAt = performance.now();
    interrupted.abort(new Error('interrupted'));
  });
}

/** Rejects some time after Ctrl-C, be that to come or past. */
export const interruption = (graceMs = FAREWELL_MS): Promise<never> =>
  new Promise((_, reject) => {
    const begin = () => setTimeout(() => reject(interrupted.signal.reason as Error), graceMs);
    if (interrupted.signal.aborted) begin();
    else interrupted.signal.addEventListener('abort', begin, { once: true });
  });

/** Rejects where a command goes on for too long after Ctrl-C, such as one that waits for an answer. */
export const tooLong = (command: Command): Promise<never> =>
  command.name() === 'up' || command.name() === 'demo'
    ? new Promise(() => undefined)
    : interruption(command.opts()['cancelOnInterrupt'] ? CANCELLING_MS : FAREWELL_MS);
