/** Server-sent events (WHATWG HTML, section 9.2) over `fetch`, which sends headers and tells why a stream broke. */
import { createParser } from 'eventsource-parser';
import { ApiError, problemOf, UnreachableError } from './transport.js';

export interface ServerSentEvent {
  event: string;
  data: string;
  id?: string;
}

/** Takes text as it arrives and gives the complete messages in it. */
export class ServerSentEventParser {
  private readonly complete: ServerSentEvent[] = [];
  private readonly parser = createParser({
    onEvent: ({ event = 'message', data, id }) => this.complete.push({ event, data, ...(id !== undefined && { id }) }),
  });

  push(text: string): ServerSentEvent[] {
    this.parser.feed(text);
    return this.complete.splice(0);
  }
}

export interface EventStream {
  /** Where the API listens. */
  url: string;
  path: string;
  headers: Record<string, string>;
  /** How long the stream may be silent before it counts as lost. */
  timeoutMs: number;
  signal?: AbortSignal | undefined;
}

/**
 * Dispatches the messages of a stream after one of them, or from its start (''), until it ends.
 * @throws ApiError when the API refuses, UnreachableError when the connection breaks or is silent, and whatever
 *   `opened` and `dispatch` throw
 */
export async function readEventStream(
  { url, path, headers, timeoutMs, signal }: EventStream,
  lastEventId: string,
  { opened, dispatch }: { opened(): void; dispatch(message: ServerSentEvent): void },
): Promise<void> {
  const silent = new AbortController();
  const watch = () => setTimeout(() => silent.abort(new Error(`nothing came for ${timeoutMs} ms`)), timeoutMs);
  let timer = watch();
  let callerFailed = false;
  const call = (caller: () => void) => {
    callerFailed = true;
    caller();
    callerFailed = false;
  };
  try {
    const response = await fetch(url + path, {
      headers: { accept: 'text/event-stream', ...headers, ...(lastEventId && { 'last-event-id': lastEventId }) },
      signal: signal ? AbortSignal.any([signal, silent.signal]) : silent.signal,
    });
    if (!response.ok || !response.body) throw await problemOf(response);
    call(opened);
    const parser = new ServerSentEventParser();
    const decoder = new TextDecoder();
    for await (const chunk of readChunks(response.body as ReadableStream<Uint8Array>)) {
      clearTimeout(timer);
      timer = watch();
      for (const message of parser.push(decoder.decode(chunk, { stream: true }))) call(() => dispatch(message));
    }
  } catch (error) {
    // An error that a handler of the caller throws is the caller's, not a lost connection.
    if (callerFailed || error instanceof ApiError) throw error;
    throw new UnreachableError(url, error);
  } finally {
    clearTimeout(timer);
  }
}

/** A ReadableStream is not async-iterable in every browser. */
async function* readChunks(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
