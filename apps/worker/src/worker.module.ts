import {
  ArtifactStore,
  createLogger,
  Database,
  loadEnv,
  RunQueue,
  RunStore,
  type Env,
  type Logger,
} from '#libs/platform';
import { Module } from '@nestjs/common';
import { LoomWorker } from './worker.js';

export const ENV = Symbol('env');
export const LOGGER = Symbol('logger');

@Module({
  providers: [
    { provide: ENV, useFactory: () => loadEnv() },
    { provide: LOGGER, inject: [ENV], useFactory: (env: Env) => createLogger('worker', env.logLevel) },
    { provide: Database, inject: [ENV], useFactory: (env: Env) => new Database(env.databaseUrl, env) },
    {
      provide: RunStore,
      inject: [Database, ENV],
      useFactory: (database: Database, env: Env) => new RunStore(database, env),
    },
    { provide: RunQueue, inject: [ENV], useFactory: (env: Env) => new RunQueue(env) },
    {
      provide: LoomWorker,
      inject: [Database, RunStore, RunQueue, LOGGER, ENV],
      useFactory: (database: Database, store: RunStore, queue: RunQueue, log: Logger, env: Env) =>
        new LoomWorker({ database, store, queue, log, env, artifacts: new ArtifactStore(env.artifactsDir) }),
    },
  ],
})
export class WorkerModule {}
