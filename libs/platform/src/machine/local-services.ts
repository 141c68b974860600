/** Postgres and Redis for one machine: for trying the product out, and for its tests. */
import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import { startPostgres } from './local-postgres.js';
import { startRedis } from './local-redis.js';
import type { LocalServer } from './local-server.js';

export { LocalServiceError } from './local-server.js';

export interface LocalServices {
  databaseUrl: string;
  redisUrl: string;
  stop(): Promise<void>;
}

export interface LocalServicesOptions {
  /** Data goes to `dir/postgres` and `dir/redis`; what is there already is brought up again. */
  dir: string;
  log: (line: string) => void;
  /** False gives up safety against a power cut for speed. */
  durable?: boolean;
  /** A server that runs already is used as it is. */
  databaseUrl?: string | undefined;
  redisUrl?: string | undefined;
}

/**
 * Starts what no URL is given for: Postgres from the embedded binaries, Redis from the PATH, both on free ports of
 * 127.0.0.1. On Linux they end with this process, however it ends.
 * @throws LocalServiceError
 */
export async function startLocalServices({
  dir,
  log,
  durable = true,
  databaseUrl,
  redisUrl,
}: LocalServicesOptions): Promise<LocalServices> {
  const given = async (url: string): Promise<LocalServer> => ({ url, stop: () => Promise.resolve() });
  await mkdir(dir, { recursive: true });
  const started = await Promise.allSettled([
    databaseUrl ? given(databaseUrl) : startPostgres(path.join(dir, 'postgres'), durable, log),
    redisUrl ? given(redisUrl) : startRedis(path.join(dir, 'redis'), durable),
  ]);
  const stop = async () => {
    await Promise.all(started.flatMap((server) => (server.status === 'fulfilled' ? [server.value.stop()] : [])));
  };
  const failed = started.find((server) => server.status === 'rejected');
  if (failed) {
    await stop();
    throw failed.reason;
  }
  const [postgres, redis] = started.map((server) => (server as PromiseFulfilledResult<LocalServer>).value) as [
    LocalServer,
    LocalServer,
  ];
  return { databaseUrl: postgres.url, redisUrl: redis.url, stop };
}

/**
 * Brings a database to the newest schema with Prisma's own migrations; creates it where it is missing.
 * @throws Error with what Prisma said.
 */
export async function migrate(databaseUrl: string): Promise<void> {
  const require = createRequire(import.meta.url);
  const cli = path.join(path.dirname(require.resolve('prisma/package.json')), 'build', 'index.js');
  const root = path.resolve(path.dirname(cli), '..', '..', '..');
  try {
    await promisify(execFile)(process.execPath, [cli, 'migrate', 'deploy'], {
      cwd: root,
      env: { ...process.env, DATABASE_URL: databaseUrl, PRISMA_HIDE_UPDATE_MESSAGE: '1' },
    });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(
      `expected the database to take the migrations of prisma/migrations, Prisma said: ${(stderr + stdout).trim()}`,
    );
  }
}
