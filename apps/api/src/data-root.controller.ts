import { BrowseDataRoot, DataFolder } from '#libs/contracts';
import { DataRoot } from '#libs/platform';
import { Controller, Get, Query } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { Returns } from './validation.js';

@ApiTags('datasets')
@Controller('v1/data-root')
export class DataRootController {
  constructor(private readonly dataRoot: DataRoot) {}

  @Get()
  @ApiOperation({
    summary: 'A folder below the data root, and what kinds of files are in it and below',
    description: 'Names only: no file is opened. It is the data root of the API; that of workers may be another.',
  })
  @Returns(DataFolder)
  browse(@Query({ schema: BrowseDataRoot }) { path }: BrowseDataRoot) {
    return this.dataRoot.browse(path);
  }
}
