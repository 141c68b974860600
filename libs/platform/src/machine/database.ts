import { PrismaPg } from '@prisma/adapter-pg';
import { isDriverAdapterError } from '@prisma/driver-adapter-utils';
import { Socket } from 'node:net';
import pg from 'pg';
import { setTimeout as delay } from 'node:timers/promises';
import { Prisma, PrismaClient } from '../generated/client.js';

export { Prisma };
export type Transaction = Prisma.TransactionClient;

/**
 * Which notifications exist. The payload of the first two is a run's id, of the third a worker's; all are hints, and
 * whoever listens also polls.
 */
export type Channel = 'run_changed' | 'run_control' | 'worker_control' | 'outbox' | 'run_ended';

/** Serialisation failure and deadlock: the transaction did nothing and may be repeated. */
const REPEATABLE = new Set(['P2034', '40001', '40P01']);
interface DriverCause {
  originalCode?: string;
  kind?: string;
}

/**
 * What the driver says of an error: the code that Postgres gave, and the kind that it sorts it into. Prisma makes an
 * error of its own of it, but not of what ends a transaction's BEGIN or COMMIT and has no code of Prisma's.
 */
function driverCause(error: unknown): DriverCause | undefined {
  if (error instanceof Prisma.PrismaClientKnownRequestError)
    return (error.meta?.['driverAdapterError'] as { cause?: DriverCause } | undefined)?.cause;
  return error instanceof Error && isDriverAdapterError(error) ? error.cause : undefined;
}

/** What Postgres, or else Prisma, calls an error. */
export const codeOf = (error: unknown): string | undefined =>
  driverCause(error)?.originalCode ?? (error instanceof Prisma.PrismaClientKnownRequestError ? error.code : undefined);

/**
 * Codes of the network, of Postgres (connection exceptions, session timeouts, shutdown, statement timeout; read-only,
 * out of disk, memory or connections, waiting for a lock) and of Prisma (unreachable, timed out, closed, too many
 * connections).
 */
const UNAVAILABLE =
  /^(ECONN|EPIPE|ETIMEDOUT|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|08|25006|25P0|53|55P03|57P0|57014|58030)|^P(1001|1002|1008|1017|2024|2028|2037)$/;
/** How the driver sorts what Prisma, of a raw query, only calls a raw query that failed (P2010). */
const UNAVAILABLE_KINDS = new Set(['DatabaseNotReachable', 'ConnectionClosed', 'SocketTimeout', 'TooManyConnections']);
/** What node-postgres and ioredis say without a code. */
const UNAVAILABLE_MESSAGE =
  /connection terminated|connection is closed|connectionclosed|is not queryable|server has closed the connection|timeout exceeded when trying to connect|command timed out|max retries per request/i;

/**
 * True where Postgres or Redis did not answer, or Postgres undid it for the sake of others time and again: whoever
 * asked may ask again.
 */
export function isUnavailable(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = codeOf(error) ?? (error as NodeJS.ErrnoException).code ?? '';
  return (
    UNAVAILABLE_KINDS.has(driverCause(error)?.kind ?? '') ||
    UNAVAILABLE.test(code) ||
    REPEATABLE.has(code) ||
    UNAVAILABLE_MESSAGE.test(error.message) ||
    isUnavailable(error.cause)
  );
}

/** A listener asks so often whether its connection lives: nothing else is sent on it. */
const LISTENER_PULSE_MS = 5000;

/** Two connections are asked so often who serves them: a pooler that takes its servers in turn shows itself too. */
const ASKED = 3;

/**
 * The URL is that of a pooler that lends a server to each transaction anew. A lock of a session's own, by which one API
 * leads, would be held by nobody then, and each API lead; a LISTEN would hear nothing.
 */
export class PooledSessionsError extends Error {
  constructor(variable: 'DATABASE_URL' | 'DATABASE_DIRECT_URL') {
    super(
      `expected a session of its own for each connection to ${variable}, got a pooler that lends one to each ` +
        'transaction (PgBouncer with pool_mode = transaction): set DATABASE_DIRECT_URL to a URL of Postgres itself ' +
        'or of a pool by session. It is used for the lock of the leader, for LISTEN and for migrations',
    );
    this.name = new.target.name;
  }
}

export interface DatabaseOptions {
  /** Where sessions last as long as connections do; `url` may be that of a pooler by transaction then. */
  databaseDirectUrl?: string | undefined;
  poolSize?: number;
  /**
   * A connection on which nothing comes or goes for so long is given up, by both ends: a peer that has vanished without
   * a word (half-open TCP) costs no more than this, and the locks of a transaction that it left open are let go.
   */
  networkTimeoutMs?: number;
}

/** Postgres: one pool under Prisma, and single connections for those who listen. */
export class Database {
  readonly prisma: PrismaClient;
  private readonly pool: pg.Pool;
  /** Of connections that keep what they say of their session. */
  private readonly connection: pg.ClientConfig;

