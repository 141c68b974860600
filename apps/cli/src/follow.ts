/** Runs followed to their end, on a board. */
import {
  ApiError,
  isTerminal,
  type LinkHandlers,
  type LoomClient,
  type Run,
  type RunHandlers,
  type RunStatus,
  type SweepStanding,
} from '#libs/contracts';
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
  /** Cancels no run that others have asked for too. */
  spareShared?: boolean | undefined;
  /** Told what becomes of the runs where the signal ends it before they have ended. */
  say(line: string): void;
}

/** Follows a run that is added on the board, to its end. */
type Add = (run: Run) => Promise<Run>;

/**
 * Follows the runs given, and those that `more` adds, until `more` has its result. `more` may follow another stream,
 * whose `link` says on the board when it is lost.
 * @throws the signal's reason; UnreachableError where the API stays away
 */
export async function following<Result>(
  api: LoomClient,
  runs: readonly Run[],
  { output, signal, sweep, cancelOnInterrupt = false, spareShared = false, say }: FollowOptions,
  more: (add: Add, given: Promise<Run[]>, link: LinkHandlers) => Promise<Result>,
): Promise<Result> {
  const board = new ProgressBoard(output);
  const open = new Set<string>();
  const lost = new Set<string>();
  const linkOf = (stream: string): LinkHandlers => ({
    onLost: (error) => {
      lost.add(stream);
      board.note(`${error.message}: trying again`);
    },
    onBack: () => {
      if (lost.delete(stream) && lost.size === 0) board.note('');
    },
  });
  const add = async (run: Run): Promise<Run> => {
    open.add(run.id);
    board.add(run, run.name ?? run.kind);
    const handlers: RunHandlers = {
      onRun: (news) => board.update(news),
      onMetrics: (points) => board.metrics(run.id, points),
      ...linkOf(run.id),
    };
    const ended = await api.follow(run.id, handlers, { signal, retries: FOLLOW_RETRIES });
    open.delete(run.id);
    return ended;
  };
  try {
    return await more(add, Promise.all(runs.map(add)), linkOf(sweep ?? ''));
  } catch (error) {
    board.end();
    if (signal.aborted) {
      const left = sweep === undefined ? [...open] : [sweep];
      const cancelled: string[] = [];
      for (const id of cancelOnInterrupt ? left : [])
        if (await cancel(api, id, { isSweep: sweep !== undefined, spareShared })) cancelled.push(id);
      if (cancelled.length > 0) say(`cancelled ${cancelled.join(' ')}`);
      const ids = left.filter((id) => !cancelled.includes(id)).join(' ');
      if (ids)
        say(
          `no longer followed, and going on: \`loom watch ${ids}\` follows, ` +
            `\`loom ${sweep === undefined ? `cancel ${ids}` : `sweep ${sweep} --cancel`}\` ends`,
        );
    }
    throw error;
  } finally {
    board.end();
  }
}

/** False where others want the run too. What has ended in the meantime can't be cancelled, and need not be. */
async function cancel(
  api: LoomClient,
  id: string,
  { isSweep, spareShared }: { isSweep: boolean; spareShared: boolean },
): Promise<boolean> {
  if (spareShared && !isSweep && (await isShared(api, id))) return false;
  await (isSweep ? api.cancelSweep(id) : api.cancelRun(id)).catch((fault: unknown) => {
    if (!(fault instanceof ApiError)) throw fault;
  });
  return true;
}

/** True where somebody has asked for the run since it was submitted, or for a child of it. */
async function isShared(api: LoomClient, id: string): Promise<boolean> {
  for (let cursor: string | undefined; ;) {
    const page = await api.events(id, { limit: 500, ...(cursor !== undefined && { cursor }) });
    if (page.items.some(({ type }) => type === 'asked')) return true;
    if (page.nextCursor === null) return false;
    cursor = page.nextCursor;
  }
}

export const followed = (api: LoomClient, runs: readonly Run[], options: FollowOptions): Promise<Run[]> =>
  following(api, runs, options, (_, given) => given);

/** Nothing goes on in a sweep that is paused, and has no run that is: who would go on with it is somebody else. */
const isAtRest = ({ status, runCounts }: SweepStanding): boolean =>
  status === 'paused' && Object.keys(runCounts).every((each) => isTerminal(each as RunStatus));

/**
 * Follows a sweep until it has ended or is at rest, and each of its runs from the moment when it is there. Returns how
 * the runs ended.
 */
export const followedSweep = (api: LoomClient, id: string, options: FollowOptions): Promise<Run[]> =>
  following(api, [], options, async (add, _, link) => {
    const runs = new Map<string, Promise<Run>>();
    const { promise: over, resolve: end, reject } = Promise.withResolvers<unknown>();
    const look = async (): Promise<void> => {
      for await (const run of api.eachRun({ sweep: id, sort: 'createdAt' }))
        if (!runs.has(run.id)) {
          const ended = add(run);
          ended.catch(reject);
          runs.set(run.id, ended);
        }
    };
    let looked = Promise.resolve();
    const onChange = (standing: SweepStanding) => {
      looked = looked.then(async () => {
        const there = Object.values(standing.runCounts).reduce((sum, count) => sum + count, 0);
        if (there > runs.size) await look();
        if (isAtRest(standing)) end(standing);
      });
      looked.catch(reject);
    };
    const follows = { signal: options.signal, retries: FOLLOW_RETRIES };
    api.followSweep(id, { onChange, ...link }, follows).then(end, reject);
    await over;
    await looked;
    return Promise.all(runs.values());
  });
