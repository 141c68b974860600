import { isTerminal, type RunFilter, type RunStatus, type RunsStanding, type SweepStanding } from '#libs/contracts';
import type { RunQueries, SweepQueries } from '#libs/platform';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { PinoLogger } from 'nestjs-pino';
import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { EventResponse } from './event-response.js';
import type { RunChanges } from './run-changes.js';
import type { Turnstile } from './turnstile.js';

/** Notifications can be lost: each list is also read by itself, the less often the more are followed. */
const POLL_MS = 2000;
const POLL_MS_PER_LIST = 40;
/** However often its runs say something, a list is read no more often, and a tenth of the time at most. */
const AT_MOST_EVERY_MS = 500;
const PAUSE_PER_READING = 9;
/** More runs than so many are not named when they have changed. */
const MOST_NAMED = 200;

type Standing = SweepStanding | RunsStanding;
/** What is followed: how it stands, and whether it can change no more; undefined where it is no longer there. */
interface Subject {
  event: 'sweep' | 'runs';
  read(): Promise<{ standing: Omit<Standing, 'changed'>; over: boolean } | undefined>;
  /** Which runs belong to it. */
  runs: RunFilter;
}

/** Counts in one order, so that equal ones are the same text. */
const inOrder = <Counts extends object>(counts: Counts): Counts =>
  Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1))) as Counts;

/** One list, read once for all who follow it. A message says how it stands, so that nobody needs those before. */
class ListFeed {
  private readonly readers = new Set<EventResponse>();
  private readonly heard = new Set<string>();
  private standing: Omit<Standing, 'changed'> | undefined;
  private wake = () => {};
  private stopped = false;
  /** True when it can change no more, false when nobody followed it any more. */
  readonly over: Promise<boolean>;

  constructor(
    private readonly subject: Subject,
    private readonly queries: RunQueries,
    private readonly turnstile: Turnstile,
    private readonly pollMs: () => number,
  ) {
    this.over = this.follow();
  }

  changed(runId: string): void {
    if (runId && this.heard.size <= MOST_NAMED) this.heard.add(runId);
    this.wake();
  }

  stop(): void {
    this.stopped = true;
    this.wake();
  }

  /** False when this feed was over too early: another has to serve the reader. @throws what made reading fail */
  async serve(reader: EventResponse): Promise<boolean> {
    this.readers.add(reader);
    try {
      if (this.standing) reader.write(this.frame(this.standing, []));
      return await Promise.race([this.over, reader.left]);
    } finally {
      this.readers.delete(reader);
    }
  }

  private async follow(): Promise<boolean> {
    // Who has gone may come back in a moment.
    for (let idle = 0; idle < 2 && !this.stopped; idle = this.readers.size ? 0 : idle + 1) {
      // Woken from here on: what changes while we read is read in the next round.
      const woken = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      const ids = [...this.heard];
      this.heard.clear();
      const begun = performance.now();
      const found = await this.turnstile.through(async () => ({
        changed: ids.length > MOST_NAMED ? null : await this.queries.runsAmong(ids, this.subject.runs),
        told: await this.subject.read(),
      }));
      if (!found.told) return true;
      this.tell(found.told.standing, found.changed);
      if (found.told.over) return true;
      const took = performance.now() - begun;
      const poll = setTimeout(() => this.wake(), this.pollMs());
      await woken;
      clearTimeout(poll);
      await delay(Math.max(AT_MOST_EVERY_MS, PAUSE_PER_READING * took));
    }
    return false;
  }

  private tell(standing: Omit<Standing, 'changed'>, changed: string[] | null): void {
    const same = JSON.stringify(standing) === JSON.stringify(this.standing);
    this.standing = standing;
    if (same && changed?.length === 0) return;
    const text = this.frame(standing, changed);
    for (const reader of this.readers) reader.write(text);
  }

  private frame(standing: Omit<Standing, 'changed'>, changed: string[] | null): string {
    return `id: ${Date.now()}\nevent: ${this.subject.event}\ndata: ${JSON.stringify({ ...standing, changed })}\n\n`;
  }
}

/** Server-sent events of sweeps and of lists of runs: how they stand, whenever it is otherwise. */
@Injectable()
export class ListStreams implements OnApplicationShutdown {
  private readonly feeds = new Map<string, ListFeed>();
  private readonly open = new Set<EventResponse>();

  constructor(
    private readonly runs: RunQueries,
    private readonly sweeps: SweepQueries,
    private readonly requests: PinoLogger,
    private readonly turnstile: Turnstile,
    changes: RunChanges,
  ) {
    changes.tell((runId) => {
      for (const feed of this.feeds.values()) feed.changed(runId);
    });
  }

  onApplicationShutdown(): void {
    for (const reader of this.open) reader.end();
    for (const feed of this.feeds.values()) feed.stop();
  }

  /** Follows a sweep until it has ended. */
  followSweep(id: string, response: ServerResponse): Promise<void> {
    return this.follow(
      id,
      {
        event: 'sweep',
        runs: { sweep: id },
        read: async () => {
          const sweep = await this.sweeps.record(id);
          if (!sweep) return undefined;
          const { status, haltReason } = sweep;
          return {
            standing: { id, status, haltReason, runCounts: inOrder(sweep.runCounts) },
            over: status !== 'running' && status !== 'paused',
          };
        },
      },
      response,
    );
  }

  /** Follows the runs that a filter names until the client goes; runs named by their ids until all have ended. */
  followRuns(filter: RunFilter, response: ServerResponse): Promise<void> {
    return this.follow(
      JSON.stringify(filter),
      {
        event: 'runs',
        runs: filter,
        read: async () => {
          const counts = inOrder(await this.runs.runCounts(filter));
          const ended = Object.keys(counts).every((status) => isTerminal(status as RunStatus));
          return { standing: { counts }, over: filter.id !== undefined && ended };
        },
      },
      response,
    );
  }

  private async follow(key: string, subject: Subject, response: ServerResponse): Promise<void> {
    const reader = new EventResponse(response, this.requests.logger);
    this.open.add(reader);
    try {
      while (!reader.gone.signal.aborted && !(await this.feedOf(key, subject).serve(reader)));
    } catch (error) {
      reader.broken(error, { following: subject.event });
    } finally {
      this.open.delete(reader);
      reader.end();
    }
  }

  private feedOf(key: string, subject: Subject): ListFeed {
    const known = this.feeds.get(key);
    if (known) return known;
    const pollMs = () => Math.max(POLL_MS, POLL_MS_PER_LIST * this.feeds.size);
    const made = new ListFeed(subject, this.runs, this.turnstile, pollMs);
    this.feeds.set(key, made);
    // Whoever is served by it hears of a failure.
    void made.over
      .catch(() => undefined)
      .then(() => {
        if (this.feeds.get(key) === made) this.feeds.delete(key);
      });
    return made;
  }
}
