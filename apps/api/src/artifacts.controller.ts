import { CollectResult, SubmitOptions } from '#libs/contracts';
import { ArtifactCollector } from '#libs/platform';
import { Controller, HttpCode, Post, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import type { z } from 'zod';
import { Returns } from './validation.js';

@ApiTags('artifacts')
@Controller('v1/artifacts')
export class ArtifactsController {
  constructor(private readonly collector: ArtifactCollector) {}

  @Post('collect')
  @HttpCode(200)
  @ApiOperation({
    summary: 'Remove the files that no artifact and no dataset names any more, or (validate_only) count them',
    description:
      'Files younger than LOOM_COLLECT_GRACE_SECONDS stay. Looks at every file of the store before it answers.',
  })
  @Returns(CollectResult)
  collect(@Query({ schema: SubmitOptions }) options: z.output<typeof SubmitOptions>) {
    return this.collector.collect({ dryRun: options.validate_only });
  }
}
