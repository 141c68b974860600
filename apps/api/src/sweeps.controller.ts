import {
  ArchivedSweep,
  CloneSweep,
  DeletedSweep,
  ListedTrial,
  ListSweeps,
  ListTrials,
  page,
  Plan,
  RetryResult,
  SubmitOptions,
  SubmitSweep,
  Sweep,
  SweepChanges,
  SweepDetail,
  SweepRungs,
  SweepTable,
} from '#libs/contracts';
import { Deletion, RequestError, SweepExports, SweepQueries, SweepResults, SweepStore } from '#libs/platform';
import {
  Body,
  Controller,
  Delete,
  Get,
  Headers,
  HttpCode,
  Param,
  Patch,
  Post,
  Query,
  Req,
  Res,
  StreamableFile,
} from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ListStreams } from './list-stream.js';
import { checkKey, Returns, ReturnsEvents, TakesIdempotencyKey } from './validation.js';

const Id = z.uuid('expected the id of a sweep');
const WithRuns = z.strictObject({ runs: z.stringbool().default(false) });
const missing = (id: string): never => {
  throw new RequestError('not_found', `expected the id of a sweep, got ${id}: there is no such sweep`);
};

@ApiTags('sweeps')
@Controller('v1/sweeps')
export class SweepsController {
  constructor(
    private readonly sweeps: SweepStore,
    private readonly queries: SweepQueries,
    private readonly found: SweepResults,
    private readonly exports: SweepExports,
    private readonly deletion: Deletion,
    private readonly lists: ListStreams,
  ) {}

  @Post()
  @ApiOperation({ summary: 'Submit a sweep, or (validate_only) see what it would start and what it would reuse' })
  @TakesIdempotencyKey('A repeat with the same key returns the same sweep.')
  @ApiResponse({ status: 201, description: 'The new sweep', standardSchema: Sweep })
  @Returns(z.union([Sweep, Plan]), { description: 'The sweep that exists, or the plan' })
  async submit(
    @Body({ schema: SubmitSweep }) body: SubmitSweep,
    @Query({ schema: SubmitOptions }) options: z.output<typeof SubmitOptions>,
    @Headers('idempotency-key') key: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const idempotencyKey = checkKey(key);
    if (options.validate_only) {
      void reply.status(200);
      return this.sweeps.plan(body);
    }
    const { sweepId, outcome } = await this.sweeps.submit(body, idempotencyKey);
    void reply.status(outcome === 'created' ? 201 : 200).header('location', `/v1/sweeps/${sweepId}`);
    return (await this.queries.sweep(sweepId)) ?? missing(sweepId);
  }

  @Get()
  @ApiOperation({
    summary: 'List sweeps',
    description:
      'Filtered by `where=eval/knn>0.5` (repeatable) and the other parameters, sorted by `sort=-metric:eval/knn`, ' +
      '`name` or `-createdAt`, the newest first unless it says otherwise.',
  })
  @Returns(page(Sweep))
  list(@Query({ schema: ListSweeps }) query: ListSweeps) {
    return this.queries.sweeps(query);
  }

  @Get(':id')
  @ApiOperation({ summary: 'A sweep with its trials and their runs' })
  @Returns(SweepDetail)
  async get(@Param('id', { schema: Id }) id: string) {
    return (await this.queries.sweep(id)) ?? missing(id);
  }

  @Get(':id/trials')
  @ApiOperation({
    summary: 'List trials of a sweep with their runs',
    description: 'Filtered by `status` and `where`, sorted by `sort=-metric:eval/knn` or by their index.',
  })
  @Returns(page(ListedTrial))
  async listTrials(@Param('id', { schema: Id }) id: string, @Query({ schema: ListTrials }) query: ListTrials) {
    return (await this.queries.trialsOf(id, query)) ?? missing(id);
  }

