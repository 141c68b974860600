import { damaged, SavedQuery, SavedView, SavedViewName } from '#libs/contracts';
import { SavedViews } from '#libs/platform';
import { Body, Controller, Delete, Get, HttpCode, Param, Put } from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Returns } from './validation.js';

@ApiTags('runs')
@Controller('v1/saved-views')
export class SavedViewsController {
  constructor(private readonly views: SavedViews) {}

  @Get()
  @ApiOperation({ summary: 'Ways to look at the list of runs that somebody has saved, by name' })
  @Returns(z.object({ items: z.array(SavedView), damaged }))
  list() {
    return this.views.list();
  }

  @Put(':name')
  @ApiOperation({
    summary: 'Save a way to look at the list of runs',
    description: 'It takes the place of the one of its name. Everybody who uses this API sees it.',
  })
  @Returns(SavedView)
  put(@Param('name', { schema: SavedViewName }) name: string, @Body({ schema: SavedQuery }) query: SavedQuery) {
    return this.views.put(name, query);
  }

  @Delete(':name')
  @HttpCode(204)
  @ApiOperation({ summary: 'Delete a saved view' })
  @ApiResponse({ status: 204, description: 'It is gone' })
  delete(@Param('name', { schema: SavedViewName }) name: string): Promise<void> {
    return this.views.delete(name);
  }
}
