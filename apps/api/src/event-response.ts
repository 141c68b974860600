import type { Logger } from '#libs/platform';
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

const KEEP_ALIVE_MS = 15_000;
/** A client that lets so much pile up does not read. */
const LARGEST_BACKLOG = 4 * 2 ** 20;

/** An answer of server-sent events, open until its client goes or it is ended. */
export class EventResponse {
  readonly gone = new AbortController();
  /** Resolves to true when the client is gone: nobody has to serve it further. */
  readonly left = new Promise<true>((resolve) =>
    this.gone.signal.addEventListener('abort', () => resolve(true), { once: true }),
  );
  private readonly keepAlive: NodeJS.Timeout;

  /** @param log of its own request: who tells it something may do so while another is answered */
  constructor(
    private readonly response: ServerResponse,
    private readonly log: Logger,
  ) {
    response.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
    });
    response.once('close', () => this.gone.abort());
    this.keepAlive = setInterval(() => this.write(': keep-alive\n\n'), KEEP_ALIVE_MS);
  }

  write(text: string): void {
    // One that was ended has a moment for what is on its way out.
    if (this.gone.signal.aborted || this.response.writableEnded) return;
    this.response.write(text);
    if (this.response.writableLength <= LARGEST_BACKLOG) return;
    this.log.warn('a stream was closed: its client does not read');
    this.response.destroy();
    this.gone.abort();
  }

  /** Resolves when the client has taken enough of what was written. */
  async drained(): Promise<void> {
    if (this.response.writableNeedDrain && !this.gone.signal.aborted)
      await once(this.response, 'drain', { signal: this.gone.signal }).catch(() => undefined);
  }

  /** Says that following failed; the client can take the stream up again. */
  broken(error: unknown, about: object): void {
    this.log.warn({ err: error, ...about }, 'a stream was broken off; its client can take it up again');
  }

  end(): void {
    clearInterval(this.keepAlive);
    this.response.end();
  }
}
