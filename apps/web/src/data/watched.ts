import { useSyncExternalStore } from 'react';

/** A value that components can watch. */
export class Watched<T> {
  private readonly watchers = new Set<() => void>();

  constructor(private value: T) {}

  readonly get = (): T => this.value;

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  set(value: T): void {
    if (value === this.value) return;
    this.value = value;
    for (const each of this.watchers) each();
  }
}

export const useWatched = <T>({ watch, get }: Watched<T>): T => useSyncExternalStore(watch, get);
