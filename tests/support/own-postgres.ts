/** What only the superuser of a test's own Postgres does to it: rights, settings, and a disk that is small. */
import { execFile } from 'node:child_process';
import { chown, mkdir, mkdtemp, open, rm, stat, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { eventually } from './eventually.js';
import type { OwnServer } from './own-services.js';

const run = promisify(execFile);

/** Connects as the superuser, to this database, for as long as `work` takes. */
export async function administer<Result>(
  postgres: OwnServer,
  work: (admin: pg.Client) => Promise<Result>,
  name = 'postgres',
): Promise<Result> {
  const url = new URL(postgres.url);
  url.pathname = `/${name}`;
  url.username = 'loom';
  url.password = await postgres.superuserPassword();
  const admin = new pg.Client({ connectionString: url.href });
  admin.on('error', () => undefined);
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.end().catch(() => undefined);
  }
}

/** A way for Postgres to be there and be of no use, and the way back. */
export interface Hindrance {
  begin(): Promise<void>;
  end(): Promise<void>;
}

/** Nothing can be written (25006), by nobody; those who are connected notice at once. */
export function readOnly(postgres: OwnServer): Hindrance {
  const set = (change: string) =>
    administer(postgres, async (admin) => {
      await admin.query(`ALTER SYSTEM ${change}`);
      await admin.query('SELECT pg_reload_conf()');
    });
  return {
    begin: () => set('SET default_transaction_read_only = on'),
    end: () => set('RESET default_transaction_read_only'),
  };
}

/** The role of the product gets no connection (53300), and has none left. */
export function outOfConnections(postgres: OwnServer): Hindrance {
  const role = new URL(postgres.url).username;
  const limit = (connections: number) =>
    administer(postgres, async (admin) => {
      await admin.query(`ALTER ROLE "${role}" CONNECTION LIMIT ${connections}`);
      if (connections === 0)
        await admin.query('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role]);
    });
  return { begin: () => limit(0), end: () => limit(-1) };
}

/** Holds tables of a database as `VACUUM FULL` holds one: nobody reads or writes them. None named: all. */
export function locked(postgres: OwnServer, tables?: readonly string[]): Hindrance {
  let release = () => {};
  let held = Promise.resolve();
  return {
    begin: () =>
      new Promise<void>((resolve, reject) => {
        held = administer(
          postgres,
          async (admin) => {
            const { rows } = await admin.query<{ tables: string }>(
              "SELECT string_agg(quote_ident(tablename), ', ') AS tables FROM pg_tables WHERE schemaname = 'public'",
            );
            // Those who work at the moment may lock it out, as it does them: one of both is told so.
            await eventually(async () => {
              await admin.query('ROLLBACK');
              await admin.query('BEGIN');
              await admin.query(`LOCK TABLE ${tables?.join() ?? rows[0]!.tables} IN ACCESS EXCLUSIVE MODE`);
            });
            resolve();
            await new Promise<void>((over) => (release = over));
            await admin.query('ROLLBACK');
          },
          'loom',
        ).catch(reject);
      }),
    end: async () => {
      release();
      await held;
    },
  };
}

/** False where there was no room. */
const written = (handle: FileHandle, piece: Buffer): Promise<boolean> =>
  handle.write(piece).then(
    ({ bytesWritten }) => bytesWritten === piece.length,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOSPC') return false;
      throw error;
    },
  );

/** A small file system that the database lies in. */
export interface SmallDisk {
  /** Takes all bytes that are free on it. */
  fill(): Promise<void>;
  empty(): Promise<void>;
  /** After Postgres has ended. */
  remove(): Promise<void>;
}

/** The database moves to a file system of so many MiB; undefined where none can be mounted, which needs root. */
export async function smallDisk(postgres: OwnServer, mebibytes: number): Promise<SmallDisk | undefined> {
  const dir = await mkdtemp(path.join(tmpdir(), 'loom-small-'));
  const mounted = await run('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m`, 'tmpfs', dir]).then(
    () => true,
    () => false,
  );
  if (!mounted) {
    await rm(dir, { recursive: true });
    return undefined;
  }
  const folder = path.join(dir, 'database');
  const filler = path.join(dir, 'filler');
  await mkdir(folder);
  await administer(postgres, async (admin) => {
    const { rows } = await admin.query<{ data_directory: string }>('SHOW data_directory');
    const { uid, gid } = await stat(rows[0]!.data_directory);
    await chown(folder, uid, gid);
    await admin.query(`CREATE TABLESPACE small LOCATION '${folder}'`);
    await admin.query('ALTER DATABASE loom SET TABLESPACE small');
  });
  return {
    fill: async () => {
      const handle = await open(filler, 'w');
      // Others write beside it: it is full when it says so.
      for (const piece of [Buffer.alloc(2 ** 20), Buffer.alloc(4096)]) while (await written(handle, piece)) continue;
      await handle.close();
    },
    empty: () => rm(filler, { force: true }),
    remove: async () => {
      await run('umount', ['-l', dir]);
      await rm(dir, { recursive: true, force: true });
    },
  };
}
