import { pino, type Logger } from 'pino';
import type { Env } from './env.js';

export type { Logger };

/** Structured log lines on stdout. URLs with credentials never go through it. */
export const createLogger = (name: string, level: Env['logLevel']): Logger =>
  pino({ name, level, timestamp: pino.stdTimeFunctions.isoTime });
