import type { Problem } from '#libs/contracts';
import { isUnavailable, RequestError, StoreUnavailableError, type RequestErrorCode } from '#libs/platform';
import { Catch, HttpException, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Socket } from 'node:net';
import type { PinoLogger } from 'nestjs-pino';
import { TurnedAwayError } from './clients.js';

const STATUS: Record<RequestErrorCode, number> = {
  invalid_request: 422,
  not_found: 404,
  conflict: 409,
  payload_too_large: 413,
  // As the draft on Idempotency-Key has it (draft-ietf-httpapi-idempotency-key-header).
  idempotency_mismatch: 422,
  invalid_state: 409,
  damaged: 409,
};
const TITLES: Record<number, [code: string, title: string]> = {
  400: ['invalid_request', "The request can't be read"],
  403: ['forbidden', 'The request is not allowed'],
  404: ['not_found', 'There is no such thing'],
  405: ['method_not_allowed', 'This method is not allowed here'],
  408: ['request_timeout', 'The request did not come in time'],
  409: ['conflict', 'The state of the resource does not allow this'],
  413: ['payload_too_large', 'The request is too large'],
  415: ['unsupported_media_type', 'The body is of a type that is not taken here'],
  422: ['invalid_request', 'The request is not valid'],
  429: ['too_many_requests', 'One client asks for too much at once'],
  431: ['headers_too_large', 'The headers are too large'],
  503: ['unavailable', 'A service that is needed does not answer'],
  500: ['internal', 'Something went wrong here'],
};
/** What a status says, in one sentence. */
export const titleOf = (status: number): string => (TITLES[status] ?? TITLES[status < 500 ? 400 : 500]!)[1];
/** When whoever was told that a service is away may ask again. */
export const RETRY_AFTER_SECONDS = 2;

type Described = Pick<Problem, 'status' | 'code' | 'title' | 'detail' | 'errors'>;

function describe(error: unknown): Described {
  const by = (status: number, detail: string, more: Partial<Described> = {}): Described => {
    const [code, title] = TITLES[status] ?? TITLES[status < 500 ? 400 : 500]!;
    return { status, code, title, detail, ...more };
  };
  if (error instanceof RequestError) {
    const errors = error.faults.map(({ path, message }) => ({ path: path.join('.'), message }));
    return by(STATUS[error.code], error.message, { code: error.code, ...(errors.length && { errors }) });
  }
  if (error instanceof HttpException) return by(error.getStatus(), error.message);
  // Fastify's own, for bodies that it can't read.
  const { statusCode } = error as { statusCode?: number };
  if (error instanceof Error && statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return by(statusCode, error.message);
  if (error instanceof StoreUnavailableError)
    return by(503, 'the artifact store cannot be written: nothing was added, try again');
  if (isUnavailable(error)) return by(503, 'Postgres or Redis does not answer: nothing was changed, try again');
  return by(500, 'the fault is on this side and was logged under the request id');
}

/** What was said of an answer whose bytes then could not be read, and is not so of the problem that comes instead. */
const OF_THE_BYTES = ['etag', 'cache-control', 'content-digest', 'repr-digest', 'content-disposition', 'accept-ranges'];

/** Answers with the problem document of an error. */
export function sendProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): Described {
  const described = describe(error);
  const problem: Problem = {
    type: 'about:blank',
    ...described,
    instance: request.url.split('?')[0]!,
    requestId: request.id,
  };
  for (const name of OF_THE_BYTES) {
    void reply.removeHeader(name);
    reply.raw.removeHeader(name);
  }
  if (error instanceof TurnedAwayError) void reply.header('retry-after', error.retryAfterSeconds);
  else if (described.status === 503) void reply.header('retry-after', RETRY_AFTER_SECONDS);
  void reply.status(described.status).type('application/problem+json').send(JSON.stringify(problem));
  return described;
}

/** Bytes that are no HTTP, or came too slowly: there is no request to answer, only a connection. */
export function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
  const statuses: Record<string, [status: number, reason: string]> = {
    ERR_HTTP_REQUEST_TIMEOUT: [408, 'Request Timeout'],
    HPE_HEADER_OVERFLOW: [431, 'Request Header Fields Too Large'],
  };
  const [status, reason] = statuses[error.code ?? ''] ?? [400, 'Bad Request'];
  const [code, title] = TITLES[status]!;
  const body = JSON.stringify({ type: 'about:blank', status, code, title, detail: 'expected a request in HTTP/1.1' });
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\ncontent-type: application/problem+json\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
  );
}

/**
 * Whatever goes wrong becomes a problem document (RFC 9457). What is not the caller's fault is logged, and not told.
 */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  constructor(private readonly log: PinoLogger) {}

  catch(error: unknown, host: ArgumentsHost): void {
    const request = host.switchToHttp().getRequest<FastifyRequest>();
    const reply = host.switchToHttp().getResponse<FastifyReply>();
    // Of those who are turned away a count is kept: a line for each would be another flood.
    if (describe(error).status >= 500 && !(error instanceof TurnedAwayError))
      this.log.error({ err: error, method: request.method, url: request.url }, 'request failed');
    if (reply.sent || reply.raw.headersSent) {
      reply.raw.destroy();
      return;
    }
    sendProblem(error, request, reply);
  }
}
