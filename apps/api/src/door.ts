/** What is asked of a request before its body is read: by which name it came, from which page, and with what. */
import type { Env } from '#libs/platform';
import { HttpException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isIP } from 'node:net';

const LOOPBACK = new Set(['localhost', '127.0.0.1', '[::1]']);
const HOST = /^(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::\d{1,5})?$/i;

/**
 * True for a name by which this server may be reached. A server of this machine: its loopback names. One that listens
 * for others: addresses too, because no name server can turn an address into another (health checks of containers
 * come by address), and what it listens on. Both: the hosts of LOOM_PUBLIC_URL.
 */
function isOwn(host: string, { host: listensOn, publicHosts }: Env): boolean {
  const name = HOST.exec(host)?.[1]?.toLowerCase();
  if (name === undefined) return false;
  if (LOOPBACK.has(name) || publicHosts.includes(name)) return true;
  const local = LOOPBACK.has(listensOn) || listensOn === '::1';
  return !local && (name === listensOn.toLowerCase() || isIP(name.replaceAll(/[[\]]/g, '')) !== 0);
}

/**
 * A page elsewhere must not reach this server by a name that it has pointed here, nor change things through a browser.
 * @throws HttpException of 403 or 415
 */
export function refuseForeign(request: FastifyRequest, env: Env): void {
  const { headers, method } = request;
  const { host = '', origin } = headers;
  if (!isOwn(host, env))
    throw new HttpException(
      `expected a request to this machine by its own name, got one for ${JSON.stringify(host.slice(0, 80))}: ` +
        'LOOM_PUBLIC_URL allows others',
      403,
    );
  refuseBody(headers, isUpload(request) ? UPLOADED : JSON_BODY);
  const changes = method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS';
  const known = [`http://${host}`, `https://${host}`, ...env.allowedOrigins];
  if (origin && changes && !known.includes(origin))
    throw new HttpException(
      `expected a request from this server's own pages, got one from ${origin.slice(0, 80)}: ` +
        'LOOM_ALLOWED_ORIGINS allows others',
      403,
    );
}

/** Type of a body: how it is called, and what is. */
const JSON_BODY = { name: 'application/json', pattern: /^application\/(json|[^;\s]{0,100}\+json)\b/i };
export const UPLOADED = { name: 'application/octet-stream', pattern: /^application\/octet-stream\b/i };
/** The body of these requests is a file, read as it comes. */
const isUpload = ({ method, routeOptions }: FastifyRequest): boolean =>
  method === 'PUT' && routeOptions.url === '/v1/runs/:id/artifacts/:name';

/** @throws HttpException of 415 for a body of another type, or compressed */
function refuseBody(headers: FastifyRequest['headers'], { name, pattern }: typeof JSON_BODY): void {
  const hasBody = Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined;
  if (!hasBody) return;
  const { 'content-type': type = 'none', 'content-encoding': encoding = 'identity' } = headers;
  if (!pattern.test(type)) throw new HttpException(`expected a body of type ${name}, got ${type}`, 415);
  if (encoding.toLowerCase() !== 'identity')
    throw new HttpException(`expected a body that is not compressed, got one in ${encoding.slice(0, 40)}`, 415);
}

/** Tells a browser what a page of an allowed origin may do. True where that was all that was asked (a preflight). */
export function answerOrigin({ headers, method }: FastifyRequest, reply: FastifyReply, env: Env): boolean {
  const { origin } = headers;
  if (env.allowedOrigins.length > 0) void reply.header('vary', 'Origin');
  if (!origin || !env.allowedOrigins.includes(origin)) return false;
  void reply.headers({
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'ETag, Location, Retry-After, X-Request-Id',
  });
  if (method !== 'OPTIONS' || headers['access-control-request-method'] === undefined) return false;
  void reply
    .headers({
      'access-control-allow-methods': 'GET, HEAD, POST, PATCH, PUT, DELETE',
      'access-control-allow-headers': 'Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID',
      'access-control-max-age': '600',
    })
    .status(204)
    .send();
  return true;
}

/** Which methods each path of the router takes. */
export class RouteMethods {
  private readonly routes: { segments: string[]; methods: string[] }[] = [];

  add(url: string, methods: string[]): void {
    this.routes.push({ segments: url.split('/'), methods });
  }

  /** Empty for a path that nothing is at. */
  of(path: string): string[] {
    const given = path.split('/');
    const matching = this.routes.filter(
      ({ segments }) =>
        segments.length === given.length &&
        segments.every((segment, place) => segment === given[place] || (segment.startsWith(':') && given[place])),
    );
    return [...new Set(matching.flatMap(({ methods }) => methods))].sort();
  }
}
