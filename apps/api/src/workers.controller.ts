import { Worker } from '#libs/contracts';
import { RunQueries } from '#libs/platform';
import { Controller, Get } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Returns } from './validation.js';

@ApiTags('workers')
@Controller('v1/workers')
export class WorkersController {
  constructor(private readonly queries: RunQueries) {}

  @Get()
  @ApiOperation({ summary: 'Workers, with their state and last heartbeat' })
  @Returns(z.object({ items: z.array(Worker) }))
  async list() {
    return { items: await this.queries.workers() };
  }
}