  @Get(':id/stream')
  @ApiOperation({
    summary: 'Follow a sweep by server-sent events',
    description:
      'Events `sweep`: `{id, status, haltReason, runCounts, changed}`, with the ids of its runs that have changed ' +
      'since the message before (null: too many to be named), as often as something changes, twice a second at most. ' +
      'The first says how it stands. Ends with the sweep.',
  })
  @ReturnsEvents('Server-sent events, until the sweep has ended')
  async stream(
    @Param('id', { schema: Id }) id: string,
    @Req() { method }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    if (!(await this.queries.record(id))) missing(id);
    if (method === 'HEAD') return void reply.type('text/event-stream').send('');
    reply.hijack();
    await this.lists.followSweep(id, reply.raw);
  }

  @Get(':id/results')
  @ApiOperation({
    summary:
      'Which views need the fewest labels: kNN, accuracy per label fraction, and the gain over training from scratch',
  })
  @Returns(SweepTable)
  async results(@Param('id', { schema: Id }) id: string) {
    return (await this.found.table(id)) ?? missing(id);
  }

  @Get(':id/rungs')
  @ApiOperation({
    summary: 'Early stopping: who came to which rung, with what, and what was made of it',
    description: '`rungs` is null in a sweep that stops nothing early.',
  })
  @Returns(z.object({ rungs: SweepRungs.nullable() }))
  async rungs(@Param('id', { schema: Id }) id: string) {
    return { rungs: await this.sweeps.rungs(id) };
  }

  @Get(':id/trials.csv')
  @ApiOperation({
    summary: 'The trials as a table: parameters, and for each stage the run, its status and last metrics',
  })
  @ApiResponse({
    status: 200,
    description: 'A line for each trial (RFC 4180)',
    content: { 'text/csv': { schema: { type: 'string' } } },
  })
  async trials(@Param('id', { schema: Id }) id: string) {
    return new StreamableFile((await this.exports.trials(id, 'csv')) ?? missing(id), {
      type: 'text/csv; charset=utf-8',
    });
  }

  @Get(':id/trials.json')
  @ApiOperation({ summary: 'The same table as JSON: an object for each trial' })
  @ApiResponse({
    status: 200,
    description: 'An object for each trial; what does not apply is absent',
    content: {
      'application/json': { schema: { type: 'array', items: { type: 'object', additionalProperties: true } } },
    },
  })
  async trialsAsJson(@Param('id', { schema: Id }) id: string) {
    return new StreamableFile((await this.exports.trials(id, 'json')) ?? missing(id), {
      type: 'application/json; charset=utf-8',
    });
  }

  @Get(':id/trials.parquet')
  @ApiOperation({
    summary: 'The same table as Parquet: numbers are doubles, what is neither number nor text is JSON text',
  })
  @ApiResponse({
    status: 200,
    description: 'A row for each trial',
    content: { 'application/vnd.apache.parquet': { schema: { type: 'string', format: 'binary' } } },
  })
  async trialsAsParquet(@Param('id', { schema: Id }) id: string) {
    return new StreamableFile((await this.exports.trials(id, 'parquet')) ?? missing(id), {
      type: 'application/vnd.apache.parquet',
    });
  }

  @Get(':id/mlflow.tar')
  @ApiOperation({
    summary: 'The sweep for MLflow',
    description:
      "A tar of a folder `mlruns` as MLflow's file store keeps it: a run for each trial, and below it those that " +
      'were trained, with parameters, tags and curves (up to 10,000 points each).',
  })
  @ApiResponse({
    status: 200,
    description: 'A tar',
    content: { 'application/x-tar': { schema: { type: 'string', format: 'binary' } } },
  })
  async mlflow(@Param('id', { schema: Id }) id: string) {
    return new StreamableFile((await this.exports.mlflow(id)) ?? missing(id), { type: 'application/x-tar' });
  }

  @Delete(':id')
  @ApiOperation({
    summary: 'Delete a sweep that has come to its end',
    description:
      'Its runs stay, unless `runs` is true: then those that it started and that no run, no other sweep and no ' +
      'dataset ' +
      'needs go with it. A repeat goes on where an interrupted one ended.',
  })
  @Returns(DeletedSweep)
  delete(
    @Param('id', { schema: Id }) id: string,
    @Query({ schema: WithRuns }) { runs }: z.output<typeof WithRuns>,
  ): Promise<DeletedSweep> {
    return this.deletion.sweep(id, { runs });
  }

