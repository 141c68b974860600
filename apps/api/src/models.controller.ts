import { ListPage, Model, ModelReference, page } from '#libs/contracts';
import { Deletion, RequestError, RunQueries } from '#libs/platform';
import { Controller, Delete, Get, HttpCode, Param, Query } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { Returns } from './validation.js';

@ApiTags('models')
@Controller('v1/models')
export class ModelsController {
  constructor(
    private readonly queries: RunQueries,
    private readonly deletion: Deletion,
  ) {}

  @Get()
  @ApiOperation({
    summary: 'List versions of models, the newest first',
    description: 'A run of kind `import-model` takes one in.',
  })
  @Returns(page(Model))
  list(@Query({ schema: ListPage }) query: ListPage) {
    return this.queries.models(query);
  }

  @Get(':reference')
  @ApiOperation({ summary: 'A version of a model by `name` (its newest) or `name@digest`' })
  @Returns(Model)
  async get(@Param('reference', { schema: ModelReference }) reference: string) {
    return (await this.queries.model(reference)) ?? missing(reference);
  }

  @Delete(':reference')
  @HttpCode(204)
  @ApiOperation({
    summary: 'Delete a version of a model, named as `name@digest`',
    description: 'Refused (409) where runs, or trials that are yet to start, begin with this version.',
  })
  @ApiResponse({ status: 204, description: 'It is gone' })
  async delete(@Param('reference', { schema: ModelReference }) reference: string): Promise<void> {
    if (!reference.includes('@'))
      throw RequestError.invalid([
        { path: ['reference'], message: `expected a version, such as ${reference}@0123456789ab, got a name alone` },
      ]);
    const { name, digest } = (await this.queries.modelVersion(reference)) ?? missing(reference);
    await this.deletion.model(name, digest);
  }
}

const missing = (reference: string): never => {
  throw new RequestError('not_found', `expected a model, got ${reference}: there is none of that name`);
};
