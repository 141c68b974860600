import 'reflect-metadata';
import { Database, RunQueue, type Logger } from '#libs/platform';
import { NestFactory } from '@nestjs/core';
import { LOGGER, WorkerModule } from './worker.module.js';
import { LoomWorker } from './worker.js';

const context = await NestFactory.createApplicationContext(WorkerModule, { logger: false, abortOnError: false });
const log = context.get<Logger>(LOGGER);
const worker = context.get(LoomWorker);

let leaving = false;
async function leave(signal: NodeJS.Signals): Promise<void> {
  log.info({ signal }, 'signal received');
  if (leaving) {
    worker.killRuns();
    return;
  }
  leaving = true;
  await worker.drain();
  await context.get(RunQueue).close();
  await context.get(Database).close();
  process.exit(0);
}
// The first signal drains, the second does not wait for checkpoints.
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => { void leave(signal); });

try {
  await worker.start();
} catch (error) {
  log.fatal({ err: error }, 'the worker could not start');
  process.exit(1);
}
