import { Dataset, DatasetReference, ListPage, page } from '#libs/contracts';
import { RequestError, RunQueries } from '#libs/platform';
import { Controller, Get, Param, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { Returns } from './validation.js';

@ApiTags('datasets')
@Controller('v1/datasets')
export class DatasetsController {
  constructor(private readonly queries: RunQueries) {}

  @Get()
  @ApiOperation({ summary: 'List dataset versions, the newest first' })
  @Returns(page(Dataset))
  list(@Query({ schema: ListPage }) query: ListPage) {
    return this.queries.datasets(query);
  }

  @Get(':reference')
  @ApiOperation({ summary: 'A dataset version by `name` (its newest) or `name@digest`' })
  @Returns(Dataset)
  async get(@Param('reference', { schema: DatasetReference }) reference: string) {
    const dataset = await this.queries.dataset(reference);
    if (!dataset)
      throw new RequestError('not_found', `expected a prepared dataset, got ${reference}: there is none of that name`);
    return dataset;
  }
}
