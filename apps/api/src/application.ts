import { createLogger, type Env } from '#libs/platform';
import { HttpException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { describeApi } from './api-document.js';
import { AppModule } from './app.module.js';
import { serveDashboard } from './dashboard-files.js';
import { answerOrigin, refuseForeign, RouteMethods } from './door.js';
import { refuseUnreadable, sendProblem } from './problems.js';
import { rememberRequests } from './request-log.js';

const BODY_LIMIT = 2 * 2 ** 20;
const POLICY =
  "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri " +
  "'none'; frame-ancestors 'none'";
/** A request whose headers and body have not come by then is closed. */
const REQUEST_TIMEOUT_MS = 30_000;

/** The API, ready to listen. Nothing is connected yet. */
export async function createApplication(env: Env): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: BODY_LIMIT,
    genReqId: () => randomUUID(),
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    http: { headersTimeout: REQUEST_TIMEOUT_MS, connectionsCheckingInterval: 5000 },
    // What never comes to the router.
    frameworkErrors: (error: FastifyError, request: FastifyRequest, reply: FastifyReply) =>
      void sendProblem(error, request, reply),
    clientErrorHandler: refuseUnreadable,
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
  const methods = new RouteMethods();
  fastify.addHook('onRoute', ({ method, url }) => methods.add(url, [method].flat()));
  fastify.addHook('preParsing', async (request, reply) => {
    refuseForeign(request, env);
    if (answerOrigin(request, reply, env)) return;
    const allowed = request.is404 ? methods.of(request.url.split('?')[0]!) : [];
    if (allowed.length === 0) return;
    void reply.header('allow', allowed.join(', '));
    throw new HttpException(`expected one of ${allowed.join(', ')} here, got ${request.method}`, 405);
  });
  await rememberRequests(app);
  if (existsSync(env.webDir)) await serveDashboard(app, env.webDir);
  SwaggerModule.setup('docs', app, () => describeApi(app), {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: 'openapi.yaml',
  });
  return app;
}
