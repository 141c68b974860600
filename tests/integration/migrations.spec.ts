/** An upgrade: the database of the first version takes the migrations while it is written to. */
import { RunSpec } from '#libs/contracts';
import { Database, migrate, RunQueries, Runs } from '#libs/platform';
import { spawn } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import pg from 'pg';
import { afterEach, beforeEach, expect, inject, test } from 'vitest';
import { administer, dropDatabase } from '../support/database.js';
import { eventually } from '../support/eventually.js';

const MIGRATIONS = path.resolve(import.meta.dirname, '..', '..', 'prisma', 'migrations');
const SPEC = RunSpec.parse({ kind: 'prepare-dataset', name: 'shapes', path: 'shapes' });
let name: string;
let url: URL;

beforeEach(async () => {
  name = `test_${randomUUID().replaceAll('-', '')}`;
  url = new URL(`/${name}`, inject('databaseUrl'));
  await administer(() => `CREATE DATABASE ${name}`);
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    // What Prisma keeps account in.
    await client.query(
      'CREATE TABLE _prisma_migrations (id varchar(36) PRIMARY KEY, checksum varchar(64) NOT NULL, finished_at ' +
        'timestamptz, migration_name varchar(255) NOT NULL, logs text, rolled_back_at timestamptz, started_at ' +
        'timestamptz NOT NULL DEFAULT now(), applied_steps_count int NOT NULL DEFAULT 0)',
    );
    const [first] = (await readdir(MIGRATIONS)).filter((each) => /^\d/.test(each)).sort();
    const sql = await readFile(path.join(MIGRATIONS, first!, 'migration.sql'), 'utf8');
    await client.query(sql);
    await client.query(
      'INSERT INTO _prisma_migrations (id, checksum, finished_at, migration_name, applied_steps_count) VALUES ' +
        '($1, $2, now(), $3, 1)',
      [randomUUID(), createHash('sha256').update(sql).digest('hex'), first],
    );
  } finally {
    await client.end();
  }
});
afterEach(() => dropDatabase(name));

test(
  'migrations go forward under load: every write of the version before is there afterwards, and the new version ' +
    'reads and goes on with it',
  async () => {
    const written: string[] = [];
    const load = new AbortController();
    /** What an API and a worker of the first version do, on connections of their own. */
    const writers = Array.from({ length: 4 }, async () => {
      const client = new pg.Client({ connectionString: url.href });
      await client.connect();
      try {
        while (!load.signal.aborted) {
          const id = randomUUID();
          await client.query(
            `INSERT INTO run (id, kind, status, digest, spec, tags, priority) VALUES ($1, 'prepare-dataset', ` +
              `'queued', $2, $3, '{}', 50)`,
            [id, id, SPEC],
          );
          await client.query('INSERT INTO outbox (run_id, attempt) VALUES ($1, 1)', [id]);
          await client.query(
            `INSERT INTO metric (run_id, key, step, attempt, value) SELECT $1, 'train/loss', s, 1, 0 FROM ` +
              'generate_series(1, 20) AS s',
            [id],
          );
          written.push(id);
        }
      } finally {
        await client.end();
      }
    });
    await migrate(url.href);
    const during = written.length;
    load.abort();
    await Promise.all(writers);
    expect(during).toBeGreaterThan(10);

    const database = new Database(url.href);
    try {
      const runs = new Runs(database, { dataRoot: '/nowhere', leaseMs: 1000 });
      await runs.workers.checkSchema();
      expect(await database.prisma.run.count()).toBe(written.length);
      expect(await database.prisma.metric.count()).toBe(20 * written.length);
      expect(await new RunQueries(database, { leaseMs: 1000 }).run(written[0]!)).toMatchObject({
        status: 'queued',
        requires: { labels: {} },
      });
      expect(await runs.claims.claim({ runId: written[0]!, attempt: 1 }, 'new')).toMatchObject({
        attempt: 1,
        gpu: null,
      });
    } finally {
      await database.close();
    }
  },
);

/**
 * A process that migrates, killed where it waits for the lock of a table that somebody else has. Its server process
 * goes on alone with what it was told, and ends it, unless it is ended too: as where Postgres is killed.
 */
async function brokenOffAt(table: string, serverEndsToo: boolean): Promise<void> {
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    await client.query(`BEGIN; LOCK TABLE ${table}`);
    const module = pathToFileURL(path.resolve('dist', 'libs', 'platform', 'src', 'machine', 'migrations.js')).href;
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', `import { migrate } from '${module}'; await migrate('${url.href}');`],
      { detached: true, stdio: 'ignore' },
    );
    const gone = new Promise((resolve) => child.once('exit', resolve));
    await eventually(async () => {
      const { rowCount } = await client.query('SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass', [
        table,
      ]);
      expect(rowCount).toBe(1);
    });
    process.kill(-child.pid!, 'SIGKILL');
    await gone;
    if (serverEndsToo)
      await client.query(
        'SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = $1::regclass',
        [table],
      );
    await client.query('ROLLBACK');
    // The server learns that the other end has gone when it answers.
    await eventually(async () => {
      const { rowCount } = await client.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`,
      );
      expect(rowCount).toBe(0);
    });
  } finally {
    await client.end();
  }
}

test.each([
  ['attempt', 'and its server process goes on,', false],
  ['metric', 'and its server process goes on,', false],
  ['attempt', 'and its server process too,', true],
  ['metric', 'and its server process too,', true],
] as const)(
  'a migration that is broken off when it is about to change %s, %s is gone on with by whoever starts next',
  async (table, _, serverEndsToo) => {
    await brokenOffAt(table, serverEndsToo);
    // Two at once, as two starters would.
    await Promise.all([migrate(url.href), migrate(url.href)]);
    const database = new Database(url.href);
    try {
      await new Runs(database, { dataRoot: '/nowhere', leaseMs: 1000 }).workers.checkSchema();
      expect(await database.prisma.project.findMany({ select: { name: true } })).toEqual([{ name: 'default' }]);
    } finally {
      await database.close();
    }
  },
  120_000,
);

test('migrations keep to what the URL says of TLS', async () => {
  url.searchParams.set('sslmode', 'require');
  await expect(migrate(url.href)).rejects.toThrow('The server does not support SSL connections');
});
