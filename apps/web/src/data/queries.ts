/** Queries of the pages over the typed client, repeated when one stream of all runs says that some changed. */
import { RateMeter, type Run } from '#libs/contracts';
import {
  keepPreviousData,
  MutationCache,
  QueryCache,
  QueryClient,
  useQuery,
  type UseQueryResult,
} from '@tanstack/react-query';
import { Coalesced } from './coalesced.js';
import { client, heard, heardOf, isFinal, persistently } from './connection.js';
import { useWatched, Watched } from './watched.js';

export { client } from './connection.js';

/** How often what is shown is asked again while no stream says whether it has changed. */
const REFRESH_MS = 3000;
/** How often what changes mostly with runs, but also without, is asked again beside. */
export const SELDOM_MS = 60_000;
/** Least time from a change, or from the answers to the last one, to what is asked because of it. */
const CHANGE_MS = 2000;

const hearing = {
  onSuccess: () => heard(true),
  onError: heardOf,
};

export const queries = new QueryClient({
  queryCache: new QueryCache(hearing),
  mutationCache: new MutationCache(hearing),
  defaultOptions: {
    queries: { retry: false, networkMode: 'always', staleTime: 1000 },
    mutations: { networkMode: 'always' },
  },
});

// What the API says of itself

/** Whether the stream of changes is connected. */
const told = new Watched(false);

/** Who else hears which runs have changed: null where it is not known. */
const hearers = new Set<(changed: readonly string[] | null) => void>();
/** @returns what ends it */
export function onChanges(hearer: (changed: readonly string[] | null) => void): () => void {
  hearers.add(hearer);
  return () => hearers.delete(hearer);
}

/** Asks again for what is shown and can change, or has failed. */
const renew = (): Promise<void> =>
  queries.invalidateQueries({
    predicate: ({ meta, state: { data, error } }) =>
      error !== null || (meta?.['changes'] as ((data: unknown) => boolean) | undefined)?.(data) !== false,
  });
const renewal = new Coalesced(renew, CHANGE_MS);

/** Follows the changes of all runs. What changed before the connection is not told: all is asked then. */
async function followChanges(signal: AbortSignal): Promise<void> {
  const lost = () => told.set(false);
  await persistently(
    () =>
      client.followRuns(
        { archived: 'all' },
        {
          onChange: ({ changed }) => {
            heard(true);
            const first = !told.get();
            told.set(true);
            for (const each of hearers) each(first ? null : changed);
            // What nobody sees is asked for when somebody does.
            if (document.hidden) return;
            if (first) void renew();
            else renewal.ask();
          },
          onLost: (error) => {
            lost();
            heardOf(error);
          },
        },
        { signal, retries: Number.POSITIVE_INFINITY },
      ),
    { signal, failed: lost },
  );
}

let following: AbortController | undefined;

/** Whether changes are followed while nobody sees the page. */
let hidden = false;

/** Says whether somebody wants to hear of changes while nobody sees the page. */
export function followHidden(wanted: boolean): void {
  if (wanted === hidden) return;
  hidden = wanted;
  if (document.hidden) follow();
}

/**
 * Connects anew. A page that nobody sees has no connection unless it is told to: browsers have six of them for all
 * pages of an address.
 */
function follow(): void {
  following?.abort();
  told.set(false);
  if (document.hidden && !hidden) return;
  following = new AbortController();
  void followChanges(following.signal);
}

document.addEventListener('visibilitychange', follow);
addEventListener('online', follow);
addEventListener('offline', follow);
follow();

// What is shown

/**
 * `load` again whenever a run has changed, for as long as `live` says that it can change, and `everyMs` where it also
 * changes without one.
 */
export function useLive<T>(
  key: readonly unknown[],
  load: () => Promise<T>,
  {
    live = true,
    everyMs,
    keep = false,
    enabled = true,
  }: { live?: boolean | ((value: T) => boolean); everyMs?: number; keep?: boolean; enabled?: boolean } = {},
): UseQueryResult<T> {
  const stream = useWatched(told);
  const changes = (data: T | undefined) => (typeof live === 'function' ? data === undefined || live(data) : live);
  const repeatMs = stream ? (everyMs ?? false) : REFRESH_MS;
  return useQuery<T>({
    queryKey: key,
    queryFn: load,
    enabled,
    meta: { changes },
    refetchInterval: ({ state: { data, error } }) => {
      if (error && !isFinal(error)) return REFRESH_MS;
      return changes(data) && repeatMs;
    },
    ...(keep && { placeholderData: keepPreviousData }),
  });
}

/** The workers, who change without a run: they come, go, and say that they are there. */
export const useWorkers = () => useLive(['workers'], () => client.workers(), { everyMs: 15_000 });

/** Scores by class that a run has stored as JSON, by their address: they do not change. */
export const useReport = <Report>(url: string): UseQueryResult<Report> =>
  useLive(
    ['report', url],
    async () => {
      const answer = await fetch(url);
      if (!answer.ok) throw new Error(`expected the scores by class, got HTTP ${answer.status}`);
      return (await answer.json()) as Report;
    },
    { live: false },
  );

/** Asks everything again that is shown: after an action. */
export const refresh = (): Promise<void> => queries.invalidateQueries();

/** Progress of runs seen on any page, so that a run's rate is known when one comes back. */
export const meter = new RateMeter();

/** The runs that this one takes its input from, and those that take its result. */
export function useLineage(run: Run | undefined) {
  return useLive(
    ['lineage', run?.id],
    async () => {
      const [parents, children] = await Promise.all([
        Promise.all(run!.parents.map((id) => client.run(id))),
        client.runs({ parent: run!.id, limit: 100 }),
      ]);
      return { parents, children: children.items, more: children.nextCursor !== null };
    },
    { enabled: run !== undefined },
  );
}
