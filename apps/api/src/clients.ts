/** What one client may have of the API at once, so that none takes it from the others. */
import type { Env } from '#libs/platform';
import { HttpException } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { isIPv6 } from 'node:net';

/** So many requests of a client are worked on at once: fewer than there are connections to Postgres. */
const AT_WORK = 8;
/** The last words of a stream that is ended may take so long to go out: who has gone without a word takes none. */
const LAST_WORDS_MS = 5000;
/** Largest sum of the bodies of a client's requests. */
const MOST_BYTES = 64 * 2 ** 20;
/** Largest body of a request: what says that it is larger is refused when it is read, what says nothing counts so. */
export const LARGEST_BODY = 2 * 2 ** 20;

export type ClientLimits = Pick<
  Env,
  'clientRequests' | 'clientWaitMs' | 'clientStreams' | 'streamMs' | 'mostRequests' | 'mostStreams'
>;
type Refusal = 'requests' | 'waiting' | 'bytes' | 'streams';

/** Whoever was turned away may come again. */
export class TurnedAwayError extends HttpException {
  constructor(
    status: 429 | 503,
    message: string,
    readonly retryAfterSeconds: number,
  ) {
    super(message, status);
  }
}

/** Nobody hears it. */
const gone = () => new TurnedAwayError(429, 'gone before its turn', 1);

interface Client {
  /** Requests that have come and are not answered yet, by what their bodies weigh. */
  requests: number;
  bytes: number;
  working: number;
  streams: number;
  /** Requests that wait to be worked on, the first first. */
  line: (() => void)[];
}

/** Who a request is from: an address, of IPv6 the /64 that a house has. */
export function clientOf(ip: string): string {
  if (!isIPv6(ip) || ip.startsWith('::ffff:')) return ip;
  const [head = '', tail = ''] = ip.split('%')[0]!.split('::');
  const [first, last] = [head, tail].map((groups) => groups.split(':').filter(Boolean)) as [string[], string[]];
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0');
  return `${[...first, ...zeros, ...last].slice(0, 4).join(':')}::/64`;
}

/**
 * Counts what each client has under way. Of a client a few requests are worked on at once, so many wait in their order,
 * and what is more is turned away, as is what has waited too long: others find room whatever one does.
 */
export class Clients {
  private readonly known = new Map<string, Client>();
  private requests = 0;
  private streams = 0;
  /** How many were turned away, by what there was too much of. */
  readonly turnedAway: Record<Refusal, number> = { requests: 0, waiting: 0, bytes: 0, streams: 0 };

  constructor(private readonly limits: ClientLimits) {}

  get openStreams(): number {
    return this.streams;
  }

  /**
   * A request has come: counted until its answer is sent or its connection is gone.
   * @throws TurnedAwayError
   */
  enter({ ip, headers }: FastifyRequest, reply: FastifyReply): void {
    const { clientRequests, mostRequests } = this.limits;
    const client = this.of(ip);
    const unsaid = headers['transfer-encoding'] === undefined ? 0 : LARGEST_BODY;
    const bytes = Math.min(LARGEST_BODY, Number(headers['content-length'] ?? unsaid) || 0);
    if (client.requests >= clientRequests)
      throw this.refused('requests', 429, `expected at most ${clientRequests} requests of one client at once`);
    if (client.bytes + bytes > MOST_BYTES)
      throw this.refused('bytes', 429, `expected at most ${MOST_BYTES} bytes from one client at once`);
    if (this.requests >= mostRequests)
      throw this.refused('requests', 503, `expected at most ${mostRequests} requests at once`);
    this.count(client, 1, bytes);
    reply.raw.once('close', () => {
      this.count(client, -1, -bytes);
      this.forget(ip, client);
    });
  }

  /**
   * Resolves when this request is worked on, until its answer is ready (`done`) or its connection is gone.
   * @throws TurnedAwayError for one that has waited too long
   */
  async turn({ ip }: FastifyRequest, reply: FastifyReply): Promise<() => void> {
    const client = this.of(ip);
    if (client.working >= AT_WORK) await this.waited(client, reply);
    if (reply.raw.closed || reply.raw.destroyed) throw gone();
    client.working++;
    let over = false;
    const done = () => {
      if (over) return;
      over = true;
      client.working--;
      client.line.shift()?.();
      this.forget(ip, client);
    };
    reply.raw.once('close', done);
    return done;
  }

  /**
   * A stream is opened, and counted until its connection is gone. It ends when it has become old: who is there takes it
   * up again, and who has gone without a word, or does not listen, holds nothing for ever.
   * @throws TurnedAwayError
   */
  openStream(ip: string, reply: FastifyReply): void {
    const { clientStreams, streamMs, mostStreams } = this.limits;
    const client = this.of(ip);
    if (client.streams >= clientStreams)
      throw this.refused('streams', 429, `expected at most ${clientStreams} streams of one client at once`);
    if (this.streams >= mostStreams)
      throw this.refused('streams', 503, `expected at most ${mostStreams} streams at once`);
    client.streams++;
    this.streams++;
    const { raw } = reply;
    let timer = setTimeout(() => {
      raw.end();
      timer = setTimeout(() => raw.destroy(), LAST_WORDS_MS);
    }, streamMs);
    raw.once('close', () => {
      clearTimeout(timer);
      client.streams--;
      this.streams--;
      this.forget(ip, client);
    });
  }

  private waited(client: Client, reply: FastifyReply): Promise<void> {
    const { clientWaitMs } = this.limits;
    return new Promise((resolve, reject) => {
      const leave = (error: Error) => {
        clearTimeout(timer);
        client.line = client.line.filter((each) => each !== called);
        reject(error);
      };
      const timer = setTimeout(
        () =>
          leave(this.refused('waiting', 429, `waited for ${clientWaitMs} ms behind other requests of the same client`)),
        clientWaitMs,
      );
      const called = () => {
        clearTimeout(timer);
        reply.raw.off('close', left);
        resolve();
      };
      const left = () => leave(gone());
      reply.raw.once('close', left);
      client.line.push(called);
    });
  }

  private refused(reason: Refusal, status: 429 | 503, message: string): TurnedAwayError {
    this.turnedAway[reason]++;
    return new TurnedAwayError(status, `${message}: nothing was done, come again later`, 1);
  }

  private count(client: Client, requests: number, bytes: number): void {
    client.requests += requests;
    client.bytes += bytes;
    this.requests += requests;
  }

  private of(ip: string): Client {
    const address = clientOf(ip);
    const client = this.known.get(address) ?? { requests: 0, bytes: 0, working: 0, streams: 0, line: [] };
    this.known.set(address, client);
    return client;
  }

  private forget(ip: string, { requests, working, streams }: Client): void {
    if (requests + working + streams === 0) this.known.delete(clientOf(ip));
  }
}
