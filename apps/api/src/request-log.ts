/** One line for each request, and the request's id in every line that is logged while it is handled. */
import type { Logger } from '#libs/platform';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { PinoLogger, type Params } from 'nestjs-pino';
import type { IncomingMessage, ServerResponse } from 'node:http';

const line = (request: IncomingMessage, response: ServerResponse, { responseTime }: { responseTime: number }) => ({
  method: request.method,
  // What middleware sees as `url` is without the path that it is mounted on.
  url: (request as IncomingMessage & { originalUrl?: string }).originalUrl ?? request.url,
  status: response.statusCode,
  ms: responseTime,
});

/**
 * Requests that read are logged at `debug`, others at `info`. What goes wrong is logged where it is caught: here a
 * request that failed is a request.
 */
export const requestLog = (logger: Logger): Params => ({
  // All paths, as the router of middleware for Fastify reads it; the module's own pattern matches none there.
  forRoutes: ['/{*path}'],
  pinoHttp: {
    logger,
    // Lines hold the id of the request, which Fastify has made (`genReqId`), and not its headers.
    quietReqLogger: true,
    quietResLogger: true,
    customAttributeKeys: { reqId: 'requestId' },
    customLogLevel: ({ method }, { statusCode }) => (method === 'GET' || statusCode === 429 ? 'debug' : 'info'),
    customSuccessMessage: () => 'request',
    customErrorMessage: () => 'request',
    customSuccessObject: line,
    customErrorObject: (request, response, _, value: { responseTime: number }) => line(request, response, value),
  },
});

/**
 * Keeps the request's id in what is logged after its body was read: what follows is called from the events of the
 * connection then, which know nothing of the request.
 */
export async function rememberRequests(app: NestFastifyApplication): Promise<void> {
  const log = await app.resolve(PinoLogger);
  const fastify = app.getHttpAdapter().getInstance();
  fastify.addHook('preValidation', (request, _, done) => {
    log.runInContext(done, { bindings: { requestId: request.id } });
  });
}
