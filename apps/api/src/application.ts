import { createLogger, type Env } from '#libs/platform';
import { HttpException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import type { FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describeApi } from './api-document.js';
import { AppModule } from './app.module.js';
import { serveDashboard } from './dashboard-files.js';
import { rememberRequests } from './request-log.js';

const BODY_LIMIT = 2 * 2 ** 20;
const POLICY =
  "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri " +
  "'none'; frame-ancestors 'none'";
const LOOPBACK = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

/** The API, ready to listen. Nothing is connected yet. */
export async function createApplication(env: Env): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    genReqId: () => randomUUID(),
    forceCloseConnections: true,
  });
  const log = createLogger('api', env.logLevel);
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.for(env, log), adapter, {
    logger: ['error', 'warn'],
    abortOnError: false,
  });
  const fastify = adapter.getInstance();
  fastify.addHook('onRequest', async (request, reply) => {
    void reply.headers({
      'x-request-id': request.id,
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'content-security-policy': POLICY,
    });
  });
  // Before the body is read, and after the request was noted in the log.
  fastify.addHook('preParsing', async (request) => {
    refuseForeign(request, env);
  });
  await rememberRequests(app);
  if (existsSync(env.webDir)) await serveDashboard(app, env.webDir);
  SwaggerModule.setup('docs', app, () => describeApi(app), {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: 'openapi.yaml',
  });
  return app;
}

/**
 * A page elsewhere must not reach a server on this machine by a name that it has pointed here, nor change things
 * through a browser.
 * @throws HttpException of 403 or 415
 */
function refuseForeign({ headers, method }: FastifyRequest, { host: listensOn, allowedOrigins }: Env): void {
  const { host = '', origin } = headers;
  const local = listensOn === '127.0.0.1' || listensOn === 'localhost' || listensOn === '::1';
  if (local && !LOOPBACK.test(host))
    throw new HttpException(
      `expected a request to this machine by its own name, got one for ${JSON.stringify(host.slice(0, 80))}`,
      403,
    );
  const hasBody = Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined;
  if (hasBody && !/^application\/(json|.*\+json)\b/i.test(headers['content-type'] ?? ''))
    throw new HttpException(`expected a body of type application/json, got ${headers['content-type'] ?? 'none'}`, 415);
  const changes = method !== 'GET' && method !== 'HEAD';
  const known = [`http://${host}`, `https://${host}`, ...allowedOrigins];
  if (origin && changes && !known.includes(origin))
    throw new HttpException(
      `expected a request from this server's own pages, got one from ${origin.slice(0, 80)}: ` +
        'LOOM_ALLOWED_ORIGINS allows others',
      403,
    );
}
