/**
 * The address of a page, kept in the fragment: the server needs no rule for it, and what is filtered and chosen can be
 * sent as a link.
 */
import { useSyncExternalStore } from 'react';

export interface Route {
  path: string[];
  query: Record<string, string>;
}

/** `#/runs/ID?tab=log` → path and query. What can't be decoded stays as it is. */
export function parseRoute(hash: string): Route {
  const [path = '', query = ''] = hash.replace(/^#?\/?/, '').split(/\?(.*)/s);
  return { path: path.split('/').filter(Boolean).map(decoded), query: Object.fromEntries(new URLSearchParams(query)) };
}

/** Empty values are left out, so that one state has one address. */
export function formatRoute({ path, query }: Route): string {
  const kept = Object.entries(query)
    .filter(([, value]) => value !== '')
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const text = new URLSearchParams(kept).toString().replaceAll('%2C', ',');
  return `#/${path.map(encodeURIComponent).join('/')}${text ? `?${text}` : ''}`;
}

export const link = (path: string, query: Record<string, string | undefined> = {}): string =>
  formatRoute({
    path: path.split('/').filter(Boolean),
    query: Object.fromEntries(
      Object.entries(query).flatMap(([key, value]) => (value === undefined ? [] : [[key, value]])),
    ),
  });

/** A list in one value of the query, such as `failed,running`. */
export const listOf = (value: string | undefined): string[] => (value ? value.split(',') : []);
/** With the item where it was absent, without it where it was there. */
export const toggled = <T>(list: readonly T[], item: T): T[] =>
  list.includes(item) ? list.filter((each) => each !== item) : [...list, item];

const listeners = new Set<() => void>();
const tell = () => {
  for (const each of listeners) each();
};
function subscribe(listener: () => void): () => void {
  if (listeners.size === 0) addEventListener('hashchange', tell);
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) removeEventListener('hashchange', tell);
  };
}

/**
 * Where we are, and a way to change some values of the query; what one types replaces the address, what one chooses
 * adds to the history.
 */
export function useRoute(): Route & {
  change(query: Record<string, string | undefined>, how?: 'push' | 'replace'): void;
} {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  const route = parseRoute(hash);
  return {
    ...route,
    change(query, how = 'replace') {
      const current = parseRoute(location.hash);
      const next = link(current.path.join('/'), {
        ...current.query,
        ...Object.fromEntries(Object.entries(query).map(([key, value]) => [key, value ?? ''])),
      });
      if (next === location.hash) return;
      if (how === 'push') location.hash = next;
      else {
        history.replaceState(null, '', next);
        tell();
      }
    },
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
