import 'reflect-metadata';
import { loadEnvOrExit, RunQueue, type Logger } from '#libs/platform';
import { NestFactory } from '@nestjs/core';
import { LOGGER, WorkerModule } from './worker.module.js';
import { LoomWorker } from './worker.js';

const context = await NestFactory.createApplicationContext(WorkerModule.for(loadEnvOrExit()), {
  logger: false,
  abortOnError: false,
});
const log = context.get<Logger>(LOGGER);
const worker = context.get(LoomWorker);

let leaving: Promise<void> | undefined;
/** Drains, closes what is open and ends the process: with 1 where something of that failed. */
function leave(): Promise<void> {
  leaving ??= context.close().then(
    () => process.exit(0),
    (error: unknown) => {
      log.error({ err: error }, 'the worker could not end in order');
      process.exit(1);
    },
  );
  return leaving;
}
void worker.drainAsked.then(() => {
  log.info('told to drain');
  return leave();
});
// The first signal drains, the second does not wait for checkpoints.
let signals = 0;
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    log.info({ signal }, 'signal received');
    if (++signals > 1) worker.killRuns();
    void leave();
  });
}

async function refuse(error: unknown): Promise<never> {
  // A drain while trainers load ends those.
  if (leaving) await leaving;
  log.fatal({ err: error }, 'the worker could not start');
  process.exit(1);
}

context.get(RunQueue).requireStandalone().catch(refuse);
await worker.start().catch(refuse);
