import { ListPage, page, Plan, SubmitOptions, SubmitSweep, Sweep, SweepDetail, SweepTable } from '#libs/contracts';
import { RequestError, RunQueries, SweepStore } from '#libs/platform';
import { Body, Controller, Get, Headers, HttpCode, Param, Post, Query, Res } from '@nestjs/common';
import { ApiHeader, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply } from 'fastify';
import { z } from 'zod';
import { checkKey } from './runs.controller.js';
import { Returns } from './validation.js';

const Id = z.uuid('expected the id of a sweep');
const missing = (id: string): never => { throw new RequestError('not_found', `expected the id of a sweep, got ${id}: there is no such sweep`); };

@ApiTags('sweeps')
@Controller('v1/sweeps')
export class SweepsController {
  constructor(private readonly sweeps: SweepStore, private readonly queries: RunQueries) {}

  @Post()
  @ApiOperation({ summary: 'Submit a sweep, or (validate_only) see what it would start and what it would reuse' })
  @ApiHeader({ name: 'Idempotency-Key', required: false, description: 'A repeat with the same key returns the same sweep.' })
  @ApiResponse({ status: 201, description: 'The new sweep', standardSchema: Sweep })
  @Returns(z.union([Sweep, Plan]), { description: 'The sweep that exists, or the plan' })
  async submit(
    @Body({ schema: SubmitSweep }) body: SubmitSweep, @Query({ schema: SubmitOptions }) options: z.output<typeof SubmitOptions>,
    @Headers('idempotency-key') key: string | undefined, @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const idempotencyKey = checkKey(key);
    if (options.validate_only) {
      void reply.status(200);
      return this.sweeps.plan(body);
    }
    const { sweepId, outcome } = await this.sweeps.submit(body, idempotencyKey);
    void reply.status(outcome === 'created' ? 201 : 200).header('location', `/v1/sweeps/${sweepId}`);
    return await this.queries.sweep(sweepId) ?? missing(sweepId);
  }

  @Get()
  @ApiOperation({ summary: 'List sweeps, the newest first' })
  @Returns(page(Sweep))
  list(@Query({ schema: ListPage }) query: ListPage) {
    return this.queries.sweeps(query);
  }

  @Get(':id')
  @ApiOperation({ summary: 'A sweep with its trials and their runs' })
  @Returns(SweepDetail)
  async get(@Param('id', { schema: Id }) id: string) {
    return await this.queries.sweep(id) ?? missing(id);
  }

  @Get(':id/results')
  @ApiOperation({ summary: 'Which views need the fewest labels: kNN, accuracy per label fraction, and the gain over training from scratch' })
  @Returns(SweepTable)
  async results(@Param('id', { schema: Id }) id: string) {
    return await this.queries.sweepTable(id) ?? missing(id);
  }

  @Post(':id/cancel')
  @HttpCode(200)
  @ApiOperation({ summary: 'Cancel the runs of a sweep that no other sweep needs' })
  @Returns(Sweep)
  async cancel(@Param('id', { schema: Id }) id: string) {
    await this.sweeps.cancel(id);
    return await this.queries.sweep(id) ?? missing(id);
  }
}
