/** Runs followed to their end, on a board. */
import { ApiError, type LoomClient, type Run, type RunHandlers } from '#libs/contracts';
import { ProgressBoard } from './board.js';
import type { Output } from './render.js';

/** How often a stream that breaks is taken up again: longer than an API takes to start anew. */
export const FOLLOW_RETRIES = 10;

export interface FollowOptions {
  output: Output;
  signal: AbortSignal;
  /** The sweep that the runs are of: it is what is cancelled, and followed again. */
  sweep?: string | undefined;
  /** Cancels the runs where the signal ends it before they have ended. */
  cancelOnInterrupt?: boolean | undefined;
  /** Told what becomes of the runs where the signal ends it before they have ended. */
  say(line: string): void;
}

/**
 * Follows the runs given, and those that `more` adds, until `more` has its result.
 * @throws the signal's reason; UnreachableError where the API stays away
 */
export async function following<Result>(
  api: LoomClient,
  runs: readonly Run[],
  { output, signal, sweep, cancelOnInterrupt = false, say }: FollowOptions,
  more: (add: (run: Run) => Promise<Run>, given: Promise<Run[]>) => Promise<Result>,
): Promise<Result> {
  const board = new ProgressBoard(output);
  const open = new Set<string>();
  const lost = new Set<string>();
  const add = async (run: Run): Promise<Run> => {
    open.add(run.id);
    board.add(run, run.name ?? run.kind);
    const handlers: RunHandlers = {
      onRun: (news) => board.update(news),
      onMetrics: (points) => board.metrics(run.id, points),
      onLost: (error) => {
        lost.add(run.id);
        board.note(`${error.message}: trying again`);
      },
      onBack: () => {
        if (lost.delete(run.id) && lost.size === 0) board.note('');
      },
    };
    const ended = await api.follow(run.id, handlers, { signal, retries: FOLLOW_RETRIES });
    open.delete(run.id);
    return ended;
  };
  try {
    return await more(add, Promise.all(runs.map(add)));
  } catch (error) {
    board.end();
    const ids = sweep ?? [...open].join(' ');
    if (signal.aborted && ids && cancelOnInterrupt) {
      for (const cancelling of sweep === undefined
        ? [...open].map((id) => api.cancelRun(id))
        : [api.cancelSweep(sweep)])
        await cancelling.catch((fault: unknown) => {
          // What has ended in the meantime can't be cancelled, and need not be.
          if (!(fault instanceof ApiError)) throw fault;
        });
      say(`cancelled ${ids}`);
    } else if (signal.aborted && ids)
      say(
        `no longer followed, and going on: \`loom watch ${ids}\` follows, ` +
          `\`loom ${sweep === undefined ? `cancel ${ids}` : `sweep ${sweep} --cancel`}\` ends`,
      );
    throw error;
  } finally {
    board.end();
  }
}

export const followed = (api: LoomClient, runs: readonly Run[], options: FollowOptions): Promise<Run[]> =>
  following(api, runs, options, (_, given) => given);
