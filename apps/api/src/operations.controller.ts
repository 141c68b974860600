import { Leader, ProjectStore, Readiness, RequestError, RunQueries, RunQueue } from '#libs/platform';
import { Controller, Get, Header, Param, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Gauge, Registry } from 'prom-client';
import { z } from 'zod';
import { Clients } from './clients.js';
import { RETRY_AFTER_SECONDS } from './problems.js';
import { Returns } from './validation.js';

/** Beside `dist`, or beside the sources. */
const SCHEMAS =
  ['../../../../schemas', '../../../schemas']
    .map((folder) => path.resolve(import.meta.dirname, folder))
    .find((folder) => existsSync(folder)) ?? '';
const Ready = z.object({ postgres: z.boolean(), redis: z.boolean() });

@ApiTags('operations')
@Controller()
export class OperationsController {
  private readonly registry = new Registry();
  private readonly runs = new Gauge({
    name: 'loom_runs',
    help: 'Runs by status',
    labelNames: ['status'],
    registers: [this.registry],
  });
  private readonly jobs = new Gauge({
    name: 'loom_queue_jobs',
    help: 'Jobs in Redis by state',
    labelNames: ['state'],
    registers: [this.registry],
  });
  private readonly repairs = new Gauge({
    name: 'loom_reconciler_repairs',
    help: 'What the reconciler of this process has put right; zero in a healthy system',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  private readonly dispatchWait = new Gauge({
    name: 'loom_dispatch_wait_seconds',
    help:
      'How long a run has waited that there is room for in Redis; above a few seconds Redis is away or full, or ' +
      'nobody leads',
    registers: [this.registry],
  });
  private readonly startWait = new Gauge({
    name: 'loom_start_wait_seconds',
    help:
      'How long the run has waited, of those in Redis, for which a worker has a slot free; above the time between ' +
      'two rounds of the reconciler Redis has lost it, or workers do not hear Redis',
    registers: [this.registry],
  });
  private readonly leading = new Gauge({
    name: 'loom_leader',
    help: '1 in the process that dispatches and reconciles',
    registers: [this.registry],
  });
  private readonly workers = new Gauge({
    name: 'loom_workers',
    help: 'Workers that answer, and those that do not and have neither been told to end nor said that they do',
    labelNames: ['alive'],
    registers: [this.registry],
  });

  private readonly streams = new Gauge({
    name: 'loom_streams',
    help: 'Streams that are open in this process',
    registers: [this.registry],
  });
  private readonly turnedAway = new Gauge({
    name: 'loom_turned_away',
    help: 'Requests that this process has turned away (429, 503), by what there was too much of',
    labelNames: ['reason'],
    registers: [this.registry],
  });
  private readonly impaired = new Gauge({
    name: 'loom_workers_impaired',
    help: 'Workers that answer and take no runs for now, because they can’t store what runs make or start trainers',
    registers: [this.registry],
  });
  private readonly projects = new Gauge({
    name: 'loom_project_runs',
    help: 'Runs of a project by whether workers hold them or they wait',
    labelNames: ['project', 'state'],
    registers: [this.registry],
  });
  private readonly used = new Gauge({
    name: 'loom_project_gpu_seconds',
    help: 'How long workers have worked on the runs of a project',
    labelNames: ['project'],
    registers: [this.registry],
  });

  constructor(
    private readonly readiness: Readiness,
    private readonly queue: RunQueue,
    private readonly queries: RunQueries,
    private readonly clients: Clients,
    private readonly leader: Leader,
    private readonly projectStore: ProjectStore,
  ) {}

  @Get('healthz')
  @ApiOperation({ summary: 'The process answers' })
  @Returns(z.object({ status: z.literal('ok') }))
  health() {
    return { status: 'ok' };
  }

  @Get('readyz')
  @ApiOperation({ summary: 'Postgres can be written and Redis answers; 503 where it is not so' })
  @Returns(Ready)
  @ApiResponse({ status: 503, description: 'One of them does not', standardSchema: Ready })
  async ready(@Res({ passthrough: true }) reply: FastifyReply): Promise<z.output<typeof Ready>> {
    const [postgres, redis] = await Promise.all([
      this.readiness.canWrite(),
      this.queue.ping().then(
        () => true,
        () => false,
      ),
    ]);
    if (!postgres || !redis) void reply.status(503).header('retry-after', RETRY_AFTER_SECONDS);
    return { postgres, redis };
  }

  @Get('schemas/:name')
  @Header('content-type', 'application/schema+json; charset=utf-8')
  @ApiOperation({ summary: 'JSON Schema of a file to submit, for editors: `sweep` or `run`' })
  @ApiResponse({
    status: 200,
    description: 'JSON Schema, draft 7',
    content: { 'application/schema+json': { schema: { type: 'object', additionalProperties: true } } },
  })
  async schema(@Param('name', { schema: z.string() }) given: string): Promise<string> {
    const name = ['sweep', 'run'].find((each) => given === each || given === `${each}.json`);
    if (name === undefined)
      throw new RequestError(
        'not_found',
        `expected the name of a schema, sweep or run, got ${JSON.stringify(given.slice(0, 80))}`,
      );
    return readFile(path.join(SCHEMAS, `${name}.json`), 'utf8');
  }

  @Get('metrics')
  @Header('content-type', 'text/plain; version=0.0.4')
  @ApiOperation({ summary: 'Metrics for Prometheus' })
  @ApiResponse({
    status: 200,
    description: "Prometheus' text format",
    content: { 'text/plain': { schema: { type: 'string' } } },
  })
  async metrics(): Promise<string> {
    const [runs, jobs, workers, dispatchWait, startWait, projects] = await Promise.all([
      this.queries.runCounts({ archived: 'all' }),
      this.queue.counts().catch(() => ({})),
      this.queries.workerCounts(),
      this.queries.dispatchWaitSeconds(),
      this.queries.untakenSeconds(),
      this.projectStore.list(),
    ]);
    this.runs.reset();
    this.jobs.reset();
    for (const [status, count] of Object.entries(runs)) this.runs.set({ status }, count);
    for (const [state, count] of Object.entries(jobs)) this.jobs.set({ state }, count);
    for (const [kind, count] of Object.entries(this.leader.repairs)) this.repairs.set({ kind }, count as number);
    this.workers.set({ alive: 'true' }, workers.alive);
    this.workers.set({ alive: 'false' }, workers.missed);
    this.impaired.set(workers.impaired);
    for (const { name, running, waiting, gpuSecondsUsed } of projects) {
      this.projects.set({ project: name, state: 'running' }, running);
      this.projects.set({ project: name, state: 'waiting' }, waiting);
      this.used.set({ project: name }, gpuSecondsUsed);
    }
    this.dispatchWait.set(dispatchWait);
    this.startWait.set(startWait);
    this.leading.set(this.leader.isLeader ? 1 : 0);
    this.streams.set(this.clients.openStreams);
    for (const [reason, count] of Object.entries(this.clients.turnedAway)) this.turnedAway.set({ reason }, count);
    return this.registry.metrics();
  }
}
