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

/** What a followed run says, in the order in which it happened. After a lost connection it goes on where it was. */
export interface RunHandlers {
  onRun?(run: Run): void;
  onEvent?(event: RunEvent): void;
  onMetrics?(points: TimedPoint[]): void;
  onLog?(line: LogLine): void;
  /** The connection broke, or was silent for too long, and is made anew. */
  onLost?(error: Error): void;
  /** The connection is made anew, and the stream goes on where it was. */
  onBack?(): void;
}

/**
 * Takes a stream up again after the last message that came, as often as it breaks, and returns how the run ended.
 * `retries`: how often in a row without news; `backoffMs`: how long it waits after so many;
 * `read`: what becomes of what it says.
 * @throws ApiError, UnreachableError, the signal's reason, and what a handler throws
 */
export async function followRun(
  stream: EventStream,
  handlers: RunHandlers,
  {
    retries,
    backoffMs,
    read,
  }: { retries: number; backoffMs(failures: number): number; read<Value>(value: Value): Value },
): Promise<Run> {
  const { signal } = stream;
  let lost = false;
  let lastEventId = '';
  let run: Run | undefined;
  const opened = () => {
    if (lost) handlers.onBack?.();
    lost = false;
  };
  const dispatch = (message: ServerSentEvent) => {
    if (message.id !== undefined) lastEventId = message.id;
    const data = read<unknown>(JSON.parse(message.data));
    if (message.event === 'run') {
      run = data as Run;
      handlers.onRun?.(run);
    } else if (message.event === 'event') handlers.onEvent?.(data as RunEvent);
    else if (message.event === 'metrics') handlers.onMetrics?.((data as { points: TimedPoint[] }).points);
    else if (message.event === 'log') handlers.onLog?.(data as LogLine);
  };
  for (let failures = 0; ;) {
    signal?.throwIfAborted();
    const before = lastEventId;
    try {
      await readEventStream(stream, lastEventId, { opened, dispatch });
      if (run && isTerminal(run.status)) return run;
    } catch (error) {
      signal?.throwIfAborted();
      if (!isPassing(error)) throw error;
      failures = lastEventId === before ? failures + 1 : 1;
      if (failures > retries) throw error;
      lost = true;
      handlers.onLost?.(error);
    }
    // A stream that ended cleanly without news is asked again no faster than one that broke.
    await pause(backoffMs(failures), signal);
  }
}
