/** Brings a database to the schema of this version, also where that was broken off before. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

/** Prisma's code of a database in which a migration was begun and has not ended. */
const BROKEN_OFF = 'P3009';
/** Key of the advisory lock under which one process goes on with what was broken off: 'mend' in ASCII. */
const MEND = 0x6d656e64;

/**
 * Brings a database to the newest schema with Prisma's own migrations; creates it where it is missing. A migration that
 * was broken off is begun anew: each is one transaction together with the note that it is done (schema-engine.mjs), or
 * can be repeated.
 * @throws Error with what Prisma said.
 */
export async function migrate(databaseUrl: string): Promise<void> {
  try {
    await deploy(databaseUrl);
  } catch (error) {
    if (!String(error).includes(BROKEN_OFF)) throw error;
    await mend(databaseUrl);
  }
}

const deploy = (databaseUrl: string): Promise<void> => prisma(databaseUrl, 'migrate', 'deploy');

/**
 * Prisma ends with P3009 under its own lock, so that what is not noted as done was broken off then. Of several
 * processes that find it so, one at a time takes the note away and begins anew.
 */
async function mend(databaseUrl: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [MEND]);
    const { rows } = await client.query<{ migration_name: string }>(
      'SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NULL AND rolled_back_at IS NULL',
    );
    for (const { migration_name: name } of rows) await prisma(databaseUrl, 'migrate', 'resolve', '--rolled-back', name);
    await deploy(databaseUrl);
  } finally {
    await client.end();
  }
}

async function prisma(databaseUrl: string, ...words: string[]): Promise<void> {
  const require = createRequire(import.meta.url);
  const cli = path.join(path.dirname(require.resolve('prisma/package.json')), 'build', 'index.js');
  const root = path.resolve(path.dirname(cli), '..', '..', '..');
  try {
    await promisify(execFile)(process.execPath, [cli, ...words], {
      cwd: root,
      env: {
        ...process.env,
        DATABASE_URL: databaseUrl,
        DATABASE_DIRECT_URL: '',
        PRISMA_HIDE_UPDATE_MESSAGE: '1',
      },
    });
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string };
    throw new Error(
      `expected the database to take the migrations of prisma/migrations, Prisma said: ${(stderr + stdout).trim()}`,
    );
  }
}
