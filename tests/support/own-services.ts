/** Servers of a test's own, behind a proxy, for faults that nobody else must feel. */
import { migrate, startLocalServices } from '#libs/platform';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { inject } from 'vitest';
import { eventually } from './eventually.js';
import { isRunning } from './processes.js';
import { startProxy, type Proxy } from './proxy.js';

export interface OwnServer {
  /** Of the proxy: stays the same when the server comes back on another port. */
  url: string;
  proxy: Proxy;
  signal(name: NodeJS.Signals): Promise<void>;
  /** Ends it with a signal and waits until it is gone. */
  kill(name: NodeJS.Signals): Promise<void>;
  /** What its superuser logs in with. */
  superuserPassword(): Promise<string>;
  /** Brings it up again on the same data. */
  start(): Promise<void>;
  stop(): Promise<void>;
}

async function ownServer(
  start: (dir: string) => Promise<{ url: string; stop(): Promise<void> }>,
  pidOf: (url: string, dir: string) => Promise<number>,
  prepare: (url: string) => Promise<void> = async () => {},
): Promise<OwnServer> {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-server-'));
  let server = await start(dir);
  await prepare(server.url);
  let pid = await pidOf(server.url, dir);
  const proxy = await startProxy(server.url);
  return {
    url: proxy.url,
    proxy,
    signal: async (name) => {
      process.kill(pid, name);
    },
    superuserPassword: async () =>
      (JSON.parse(await readFile(path.join(dir, 'passwords.json'), 'utf8')) as { superuser: string }).superuser,
    kill: async (name) => {
      process.kill(pid, name);
      await eventually(async () => {
        if (await isRunning(pid)) throw new Error(`process ${pid} lives on after ${name}`);
      });
    },
    start: async () => {
      server = await start(dir);
      pid = await pidOf(server.url, dir);
      proxy.to(Number(new URL(server.url).port));
    },
    stop: async () => {
      await proxy.close();
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** `durable`: with an append-only file, as `loom up` has it. */
export const ownRedis = ({ durable }: { durable: boolean }): Promise<OwnServer> =>
  ownServer(
    async (dir) => {
      const { redisUrl, stop } = await startLocalServices({
        dir,
        durable,
        keep: false,
        log: () => {},
        databaseUrl: inject('databaseUrl'),
      });
      return { url: redisUrl, stop };
    },
    async (url) => {
      const client = new Redis(url);
      try {
        return Number(/process_id:(\d+)/.exec(await client.info('server'))![1]);
      } finally {
        client.disconnect();
      }
    },
  );

/** Durable, with the newest schema. */
export const ownPostgres = (): Promise<OwnServer> =>
  ownServer(
    async (dir) => {
      const { databaseUrl, stop } = await startLocalServices({
        dir,
        durable: true,
        keep: false,
        log: () => {},
        redisUrl: inject('redisUrl'),
      });
      return { url: databaseUrl, stop };
    },
    async (_, dir) => Number((await readFile(path.join(dir, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]),
    migrate,
  );