  @Post(':id/archive')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Archive a sweep that has come to its end: lists leave it out',
    description:
      'With `runs` those of its own runs too that no other sweep has and nobody has asked for by name. Nothing else ' +
      'changes: pages, files and results stay, and submits reuse its runs as before.',
  })
  @Returns(ArchivedSweep)
  archive(
    @Param('id', { schema: Id }) id: string,
    @Query({ schema: WithRuns }) { runs }: z.output<typeof WithRuns>,
  ): Promise<ArchivedSweep> {
    return this.sweeps.archive(id, { runs });
  }

  @Post(':id/unarchive')
  @HttpCode(200)
  @ApiOperation({ summary: 'Take a sweep out of the archive, and with `runs` all of its runs' })
  @Returns(ArchivedSweep)
  unarchive(
    @Param('id', { schema: Id }) id: string,
    @Query({ schema: WithRuns }) { runs }: z.output<typeof WithRuns>,
  ): Promise<ArchivedSweep> {
    return this.sweeps.unarchive(id, { runs });
  }

  @Post(':id/cancel')
  @HttpCode(200)
  @ApiOperation({ summary: 'Cancel the runs of a sweep that no other sweep needs' })
  @Returns(Sweep)
  async cancel(@Param('id', { schema: Id }) id: string) {
    await this.sweeps.cancel(id);
    return (await this.queries.sweep(id)) ?? missing(id);
  }

  @Post(':id/pause')
  @HttpCode(200)
  @ApiOperation({ summary: 'Start no other trial, and pause the runs that no other sweep needs' })
  @Returns(Sweep)
  async pause(@Param('id', { schema: Id }) id: string) {
    await this.sweeps.pause(id);
    return (await this.queries.sweep(id)) ?? missing(id);
  }

  @Post(':id/resume')
  @HttpCode(200)
  @ApiOperation({ summary: 'Go on with a paused sweep, its runs from their checkpoints' })
  @Returns(Sweep)
  async resume(@Param('id', { schema: Id }) id: string) {
    await this.sweeps.resume(id);
    return (await this.queries.sweep(id)) ?? missing(id);
  }

  @Patch(':id')
  @ApiOperation({
    summary: 'Change limits of a sweep while it runs',
    description: 'null lifts a limit. A sweep that had paused for its budget goes on where the new one allows it.',
  })
  @Returns(Sweep)
  async change(@Param('id', { schema: Id }) id: string, @Body({ schema: SweepChanges }) body: SweepChanges) {
    await this.sweeps.change(id, body);
    return (await this.queries.sweep(id)) ?? missing(id);
  }

  @Post(':id/retry')
  @HttpCode(200)
  @ApiOperation({ summary: 'Queue again exactly the runs of a sweep that failed, from their last checkpoints' })
  @Returns(RetryResult)
  retry(@Param('id', { schema: Id }) id: string) {
    return this.sweeps.retry(id);
  }

  @Post(':id/clone')
  @ApiOperation({
    summary: 'Submit the spec of a sweep again with changes',
    description:
      'What has run to its end is reused, and what was stopped early where the same trials are judged by the same ' +
      'rule again; else it is trained anew.',
  })
  @TakesIdempotencyKey('A repeat with the same key returns the same sweep.')
  @ApiResponse({ status: 201, description: 'The new sweep', standardSchema: Sweep })
  @Returns(Sweep, { description: 'The sweep that exists' })
  async clone(
    @Param('id', { schema: Id }) id: string,
    @Body({ schema: CloneSweep }) body: CloneSweep,
    @Headers('idempotency-key') key: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const { sweepId, outcome } = await this.sweeps.clone(id, body.changes, checkKey(key));
    void reply.status(outcome === 'created' ? 201 : 200).header('location', `/v1/sweeps/${sweepId}`);
    return (await this.queries.sweep(sweepId)) ?? missing(sweepId);
  }
}
