import {
  Artifact,
  AskWhy,
  BulkResult,
  BulkRuns,
  ListMetrics,
  ListPage,
  LogLine,
  MetricSeries,
  page,
  Plan,
  RecordedMetrics,
  RecordMetrics,
  Run,
  RunChanges,
  RunDetail,
  RunEvent,
  SubmitOptions,
  SubmitRun,
  Why,
} from '#libs/contracts';
import {
  ArtifactStore,
  BulkRequests,
  Deletion,
  Explanations,
  LeaseLostError,
  Recorder,
  RequestError,
  Requests,
  RunQueries,
  Submission,
} from '#libs/platform';
import { Body, Controller, Delete, Get, Headers, HttpCode, Param, Patch, Post, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { matches, sendArtifact } from './artifact-content.js';
import { itemsAsJson } from './json-stream.js';
import { parsePosition, RunStreams } from './run-stream.js';
import { checkKey, Returns, ReturnsEvents, TakesIdempotencyKey } from './validation.js';

const Id = z.uuid('expected the id of a run');
const after = (cursor: string | undefined): number => {
  if (cursor === undefined) return 0;
  if (!/^\d{1,15}$/.test(cursor))
    throw RequestError.invalid([{ path: ['cursor'], message: 'expected the nextCursor of an earlier page' }]);
  return Number(cursor);
};

@ApiTags('runs')
@Controller('v1/runs')
export class RunsController {
  constructor(
    private readonly submission: Submission,
    private readonly requests: Requests,
    private readonly bulkRequests: BulkRequests,
    private readonly recorder: Recorder,
    private readonly queries: RunQueries,
    private readonly artifacts: ArtifactStore,
    private readonly streams: RunStreams,
    private readonly explanations: Explanations,
    private readonly deletion: Deletion,
  ) {}

  @Post()
  @ApiOperation({
    summary: 'Submit a run, or (validate_only) see what submitting it would do',
    description:
      '201 for a new run; 200 for one that exists with the same digest or Idempotency-Key, and for a plan. One that ' +
      'exists takes the name if it has none; if it has, that stays: compare `name` of the answer.',
  })
  @TakesIdempotencyKey('A repeat with the same key returns the same run.')
  @ApiResponse({ status: 201, description: 'The new run', standardSchema: Run })
  @Returns(z.union([Run, Plan]), { description: 'The run that exists, or the plan' })
  async submit(
    @Body({ schema: SubmitRun }) body: SubmitRun,
    @Query({ schema: SubmitOptions }) options: z.output<typeof SubmitOptions>,
    @Headers('idempotency-key') key: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const idempotencyKey = checkKey(key);
    if (options.validate_only) {
      void reply.status(200);
      return this.submission.planRun(body);
    }
    const { runId, outcome } = await this.submission.submitRun(body, idempotencyKey);
    void reply.status(outcome === 'created' ? 201 : 200).header('location', `/v1/runs/${runId}`);
    return this.found(runId);
  }

  @Post('bulk')
  @HttpCode(200)
  @ApiOperation({
    summary:
      'Cancel, pause, resume, retry, archive, tag or delete all runs that a filter names, or (validate_only) count ' +
      'them',
    description:
      'Done in batches, each whole or not at all. An answer with a `nextCursor` did not come to the end: ask ' +
      'again with it.',
  })
  @Returns(BulkResult)
  async bulk(
    @Body({ schema: BulkRuns }) body: BulkRuns,
    @Query({ schema: SubmitOptions }) options: z.output<typeof SubmitOptions>,
  ) {
    return options.validate_only ? this.bulkRequests.planBulk(body) : this.bulkRequests.bulk(body);
  }

  @Post('why')
  @HttpCode(200)
  @ApiOperation({
    summary:
      'Which run a submit would take the result of, or what keeps it from the nearest of its kind, field by field',
  })
  @Returns(Why)
  whySubmission(@Body({ schema: SubmitRun }) body: SubmitRun) {
    return this.explanations.ofSubmission(body);
  }

  @Get(':id/why')
  @ApiOperation({
    summary: 'What a run and another (or the nearest of its kind) have that is not equal, field by field',
  })
  @Returns(Why)
  why(@Param('id', { schema: Id }) id: string, @Query({ schema: AskWhy }) { against }: AskWhy) {
    return this.explanations.ofRun(id, against);
  }

  @Get(':id')
  @ApiOperation({
    summary: 'A run with its attempts',
    description: 'Has an ETag: If-None-Match answers 304 while nothing has changed.',
  })
  @Returns(RunDetail)
  async get(
    @Param('id', { schema: Id }) id: string,
    @Headers('if-none-match') known: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const run = (await this.queries.runDetail(id)) ?? missing(id);
    // A forecast moves with the clock.
    const etag = `"${createHash('sha256')
      .update(JSON.stringify({ ...run, predictedStartAt: null }))
      .digest('base64url')
      .slice(0, 22)}"`;
    void reply.header('etag', etag).header('cache-control', 'no-cache');
    if (matches(known, etag)) {
      void reply.status(304).send();
      return undefined;
    }
    return run;
  }

  @Patch(':id')
  @ApiOperation({
    summary: 'Change the name, notes, tags or priority of a run',
    description: 'The priority of a run that has ended is refused (409); a run that waits takes its new place in line.',
  })
  @Returns(RunDetail)
  async change(@Param('id', { schema: Id }) id: string, @Body({ schema: RunChanges }) body: RunChanges) {
    await this.requests.change(id, body);
    return (await this.queries.runDetail(id)) ?? missing(id);
  }

  @Delete(':id')
  @HttpCode(204)
  @ApiOperation({
    summary: 'Delete a run that has ended, with all that was recorded of it',
    description:
      'Refused (409) where a run, a sweep or a dataset needs it, naming which. Its files go when artifacts are ' +
      'collected, unless another run has the same.',
  })
  @ApiResponse({ status: 204, description: 'It is gone' })
  async delete(@Param('id', { schema: Id }) id: string): Promise<void> {
    await this.deletion.run(id);
  }

  @Get(':id/events')
  @ApiOperation({ summary: 'What happened to a run, in order' })
  @Returns(page(RunEvent))
  async events(@Param('id', { schema: Id }) id: string, @Query({ schema: ListPage }) { limit, cursor }: ListPage) {
    await this.exists(id);
    const items = await this.queries.events(id, { after: after(cursor), limit });
    return { items, nextCursor: items.length === limit ? String(items.at(-1)!.id) : null };
  }

  @Get(':id/metrics')
  @ApiOperation({ summary: 'Curves of a run: by key, since a step, at most `points` points each' })
  @Returns(z.object({ items: z.array(MetricSeries) }))
  async metrics(@Param('id', { schema: Id }) id: string, @Query({ schema: ListMetrics }) query: ListMetrics) {
    await this.exists(id);
    return itemsAsJson(this.queries.metricsAsText(id, query));
  }

  @Post(':id/metrics')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Record metrics of a running run',
    description:
      'For programs that measure beside its worker. Fenced by the attempt, in the statement that writes: 409 when ' +
      'another has begun or the run has ended, and then nothing is recorded. A repeat does no harm.',
  })
  @Returns(RecordedMetrics)
  async recordMetrics(
    @Param('id', { schema: Id }) id: string,
    @Body({ schema: RecordMetrics }) { attempt, points }: RecordMetrics,
  ) {
    try {
      await this.recorder.record({ runId: id, attempt }, { points });
    } catch (error) {
      if (!(error instanceof LeaseLostError)) throw error;
      await this.exists(id);
      throw new RequestError(
        'invalid_state',
        `expected the attempt of a run that is running, got attempt ${attempt}: ${error.message}`,
      );
    }
    return { points: points.length };
  }

  @Get(':id/logs')
  @ApiOperation({ summary: 'Log lines of a run, in order' })
  @Returns(page(LogLine))
  async logs(@Param('id', { schema: Id }) id: string, @Query({ schema: ListPage }) { limit, cursor }: ListPage) {
    await this.exists(id);
    const items = await this.queries.logs(id, { after: after(cursor), limit });
    return { items, nextCursor: items.length === limit ? String(items.at(-1)!.id) : null };
  }

  @Get(':id/artifacts')
  @ApiOperation({ summary: 'Files of a run, with their sha256' })
  @Returns(page(Artifact))
  async listArtifacts(@Param('id', { schema: Id }) id: string, @Query({ schema: ListPage }) query: ListPage) {
    await this.exists(id);
    return this.queries.artifacts(id, query);
  }

  @Get(':id/artifacts/:artifactId/content')
  @ApiOperation({
    summary: 'Download a file',
    description:
      'The ETag is the sha256 that was recorded. A whole file is compared with it while it is sent: where it was ' +
      'changed on disk, the connection breaks before its last bytes. A single byte range can be asked for (Range, ' +
      'If-Range); a range, HEAD and 304 are answered without reading the rest, and say nothing of it.',
  })
  @ApiResponse({
    status: 200,
    description: 'The bytes',
    content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
  })
  @ApiResponse({
    status: 206,
    description: 'The bytes that were asked for',
    content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
  })
  @ApiResponse({ status: 304, description: 'The file is the one that is known' })
  @ApiResponse({ status: 416, description: 'The range lies beyond the end' })
  async content(
    @Param('id', { schema: Id }) id: string,
    @Param('artifactId', { schema: z.uuid('expected the id of an artifact') }) artifactId: string,
    @Req() request: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    const artifact = await this.queries.artifact(id, artifactId);
    if (!artifact) throw new RequestError('not_found', `expected the id of a file of run ${id}, got ${artifactId}`);
    await sendArtifact(request, reply, this.artifacts, artifact);
  }

  @Get(':id/stream')
  @ApiOperation({
    summary: 'Follow a run by server-sent events',
    description:
      'Events `run`, `event`, `metrics` and `log`. Last-Event-ID takes the stream up again without holes or ' +
      'repeats. Ends with the run.',
  })
  @ReturnsEvents('Server-sent events, until the run has ended')
  async stream(
    @Param('id', { schema: Id }) id: string,
    @Headers('last-event-id') lastEventId: string | undefined,
    @Req() { method }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    await this.found(id);
    const position = parsePosition(lastEventId);
    if (method === 'HEAD') return void reply.type('text/event-stream').send('');
    reply.hijack();
    await this.streams.follow(id, position, reply.raw);
  }

  @Post(':id/cancel')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Cancel a run',
    description: 'At once where it waits; where it runs it is `cancelling` until its worker has stopped it.',
  })
  @Returns(Run)
  async cancel(@Param('id', { schema: Id }) id: string) {
    await this.requests.cancel(id);
    return this.found(id);
  }

  @Post(':id/pause')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Pause a run',
    description:
      'At once where it waits; where it runs it is `pausing` until its worker has stopped it at a checkpoint. ' +
      'Runs that wait for it go on waiting.',
  })
  @Returns(Run)
  async pause(@Param('id', { schema: Id }) id: string) {
    await this.requests.pause(id);
    return this.found(id);
  }

  @Post(':id/resume')
  @HttpCode(200)
  @ApiOperation({ summary: 'Queue a paused run', description: 'It goes on from its checkpoint as the next attempt.' })
  @Returns(Run)
  async resume(@Param('id', { schema: Id }) id: string) {
    await this.requests.resume(id);
    return this.found(id);
  }

  @Post(':id/retry')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Queue a run again that failed or was cancelled',
    description: 'It goes on from its last checkpoint; runs that waited for it wait again.',
  })
  @Returns(Run)
  async retry(@Param('id', { schema: Id }) id: string) {
    await this.requests.retry(id);
    return this.found(id);
  }

  @Post(':id/archive')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Archive a run that has ended: lists leave it out',
    description: 'Nothing else changes: its page, its files and its results stay, and submits reuse it as before.',
  })
  @Returns(Run)
  async archive(@Param('id', { schema: Id }) id: string) {
    await this.requests.archive(id);
    return this.found(id);
  }

  @Post(':id/unarchive')
  @HttpCode(200)
  @ApiOperation({ summary: 'Take a run out of the archive' })
  @Returns(Run)
  async unarchive(@Param('id', { schema: Id }) id: string) {
    await this.requests.unarchive(id);
    return this.found(id);
  }

  /** What is recorded of a run is told also where the run itself is damaged. */
  private async exists(id: string): Promise<void> {
    if (!(await this.queries.hasRun(id))) missing(id);
  }

  private async found(id: string) {
    return (await this.queries.run(id)) ?? missing(id);
  }
}

const missing = (id: string): never => {
  throw new RequestError('not_found', `expected the id of a run, got ${id}: there is no such run`);
};
