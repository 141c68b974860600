import { Dataset, DatasetReference, ListPage, page } from '#libs/contracts';
import { Deletion, RequestError, RunQueries } from '#libs/platform';
import { Controller, Delete, Get, HttpCode, Param, Query } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { Returns } from './validation.js';

@ApiTags('datasets')
@Controller('v1/datasets')
export class DatasetsController {
  constructor(
    private readonly queries: RunQueries,
    private readonly deletion: Deletion,
  ) {}

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
    return (await this.queries.dataset(reference)) ?? missing(reference);
  }

  @Delete(':reference')
  @HttpCode(204)
  @ApiOperation({
    summary: 'Delete a dataset version, named as `name@digest`',
    description: 'Refused (409) where runs, or trials that are yet to start, are of this version.',
  })
  @ApiResponse({ status: 204, description: 'It is gone' })
  async delete(@Param('reference', { schema: DatasetReference }) reference: string): Promise<void> {
    if (!reference.includes('@'))
      throw RequestError.invalid([
        { path: ['reference'], message: `expected a version, such as ${reference}@0123456789ab, got a name alone` },
      ]);
    const { name, digest } = (await this.queries.datasetVersion(reference)) ?? missing(reference);
    await this.deletion.dataset(name, digest);
  }
}

const missing = (reference: string): never => {
  throw new RequestError('not_found', `expected a prepared dataset, got ${reference}: there is none of that name`);
};
