import { isTerminal, LogLine, Run, RunEvent } from '#libs/contracts';
import { RequestError, type Database, type Logger, type RunQueries } from '#libs/platform';
import { Injectable, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import type { ServerResponse } from 'node:http';

/** How far a reader has come in the three sequences of a run. */
interface Position { event: number; metric: number; log: number }

const PAGE = 1000;
/** Notifications can be lost: every stream also looks by itself. */
const POLL_MS = 2000;
const KEEP_ALIVE_MS = 15_000;
/** A client that lets so much pile up does not read. */
const LARGEST_BACKLOG = 4 * 2 ** 20;

/** `<event>.<metric>.<log>`, the id of a message: where to go on after it. */
export function parsePosition(id: string | undefined): Position {
  if (id === undefined || id === '') return { event: 0, metric: 0, log: 0 };
  const found = /^(\d{1,15})\.(\d{1,15})\.(\d{1,15})$/.exec(id);
  if (!found) throw RequestError.invalid([{ path: ['Last-Event-ID'], message: `expected the id of a message of this stream, got ${JSON.stringify(id.slice(0, 60))}` }]);
  return { event: Number(found[1]), metric: Number(found[2]), log: Number(found[3]) };
}

/** Server-sent events of runs. One connection listens for all of them. */
@Injectable()
export class RunStreams implements OnApplicationBootstrap, OnApplicationShutdown {
  private readonly waiting = new Map<string, Set<() => void>>();
  private readonly open = new Set<ServerResponse>();
  private listener: { close(): Promise<void> } | undefined;

  constructor(private readonly database: Database, private readonly queries: RunQueries, private readonly log: Logger) {}

  onApplicationBootstrap(): void {
    this.listener = this.database.listen(['run_changed'], (_, runId) => {
      if (runId) this.waiting.get(runId)?.forEach((wake) => wake());
      else for (const wakers of this.waiting.values()) wakers.forEach((wake) => wake());
    });
  }

  async onApplicationShutdown(): Promise<void> {
    for (const response of this.open) response.end();
    await this.listener?.close();
  }

  /**
   * Sends the run's events, metrics and log lines from `position` on, in their order, and follows it until it has ended and
   * everything is sent, or the client goes.
   */
  async follow(runId: string, position: Position, response: ServerResponse): Promise<void> {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no', 'x-content-type-options': 'nosniff' });
    this.open.add(response);
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const send = (event: string, data: unknown): void => {
      response.write(`id: ${position.event}.${position.metric}.${position.log}\nevent: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (response.writableLength > LARGEST_BACKLOG) {
        this.log.warn({ runId }, 'a stream was closed: its client does not read');
        response.destroy();
        gone.abort();
      }
    };
    let wake = () => {};
    const waker = () => wake();
    gone.signal.addEventListener('abort', waker);
    const wakers = this.waiting.get(runId) ?? new Set();
    this.waiting.set(runId, wakers.add(waker));
    const keepAlive = setInterval(() => response.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
    try {
      let shown = '';
      while (!gone.signal.aborted) {
        // Woken from here on: what changes while we read is read in the next round.
        const changed = new Promise<void>((resolve) => { wake = resolve; });
        const run = await this.queries.run(runId);
        if (!run) break;
        const view = Run.parse(run);
        // A forecast moves with the clock: alone it is no news.
        const text = JSON.stringify({ ...view, predictedStartAt: null });
        if (text !== shown) send('run', view);
        shown = text;
        const full = await this.sendNews(runId, position, send);
        if (isTerminal(run.status) && !full) break;
        if (!full) {
          const poll = setTimeout(() => wake(), POLL_MS);
          await changed;
          clearTimeout(poll);
        }
      }
    } catch (error) {
      this.log.warn({ err: error, runId }, 'a stream was broken off; its client can take it up again');
    } finally {
      clearInterval(keepAlive);
      wakers.delete(waker);
      if (wakers.size === 0) this.waiting.delete(runId);
      this.open.delete(response);
      response.end();
    }
  }

  /** One page of each sequence. True when there may be more. */
  private async sendNews(runId: string, position: Position, send: (event: string, data: unknown) => void): Promise<boolean> {
    const events = await this.queries.events(runId, { after: position.event, limit: PAGE });
    for (const event of events) {
      position.event = event.id;
      send('event', RunEvent.parse(event));
    }
    const points = await this.queries.metricsAfter(runId, position.metric, PAGE);
    const last = points.at(-1);
    if (last) {
      position.metric = last.seq;
      send('metrics', { points: points.map(({ key, step, value, at }) => ({ key, step, value, at })) });
    }
    const lines = await this.queries.logs(runId, { after: position.log, limit: PAGE });
    for (const line of lines) {
      position.log = line.id;
      send('log', LogLine.parse(line));
    }
    return events.length === PAGE || points.length === PAGE || lines.length === PAGE;
  }
}
