/** Runs as many: lists, counts and groups of those that a filter names, and a stream of how they stand. */
import { CountRuns, GroupRuns, ListRuns, page, Run, RunCounts, RunGroups } from '#libs/contracts';
import { RunQueries } from '#libs/platform';
import { Controller, Get, Query, Req, Res } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ListStreams } from './list-stream.js';
import { Returns, ReturnsEvents } from './validation.js';

@ApiTags('runs')
@Controller('v1/runs')
export class RunsListController {
  constructor(
    private readonly queries: RunQueries,
    private readonly lists: ListStreams,
  ) {}

  @Get()
  @ApiOperation({
    summary: 'List runs with the last values of their metrics',
    description:
      'Filtered by `where=eval/knn>0.5`, `where=spec:method=simclr` (repeatable) and the other parameters, ' +
      'sorted by `sort=-metric:eval/knn`, `spec:epochs`, `-finishedAt` …; runs that lack it come last.',
  })
  @Returns(page(Run))
  list(@Query({ schema: ListRuns }) query: ListRuns) {
    return this.queries.runs(query);
  }

  @Get('counts')
  @ApiOperation({ summary: 'How many runs a filter names, by status' })
  @Returns(RunCounts)
  async counts(@Query({ schema: CountRuns }) filter: CountRuns) {
    return { counts: await this.queries.runCounts(filter) };
  }

  @Get('groups')
  @ApiOperation({
    summary: 'The runs that a filter names, in groups of equal fields, with means and spreads of metrics',
    description: 'Such as `by=spec:method&metric=eval/knn`; the largest groups first.',
  })
  @Returns(RunGroups)
  groups(@Query({ schema: GroupRuns }) query: GroupRuns) {
    return this.queries.runGroups(query);
  }

  @Get('stream')
  @ApiOperation({
    summary: 'Follow the runs that a filter names by server-sent events',
    description:
      'Events `runs`: `{counts, changed}`, how many are in each status now and the ids of those that have changed, ' +
      'not of new ones, since the message before (null: too many to be named), as often as something changes, twice ' +
      'a second at most. The first says how things stand. Goes on until the client goes; runs named by `id` are ' +
      'followed until all have ended.',
  })
  @ReturnsEvents('Server-sent events')
  async streamList(
    @Query({ schema: CountRuns }) filter: CountRuns,
    @Req() { method }: FastifyRequest,
    @Res() reply: FastifyReply,
  ): Promise<void> {
    // What can't be read is refused before the stream is opened.
    await this.queries.runCounts(filter);
    if (method === 'HEAD') return void reply.type('text/event-stream').send('');
    reply.hijack();
    await this.lists.followRuns(filter, reply.raw);
  }
}
