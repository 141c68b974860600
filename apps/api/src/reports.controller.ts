import { ListedReport, ListPage, page, ReplaceReport, Report, WriteReport } from '#libs/contracts';
import { Reports } from '#libs/platform';
import {
  Body,
  Controller,
  Delete,
  Get,
  Headers,
  HttpCode,
  Param,
  Post,
  Put,
  Query,
  Req,
  Res,
  StreamableFile,
} from '@nestjs/common';
import { ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { ReportFiles } from './report-file.js';
import { checkKey, Returns, TakesIdempotencyKey } from './validation.js';

const Id = z.uuid('expected the id of a report');

@ApiTags('reports')
@Controller('v1/reports')
export class ReportsController {
  constructor(
    private readonly reports: Reports,
    private readonly files: ReportFiles,
  ) {}

  @Get()
  @ApiOperation({ summary: 'List reports without what is in them, the one that was changed last first' })
  @Returns(page(ListedReport))
  list(@Query({ schema: ListPage }) query: ListPage) {
    return this.reports.list(query);
  }

  @Post()
  @ApiOperation({
    summary: 'Write a report',
    description: 'What it names need not be there: a report says in its place what is gone.',
  })
  @TakesIdempotencyKey('A repeat with the same key returns the same report.')
  @ApiResponse({ status: 201, description: 'The new report', standardSchema: Report })
  @Returns(Report, { description: 'The report that exists' })
  async add(
    @Body({ schema: WriteReport }) body: WriteReport,
    @Headers('idempotency-key') key: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    const { report, outcome } = await this.reports.add(body, checkKey(key));
    void reply.status(outcome === 'created' ? 201 : 200).header('location', `/v1/reports/${report.id}`);
    return report;
  }

  @Get(':id')
  @ApiOperation({ summary: 'A report: its blocks, which name what they show' })
  @Returns(Report)
  get(@Param('id', { schema: Id }) id: string) {
    return this.reports.get(id);
  }

  @Get(':id/html')
  @ApiOperation({
    summary: 'A report with what it shows, as one HTML file',
    description:
      'It opens without a network: texts, charts, tables and maps as they were when it was asked for, and the ' +
      'program that draws them, are in it.',
  })
  @ApiResponse({
    status: 200,
    description: 'The file',
    content: { 'text/html': { schema: { type: 'string' } } },
  })
  async html(@Param('id', { schema: Id }) id: string, @Req() { protocol, host }: FastifyRequest) {
    const report = await this.reports.get(id);
    return new StreamableFile(Buffer.from(await this.files.of(report, `${protocol}://${host}`)), {
      type: 'text/html; charset=utf-8',
      disposition: `attachment; filename="report-${id}.html"`,
    });
  }

  @Put(':id')
  @ApiOperation({
    summary: 'Save an edit of a report',
    description:
      '`version` is that of the report that was edited. Where somebody has saved another since, nothing is changed ' +
      '(409, `conflict`).',
  })
  @Returns(Report)
  replace(@Param('id', { schema: Id }) id: string, @Body({ schema: ReplaceReport }) body: ReplaceReport) {
    return this.reports.replace(id, body);
  }

  @Delete(':id')
  @HttpCode(204)
  @ApiOperation({ summary: 'Delete a report' })
  @ApiResponse({ status: 204, description: 'It is gone' })
  delete(@Param('id', { schema: Id }) id: string): Promise<void> {
    return this.reports.delete(id);
  }
}
