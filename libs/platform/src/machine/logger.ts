import { printableJson } from '#libs/contracts';
import { pino, type Logger } from 'pino';
import type { Env } from './env.js';

export type { Logger };

/** An error that comes again within this is counted, and said again with the count after it. */
const REPEATED_MS = 10_000;
/** Errors that are told from each other at a time. */
const MOST_ERRORS = 1000;

interface Said {
  until: number;
  repeated: number;
}

/**
 * Structured log lines on stdout. URLs with credentials never go through it. A fault that comes hundreds of times a
 * second is said once, and how often it came: what fills the disk with one error hides all others.
 */
export function createLogger(name: string, level: Env['logLevel']): Logger {
  const said = new Map<string, Said>();
  return pino(
    {
      name,
      level,
      timestamp: pino.stdTimeFunctions.isoTime,
      hooks: {
        logMethod(args, method) {
          const [fields, message] = args as unknown as [object | string, string | undefined];
          const err = typeof fields === 'object' && fields !== null && 'err' in fields ? fields.err : undefined;
          // What fails in a request is asked for by the request's id, each by its own.
          if (!(err instanceof Error) || 'requestId' in this.bindings()) return method.apply(this, args);
          const repeated = repeatsOf(said, `${message} ${err.name} ${err.message}`, fields);
          if (repeated === undefined) return;
          return method.apply(this, repeated === 0 ? args : ([{ ...(fields as object), repeated }, message] as never));
        },
      },
    },
    { write: (line) => process.stdout.write(printableJson(line)) },
  );
}

/** How often an error has come since it was said last, where it is to be said now; undefined where it is not. */
function repeatsOf(said: Map<string, Said>, error: string, fields: object | string): number | undefined {
  const run = typeof fields === 'object' && 'runId' in fields ? String(fields.runId) : '';
  const key = run + error.replace(/\d+/g, '0').slice(0, 500);
  const now = performance.now();
  const before = said.get(key);
  if (before && now < before.until) {
    before.repeated++;
    return undefined;
  }
  if (said.size >= MOST_ERRORS) said.clear();
  said.set(key, { until: now + REPEATED_MS, repeated: 0 });
  return before?.repeated ?? 0;
}
