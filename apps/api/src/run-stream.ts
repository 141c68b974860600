import { isTerminal, LogLine, Run, RunEvent } from '#libs/contracts';
import { inTurns, RequestError, Turns, type Logger, type RunQueries } from '#libs/platform';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { PinoLogger } from 'nestjs-pino';
import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { EventResponse } from './event-response.js';
import type { RunChanges } from './run-changes.js';
import type { Turnstile } from './turnstile.js';

/** How far a reader has come in the three sequences of a run. */
interface Position {
  event: number;
  metric: number;
  log: number;
}

const PAGE = 1000;
/** Notifications can be lost: every stream also looks by itself, the less often the more runs are followed. */
const POLL_MS = 2000;
const POLL_MS_PER_RUN = 40;
/** However often a run says something, those who follow it hear of it no more often. */
const AT_MOST_EVERY_MS = 100;

/** `<event>.<metric>.<log>`, the id of a message: where to go on after it. */
export function parsePosition(id: string | undefined): Position {
  if (id === undefined || id === '') return { event: 0, metric: 0, log: 0 };
  const found = /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})$/.exec(id);
  if (!found)
    throw RequestError.invalid([
      {
        path: ['Last-Event-ID'],
        message: `expected the id of a message of this stream, got ${JSON.stringify(id.slice(0, 60))}`,
      },
    ]);
  return { event: Number(found[1]), metric: Number(found[2]), log: Number(found[3]) };
}

/**
 * A message, and how far a reader has come who has it. `run` messages are of no sequence: they say how things stand.
 */
interface Message {
  of: keyof Position | 'run';
  at: number;
  event: string;
  data: unknown;
  /** Place of each metric point in its sequence, in a message of points. */
  seqs?: readonly number[];
}
/** What one page of each sequence after a position holds, in order; `full` when there may be more. */
interface News {
  messages: Message[];
  full: boolean;
}

const frame = ({ event, metric, log }: Position, message: Message): string =>
  `id: ${event}.${metric}.${log}\nevent: ${message.event}\ndata: ${JSON.stringify(message.data)}\n\n`;
/** What a `run` message says that is news when it changes: all but the forecast, which moves with the clock. */
const told = ({ data }: Message): string => JSON.stringify({ ...(data as object), predictedStartAt: null });
const same = (a: Position, b: Position) => a.event === b.event && a.metric === b.metric && a.log === b.log;

/** Somebody who follows a run. */
class Reader extends EventResponse {
  /** What it was told of the run. */
  shown = '';

  constructor(
    response: ServerResponse,
    readonly position: Position,
    log: Logger,
  ) {
    super(response, log);
  }

  /** Tells what it does not know yet. Points of a message that it has in part are told without that part. */
  tell(message: Message): void {
    if (message.of === 'run') {
      const text = told(message);
      if (text === this.shown) return;
      this.shown = text;
    } else {
      if (message.at <= this.position[message.of]) return;
      const known = this.position[message.of];
      this.position[message.of] = message.at;
      if (message.seqs && message.seqs[0]! <= known)
        return this.write(
          frame(this.position, {
            ...message,
            data: {
              points: (message.data as { points: unknown[] }).points.filter((_, i) => message.seqs![i]! > known),
            },
          }),
        );
    }
    this.write(frame(this.position, message));
  }
}

/**
 * One run, read once for all who follow it. A reader catches up by itself to where the feed is, and from then on gets
 * what all get, as the same text.
 */
class Feed {
  private readonly readers = new Set<Reader>();
  private run: Message | undefined;
  private wake = () => {};
  /** Those who follow, also while they catch up. */
  private served = 0;
  private stopped = false;
  /** True when the run has ended and all is told, false when nobody followed any more. */
  readonly over: Promise<boolean>;

  /** @param position where the run stands: what was before is not read for everybody */
  constructor(
    private readonly runId: string,
    private readonly position: Position,
    private readonly queries: RunQueries,
    private readonly turnstile: Turnstile,
    private readonly pollMs: () => number,
  ) {
    this.over = this.follow();
  }

  readonly changed = (): void => this.wake();
  readonly stop = (): void => {
    this.stopped = true;
    this.wake();
  };

  /**
   * False when this feed was over before the run has ended: another has to serve it further. @throws what made reading
   * fail
   */
  async serve(reader: Reader): Promise<boolean> {
    this.served++;
    const turns = new Turns();
    try {
      for (let caughtUp = false; !caughtUp;) {
        if (this.run) reader.tell(this.run);
        const goal = { ...this.position };
        // Not through the turnstile: while it waited in line the feed would go on, and it would not catch up.
        const news = await read(this.queries, this.runId, reader.position, goal);
        for (const message of news.messages) {
          reader.tell(message);
          await reader.drained();
          if (turns.over) await turns.next();
          if (reader.gone.signal.aborted) return true;
        }
        if (news.full) continue;
        // What was superseded is not there to be read.
        for (const of of ['event', 'metric', 'log'] as const)
          reader.position[of] = Math.max(reader.position[of], goal[of]);
        // Nothing was read for all meanwhile: from here on it gets what they get.
        caughtUp = same(goal, this.position);
      }
      if (this.run) reader.tell(this.run);
      this.readers.add(reader);
      return await Promise.race([this.over, reader.left]);
    } finally {
      this.readers.delete(reader);
      this.served--;
    }
  }

