import { Name, Project, ProjectSettings } from '#libs/contracts';
import { ProjectStore } from '#libs/platform';
import { Body, Controller, Get, Param, Put } from '@nestjs/common';
import { ApiOperation, ApiTags } from '@nestjs/swagger';
import { z } from 'zod';
import { Returns } from './validation.js';

@ApiTags('projects')
@Controller('v1/projects')
export class ProjectsController {
  constructor(private readonly projects: ProjectStore) {}

  @Get()
  @ApiOperation({ summary: 'Projects with their weights and quotas, and what they have running, waiting and used' })
  @Returns(z.object({ items: z.array(Project) }))
  async list() {
    return { items: await this.projects.list() };
  }

  @Put(':name')
  @ApiOperation({
    summary: 'Make a project, or change its weight and quotas',
    description:
      'What is left out stays as it is; null lifts a quota. A quota holds from the next start on: runs that are ' +
      'under way go on.',
  })
  @Returns(Project)
  put(@Param('name', { schema: Name }) name: string, @Body({ schema: ProjectSettings }) body: ProjectSettings) {
    return this.projects.put(name, body);
  }
}
