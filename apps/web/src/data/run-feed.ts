/** Follows one run: what it has said is read once, and what it says from then on is streamed. */
import { isTerminal, type Artifact, type LogLine, type RunDetail, type RunEvent } from '#libs/contracts';
import { useEffect, useMemo, useSyncExternalStore } from 'react';
import { Coalesced } from './coalesced.js';
import { addPoints, seriesOf, type Series } from '../charts/series.js';
import { client, heard, heardOf, persistently } from './connection.js';
import { meter, onChanges } from './queries.js';

const PAGE = 500;

export interface RunState {
  run: RunDetail | undefined;
  curves: ReadonlyMap<string, Series>;
  events: readonly RunEvent[];
  log: readonly LogLine[];
  artifacts: readonly Artifact[];
  /** Whether all that the run has said before the stream began is here. */
  loaded: boolean;
  /** Whether the stream is connected. */
  live: boolean;
  /** Why it is not, and never will be where asking again can't help. */
  error: unknown;
  /** Counts changes of the curves, which are changed in place. */
  version: number;
}

const MOST_LINES = 5000;

const TELL_MS = 200;
/** Least time from one read of a run and its artifacts to the next, however many events ask for it. */
const DETAIL_MS = 1000;

/** A run followed for as long as somebody subscribes. A run that has ended is read, and again where it was changed. */
class RunFeed {
  private state: RunState = {
    run: undefined,
    curves: new Map(),
    events: [],
    log: [],
    artifacts: [],
    loaded: false,
    live: false,
    error: undefined,
    version: 0,
  };
  private readonly curves = new Map<string, Series>();
  private readonly listeners = new Set<() => void>();
  private stop: AbortController | undefined;
  /** All that the run has said is read, and no stream is open. */
  private ended = false;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly id: string) {}

  readonly snapshot = (): RunState => this.state;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    if (!this.stop) this.start();
    const unheard = onChanges((changed) => {
      if (this.ended && (changed === null || changed.includes(this.id))) this.again();
    });
    return () => {
      unheard();
      this.listeners.delete(listener);
      // React subscribes anew at once in some cases; a stream is not worth ending for that.
      setTimeout(() => {
        if (this.listeners.size > 0) return;
        this.stop?.abort();
        this.stop = undefined;
      }, 0);
    };
  };

  /** Reads the run again after an action on it, and follows it where it goes on. */
  readonly again = (): void => {
    this.stop?.abort();
    this.start();
  };

  private set(change: Partial<RunState>): void {
    this.state = { ...this.state, ...change };
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      for (const each of this.listeners) each();
    }, TELL_MS);
  }

  private start(): void {
    const stop = (this.stop = new AbortController());
    this.ended = false;
    const failed = (error: unknown) => this.set({ error, live: false });
    void persistently(() => this.follow(stop.signal), { signal: stop.signal, failed }).then(() => {
      this.ended = !stop.signal.aborted;
    });
  }

  /** Reads all that the run has said, and what it says until it has ended. */
  private async follow(signal: AbortSignal): Promise<void> {
    const run = await client.run(this.id);
    if (signal.aborted) return;
    heard(true);
    this.curves.clear();
    this.set({ run, curves: this.curves, events: [], log: [], error: undefined });
    await this.readArtifacts(signal);
    if (isTerminal(run.status)) return this.readAll(signal);
    this.set({ loaded: true });
    const detail = new Coalesced(() => this.readDetail(signal), DETAIL_MS);
    signal.addEventListener('abort', () => void detail.stop());
    await client.follow(
      this.id,
      {
        onRun: (news) => {
          heard(true);
          this.set({ live: true, error: undefined, ...(this.state.run && { run: { ...this.state.run, ...news } }) });
        },
        onEvent: (event) => {
          this.set({ events: [...this.state.events, event] });
          detail.ask();
        },
        onMetrics: (points) => {
          addPoints(this.curves, points);
          this.set({ version: this.state.version + 1 });
        },
        onLog: (line) => this.set({ log: [...this.state.log.slice(-MOST_LINES), line] }),
        onLost: (error) => {
          heardOf(error);
          this.set({ live: false });
        },
        onBack: () => {
          heard(true);
          this.set({ live: true });
          detail.ask();
        },
      },
      { signal, retries: Number.POSITIVE_INFINITY },
    );
    await detail.stop();
    const [ended] = await Promise.all([client.run(this.id), this.readArtifacts(signal)]);
    if (!signal.aborted) this.set({ run: ended, live: false });
  }

  private async readDetail(signal: AbortSignal): Promise<void> {
    try {
      const run = await client.run(this.id);
      if (!signal.aborted) this.set({ run });
      await this.readArtifacts(signal);
    } catch (error) {
      if (!signal.aborted) heardOf(error);
    }
  }

  private async readArtifacts(signal: AbortSignal): Promise<void> {
    const artifacts: Artifact[] = [];
    for await (const each of client.eachArtifact(this.id)) artifacts.push(each);
    if (!signal.aborted) this.set({ artifacts });
  }

  private async readAll(signal: AbortSignal): Promise<void> {
    const [metrics, events, log] = await Promise.all([
      client.metrics(this.id, { points: 2000 }),
      allPages<RunEvent>((cursor) => client.events(this.id, cursor)),
      allPages<LogLine>((cursor) => client.logs(this.id, cursor)),
    ]);
    if (signal.aborted) return;
    for (const { key, points } of metrics) this.curves.set(key, seriesOf(points));
    this.set({ events, log: log.slice(-MOST_LINES), loaded: true, version: this.state.version + 1 });
  }
}

async function allPages<T>(
  fetchPage: (cursor: { limit: number; cursor?: string }) => Promise<{ items: T[]; nextCursor: string | null }>,
): Promise<T[]> {
  const items: T[] = [];
  for (let cursor: string | null | undefined; cursor !== null && items.length < 4 * MOST_LINES;) {
    const page = await fetchPage({ limit: PAGE, ...(cursor !== undefined && { cursor }) });
    items.push(...page.items);
    cursor = page.nextCursor;
  }
  return items;
}

/** A run with its curves, events, log and files, as they come. */
export function useRun(id: string): RunState & { again(): void } {
  const feed = useMemo(() => new RunFeed(id), [id]);
  const state = useSyncExternalStore(feed.subscribe, feed.snapshot);
  useEffect(() => {
    if (state.run) meter.note([state.run], Date.now());
  }, [state.run]);
  return { ...state, again: feed.again };
}