  private async follow(): Promise<boolean> {
    const turns = new Turns();
    // Who has gone may come back in a moment.
    for (let idle = 0; idle < 2 && !this.stopped; idle = this.served ? 0 : idle + 1) {
      // Woken from here on: what changes while we read is read in the next round.
      const changed = new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      const [run, news] = await this.turnstile.through(async () => [
        await this.queries.run(this.runId),
        await read(this.queries, this.runId, this.position),
      ]);
      if (!run) return true;
      this.tellAll({ of: 'run', at: 0, event: 'run', data: Run.parse(run) });
      for (const message of news.messages) {
        this.tellAll(message);
        if (turns.over) await turns.next();
      }
      if (isTerminal(run.status) && !news.full) return true;
      if (news.full) continue;
      const poll = setTimeout(() => this.wake(), this.pollMs());
      await changed;
      clearTimeout(poll);
      await delay(AT_MOST_EVERY_MS);
    }
    return false;
  }

  private tellAll(message: Message): void {
    const before = { ...this.position };
    if (message.of === 'run') this.run = message;
    else this.position[message.of] = message.at;
    // Most have had all that came before: their text is made once.
    let text: string | undefined;
    const shown = message.of === 'run' ? told(message) : '';
    for (const reader of this.readers) {
      if (!same(reader.position, before) || (message.of === 'run' && reader.shown === shown)) {
        reader.tell(message);
        continue;
      }
      if (message.of === 'run') reader.shown = shown;
      else reader.position[message.of] = message.at;
      reader.write((text ??= frame(this.position, message)));
    }
  }
}

/** The next page of each sequence, up to a goal where there is one. */
async function read(queries: RunQueries, runId: string, from: Position, goal?: Position): Promise<News> {
  const within = (of: keyof Position) => (goal ? goal[of] > from[of] : true);
  const [events, points, lines] = [
    within('event') ? await queries.events(runId, { after: from.event, limit: PAGE }) : [],
    within('metric') ? await queries.metricsAfter(runId, from.metric, PAGE) : [],
    within('log') ? await queries.logs(runId, { after: from.log, limit: PAGE }) : [],
  ];
  const wanted = <Row>(rows: readonly Row[], at: (row: Row) => number, of: keyof Position) =>
    goal ? rows.filter((row) => at(row) <= goal[of]) : rows;
  const more = (at: readonly number[], of: keyof Position) => at.length === PAGE && (!goal || at.at(-1)! < goal[of]);
  const shown = wanted(points, ({ seq }) => seq, 'metric');
  return {
    messages: [
      ...(await inTurns(
        wanted(events, ({ id }) => id, 'event'),
        (event): Message => ({
          of: 'event',
          at: event.id,
          event: 'event',
          data: RunEvent.parse(event),
        }),
      )),
      ...(shown.length
        ? [
            {
              of: 'metric' as const,
              at: shown.at(-1)!.seq,
              event: 'metrics',
              data: { points: shown.map(({ key, step, value, at }) => ({ key, step, value, at })) },
              seqs: shown.map(({ seq }) => seq),
            },
          ]
        : []),
      ...(await inTurns(
        wanted(lines, ({ id }) => id, 'log'),
        (line): Message => ({
          of: 'log',
          at: line.id,
          event: 'log',
          data: LogLine.parse(line),
        }),
      )),
    ],
    full:
      more(
        events.map(({ id }) => id),
        'event',
      ) ||
      more(
        points.map(({ seq }) => seq),
        'metric',
      ) ||
      more(
        lines.map(({ id }) => id),
        'log',
      ),
  };
}

/** Server-sent events of runs. Each run is read once for all who follow it. */
@Injectable()
export class RunStreams implements OnApplicationShutdown {
  private readonly feeds = new Map<string, Promise<Feed>>();
  private readonly open = new Set<Reader>();

  constructor(
    private readonly queries: RunQueries,
    private readonly requests: PinoLogger,
    private readonly turnstile: Turnstile,
    changes: RunChanges,
  ) {
    changes.tell((runId, channel) => {
      if (channel === 'outbox') return;
      for (const feed of runId ? [this.feeds.get(runId)] : this.feeds.values())
        void feed?.then(
          ({ changed }) => changed(),
          () => undefined,
        );
    });
  }

  onApplicationShutdown(): void {
    for (const reader of this.open) reader.end();
    for (const feed of this.feeds.values())
      void feed.then(
        ({ stop }) => stop(),
        () => undefined,
      );
  }

  /**
   * Sends the run's events, metrics and log lines from `position` on, in their order, and follows it until it has ended
   * and everything is sent, or the client goes.
   */
  async follow(runId: string, position: Position, response: ServerResponse): Promise<void> {
    // A feed tells a reader what it reads for another request: the reader keeps the logger of its own.
    const reader = new Reader(response, position, this.requests.logger);
    this.open.add(reader);
    try {
      while (!reader.gone.signal.aborted && !(await (await this.feedOf(runId)).serve(reader)));
    } catch (error) {
      reader.broken(error, { runId });
    } finally {
      this.open.delete(reader);
      reader.end();
    }
  }

  /** The one that reads this run for all, for as long as somebody follows it. */
  private feedOf(runId: string): Promise<Feed> {
    const known = this.feeds.get(runId);
    if (known) return known;
    const pollMs = () => Math.max(POLL_MS, POLL_MS_PER_RUN * this.feeds.size);
    const made = this.turnstile
      .through(() => this.queries.newest(runId))
      .then((position) => new Feed(runId, position, this.queries, this.turnstile, pollMs));
    this.feeds.set(runId, made);
    // Whoever is served by it hears of a failure.
    void made
      .then(({ over }) => over)
      .catch(() => undefined)
      .then(() => {
        if (this.feeds.get(runId) === made) this.feeds.delete(runId);
      });
    return made;
  }
}
