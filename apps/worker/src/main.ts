import 'reflect-metadata';
import { Database, RunQueue, type Logger } from '#libs/platform';
import { NestFactory } from '@nestjs/core';
import { LOGGER, WorkerModule } from './worker.module.js';
import { LoomWorker } from './worker.js';

const context = await NestFactory.createApplicationContext(WorkerModule, { logger: false, abortOnError: false });
const log = context.get<Logger>(LOGGER);
const worker = context.get(LoomWorker);

let leaving: Promise<void> | undefined;
function leave(): void {
  leaving ??= (async () => {
    await worker.drain();
    await context.get(RunQueue).close();
    await context.get(Database).close();
    process.exit(0);
  })();
}
void worker.drainAsked.then(() => {
  log.info('told to drain');
  leave();
});
// The first signal drains, the second does not wait for checkpoints.
let signals = 0;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    log.info({ signal }, 'signal received');
    if (++signals > 1) worker.killRuns();
    leave();
  });
}

try {
  await worker.start();
} catch (error) {
  // A drain while trainers load ends those.
  if (leaving) await leaving;
  log.fatal({ err: error }, 'the worker could not start');
  process.exit(1);
}