  constructor(
    readonly url: string,
    private readonly options: DatabaseOptions = {},
  ) {
    const { databaseDirectUrl, poolSize = 10, networkTimeoutMs = 20_000 } = options;
    this.connection = {
      connectionString: databaseDirectUrl ?? url,
      application_name: 'latent-loom',
      connectionTimeoutMillis: 5000,
      keepAlive: true,
      stream: () => {
        const socket = new Socket();
        return socket.setTimeout(networkTimeoutMs, () =>
          socket.destroy(
            Object.assign(new Error(`nothing came from Postgres for ${networkTimeoutMs / 1000} s`), {
              code: 'ETIMEDOUT',
            }),
          ),
        );
      },
    };
    this.pool = new pg.Pool({
      ...this.connection,
      connectionString: url,
      max: poolSize,
      // A pooler refuses settings that it can't keep; there they are the server's (docs/operations.md).
      ...(databaseDirectUrl === undefined && {
        statement_timeout: networkTimeoutMs,
        idle_in_transaction_session_timeout: networkTimeoutMs,
      }),
    });
    // A connection that dies is replaced by the pool. Without a listener it would end the process: the pool listens
    // while it is idle, Prisma within a transaction, and nobody in between.
    this.pool.on('error', () => undefined);
    this.pool.on('connect', (client) => client.on('error', () => undefined));
    this.prisma = new PrismaClient({
      adapter: new PrismaPg(this.pool),
      transactionOptions: { maxWait: 10_000, timeout: 60_000 },
    });
  }

  /** Runs `work` in one transaction (read committed); repeats it when Postgres aborted it for a deadlock. */
  async transaction<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.prisma.$transaction(work);
      } catch (error) {
        const code = codeOf(error);
        if (attempt >= 5 || code === undefined || !REPEATABLE.has(code)) throw error;
        await delay(Math.random() * 20 * 2 ** attempt);
      }
    }
  }

  /** Runs reads of `work` on one snapshot: what several statements say is of one moment. Nothing is locked by it. */
  async snapshot<Result>(work: (tx: Transaction) => Promise<Result>): Promise<Result> {
    return this.prisma.$transaction(work, { isolationLevel: Prisma.TransactionIsolationLevel.RepeatableRead });
  }

  /**
   * Resolves when connections for session state have sessions of their own. Found out by two at once, asked in turn
   * which server process answers: a pooler gives them one between them, or one of them several.
   * @throws PooledSessionsError
   */
  async requireSessions(): Promise<void> {
    const clients: pg.Client[] = [];
    try {
      for (let i = 0; i < 2; i++) clients.push(await this.connect());
      const servers = clients.map(() => new Set<number>());
      for (let round = 0; round < ASKED; round++)
        for (const [i, client] of clients.entries())
          // Three questions a round: two servers that a pooler takes in turn don't fall to one client each.
          for (let asked = 0; asked <= i; asked++) {
            const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
            servers[i]!.add(rows[0]!.pid);
          }
      const all = servers.flatMap((pids) => [...pids]);
      if (all.length !== clients.length || new Set(all).size !== all.length)
        throw new PooledSessionsError(this.options.databaseDirectUrl ? 'DATABASE_DIRECT_URL' : 'DATABASE_URL');
    } finally {
      await Promise.all(clients.map((client) => client.end().catch(() => undefined)));
    }
  }

  /**
   * A connection of its own, for session state such as an advisory lock. Ends with an `end` event when it breaks;
   * whoever holds one has to say something on it more often than the network timeout.
   */
  async connect(): Promise<pg.Client> {
    const client = new pg.Client(this.connection);
    client.on('error', () => undefined);
    await client.connect();
    return client;
  }

  /**
   * Calls `notify` for each notification, and once with an empty payload after every (re)connection, because what was
   * sent in between is lost. Reconnects until closed.
   */
  listen(
    channels: readonly Channel[],
    notify: (channel: Channel, payload: string) => void,
  ): { close(): Promise<void> } {
    const closed = new AbortController();
    let client: pg.Client | undefined;
    const session = async () => {
      const connection = await this.connect();
      client = connection;
      // Closed while it was connecting: nobody ends it any more but the loop.
      if (closed.signal.aborted) return;
      const ended = new Promise<void>((resolve) => connection.once('end', () => resolve()));
      connection.on('notification', (message) => notify(message.channel as Channel, message.payload ?? ''));
      for (const channel of channels) await connection.query(`LISTEN ${channel}`);
      for (const channel of channels) notify(channel, '');
      const pulse = setInterval(() => {
        connection.query('SELECT 1').catch(() => undefined);
      }, LISTENER_PULSE_MS);
      await ended.finally(() => clearInterval(pulse));
    };
    const loop = (async () => {
      while (!closed.signal.aborted) {
        await session().catch(() => undefined);
        await client?.end().catch(() => undefined);
        if (!closed.signal.aborted) await delay(500, undefined, { signal: closed.signal }).catch(() => undefined);
      }
    })();
    return {
      close: async () => {
        closed.abort();
        await client?.end().catch(() => undefined);
        await loop;
      },
    };
  }

  async close(): Promise<void> {
    await this.prisma.$disconnect();
    await this.pool.end();
  }
}
