import { FindReferences, Reference } from '#libs/contracts';
import { References } from '#libs/platform';
import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Returns } from './validation.js';

@ApiTags('references')
@Controller('v1/references')
export class ReferencesController {
  constructor(private readonly references: References) {}

  @Get()
  @ApiOperation({
    summary: 'Which runs and sweeps a text may mean: by name, else by the beginning or end of their id',
    description: 'The newest ten at most. One that is meant without doubt is alone.',
  })
  @Returns(z.object({ items: z.array(Reference) }))
  async find(@Query({ schema: FindReferences }) query: FindReferences) {
    return { items: await this.references.find(query) };
  }
}
