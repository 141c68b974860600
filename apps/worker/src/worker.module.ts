import { ArtifactStore, createLogger, Database, loadEnv, RunQueue, Runs, type Env, type Logger } from '#libs/platform';
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
      provide: Runs,
      inject: [Database, ENV],
      useFactory: (database: Database, env: Env) => new Runs(database, env),
    },
    { provide: RunQueue, inject: [ENV], useFactory: (env: Env) => new RunQueue(env) },
    {
      provide: LoomWorker,
      inject: [Database, Runs, RunQueue, LOGGER, ENV],
      useFactory: (database: Database, runs: Runs, queue: RunQueue, log: Logger, env: Env) =>
        new LoomWorker({ database, runs, queue, log, env, artifacts: new ArtifactStore(env.artifactsDir) }),
    },
  ],
})
export class WorkerModule {}
