/** The Redis (or Valkey, or KeyDB) of the system, as a server of this machine. */
import { Redis } from 'ioredis';
import { access, constants, mkdir } from 'node:fs/promises';
import path from 'node:path';
import {
  end,
  freePort,
  LocalServiceError,
  PROBE_TIMEOUT_MS,
  spawnServer,
  untilReady,
  type LocalServer,
} from './local-server.js';
import type { RotatingLog } from './rotating-log.js';

const PROGRAMS = ['redis-server', 'valkey-server', 'keydb-server'];

interface RedisOptions {
  durable: boolean;
  password: string;
  /** A free one without it. */
  port?: number | undefined;
  /** What the server says is written there. */
  serverLog: RotatingLog;
}

/**
 * Brings up what was kept in `dir`, on the port or a free one.
 * @throws LocalServiceError
 */
export async function startRedis(
  dir: string,
  { durable, password, port: wanted, serverLog }: RedisOptions,
): Promise<LocalServer> {
  const binary = await redisBinary();
  await mkdir(dir, { recursive: true });
  const port = wanted ?? (await freePort());
  const settings = {
    port: String(port),
    requirepass: password,
    bind: '127.0.0.1',
    dir: JSON.stringify(dir),
    'maxmemory-policy': 'noeviction',
    save: '""',
    appendonly: durable ? 'yes' : 'no',
    daemonize: 'no',
  };
  const input = Object.entries(settings)
    .map(([name, value]) => `${name} ${value}\n`)
    .join('');
  const server = spawnServer(binary, ['-'], { signal: 'TERM', log: serverLog, input });
  const url = `redis://:${password}@127.0.0.1:${port}`;
  try {
    await untilReady('Redis', server, async () => {
      const client = new Redis(url, {
        lazyConnect: true,
        retryStrategy: () => null,
        maxRetriesPerRequest: 0,
        commandTimeout: PROBE_TIMEOUT_MS,
      });
      client.on('error', () => undefined);
      try {
        await client.connect();
        await client.ping();
      } finally {
        client.disconnect();
      }
    });
  } catch (error) {
    await end(server.child, 'SIGKILL');
    throw error;
  }
  return { url, stop: () => end(server.child, 'SIGTERM'), ended: server.ended };
}

/** The first of the programs that the PATH has. */
async function redisBinary(): Promise<string> {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter(Boolean);
  for (const candidate of PROGRAMS.flatMap((name) => folders.map((folder) => path.join(folder, name)))) {
    const executable = await access(candidate, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (executable) return candidate;
  }
  throw new LocalServiceError(
    'Redis is missing: install it (Debian and Ubuntu: `sudo apt-get install redis-server`; macOS: `brew install ' +
      'redis`) or set REDIS_URL.',
  );
}
