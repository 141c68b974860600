import {
  ArtifactStore,
  createLogger,
  Database,
  queueOptions,
  RunQueue,
  Runs,
  type Env,
  type JobQueue,
  type Logger,
} from '#libs/platform';
import { BullModule, getQueueToken } from '@nestjs/bullmq';
import { Module, type DynamicModule, type OnApplicationShutdown } from '@nestjs/common';
import { consumerOf, RunConsumer } from './run-consumer.js';
import { LoomWorker } from './worker.js';

export const LOGGER = Symbol('logger');

@Module({})
export class WorkerModule implements OnApplicationShutdown {
  constructor(
    private readonly database: Database,
    private readonly queue: RunQueue,
  ) {}

  static for(env: Env): DynamicModule {
    const Consumer = consumerOf(env);
    return {
      module: WorkerModule,
      imports: [BullModule.registerQueueAsync({ name: env.queueName, useFactory: () => queueOptions(env) })],
      providers: [
        { provide: LOGGER, useFactory: () => createLogger('worker', env.logLevel) },
        { provide: Database, useFactory: () => new Database(env.databaseUrl, env) },
        { provide: Runs, inject: [Database], useFactory: (database: Database) => new Runs(database, env) },
        {
          provide: RunQueue,
          inject: [getQueueToken(env.queueName)],
          useFactory: (queue: JobQueue) => new RunQueue(queue),
        },
        { provide: RunConsumer, inject: [LOGGER], useFactory: (log: Logger) => new Consumer(log) },
        {
          provide: LoomWorker,
          inject: [Database, Runs, RunConsumer, LOGGER],
          useFactory: (database: Database, runs: Runs, consumer: RunConsumer, log: Logger) =>
            new LoomWorker({ database, runs, consumer, log, env, artifacts: new ArtifactStore(env.artifactsDir) }),
        },
      ],
    };
  }

  async onApplicationShutdown(): Promise<void> {
    await this.queue.close();
    await this.database.close();
  }
}
