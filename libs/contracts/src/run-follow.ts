/** A run's stream, followed until the run has ended. */
import { readEventStream, type EventStream, type ServerSentEvent } from './event-stream.js';
import { isTerminal } from './run-status.js';
import type { LogLine, Run, RunEvent } from './runs-api.js';
import type { MetricPoint } from './trainer-protocol.js';
import { isPassing, pause } from './transport.js';

/** A point of a metric, and when it was recorded. */
export interface TimedPoint extends MetricPoint {
  at: string;
}

/** What becomes of a stream's connection. */
export interface LinkHandlers {
  /** The connection broke, or was silent for too long, and is made anew. */
  onLost?(error: Error): void;
  /** The connection is made anew, and the stream goes on where it was. */
  onBack?(): void;
}

/** What a followed run says, in the order in which it happened. After a lost connection it goes on where it was. */
export interface RunHandlers extends LinkHandlers {
  onRun?(run: Run): void;
  onEvent?(event: RunEvent): void;
  onMetrics?(points: TimedPoint[]): void;
  onLog?(line: LogLine): void;
}

/** `retries`: how often in a row without news; `backoffMs`: how long it waits after so many; `read`: what becomes of
 * what it says. */
export interface Persistence {
  retries: number;
  backoffMs(failures: number): number;
  read<Value>(value: Value): Value;
}

/**
 * Takes a stream up again after the last message that came, as often as it breaks, until what it tells of is over, and
 * returns that.
 * @throws ApiError, UnreachableError, the signal's reason, and what a handler throws
 */
async function followed<Over>(
  stream: EventStream,
  { onLost, onBack, told, over }: LinkHandlers & { told(event: string, data: unknown): void; over(): Over | undefined },
  { retries, backoffMs, read }: Persistence,
): Promise<Over> {
  const { signal } = stream;
  let lost = false;
  let lastEventId = '';
  const opened = () => {
    if (lost) onBack?.();
    lost = false;
  };
  const dispatch = (message: ServerSentEvent) => {
    if (message.id !== undefined) lastEventId = message.id;
    told(message.event, read<unknown>(JSON.parse(message.data)));
  };
  for (let failures = 0; ;) {
    signal?.throwIfAborted();
    const before = lastEventId;
    try {
      await readEventStream(stream, lastEventId, { opened, dispatch });
      const ended = over();
      if (ended !== undefined) return ended;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isPassing(error)) throw error;
      failures = lastEventId === before ? failures + 1 : 1;
      if (failures > retries) throw error;
      lost = true;
      onLost?.(error);
    }
    // A stream that ended cleanly without news is asked again no faster than one that broke.
    await pause(backoffMs(failures), signal);
  }
}

/** Follows a run until it has ended, and returns how it ended. @throws as `followed` */
export function followRun(stream: EventStream, handlers: RunHandlers, persistence: Persistence): Promise<Run> {
  let run: Run | undefined;
  const told = (event: string, data: unknown) => {
    if (event === 'run') {
      run = data as Run;
      handlers.onRun?.(run);
    } else if (event === 'event') handlers.onEvent?.(data as RunEvent);
    else if (event === 'metrics') handlers.onMetrics?.((data as { points: TimedPoint[] }).points);
    else if (event === 'log') handlers.onLog?.(data as LogLine);
  };
  const over = () => (run && isTerminal(run.status) ? run : undefined);
  return followed(
    stream,
    { onLost: (error) => handlers.onLost?.(error), onBack: () => handlers.onBack?.(), told, over },
    persistence,
  );
}

/** What a followed list or sweep says: how it stands, whenever it is otherwise. */
export interface StandingHandlers<Standing> extends LinkHandlers {
  onChange(standing: Standing): void;
}

/** Follows how something stands until `isOver`, and returns how it stood last. @throws as `followed` */
export function followStanding<Standing>(
  stream: EventStream,
  handlers: StandingHandlers<Standing>,
  isOver: (standing: Standing) => boolean,
  persistence: Persistence,
): Promise<Standing> {
  let standing: Standing | undefined;
  const told = (_: string, data: unknown) => {
    standing = data as Standing;
    handlers.onChange(standing);
  };
  const over = () => (standing !== undefined && isOver(standing) ? standing : undefined);
  return followed(
    stream,
    { onLost: (error) => handlers.onLost?.(error), onBack: () => handlers.onBack?.(), told, over },
    persistence,
  );
}
