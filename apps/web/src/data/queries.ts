/** Queries of the pages over the typed client, repeated while a page is looked at. */
import { LoomClient, RateMeter, UnreachableError, type Run } from '#libs/contracts';
import {
  keepPreviousData,
  MutationCache,
  QueryCache,
  QueryClient,
  useQuery,
  type UseQueryResult,
} from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';

export const client = new LoomClient({ url: location.origin, retries: 1 });

const REFRESH_MS = 3000;

// Whether the API answers

let offlineSince: number | undefined;

const watchers = new Set<() => void>();

export function heard(answered: boolean): void {
  const next = answered ? undefined : (offlineSince ?? Date.now());
  if (next === offlineSince) return;
  offlineSince = next;
  for (const each of watchers) each();
}

const hearing = {
  onSuccess: () => heard(true),
  onError: (error: unknown) => heard(!(error instanceof UnreachableError)),
};

/** Since when the API has not answered, in ms; undefined while it does. */
export const useOffline = (): number | undefined =>
  useSyncExternalStore(
    (listener) => {
      watchers.add(listener);
      return () => watchers.delete(listener);
    },
    () => offlineSince,
  );

export const queries = new QueryClient({
  queryCache: new QueryCache(hearing),
  mutationCache: new MutationCache(hearing),
  defaultOptions: {
    queries: { retry: false, networkMode: 'always', refetchInterval: REFRESH_MS, staleTime: 1000 },
    mutations: { networkMode: 'always' },
  },
});

/** `load` again every few seconds while the page is looked at; `live: false` for what no longer changes. */
export function useLive<T>(
  key: readonly unknown[],
  load: () => Promise<T>,
  {
    live = true,
    keep = false,
    enabled = true,
  }: { live?: boolean | ((value: T) => boolean); keep?: boolean; enabled?: boolean } = {},
): UseQueryResult<T> {
  return useQuery<T>({
    queryKey: key,
    queryFn: load,
    enabled,
    refetchInterval: ({ state: { data } }) =>
      (typeof live === 'function' ? data === undefined || live(data) : live) ? REFRESH_MS : false,
    ...(keep && { placeholderData: keepPreviousData }),
  });
}

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
