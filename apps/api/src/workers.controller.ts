import { damaged, Worker } from '#libs/contracts';
import { onlyOne, RunQueries, Workers } from '#libs/platform';
import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Returns } from './validation.js';

@ApiTags('workers')
@Controller('v1/workers')
export class WorkersController {
  constructor(
    private readonly queries: RunQueries,
    private readonly workers: Workers,
  ) {}

  @Get()
  @ApiOperation({ summary: 'Workers, with their state and last heartbeat' })
  @Returns(z.object({ items: z.array(Worker), damaged }))
  list() {
    return this.queries.workers();
  }

  @Post(':id/drain')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Drain a worker',
    description:
      'It takes nothing more, its runs write a checkpoint and are handed back uncharged, and its process ends ' +
      'with exit code 0.',
  })
  @Returns(Worker)
  async drain(@Param('id', { schema: z.string().max(128) }) id: string) {
    await this.workers.drainWorker(id);
    return onlyOne(await this.queries.workers(id))!;
  }
}
