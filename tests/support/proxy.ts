import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

/** A TCP proxy whose network can be broken in the ways in which networks break. */
export interface Proxy {
  readonly port: number;
  /** Where connections from now on go. */
  to(port: number): void;
  /**
   * Nothing passes any more, in either direction, and nobody is told: what is sent waits. New connections are made and
   * hear nothing.
   */
  freeze(): void;
  /** The same, but what is sent is lost: connections of this time never recover. */
  blackhole(): void;
  /** Connections are reset, and new ones refused. */
  cut(): void;
  /** What a client sends arrives so many milliseconds later, in order; 0: at once again. */
  slow(milliseconds: number): void;
  /** All is well again. */
  heal(): void;
  /**
   * Calls `action` when a client sends these bytes, once, before they go on; they never do if the proxy is frozen by
   * then.
   */
  when(bytes: string, action: () => void): void;
  /** What a client sends with these bytes goes on, once, and is done: its answer is lost with the connection. */
  loseAnswerTo(bytes: string): void;
  close(): Promise<void>;
}

type Mode = 'well' | 'frozen' | 'blackhole' | 'cut';

/** A proxy on a free port of 127.0.0.1, by url: what `url` says with the proxy's port in the place of its own. */
export async function startProxy(url: string): Promise<Proxy & { url: string }> {
  const target = new URL(url);
  let targetPort = Number(target.port);
  let mode: Mode = 'well';
  let watch: { bytes: string; action: () => void } | undefined;
  let unanswered: string | undefined;
  let slowMs = 0;
  const pairs = new Set<{ sockets: Socket[]; queue: (() => void)[]; dead: boolean; losing: boolean }>();

  const server = createServer((client) => {
    if (mode === 'cut') return void client.resetAndDestroy();
    const upstream = connect(targetPort, target.hostname);
    const pair = {
      sockets: [client, upstream],
      queue: [] as (() => void)[],
      dead: mode === 'blackhole',
      losing: false,
    };
    pairs.add(pair);
    const relay = (from: Socket, into: Socket) => {
      // What is on its way, and how many pieces of it: what comes later does not overtake it.
      let arrived = Promise.resolve();
      let underWay = 0;
      const pass = (send: () => void) => {
        if (underWay === 0 && (slowMs === 0 || from !== client)) return void send();
        underWay++;
        const after = delay(slowMs);
        arrived = arrived
          .then(() => after)
          .then(() => {
            underWay--;
            send();
          });
      };
      from.on('data', (chunk) => {
        if (from === client && watch && (chunk as Buffer).includes(watch.bytes)) {
          const { action } = watch;
          watch = undefined;
          action();
        }
        if (from === client && unanswered !== undefined && (chunk as Buffer).includes(unanswered)) {
          unanswered = undefined;
          pair.losing = true;
        } else if (from === upstream && pair.losing) return void client.resetAndDestroy();
        if (mode === 'blackhole') pair.dead = true;
        if (pair.dead) return;
        if (mode === 'frozen') pair.queue.push(() => into.write(chunk));
        else pass(() => into.write(chunk));
      });
      from.on('end', () => {
        if (mode === 'well' && !pair.dead) pass(() => into.end());
      });
      from.on('close', () => {
        // A vanished network does not pass on that one end has gone.
        if (mode === 'well' && !pair.dead) pass(() => into.destroy());
        if (pair.sockets.every((socket) => socket.destroyed)) pairs.delete(pair);
      });
      from.on('error', () => undefined);
    };
    relay(client, upstream);
    relay(upstream, client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const reset = () => {
    for (const { sockets } of pairs) for (const socket of sockets) socket.resetAndDestroy();
  };
  target.port = String(port);
  return {
    url: target.href,
    port,
    to: (next) => {
      targetPort = next;
    },
    freeze: () => {
      mode = 'frozen';
    },
    blackhole: () => {
      mode = 'blackhole';
    },
    cut: () => {
      mode = 'cut';
      reset();
    },
    slow: (milliseconds) => {
      slowMs = milliseconds;
    },
    heal: () => {
      mode = 'well';
      slowMs = 0;
      for (const pair of pairs) {
        for (const send of pair.queue.splice(0)) send();
        // What one end closed in the meantime, the other learns now; what was swallowed stays lost.
        if (!pair.dead && pair.sockets.some((socket) => socket.destroyed))
          for (const socket of pair.sockets) socket.destroy();
      }
    },
    when: (bytes, action) => {
      watch = { bytes, action };
    },
    loseAnswerTo: (bytes) => {
      unanswered = bytes;
    },
    close: async () => {
      reset();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
