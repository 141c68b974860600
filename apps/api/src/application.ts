import { createLogger, type Env } from '#libs/platform';
import { HttpException } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { SwaggerModule } from '@nestjs/swagger';
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { Readable } from 'node:stream';
import { describeApi } from './api-document.js';
import { AppModule } from './app.module.js';
import { Clients, LARGEST_BODY } from './clients.js';
import { serveDashboard } from './dashboard-files.js';
import { answerOrigin, refuseForeign, RouteMethods, UPLOADED } from './door.js';
import { refuseUnreadable, sendProblem } from './problems.js';
import { rememberRequests } from './request-log.js';

const POLICY =
  "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri " +
  "'none'; frame-ancestors 'none'";

/** Characters of a part of a path: a name of 128 and a digest after an @, each percent-encoded. */
const LONGEST_PARAMETER = 3 * (128 + 1 + 64);

const isStream = ({ routeOptions }: FastifyRequest) => routeOptions.url?.endsWith('/stream') ?? false;

/** What asks Postgres takes its turn among what else its client asks. An answer without a body is not made. */
function limitClients(fastify: FastifyInstance, clients: Clients): void {
  const turns = new WeakMap<FastifyRequest, () => void>();
  const isLimited = ({ url }: FastifyRequest) => url.startsWith('/v1/');
  fastify.addHook('preParsing', async (request, reply) => {
    if (reply.sent || !isLimited(request)) return;
    if (isStream(request)) clients.openStream(request.ip, reply);
    else clients.enter(request, reply);
  });
  fastify.addHook('preValidation', async (request, reply) => {
    if (isLimited(request) && !isStream(request)) turns.set(request, await clients.turn(request, reply));
  });
  fastify.addHook('onSend', async (request, _, payload) => {
    turns.get(request)?.();
    if (request.method !== 'HEAD' || !(payload instanceof Readable)) return payload;
    payload.destroy();
    return Readable.from([]);
  });
}

/** The API, ready to listen. Nothing is connected yet. */
export async function createApplication(env: Env): Promise<NestFastifyApplication> {
  const adapter = new FastifyAdapter({
    bodyLimit: LARGEST_BODY,
    routerOptions: { maxParamLength: LONGEST_PARAMETER },
    genReqId: () => randomUUID(),
    forceCloseConnections: true,
    requestTimeout: env.requestTimeoutMs,
    http: {
      headersTimeout: env.requestTimeoutMs,
      connectionsCheckingInterval: Math.min(5000, Math.ceil(env.requestTimeoutMs / 4)),
    },
    trustProxy: env.trustedProxies.length > 0 && env.trustedProxies,
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
  // Only where a file is uploaded: the door refuses it elsewhere.
  fastify.addContentTypeParser(UPLOADED.name, (_, body, done) => done(null, body));
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
  limitClients(fastify, app.get(Clients));
  await rememberRequests(app);
  if (existsSync(env.webDir)) await serveDashboard(app, env.webDir);
  SwaggerModule.setup('docs', app, () => describeApi(app), {
    jsonDocumentUrl: 'openapi.json',
    yamlDocumentUrl: 'openapi.yaml',
  });
  return app;
}
