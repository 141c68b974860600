/** Postgres and Redis for one machine: for trying the product out, and for its tests. */
import { randomBytes } from 'node:crypto';
import { chmod, chown, link, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { FIRST_TRAINER_UID } from './env.js';
import { postgresUser, startPostgres } from './local-postgres.js';
import { startRedis } from './local-redis.js';
import { keptUp, LocalServiceError, type LocalServer, type ServerUser } from './local-server.js';
import { RotatingLog } from './rotating-log.js';

export { LocalServiceError } from './local-server.js';

export interface LocalServices {
  databaseUrl: string;
  redisUrl: string;
  stop(): Promise<void>;
}
export interface KeptServices extends LocalServices {
  /** Rejects with a LocalServiceError where one of them ends again and again; never resolves. */
  failure: Promise<never>;
}

export interface LocalServicesOptions {
  /**
   * Data goes to `dir/postgres` and `dir/redis`, what they say to `dir/logs`; what is there is brought up again.
   */
  dir: string;
  log: (line: string) => void;
  /** False gives up safety against a power cut for speed. */
  durable?: boolean;
  /** False leaves one that ends as it is. */
  keep?: boolean;
  /** A server that runs already is used as it is. */
  databaseUrl?: string | undefined;
  redisUrl?: string | undefined;
}

/**
 * Starts what no URL is given for: Postgres from the embedded binaries, Redis from the PATH, both on free ports of
 * 127.0.0.1, with passwords that are kept in `dir`. One that ends is started again, unless `keep` is false. On Linux
 * they end with this process, however it ends. `dir` is closed to other users.
 * @throws LocalServiceError
 */
export async function startLocalServices({
  dir,
  log,
  durable = true,
  keep = true,
  databaseUrl,
  redisUrl,
}: LocalServicesOptions): Promise<KeptServices> {
  const logs = path.join(dir, 'logs');
  for (const folder of [logs, path.join(dir, 'redis')]) {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o700);
  }
  const owner = process.getuid?.() === 0 && !databaseUrl ? await postgresUser() : undefined;
  await closeToOthers(dir, owner);
  const passwords = await keptPasswords(dir);
  const never = new Promise<never>(() => undefined);
  const given = async (url: string) => ({ url, stop: async () => undefined, failure: never });
  const up = async (name: string, start: (port?: number) => Promise<LocalServer>) =>
    keep ? keptUp(name, start, log) : { ...(await start()), failure: never };
  const serverLogs = {
    postgres: new RotatingLog(path.join(logs, 'postgres.log')),
    redis: new RotatingLog(path.join(logs, 'redis.log')),
  };
  const postgres = (port?: number) =>
    startPostgres(path.join(dir, 'postgres'), { durable, passwords, owner, port, serverLog: serverLogs.postgres, log });
  const redis = (port?: number) =>
    startRedis(path.join(dir, 'redis'), {
      durable,
      password: passwords.redis,
      port,
      serverLog: serverLogs.redis,
    });
  const started = await Promise.allSettled([
    databaseUrl ? given(databaseUrl) : up('Postgres', postgres),
    redisUrl ? given(redisUrl) : up('Redis', redis),
  ]);
  const stop = async () => {
    await Promise.all(started.flatMap((server) => (server.status === 'fulfilled' ? [server.value.stop()] : [])));
  };
  const [first, second] = started;
  if (first.status === 'fulfilled' && second.status === 'fulfilled')
    return {
      databaseUrl: first.value.url,
      redisUrl: second.value.url,
      stop,
      failure: Promise.race([first.value.failure, second.value.failure]),
    };
  await stop();
  throw started.find((server) => server.status === 'rejected')!.reason;
}

/**
 * Nobody but this user reads the folder. Where it is root, a group may pass through to what is its own: the one that
 * Postgres runs as, or else that of the first trainer. Workers put their trainers into it.
 */
async function closeToOthers(dir: string, owner: ServerUser | undefined): Promise<void> {
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await chown(dir, 0, owner?.gid ?? FIRST_TRAINER_UID);
  await chmod(dir, isRoot ? 0o710 : 0o700);
}

interface Passwords {
  superuser: string;
  role: string;
  redis: string;
}

/** Random ones, made once and kept in `passwords.json`. @throws LocalServiceError for a file that holds none */
async function keptPasswords(dir: string): Promise<Passwords> {
  const file = path.join(dir, 'passwords.json');
  const draft = `${file}.${process.pid}`;
  const random = () => randomBytes(24).toString('base64url');
  const made: Passwords = { superuser: random(), role: random(), redis: random() };
  try {
    await writeFile(draft, `${JSON.stringify(made, null, 2)}\n`, { mode: 0o600 });
    await link(draft, file);
    return made;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  } finally {
    await rm(draft, { force: true });
  }
  try {
    const kept = JSON.parse(await readFile(file, 'utf8')) as Partial<Passwords>;
    for (const name of Object.keys(made) as (keyof Passwords)[])
      if (typeof kept[name] !== 'string') throw new Error(`it has no ${name}`);
    return kept as Passwords;
  } catch (error) {
    throw new LocalServiceError(
      `expected the passwords of the databases in ${file}, ${(error as Error).message}: ` +
        'put the file back that was there',
    );
  }
}
