import {
  ArtifactCollector,
  ArtifactStore,
  BulkRequests,
  Database,
  DataRoot,
  Deletion,
  Explanations,
  Leader,
  ProjectStore,
  Readiness,
  References,
  Reports,
  queueOptions,
  Recorder,
  Requests,
  RunQueries,
  Retention,
  RunQueue,
  Runs,
  SavedViews,
  Submission,
  SweepExports,
  SweepQueries,
  SweepResults,
  SweepStore,
  Uploads,
  Workers,
  type Env,
  type JobQueue,
  type Logger,
} from '#libs/platform';
import { BullModule, getQueueToken } from '@nestjs/bullmq';
import {
  Module,
  type BeforeApplicationShutdown,
  type DynamicModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type Provider,
} from '@nestjs/common';
import { APP_FILTER, APP_INTERCEPTOR, APP_PIPE, Reflector } from '@nestjs/core';
import { LoggerModule, PinoLogger } from 'nestjs-pino';
import { ArtifactsController, RunArtifactsController } from './artifacts.controller.js';
import { Clients } from './clients.js';
import { DataRootController } from './data-root.controller.js';
import { DatasetsController } from './datasets.controller.js';
import { ModelsController } from './models.controller.js';
import { ListStreams } from './list-stream.js';
import { OperationsController } from './operations.controller.js';
import { ProblemFilter } from './problems.js';
import { ProjectsController } from './projects.controller.js';
import { ReferencesController } from './references.controller.js';
import { ReportFiles, StoredSource } from './report-file.js';
import { ReportsController } from './reports.controller.js';
import { requestLog } from './request-log.js';
import { RunChanges } from './run-changes.js';
import { RunStreams } from './run-stream.js';
import { RunsListController } from './runs-list.controller.js';
import { RunsController } from './runs.controller.js';
import { SavedViewsController } from './saved-views.controller.js';
import { SweepsController } from './sweeps.controller.js';
import { Turnstile } from './turnstile.js';
import { AnswerSerializer, ZodPipe } from './validation.js';
import { WorkersController } from './workers.controller.js';

export const LOGGER = Symbol('logger');

/** What sends server-sent events. */
const STREAMS: Provider[] = [
  { provide: RunChanges, inject: [Database], useFactory: (database: Database) => new RunChanges(database) },
  Turnstile,
  {
    provide: RunStreams,
    inject: [RunQueries, PinoLogger, Turnstile, RunChanges],
    useFactory: (queries: RunQueries, requests: PinoLogger, turnstile: Turnstile, changes: RunChanges) =>
      new RunStreams(queries, requests, turnstile, changes),
  },
  {
    provide: ListStreams,
    inject: [RunQueries, SweepQueries, PinoLogger, Turnstile, RunChanges],
    useFactory: (
      runs: RunQueries,
      sweeps: SweepQueries,
      requests: PinoLogger,
      turnstile: Turnstile,
      changes: RunChanges,
    ) => new ListStreams(runs, sweeps, requests, turnstile, changes),
  },
];

/** What controllers and the module itself are given: stores, queries and the leader, over one database. */
const providersOf = (env: Env, log: Logger): Provider[] => [
  { provide: LOGGER, useValue: log },
  { provide: Database, useFactory: () => new Database(env.databaseUrl, env) },
  {
    provide: RunQueue,
    inject: [getQueueToken(env.queueName)],
    useFactory: (queue: JobQueue) => new RunQueue(queue),
  },
  { provide: ArtifactStore, useFactory: () => new ArtifactStore(env.artifactsDir) },
  {
    provide: ArtifactCollector,
    inject: [Database, ArtifactStore],
    useFactory: (database: Database, artifacts: ArtifactStore) => new ArtifactCollector(database, artifacts, env),
  },
  {
    provide: Uploads,
    inject: [Database, ArtifactStore],
    useFactory: (database: Database, artifacts: ArtifactStore) => new Uploads(database, artifacts, env),
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
  { provide: DataRoot, useFactory: () => new DataRoot(env.dataRoot) },
  { provide: Deletion, inject: [Runs], useFactory: (runs: Runs) => runs.deletion },
  { provide: ProjectStore, inject: [Database], useFactory: (database: Database) => new ProjectStore(database) },
  { provide: Reports, inject: [Database], useFactory: (database: Database) => new Reports(database) },
  { provide: SavedViews, inject: [Database], useFactory: (database: Database) => new SavedViews(database) },
  { provide: Clients, useFactory: () => new Clients(env) },
  { provide: Readiness, inject: [Database], useFactory: (database: Database) => new Readiness(database) },
  { provide: References, inject: [Database], useFactory: (database: Database) => new References(database) },
  { provide: RunQueries, inject: [Database], useFactory: (database: Database) => new RunQueries(database, env) },
  {
    provide: Leader,
    inject: [Database, Runs, ProjectStore, RunQueue],
    useFactory: (database: Database, runs: Runs, projects: ProjectStore, queue: RunQueue) =>
      new Leader({ ...env, database, runs, projects, queue, log, retention: new Retention(database, env) }),
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
    provide: ReportFiles,
    inject: [RunQueries, SweepQueries, SweepResults, ArtifactStore],
    useFactory: (runs: RunQueries, sweeps: SweepQueries, found: SweepResults, artifacts: ArtifactStore) =>
      new ReportFiles(new StoredSource(runs, sweeps, found, artifacts), env.webDir),
  },
  ...STREAMS,
  { provide: APP_PIPE, useClass: ZodPipe },
  {
    provide: APP_FILTER,
    inject: [PinoLogger],
    useFactory: (requests: PinoLogger) => new ProblemFilter(requests),
  },
  {
    provide: APP_INTERCEPTOR,
    inject: [Reflector],
    useFactory: (reflector: Reflector) => new AnswerSerializer(reflector),
  },
];

@Module({})
export class AppModule implements OnApplicationBootstrap, BeforeApplicationShutdown, OnApplicationShutdown {
  constructor(
    private readonly database: Database,
    private readonly queue: RunQueue,
    private readonly leader: Leader,
  ) {}

  static for(env: Env, log: Logger): DynamicModule {
    return {
      module: AppModule,
      imports: [
        BullModule.registerQueueAsync({ name: env.queueName, useFactory: () => queueOptions(env) }),
        LoggerModule.forRoot(requestLog(log)),
      ],
      controllers: [
        RunsController,
        RunsListController,
        SweepsController,
        DatasetsController,
        ModelsController,
        DataRootController,
        WorkersController,
        ArtifactsController,
        RunArtifactsController,
        ProjectsController,
        ReferencesController,
        ReportsController,
        SavedViewsController,
        OperationsController,
      ],
      providers: providersOf(env, log),
    };
  }

  onApplicationBootstrap(): void {
    this.leader.start();
  }

  /** The leader stops before Nest closes the queue that it puts runs into. */
  async beforeApplicationShutdown(): Promise<void> {
    await this.leader.stop();
  }

  async onApplicationShutdown(): Promise<void> {
    await this.queue.close();
    await this.database.close();
  }
}
