import { AddArtifact, Artifact, ArtifactName, CollectResult, SubmitOptions } from '#libs/contracts';
import { ArtifactCollector, RequestError, Uploads } from '#libs/platform';
import { Controller, Headers, HttpCode, HttpException, Param, Post, Put, Query, Req, Res } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiHeader, ApiOperation, ApiResponse, ApiTags } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Readable } from 'node:stream';
import { z } from 'zod';
import { UPLOADED } from './door.js';
import { Returns } from './validation.js';

/** A sha-256 in Content-Digest, beside which others may be. */
const DIGEST = /\bsha-256=:([A-Za-z0-9+/]{43}=):/;

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

const BINARY = { type: 'string', format: 'binary' } as const;

@ApiTags('artifacts')
@Controller('v1/runs/:id/artifacts')
export class RunArtifactsController {
  constructor(private readonly uploads: Uploads) {}

  @Put(':name')
  @ApiOperation({
    summary: 'Add a file to a run',
    description:
      'For programs beside its worker, while the run goes on and after it has ended. The bytes are stored as they ' +
      'come, at most LOOM_LARGEST_UPLOAD_MIB of them and within LOOM_REQUEST_TIMEOUT_MS; of an upload that breaks ' +
      'off nothing is left. A repeat of the same file does no harm (200); another of the same name is refused (409).',
  })
  @ApiConsumes(UPLOADED.name)
  @ApiBody({ schema: BINARY, required: true })
  @ApiHeader({
    name: 'Content-Digest',
    required: false,
    description: 'The sha-256 of the bytes (RFC 9530); others are refused (422).',
    schema: { type: 'string', pattern: DIGEST.source },
  })
  @ApiResponse({ status: 201, description: 'The new file', standardSchema: Artifact })
  @Returns(Artifact, { description: 'The file was there already' })
  async add(
    @Param('id', { schema: z.uuid('expected the id of a run') }) id: string,
    @Param('name', { schema: ArtifactName }) name: string,
    @Query({ schema: AddArtifact }) { mime }: AddArtifact,
    @Headers('content-digest') digest: string | undefined,
    @Req() { body, headers, raw }: FastifyRequest,
    @Res({ passthrough: true }) reply: FastifyReply,
  ) {
    if (!(body instanceof Readable))
      throw new HttpException(`expected the bytes of a file, of type ${UPLOADED.name}, got none`, 415);
    // What is refused is answered: the connection stays until then.
    const bytes = body.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
    try {
      const sizeBytes = headers['content-length'] === undefined ? undefined : Number(headers['content-length']);
      const upload = { name, mime, bytes, sizeBytes, sha256: sha256Of(digest) };
      const { artifact, created } = await this.uploads.add(id, upload);
      void reply.status(created ? 201 : 200);
      return artifact;
    } catch (error) {
      // The rest is read and dropped: other requests come behind it, on the same connection.
      setImmediate(() => body.resume());
      throw raw.destroyed && !raw.complete ? new HttpException('the upload broke off: nothing was added', 400) : error;
    }
  }
}

/** @throws RequestError where the header names no sha-256 */
function sha256Of(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const found = DIGEST.exec(header)?.[1];
  if (found !== undefined) return Buffer.from(found, 'base64').toString('hex');
  throw RequestError.invalid([
    { path: ['Content-Digest'], message: 'expected sha-256=:BASE64: as RFC 9530 has it, got no such digest' },
  ]);
}
