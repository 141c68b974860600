import {
  ArtifactCollector,
  ArtifactStore,
  BulkRequests,
  createLogger,
  Database,
  Explanations,
  Leader,
  ProjectStore,
  Recorder,
  Requests,
  RunQueries,
  RunQueue,
  Runs,
  Submission,
  SweepExports,
  SweepQueries,
  SweepResults,
  SweepStore,
  Workers,
  type Env,
  type Logger,
} from '#libs/platform';
import { Module, type DynamicModule, type OnApplicationBootstrap, type OnApplicationShutdown } from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, APP_PIPE, Reflector } from '@nestjs/core';
import { StandardSchemaSerializerInterceptor } from '@nestjs/common';
import { ArtifactsController } from './artifacts.controller.js';
import { DatasetsController } from './datasets.controller.js';
import { OperationsController } from './operations.controller.js';
import { ProblemFilter } from './problems.js';
import { ProjectsController } from './projects.controller.js';
import { RunStreams } from './run-stream.js';
import { RunsController } from './runs.controller.js';
import { SweepsController } from './sweeps.controller.js';
import { ZodPipe } from './validation.js';
import { WorkersController } from './workers.controller.js';

export const LOGGER = Symbol('logger');

@Module({})
export class AppModule implements OnApplicationBootstrap, OnApplicationShutdown {
  constructor(
    private readonly database: Database,
    private readonly queue: RunQueue,
    private readonly leader: Leader,
  ) {}

  static for(env: Env): DynamicModule {
    return {
      module: AppModule,
      controllers: [
        RunsController,
        SweepsController,
        DatasetsController,
        WorkersController,
        ArtifactsController,
        ProjectsController,
        OperationsController,
      ],
      providers: [
        { provide: LOGGER, useFactory: () => createLogger('api', env.logLevel) },
        { provide: Database, useFactory: () => new Database(env.databaseUrl, env) },
        { provide: RunQueue, useFactory: () => new RunQueue(env) },
        { provide: ArtifactStore, useFactory: () => new ArtifactStore(env.artifactsDir) },
        {
          provide: ArtifactCollector,
          inject: [Database, ArtifactStore],
          useFactory: (database: Database, artifacts: ArtifactStore) => new ArtifactCollector(database, artifacts, env),
        },
        { provide: Runs, inject: [Database], useFactory: (database: Database) => new Runs(database, env) },
        { provide: Submission, inject: [Runs], useFactory: (runs: Runs) => runs.submission },
        { provide: Requests, inject: [Runs], useFactory: (runs: Runs) => runs.requests },
        { provide: BulkRequests, inject: [Runs], useFactory: (runs: Runs) => runs.bulk },
        { provide: Recorder, inject: [Runs], useFactory: (runs: Runs) => runs.recorder },
        { provide: Workers, inject: [Runs], useFactory: (runs: Runs) => runs.workers },
        {
          provide: Explanations,
          inject: [Database, Submission],
          useFactory: (database: Database, submission: Submission) => new Explanations(database, submission),
        },
        {
          provide: SweepStore,
          inject: [Database, Runs],
          useFactory: (database: Database, runs: Runs) => new SweepStore(database, runs),
        },
        { provide: ProjectStore, inject: [Database], useFactory: (database: Database) => new ProjectStore(database) },
        { provide: RunQueries, inject: [Database], useFactory: (database: Database) => new RunQueries(database, env) },
        {
          provide: Leader,
          inject: [Database, Runs, ProjectStore, RunQueue, LOGGER],
          useFactory: (database: Database, runs: Runs, projects: ProjectStore, queue: RunQueue, log: Logger) =>
            new Leader({ database, runs, projects, queue, log, reconcileMs: env.reconcileMs, window: env.window }),
        },
        { provide: SweepQueries, inject: [Database], useFactory: (database: Database) => new SweepQueries(database) },
        {
          provide: SweepResults,
          inject: [Database, SweepQueries],
          useFactory: (database: Database, sweeps: SweepQueries) => new SweepResults(database, sweeps),
        },
        {
          provide: SweepExports,
          inject: [SweepQueries, RunQueries],
          useFactory: (sweeps: SweepQueries, runs: RunQueries) => new SweepExports(sweeps, runs),
        },
        {
          provide: RunStreams,
          inject: [Database, RunQueries, LOGGER],
          useFactory: (database: Database, queries: RunQueries, log: Logger) => new RunStreams(database, queries, log),
        },
        { provide: APP_PIPE, useClass: ZodPipe },
        { provide: APP_FILTER, inject: [LOGGER], useFactory: (log: Logger) => new ProblemFilter(log) },
        {
          provide: APP_INTERCEPTOR,
          inject: [Reflector],
          useFactory: (reflector: Reflector) => new StandardSchemaSerializerInterceptor(reflector),
        },
      ],
    };
  }

  onApplicationBootstrap(): void {
    this.leader.start();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.leader.stop();
    await this.queue.close();
    await this.database.close();
  }
}
