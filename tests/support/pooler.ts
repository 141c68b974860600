/** A pooler of Postgres by transaction, as PgBouncer is with `pool_mode = transaction`. */
import { createServer, type AddressInfo, type Socket } from 'node:net';
import pg from 'pg';

export interface Pooler {
  url: string;
  close(): Promise<void>;
}

const SSL_REQUEST = 80_877_103;
const READY = 'Z'.charCodeAt(0);
const TERMINATE = 'X'.charCodeAt(0);

const message = (type: string, body: Buffer): Buffer => {
  const head = Buffer.alloc(5);
  head.write(type);
  head.writeInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
};
/** It lets everybody in, and has nothing to say of the session. */
const WELCOME = Buffer.concat([
  message('R', Buffer.alloc(4)),
  message('S', Buffer.from('server_version\x0018.0\0')),
  message('K', Buffer.alloc(8)),
  message('Z', Buffer.from('I')),
]);

/** Of a session, what it keeps for a client as PgBouncer does. */
const KEPT = new Set(['user', 'database', 'application_name', 'client_encoding', 'DateStyle', 'TimeZone']);
/** How a client is answered that asks to be let in, by what it says of its session. */
function answerTo(startup: Buffer): Buffer {
  const words = startup.toString('utf8', 8).split('\0');
  const refused = words.find((word, i) => i % 2 === 0 && word !== '' && !KEPT.has(word));
  if (refused === undefined) return WELCOME;
  const fields = ['SFATAL', 'C08P01', `Munsupported startup parameter: ${refused}`, '', ''];
  return message('E', Buffer.from(fields.join('\0')));
}

/** Cuts what comes into messages of the protocol, version 3: a letter, and a length that counts itself. */
function messages(handle: (type: number, message: Buffer) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 5 && rest.length > rest.readInt32BE(1)) {
      const length = 1 + rest.readInt32BE(1);
      handle(rest[0]!, rest.subarray(0, length));
      rest = rest.subarray(length);
    }
  };
}

/** A session with Postgres, lent to one client from its first message to the end of a transaction. */
class Server {
  private borrower: { socket: Socket; returned: () => void } | undefined;
  /** Answers that are due: each Query and each Sync has one ReadyForQuery. */
  private due = 0;

  constructor(
    private readonly stream: Socket,
    free: (server: Server) => void,
  ) {
    stream.removeAllListeners('data');
    stream.on(
      'data',
      messages((type, each) => {
        const { borrower } = this;
        // What is told nobody, a notification for one, is lost.
        borrower?.socket.write(each);
        if (type !== READY || --this.due > 0 || each.toString('latin1', 5) !== 'I') return;
        this.borrower = undefined;
        borrower?.returned();
        free(this);
      }),
    );
  }

  lend(socket: Socket, returned: () => void): void {
    this.borrower = { socket, returned };
  }

  send(each: Buffer): void {
    if ('QS'.includes(String.fromCharCode(each[0]!))) this.due++;
    this.stream.write(each);
  }
}

/**
 * A pooler on a port of 127.0.0.1, with so many sessions of a Postgres. It lends the one that was given back last, or,
 * `inTurn`, the one that has waited longest.
 */
export async function startPooler(databaseUrl: string, { servers = 4, inTurn = false } = {}): Promise<Pooler> {
  const streams = await Promise.all(
    Array.from({ length: servers }, async () => {
      const client = new pg.Client({ connectionString: databaseUrl });
      await client.connect();
      client.on('error', () => undefined);
      return (client as unknown as { connection: { stream: Socket } }).connection.stream;
    }),
  );
  const waiting: ((server: Server) => void)[] = [];
  const giveBack = (server: Server) => {
    const next = waiting.shift();
    if (next) next(server);
    else if (inTurn) free.push(server);
    else free.unshift(server);
  };
  const free = streams.map((stream) => new Server(stream, giveBack));

  const sockets = new Set<Socket>();
  const listener = createServer((socket) => {
    sockets.add(socket.on('error', () => undefined).on('close', () => sockets.delete(socket)));
    let server: Server | undefined;
    let queued: Buffer[] | undefined;
    const borrow = (lent: Server) => {
      server = lent;
      lent.lend(socket, () => (server = undefined));
      for (const each of queued ?? []) lent.send(each);
      queued = undefined;
    };
    const relay = messages((type, each) => {
      if (type === TERMINATE) return void socket.end();
      if (server) return server.send(each);
      if (queued) return void queued.push(each);
      queued = [each];
      const next = free.shift();
      if (next) borrow(next);
      else waiting.push(borrow);
    });
    let started = false;
    socket.on('data', (chunk: Buffer) => {
      if (started) return relay(chunk);
      if (chunk.readInt32BE(4) === SSL_REQUEST) return void socket.write('N');
      started = true;
      socket.write(answerTo(chunk));
    });
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.port = String((listener.address() as AddressInfo).port);
  return {
    url: url.href,
    close: async () => {
      for (const socket of [...sockets, ...streams]) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
