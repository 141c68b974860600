/** How long an API holds its event loop: of a process of its own, for a test that reads long answers holds its own. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { freePort, preload } from './processes.js';
import { startStack } from './stack.js';

/** Milliseconds for which one piece of work may hold the loop, on a machine where `fixedWork` takes FIXED_MS. */
const BOUND_MS = 50;
const FIXED_MS = 17;

export interface Hold {
  /** Milliseconds of processor time. */
  worked: number;
  /** Milliseconds by the clock: on a busy machine others have a part in it. */
  lasted: number;
}

/** What a processor is measured by: milliseconds for JSON and maps as an API works on them. */
function fixedWork(): number {
  const before = process.threadCpuUsage();
  const rows = Array.from({ length: 10_000 }, (_, i) => ({ id: `row-${i}`, values: [i, i / 3, String(i)] }));
  const found = new Map<string, number>();
  for (const { id, values } of JSON.parse(JSON.stringify(rows)) as typeof rows)
    found.set(`${id} ${values.join()}`, values.length);
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1000;
}

/** What `startStack` starts, with an API whose event loop is watched. */
export async function startWatchedStack(environment: Record<string, string> = {}) {
  const port = await freePort();
  const stack = await startStack({
    environment: { TEST_LOOP_PORT: String(port), NODE_OPTIONS: preload('watch-loop.mjs'), ...environment },
  });
  const slowness = Math.max(1, Math.min(...Array.from({ length: 10 }, fixedWork)) / FIXED_MS);
  /** Milliseconds that this machine needs for what may take BOUND_MS. */
  const bound = BOUND_MS * slowness;

  async function read(): Promise<Hold> {
    const socket = connect(port, '127.0.0.1');
    await once(socket, 'connect');
    return JSON.parse(await text(socket)) as Hold;
  }

  return {
    ...stack,
    bound,
    /**
     * The longest that the loop was held while something was done: of several times the shortest, for the first finds
     * code that has not been compiled. It is done once where that was short enough.
     */
    longestHold: async (work: () => Promise<unknown>, times = 3): Promise<Hold> => {
      const holds: Hold[] = [];
      do {
        await read();
        await work();
        holds.push(await read());
      } while (holds.length < times && holds.at(-1)!.worked >= bound);
      return holds.reduce((least, hold) => (hold.worked < least.worked ? hold : least));
    },
  };
}
